"""Processes that are forked for models: as many as one likes, apart from each other, and gone with who wanted them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sdk.errors import ModelError
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.model_processes import start_process
from tests.device_agent.tiny_models import tiny_convolution

ROOT = Path(__file__).parents[4]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process starts by itself")


@pytest.fixture(scope="module")
def model() -> bytes:
    return tiny_convolution(np.array([[1, -2, 3], [0, 2, -1]], np.float32), np.array([1, -1], np.float32))


def answer_of(model: bytes) -> np.ndarray:
    with HostModel(model) as one:
        return next(iter(one.run([np.ones((1, 2, 2, 3), np.float32)]).values()))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def waits_for_the_end(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


@ON_LINUX
def test_two_models_run_beside_each_other_and_one_that_crashes_leaves_the_other(model):
    with tempfile.TemporaryFile() as said:
        first, second = start_process(said), start_process(said)
        assert parent_of(first.pid) == parent_of(second.pid) != os.getpid()
        assert os.getsid(first.pid) != os.getsid(0)  # Ctrl-C at the caller's terminal does not reach it
        deadline = time.monotonic() + 20
        while os.getsid(first.pid) != first.pid and time.monotonic() < deadline:
            time.sleep(0.01)  # a fork begins a session of its own at once, and is named before
        assert os.getsid(first.pid) == first.pid
        os.kill(first.pid, signal.SIGSEGV)
        assert first.wait() == -signal.SIGSEGV
        assert second.poll() is None
        assert second.stdin is not None
        assert second.stdout is not None
        head = {"bytes": len(model), "threads": 1, "delegates": True, "shapes": {}, "memory": 8 << 30}
        second.stdin.write(json.dumps(head).encode() + b"\n" + model)
        second.stdin.flush()
        assert json.loads(second.stdout.readline())["inputs"][0][1] == [1, 2, 2, 3]
        second.kill()
        assert second.wait() == -signal.SIGKILL
        for process in (first, second):
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()


@ON_LINUX
def test_where_the_process_that_forks_was_ended_its_models_go_on_and_the_next_one_runs(model):
    expected = answer_of(model)
    with HostModel(model) as one:
        pid = one._process.pid  # noqa: SLF001 - who else would know it
        os.kill(parent_of(pid), signal.SIGKILL)
        np.testing.assert_array_equal(
            next(iter(one.run([np.ones((1, 2, 2, 3), np.float32)]).values())), expected
        )
        np.testing.assert_array_equal(answer_of(model), expected)
    assert waits_for_the_end(pid)


def test_threads_and_forks_of_the_caller_get_their_own_answers(model):
    expected, found = answer_of(model), []
    threads = [threading.Thread(target=lambda: found.append(answer_of(model))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for one in found:
        np.testing.assert_array_equal(one, expected)
    script = (
        "import os, sys\n"
        "from tests.sdk.graph.on_host.test_model_processes import answer_of\n"
        "model = sys.stdin.buffer.read()\n"
        "first = answer_of(model).tobytes()\n"
        "pid = os.fork()\n"
        "same = answer_of(model).tobytes() == first\n"
        "if pid == 0: sys.exit(not same)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not same)\n"
    )
    if hasattr(os, "fork"):
        done = subprocess.run([sys.executable, "-c", script], input=model, cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


@ON_LINUX
@pytest.mark.parametrize("how", ["leaves", "is killed"])
def test_nothing_is_left_of_a_caller_that_has_gone(model, how):
    script = (
        "import os, sys, time\n"
        "from sdk.graph.on_host.host_model import HostModel\n"
        "one = HostModel(sys.stdin.buffer.read())\n"
        "print(one._process.pid, flush=True)\n"
        f"{'os.kill(os.getpid(), 9)' if how == 'is killed' else ''}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=model, cwd=ROOT, capture_output=True)
    assert waits_for_the_end(int(done.stdout)), done.stderr.decode()


@ON_LINUX
def test_another_search_path_is_heeded(model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    expected = answer_of(model)
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text("raise ImportError('none here')")
    with HostModel(model) as before:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(ModelError, match="none here"):
            HostModel(model)
        before.run([np.ones((1, 2, 2, 3), np.float32)])
    monkeypatch.undo()
    np.testing.assert_array_equal(answer_of(model), expected)
