"""Who may import whom: the rules of docs/architecture.md hold in every module, and the checks of them can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import import_rules as rules

ROOT = Path(__file__).resolve().parents[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path.read_text(encoding="utf-8")
    for package in ("sdk", "device_agent")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "_boards" not in path.parts
}
PACKAGES = {module_name(path) + ".__init__" for path in ROOT.glob("*/**/__init__.py")}
MODULES = frozenset({*SOURCES, *PACKAGES})
HOST = {module: source for module, source in SOURCES.items() if module.partition(".")[0] == "sdk"}
BOARD = {module: source for module, source in SOURCES.items() if module.partition(".")[0] == "device_agent"}


def no(broken: list[str]) -> None:
    assert not broken, "\n  " + "\n  ".join(broken)


def test_there_are_modules_on_both_sides():
    assert len(HOST) > 10
    assert len(BOARD) > 5


def test_the_board_imports_the_standard_library_numpy_and_the_runtime_only():
    no([line for module, source in BOARD.items() for line in rules.breaks_rule_1(module, source, MODULES)])


def test_the_host_imports_of_the_board_only_what_both_sides_share():
    no([line for module, source in HOST.items() for line in rules.breaks_rule_2(module, source, MODULES)])


def test_stages_do_not_import_each_other():
    no([line for module, source in HOST.items() for line in rules.breaks_rule_3(module, source, MODULES)])


def test_pure_modules_do_no_file_network_clock_or_printing_work():
    no([line for module, source in SOURCES.items() for line in rules.breaks_rule_4(module, source, MODULES)])


def test_every_module_that_a_rule_names_exists():
    named = {*rules.PART_OF, *rules.EVERYWHERE, *rules.SHARED_BY_PASSES, *rules.SHARED_WITH_THE_HOST}
    named |= {side for edge in (*rules.EXCEPTIONS, *rules.PURE_EXCEPTIONS) for side in edge}
    named |= {*rules.PURE, *rules.TOOLS, *rules.WHOLE_PACKAGES}
    assert named <= set(SOURCES), f"tests/import_rules.py names {sorted(named - set(SOURCES))}"


def test_ssh_is_known_to_the_connection_and_to_the_loopback_server_only():
    knows = {
        rules.stage_of(module)
        for module, source in HOST.items()
        for found in rules.imports(module, source)
        if found.target.partition(".")[0] == "paramiko"
    }
    assert knows <= {"sdk.board.ssh.connection", "sdk.board.local"}


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

SMALL = frozenset(
    {
        "sdk.__init__",
        "sdk.api",
        "sdk.cli",
        "sdk.graph.on_host.convert",
        "sdk.package.pack",
        "sdk.graph.records",
        "sdk.explain.theory",
        "sdk.explain.macs",
        "device_agent.store.store",
        "device_agent.package.reader",
    }
)


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
def test_rule_1_catches(source: str):
    [line] = rules.breaks_rule_1("device_agent.x", source)
    assert line.startswith("device_agent/x.py:")


@pytest.mark.parametrize(
    "source",
    ["import numpy", "import os", "from device_agent import store", "import ai_edge_litert.interpreter"],
)
def test_rule_1_lets_through(source: str):
    assert not list(rules.breaks_rule_1("device_agent.x", source))


@pytest.mark.parametrize(
    "source",
    [
        "from device_agent import store",
        "import device_agent.store.store",
        "from device_agent.store.store import Store",
        "def f():\n    from device_agent.measuring.bench import run",
    ],
)
def test_rule_2_catches(source: str):
    [line] = rules.breaks_rule_2("sdk.deploy.agent.remote_agent", source, SMALL)
    assert line.startswith("sdk/deploy/agent/remote_agent.py:")
    assert "imports device_agent" in line


def test_rule_2_lets_the_package_through():
    for source in ("from device_agent import package", "from device_agent.package.reader import read"):
        assert not list(rules.breaks_rule_2("sdk.package.pack", source, SMALL))


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("sdk.package.pack", "from sdk.graph.on_host.convert import convert", "sdk.graph.on_host.convert"),
        ("sdk.package.pack", "from sdk import convert", "sdk.graph.on_host.convert"),
        ("sdk.package.pack", "from . import convert", "sdk.graph.on_host.convert"),
        ("sdk.package.pack", "from .convert import convert", "sdk.graph.on_host.convert"),
        ("sdk.package.pack", "def f():\n    import sdk.graph.on_host.convert", "sdk.graph.on_host.convert"),
        ("sdk.package.pack", "import sdk.api", "sdk.api"),
        ("sdk.package.pack", "from sdk.explain.macs import count_macs", "sdk.explain.macs"),
        (
            "sdk.compress.weights.cluster",
            "from sdk.compress.weights.prune import prune",
            "sdk.compress.weights.prune",
        ),
        (
            "sdk.package.pack",
            "from sdk.compress.weights.selection import select_weights",
            "sdk.compress.weights.selection",
        ),
        ("sdk.api", "from sdk import cli", "sdk.cli"),
    ],
)
def test_rule_3_catches(module: str, source: str, target: str):
    [line] = rules.breaks_rule_3(module, source, SMALL)
    assert f"imports {target};" in line


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "sdk.package.pack",
            "from sdk.graph.records import Graph\nfrom sdk.errors import ModelError\nimport numpy",
        ),
        ("sdk.api", "from sdk import convert, pack"),
        ("sdk.explain.theory", "from sdk.explain.macs import count_macs"),
        ("sdk.package.pack", "if TYPE_CHECKING:\n    from sdk.graph.on_host.convert import convert"),
        ("sdk.compress.weights.cluster", "from sdk.compress.weights.selection import select_weights"),
        ("sdk.models.networks.alexnet", "from sdk.models.networks.network import Network"),
        ("sdk.explain.run", "from sdk.explain.compare import Comparison"),
    ],
)
def test_rule_3_lets_through(module: str, source: str):
    assert not list(rules.breaks_rule_3(module, source, SMALL))


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
        "from sdk.graph.on_host.convert import convert",
        "from sdk.tools.system.files import read_file",
        "from device_agent import store",
    ],
)
def test_rule_4_catches(source: str):
    assert len(list(rules.breaks_rule_4("sdk.package.pack", source, SMALL))) == 1
    assert len(list(rules.breaks_rule_4("device_agent.package.reader", source, SMALL))) == 1


def test_rule_4_lets_impure_modules_and_pure_work_through():
    assert not list(rules.breaks_rule_4("sdk.graph.on_host.convert", "import os\nprint(1)"))
    assert not list(
        rules.breaks_rule_4("sdk.package.pack", "import io, zlib, hashlib\nprogress('pack', 1, 2)")
    )
