"""The kit itself: what wraps a backend wraps all of it, what fails does so when told, and reports hide nothing."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from blobkit.backend import Backend
from blobkit.errors import BlobkitError, ConfigError, Unavailable
from blobkit.keys import check_key
from blobkit.opening import open_store
from blobkit.spec import Constraint, Route
from blobkit.testing import (
    ALL_CHECKS,
    ConformanceReport,
    Crash,
    FakeClock,
    FaultyBackend,
    Harness,
    Note,
    everything_but,
    faulty,
    run,
)
from blobkit.testing.clients import available_clients, form_body
from blobkit.testing.corpus import KEYS, REFUSED_KEYS
from blobkit.testing.executor import content_range
from blobkit.testing.faults import CONTROL_CALLS, Fault
from blobkit.testing.matrix import CASES
from blobkit.testing.trial import one_bit_off, signature_of, with_signature

METHODS: Final = sorted(name for name, value in vars(Backend).items() if callable(value) and not name.startswith("_"))


def test_the_faulty_backend_overrides_every_method_of_backend() -> None:
    assert len(METHODS) >= 17
    for name in METHODS:
        assert name in vars(FaultyBackend), f"{name} slips past"
        assert inspect.signature(getattr(FaultyBackend, name)) == inspect.signature(getattr(Backend, name))


def test_the_faulty_backend_hands_every_call_on_with_all_its_arguments() -> None:
    class Recorder:
        capabilities = None

        def __init__(self) -> None:
            self.calls: list[tuple[str, tuple[object, ...], dict[str, object]]] = []

        def __getattr__(self, name: str) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                self.calls.append((name, args, kwargs))
                return iter([name]) if name in ("list", "pending") else name

            return call

    for name in METHODS:
        recorder = Recorder()
        wrapper = FaultyBackend(recorder)  # type: ignore[arg-type]
        parameters = list(inspect.signature(getattr(Backend, name)).parameters.values())[1:]
        args = [object() for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        kwargs = {p.name: object() for p in parameters if p.kind is p.KEYWORD_ONLY}
        result = getattr(wrapper, name)(*args, **kwargs)
        if name in ("list", "pending"):
            assert list(result) == [name]
        elif name != "close":
            assert result == name
        (called, passed, named), *more = recorder.calls
        assert not more
        assert called == name
        assert [*passed, *named.values()] == [*args, *kwargs.values()]


def test_control_calls_are_methods_of_backend() -> None:
    assert set(CONTROL_CALLS) < set(METHODS)


def test_faults_strike_when_they_were_told_to_and_once() -> None:
    with open_store("memory://kit-faults") as plain:
        store, faults = faulty(plain)
        faults.fail("put", skip=1)
        store.write("a", b"1")
        with pytest.raises(Unavailable):
            store.write("b", b"1")
        assert not plain.exists("b")
        store.write("b", b"1")
        faults.lose("delete")
        with pytest.raises(BlobkitError):
            store.delete("a")
        assert not plain.exists("a"), "the reply is lost, the effect is not"
        faults.crash("head", "before")
        with pytest.raises(Crash):
            store.exists("b")
        assert faults.pending == ()
        assert faults.log.count("put") == 3
        with pytest.raises(ValueError, match="no such call"):
            faults.add(Fault("nonsense"))


def test_a_schedule_by_chance_is_the_same_for_the_same_seed() -> None:
    def run_with(seed: int) -> list[bool]:
        with open_store(f"memory://kit-chance-{seed}") as plain:
            store, faults = faulty(plain)
            faults.by_chance(seed, 0.5, {"head"})
            return [_fails(lambda: store.exists("k")) for _ in range(30)]

    assert run_with(1) == run_with(1)
    assert run_with(1) != run_with(2)
    assert True in run_with(1)
    assert False in run_with(1)


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except BlobkitError:
        return True
    return False


def test_the_corpus_is_what_it_says() -> None:
    assert len({weird.name for weird in KEYS}) == len(KEYS)
    assert len({weird.key for weird in KEYS}) == len(KEYS)
    for weird in KEYS:
        assert check_key(weird.key) == weird.key
    for weird in REFUSED_KEYS:
        with pytest.raises(BlobkitError):
            check_key(weird.key)


def test_every_constraint_has_a_case_that_keeps_it_and_one_that_breaks_it() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for constraint in Constraint:
        assert {case.allowed for case in CASES if case.constraint is constraint} == {True, False}


def test_every_cell_of_the_capabilities_has_a_check() -> None:
    for route in Route:
        for constraint in Constraint:
            assert f"{route}.{constraint}" in ALL_CHECKS


def test_everything_but_refuses_a_check_that_does_not_exist() -> None:
    assert everything_but("expiry") == ALL_CHECKS - {"expiry"}
    with pytest.raises(ValueError, match="no such check: expirey"):
        everything_but("expirey")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"store_url": "memory://a", "opener": lambda *a, **k: None},
        {"store_url": "memory://a", "enforces": frozenset({"nonsense"})},
        {"store_url": "memory://a", "others": {"nonsense": "memory://b"}},
        {"store_url": "memory://a", "refuses": frozenset({"nonsense"})},
        {"store_url": "memory://a", "reasons": {"nonsense": "why"}},
    ],
)
def test_a_harness_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"harness|no such"):
        Harness(**wrong)  # type: ignore[arg-type]


def test_a_harness_gives_each_test_its_own_place_and_cleans_up() -> None:
    harness = Harness("memory://kit-places/base/")
    with harness:
        one, two = harness.new_prefix(), harness.new_prefix()
        assert one != two
        assert one.startswith("base/")
        with harness.open(one) as first, harness.open(two) as second:
            first.write("k", b"1")
            first.start_upload("left", size=3)
            first.start_upload("staged", size=3, staging=True)
            assert not second.exists("k")
    with open_store("memory://kit-places") as store:
        assert list(store.list()) == []
        assert list(store.list_uploads()) == []


def test_a_harness_serves_an_embedded_store_and_stops() -> None:
    clients, _ = available_clients()
    harness = Harness("memory://kit-serving")
    with harness, harness.open(harness.new_prefix()) as store:
        store.write("k", b"served")
        url = store.sign_download("k", expires_in=timedelta(minutes=1)).url.reveal()
        for client in clients:
            assert client.send("GET", url, {}).body == b"served"
            client.close()
    with pytest.raises(OSError, match="refused"):
        clients[0].send("GET", url, {})


def test_a_harness_takes_the_public_endpoint_that_its_url_names() -> None:
    harness = Harness("memory://kit-elsewhere?public_endpoint=http://127.0.0.1:9")
    with harness, harness.open(harness.new_prefix()) as store:
        assert store.sign_download("k", expires_in=timedelta(minutes=1)).url.reveal().startswith("http://127.0.0.1:9/")


def test_the_fake_clock_stands_still_and_is_aware() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock() == clock() == datetime(2026, 1, 1, tzinfo=UTC)
    clock.advance(timedelta(hours=1))
    assert clock().hour == 1
    assert FakeClock.ago(timedelta(hours=1))() < datetime.now(UTC)
    with pytest.raises(ValueError, match="zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - without one


@pytest.mark.parametrize(
    "url",
    [
        "https://b.s3/k?X-Amz-SignedHeaders=host&X-Amz-Signature=0123456789abcdef",
        "https://a.blob/c/k?sv=1&sp=r&sig=aGVs%2BG8gd29ybGQ%3D",
        "https://storage/b/k?X-Goog-Signature=abcdef&X-Goog-SignedHeaders=host",
        "http://127.0.0.1/o/k?bk-exp=1&bk-sig=00ff",
    ],
)
def test_a_signature_is_found_and_one_bit_of_it_changed(url: str) -> None:
    signature = signature_of(url)
    assert signature
    forged = with_signature(url, one_bit_off(signature))
    assert forged != url
    assert len(forged) == len(url)
    assert signature_of("https://host/path?upload_id=AB") is None


def test_content_ranges_are_those_of_the_rfc() -> None:
    assert content_range(0, 256, None) == "bytes 0-255/*"
    assert content_range(256, 10, 266) == "bytes 256-265/266"
    assert content_range(0, 0, 0) == "bytes */0"


def test_a_form_has_its_fields_in_order_and_the_file_last() -> None:
    kind, body = form_body({"key": "é", "policy": "p"}, b"\0data")
    assert kind.startswith("multipart/form-data; boundary=")
    assert [m.decode() for m in re.findall(rb'; name="(\w+)"', body)] == ["key", "policy", "file"]
    assert b"\0data" in body


def test_a_report_tells_everything() -> None:
    report = ConformanceReport(
        store="memory://x",
        passed=3,
        failed=(Note("test_a", "E  boom"),),
        not_checkable=(Note("test_b", "not checkable on this server: expiry"),) * 2,
        undeclared=(Note("test_c", "versions"), Note("test_d", "versions")),
        missing=(Note("curl", "no such program"),),
        seconds=1.0,
    )
    assert not report
    assert json.loads(json.dumps(report.as_dict()))["undeclared"] == ["versions"]
    text = "\n".join(report.lines())
    for word in (
        "3 passed, 1 failed, 2 not checkable",
        "boom",
        "2  not checkable on this server: expiry",
        "versions",
        "curl",
    ):
        assert word in text
    assert not ConformanceReport("x", 0, (), (), (), (), 0.0), "nothing tested is no success"


def test_a_wrong_store_is_the_callers_error_before_anything_runs() -> None:
    with pytest.raises(ConfigError):
        run("memory://x?versoning=on")
    with pytest.raises(ValueError, match="no such check"):
        run("memory://x", cannot_check=["nonsense"])


def test_what_cannot_be_checked_is_skipped_by_name_and_counted() -> None:
    code = (
        "import json, blobkit.testing as t;"
        "r = t.run('memory://cannot', cannot_check=['expiry'], args=['-k', 'expired_a_minute_ago'], quiet=True);"
        "print(json.dumps(r.as_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout)
    assert report["ok"]
    assert len(report["not_checkable"]) == 10
    assert {note["reason"] for note in report["not_checkable"]} == {
        "not checkable on this server: expiry (a URL that has expired is refused)"
    }
    assert report["undeclared"] == ["sign_form"]


def test_the_kit_imports_no_provider_and_no_test_runner_until_it_runs() -> None:
    code = (
        "import sys, blobkit.testing as t; t.Harness; t.run; t.faulty; t.FakeClock;"
        "bad = {'pytest', 'blobkit_local', 'boto3', 'google', 'azure', 'uvicorn', 'httpx', 'urllib3'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
