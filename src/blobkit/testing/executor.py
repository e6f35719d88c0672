"""A client that knows no provider: it makes signed requests, and carries out an upload plan's JSON, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blobkit.signed import SignedChunk, SignedRequest
from blobkit.testing.clients import Answer, Client, form_body

__all__ = ["PlanFailed", "carry_out", "content_range", "send_chunk", "send_request"]


class PlanFailed(AssertionError):
    """The server did not answer a plan's request as the plan says it does."""


def send_request(client: Client, request: SignedRequest, data: bytes | None = None) -> Answer:
    """Make a signed request exactly as it says: method, URL, headers, and form fields in order with the file last."""
    url = request.url.reveal()
    if request.fields is not None:
        kind, body = form_body(request.fields, data or b"")
        return client.send(request.method, url, {**request.headers, "Content-Type": kind}, body)
    return client.send(request.method, url, request.headers, data)


def content_range(offset: int, size: int, total: int | None) -> str:
    """A ``Content-Range`` for a piece of a sequential session (RFC 9110 section 14.4); ``*`` while the total is unknown."""
    whole = "*" if total is None else str(total)
    return f"bytes */{whole}" if size == 0 else f"bytes {offset}-{offset + size - 1}/{whole}"


def send_chunk(client: Client, chunk: SignedChunk, data: bytes, total: int | None) -> Answer:
    """Send one chunk. ``total`` is the object's size; None while more chunks follow that nobody has counted."""
    headers = dict(chunk.headers)
    if chunk.template.content_range:
        headers["Content-Range"] = content_range(chunk.offset, len(data), total)
    return client.send(chunk.method, chunk.url.reveal(), headers, data)


def carry_out(plan: str, data: bytes, client: Client) -> dict[int, str]:
    """Upload ``data`` as an inline upload plan says. Returns the receipts by chunk number; empty for one request.

    Raises:
        PlanFailed: An answer is none of those that the plan calls success.
    """
    said: dict[str, Any] = json.loads(plan)
    if said["version"] != 1:
        raise PlanFailed(f"a plan of version {said['version']}")
    if said["single"] is not None:
        _single(said["single"], data, client)
        return {}
    return _parts(said["parts"], data, client)


def _single(request: Mapping[str, Any], data: bytes, client: Client) -> None:
    headers, body = dict(request["headers"]), data
    if request["fields"] is not None:
        headers["Content-Type"], body = form_body(request["fields"], data)
    answer = client.send(request["method"], request["url"], headers, body)
    if answer.status not in request["ok"]:
        raise PlanFailed(f"{answer.status}: {answer.text}")


def _parts(parts: Mapping[str, Any], data: bytes, client: Client) -> dict[int, str]:
    receipts: dict[int, str] = {}
    expected, receipt = list(parts["ok"]), parts["receipt"]
    if parts["incomplete"] is not None:
        expected.append(parts["incomplete"]["status"])
    items = parts["items"] if parts["order"] == "sequential" else reversed(parts["items"])
    for item in items:
        piece = data[item["offset"] : item["offset"] + item["size"]]
        headers = dict(item["headers"])
        if parts["content_range"]:
            headers["Content-Range"] = content_range(item["offset"], item["size"], len(data))
        answer = client.send(item["method"], item["url"], headers, piece)
        if answer.status not in expected:
            raise PlanFailed(f"chunk {item['n']}: {answer.status}: {answer.text}")
        if receipt["kind"] == "header":
            value = answer.headers.get(str(receipt["name"]).lower())
            if value is not None:
                receipts[item["n"]] = value
            elif receipt["required"]:
                raise PlanFailed(f"chunk {item['n']}: no receipt {receipt['name']}")
    return receipts
