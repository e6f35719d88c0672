"""Every byte that is signed equals what google-cloud-storage signs, over generated requests.

``BLOBKIT_EXAMPLES=10 pytest tests/unit/gcs/test_signing_oracle.py`` looks at ten times as many.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pytest
from google.cloud import storage
from google.cloud.storage import _signing
from google.cloud.storage import client as storage_client
from google.oauth2 import service_account
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples

import blobkit
from blobkit import Checksum, UploadSpec
from blobkit.keys import quote_key
from blobkit.store import Store
from blobkit_gcs.hosts import Site, site
from blobkit_gcs.signing import HmacKey, RsaKey, Shape, policy_fields, sign_url, window
from blobkit_gcs.testing import StrictGcs

with StrictGcs() as _server:
    ACCOUNT: Final = _server.service_account
LOGIN: Final[Any] = service_account.Credentials.from_service_account_info(ACCOUNT.info)  # type: ignore[no-untyped-call]
KEY: Final = RsaKey(ACCOUNT.email, ACCOUNT.private_key_pem)


def client(**options: str) -> Any:
    info = {**ACCOUNT.info, "universe_domain": options.get("universe_domain", "googleapis.com")}
    login: Any = service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
    return storage.Client(project="p", credentials=login, client_options=options)


def emulated() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", "http://localhost:8080")
        return storage.Client(project="p", credentials=LOGIN)


CLIENTS: Final[dict[str, Any]] = {  # by the endpoint that each of them finds by itself
    "https://storage.googleapis.com": client(),
    "https://storage.example.goog": client(universe_domain="example.goog"),
    "http://localhost:8080": emulated(),
    "https://gcs.example.com:8443": client(api_endpoint="https://gcs.example.com:8443"),
}

keys = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=40)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\t"), min_size=1, max_size=30)
headers = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type",
            "content-md5",
            "x-goog-meta-a",
            "X-Goog-Meta-B/c",
            "x-goog-content-length-range",
            "x-goog-if-generation-match",
            "x-goog-resumable",
            "x-goog-storage-class",
        ]
    ),
    texts,
    max_size=4,
)
queries = st.dictionaries(
    st.sampled_from(["generation", "response-content-type", "partNumber", "uploadId", "uploads", "userProject"]),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=20),
    max_size=3,
)
shown = st.text(st.characters(codec="utf-8"), max_size=20)
starts = st.integers(1_500_000_000, 4_000_000_000)
lives = st.integers(1, 604_800)
BOUND: Final = ("https://media.example.com", "http://cdn.example.com", "https://media.example.com:8443")
sites = st.tuples(st.sampled_from(sorted(CLIENTS)), st.sampled_from(["path", "virtual"])) | st.tuples(
    st.sampled_from(BOUND), st.just("bound")
)


@contextmanager
def at(start: int) -> Iterator[None]:
    """google-cloud-storage's clock stands still."""
    moment = datetime.fromtimestamp(start, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_signing, "_NOW", lambda zone=None: moment)
        patch.setattr(storage_client, "_NOW", lambda zone=None: moment)
        yield


def sdk(where: tuple[str, str]) -> tuple[Any, dict[str, object]]:
    """The client that is there, and how it is told to name the bucket."""
    endpoint, addressing = where
    if addressing == "bound":
        return CLIENTS["https://storage.googleapis.com"], {"bucket_bound_hostname": endpoint}
    return CLIENTS[endpoint], {"virtual_hosted_style": True} if addressing == "virtual" else {}


def without_port(place: Site) -> dict[str, str]:
    """google-cloud-storage signs the port with the host. Google's own vectors, which all of its libraries share, do not (in
    "Simple GET with non-default hostname" the client calls localhost:8080 and signs ``host:localhost``), and so do not we.
    """
    return {"host": place.host} if urlsplit(place.origin).port else {}


@settings(max_examples=examples(100))
@given(
    keys, sites, st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]), headers, queries, starts, lives,
    st.none() | shown, st.none() | shown, st.none() | st.integers(0, 2**63 - 1),
)  # fmt: skip
def test_a_url_equals_the_sdks(
    key: str,
    where: tuple[str, str],
    method: str,
    sent: dict[str, str],
    query: dict[str, str],
    start: int,
    life: int,
    response_type: str | None,
    response_disposition: str | None,
    generation: int | None,
) -> None:
    endpoint, addressing = where
    place = site("bucket", endpoint, addressing)  # type: ignore[arg-type]  # one of its words
    theirs, how = sdk(where)
    with at(start):
        expected = (
            theirs.bucket("bucket")
            .blob(key)
            .generate_signed_url(
                version="v4",
                method=method,
                expiration=timedelta(seconds=life),
                headers={**sent, **without_port(place)},
                query_parameters=dict(query),
                response_type=response_type,
                response_disposition=response_disposition,
                generation=generation,
                credentials=LOGIN,
                **how,
            )
        )
    said = {
        "response-content-type": response_type,
        "response-content-disposition": response_disposition,
        "generation": None if generation is None else str(generation),
    }
    shape = Shape.of(method, place, sent, {**query, **{n: v for n, v in said.items() if v is not None}})
    assert sign_url(KEY, place, quote_key(key), shape, window(KEY, start, start + life)) == expected


def test_a_port_is_signed_by_the_sdk_alone() -> None:
    """When this fails, google-cloud-storage has come round to Google's vectors, and ``without_port`` can go."""
    where = ("http://localhost:8080", "path")
    place = site("bucket", where[0])
    with at(1_700_000_000):
        theirs = sdk(where)[0].bucket("bucket").blob("k").generate_signed_url(version="v4", expiration=60)
    assert sign_url(KEY, place, "k", Shape.of("GET", place), window(KEY, 1_700_000_000, 1_700_000_060)) != theirs


@settings(max_examples=examples(100))
@given(
    keys,
    sites,
    starts,
    lives,
    st.dictionaries(
        st.sampled_from(
            ["content-type", "x-goog-meta-a", "cache-control", "success_action_status", "x-ignore-a", "Content-MD5"]
        ),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
        max_size=4,
    ),
    st.lists(
        st.integers(0, 10**12).map(lambda most: ["content-length-range", 0, most])
        | st.just(["starts-with", "$content-type", "image/"]),
        max_size=2,
    ),
)
def test_a_form_equals_the_sdks(
    key: str, where: tuple[str, str], start: int, life: int, fields: dict[str, str], conditions: list[object]
) -> None:
    theirs, how = sdk(where)
    with at(start):
        expected = theirs.generate_signed_post_policy_v4(
            "bucket",
            key,
            expiration=datetime.fromtimestamp(start + life, UTC).replace(tzinfo=None),
            conditions=list(conditions),
            fields=dict(fields),
            credentials=LOGIN,
            **how,
        )
    ours = policy_fields(KEY, "bucket", key, start, start + life, fields=fields, conditions=conditions)
    assert ours == expected["fields"]
    assert list(ours) == list(expected["fields"])
    assert site("bucket", where[0], where[1]).base == expected["url"]  # type: ignore[arg-type]  # one of its words


@settings(max_examples=examples(100))
@given(keys, sites, headers, queries, starts, lives, st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_an_hmac_signature_is_what_the_documents_say(
    key: str, where: tuple[str, str], sent: dict[str, str], query: dict[str, str], start: int, life: int, secret: str
) -> None:
    place = site("bucket", where[0], where[1])  # type: ignore[arg-type]  # one of its words
    signing = HmacKey("GOOG1EXAMPLE", secret)
    url = sign_url(
        signing, place, quote_key(key), Shape.of("PUT", place, sent, query), window(signing, start, start + life)
    )
    assert url == by_the_book("GOOG1EXAMPLE", secret, place, key, sent, query, start, life)


def by_the_book(
    access_id: str,
    secret: str,
    place: Site,
    key: str,
    sent: dict[str, str],
    query: dict[str, str],
    start: int,
    life: int,
) -> str:
    """cloud.google.com/storage/docs/authentication/canonical-requests and …/signatures, step by step."""
    moment = datetime.fromtimestamp(start, UTC)
    scope = f"{moment:%Y%m%d}/auto/storage/goog4_request"
    lines = {name.lower(): re.sub(r"\s+", " ", value).strip() for name, value in sent.items()}
    lines["host"] = urlsplit(place.origin).hostname or ""
    signed = ";".join(sorted(lines))
    parameters = {
        **query,
        "X-Goog-Algorithm": "GOOG4-HMAC-SHA256",
        "X-Goog-Credential": f"{access_id}/{scope}",
        "X-Goog-Date": f"{moment:%Y%m%dT%H%M%SZ}",
        "X-Goog-Expires": str(life),
        "X-Goog-SignedHeaders": signed,
    }
    encoded = "&".join(sorted(f"{quote(n, safe='-._~')}={quote(v, safe='-._~')}" for n, v in parameters.items()))
    path = f"{place.path}{quote(key, safe='-._~/')}"
    canonical_headers = "".join(f"{name}:{lines[name]}\n" for name in sorted(lines))
    request = f"PUT\n{path}\n{encoded}\n{canonical_headers}\n{signed}\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"GOOG4-HMAC-SHA256\n{parameters['X-Goog-Date']}\n{scope}\n{digest}"
    derived = ("GOOG4" + secret).encode()
    for part in scope.split("/"):
        derived = hmac.new(derived, part.encode(), "sha256").digest()
    return f"{place.origin}{path}?{encoded}&X-Goog-Signature={hmac.new(derived, text.encode(), 'sha256').hexdigest()}"


# --- what a store signs ---


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle") / "key.json"
    path.write_text(json.dumps(ACCOUNT.info))
    return path


specs = st.builds(
    UploadSpec,
    content_type=st.sampled_from([None, "image/png", "text/plain; charset=utf-8"]),
    min_size=st.none() | st.integers(0, 10),
    max_size=st.none() | st.integers(10, 2**40),
    checksum=st.none() | st.binary().map(lambda data: Checksum.of("md5", data)),
    metadata=st.dictionaries(st.sampled_from(["owner", "z_9"]), st.just("u 1"), max_size=2),
    cache_control=st.sampled_from([None, "no-store"]),
    content_disposition=st.sampled_from([None, "attachment; filename=\"a b.txt\"; filename*=UTF-8''%C3%A9"]),
    content_encoding=st.sampled_from([None, "gzip"]),
    storage_class=st.sampled_from([None, "NEARLINE"]),
    if_absent=st.booleans(),
)
places = st.sampled_from(
    [
        ("", {}, ("https://storage.googleapis.com", "path")),
        ("&addressing=virtual", {}, ("https://storage.googleapis.com", "virtual")),
        ("&universe_domain=example.goog", {}, ("https://storage.example.goog", "path")),
        ("&universe_domain=example.goog&addressing=virtual", {}, ("https://storage.example.goog", "virtual")),
        ("", {"STORAGE_EMULATOR_HOST": "http://localhost:8080"}, ("http://localhost:8080", "path")),
        ("&endpoint=https://gcs.example.com:8443", {}, ("https://gcs.example.com:8443", "path")),
        ("&addressing=bound&public_endpoint=https://media.example.com", {}, ("https://media.example.com", "bound")),
        # hostname before endpoint before emulator, as in Google's vectors
        (
            "&endpoint=https://gcs.example.com:8443&public_endpoint=https://storage.googleapis.com",
            {"STORAGE_EMULATOR_HOST": "http://localhost:8080"},
            ("https://storage.googleapis.com", "path"),
        ),
    ]
)
Place = tuple[str, dict[str, str], tuple[str, str]]


def open_at(key_file: Path, options: str, env: dict[str, str], start: int) -> Store:
    moment = datetime.fromtimestamp(start, UTC)
    url = f"gs://bucket/?service_account_file={quote(str(key_file), safe='')}{options}"
    return blobkit.open_store(url, env=env, clock=lambda: moment)


@settings(max_examples=examples(100))
@given(place=places, spec=specs, start=starts, life=lives)
def test_what_a_store_signs_equals_the_sdks(
    key_file: Path, place: Place, spec: UploadSpec, start: int, life: int
) -> None:
    options, env, where = place
    theirs, how = sdk(where)
    pinned = without_port(site("bucket", where[0], where[1]))  # type: ignore[arg-type]  # one of its words

    def sdks(method: str, **more: object) -> str:
        said = {"version": "v4", "expiration": timedelta(seconds=life), "credentials": LOGIN, "headers": dict(pinned)}
        blob = theirs.bucket("bucket").blob("a/é b")
        return str(blob.generate_signed_url(**{**said, **how, "method": method, **more}))

    with open_at(key_file, options, env, start) as store, at(start):
        expires = timedelta(seconds=life)
        upload = store.sign_upload("a/é b", spec=spec, expires_in=expires)
        assert upload.url.reveal() == sdks("PUT", headers={**upload.headers, **pinned})
        shown = store.sign_download("a/é b", filename="é.txt", content_type="text/plain", expires_in=expires)
        disposition = "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"
        assert shown.url.reveal() == sdks("GET", response_disposition=disposition, response_type="text/plain")
        assert store.sign_download("a/é b", method="HEAD", expires_in=expires).url.reveal() == sdks("HEAD")
        assert store.sign_delete("a/é b", expires_in=expires).url.reveal() == sdks("DELETE")


def test_a_version_is_signed_as_the_generation(key_file: Path) -> None:
    start = 1_700_000_000
    with open_at(key_file, "&versioning=on", {}, start) as store, at(start):
        ours = store.sign_download("k", version="17", expires_in=timedelta(seconds=60)).url.reveal()
        blob = CLIENTS["https://storage.googleapis.com"].bucket("bucket").blob("k")
        assert ours == blob.generate_signed_url(version="v4", expiration=60, generation=17, credentials=LOGIN)
        with pytest.raises(blobkit.InvalidArgument):
            store.stat("k", version="latest")


def test_what_is_signed_is_what_stands_in_the_url() -> None:
    place = site("bucket", "http://127.0.0.1:9000")
    url = urlsplit(sign_url(KEY, place, "k", Shape.of("GET", place), window(KEY, 1_700_000_000, 1_700_000_060)))
    assert (url.netloc, url.path) == ("127.0.0.1:9000", "/bucket/k")
