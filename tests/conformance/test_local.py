"""The conformance suite against the embedded store: durable and in memory, and playing the ways of other providers.

Both engines, each with one of the two ways to keep versions, run the whole suite. What is played changes some subjects only,
and runs those: it would be the same code once more for the others. URLs are written in one place for all of them, so the six
HTTP stacks, curl a process each, are for the first; two are enough afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.conformance.subjects import CHUNKS, KEEPING, SIGNING, SUBJECTS, run_each, runs

from blobkit.testing import Harness
from blobkit.testing.clients import Client, HttpClient, UrllibClient
from blobkit.testing.suite import *


class Played(NamedTuple):
    """A store of the table below: the options of its URL, and the subjects of the suite that they change (None: all)."""

    options: str = ""
    subjects: frozenset[str] | None = None
    durable: bool = False


STORES: Final = {
    "local": Played(durable=True),
    "local-versioned": Played("versioning=on", KEEPING, durable=True),
    "memory": Played("", KEEPING | {"test_errors"}),
    "memory-versioned": Played("versioning=on"),
    # What other providers do differently, played: the same laws must hold, or the right error must say why not.
    "last-chunk-publishes": Played("commit=last_chunk", CHUNKS),
    "wide-chunk-grants": Played("chunk_grant=object", CHUNKS | {"test_signed"}),
    "chunks-in-order": Played("sequential=true", CHUNKS | {"test_signed"}),
    "no-conditional-copy": Played("commit=last_chunk&unknown=copy_if_absent,chunked.if_absent", CHUNKS | KEEPING),
    "signing-asks-a-service": Played("signing_io=true", SIGNING),
    "everything-at-once": Played(
        "commit=last_chunk&chunk_grant=object&sequential=true&signing_io=true&versioning=on",
        CHUNKS | SIGNING | {"test_objects", "test_redaction"},
    ),
    "little-is-known": Played(
        "unknown=put.size,put.size_range,put.content_type,put.checksum,put.metadata,put.if_absent,"
        "put.cache_control,put.content_disposition,put.content_encoding,put.storage_class,chunked.size,chunked.checksum,"
        "chunked.metadata,chunked.content_type,sign_head,sign_delete,response_overrides,chunk_checksums,list_uploads,"
        "if_absent,if_match,delete_pinned,start_after,list_dir,ordered_list"
    ),
    "public": Played("public=true", frozenset({"test_downloads", "test_signed"})),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_each(metafunc, {name: store.subjects for name, store in STORES.items()})


@pytest.fixture(scope="module")
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    name: str = request.param
    store = STORES[name]
    if store.durable:
        folder: Path = tmp_path_factory.mktemp(name)
        url, foreign = f"local://{folder / 'store'}?{store.options}", f"local://{folder / 'foreign'}"
    else:
        url, foreign = f"memory://conformance-{name}?{store.options}", f"memory://conformance-{name}-foreign"
    clients: Sequence[Client] | None = None if name == "local" else [HttpClient(), UrllibClient()]
    harness = Harness(
        url.rstrip("?"), others={"foreign_keys": foreign}, refuses=frozenset(), clients=clients, name=name
    )
    yield harness
    harness.stop()


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_subject_of_the_suite_runs_against_both_engines_and_a_played_one(subject: str) -> None:
    having = {name for name, store in STORES.items() if runs(store.subjects, subject)}
    assert having >= {"local", "memory-versioned", "little-is-known"}
