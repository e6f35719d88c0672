"""Several HTTP stacks behind one small protocol, because each rewrites a URL in its own way before it leaves.

None follows redirects, uses a proxy, retries, or decodes bodies: what the server answered is what a test sees.
"""

from __future__ import annotations

import http.client
import importlib.util
import re
import shutil
import subprocess  # curl is one of the stacks
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol
from urllib.parse import urlsplit

__all__ = [
    "Answer",
    "Client",
    "CurlClient",
    "HttpClient",
    "HttpxClient",
    "RequestsClient",
    "Urllib3Client",
    "UrllibClient",
    "available_clients",
    "form_body",
]

_TIMEOUT: Final = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: the status, headers with lower-case names, the body as it came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    @property
    def refused(self) -> bool:
        """Whether the server said no, as opposed to yes, or to being broken."""
        return 400 <= self.status < 500

    @property
    def text(self) -> str:
        """The start of the body, for messages."""
        return self.body[:500].decode("utf-8", "replace")


class Client(Protocol):
    """One HTTP stack.

    Attributes:
        name: As it stands in reports.
    """

    name: str

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Make one request, exactly with these headers and what the stack adds by itself; return whatever is answered."""
        ...

    def close(self) -> None:
        """Close the connections that are kept open."""


def _answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, body)


class HttpClient:
    """``http.client`` of the standard library: it changes nothing at all."""

    name = "http.client"

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body=body, headers=dict(headers))
            response = connection.getresponse()
            return _answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def close(self) -> None:
        """See Client."""


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


class UrllibClient:
    """``urllib.request`` of the standard library. It adds a form's content type to a body that has none."""

    name = "urllib.request"

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Straight)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("an http or https URL")
        request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310 - checked above
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as response:
                return _answer(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def close(self) -> None:
        """See Client."""
        self._opener.close()


class Urllib3Client:
    """``urllib3``."""

    name = "urllib3"

    def __init__(self) -> None:
        import urllib3

        self._pool = urllib3.PoolManager(maxsize=8)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        response = self._pool.request(
            method,
            url,
            headers=dict(headers),
            body=body,
            redirect=False,
            retries=False,
            timeout=_TIMEOUT,
            decode_content=False,
        )
        return _answer(response.status, response.headers.items(), response.data)

    def close(self) -> None:
        """See Client."""
        self._pool.clear()


class RequestsClient:
    """``requests``. It decodes what is needlessly encoded (``%7E``) and collapses dot segments."""

    name = "requests"

    def __init__(self) -> None:
        import requests

        self._session = requests.Session()
        self._session.trust_env = False

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        response = self._session.request(
            method, url, headers=dict(headers), data=body, allow_redirects=False, timeout=_TIMEOUT, stream=True
        )
        with response:
            data = response.raw.read(decode_content=False)
        return _answer(response.status_code, response.headers.items(), data)

    def close(self) -> None:
        """See Client."""
        self._session.close()


class HttpxClient:
    """``httpx``."""

    name = "httpx"

    def __init__(self) -> None:
        import httpx

        self._client = httpx.Client(trust_env=False, follow_redirects=False, timeout=_TIMEOUT)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        with self._client.stream(method, url, headers=dict(headers), content=body) as response:
            data = b"".join(response.iter_raw())
        return _answer(response.status_code, response.headers.multi_items(), data)

    def close(self) -> None:
        """See Client."""
        self._client.close()


class CurlClient:
    """The ``curl`` program, without its configuration file."""

    name = "curl"

    def __init__(self, program: str = "curl") -> None:
        self._program = program

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Client."""
        with tempfile.TemporaryDirectory() as folder:
            sent, got, heads = (Path(folder, name) for name in ("sent", "got", "heads"))
            words = [self._program, "--disable", "--silent", "--show-error", "--noproxy", "*"]
            words += ["--max-time", str(_TIMEOUT), "--output", str(got), "--dump-header", str(heads)]
            words += ["--head"] if method == "HEAD" else ["--request", method]
            if body is not None:
                sent.write_bytes(body)
                words += ["--data-binary", f"@{sent}", "--header", "Expect:"]
                if not any(name.lower() == "content-type" for name in headers):
                    words += ["--header", "Content-Type:"]  # not the form's that --data-binary implies
            for name, value in headers.items():
                words += ["--header", f"{name}: {value}" if value else f"{name};"]
            subprocess.run([*words, url], check=True, capture_output=True, timeout=_TIMEOUT + 5)  # noqa: S603
            status, pairs = _parse_heads(heads.read_bytes())
            return _answer(status, pairs, got.read_bytes() if got.exists() and method != "HEAD" else b"")

    def close(self) -> None:
        """See Client."""


def _parse_heads(raw: bytes) -> tuple[int, list[tuple[str, str]]]:
    last = raw.strip().replace(b"\r\n", b"\n").split(b"\n\n")[-1].decode("latin-1").split("\n")
    found = re.match(r"HTTP/[0-9.]+ (\d{3})", last[0])
    if found is None:
        raise ValueError("curl gave no status")
    pairs = [
        (name.strip(), value.strip()) for name, colon, value in (line.partition(":") for line in last[1:]) if colon
    ]
    return int(found.group(1)), pairs


def available_clients() -> tuple[list[Client], dict[str, str]]:
    """Every stack that this machine has, the plainest first; and by name what lacks, and why."""
    found: list[Client] = [HttpClient(), UrllibClient()]
    missing: dict[str, str] = {}
    for name, kind in (("urllib3", Urllib3Client), ("httpx", HttpxClient), ("requests", RequestsClient)):
        if importlib.util.find_spec(name) is None:
            missing[name] = "not installed"
        else:
            found.append(kind())
    if program := shutil.which("curl"):
        found.append(CurlClient(program))
    else:
        missing["curl"] = "no such program"
    return found, missing


def form_body(fields: Mapping[str, str], data: bytes, *, filename: str = "file") -> tuple[str, bytes]:
    """A ``multipart/form-data`` body (RFC 7578) with the fields in order and the file last: its content type, and it."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
    return f"multipart/form-data; boundary={boundary}", b"".join(
        [*parts, head, data, f"\r\n--{boundary}--\r\n".encode()]
    )
