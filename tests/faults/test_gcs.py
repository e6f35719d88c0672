"""Google Cloud Storage when things go wrong: clients that die at any byte, services that fail at any request.

``BLOBKIT_SCHEDULES=1000 pytest tests/faults/test_gcs.py`` looks at a thousand schedules of faults.
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

import blobkit
from blobkit.errors import BlobkitError, BlobNotFound, TransientError
from blobkit.signed import SignedChunk
from blobkit.store import Store
from blobkit.transfer.retry import Patience
from blobkit.transfer.upload import upload
from blobkit_gcs.testing import Fault, StrictGcs

KIB256 = 256 * 1024
MIB = 1024 * 1024
SCHEDULES = int(os.environ.get("BLOBKIT_SCHEDULES", "40"))
LIFE = timedelta(minutes=5)


class Gcs:
    """A server with the bucket ``media``, and how to open it."""

    def __init__(self, server: StrictGcs, folder: Path) -> None:
        self.server = server
        key = folder / "key.json"
        key.write_text(json.dumps(server.service_account.info))
        self.options = f"endpoint={quote(server.endpoint, safe='')}&service_account_file={quote(str(key), safe='')}"
        self.sealing = blobkit.Keyring.from_text("k:" + base64.b64encode(os.urandom(32)).decode())

    def open(self, more: str = "", retries: int = 1) -> Store:
        return blobkit.open_store(f"gs://media/?{self.options}{more}", sealing=self.sealing, retries=retries)


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    with StrictGcs() as server:
        server.create_bucket("media")
        yield Gcs(server, tmp_path_factory.mktemp("gcs"))


@pytest.mark.parametrize("mode", ["", "&chunks=multipart"], ids=["sessions", "parts"])
def test_the_demo_holds_on_google_cloud_storage(gcs: Gcs, tmp_path: Path, mode: str) -> None:
    film = tmp_path / "film.mp4"
    # killed half way: more than the four chunks of 5 MiB that may be on their way, so that one is there
    film.write_bytes(random.Random(1).randbytes((48 if mode else 16) * MIB))
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("blobkit"),
            "demo",
            "--store",
            f"gs://media/demo/?{gcs.options}{mode}",
            film,
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "BLOBKIT_SEALING_KEYS": "k:" + base64.b64encode(os.urandom(32)).decode()},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("mode", ["", "&chunks=multipart"], ids=["sessions", "parts"])
def test_a_client_that_dies_at_any_byte_goes_on_where_the_service_is(gcs: Gcs, mode: str) -> None:
    """At the first byte, the last, around every edge of a chunk and of 256 KiB, and anywhere between."""
    chunk = 5 * MIB if mode else 2 * KIB256
    for number in range(3 if mode else 12):
        chance, key = random.Random(number), f"dies/{mode}{number}"
        data = chance.randbytes(2 * chunk + KIB256 + chance.randrange(KIB256))
        with gcs.open(mode) as store:
            token = store.start_upload(key, size=len(data), chunk_size=chunk, allow_session_life=True).token
        for _ in range(
            3
        ):  # dies three times, each time somewhere else; each life is a process that knows the token alone
            with gcs.open(mode) as store:
                session = store.resume_upload(token)
                status = session.status()
                [signed] = session.sign_chunks([status.missing[0]], expires_in=None if not mode else LIFE)
                start = status.received_bytes if not mode else signed.offset
                body = data[start:] if not mode else data[start : start + signed.size]
                edges = [0, 1, len(body) - 1, KIB256 - 1, KIB256, KIB256 + 1, chunk - 1, chunk]
                count = chance.choice([edge for edge in edges if edge < len(body)] + [chance.randrange(len(body))] * 4)
                die_after(signed, body, start if not mode else None, len(data), count)
        with gcs.open(mode) as store:
            session = store.resume_upload(token)
            assert not store.exists(key)
            upload(data, session)
            session.complete()
            assert store.read(key) == data


def die_after(signed: SignedChunk, body: bytes, start: int | None, total: int, count: int) -> None:
    """A client that sends so many bytes of its body, and is gone."""
    parts = urlsplit(signed.url.reveal())
    lines = [f"PUT {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in signed.headers.items()]
    if start is not None:
        lines.append(f"Content-Range: bytes {start}-{total - 1}/{total}")
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body[:count])
        client.shutdown(socket.SHUT_WR)
        client.settimeout(10)
        while client.recv(4096):  # until the server has noticed
            pass


@pytest.mark.parametrize("mode", ["", "&chunks=multipart"], ids=["sessions", "parts"])
def test_any_schedule_of_faults_ends_in_a_whole_object_or_in_none(gcs: Gcs, mode: str) -> None:
    data, whole = random.Random(0).randbytes((11 if mode else 1) * MIB + 5), 0
    for schedule in range(SCHEDULES // (5 if mode else 1)):
        chance, key, done = random.Random(schedule), f"s/{uuid.uuid4().hex}", False
        with gcs.open(mode) as store:
            gcs.server.faults.clear()
            gcs.server.faults.add(*(fault(chance) for _ in range(chance.randrange(1, 6))))
            try:
                session = store.start_upload(
                    key, size=len(data), chunk_size=None if mode else KIB256, if_absent=True, allow_session_life=True
                )
                upload(data, session, patience=Patience(retries=2, base=0.0))
                session.complete()
                done = True
            except TransientError:
                pass
            except BlobkitError as error:
                pytest.fail(f"schedule {schedule}: {error!r}")
            finally:
                gcs.server.faults.clear()
            try:
                assert store.read(key) == data, f"schedule {schedule}"
                whole += 1
            except BlobNotFound:
                assert not done, f"schedule {schedule}: complete() said that it is there"
    assert whole, "no schedule at all came to its end"


def fault(chance: random.Random) -> Fault:
    """One thing that goes wrong at one of the next requests."""
    skip = chance.randrange(8)

    def after_some(_: object) -> bool:
        nonlocal skip
        skip -= 1
        return skip < 0

    effect = chance.choice(["status", "status", "drop", "truncate"])
    return Fault(
        effect,  # type: ignore[arg-type]  # one of the effects
        when=after_some,
        after=chance.random() < 0.5,
        status=chance.choice([429, 500, 503]),
        retry_after=0 if chance.random() < 0.3 else None,
        keep=chance.randrange(20),
    )
