"""The order of a rollout, when it stops, what it takes back, and how it goes on after anything; with made-up boards."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from sdk.deploy.fleet.journal import Journal
from sdk.deploy.fleet.plan import Portion, RolloutPlan
from sdk.deploy.fleet.rollout import Rollout
from sdk.errors import ConnectionFailed, RemoteError, RolloutError


class Boards:
    """Made-up boards: which release runs where, and what goes wrong on which."""

    def __init__(self, count: int) -> None:
        self.names = [f"b{number:02d}" for number in range(count)]
        self.runs = dict.fromkeys(self.names, "old")
        self.wrong: dict[str, Exception] = {}
        #: Confirms, and the line goes dead before the answer.
        self.mute: set[str] = set()
        self.stuck: set[str] = set()
        self.deployed: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.seconds = 0.0

    def deploy(self, name, installing, stage):
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.deployed.append(name)
        try:
            time.sleep(self.seconds)
            if self.runs[name] == "new":
                return {"state": "unchanged"}
            if name in self.wrong:
                if isinstance(self.wrong[name], RemoteError):
                    installing()
                raise self.wrong[name]
            installing()
            self.runs[name] = "new"
            if name in self.mute:
                raise ConnectionFailed("the connection was lost")
            return {"state": "confirmed", "sent_bytes": 7}
        finally:
            with self.lock:
                self.at_once -= 1

    def revert(self, name, reason):
        if name in self.stuck:
            raise ConnectionFailed("the board does not answer")
        if self.runs[name] != "new":
            return False
        self.runs[name] = "old"
        return True

    def roll_out(self, folder: Path, plan: RolloutPlan, release: str = "r", **options):
        boards = {name: f"pi@{name}" for name in self.names}
        with Journal(release, folder / "boards.toml", None, folder=folder) as journal:
            rollout = Rollout(boards, plan, journal, deploy=self.deploy, revert=self.revert, **options)
            rollout.run()
        return rollout

    def states(self, rollout) -> dict[str, str]:
        return {outcome.name: outcome.state for outcome in rollout.outcomes}


def plan(canary="1", batch="25%", **options) -> RolloutPlan:
    return RolloutPlan(Portion.parse(canary), Portion.parse(batch), **options)


@pytest.mark.parametrize(
    ("text", "of_50", "of_3"),
    [("1", 1, 1), ("0", 0, 0), ("25%", 13, 1), ("100%", 50, 3), ("0.5%", 1, 1), ("7", 7, 3), (" 10% ", 5, 1)],
)
def test_a_portion_is_a_number_or_a_share(text, of_50, of_3):
    assert (Portion.parse(text).of(50), Portion.parse(text).of(3)) == (of_50, of_3)
    assert Portion.parse(str(Portion.parse(text))) == Portion.parse(text)


@pytest.mark.parametrize("text", ["", "x", "-1", "0%", "101%", "1.5", "1e9", "25 %%", "nan", "9" * 50])
def test_what_is_no_portion_is_refused(text):
    with pytest.raises(RolloutError, match="not a number of boards"):
        Portion.parse(text)


def test_a_plan_that_gets_nowhere_is_refused():
    for options in ({"batch": "0"}, {"max_failures": -1}, {"parallel": 0}, {"on_failure": "cry"}):
        with pytest.raises(RolloutError):
            plan(**options)


def test_the_canary_comes_first_and_alone_then_the_batches(tmp_path):
    boards = Boards(9)
    boards.seconds = 0.02
    rollout = boards.roll_out(tmp_path, plan(canary="2", batch="3", parallel=2))
    assert [o.wave for o in rollout.outcomes] == ["canary"] * 2 + ["batch 1"] * 3 + ["batch 2"] * 3 + [
        "batch 3"
    ]
    assert set(boards.deployed[:2]) == {"b00", "b01"}
    assert set(boards.deployed[2:5]) == {"b02", "b03", "b04"}
    assert boards.most_at_once == 2
    assert set(boards.runs.values()) == {"new"}
    assert set(boards.states(rollout).values()) == {"confirmed"}
    assert rollout.outcomes[0].details == {"sent_bytes": 7}
    assert not list(tmp_path.glob("*.jsonl")), "what came to its end is settled"


def test_a_canary_that_fails_is_the_only_board_that_was_touched(tmp_path):
    boards = Boards(8)
    boards.wrong["b00"] = RemoteError("the golden outputs do not come out")
    rollout = boards.roll_out(tmp_path, plan(max_failures=5))
    assert boards.deployed == ["b00"]
    assert set(boards.runs.values()) == {"old"}
    assert rollout.stopped == "a board of the canary failed"
    assert rollout.outcomes[0].state == "failed"
    assert "golden outputs" in rollout.outcomes[0].reason
    assert {o.state for o in rollout.outcomes[1:]} == {"waiting"}


def test_of_two_canaries_the_good_one_is_taken_back_when_the_other_fails(tmp_path):
    boards = Boards(8)
    boards.wrong["b01"] = RemoteError("too slow")
    rollout = boards.roll_out(tmp_path, plan(canary="2", parallel=1))
    assert boards.states(rollout)["b00"] == "reverted"
    assert set(boards.runs.values()) == {"old"}


def test_failures_up_to_the_limit_are_listed_and_the_rest_goes_on(tmp_path):
    boards = Boards(10)
    boards.wrong["b03"] = ConnectionFailed("no route to host")
    boards.wrong["b07"] = RemoteError("disk full")
    rollout = boards.roll_out(tmp_path, plan(max_failures=2))
    states = boards.states(rollout)
    assert (states["b03"], states["b07"]) == ("unreachable", "failed")
    assert sum(state == "confirmed" for state in states.values()) == 8
    assert not rollout.stopped
    again = boards.roll_out(tmp_path, plan(max_failures=2))
    assert [n for n, s in boards.states(again).items() if s == "unchanged"] == [
        n for n in boards.names if n not in boards.wrong
    ]


def test_too_many_failures_stop_the_rollout_and_what_it_confirmed_is_taken_back(tmp_path):
    boards = Boards(13)
    boards.runs["b02"] = "new"  # ran it before: not this rollout's doing
    for name in ("b04", "b05", "b06"):
        boards.wrong[name] = ConnectionFailed("the line is cut")
    rollout = boards.roll_out(tmp_path, plan(batch="4", max_failures=2, parallel=1))
    states = boards.states(rollout)
    assert rollout.stopped == "3 boards failed, at most 2 may"
    assert {n for n, s in states.items() if s == "reverted"} == {"b00", "b01", "b03"}
    assert states["b02"] == "unchanged"
    assert boards.runs["b02"] == "new"
    assert [n for n, r in boards.runs.items() if r == "new"] == ["b02"]
    assert {states[n] for n in boards.names[7:]} == {"waiting"}

    boards.wrong.clear()
    boards.deployed.clear()
    rollout = boards.roll_out(tmp_path, plan(batch="4"))
    assert set(boards.runs.values()) == {"new"}
    assert boards.states(rollout)["b02"] == "unchanged"


def test_with_stop_nothing_is_taken_back_and_the_next_run_deploys_only_the_rest(tmp_path):
    boards = Boards(9)
    boards.wrong["b03"] = boards.wrong["b04"] = ConnectionFailed("wrong key")
    careful = plan(batch="2", max_failures=1, on_failure="stop", parallel=1)
    first = boards.roll_out(tmp_path, careful)
    assert [n for n, s in boards.states(first).items() if s == "confirmed"] == ["b00", "b01", "b02"]
    boards.wrong.clear()
    changed: list[str] = []
    deploy = boards.deploy
    boards.deploy = lambda name, installing, stage: deploy(
        name, lambda: (changed.append(name), installing()), stage
    )
    second = boards.roll_out(tmp_path, careful)
    assert changed == boards.names[3:]
    assert set(boards.states(second).values()) == {"confirmed"}, "what the first run confirmed is still ours"


def test_a_board_that_confirmed_but_could_not_say_so_is_taken_back_too(tmp_path):
    boards = Boards(6)
    boards.mute = {"b01"}
    rollout = boards.roll_out(tmp_path, plan(batch="1"))
    assert set(boards.runs.values()) == {"old"}
    mute = rollout.outcomes[1]
    assert (mute.state, mute.ours) == ("unreachable", False)
    assert mute.reason == "the connection was lost; taken back"


def test_a_board_that_cannot_be_taken_back_is_named_and_tried_again(tmp_path):
    boards = Boards(4)
    boards.stuck = {"b00"}
    boards.wrong["b02"] = RemoteError("bad")
    rollout = boards.roll_out(tmp_path, plan(batch="2", parallel=1))
    assert boards.states(rollout)["b00"] == "not reverted"
    assert boards.states(rollout)["b01"] == "reverted"
    boards.stuck.clear()
    rollout = boards.roll_out(tmp_path, plan(batch="2", parallel=1))
    assert boards.runs["b00"] == "old", "its journal said that it was this rollout's doing"


def test_a_board_that_drives_us_into_a_defect_does_not_end_the_rollout_of_the_others(tmp_path):
    boards = Boards(4)
    boards.wrong["b02"] = KeyError("what?")
    rollout = boards.roll_out(tmp_path, plan(max_failures=1))
    assert rollout.outcomes[2].state == "failed"
    assert "KeyError" in rollout.outcomes[2].reason
    assert boards.states(rollout)["b03"] == "confirmed"


def test_another_address_in_the_inventory_is_another_board(tmp_path):
    with Journal("r", tmp_path / "i", None, folder=tmp_path) as journal:
        journal.write("b", "pi@old", "confirmed", ours=True)
    with Journal("r", tmp_path / "i", None, folder=tmp_path) as journal:
        assert journal.is_ours("b", "pi@old")
        assert not journal.is_ours("b", "pi@new")
    with Journal("r", tmp_path / "i", "kitchen", folder=tmp_path) as journal:
        assert not journal.is_ours("b", "pi@old"), "another group is another rollout"


def test_a_journal_that_was_cut_in_a_line_is_read_up_to_there(tmp_path):
    with Journal("r", tmp_path / "i", None, folder=tmp_path) as journal:
        journal.write("a", "x", "confirmed", ours=True)
        journal.write("b", "x", "confirmed", ours=True)
        path = journal.path
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with Journal("r", tmp_path / "i", None, folder=tmp_path) as journal:
            assert not journal.is_ours("b", "x") or cut >= len(whole) - 1
            journal.write("c", "x", "confirmed", ours=True)
        with Journal("r", tmp_path / "i", None, folder=tmp_path) as journal:
            assert journal.is_ours("c", "x")
    for line in whole.splitlines():
        assert json.loads(line)


def test_two_rollouts_over_one_inventory_at_once_are_refused(tmp_path):
    with Journal("r", tmp_path / "i", None, folder=tmp_path):
        with (
            pytest.raises(RolloutError, match=f"another rollout over .* process {os.getpid()}"),
            Journal("other", tmp_path / "i", "kitchen", folder=tmp_path),
        ):
            pass
        with Journal("r", tmp_path / "another", None, folder=tmp_path):
            pass
    with Journal("r", tmp_path / "i", None, folder=tmp_path):
        pass


def slow_rollout(folder: Path, started, settled) -> None:
    """In a process of its own, to be interrupted: what runs where is told through a file a board."""
    boards = Boards(6)
    boards.seconds = 0.5
    deploy = boards.deploy

    def deploy_and_tell(name, installing, stage):
        started.set()
        try:
            return deploy(name, installing, stage)
        finally:
            (folder / name).write_text(boards.runs[name])

    boards.deploy = deploy_and_tell
    rollout = boards.roll_out(folder, plan(batch="2", parallel=2))
    settled.put((rollout.interrupted, boards.states(rollout)))


def test_ctrl_c_lets_the_boards_finish_and_the_next_run_goes_on_from_there(tmp_path):
    context = multiprocessing.get_context("spawn")
    started, settled = context.Event(), context.Queue()
    process = context.Process(target=slow_rollout, args=(tmp_path, started, settled))
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGINT)
    interrupted, states = settled.get(timeout=60)
    process.join(60)
    assert interrupted
    assert states["b00"] == "confirmed", "what had begun was finished"
    assert list(states.values())[1:] == ["waiting"] * 5, "and nothing else was begun"
    journals = list(tmp_path.glob("*.jsonl"))
    assert len(journals) == 1
    with Journal("r", tmp_path / "boards.toml", None, folder=tmp_path) as journal:
        assert journal.is_ours("b00", "pi@b00")
        assert journal.resumed_from is not None


def test_a_rollout_that_was_killed_is_taken_back_by_the_next_one_that_is_stopped(tmp_path):
    context = multiprocessing.get_context("spawn")
    started, settled = context.Event(), context.Queue()
    process = context.Process(target=slow_rollout, args=(tmp_path, started, settled))
    process.start()
    assert started.wait(60)
    while not (tmp_path / "b01").exists():
        time.sleep(0.05)
    process.kill()
    process.join(60)
    boards = Boards(6)
    for name in boards.names:
        if (tmp_path / name).exists():
            boards.runs[name] = (tmp_path / name).read_text()
    assert boards.runs["b00"] == "new"
    boards.wrong["b05"] = RemoteError("bad")
    rollout = boards.roll_out(tmp_path, plan(batch="2"))
    assert boards.states(rollout)["b00"] == "reverted"
    assert set(boards.runs.values()) == {"old"}
