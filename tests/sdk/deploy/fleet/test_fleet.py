"""Rollouts over simulated boards, end to end: real SSH, the real agent and its health check on each of them."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdk
from sdk.api.files.golden import golden_pair
from sdk.cli import main
from sdk.deploy.fleet.journal import Journal
from sdk.deploy.fleet.plan import Portion, RolloutPlan
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.release import Golden
from tests.sdk.board.ssh.wire import Wire
from tests.sdk.deploy.fleet.simulated_fleet import SimulatedFleet, make_image
from tests.sdk.graph.small_graphs import small_network

pytestmark = pytest.mark.ssh

FEW = 6


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, any_environment) -> Path:
    """What the cards of all boards are written from."""
    folder = tmp_path_factory.mktemp("image")
    folder.chmod(0o700)
    return make_image(folder)


@pytest.fixture(autouse=True)
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "armlet" / "rollouts"


@pytest.fixture(scope="module")
def few_boards(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Iterator[SimulatedFleet]:
    with SimulatedFleet(tmp_path_factory.mktemp("few"), FEW, image) as fleet:
        yield fleet


@pytest.fixture
def fleet(few_boards: SimulatedFleet) -> Iterator[SimulatedFleet]:
    """Six boards; what a test does to their inventory is undone."""
    settings = copy.deepcopy(few_boards.settings)
    yield few_boards
    few_boards.settings = settings


def packed(folder: Path, name: str, channels: int = 8) -> Path:
    path = folder / f"{name}-{channels}.armlet"
    path.write_bytes(pack(write_graph(small_network(size=16, channels=channels)), metadata={"name": name}))
    return path


def states(document: dict) -> dict[str, str]:
    return {board["name"]: board["state"] for board in document["boards"]}


def deploy(capsys, status: int, *arguments: object) -> dict:
    assert main(["deploy", "--json", *map(str, arguments)]) == status
    return json.loads(capsys.readouterr().out)


def test_fifty_boards_get_a_release_in_one_command_and_nothing_the_second_time(tmp_path, image, capsys):
    with SimulatedFleet(tmp_path / "fleet", 50, image) as fleet:
        package, inventory = packed(tmp_path, "net"), fleet.inventory()
        rollout = ("--inventory", inventory, "--canary", 1, "--batch", "25%", "--max-failures", 2, package)
        begun = time.monotonic()
        assert main(["deploy", "-o", str(tmp_path / "fleet.json"), *map(str, rollout)]) == 0
        seconds = time.monotonic() - begun
        table = capsys.readouterr().out
        document = json.loads((tmp_path / "fleet.json").read_text())
        assert (document["schema"], document["ended"]) == ("armlet.fleet/1", "succeeded")
        assert document["counts"] == {"confirmed": 50}
        assert [b["wave"] for b in document["boards"]].count("canary") == 1
        assert max(b["wave"] for b in document["boards"]) == "canary"
        assert {b["wave"] for b in document["boards"]} == {"canary", *(f"batch {n}" for n in range(1, 5))}
        assert all(b["largest_difference"] is not None for b in document["boards"]), "each was checked there"
        assert {fleet.current(name, "net") for name in fleet.names} == {document["release"]}
        assert all(name in table for name in fleet.names)
        assert "50 confirmed" in table
        assert seconds < 120, "boards are deployed to side by side"

        again = deploy(capsys, 0, *rollout)
        assert again["counts"] == {"unchanged": 50}
        assert sum(b["sent_bytes"] + b["provisioned_bytes"] for b in again["boards"]) == 0

        fleet.boards["cam07"].stop()
        assert main(["status", "--inventory", str(inventory), "--json"]) == 1
        overview = json.loads(capsys.readouterr().out)
        running = {b["name"]: b["status"] and b["status"]["slots"][0]["current"] for b in overview["boards"]}
        assert running.pop("cam07") is None
        assert set(running.values()) == {document["release"]}
        assert all(b["free_disk_bytes"] for b in overview["boards"] if b["status"])
        assert "cannot reach" in overview["boards"][6]["reason"]


def test_a_canary_that_fails_its_health_check_is_the_only_board_that_was_touched(fleet, tmp_path):
    package = packed(tmp_path, "canary")
    right = golden_pair(package.read_bytes())
    outputs = tuple(output + 10.0 for output in right.outputs)
    wrong = Golden(right.inputs, outputs, right.limits)
    result = sdk.deploy_fleet(fleet.inventory(), package, golden=wrong)
    assert (result.ended, result.stopped) == ("stopped", "a board of the canary failed")
    assert (result.boards[0].state, result.counts) == ("failed", {"failed": 1, "waiting": FEW - 1})
    assert "golden outputs do not come out" in result.boards[0].reason
    slots = [b.home / ".armlet" / "store" / "slots" / "canary.json" for b in fleet.boards.values()]
    assert [slot.exists() for slot in slots] == [True] + [False] * (FEW - 1)
    assert fleet.current("cam01", "canary") is None


def break_three(fleet: SimulatedFleet, folder: Path) -> Wire:
    """One board behind a line that is cut while it is sent the model, one that stores nothing, one with another key."""
    board = fleet.boards["cam03"]
    kind, data = board.known_hosts.read_text().split()[1:3]

    class Behind:
        login = board.login()

    wire = Wire(Behind, cut_after=400_000)
    port = wire.login()["port"]
    known_hosts = folder / "cut.known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {kind} {data}\n")
    fleet.settings["cam03"].update(port=port, known_hosts=str(known_hosts))
    python = fleet.boards["cam04"].home / ".bin" / "python3"
    target = os.readlink(python)
    python.unlink()
    python.write_text(f'#!/bin/sh\nulimit -f 16\nexec {target} "$@"\n')  # a file of at most 8 kB
    python.chmod(0o755)
    fleet.settings["cam05"]["key"] = str(fleet.boards["cam06"].user_key)
    return wire


def mend_three(fleet: SimulatedFleet, settings: dict) -> None:
    fleet.settings = copy.deepcopy(settings)
    python = fleet.boards["cam04"].home / ".bin" / "python3"
    target = python.read_text().split("exec ")[1].split(' "')[0]
    python.unlink()
    python.symlink_to(target)


@pytest.mark.parametrize("on_failure", ["revert", "stop"])
def test_boards_that_die_in_a_batch_stop_the_rollout_and_after_mending_it_goes_on(
    fleet, tmp_path, capsys, on_failure
):
    name = f"net-{on_failure}"
    before = deploy(capsys, 0, "--inventory", fleet.inventory(), "--batch", "100%", packed(tmp_path, name))
    package = packed(tmp_path, name, channels=256 if on_failure == "revert" else 320)
    settings = copy.deepcopy(fleet.settings)
    rollout = ("--batch", "100%", "--max-failures", 2, "--parallel", 3, "--on-failure", on_failure, package)
    with break_three(fleet, tmp_path):
        stopped = deploy(capsys, 1, "--inventory", fleet.inventory(), *rollout)
    found = states(stopped)
    assert (stopped["ended"], stopped["stopped"]) == ("stopped", "3 boards failed, at most 2 may")
    assert [found[n] for n in ("cam03", "cam04", "cam05")] == ["unreachable", "failed", "unreachable"]
    reasons = {b["name"]: b["reason"] for b in stopped["boards"]}
    assert "was lost" in reasons["cam03"]
    assert "could not store a blob" in reasons["cam04"]
    assert "refuses the key" in reasons["cam05"]
    healthy = [n for n in fleet.names if found[n] in ("confirmed", "reverted")]
    assert "cam01" in healthy
    left = before["release"] if on_failure == "revert" else stopped["release"]
    assert {fleet.current(n, name) for n in healthy} == {left}
    assert {found[n] for n in healthy} == {"reverted" if on_failure == "revert" else "confirmed"}
    assert {fleet.current(n, name) for n in fleet.names if n not in healthy} == {before["release"]}

    mend_three(fleet, settings)
    finished = deploy(capsys, 0, "--inventory", fleet.inventory(), *rollout)
    assert {fleet.current(n, name) for n in fleet.names} == {finished["release"]} == {stopped["release"]}
    assert set(states(finished).values()) == {"confirmed"}
    sent = {b["name"]: b["sent_bytes"] for b in finished["boards"]}
    if on_failure == "stop":
        assert finished["resumed"]
        assert all((sent[n] == 0) == (n in healthy) for n in fleet.names), "only the rest was deployed to"
    assert sent["cam03"] > 0


def test_a_rollout_that_is_stopped_takes_back_a_first_release_to_nothing(fleet, tmp_path):
    fleet.settings["cam02"]["port"] = 1  # nobody listens there
    package = packed(tmp_path, "first")
    result = sdk.deploy_fleet(fleet.inventory(), package, plan=RolloutPlan(batch=Portion(count=1)))
    assert result.counts == {"reverted": 1, "unreachable": 1, "waiting": FEW - 2}
    assert fleet.current("cam01", "first") is None
    status = sdk.fleet_status(fleet.inventory())
    slot = next(slot for slot in status.boards[0].status.slots if slot.name == "first")
    assert slot.history[-1].event == "rolled back"
    assert "the rollout was stopped: 1 board failed, at most 0 may" in slot.history[-1].reason


def test_a_group_goes_back_alone(fleet, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # in fewer, reasons are folded
    inventory = str(fleet.inventory())
    old = deploy(capsys, 0, "--inventory", inventory, "--group", "kitchen", packed(tmp_path, "g"))
    new = deploy(capsys, 0, "--inventory", inventory, "--group", "kitchen", packed(tmp_path, "g", 16))
    assert states(new) == {"cam05": "confirmed"}
    assert main(["rollback", "g", "--inventory", inventory, "--group", "kitchen"]) == 0
    assert "g went back on 1 of 1 boards" in capsys.readouterr().out
    assert fleet.current("cam05", "g") == old["release"]
    assert main(["rollback", "g", "--inventory", inventory, "--json"]) == 1
    reasons = [board["reason"] for board in json.loads(capsys.readouterr().out)["boards"]]
    assert all("there is no earlier release" in r or "nothing was ever deployed" in r for r in reasons), (
        reasons
    )
    assert main(["status", "--inventory", inventory, "--group", "kitchen"]) == 0
    table = capsys.readouterr().out
    assert old["release"][:12] in table
    assert "asked for" in table


def test_a_second_rollout_over_the_same_inventory_is_refused(fleet, tmp_path, capsys, own_journals):
    inventory = fleet.inventory()
    with Journal("0" * 64, inventory, None):
        assert main(["deploy", "--inventory", str(inventory), str(packed(tmp_path, "two"))]) == 2
    assert "another rollout over" in capsys.readouterr().err
    assert all(fleet.current(name, "two") is None for name in fleet.names)


def test_ctrl_c_is_safe_and_the_same_command_goes_on(fleet, tmp_path, capsys):
    inventory, package = fleet.inventory(), packed(tmp_path, "cut")
    command = ["deploy", "--json", "--inventory", str(inventory), "--batch", "1", str(package)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sdk.cli", *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(sdk.__file__).parents[1])},
    )
    while fleet.current("cam02", "cut") is None:
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    interrupted = json.loads(out)
    assert (process.returncode, interrupted["ended"]) == (130, "interrupted")
    assert interrupted["counts"]["waiting"] >= 1
    done = [n for n in fleet.names if fleet.current(n, "cut")]
    assert [n for n, s in states(interrupted).items() if s == "confirmed"] == done
    finished = deploy(capsys, 0, *command[2:])
    assert finished["resumed"]
    assert set(states(finished).values()) == {"confirmed"}
    assert [b["name"] for b in finished["boards"] if b["sent_bytes"] == 0] == done


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deploy", "m.armlet"], "which board?"),
        (["deploy", "--board", "local", "--canary", "1", "m.armlet"], "--canary goes with --inventory"),
        (["deploy", "--inventory", "i.toml", "--host", "x", "m.armlet"], "--host goes with one board"),
        (["deploy", "--inventory", "i.toml", "--keep-on-trial", "m.armlet"], "--keep-on-trial goes with one"),
        (["deploy", "--inventory", "nothing.toml", "m.armlet"], "there is no file nothing.toml"),
        (["status", "--inventory", "i.toml", "--port", "1"], "--port goes with one board"),
        (["rollback", "m"], "which board?"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_share_that_is_none_is_refused_before_anything_is_read(capsys):
    assert main(["deploy", "--inventory", "i.toml", "--batch", "0%", "m.armlet"]) == 2
    assert "--batch: this is not a number of boards; expected a number" in capsys.readouterr().err
