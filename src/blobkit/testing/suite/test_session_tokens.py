"""The laws of a session's token: it resumes anywhere, and only for whom it was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from blobkit.errors import (
    InvalidToken,
)
from blobkit.sealing import ENV
from blobkit.session import UploadSession
from blobkit.spec import UploadSpec
from blobkit.testing.clock import FakeClock
from blobkit.testing.trial import Trial


def test_a_token_resumes_the_session_anywhere(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data), spec=UploadSpec(content_type="image/png", metadata={"a": "1"}))
    trial.accepted(trial.send_chunks(session, data, [1]), session)
    token = session.token.reveal()
    assert len(token) <= 4096
    assert all(c.isalnum() or c in "-_" for c in token)
    resumed = trial.open().resume_upload(token, key="target")
    assert resumed.upload_id == session.upload_id
    assert list(resumed.chunks) == list(session.chunks)
    assert dict(resumed.enforcement) == dict(session.enforcement)
    assert resumed.status().received == (1,)
    trial.accepted(trial.send_chunks(resumed, data, resumed.status().missing), resumed)
    resumed.complete()
    info = trial.holds("target", data)
    assert (info.content_type, dict(info.metadata)) == ("image/png", {"a": "1"})


def test_another_process_resumes_and_completes(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    trial.accepted(trial.send_chunks(session, data, [1, 2]), session)
    if trial.harness.store_url is None:
        trial.uncheckable("not checkable on this server: the harness has no store_url for another process")
    if not trial.store.capabilities.multi_process:
        trial.undeclared("multi_process")
        answer = elsewhere(trial, session)
        assert answer.get("state") == "gone" or answer.get("error"), (
            "another process sees a store that is this one's own"
        )
        trial.holds("target", finish_here(trial, session, data))
        return
    assert elsewhere(trial, session) == {"state": "open", "received": [1, 2], "missing": [3]}
    trial.nothing_at("target")
    trial.accepted(trial.send_chunks(session, data, [3]), session)
    assert elsewhere(trial, session) == {"state": "open", "received": [1, 2, 3], "missing": [], "completed": len(data)}
    trial.holds("target", data)
    assert session.complete().size == len(data)
    assert elsewhere(trial, session)["state"] == "committed"


def finish_here(trial: Trial, session: UploadSession, data: bytes) -> bytes:
    """Send the last chunk and complete; what the object then holds."""
    trial.accepted(trial.send_chunks(session, data, [3]), session)
    session.complete()
    return data


def elsewhere(trial: Trial, session: UploadSession) -> dict[str, object]:
    """Resume the session in a fresh interpreter."""
    order = {"store": trial.harness.url(trial.prefix), "token": session.token.reveal()}
    done = subprocess.run(
        [sys.executable, "-m", "blobkit.testing.elsewhere"],
        input=json.dumps(order),
        env={**os.environ, ENV: trial.harness.sealing_text, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def reason_of(call: Callable[[], object]) -> str:
    """The reason for which a token is refused; it must be."""
    with pytest.raises(InvalidToken) as found:
        call()
    return found.value.reason


def test_a_token_is_refused_to_whom_it_does_not_belong(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    session = trial.start("target", size=10, owner="u1")
    token = session.token
    store = trial.store
    assert store.resume_upload(token, owner="u1").owner == "u1"
    assert reason_of(lambda: store.resume_upload(token)) == "foreign"
    assert reason_of(lambda: store.resume_upload(token, owner="u2")) == "foreign"
    assert reason_of(lambda: store.resume_upload(token, owner="u1", key="other")) == "foreign"
    assert reason_of(lambda: store.at("tenant/").resume_upload(token, owner="u1")) == "foreign"
    elsewhere = trial.harness.open(trial.harness.new_prefix())
    with elsewhere:
        assert reason_of(lambda: elsewhere.resume_upload(token, owner="u1")) == "foreign"
    later = trial.open(clock=FakeClock(session.expires_at + timedelta(seconds=1)))
    assert reason_of(lambda: later.resume_upload(token, owner="u1")) == "expired"
    in_time = trial.open(clock=FakeClock(session.expires_at - timedelta(seconds=5)))
    assert in_time.resume_upload(token, owner="u1").upload_id == session.upload_id
    session.abort()


def test_a_changed_token_is_refused(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    session = trial.start("target", size=10)
    token = session.token.reveal()
    for place in {*range(0, len(token), max(1, len(token) // 40)), len(token) - 1}:
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert reason_of(partial(trial.store.resume_upload, changed)) in ("tampered", "newer")
    for text in ("", "x", token[:-4], token + "AAAA", "é", token * 40):
        assert reason_of(partial(trial.store.resume_upload, text)) == "tampered"
    session.abort()
