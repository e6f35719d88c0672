"""Several processes on one directory; threads; and a fork in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.local.helpers import Clock, begin, get, keys, put, send

from blobkit.errors import ClosedError
from blobkit_local.credentials import load_keys
from blobkit_local.durable import FileEngine
from blobkit_local.engine import Attributes, Wanted
from blobkit_local.index import Index
from blobkit_local.memory import MemoryEngine

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from blobkit.errors import AlreadyExists
from blobkit_local.credentials import load_keys
from blobkit_local.durable import FileEngine
from tests.unit.local.helpers import Clock, get, put
root, name = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read(1)  # all start together
engine = FileEngine(root, clock=Clock())
key = load_keys(root / ".blobkit" / "keys").signing.hex()
won = 0
for number in range(40):
    put(engine, f"{name}/{number}", name.encode())
    put(engine, "shared", name.encode() * 1000)
    data = get(engine, "shared")
    assert len(set(data)) == 1 and len(data) == 1000, data[:20]
    try:
        put(engine, f"race/{number}", name.encode(), if_absent=True)
        won += 1
    except AlreadyExists:
        pass
engine.close()
print(key, won)
"""


def test_processes_that_start_and_write_at_once_agree_on_everything(tmp_path: Path) -> None:
    root = tmp_path / "s"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), name],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("!")
        child.stdin.flush()
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], answers
    signing, won = zip(*(answer.split() for answer, _ in answers), strict=True)
    assert set(signing) == {load_keys(root / ".blobkit" / "keys").signing.hex()}
    assert sum(map(int, won)) == 40
    engine = FileEngine(root, clock=Clock())
    assert len(keys(engine)) == 3 * 40 + 40 + 1
    there = {name for batch in engine.extents.written_before(float("inf")) for name in batch}
    with engine.index.read() as rows:
        assert there == rows.extents()
    engine.close()


def test_threads_share_an_engine(tmp_path: Path) -> None:
    engine = FileEngine(tmp_path / "s", clock=Clock())
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(20):
                put(engine, f"{name}{number}", name.encode())
                assert get(engine, f"{name}{number}") == name.encode()
                put(engine, "shared", name.encode() * 50)
                assert len(set(get(engine, "shared"))) == 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(keys(engine)) == 121
    engine.close()


FORK = """
import os, sys
from pathlib import Path
from blobkit_local import index
from blobkit_local.durable import FileEngine
from blobkit_local.memory import MemoryEngine
from tests.unit.local.helpers import Clock, get, keys, put
for make in (lambda: FileEngine(Path(sys.argv[1]), clock=Clock()), lambda: MemoryEngine(clock=Clock())):
    engine = make()
    durable = isinstance(engine, FileEngine)
    put(engine, "before", b"1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert get(engine, "before") == b"1"
            put(engine, "child", b"2")
            assert len(index._inherited) == durable  # the parent's connection: neither used nor closed
            engine.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    put(engine, "parent", b"3")
    assert keys(engine) == (["before", "child", "parent"] if durable else ["before", "parent"])
    engine.close()
"""


def test_a_fork_opens_connections_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, str(tmp_path / "s")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_session_goes_on_in_another_engine(tmp_path: Path) -> None:
    one = FileEngine(tmp_path / "s", clock=Clock())
    state = begin(one)
    send(one, state, 1, b"0123")
    one.close()
    two = FileEngine(tmp_path / "s", clock=Clock())
    assert [chunk.number for chunk in two.held(state.upload_id)] == [1]
    send(two, two.session(state.upload_id), 2, b"4567")
    send(two, state, 3, b"89")
    two.commit_session(state.upload_id, two.held(state.upload_id), Wanted())
    assert get(two, "big") == b"0123456789"
    two.close()


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = FileEngine(tmp_path / "s", clock=Clock())
    engine.close()
    engine.close()
    with pytest.raises(ClosedError):
        engine.head("k")


def test_a_connection_in_use_is_closed_when_it_comes_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "i.db")
    with index.read() as rows:
        index.close()
        assert rows.current("k") is None
    with pytest.raises(ClosedError), index.read():
        pass


def test_engines_of_one_name_share_what_they_hold_and_others_do_not() -> None:
    one, two, other = (MemoryEngine(clock=Clock(), name=name) for name in ("one-name", "one-name", "another"))
    put(one, "k", b"data")
    one.close()
    assert get(two, "k") == b"data"
    assert keys(other) == []
    assert two.copy("k", "l", to=one).size == 4
    two.delete("k", purge_versions=True)
    two.delete("l")


def test_writing_gigabytes_keeps_no_bytes_in_memory(tmp_path: Path) -> None:
    """256 MiB in a process that may not grow by 64: the rest of 4 GiB is the same loop."""
    import resource

    engine = FileEngine(tmp_path / "s", clock=Clock())
    block = bytes(1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        for _ in range(256):
            incoming.write(block)
        incoming.commit()
    with engine.open("k")[1] as stream:
        while stream.read(1 << 20):
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    engine.close()
