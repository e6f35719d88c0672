"""The little of HTTP that the object routes need, straight on ASGI: read a body in blocks, send one in blocks.

Starlette's request and response objects cost a third of the throughput here, so the two hot routes do without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import IO, Any, Final, TypeVar

from blobkit_local.dataplane.errors import Problem

__all__ = ["BLOCK", "Disconnected", "Exchange", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")

BLOCK: Final = 1 << 20
_DRAIN: Final = 1 << 20  # a refused client hears the answer better if the little it still sends is read


class Disconnected(Exception):
    """The client went away."""


class Exchange:
    """One request and its answer.

    Attributes:
        method: Upper-case.
        headers: Lower-case names; of a repeated header the values are joined by commas (RFC 9110 section 5.3).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._body_done = False
        self._started = False
        self.method: str = scope["method"]
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Run what waits for a disk in a thread."""
        return await self._loop.run_in_executor(None, lambda: function(*args))

    @property
    def started(self) -> bool:
        """Whether the answer has begun."""
        return self._started

    @property
    def content_length(self) -> int | None:
        """The announced size of the body. Raises Problem for nonsense."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdecimal() or len(text) > 19:
            raise Problem(400, "malformed", "Content-Length is not a number")
        return int(text)

    # --- in ---

    async def pour(self, write: Callable[[bytes], None]) -> int:
        """Hand the body to ``write`` in a thread, a mebibyte at a time; the next one is received meanwhile.

        Returns:
            How many bytes there were.

        Raises:
            Disconnected: The client went away before the end.
        """
        total, writing = 0, None
        try:
            while True:
                batch, size, last = await self._gather()
                if writing is not None:
                    await writing
                    writing = None
                total += size
                if batch:
                    writing = self._loop.run_in_executor(None, _write_all, write, batch)
                if last:
                    break
            if writing is not None:
                await writing
                writing = None
        finally:
            if writing is not None:  # the thread must be out before the caller discards what it writes to
                await asyncio.wait([writing])
        return total

    async def _gather(self) -> tuple[list[bytes], int, bool]:
        batch: list[bytes] = []
        size = 0
        while size < BLOCK:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            if part := message.get("body", b""):
                batch.append(part)
                size += len(part)
            if not message.get("more_body", False):
                self._body_done = True
                return batch, size, True
        return batch, size, False

    # --- out ---

    async def answer(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"", *, size: int | None = None
    ) -> None:
        """The whole answer at once. ``size`` is what a GET would send, where this answer has no body (HEAD)."""
        if status != 304:  # which has no body, and whose length would be taken for the object's
            headers = [*headers, ("content-length", str(len(body) if size is None else size))]
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def stream(self, status: int, headers: Sequence[tuple[str, str]], file: IO[bytes], size: int) -> None:
        """``size`` bytes of a file, read a mebibyte ahead of what is being sent. The file is closed in the end."""
        try:
            await self._start(status, [*headers, ("content-length", str(size))])
            if self.method == "HEAD" or size == 0:
                await self._send({"type": "http.response.body", "body": b""})
                return
            left = size
            block = await self.run(file.read, min(BLOCK, left))
            while True:
                left -= len(block)
                if not block:
                    raise OSError("the object is shorter than its index says")
                if left == 0:
                    await self._send({"type": "http.response.body", "body": block})
                    return
                ahead = asyncio.ensure_future(self.run(file.read, min(BLOCK, left)))
                try:
                    await self._send({"type": "http.response.body", "body": block, "more_body": True})
                finally:
                    block = await ahead
        finally:
            await self.run(file.close)

    async def refuse(self, problem: Problem, headers: Sequence[tuple[str, str]]) -> None:
        """An error, after which a body that was not read ends the connection."""
        extra = [("content-type", "application/json"), ("x-blobkit-error", problem.code)]
        if not self._body_done and self.method == "PUT":
            await self._drain()
            if not self._body_done:
                extra.append(("connection", "close"))
        await self.answer(problem.status, [*headers, *extra], problem.body())

    async def _drain(self) -> None:
        """Read a little of what is on its way, unless the client waits to be told to go on (RFC 9110 section 10.1.1)."""
        length = self.content_length if self.headers.get("content-length", "0").isdecimal() else None
        if "100-continue" in self.headers.get("expect", "").lower() or length is None or length > _DRAIN:
            return
        while not self._body_done:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            self._body_done = not message.get("more_body", False)

    async def _start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self._started = True
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


def _write_all(write: Callable[[bytes], None], batch: list[bytes]) -> None:
    for part in batch:
        write(part)
