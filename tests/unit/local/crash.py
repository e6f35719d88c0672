"""Crash a durable engine at every step that touches the disk, and look at what is left.

Run as a program, it tries every crash point of one workload and prints what went wrong as JSON: a process of its own, since
each crash is a fork that ends with ``os._exit``, and a test process has threads.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.unit.local.helpers import Clock, begin, get, put, send

from blobkit.blobs import Checksum
from blobkit.errors import NotFound, SessionNotFound
from blobkit_local import disk, extents, index
from blobkit_local.credentials import load_keys
from blobkit_local.durable import FileEngine
from blobkit_local.engine import ExpiryRule, Wanted
from blobkit_local.indexed import Manners

STEPS = [
    (disk, name) for name in ("make_dir", "create", "open_region", "write", "sync", "publish", "sync_dir", "remove")
]
STEPS.append((index, "commit"))

SESSION = "5e55" * 8


def _begin(engine: FileEngine) -> None:
    begin(engine, "k", 10, upload_id=SESSION)


def _send(engine: FileEngine, number: int, data: bytes) -> None:
    send(engine, engine.session(SESSION), number, data)


def _commit(engine: FileEngine) -> None:
    engine.commit_session(SESSION, engine.held(SESSION), Wanted())


def _sweep_sessions(engine: FileEngine) -> None:
    now = engine.now() + timedelta(days=1)
    engine.sweep(now=now, sessions_older_than=now, temps_older_than=now - timedelta(days=99999))


def _sweep_objects(engine: FileEngine) -> None:
    engine.set_expiry_rules([ExpiryRule("old", timedelta(seconds=1))])
    _sweep_sessions(engine)


def _few_files(engine: FileEngine) -> None:
    engine.extents.max_files = 2  # so that three chunks sent again are merged


WORKLOADS: dict[str, tuple[Manners, list[Callable[[FileEngine], object]]]] = {
    "write": (
        Manners(),
        [
            lambda e: put(e, "k", b"first"),
            lambda e: put(e, "k", b"second", checksum=Checksum.of("md5", b"second")),
            lambda e: put(e, "l", b""),
            lambda e: e.copy("k", "m"),
            lambda e: e.delete("k"),
            lambda e: put(e, "k", b"third", if_absent=True),
            lambda e: e.delete("m"),
        ],
    ),
    "versions": (
        Manners(versioning=True),
        [
            lambda e: put(e, "k", b"first"),
            lambda e: put(e, "k", b"second"),
            lambda e: e.delete("k"),
            lambda e: put(e, "k", b"third"),
            lambda e: e.delete("k", version=e.head("k").version),
            lambda e: e.delete("k", purge_versions=True),
        ],
    ),
    "session": (
        Manners(),
        [
            lambda e: put(e, "k", b"before"),
            _begin,
            lambda e: _send(e, 2, b"4567"),
            lambda e: _send(e, 1, b"xxxx"),
            lambda e: _send(e, 1, b"0123"),
            lambda e: _send(e, 3, b"89"),
            _commit,
            lambda e: e.delete("k"),
        ],
    ),
    "merged session": (
        Manners(),
        [
            _few_files,
            _begin,
            *[lambda e, n=n: _send(e, n, b"old!"[: 4 if n < 3 else 2]) for n in (1, 2, 3)],
            *[lambda e, n=n: _send(e, n, b"new!"[: 4 if n < 3 else 2]) for n in (1, 2, 3)],
            _commit,
        ],
    ),
    "sweep": (
        Manners(),
        [
            lambda e: put(e, "old1", b"1"),
            lambda e: put(e, "old2", b"2"),
            lambda e: put(e, "new", b"3"),
            _begin,
            lambda e: _send(e, 1, b"0123"),
            _sweep_sessions,
            _sweep_objects,
        ],
    ),
}


def snapshot(engine: FileEngine) -> dict[str, object]:
    """All that a caller can see."""
    objects: dict[str, object] = {}
    for item in engine.list(""):
        objects[item.key] = get(engine, item.key).decode()
    with engine.index.read() as rows:
        versions = {
            key: [
                get(engine, key, version=row.info.version).decode()
                for row in rows_of
                if row.info.version and not row.marker
            ]
            for key in ("k",)
            if (rows_of := rows.versions(key))
        }
    held: object = None
    try:
        engine.session(SESSION)
        with engine.index.read() as rows:
            held = [(row.held.number, row.held.size, row.crc32c) for row in rows.chunks(SESSION)]
    except (SessionNotFound, NotFound):
        pass
    return {"objects": objects, "versions": versions, "held": held}


@contextmanager
def stepping(act: Callable[[int, str, str], None]) -> Iterator[list[str]]:
    """Call ``act(number, when, name)`` before and after each step; gives the names of the steps taken.

    Files get the same names each time, so that the same calls take the same steps.
    """
    taken: list[str] = []
    originals: list[tuple[ModuleType, str, Any]] = [(module, name, getattr(module, name)) for module, name in STEPS]

    def wrap(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            number = len(taken)
            taken.append(name)
            act(number, "before", name)
            result = original(*args)
            act(number, "after", name)
            return result

        return step

    names = count()
    fixed = SimpleNamespace(token_hex=lambda size: sha256(b"%d" % next(names)).hexdigest()[: 2 * size])
    for module, name, original in originals:
        setattr(module, name, wrap(name, original))
    originals.append((extents, "secrets", secrets))
    setattr(extents, "secrets", fixed)  # noqa: B010 - the module does not export it
    try:
        yield taken
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def open_engine(root: Path, manners: Manners) -> FileEngine:
    """What a process does first."""
    engine = FileEngine(root, clock=Clock(), manners=manners)
    load_keys(root / ".blobkit" / "keys")
    return engine


def expected(name: str, root: Path) -> tuple[list[dict[str, object]], list[str]]:
    """The snapshots after opening and after each call, and every step on the way."""
    manners, calls = WORKLOADS[name]
    with stepping(lambda *_: None) as steps:
        engine = open_engine(root, manners)
        snapshots = [snapshot(engine)]
        for call in calls:
            call(engine)
            snapshots.append(snapshot(engine))
    engine.close()
    shutil.rmtree(root)
    return snapshots, steps


def check_leftovers(engine: FileEngine) -> list[str]:
    """Sweep; then the files are exactly those that the index names."""
    now = engine.now()
    before = snapshot(engine)
    engine.sweep(now=now, sessions_older_than=now - timedelta(days=9), temps_older_than=now + timedelta(days=99999))
    wrong: list[str] = []
    if snapshot(engine) != before:
        wrong.append("the sweep changed what is there")
    there = {name for batch in engine.extents.written_before(float("inf")) for name in batch}
    with engine.index.read() as rows:
        if there != rows.extents():
            wrong.append(f"files {there ^ rows.extents()} differ from the index")
    if list((engine.root / "incoming").iterdir()):
        wrong.append("incoming/ is not empty")
    return wrong


def crash(name: str, root: Path, number: int, when: str) -> tuple[int, bool]:
    """Run the workload in a child that dies at this step; returns how many calls it had answered, and whether it died."""
    acks = root.with_name("acks")
    acks.write_bytes(b"")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fd = os.open(acks, os.O_WRONLY | os.O_APPEND)

            def die(at: int, moment: str, _: str) -> None:
                if (at, moment) == (number, when):
                    os._exit(9)

            manners, calls = WORKLOADS[name]
            with stepping(die):
                engine = open_engine(root, manners)
                os.write(fd, b".")
                for call in calls:
                    call(engine)
                    os.write(fd, b".")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 9):
        raise RuntimeError(f"the child failed at {number} {when}: {code}")
    return len(acks.read_bytes()), code == 9


def main(name: str, place: Path) -> int:
    """Try every crash point of one workload."""
    manners, _ = WORKLOADS[name]
    snapshots, steps = expected(name, place / "clean")
    wrong: list[str] = []
    died = 0
    for number, step in enumerate(steps):
        for when in ("before", "after"):
            root = place / "s"
            answered, dead = crash(name, root, number, when)
            died += dead
            engine = open_engine(root, manners)
            found = snapshot(engine)
            allowed = snapshots[max(answered - 1, 0) : answered + 1]
            problems = [] if found in allowed else [f"{found} is neither of {allowed}"]
            problems += check_leftovers(engine)
            put(engine, "afterwards", b"works")
            if get(engine, "afterwards") != b"works":
                problems.append("it does not work afterwards")
            engine.close()
            shutil.rmtree(root)
            wrong += [f"{when} step {number} ({step}), {answered} answered: {problem}" for problem in problems]
    sys.stdout.write(json.dumps({"points": 2 * len(steps), "died": died, "wrong": wrong}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
