"""Programs that are run for what they print: within limits, and gone when these are reached."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sdk.tools.system.pipes import Blocks
from sdk.tools.system.programs import ProgramFailed, run_program


def run(script: str, limit_seconds: float = 20.0, max_bytes: int = 1000, **options):
    return run_program(["sh", "-c", script], limit_seconds=limit_seconds, max_bytes=max_bytes, **options)


def test_both_streams_and_the_status_come_back():
    printed = run("echo out; echo err >&2; exit 7")
    assert (printed.output, printed.errors, printed.status) == ("out\n", "err\n", 7)


def test_there_is_no_input_and_the_environment_is_what_was_given():
    assert (
        run("cat; echo $WORD", environment={"WORD": "given", "PATH": os.environ["PATH"]}).output == "given\n"
    )


def test_bytes_that_are_no_text_do_not_matter():
    assert run("printf 'a\\377b'").output == "a\udcffb"


@pytest.mark.parametrize("redirect", ["", " >&2"])
def test_a_program_that_prints_too_much_is_ended(redirect):
    with pytest.raises(ProgramFailed, match="more than 1000 bytes"):
        run(f"cat /dev/zero{redirect}")
    assert len(run("head -c 1000 /dev/zero").output) == 1000


@pytest.mark.parametrize(
    "script", ["sleep 60", "sleep 60 & wait", "exec >&- 2>&-; sleep 60", "trap '' TERM; sleep 60"]
)
def test_a_program_that_does_not_end_is_ended_with_what_it_started(script, tmp_path: Path):
    start = time.monotonic()
    with pytest.raises(ProgramFailed, match=r"no end within 0\.3 s"):
        run(f"(sleep 1; touch '{tmp_path}/alive') & {script}", limit_seconds=0.3)
    assert time.monotonic() - start < 10
    time.sleep(1.2)
    assert not (tmp_path / "alive").exists()


def test_a_program_that_is_not_there_is_told():
    with pytest.raises(ProgramFailed, match="No such file"):
        run_program(["/not/there"], limit_seconds=1, max_bytes=1)


def test_what_arrives_is_told_by_pipe_and_the_end_of_each():
    with subprocess.Popen(
        ["sh", "-c", "echo one; sleep 0.2; echo two >&2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        blocks = Blocks(process.stdout, process.stderr)
        assert blocks.next(time.monotonic() + 10) == (0, b"one\n")
        assert blocks.next(time.monotonic()) is None
        found = [blocks.next(time.monotonic() + 10) for _ in range(3)]
        assert sorted(found) == [(0, b""), (1, b""), (1, b"two\n")]
        blocks.stop()


def test_a_program_runs_in_the_folder_that_is_named(tmp_path: Path):
    done = run_program(["pwd"], limit_seconds=10, max_bytes=1000, folder=tmp_path)
    assert done.output.strip() == str(tmp_path.resolve())
