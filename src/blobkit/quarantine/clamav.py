"""A virus scan by clamd, over its INSTREAM command: :class:`ClamAV`. The content is streamed from the store, never kept.

The protocol (https://docs.clamav.net/manual/Usage/Scanning.html#clamd): ``zINSTREAM\\0``, then chunks, each with its length as
four bytes in network order, then a length of zero; the reply is ``stream: OK``, ``stream: NAME FOUND`` or ``… ERROR``.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from blobkit.errors import BlobkitError, ConfigError, ConnectionFailed, Unavailable
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict, failed, passed

__all__ = ["ClamAV"]

_CHUNK: Final = 256 * 1024
_REPLY: Final = 4096
_FOUND: Final = re.compile(r"\A[^:]{1,64}: (.{1,256}) FOUND\Z")
_NAME: Final = re.compile(r"[^A-Za-z0-9._:/()+-]")
_PORT: Final = 3310


@dataclass(frozen=True, slots=True)
class ClamAV:
    """clamd finds nothing in it. What could not be scanned whole does not pass.

    Args:
        address: ``tcp://HOST[:3310]`` or ``unix:///run/clamav/clamd.ctl``.
        max_bytes: The largest content that is sent. Not more than ``StreamMaxLength``, ``MaxFileSize`` and ``MaxScanSize`` of
            clamd.conf: beyond the last two clamd says OK without having looked.
        timeout: Seconds without an answer before a scan counts as failed, and is tried again.
    """

    address: str
    max_bytes: int = 25 * 1024 * 1024
    timeout: float = 120.0
    name: str = field(default="clamav", init=False)

    def __post_init__(self) -> None:
        _endpoint(self.address)
        if self.max_bytes < 1 or self.timeout <= 0:
            raise ConfigError("max_bytes and timeout of ClamAV are positive")

    def check(self, subject: Subject) -> Verdict:
        """Stream the content through clamd.

        Raises:
            ConnectionFailed: clamd cannot be reached, or went away.
            Unavailable: It answered with an error.
        """
        if subject.info.size > self.max_bytes:
            return failed(self.name, f"{subject.info.size} bytes cannot be scanned: {self.max_bytes} are the most")
        with self._connected() as connection:
            for block in self._framed(subject):
                try:
                    connection.sendall(block)
                except (BrokenPipeError, ConnectionResetError):
                    break  # it closes when a limit is reached; what it said before can still be read
            reply = _reply(connection)
        return self._verdict(reply)

    def ping(self) -> None:
        """Ask clamd whether it is there. Raises ConnectionFailed, Unavailable."""
        with self._connected() as connection:
            connection.sendall(b"zPING\0")
            if (reply := _reply(connection)) != "PONG":
                raise Unavailable(f"clamd answered {_plain(reply)}")

    def _framed(self, subject: Subject) -> Iterator[bytes]:
        yield b"zINSTREAM\0"
        for block in subject.blocks():
            for at in range(0, len(block), _CHUNK):
                part = block[at : at + _CHUNK]
                yield struct.pack("!I", len(part))
                yield part
        yield struct.pack("!I", 0)

    def _verdict(self, reply: str) -> Verdict:
        if reply.endswith(": OK"):
            return passed(self.name)
        if found := _FOUND.match(reply):
            return failed(self.name, f"{_plain(found[1])} was found")
        if "size limit exceeded" in reply:
            return failed(self.name, "larger than clamd is set up to scan (StreamMaxLength)")
        raise Unavailable(f"clamd answered {_plain(reply)}" if reply else "clamd went away without an answer")

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        family, where = _endpoint(self.address)
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        with connection:
            try:
                connection.connect(where)
                yield connection
            except BlobkitError:
                raise  # the store's; some of them are OSErrors too
            except TimeoutError as error:
                raise ConnectionFailed(f"clamd did not answer within {self.timeout:g} s") from error
            except OSError as error:
                raise ConnectionFailed(f"clamd cannot be reached: {error.strerror or error}") from error


def _endpoint(address: str) -> tuple[int, str | tuple[str, int]]:
    """The socket's family and address. IPv6 addresses are written in brackets."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            return socket.AF_UNIX, parts.path
        if parts.scheme == "tcp" and parts.hostname and not parts.path.strip("/"):
            family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
            return family, (parts.hostname, parts.port or _PORT)
    except ValueError:  # of the port
        pass
    raise ConfigError(
        f"not an address of clamd: {address!r}", hint="tcp://127.0.0.1:3310 or unix:///run/clamav/clamd.ctl"
    )


def _reply(connection: socket.socket) -> str:
    data = b""
    while b"\0" not in data and len(data) < _REPLY:
        block = connection.recv(_REPLY)
        if not block:
            break
        data += block
    return data.partition(b"\0")[0].decode("ascii", "replace").strip()


def _plain(text: str) -> str:
    return _NAME.sub(" ", text)[:200].strip()
