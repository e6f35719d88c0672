"""What the quarantine promises on any store: tests/unit runs it on the embedded one, tests/conformance on servers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.unit.quarantine.places import CLEAN, EVIL, Died, Steps, World

from blobkit.backend import Feature
from blobkit.errors import BlobNotFound
from blobkit.quarantine import Examined

__all__ = ["Make", "any_crash", "any_put", "late_put", "passes", "refuses"]

Make = Callable[[], World]
_MOST = 100


def passes(make: Make) -> None:
    """What passes is served with its headers, once, and its staging key is empty."""
    here = make()
    upload = here.arrived()
    assert here.quarantine().run_once() == Examined(available=1)
    now = here.tracker.get(upload.id)
    assert now.state == "available"
    assert now.served is not None
    assert here.public.read(now.served.key) == CLEAN
    assert here.public.stat(now.served.key).content_type == "text/plain"
    assert not here.staging.exists(upload.key)
    assert here.notices().count("available") == 1
    here.close()


def refuses(make: Make) -> None:
    """What is refused can be read nowhere, not by its version either."""
    here = make()
    upload = here.arrived(b"..." + EVIL)
    assert here.quarantine().run_once() == Examined(rejected=1)
    now = here.tracker.get(upload.id)
    assert (now.state, now.reason) == ("rejected", "look: refused")
    assert here.readable() == []
    assert not here.staging.exists(upload.key)
    if here.staging.capabilities.has(Feature.VERSIONS):
        assert upload.version is not None
        with pytest.raises(BlobNotFound):
            here.staging.stat(upload.key, version=upload.version)  # not behind a delete marker either
    here.close()


def late_put(make: Make) -> None:
    """A staging URL that is used after publication reaches nobody, and what it left is swept."""
    here = make()
    upload = here.arrived()
    here.quarantine().run_once()
    here.overwrite(upload)
    assert here.readable() == [CLEAN]
    now = here.tracker.get(upload.id)
    assert now.sweep_at is not None
    here.clock.now = max(here.clock.now, now.url_expires_at)
    here.clock.tick(hours=2)
    here.tracker.reconcile()
    assert not here.staging.exists(upload.key)
    assert here.readable() == [CLEAN]
    assert here.tracker.get(upload.id).state == "available"
    here.close()


def any_put(make: Make) -> None:
    """PUT clean, and PUT evil with the same URL before any step: what readers get is what the checks saw."""
    outcomes: set[str] = set()
    for at in range(_MOST):
        here = make()
        upload = here.arrived()
        steps = Steps(at, partial(here.overwrite, upload))
        here.watch(steps)
        now = here.until_settled(upload, here.quarantine())
        steps.over()
        outcomes.add(now.state)
        readable = here.readable()
        assert set(readable) <= {CLEAN}
        assert set(readable) <= set(here.seen)
        assert (now.state == "available") == bool(readable)
        if now.served is not None:
            with here.public.open(now.served.key, pin=now.served.pin) as file:
                assert file.read() == CLEAN
        versioned = here.staging.capabilities.has(Feature.VERSIONS)
        here.close()
        if steps.count <= at:
            assert at > 6, steps.names
            assert outcomes == ({"available"} if versioned else {"available", "failed"})
            return
    raise AssertionError("the steps never end")


def any_crash(make: Make, *, clean: bool) -> None:
    """The process dies before any step: nothing is lost, and it is published, or refused, once."""

    def die() -> None:
        raise Died

    for at in range(_MOST):
        here = make()
        upload = here.arrived(CLEAN if clean else EVIL)
        steps = Steps(at, die)
        here.watch(steps)
        now = here.until_settled(upload, here.quarantine())
        steps.over()
        assert now.state == ("available" if clean else "rejected")
        assert here.readable() == ([CLEAN] if clean else [])
        assert here.notices().count(now.state) == 1
        here.close()
        if steps.count <= at:
            assert at > 4, steps.names
            return
    raise AssertionError("the steps never end")
