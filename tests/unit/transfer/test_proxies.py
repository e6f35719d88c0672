"""Proxies of the environment: which URLs go through them and how, what they refuse, and that their passwords stay theirs."""

from __future__ import annotations

import base64
import logging
import os
import ssl
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blobkit import errors
from blobkit.transfer import Patience, download, upload
from blobkit.transfer.proxies import Proxy, proxy_for

from .certificates import certified
from .proxy import AnyProxy, proxying
from .storage import Storage, serving
from .test_upload import parts

DATA = os.urandom(100_000)
PASSWORD = "p4ss:w%40rd-c4n4ry"
EAGER = Patience(retries=2, base=0.0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as running:
        running.object = DATA
        yield running


@pytest.fixture
def proxy(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyProxy]:
    with proxying(storage.url) as running:
        monkeypatch.setenv("HTTP_PROXY", f"http://us%65r:{PASSWORD}@{running.at}")
        storage.url = "http://storage.example:8080"
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("tls") / "both.pem", "storage.example")


@pytest.fixture
def tunnel(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AnyProxy, Storage]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as storage, proxying(storage.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@{proxy.at}")
        storage.object, storage.url = DATA, "https://storage.example"
        yield proxy, storage


def test_http_is_asked_of_the_proxy_with_the_whole_url(proxy: AnyProxy, storage: Storage, tmp_path: Path) -> None:
    download(f"{storage.url}/o?X-Amz-Signature=1", tmp_path / "f", range_size=30_000)
    assert (tmp_path / "f").read_bytes() == DATA
    upload(tmp_path / "f", parts(storage))
    assert b"".join(storage.chunks[number] for number in sorted(storage.chunks)) == DATA
    assert {urlsplit(target)[:2] for _, target, _ in proxy.asked} == {("http", "storage.example:8080")}
    wanted = "Basic " + base64.b64encode(b"user:p4ss:w@rd-c4n4ry").decode()
    assert {headers["proxy-authorization"] for _, _, headers in proxy.asked} == {wanted}
    assert {headers["host"] for _, _, headers in storage.requests} == {"storage.example:8080"}


def test_https_goes_through_a_tunnel_and_is_verified_at_its_end(
    tunnel: tuple[AnyProxy, Storage], certificate: Path, tmp_path: Path
) -> None:
    proxy, storage = tunnel
    trust = ssl.create_default_context(cafile=str(certificate))
    with pytest.raises(errors.ConnectionFailed) as caught:
        download(f"{storage.url}/o", tmp_path / "f", patience=EAGER)
    assert (caught.value.retryable, "certificate" in (caught.value.hint or "")) == (False, True)
    with pytest.raises(errors.ConnectionFailed):
        download("https://other.example/o", tmp_path / "f", patience=EAGER, tls=trust)
    proxy.asked.clear()
    download(f"{storage.url}/o", tmp_path / "f", range_size=10_000, concurrency=2, tls=trust)
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(proxy.asked) <= 2, "a tunnel is used again"
    upload(tmp_path / "f", parts(storage), tls=trust)
    assert b"".join(storage.chunks[number] for number in sorted(storage.chunks)) == DATA
    wanted = "Basic " + base64.b64encode(b"user:p4ss:w@rd-c4n4ry").decode()
    assert {(method, target) for method, target, _ in proxy.asked} == {("CONNECT", "storage.example:443")}
    assert {headers["proxy-authorization"] for _, _, headers in proxy.asked} == {wanted}
    assert not any("proxy-authorization" in headers for _, _, headers in storage.requests)


@pytest.mark.parametrize(("status", "final"), [(407, True), (403, True), (502, False)])
def test_a_tunnel_that_is_refused(
    tunnel: tuple[AnyProxy, Storage], certificate: Path, tmp_path: Path, status: int, final: bool
) -> None:
    proxy, storage = tunnel
    trust = ssl.create_default_context(cafile=str(certificate))
    proxy.refuse.extend([status] * 9)
    with pytest.raises(errors.ConnectionFailed, match=f"the proxy answered {status}") as caught:
        download(f"{storage.url}/o", tmp_path / "f", patience=EAGER, tls=trust)
    assert (caught.value.http_status, caught.value.retryable) == (status, not final)
    assert len(proxy.asked) == (1 if final else 3)
    assert list(tmp_path.iterdir()) == []
    proxy.refuse.clear()
    proxy.refuse.extend([502, 503])
    download(f"{storage.url}/o", tmp_path / "f", patience=EAGER, tls=trust)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_proxy_that_wants_other_credentials(proxy: AnyProxy, storage: Storage, tmp_path: Path) -> None:
    proxy.refuse.append(407)
    with pytest.raises(errors.ConnectionFailed, match="the proxy answered 407") as caught:
        download(f"{storage.url}/o", tmp_path / "f", patience=EAGER)
    assert (caught.value.http_status, caught.value.retryable, len(proxy.asked)) == (407, False, 1)
    proxy.refuse.append(407)
    (tmp_path / "g").write_bytes(DATA)
    with pytest.raises(errors.ConnectionFailed, match="the proxy answered 407"):
        upload(tmp_path / "g", parts(storage), patience=EAGER, concurrency=1)


def test_the_proxys_password_prints_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    with caplog.at_level(logging.DEBUG):
        for scheme in ("http", "https"):
            for value in (
                f"http://user:{PASSWORD}@127.0.0.1:1",  # nobody listens there
                f"socks5://user:{PASSWORD}@127.0.0.1:1",
                f"http://user:{PASSWORD}@127.0.0.1:port",
                f"http://user:{PASSWORD}@",
            ):
                monkeypatch.setenv(f"{scheme}_proxy", value)
                with pytest.raises(errors.BlobkitError) as caught:
                    download(f"{scheme}://storage.example/o", tmp_path / "f", patience=Patience(retries=0))
                told.append(type(caught.value))
                shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
                assert "c4n4ry" not in shown
    assert told == [errors.ConnectionFailed, errors.ConfigError, errors.ConfigError, errors.ConfigError] * 2
    assert caplog.text == ""
    monkeypatch.setenv("http_proxy", f"http://user:{PASSWORD}@p.example")
    found = proxy_for(urlsplit("http://storage.example/o"))
    assert repr(found) == "Proxy(host='p.example', port=80)"


@pytest.mark.parametrize(
    ("named", "url", "through"),
    [
        ({}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://a.example/", "p"),
        ({"HTTPS_PROXY": "p:3128"}, "https://a.example/", "p"),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://a.example/", None),
        ({"HTTP_PROXY": "http://P:3128", "http_proxy": "http://q:3128"}, "http://a.example/", "q"),
        ({"ALL_PROXY": "http://p:3128"}, "http://a.example/", "p"),
        ({"HTTPS_PROXY": ""}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example, example"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".example"}, "https://a.example:8443/", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "ample"}, "https://a.example/", "p"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example:443"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example:444"}, "https://a.example/", "p"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "2001:db8::1"}, "https://[2001:db8::1]/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://localhost:9000/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://media.localhost/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://127.0.0.2:9000/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://[::1]:9000/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://10.0.0.1/", "p"),
    ],
)
def test_which_urls_go_through_which_proxy(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], url: str, through: str | None
) -> None:
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(urlsplit(url))
    assert found == (None if through is None else Proxy(through, 3128))
