"""The protocol of clamd, spoken with a server that reads it strictly; and with the real one where there is one."""

from __future__ import annotations

import io
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.unit.quarantine.subjects import subject

from blobkit.errors import BlobNotFound, ConfigError, ConnectionFailed, Unavailable
from blobkit.quarantine import ClamAV

EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()


class Clamd:
    """Answers INSTREAM as clamd does; ``limit`` is its StreamMaxLength."""

    def __init__(self, reply: bytes | None = None, limit: int = 1 << 30, hang_up: bool = False) -> None:
        self.reply, self.limit, self.hang_up = reply, limit, hang_up
        self.commands: list[bytes] = []
        self.received = b""

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as file:
            command = b""
            while not command.endswith(b"\0"):
                command += file.read(1)
            self.commands.append(command)
            if self.hang_up:
                return
            if command == b"zPING\0":
                file.write(b"PONG\0")
                return
            while size := int.from_bytes(head := file.read(4)):
                self.received += file.read(size)
                if len(self.received) > self.limit:
                    file.write(b"INSTREAM size limit exceeded. ERROR\0")
                    return
            if len(head) < 4:
                return  # the client went away
            said = self.reply
            if said is None:
                said = b"stream: Win.Test.EICAR_HDB-1 FOUND\0" if EICAR in self.received else b"stream: OK\0"
            file.write(said)


@contextmanager
def listening(clamd: Clamd) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = False

        def accept() -> None:
            while not stop:
                connection, _ = server.accept()
                if not stop:
                    clamd.serve(connection)
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        host, port = server.getsockname()
        try:
            yield f"tcp://{host}:{port}"
        finally:
            stop = True
            socket.create_connection((host, port)).close()
            thread.join(5)


def test_a_clean_content_passes_and_arrives_whole() -> None:
    data = bytes(range(256)) * 5000
    with listening(clamd := Clamd()) as address:
        assert ClamAV(address).check(subject(data))
    assert clamd.received == data
    assert clamd.commands == [b"zINSTREAM\0"]


def test_what_is_found_is_named() -> None:
    with listening(Clamd()) as address:
        verdict = ClamAV(address).check(subject(b"x" * 300_000 + EICAR))
    assert not verdict
    assert verdict.reason == "Win.Test.EICAR_HDB-1 was found"


def test_a_content_that_clamd_would_not_take_whole_does_not_pass() -> None:
    with listening(Clamd(limit=1000)) as address:
        assert not ClamAV(address).check(subject(bytes(100_000)))
        assert not ClamAV(address, max_bytes=10).check(subject(bytes(11)))


@pytest.mark.parametrize("reply", [b"stream: Can't allocate memory ERROR\0", b"nonsense\0", b"\0", b"stream: OK"])
def test_only_ok_is_ok(reply: bytes) -> None:
    with listening(Clamd(reply)) as address:
        if reply == b"stream: OK":  # without its end, but whole
            assert ClamAV(address).check(subject(b"x"))
            return
        with pytest.raises(Unavailable):
            ClamAV(address).check(subject(b"x"))


def test_a_clamd_that_hangs_up_decides_nothing() -> None:
    with listening(Clamd(hang_up=True)) as address, pytest.raises((Unavailable, ConnectionFailed)):
        ClamAV(address).check(subject(b"x"))


def test_a_clamd_that_is_not_there_decides_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed):
        ClamAV(f"tcp://127.0.0.1:{port}").check(subject(b"x"))


def test_a_content_that_is_gone_is_the_stores_error_and_not_clamds() -> None:
    one = subject(b"x")
    one.store.delete(one.info.key)
    with listening(Clamd()) as address, pytest.raises(BlobNotFound):
        ClamAV(address).check(one)


def test_clamd_can_be_asked_whether_it_is_there() -> None:
    with listening(Clamd()) as address:
        ClamAV(address).ping()


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:3310", "http://x", "tcp://", "unix://", "tcp://h:99999999", "tcp://h/path"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        ClamAV(address)


# --- the real one ---

real = pytest.mark.skipif("BLOBKIT_CLAMD" not in os.environ, reason="no clamd: BLOBKIT_CLAMD=tcp://… names one")


@real
def test_the_real_clamd_finds_eicar_whole_split_and_zipped() -> None:
    scan = ClamAV(os.environ["BLOBKIT_CLAMD"])
    scan.ping()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.com", EICAR)
    assert scan.check(subject(b"harmless"))
    assert not scan.check(subject(EICAR))
    assert not scan.check(subject(packed.getvalue()))


@real
def test_the_real_clamd_finds_eicar_split_over_the_chunks_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blobkit.quarantine.clamav._CHUNK", 7)
    assert not ClamAV(os.environ["BLOBKIT_CLAMD"]).check(subject(EICAR))
