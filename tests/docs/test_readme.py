"""The README's commands and its Python are run as they stand. Its transcript is held by the tests of the demo."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs import documented

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return [block.text for block in documented.blocks(ROOT / "README.md") if block.language == language]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty folder to work in, and an environment whose local board is in there too."""
    folder = tmp_path_factory.mktemp("readme")
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "XDG_DATA_HOME": str(folder / "data"),
        "COLUMNS": "80",
        **documented.ONE_THREAD,
    }
    return folder, environment


def run(command: str, place: tuple[Path, dict[str, str]]) -> str:
    folder, environment = place
    done = subprocess.run(
        shlex.split(command, comments=True),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.mark.tensorflow
@pytest.mark.ssh
def test_the_steps_work_as_they_stand(place: tuple[Path, dict[str, str]]) -> None:
    (steps,) = [b for b in blocks("sh") if b.startswith("sdk zoo")]
    for command in steps.splitlines():
        run(command, place)
    folder = place[0]
    assert (folder / "decoded.tflite").stat().st_size > 4 * (folder / "mobilenet.armlet").stat().st_size

    python = next(b for b in blocks("python") if "compress_model" in b)
    script = folder / "steps.py"
    script.write_text(python, encoding="utf-8")
    ratio, median = map(float, run(shlex.join([sys.executable, str(script)]), place).split())
    assert ratio > 4
    assert 0 < median < 1


@pytest.mark.tensorflow
@pytest.mark.ssh
def test_the_agent_runs_inside_a_program_as_it_stands(place: tuple[Path, dict[str, str]]) -> None:
    folder, environment = place
    if not (folder / "mobilenet.armlet").exists():
        run("sdk zoo mobilenet_v1 --width 0.25 --size 96 --classes 10 -o mobilenet.tflite", place)
        run("sdk pack mobilenet.tflite -o mobilenet.armlet --preprocess tf", place)
    run("sdk deploy --board local mobilenet.armlet", place)
    home = Path(environment["XDG_DATA_HOME"], "armlet", "boards", "local", "home", ".armlet")
    np.save(folder / "image.npy", np.zeros((120, 160, 3), np.uint8))
    python = next(b for b in blocks("python") if "Agent(" in b)
    script = folder / "embed.py"
    script.write_text(
        f"import numpy\nimage = numpy.load('image.npy')\n{python}\nprint(answer.outputs[0].size)",
        encoding="utf-8",
    )
    on_the_board = (folder, {**environment, "ARMLET_HOME": str(home)})
    # The README's model and that of the fallback differ in their number of classes.
    assert int(run(shlex.join([sys.executable, str(script)]), on_the_board).split()[-1]) >= 10


def test_the_boards_that_it_names_exist(place: tuple[Path, dict[str, str]]) -> None:
    known = {board["name"] for board in json.loads(run("sdk boards --json", place))}
    named = set(re.findall(r"--board (\S+)", README))
    assert named
    assert named <= known


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
