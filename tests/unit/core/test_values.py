"""Keys, chunk plans, specs, configuration, redaction, errors: the values that everything else is made of."""

from __future__ import annotations

import json
import logging
import pickle
import re
import traceback
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blobkit
from blobkit import errors
from blobkit.backend import SessionState
from blobkit.chunking import Chunk, ChunkLimits, ChunkPlan, plan
from blobkit.config import Kind, Location, Option, StoreConfig, load_settings, parse
from blobkit.keys import KeyTemplate, check_key, quote_key, uuid7
from blobkit.plans import UploadPlan
from blobkit.redaction import RedactingFilter, Secret, redact, redact_url
from blobkit.sealing import Keyring, SealingKey
from blobkit.signed import ChunkTemplate, RequestTemplate, SignedChunks, SignedRequest, SignedRequests, SignedUrl
from blobkit.spec import GiB, MiB, TiB, UploadSpec

# --- keys ---

GOOD = [
    "a b", "a+b", "a%b", "a%2Fb", "a%20b", "/a", "//a", "a//b", "a/", "~x", "!*'()", "#?&=;:@$,", '"<>{}|^[]`', "é", "e\u0301",
    "日本", "🎬", "\u05e9\u05dc\u05d5\u05dd", "-x", "CON", "a\\b", "dot.", "space ", "...", ".hidden",
    "a/.b", "x" * 1024, "é" * 512,
]  # fmt: skip
BAD = [
    "",
    ".",
    "..",
    "a/../b",
    "./a",
    "a/.",
    "a\n",
    "\0",
    "\x7f",
    "\x85",
    "x" * 1025,
    "é" * 513,
    "\ud800",
    ".blobkit/x",
]


@pytest.mark.parametrize("key", GOOD)
def test_an_allowed_key_is_returned_byte_for_byte(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", BAD)
def test_a_key_that_cannot_work_everywhere_is_refused_with_a_reason(key: str) -> None:
    with pytest.raises(errors.InvalidKey) as caught:
        check_key(key)
    assert caught.value.message
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


@given(st.text(max_size=40))
def test_a_key_is_refused_or_kept_and_its_url_form_decodes_to_it(key: str) -> None:
    from urllib.parse import unquote

    try:
        assert check_key(key) == key
    except errors.InvalidKey:
        return
    assert unquote(quote_key(key)) == key
    assert re.fullmatch(r"(?:[A-Za-z0-9\-_.~/]|%[0-9A-F]{2})+", quote_key(key))


def test_a_template_gives_fresh_keys_that_clients_cannot_steer() -> None:
    template = KeyTemplate("uploads/{owner}/{date:%Y/%m/%d}/{uuid7}{ext}")
    noon = datetime(2026, 2, 3, 12, tzinfo=UTC)
    key = template.render(owner="u1", filename="../../etc/Passwd.PNG", clock=lambda: noon)
    assert re.fullmatch(r"uploads/u1/2026/02/03/[0-9a-f-]{36}\.png", key)
    assert key != template.render(owner="u1", filename="../../etc/Passwd.PNG", clock=lambda: noon)
    for owner in ("../x", "a/b", "a\\b", "..", "x" * 129):
        with pytest.raises(errors.InvalidArgument):
            template.render(owner=owner)
    for filename in ("noext", ".bashrc", "a.p\nng", "a.tooooooolong", "a.é", "evil.png/../x"):
        assert re.search(r"/[0-9a-f-]{36}$", template.render(owner="u", filename=filename))


@pytest.mark.parametrize("text", ["uploads/{owner}", "{uuid7!r}", "{uuid7", "{0}/{uuid7}", "../{uuid7}", "{uuid7:x}"])
def test_a_template_that_is_guessable_or_malformed_is_refused(text: str) -> None:
    with pytest.raises(errors.BlobkitError):
        KeyTemplate(text)


def test_uuid7_is_a_version_7_that_sorts_by_time() -> None:
    early, late = uuid7(datetime(2026, 1, 1, tzinfo=UTC)), uuid7(datetime(2026, 1, 2, tzinfo=UTC))
    assert (early.version, early.variant) == (7, uuid.RFC_4122)
    assert str(early) < str(late)


# --- chunk plans ---

S3 = ChunkLimits(min_chunk=5 * MiB, max_chunk=5 * GiB, max_count=10_000, max_object=10_000 * 5 * GiB)
R2 = ChunkLimits(min_chunk=5 * MiB, max_chunk=5 * GiB, max_count=10_000, max_object=5 * TiB, equal=True)
GCS = ChunkLimits(
    min_chunk=256 * 1024, max_chunk=5 * TiB, max_count=None, max_object=5 * TiB, align=256 * 1024, sequential=True
)
AZURE = ChunkLimits(
    min_chunk=1, max_chunk=4000 * MiB, max_count=50_000, max_object=50_000 * 4000 * MiB, empty_chunk=False
)
LOCAL = ChunkLimits()
PROFILES = [S3, R2, GCS, AZURE, LOCAL]


@given(limits=st.sampled_from(PROFILES), part=st.floats(0, 1), tiny=st.integers(0, 40 * MiB))
def test_a_plan_covers_every_byte_once_and_keeps_every_limit(limits: ChunkLimits, part: float, tiny: int) -> None:
    for size in {tiny, int(part * limits.max_object), limits.max_object}:
        made = plan(size, limits)
        assert limits.max_count is None or len(made) <= limits.max_count
        if size == 0:
            assert list(made) == ([Chunk(1, 0, 0)] if limits.empty_chunk else [])
            continue
        first, last = made[0], made[-1]
        assert (first.offset, last.offset + last.size) == (0, size)
        for index in {0, len(made) // 2, len(made) - 1}:
            chunk = made[index]
            assert chunk == made.chunk(index + 1)
            assert chunk.size <= limits.max_chunk
            if chunk is not last and index + 1 < len(made):
                assert chunk.size >= limits.min_chunk
                assert chunk.size % limits.align == 0
                assert made[index + 1].offset == chunk.offset + chunk.size
        assert last.size > 0


@given(limits=st.sampled_from(PROFILES), size=st.integers(0, 200 * GiB))
def test_a_growing_plan_resolves_to_the_same_cuts(limits: ChunkLimits, size: int) -> None:
    growing = plan(None, limits)
    if size > growing.capacity:
        with pytest.raises(errors.InvalidArgument):
            growing.resolved(size)
        return
    fixed = growing.resolved(size)
    assert sum(1 for _ in zip(fixed, range(3), strict=False)) <= len(growing)
    if size:
        assert fixed[-1].offset + fixed[-1].size == size
        assert 0 < fixed[-1].size <= growing[len(fixed) - 1].size
        if len(fixed) > 1:
            assert fixed[-2] == growing[len(fixed) - 2]


@given(limits=st.sampled_from(PROFILES))
def test_a_growing_plan_has_no_gaps_and_keeps_the_limits(limits: ChunkLimits) -> None:
    growing = plan(None, limits)
    assert growing.capacity <= limits.max_object + limits.max_chunk
    at = 0
    for chunk in growing[:2000]:
        assert chunk.offset == at
        assert limits.min_chunk <= chunk.size <= limits.max_chunk
        assert chunk.size % limits.align == 0
        at += chunk.size
    if limits.equal:
        assert len({chunk.size for chunk in growing[:100]}) == 1


@pytest.mark.parametrize("limits", PROFILES)
def test_an_object_that_no_plan_can_hold_is_an_early_error(limits: ChunkLimits) -> None:
    with pytest.raises(errors.InvalidArgument):
        plan(limits.max_object + 1, limits)


@pytest.mark.parametrize(
    ("limits", "size", "chunk_size"),
    [(S3, 100 * MiB, MiB), (S3, TiB, 16 * MiB), (GCS, MiB, 300_000), (S3, TiB, 6 * GiB), (S3, MiB, 0), (S3, MiB, True)],
)
def test_a_chunk_size_that_breaks_a_limit_is_refused(limits: ChunkLimits, size: int, chunk_size: int) -> None:
    with pytest.raises(errors.InvalidChunk):
        plan(size, limits, chunk_size=chunk_size)


def test_a_chunk_number_that_is_not_in_the_plan_is_refused() -> None:
    made = plan(40 * MiB, S3)
    for number in (0, -1, 4, True, "1"):
        with pytest.raises(errors.InvalidChunk):
            made.chunk(number)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        made[3]
    assert made[-1] == made.chunk(3)


# --- specs ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": -1},
        {"size": True},
        {"size": 2**63},
        {"size": 1, "max_size": 2},
        {"min_size": 3, "max_size": 2},
        {"content_type": "image"},
        {"content_type": "image/png\r\nx: y"},
        {"content_type": "a/b;  c=d"},
        {"cache_control": " no-store"},
        {"cache_control": "a  b"},
        {"content_disposition": "é"},
        {"metadata": {"Owner": "x"}},
        {"metadata": {"a-b": "x"}},
        {"metadata": {"a": " x"}},
        {"metadata": {"a": "é"}},
        {"metadata": {"a": ""}},
        {"metadata": {"blobkitupload": "x"}},
        {"metadata": {"a": "x" * 2048}},
        {"if_absent": 1},
        {"checksum": "abc"},
    ],
)
def test_a_spec_that_no_provider_could_keep_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidArgument):
        UploadSpec(**wrong)  # type: ignore[arg-type]


SPECS = st.builds(
    lambda ct, size, low, high, md, cc, absent, digest: UploadSpec(
        content_type=ct,
        size=size if low is None and high is None else None,
        min_size=low,
        max_size=None if high is None else high + (low or 0),
        metadata=md,
        cache_control=cc,
        if_absent=absent,
        checksum=None if digest is None else blobkit.Checksum("sha256", digest),
    ),
    st.sampled_from([None, "image/png", "text/plain; charset=utf-8"]),
    st.none() | st.integers(0, 2**62),
    st.none() | st.integers(0, 2**61),
    st.none() | st.integers(0, 2**61),
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.from_regex(r"[!-~]{1,9}", fullmatch=True), max_size=4
    ),
    st.sampled_from([None, "no-store", "max-age=60, private"]),
    st.booleans(),
    st.none() | st.binary(min_size=32, max_size=32),
)


def _accepted(**given: Any) -> bool:
    try:
        UploadSpec(**given)
    except errors.InvalidArgument:
        return False
    return True


@given(st.text(st.characters(max_codepoint=300), max_size=6) | st.text(" aZ_9~", max_size=6))
def test_which_texts_a_spec_accepts(text: str) -> None:
    printable = re.fullmatch(r"[!-~]+(?: [!-~]+)*", text) is not None
    assert _accepted(cache_control=text) is _accepted(metadata={"a": text}) is printable
    assert _accepted(metadata={text: "x"}) is (re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None)


def test_a_spec_is_immutable() -> None:
    spec = UploadSpec(size=1, metadata={"a": "b"})
    for name in ("size", "metadata", "fields", "constraints", "other"):
        with pytest.raises(AttributeError):
            setattr(spec, name, None)
        with pytest.raises(AttributeError):
            delattr(spec, name)
    with pytest.raises(TypeError):
        spec.metadata["a"] = "c"  # type: ignore[index]


@given(SPECS)
def test_a_spec_survives_json_and_pickle_and_is_hashable(spec: UploadSpec) -> None:
    again = UploadSpec.from_json(spec.to_json())
    assert again == spec == pickle.loads(pickle.dumps(spec))
    assert hash(again) == hash(spec)
    assert again.constraints == spec.constraints
    assert again.to_json() == spec.to_json()


@given(spec=SPECS, number=st.integers(0, 2**40))
def test_a_session_state_survives_json(spec: UploadSpec, number: int) -> None:
    state = SessionState(
        "k", spec, plan(number, S3), "ab" * 16, "id", datetime.fromtimestamp(number % 10**9, UTC), None
    )
    assert SessionState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize("text", ["", "[]", '{"unknown": 1}', '{"size": "1"}', '{"checksum": 1}', '{"metadata": []}'])
def test_json_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        UploadSpec.from_json(text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.dictionaries(
                st.sampled_from(
                    ["version", "id", "key", "strategy", "single", "parts", "size", "links", "method", "url", "ok"]
                ),
                c,
            )
            | st.lists(c, max_size=3)
        ),
    )
)
def test_json_that_is_no_plan_is_refused_and_nothing_else_happens(value: object) -> None:
    with pytest.raises(errors.InvalidArgument):
        UploadPlan.from_json(json.dumps(value))


# --- configuration ---

OPTIONS = (
    Option("region", Kind.TEXT, "r"),
    Option("path_style", Kind.FLAG, "p"),
    Option("secret_key", Kind.SECRET, "s"),
)


def configured(source: str | Mapping[str, str | Secret], env: Mapping[str, str] | None = None) -> StoreConfig:
    return parse(
        source,
        scheme="az",
        provider="azure",
        location=Location("account", ("container",)),
        options=OPTIONS,
        env=env or {},
    )


@given(
    account=st.from_regex(r"[a-z0-9][a-z0-9.\-]{0,10}", fullmatch=True),
    container=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8),
    prefix=st.lists(st.from_regex(r"[a-zé %+&?#]{1,5}", fullmatch=True), max_size=3),
    region=st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8),
    flag=st.sampled_from([None, "true", "off"]),
)
def test_url_and_dict_say_the_same_and_round_trip(
    account: str, container: str, prefix: list[str], region: str | None, flag: str | None
) -> None:
    source = {"provider": "azure", "account": account, "container": container}
    if prefix:
        source["prefix"] = "/".join(prefix) + "/"
    if region is not None:
        source["region"] = region
    if flag is not None:
        source["path_style"] = flag
    config = configured(source)
    assert configured(config.to_url()) == config
    assert configured(config.to_dict()) == config


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("az://acc/cont?regoin=x", errors.UnknownOption, "region"),
        ("az://acc/cont/no-slash", errors.ConfigError, "ends in '/'"),
        ("az://acc", errors.ConfigError, "container"),
        ("az:///cont", errors.ConfigError, "account"),
        ("az://acc/cont?path_style=maybe", errors.ConfigError, "true or false"),
        ("az://acc/cont?secret_key=abc", errors.ConfigError, "secret_key_file"),
        ("az://acc/cont?region=a&region=b", errors.ConfigError, "twice"),
        ("az://user:pw@acc/cont", errors.ConfigError, "user"),
        ("az://acc/cont#x", errors.ConfigError, "%23"),
        ("az://acc/cont?secret_key_env=NOPE", errors.CredentialsMissing, "NOPE"),
        ("az://acc/cont?secret_key_file=/no/such/file", errors.CredentialsMissing, "/no/such/file"),
        ({"account": "a", "container": "c", "secret_key": "plain"}, errors.ConfigError, "written down"),
        ("az://acc/cont/../x/", errors.ConfigError, "'..'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_and_says_what_would(
    source: str | dict[str, str | Secret], error: type[errors.BlobkitError], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        configured(source)


def test_secrets_come_from_files_variables_or_secret_values_and_never_print(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cr3t\n")
    for config in (
        configured(f"az://a/c?secret_key_file={file}"),
        configured("az://a/c?secret_key_env=K", {"K": "s3cr3t"}),
        configured({"account": "a", "container": "c", "secret_key": Secret("s3cr3t")}),
    ):
        secret = config.secret("secret_key")
        assert secret is not None
        assert secret.reveal() == "s3cr3t"
        assert "s3cr3t" not in repr(config)
    with pytest.raises(errors.ConfigError):
        config.to_url()


def test_a_dict_rules_over_the_environment_and_that_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "blobkit.toml"
    file.write_text(
        '[stores]\na = "local:///file"\nmy-b = "local:///file"\n[stores.c]\nprovider = "local"\npath = "/c"\n'
    )
    env = {"BLOBKIT_STORE_MY_B": "local:///env", "BLOBKIT_STORE_D": "local:///env", "OTHER": "x"}
    stores = load_settings(file, env)["stores"]
    assert stores == {
        "a": "local:///file",
        "my-b": "local:///env",
        "c": {"provider": "local", "path": "/c"},
        "d": "local:///env",
    }
    assert load_settings({"stores": {"d": "local:///dict"}}, env)["stores"]["d"] == "local:///dict"
    for broken in ("stores = 1", "[sotres]\na='b'", "not toml"):
        file.write_text(broken)
        with pytest.raises(errors.ConfigError):
            load_settings(file, {})
    with pytest.raises(errors.ConfigError):
        load_settings(tmp_path / "missing.toml", {})


def test_an_unknown_scheme_lists_what_is_installed_and_what_to_install() -> None:
    with pytest.raises(errors.UnknownScheme, match=r"local.*memory"):
        blobkit.open_store("nope://x")
    with pytest.raises(errors.ConfigError):
        blobkit.open_store("no-scheme")
    with pytest.raises(errors.ConfigError):
        blobkit.open_store({})


def test_a_keyring_rotates_and_says_why_it_refuses() -> None:
    old, new = SealingKey("k1", b"1" * 32), SealingKey("k2", b"2" * 32)
    token = Keyring([old]).seal({"a": "é"})
    assert Keyring([new, old]).open(token) == {"a": "é"}
    with pytest.raises(errors.InvalidToken) as caught:
        Keyring([new]).open(token)
    assert caught.value.reason == "tampered"
    assert "1" * 8 not in repr(Keyring([old])) + repr(old)
    for text in ("k1", "k1:!!", "k1:YQ==", "a b:" + "A" * 44, ""):
        with pytest.raises(errors.ConfigError):
            Keyring.from_text(text)
    with pytest.raises(errors.ConfigError):
        Keyring([old, old])


# --- what must not print ---

CANARY = "c4n4ry-51gn4tur3"


def test_nothing_signed_prints_its_signature() -> None:
    url = f"https://user:{CANARY}@h/p?X-Amz-Signature={CANARY}#{CANARY}"
    request = SignedRequest(RequestTemplate("PUT"), url, 1, {"policy": CANARY})
    secret, signed = Secret(CANARY), SignedUrl(url)
    for value in (request, secret, signed, request.url):
        for shown in (
            str(value),
            repr(value),
            f"{value}",
            f"{value!r:>80}",
            f"{value}",
            str([value]),
        ):
            assert CANARY not in shown
        with pytest.raises(TypeError):
            pickle.dumps(value)
        with pytest.raises(TypeError):
            json.dumps(value)
        with pytest.raises(AttributeError):
            value.x = 1
    for value in (secret, signed):
        for misuse in (
            lambda v: "".join([v]),  # noqa: FLY002
            lambda v: v + "",
            lambda v: v[0],
            lambda v: v.encode(),
        ):
            with pytest.raises((TypeError, AttributeError)):
                misuse(value)
    assert (signed.reveal(), request.url.reveal()) == (url, url)
    assert secret == Secret(CANARY)
    assert secret != CANARY


def test_many_signed_requests_are_a_sequence_that_shows_no_url() -> None:
    urls = [f"https://h/{number}?sig={CANARY}" for number in range(5)]
    many = SignedRequests(RequestTemplate("GET"), urls, 1)
    assert [one.url.reveal() for one in many] == urls == [many[at].url.reveal() for at in range(5)]
    assert [one.url.reveal() for one in many[1:3]] == urls[1:3]
    assert many[-1].as_dict() == SignedRequest(RequestTemplate("GET"), urls[4], 1).as_dict()
    assert CANARY not in repr(many) + repr(many[1:])
    with pytest.raises(IndexError):
        many[5]
    with pytest.raises(TypeError, match="grants access"):
        pickle.dumps(many)


def test_many_signed_chunks_are_a_sequence_that_shows_no_url() -> None:
    chunks = [Chunk(1, 0, 5), Chunk(2, 5, 5), Chunk(3, 10, 1)]
    urls = [f"https://h/k?n={chunk.number}&sig={CANARY}" for chunk in chunks]
    many = SignedChunks(ChunkTemplate(), urls, 1, chunks)
    assert [(one.number, one.offset, one.size, one.url.reveal()) for one in many] == [
        (*chunk, url) for chunk, url in zip(chunks, urls, strict=True)
    ]
    assert [one.number for one in many[::2]] == [1, 3]
    assert many[-1].size == 1
    assert CANARY not in repr(many) + repr(many[1:])
    with pytest.raises(TypeError, match="grants access"):
        pickle.dumps(many)


def test_headers_may_be_made_of_each_requests_own_spec() -> None:
    template = RequestTemplate("PUT", lambda spec: {"content-type": spec.content_type or ""})
    for kind in ("image/png", "image/gif"):
        request = SignedRequest(template, "https://h/k", 1, None, UploadSpec(content_type=kind))
        assert request.headers == {"content-type": kind}
        assert request.spec == UploadSpec(content_type=kind)


def test_a_traceback_that_holds_signed_things_shows_none() -> None:
    request = SignedRequest(RequestTemplate("GET"), f"https://h/p?sig={CANARY}", 1)
    try:
        raise errors.PermissionDenied("refused", hint=f"look at {request}")
    except errors.PermissionDenied:
        assert CANARY not in traceback.format_exc()


@pytest.mark.parametrize(
    "line",
    [
        f"GET https://b.s3.amazonaws.com/k?X-Amz-Credential={CANARY}&X-Amz-Signature={CANARY}&x=1 200",
        f"https://a.blob.core.windows.net/c/k?sv=1&sig={CANARY}",
        f"https://storage.googleapis.com/upload?upload_id={CANARY}",
        f"https://cdn/bcdn_token={CANARY}/x.m3u8",
        f'{{"X-Amz-Signature": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"AccountKey={CANARY};EndpointSuffix=x",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    ],
)
def test_the_log_filter_masks_what_other_libraries_print(line: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("somebody.else")
    keep = RedactingFilter()
    logger.addFilter(keep)
    try:
        logger.warning("sent %s", line)
        try:
            raise ValueError(line)
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeFilter(keep)
    assert CANARY not in caplog.text
    assert CANARY not in redact(line)


def test_a_redacted_url_keeps_host_and_path() -> None:
    assert redact_url("https://u:p@h:1/a/b?sig=1#f") == "https://h:1/a/b?***"
    assert redact_url("/a?b") == "/a?***"


# --- errors and the public face ---


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_pickles_with_all_it_knows(name: str) -> None:
    cls = getattr(errors, name)
    match name:
        case "InvalidToken":
            error = cls("foreign", "m", hint="h")
        case "UnenforceableConstraint":
            error = cls("size", provider="azure", alternatives=["x"])
        case "ConstraintViolated":
            error = cls("size", expected=1, actual=2, key="k")
        case "ChunkMismatch":
            error = cls("m", missing=[1], wrong=[2])
        case _ if issubclass(cls, errors.Unsupported):
            error = cls("m", features=["chunked"], provider="s3")
        case _:
            error = cls(
                "m", provider="s3", operation="stat", key="k", code="c", http_status=1, request_id="r", hint="h"
            )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert isinstance(again, errors.BlobkitError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"\b[A-Z][A-Za-z]+\b", errors.__doc__ or ""))
    assert set(errors.__all__) <= drawn
    for cls in (getattr(errors, name) for name in errors.__all__):
        builtin = {base for base in cls.__mro__ if base.__module__ == "builtins"} - {
            object,
            Exception,
            BaseException,
            OSError,
        }
        assert builtin <= {ValueError, FileNotFoundError, FileExistsError}


def test_only_transient_errors_are_retryable_by_themselves() -> None:
    retryable = {name for name in errors.__all__ if getattr(errors, name).retryable}
    assert retryable == {"TransientError", "Throttled", "Unavailable", "ConnectionFailed"}


def test_the_public_names_are_locked() -> None:
    assert blobkit.__all__ == sorted([*blobkit._HOME_OF, *blobkit._MODULES, "__version__"])
    for name in blobkit.__all__:
        assert getattr(blobkit, name) is not None
        assert name in dir(blobkit)
    with pytest.raises(AttributeError):
        _ = blobkit.nonsense


def test_a_plan_is_a_sequence() -> None:
    made = plan(33 * MiB, S3)
    assert isinstance(made, ChunkPlan)
    assert list(reversed(made)) == list(made)[::-1]
    assert made[1:] == list(made)[1:]
    assert made[0] in made


def test_an_event_survives_json_and_is_deduplicated_by_what_it_says() -> None:
    event = blobkit.BlobEvent.make(
        kind=blobkit.EventKind.CREATED,
        provider="local",
        bucket="b",
        key="é",
        native_type="blobkit.object.created",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        size=1,
        checksums={"crc32c": "AAAAAA=="},
        order="01",
        event_id="e1",
    )
    again = blobkit.BlobEvent.from_dict(json.loads(json.dumps(event.to_dict())))
    assert again == event == pickle.loads(pickle.dumps(event))
    other = blobkit.BlobEvent.from_dict({**event.to_dict(), "order": {"shape": "local-2", "value": "02"}})
    assert again.dedupe_key == event.dedupe_key != other.dedupe_key
    with pytest.raises(errors.MalformedEvent):
        blobkit.BlobEvent.from_dict({"kind": "exploded"})


def test_a_description_of_an_object_pickles() -> None:
    info = blobkit.BlobInfo(
        key="k",
        size=1,
        etag="e",
        modified=datetime(2026, 1, 1, tzinfo=UTC),
        metadata={"a": "b"},
        checksums={"md5": blobkit.Checksum.of("md5", b"x")},
    )
    assert pickle.loads(pickle.dumps(info)) == info


@given(
    st.sampled_from(
        [plan(0, ChunkLimits()), plan(100, ChunkLimits(), chunk_size=7), plan(None, ChunkLimits(max_count=None)),
         plan(None, ChunkLimits()), plan(None, ChunkLimits(), max_size=10**9), plan(14, ChunkLimits(), chunk_size=7)]
    ),
    st.lists(st.integers(min_value=1, max_value=20), max_size=5),
)  # fmt: skip
def test_chosen_chunks_are_those_that_are_asked_for_one_by_one(cut: ChunkPlan, numbers: list[int]) -> None:
    numbers = [min(number, len(cut)) for number in numbers]
    assert cut.chosen(numbers) == [cut.chunk(number) for number in numbers]
    assert all(type(chunk) is Chunk for chunk in cut.chosen(numbers))
    for wrong in (0, -1, len(cut) + 1, True, 1.0, "1"):
        with pytest.raises(errors.InvalidChunk):
            cut.chosen([*numbers, wrong])  # type: ignore[list-item]
