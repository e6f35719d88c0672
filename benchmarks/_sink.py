"""A server that takes whatever is put, and forgets it; ``GET /N`` gives N bytes. Run as a module it prints its port."""

from __future__ import annotations

import socket
import threading

BLOCK = 1 << 20


def serve(client: socket.socket) -> None:
    """Answer the requests of one connection."""
    buffer, head = memoryview(bytearray(BLOCK)), b""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        while b"\r\n\r\n" not in head:
            block = client.recv(65536)
            if not block:
                return
            head += block
        text, _, rest = head.partition(b"\r\n\r\n")
        if text.startswith(b"GET /"):
            size, head = int(text[5:].split(b" ")[0]), rest
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for at in range(0, size, BLOCK):
                client.sendall(buffer[: min(BLOCK, size - at)])
            continue
        length = int(next(x.split(b":")[1] for x in text.lower().split(b"\r\n") if x.startswith(b"content-length")))
        left, head = length - len(rest), b""
        while left:
            left -= client.recv_into(buffer[: min(BLOCK, left)])
        client.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')


def main() -> None:
    """Serve until the process ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
