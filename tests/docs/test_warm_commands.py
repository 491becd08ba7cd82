"""A command of the warm process is what it would be in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documented import ROOT
from tests.docs.warm_commands import WarmCommands

pytestmark = [pytest.mark.tensorflow]

#: Says all that it finds, works with TensorFlow, and ends in its own way.
LOOK = """\
import os, sys
from pathlib import Path
def look():
    ours = sorted(name for name in sys.modules if name.split(".")[0] in ("sdk", "device_agent"))
    umask = os.umask(0)
    print(sys.argv, sys.path[0], os.getcwd(), sorted(os.environ.items()), oct(umask), ours, __name__, __file__)
    print(sys.stdin.read(), len(os.listdir("/proc/self/fd")))
    print("to the other stream", file=sys.stderr)
if __name__ == "__main__":
    look()
    import numpy, tensorflow as tf
    print(float(tf.reduce_sum(tf.linalg.matmul(tf.ones((3, 4)), tf.ones((4, 5))))))
    Path(sys.argv[1]).write_text(str(numpy.random.random()))
    sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def warm(environment: dict[str, str]) -> Iterator[WarmCommands]:
    with WarmCommands(environment) as commands:
        yield commands
    assert not commands.folder.exists()


def run(python: Path, place: Path, environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [python, *words], cwd=place, env=environment, input="typed", capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_a_command_finds_what_it_finds_in_a_process_of_its_own(warm, environment, tmp_path):
    (tmp_path / "look.py").write_text(LOOK)
    drawn = set()
    answers = []
    for python in (Path(sys.executable), warm.folder / "python", warm.folder / "python"):
        status, printed, said = run(python, tmp_path, environment, "look.py", "drawn", "3")
        answers.append((status, printed))
        assert "to the other stream" in said
        drawn.add((tmp_path / "drawn").read_text())
    assert answers[0][0] == 3
    assert answers == answers[:1] * 3
    assert len(drawn) == 3, "each draws numbers of its own"
    module = run(warm.folder / "python", tmp_path, environment, "-m", "look", "drawn", "3")
    assert module[:2] == (3, answers[0][1].replace("'look.py'", repr(str(tmp_path / "look.py"))))


def test_commands_run_side_by_side_in_a_pipe(warm, environment, tmp_path):
    path = {**environment, "PATH": f"{warm.folder}:{environment['PATH']}"}
    (tmp_path / "ends.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    line = "sdk boards --json | python -m json.tool | head -1; python ends.py; echo $?"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.stdout == "[\n137\n"
    refused = subprocess.run(["sdk", "inspect", "nothing.armlet"], env=path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "nothing.armlet" in refused.stderr


def test_another_search_path_or_another_kind_of_call_is_a_real_process(warm, environment, tmp_path):
    code = "import sys; print('tensorflow' in sys.modules)"
    (tmp_path / "says.py").write_text(code)
    python = warm.folder / "python"
    assert run(python, tmp_path, environment, "says.py")[1] == "True\n"
    assert run(python, tmp_path, environment, "-c", code)[1] == "False\n"
    elsewhere = {**environment, "PYTHONPATH": str(tmp_path)}
    assert run(python, tmp_path, elsewhere, "says.py")[1] == "False\n"
    assert shutil.which("sdk", path=str(warm.folder))
