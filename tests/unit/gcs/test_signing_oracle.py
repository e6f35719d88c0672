"""Every byte that is signed equals what google-cloud-storage signs, over generated requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.cloud import storage
from google.cloud.storage import _signing
from google.cloud.storage import client as storage_client
from google.oauth2 import service_account
from hypothesis import given, settings
from hypothesis import strategies as st

from blobkit.keys import quote_key
from blobkit_gcs.hosts import site
from blobkit_gcs.signing import RsaKey, Shape, policy_fields, sign_url, window
from blobkit_gcs.testing import StrictGcs

with StrictGcs() as _server:
    ACCOUNT = _server.service_account
LOGIN: Any = service_account.Credentials.from_service_account_info(ACCOUNT.info)  # type: ignore[no-untyped-call]
KEY = RsaKey(ACCOUNT.email, ACCOUNT.private_key_pem)
CLIENT: Any = storage.Client(project="p", credentials=LOGIN)

keys = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=60)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "content-md5", "x-goog-meta-a", "x-goog-content-length-range", "x-goog-if-generation-match"]
    ),
    texts,
    max_size=4,
)
queries = st.dictionaries(
    st.sampled_from(["generation", "response-content-type", "response-content-disposition", "partNumber", "uploadId"]),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20),
    max_size=3,
)
starts = st.integers(1_500_000_000, 4_000_000_000)


@contextmanager
def at(start: int) -> Iterator[None]:
    """google-cloud-storage's clock stands still."""
    moment = datetime.fromtimestamp(start, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_signing, "_NOW", lambda zone=None: moment)
        patch.setattr(storage_client, "_NOW", lambda zone=None: moment)
        yield


@settings(max_examples=300)
@given(
    keys, st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]), headers, queries, starts, st.integers(1, 604_800)
)
def test_a_url_equals_the_sdks(
    key: str, method: str, sent: dict[str, str], query: dict[str, str], start: int, life: int
) -> None:
    with at(start):
        theirs = (
            CLIENT.bucket("bucket")
            .blob(key)
            .generate_signed_url(
                version="v4",
                method=method,
                expiration=timedelta(seconds=life),
                headers=dict(sent),
                query_parameters=dict(query),
                credentials=LOGIN,
            )
        )
    place = site("bucket", "https://storage.googleapis.com")
    shape = Shape.of(method, place, sent, query)
    assert sign_url(KEY, place, quote_key(key), shape, window(KEY, start, start + life)) == theirs


@settings(max_examples=60)
@given(keys, starts, st.sampled_from(["virtual", "bound"]))
def test_hosts_that_name_the_bucket_equal_the_sdks(key: str, start: int, addressing: str) -> None:
    how: dict[str, object] = (
        {"virtual_hosted_style": True}
        if addressing == "virtual"
        else {"bucket_bound_hostname": "https://media.example.com"}
    )
    with at(start):
        theirs = (
            CLIENT.bucket("bucket")
            .blob(key)
            .generate_signed_url(version="v4", expiration=timedelta(seconds=60), credentials=LOGIN, **how)
        )
    endpoint = "https://storage.googleapis.com" if addressing == "virtual" else "https://media.example.com"
    place = site("bucket", endpoint, "virtual" if addressing == "virtual" else "bound")
    ours = sign_url(KEY, place, quote_key(key), Shape.of("GET", place), window(KEY, start, start + 60))
    assert ours == theirs


@settings(max_examples=150)
@given(
    keys,
    starts,
    st.integers(1, 604_800),
    st.dictionaries(
        st.sampled_from(["content-type", "x-goog-meta-a", "cache-control", "success_action_status"]), texts, max_size=3
    ),
    st.lists(st.integers(0, 10**12).map(lambda most: ["content-length-range", 0, most]), max_size=1),
)
def test_a_form_equals_the_sdks(
    key: str, start: int, life: int, fields: dict[str, str], conditions: list[object]
) -> None:
    with at(start):
        theirs = CLIENT.generate_signed_post_policy_v4(
            "bucket",
            key,
            expiration=datetime.fromtimestamp(start + life, UTC).replace(tzinfo=None),
            conditions=list(conditions),
            fields=dict(fields),
            credentials=LOGIN,
        )
    ours = policy_fields(KEY, "bucket", key, start, start + life, fields=fields, conditions=conditions)
    assert ours == theirs["fields"]


def test_what_is_signed_is_what_stands_in_the_url() -> None:
    place = site("bucket", "http://127.0.0.1:9000")
    url = urlsplit(sign_url(KEY, place, "k", Shape.of("GET", place), window(KEY, 1_700_000_000, 1_700_000_060)))
    assert (url.netloc, url.path) == ("127.0.0.1:9000", "/bucket/k")
