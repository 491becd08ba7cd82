"""Old environments and agents are removed, those in use never."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from device_agent.store import environments as trees
from device_agent.store.environments import prune


def digest(text: str) -> str:
    return (text * 64)[:64]


class Board:
    """A home folder with trees and accepted pairs, all of them hours old."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.age = 100 * trees.ABANDONED_SECONDS

    def tree(self, kind: str, name: str, age: float | None = None) -> Path:
        path = self.home / kind / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "file.py").write_text("x = 1\n")
        os.utime(path, (time.time() - (self.age if age is None else age),) * 2)
        return path

    def accept(self, environment: str, agent: str) -> Path:
        """The next pair, younger than all before it."""
        self.tree("env", environment)
        self.tree("agent", agent)
        path = self.home / "accepted" / f"{len(list((self.home / 'accepted').glob('*')))}.json"
        path.write_text(json.dumps({"environment": environment, "agent": agent}))
        self.age -= 100
        os.utime(path, (time.time() - self.age,) * 2)
        return path

    def trees(self) -> set[str]:
        return {path.name for kind in ("env", "agent") for path in (self.home / kind).iterdir()}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "accepted").mkdir()
    return Board(tmp_path)


def test_the_newest_pairs_stay_and_older_ones_go(board):
    for name in "abcdef":
        board.accept(digest("0"), digest(name))
    assert prune(board.home) == 2
    assert board.trees() == {digest(name) for name in "0cdef"}
    assert len(list((board.home / "accepted").iterdir())) == trees.KEPT
    assert prune(board.home) == 0


def test_a_tree_that_a_kept_pair_shares_with_an_old_one_stays(board):
    for environment, agent in ("0a", "1b", "1c", "1d", "0e"):
        board.accept(digest(environment), digest(agent))
    prune(board.home)
    assert digest("0") in board.trees()
    assert digest("a") not in board.trees()


def test_an_agent_of_the_old_shape_goes_with_its_environment_once_another_is_there(board):
    board.accept(digest("0"), digest("a"))
    old = board.home / "agent" / digest("a")
    (old / "device_agent").mkdir()
    (old / "device_agent" / "verbs.py").write_text("VERBS = {}\n")
    os.utime(old, (time.time() - board.age,) * 2)
    board.accept(digest("1"), digest("b"))
    assert prune(board.home) == 2
    assert board.trees() == {digest("1"), digest("b")}
    assert len(list((board.home / "accepted").iterdir())) == 1


def test_a_tree_that_was_just_pushed_stays(board):
    board.accept(digest("0"), digest("a"))
    board.tree("env", digest("b"), age=10)
    board.tree("env", digest("c"), age=2 * trees.ABANDONED_SECONDS)
    assert prune(board.home) == 1
    assert board.trees() == {digest("0"), digest("a"), digest("b")}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"environment": 1, "agent": 2}', '{"environment": "../.."}']
)
def test_a_pair_that_cannot_be_read_names_nothing(board, text):
    board.accept(digest("0"), digest("a"))
    (board.home / "accepted" / "x.json").write_text(text)
    prune(board.home)
    assert board.trees() == {digest("0"), digest("a")}
    assert not (board.home / "accepted" / "x.json").exists()


def test_what_is_no_tree_of_ours_is_left_alone(board):
    board.tree("env", "notes")
    board.tree("env", ".removing-" + digest("a"))
    assert prune(board.home) == 0
    assert [path.name for path in (board.home / "env").iterdir()] == ["notes"]


def test_an_empty_board_has_nothing_to_remove(tmp_path):
    assert prune(tmp_path) == 0
