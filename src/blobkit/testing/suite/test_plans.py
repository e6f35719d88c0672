"""The upload plan: JSON that a client carries out which knows no provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import InvalidArgument, Unsupported
from blobkit.plans import PlanLinks, UploadPlan
from blobkit.testing.clients import Answer, Client
from blobkit.testing.executor import carry_out
from blobkit.testing.trial import Trial

LINKS: Final = PlanLinks(
    sign="/uploads/1/chunks/{n}", list="/uploads/1", complete="/uploads/1/complete", abort="/uploads/1"
)


def test_a_plan_of_one_request_is_carried_out_by_every_http_stack(trial: Trial) -> None:
    for client in trial.clients:
        data = f"by {client.name}".encode()
        plan = trial.store.plan_upload("k", len(data), expires_in=timedelta(minutes=5))
        assert plan.strategy == "single"
        assert carry_out(plan.as_json(), data, client) == {}
        trial.holds("k", data)


def test_a_plan_of_chunks_is_carried_out_by_every_http_stack(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.plan_upload("k", 10, single_up_to=0)
        return
    data = trial.body()
    for client in trial.clients:
        session = trial.start("k", size=len(data))
        receipts = carry_out(session.plan().as_json(), data, client)
        assert session.status().missing == ()
        session.complete(receipts)
        trial.holds("k", data)
        trial.store.delete("k")


def test_a_plan_by_size_carries_the_token_that_completes_it(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.plan_upload("k", 10, single_up_to=0)
        return
    data = trial.body(1.5)
    plan = trial.store.plan_upload("k", len(data), owner="u1", single_up_to=0, allow_session_life=trial.bearer_chunks)
    assert plan.strategy == ("session" if trial.sequential else "parts")
    carry_out(plan.as_json(), data, trial.client)
    trial.nothing_at("k")
    assert trial.open().resume_upload(plan.id, owner="u1").complete().size == len(data)
    trial.holds("k", data)


def test_a_plan_is_the_same_after_a_round_trip_through_json(trial: Trial) -> None:
    plans = [trial.store.plan_upload("k", 10)]
    if trial.store.capabilities.has(Feature.CHUNKED):
        session = trial.start("s", size=len(trial.body()))
        plans += [session.plan(links=LINKS), session.plan(sign="lazy", links=LINKS, id="upload-1")]
    for plan in plans:
        again = UploadPlan.from_json(plan.as_json())
        assert again.as_json() == plan.as_json()
        assert json.loads(plan.as_json())["version"] == 1


def test_a_lazy_plan_signs_nothing_and_needs_links(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.start_upload("k", size=1)
        return
    session = trial.start("k", size=len(trial.body()))
    with pytest.raises(InvalidArgument):
        session.plan(sign="lazy")
    text = session.plan(sign="lazy", links=LINKS, id="upload-1").as_json()
    said = json.loads(text)
    assert said["parts"]["items"] == []
    assert said["parts"]["count"] == len(session.chunks)
    assert said["links"]["sign"] == LINKS.sign
    assert "://" not in text, "a lazy plan holds no URL of the provider"
    with pytest.raises(InvalidArgument):
        trial.start("unknown").plan()


def test_a_client_with_only_the_missing_chunks_finishes_an_interrupted_plan(trial: Trial) -> None:
    if not trial.declares(Feature.CHUNKED):
        with pytest.raises(Unsupported):
            trial.store.start_upload("k", size=1)
        return
    data = trial.body(3.5)
    session = trial.start("k", size=len(data))
    text = session.plan().as_json()
    sent = _first_items(text, 2)
    carry_out(sent, data, trial.client)
    status = session.status()
    assert (status.received, status.missing) == ((1, 2), (3, 4))
    rest = json.loads(text)
    rest["parts"]["items"] = [item for item in rest["parts"]["items"] if item["n"] in status.missing]
    carry_out(json.dumps(rest), data, _Counting(trial.client, most=2))
    session.complete()
    trial.holds("k", data)


def _first_items(plan: str, count: int) -> str:
    said = json.loads(plan)
    said["parts"]["items"] = said["parts"]["items"][:count]
    return json.dumps(said)


class _Counting:
    """A client that makes so many requests and no more."""

    def __init__(self, inner: Client, *, most: int) -> None:
        self.name = inner.name
        self._inner = inner
        self._left = most

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        self._left -= 1
        assert self._left >= 0, "a chunk was sent that was there already"
        return self._inner.send(method, url, headers, body)

    def close(self) -> None:
        """The client within is another's."""
