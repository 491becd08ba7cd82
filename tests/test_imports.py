"""Who may import whom: the rules of docs/architecture.md hold in every module, and the checks of them can fail."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import import_rules as rules
from tests.import_rules import ROOMS, Module, Room

ROOT = Path(__file__).resolve().parents[1]


#: A floor that a person takes in at a glance.
MAX_ENTRIES = 15
#: Not a floor of the project: what tools leave, and the catalogue of an installed wheel.
NOT_A_FLOOR = {"__pycache__", "_boards"}
#: A mark for type checkers that must lie where it does, and holds nothing (PEP 561).
MARK = "py.typed"
#: Folders of data, in which every file is a case; their number is what they are for.
DATA = {"corpus", "corpus_package", "hostile", "valid", "board_outputs", "results"}


def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_folder = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_folder else parts)
    return Module(name, path.read_text(encoding="utf-8"), is_folder)


MODULES = {
    module.name: module
    for package in ("sdk", "device_agent")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not NOT_A_FLOOR & set(path.parts)
    for module in [_read(path)]
}
BOARD = {name: module for name, module in MODULES.items() if name.partition(".")[0] == "device_agent"}


def none_of(lines: Iterable[str]) -> None:
    broken = list(lines)
    assert not broken, "\n  " + "\n  ".join(broken)


def test_every_folder_is_a_room_and_every_room_is_there():
    assert {module.room for module in MODULES.values()} == set(ROOMS)


def test_every_room_says_what_is_in_it_and_what_it_may_import():
    for name, room in ROOMS.items():
        module = MODULES[name]
        if module.is_folder:
            told, _, may = (ast.get_docstring(ast.parse(module.source)) or "").partition("May import: ")
            assert told, f"{module.path} does not say what is in the room"
            assert set(may.rstrip(".").replace(",", " ").split()) == (room.may or {"nothing"}), module.path
            assert told.rstrip().endswith("Pure.") == room.pure, module.path


def test_rooms_import_the_rooms_that_they_may():
    none_of(line for module in MODULES.values() for line in rules.breaks_room_rule(module, MODULES))


def test_the_table_of_rooms_leads_downwards_only():
    none_of(rules.upward_arrows(ROOMS))


def test_no_room_is_allowed_what_it_does_not_use():
    used: dict[str, set[str | None]] = {}
    for module in MODULES.values():
        targets = {rules.room_of(found.target, MODULES) for found in module.imports(MODULES)}
        used.setdefault(module.room, set()).update(targets)
    none_of(
        f"{name} may import {other} and does not"
        for name, room in ROOMS.items()
        for other in sorted(room.may - used[name])
    )


def test_no_file_is_part_of_a_circle():
    none_of(" -> ".join(circle) for circle in rules.circles(MODULES))


def test_pure_rooms_do_no_file_network_clock_or_printing_work():
    none_of(line for module in MODULES.values() for line in rules.breaks_pure_rule(module, MODULES))


def test_the_board_imports_the_standard_library_numpy_and_the_runtime_only():
    none_of(line for module in BOARD.values() for line in rules.breaks_board_rule(module, MODULES))


def test_the_host_shares_errors_records_tensors_pictures_answers_and_the_package_with_the_board():
    shared = {
        other
        for name, room in ROOMS.items()
        if name.startswith("sdk")
        for other in room.may
        if "sdk" not in other
    }
    assert shared == {
        "device_agent",  # where the sources stand that are pushed to a board
        "device_agent.answers",
        "device_agent.errors",
        "device_agent.image",
        "device_agent.package",
        "device_agent.package.codec",
        "device_agent.record",
        "device_agent.tensors",
    }


def test_no_floor_has_more_entries_than_a_person_takes_in():
    floors = {ROOT / top for top in ("sdk", "device_agent", "tests", "benchmarks")}
    floors |= {path for floor in floors for path in floor.rglob("*") if path.is_dir()}
    none_of(
        f"{floor.relative_to(ROOT)} has {count} entries"
        for floor in sorted(floors)
        if not (NOT_A_FLOOR | DATA) & set(floor.relative_to(ROOT).parts)
        and (count := sum(entry.name not in NOT_A_FLOOR | {MARK} for entry in floor.iterdir())) > MAX_ENTRIES
    )


def test_ssh_is_known_to_the_connection_and_to_the_loopback_server_only():
    knows = {
        module.room
        for module in MODULES.values()
        for found in module.imports(MODULES)
        if found.target.partition(".")[0] == "paramiko"
    }
    assert knows == {"sdk.board", "sdk.board.ssh"}


def test_a_board_with_numpy_alone_can_import_the_agent():
    """In a process in which every other package is missing, as on a board before a runtime is installed."""
    code = f"""
import importlib, importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "device_agent"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
for name in {sorted(BOARD)}:
    if not name.endswith("__main__"):
        importlib.import_module(name)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert result.returncode == 0, result.stderr


# --- the checks can fail ------------------------------------------------------------------------------------------


def module(name: str, source: str, *, is_folder: bool = False) -> Module:
    return Module(name, source, is_folder)


@pytest.mark.parametrize(
    "source",
    [
        "import sdk.graph.records",
        "def f():\n    from sdk import graph",
        "import tensorflow as tf",
        "import os, paramiko",
        "if True:\n    import rich.console",
        "import tomllib",
        "match x:\n    case 1: pass",
    ],
)
def test_the_board_rule_catches(source: str):
    [line] = rules.breaks_board_rule(module("device_agent.run.x", source), MODULES)
    assert line.startswith("device_agent/run/x.py:")


@pytest.mark.parametrize(
    "source",
    ["import numpy", "import os", "from device_agent import store", "import ai_edge_litert.interpreter"],
)
def test_the_board_rule_lets_through(source: str):
    assert not list(rules.breaks_board_rule(module("device_agent.run.x", source), MODULES))


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        (
            "sdk.package.x",
            "from sdk.graph.on_host.sources.convert import convert",
            "sdk.graph.on_host.sources.convert",
        ),
        (
            "sdk.package.x",
            "from sdk.graph.on_host.sources import convert",
            "sdk.graph.on_host.sources.convert",
        ),
        ("sdk.package.x", "from ..graph.on_host.sources import convert", "sdk.graph.on_host.sources.convert"),
        ("sdk.package.x", "def f():\n    import sdk.explain.macs", "sdk.explain.macs"),
        ("sdk.package.x", "if TYPE_CHECKING:\n    from sdk.explain.macs import m", "sdk.explain.macs"),
        ("sdk.package.x", "import sdk.api", "sdk.api"),
        ("sdk.package.x", "from device_agent.package.reader import unpack", "device_agent.package.reader"),
        ("sdk.compress.weights.x", "from sdk.compress.rewrite import edit", "sdk.compress.rewrite.edit"),
        ("sdk.compress.train.x", "from sdk.compress.solve import layer", "sdk.compress.solve.layer"),
        ("sdk.deploy.agent.x", "from device_agent.store.store import Store", "device_agent.store.store"),
        ("sdk.api.files.x", "from sdk import cli", "sdk.cli"),
        ("sdk.api.files.x", "from sdk.commands import models", "sdk.commands.models"),
        ("sdk.report.terminal.x", "from sdk.api.results import Converted", "sdk.api.results"),
        (
            "device_agent.store.x",
            "from device_agent.run.loaded import LoadedModel",
            "device_agent.run.loaded",
        ),
    ],
)
def test_the_room_rule_catches(name: str, source: str, target: str):
    [line] = rules.breaks_room_rule(module(name, source), MODULES)
    assert f"imports {target};" in line


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "sdk.package.x",
            "from sdk.graph.records import Graph\nfrom sdk.errors import ModelError\nimport numpy",
        ),
        ("sdk.explain.x", "from sdk.explain.macs import count_macs"),
        ("sdk.compress.recipes.x", "def f():\n    from sdk.compress.train import fine_tuning"),
        ("sdk.deploy.agent.x", "from device_agent.record.measurement import Measurement"),
    ],
)
def test_the_room_rule_lets_through(name: str, source: str):
    assert not list(rules.breaks_room_rule(module(name, source), MODULES))


def test_an_upward_arrow_in_the_table_is_found():
    table = {"low": Room(frozenset({"high"})), "high": Room(frozenset({"low"}))}
    assert rules.upward_arrows(table) == ["low may import high, which is no lower room"]


@pytest.mark.parametrize(
    "late", ["import sdk.b", "def f():\n    import sdk.b", "if TYPE_CHECKING:\n    from sdk.b import B"]
)
def test_a_circle_is_found_however_late_the_import(late: str):
    house = {"sdk.a": module("sdk.a", late), "sdk.b": module("sdk.b", "from sdk.a import A")}
    assert rules.circles(house) == [["sdk.a", "sdk.b"]]
    assert not rules.circles({**house, "sdk.b": module("sdk.b", "import os")})


@pytest.mark.parametrize(
    "source",
    [
        "import os.path",
        "from pathlib import Path",
        "def f():\n    import time",
        "import socket",
        "print('hello')",
        "open('x')",
        "path.read_bytes()",
        "array.tofile(name)",
        "from sdk.graph.on_host.sources.convert import convert",
        "from sdk.tools.system.files import read_file",
        "from device_agent.store import blobs",
    ],
)
def test_the_pure_rule_catches(source: str):
    assert len(list(rules.breaks_pure_rule(module("sdk.package.x", source), MODULES))) == 1
    assert len(list(rules.breaks_pure_rule(module("device_agent.package.codec.x", source), MODULES))) == 1


def test_the_pure_rule_lets_impure_rooms_and_pure_work_through():
    assert not list(rules.breaks_pure_rule(module("sdk.graph.on_host.x", "import os\nprint(1)"), MODULES))
    pure = "import io, zlib, hashlib\nprogress('pack', 1, 2)"
    assert not list(rules.breaks_pure_rule(module("sdk.package.x", pure), MODULES))
