"""A copy that goes on by itself is waited for, within a limit, and called off when it fails."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties

from blobkit.blobs import Pin
from blobkit.errors import AlreadyExists, PreconditionFailed, Unavailable
from blobkit_azure.copying import copy


def described(etag: str, size: int = 10, *, status: str | None = None, copy_id: str = "id") -> BlobProperties:
    """What the service says of a blob, and of the copy that made it."""
    found: Any = BlobProperties(metadata={"a": "1"})
    found.etag, found.size, found.last_modified = f'"{etag}"', size, datetime(2026, 1, 1, tzinfo=UTC)
    found.copy = SimpleNamespace(id=copy_id, status=status, status_description="because")
    return found  # type: ignore[no-any-return]


class Blob:
    """A client of one blob that answers what it was told to."""

    def __init__(self, *states: BlobProperties, started: str = "pending", refusal: Exception | None = None) -> None:
        self.blob_name = "target"
        self.states = list(states)
        self.started = started
        self.refusal = refusal
        self.asked: dict[str, Any] = {}
        self.log: list[str] = []

    def get_blob_properties(self, **_: Any) -> BlobProperties:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def start_copy_from_url(self, url: str, **how: Any) -> dict[str, Any]:
        self.asked = {"url": url, **how}
        if self.refusal is not None:
            raise self.refusal
        modified = datetime(2026, 1, 2, tzinfo=UTC)
        return {"copy_status": self.started, "copy_id": "id", "etag": '"new"', "last_modified": modified}

    def abort_copy(self, copy_id: str) -> None:
        self.log.append(f"abort {copy_id}")

    def delete_blob(self, **how: Any) -> None:
        self.log.append(f"delete {how['etag']}")

    def exists(self) -> bool:
        return True


def run(target: Blob, *, size: int = 10, pin: Pin | None = None, if_absent: bool = False, **more: Any) -> Any:
    source: Any = Blob(described("src", size))
    client: Any = target
    waits: list[float] = []
    ticks = iter(range(10_000))
    info = copy(
        source,
        client,
        source_url=lambda: "https://x/source?sig=s",
        pin=pin,
        if_absent=if_absent,
        wait=waits.append,
        clock=lambda: float(next(ticks)),
        **more,
    )
    return info, waits


def test_a_small_copy_is_there_when_the_service_answers() -> None:
    target = Blob(described("new"), started="success")
    info, waits = run(target, pin=Pin(etag="src"), if_absent=True)
    assert (info.key, info.etag, dict(info.metadata), waits) == ("target", "new", {"a": "1"}, [])
    assert target.asked["requires_sync"] is True
    assert (target.asked["source_etag"], target.asked["source_match_condition"]) == (
        '"src"',
        MatchConditions.IfNotModified,
    )
    assert target.asked["match_condition"] is MatchConditions.IfMissing


def test_a_large_copy_is_looked_after_until_it_is_there() -> None:
    pending = described("p", status="pending")
    target = Blob(pending, pending, described("done", status="success"))
    info, waits = run(target, size=2 << 30)
    assert info.etag == "done"
    assert "requires_sync" not in target.asked
    assert waits == [0.1, 0.2]
    assert target.log == []


def test_a_copy_that_takes_too_long_is_called_off_and_leaves_nothing() -> None:
    target = Blob(described("p", status="pending"))
    with pytest.raises(Unavailable) as found:
        run(target, size=2 << 30, patience=5.0)
    assert found.value.retryable
    assert target.log == ["abort id", 'delete "p"']


def test_a_copy_that_fails_is_told_and_leaves_nothing() -> None:
    target = Blob(described("p", status="pending"), described("f", status="failed"))
    with pytest.raises(Unavailable, match="because"):
        run(target, size=2 << 30)
    assert target.log == ["abort id", 'delete "f"']


def test_what_another_wrote_meanwhile_is_not_deleted() -> None:
    target = Blob(described("p", status="pending"), described("other", status=None, copy_id="another"))
    with pytest.raises(PreconditionFailed):
        run(target, size=2 << 30)
    assert target.log == ["abort id"]


def refusal(status: int, code: str) -> HttpResponseError:
    error: Any = HttpResponseError(message="said")
    error.status_code, error.error_code = status, code
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "BlobAlreadyExists", AlreadyExists),
        (412, "TargetConditionNotMet", AlreadyExists),
        (412, "ConditionNotMet", AlreadyExists),
        (412, "SourceConditionNotMet", PreconditionFailed),
    ],
)
def test_the_condition_that_did_not_hold_is_named(status: int, code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run(Blob(described("x"), refusal=refusal(status, code)), if_absent=True)


def test_a_source_that_is_not_the_pinned_one_is_not_copied() -> None:
    target = Blob(described("new"))
    with pytest.raises(PreconditionFailed):
        run(target, pin=Pin(etag="older"))
    assert target.asked == {}
