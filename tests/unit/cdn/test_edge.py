"""The local data plane as an edge: real requests by four real clients, with the links and cookies of every CDN."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import aiohttp
import httpx
import pytest
import urllib3
import yarl

import blobkit
from blobkit import Restrictions
from blobkit.cdn import Cdn, Site
from blobkit.serving import listening, running

from .every import NAMES, every

KEYS = [
    "videos/42/clip.mp4", "videos/42/a b+c&d=e;f,g@h:i!j$k'l(m)n*o~p.bin", "videos/42/100% é ü 日本/?#[]{}|^`\"<>.bin",
    "videos/42/a%2Fb%20c.txt", "videos/42/x//y.ts", "videos/42/.hidden",
]  # fmt: skip


class Edge:
    """One server in this process; the CDN that stands before its store changes from test to test."""

    def __init__(self, host: str, cdns: dict[str, Cdn], store: blobkit.Store) -> None:
        self.host = host
        self.cdns = cdns
        self.store = store
        self.apps = {name: store.data_plane(edge=cdn) for name, cdn in cdns.items()}
        self.current = "nginx"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app: Any = self.apps[self.current]
        await app(scope, receive, send)


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    with listening("127.0.0.1", 0) as sock:
        host = f"127.0.0.1:{sock.getsockname()[1]}"
        with blobkit.open_store("memory://cdn-edge") as store:
            for number, key in enumerate(KEYS):
                store.write(key, f"content {number}".encode())
                store.write(f"o/{key}", f"content {number}".encode())
            site = Site(host, base="o/", insecure=True)
            app = Edge(host, every(site), store)
            with running(app, sock):
                yield app


def by_urllib3(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", url, headers=headers)
        return answer.status, answer.data


def by_httpx(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    answer = httpx.get(url, headers=headers)
    return answer.status_code, answer.content


def by_aiohttp(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    async def ask() -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, await answer.read()

    return asyncio.run(ask())


def by_curl(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    words = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        ["curl", "--silent", "--globoff", "--path-as-is", "--write-out", "\n%{http_code}", *words, url],
        check=True,
        capture_output=True,
    )
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


CLIENTS: list[Callable[[str, dict[str, str]], tuple[int, bytes]]] = [by_urllib3, by_httpx, by_aiohttp, by_curl]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "frontdoor"])
def test_every_client_sends_what_was_signed(edge: Edge, name: str) -> None:
    edge.current = name
    cdn = edge.cdns[name]
    for number, key in enumerate(KEYS):
        link = cdn.sign_key(key).reveal()
        for client in CLIENTS:
            assert client(link, {}) == (200, f"content {number}".encode()), (client.__name__, link)
    for client in CLIENTS:
        status, body = client(f"http://{edge.host}/o/{KEYS[0]}", {})
        assert status == 403
        assert b"unsigned" in body


@pytest.mark.parametrize("name", [name for name in NAMES if name != "frontdoor"])
def test_queries_prefixes_and_cookies_reach_the_objects(edge: Edge, name: str) -> None:
    edge.current = name
    cdn = edge.cdns[name]
    url = cdn.sign_url(f"/o/{KEYS[0]}?v=1&w=a b+c%2Bd&x=é&y=q/r?s:t@u").reveal()
    for client in CLIENTS:
        assert client(url, {})[0] == 200, (client.__name__, url)
    if cdn.capabilities.prefix:
        link = cdn.sign_prefix("/o/videos/42/").url("x//y.ts").reveal()
        for client in CLIENTS:
            assert client(link, {})[0] == 200, (client.__name__, link)
    if cdn.capabilities.cookies:
        cookies = cdn.sign_cookies("/o/videos/42/", secure=False)
        header = {"Cookie": "; ".join(f"{cookie.name}={cookie.value.reveal()}" for cookie in cookies)}
        plain = cdn.url_of(KEYS[1])
        for client in CLIENTS:
            assert client(plain, header) == (200, b"content 1"), client.__name__
            assert client(cdn.url_of("else/where"), header)[0] == 403, client.__name__


def test_an_apostrophe_in_a_query_survives_where_the_client_is_told_to_leave_it(edge: Edge) -> None:
    edge.current = "cloudfront-rsa"
    url = edge.cdns[edge.current].sign_url(f"/o/{KEYS[0]}?y='q'").reveal()
    assert "?y=%27q%27&" in url
    for client in (by_urllib3, by_httpx, by_curl):
        assert client(url, {})[0] == 200, client.__name__

    async def ask() -> int:
        async with aiohttp.ClientSession() as session, session.get(yarl.URL(url, encoded=True)) as answer:
            return answer.status

    assert asyncio.run(ask()) == 200


def test_the_edge_knows_the_clients_address_and_leaves_our_own_signatures_alone(edge: Edge) -> None:
    edge.current = "akamai"
    cdn = edge.cdns["akamai"]
    assert httpx.get(cdn.sign_key(KEYS[0], ip="127.0.0.1").reveal()).status_code == 200
    refused = httpx.get(cdn.sign_key(KEYS[0], ip="203.0.113.7").reveal())
    assert (refused.status_code, refused.json()["error"]) == (403, "address")
    old = cdn.sign_key(KEYS[0], expires_in=timedelta(seconds=1)).reveal()
    assert httpx.get(old.replace("exp=", "exp=1")).status_code == 403
    own = edge.store.sign_download(KEYS[0]).url.reveal()
    path = own.partition("/o/")[2]
    assert httpx.get(f"http://{edge.host}/o/{path}").content == b"content 0"
    assert httpx.get(f"http://{edge.host}/healthz").status_code == 200
    assert httpx.put(f"http://{edge.host}/o/{KEYS[0]}", content=b"x").status_code == 403
    assert httpx.head(cdn.sign_key(KEYS[0]).reveal()).status_code == 200
    ranged = httpx.get(cdn.sign_key(KEYS[0]).reveal(), headers={"Range": "bytes=0-3"})
    assert (ranged.status_code, ranged.content) == (206, b"cont")


def test_headers_that_a_token_binds_are_looked_at(edge: Edge) -> None:
    edge.current = "mediacdn"
    link = edge.cdns["mediacdn"].sign_key(KEYS[0], restrict=Restrictions(headers={"X-Device": "tv"})).reveal()
    assert httpx.get(link, headers={"X-Device": "tv"}).status_code == 200
    assert httpx.get(link, headers={"X-Device": "phone"}).status_code == 403
    assert httpx.get(link).json()["error"] == "header"


def test_a_sas_through_the_edge(edge: Edge) -> None:
    edge.current = "frontdoor"
    cdn = edge.cdns["frontdoor"]
    assert httpx.get(cdn.sign_url(f"/o/{KEYS[0]}").reveal()).content == b"content 0"
