"""The programs of examples/ run as they stand, with a model that was deployed to the board `local`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_agent import Agent

ROOT = Path(__file__).resolve().parents[2]
LABELS = ["red", "green", "blue"]

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    """A board with a model that says of which colour a picture is; its agent's folder, and what programs see of it."""
    import sdk
    from sdk.api.files.packing import pack_model
    from tests.device_agent.tiny_models import tiny_convolution

    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        (folder / "colours.tflite").write_bytes(
            tiny_convolution(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), size=1)
        )
        (folder / "labels.txt").write_text("\n".join(LABELS))
        pack_model(
            folder / "colours.tflite",
            folder / "colours.armlet",
            preprocess="01",
            labels=folder / "labels.txt",
        )
        sdk.deploy_model("local", folder / "colours.armlet")
    home = folder / "data" / "armlet" / "boards" / "local" / "home" / ".armlet"
    return folder, {**os.environ, "ARMLET_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """A folder with a picture of each colour, the blue one the newest."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for number, name in enumerate(LABELS):
        take(folder, name, number)
    return folder


def take(folder: Path, name: str, when: int) -> None:
    """A picture of one colour, there at once as a camera's program would do it."""
    pixels = np.full((48, 64, 3), 20, np.uint8)
    pixels[..., LABELS.index(name)] = 240
    hidden = folder / f".{name}.part"
    Image.fromarray(pixels).save(hidden, "PNG")
    os.utime(hidden, ns=(when * 10**9, when * 10**9))
    hidden.rename(folder / f"{name}.png")


def run(environment: dict[str, str], *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(str(argument) for argument in arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    return done


def test_the_camera_loop_names_the_newest_frame_and_leaves_out_the_others(place, camera):
    _, environment = place
    (camera / "notes.txt").write_text("no picture")
    loop = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "camera_loop.py", "colours", camera, "--fps", "50"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert loop.stdout is not None
        assert loop.stdout.readline().split("\t")[:2] == ["blue.png", "blue"]
        take(camera, "red", 10)
        assert loop.stdout.readline().split("\t")[:2] == ["red.png", "red"]
    finally:
        loop.kill()
        loop.communicate()
    done = run(
        environment, ROOT / "examples" / "camera_loop.py", "colours", camera, "--frames", 2, "--at-least", 2
    )
    assert done.stdout == ""
    assert done.stderr.startswith("1 frames, ") or "\n1 frames, " in done.stderr


def test_the_batch_is_scored_into_a_table_and_what_is_no_picture_is_told(place, camera, tmp_path):
    _, environment = place
    script = ROOT / "examples" / "batch_score.py"
    run(environment, script, "colours", camera, "-o", tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["label"]) for row in rows] == [(f"{name}.png", name) for name in sorted(LABELS)]
    assert float(rows[0]["score"]) == pytest.approx(240 / 255, abs=1e-3)
    (camera / "broken.png").write_bytes(b"\x89PNG")
    done = run(environment, script, "colours", camera, status=1)
    [broken] = [row for row in csv.DictReader(done.stdout.splitlines()) if row["error"]]
    assert broken["file"] == "broken.png"
    assert "3 pictures" in done.stderr


def test_the_snapshot_page_shows_the_newest_picture_and_passes_refusals_on(place, camera, socket_folder):
    _, environment = place
    socket = socket_folder / "serve.sock"
    serve = subprocess.Popen(
        [sys.executable, "-m", "device_agent", "serve", "--name", "colours", "--socket", socket],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    page = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "snapshot_server.py", socket, "colours", camera, "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert page.stdout is not None
        address = page.stdout.readline().strip()
        end = time.monotonic() + 60
        while not socket.exists():
            assert time.monotonic() < end
            time.sleep(0.05)

        def get(path: str) -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(address + path, timeout=30) as response:
                    return response.status, response.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        status, body = get("snapshot.json")
        assert (status, json.loads(body)["label"]) == (200, "blue")
        assert get("snapshot.jpg")[1].startswith(b"\x89PNG")
        assert b"<li>blue " in get("")[1]
        (camera / "zz.png").write_bytes(b"no picture")
        status, body = get("snapshot.json")
        assert (status, json.loads(body)["what"]) == (400, "the image cannot be decoded")
        assert get("")[0] == 400
        assert get("other")[0] == 404
        serve.terminate()
        serve.wait(30)
        assert get("snapshot.json")[0] == 502
    finally:
        for process in (serve, page):
            process.kill()
            process.communicate()


def test_the_model_of_these_tests_tells_colours_apart(place):
    folder, _ = place
    answer = Agent(folder / "colours.armlet").predict(np.array([[[9, 200, 30]]], np.uint8))
    assert answer.label == "green"
