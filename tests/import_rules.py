"""Who may import whom, as functions of source text; tests/test_imports.py applies them to every module.

A room is a folder of Python modules, or one of the few modules that stand alone on a ground floor. :data:`ROOMS` says
of each which other rooms its modules may import, and whether it is pure. There are no lists of modules and no
exceptions: an import that is not allowed is in the wrong room. docs/architecture.md draws the table; docs/decisions
has the reasons. Every import counts, wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``.

Each check gives one line for everything that breaks a rule: the file, the line, what was found, what to do instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

#: The board has the standard library of this Python, numpy and a runtime.
BOARD_PYTHON = (3, 8)
ON_A_BOARD = {"numpy", "tflite_runtime", "ai_edge_litert", "device_agent"}
NOT_IN_PYTHON_3_8 = {"graphlib", "tomllib", "zoneinfo"}


@dataclass(frozen=True)
class Room:
    """``may``: the rooms whose modules those of this one may import. ``pure``: no files, network, clock or printing."""

    may: frozenset[str]
    pure: bool = False


def _room(may: str = "", *, pure: bool = False) -> Room:
    return Room(frozenset(may.split()), pure)


#: Every room, the lowest of each side first: a room may import those above it in this list alone.
ROOMS: dict[str, Room] = {
    # -- the board
    "device_agent.errors": _room(pure=True),
    "device_agent.bootstrap": _room(),
    "device_agent.record": _room("device_agent.errors", pure=True),
    "device_agent.package.codec": _room("device_agent.errors", pure=True),
    "device_agent.package": _room("device_agent.errors device_agent.record device_agent.package.codec"),
    "device_agent.image": _room("device_agent.errors device_agent.record", pure=True),
    "device_agent.tensors": _room("device_agent.errors device_agent.record", pure=True),
    "device_agent.answers": _room("device_agent.errors device_agent.record device_agent.image", pure=True),
    "device_agent.store": _room("device_agent.errors device_agent.record"),
    "device_agent.run.kernels": _room("device_agent.errors device_agent.package device_agent.package.codec"),
    "device_agent.run": _room(
        "device_agent.errors device_agent.record device_agent.package "
        "device_agent.image device_agent.tensors device_agent.answers "
        "device_agent.store device_agent.run.kernels"
    ),
    "device_agent": _room("device_agent.run"),
    "device_agent.measuring": _room("device_agent.errors device_agent.record device_agent.run"),
    "device_agent.serve": _room(
        "device_agent.errors device_agent.record device_agent.image "
        "device_agent.tensors device_agent.store device_agent.run.kernels "
        "device_agent.run device_agent"
    ),
    "device_agent.verbs": _room(
        "device_agent.errors device_agent.record device_agent.package "
        "device_agent.tensors device_agent.store device_agent.run.kernels "
        "device_agent.run device_agent device_agent.measuring device_agent.serve"
    ),
    "device_agent.__main__": _room(
        "device_agent.errors device_agent.store device_agent.run device_agent.run.kernels device_agent.verbs"
    ),
    # -- the host: it shares errors, records, the way of pictures and the package's reader with the board
    "sdk.errors": _room("device_agent.errors", pure=True),
    "sdk.tools": _room("device_agent.record sdk.errors", pure=True),
    "sdk.tools.system": _room("device_agent.record sdk.errors sdk.tools"),
    "sdk.graph.embedded": _room(pure=True),
    "sdk.graph": _room("device_agent.record sdk.errors sdk.graph.embedded", pure=True),
    "sdk.graph.in_tensorflow": _room("sdk.errors sdk.graph", pure=True),
    "sdk.graph.made_up": _room("device_agent.record device_agent.tensors sdk.graph", pure=True),
    "sdk.graph.on_host": _room(
        "device_agent.record device_agent.tensors sdk.errors sdk.tools.system sdk.graph"
    ),
    "sdk.graph.on_host.sources": _room(
        "device_agent.record sdk.errors sdk.tools.system sdk.graph sdk.graph.on_host"
    ),
    "sdk.data.meaning": _room("device_agent.record device_agent.tensors sdk.errors sdk.graph", pure=True),
    "sdk.data.scoring": _room(
        "device_agent.record device_agent.image device_agent.tensors "
        "device_agent.answers sdk.errors sdk.graph sdk.data.meaning",
        pure=True,
    ),
    "sdk.data": _room(
        "device_agent.record device_agent.image device_agent.answers sdk.errors "
        "sdk.graph sdk.graph.on_host sdk.data.meaning sdk.data.scoring"
    ),
    "sdk.models.networks": _room("sdk.errors", pure=True),
    "sdk.models": _room("sdk.errors sdk.graph.on_host sdk.graph.on_host.sources sdk.models.networks"),
    "sdk.package": _room(
        "device_agent.record device_agent.package.codec device_agent.tensors "
        "sdk.errors sdk.tools sdk.graph.embedded sdk.graph",
        pure=True,
    ),
    "sdk.board.description": _room("device_agent.record sdk.errors sdk.tools", pure=True),
    "sdk.board.ssh": _room("device_agent.record device_agent.package sdk.errors sdk.tools.system"),
    "sdk.board.emulation.replay": _room("sdk.errors"),
    "sdk.board.emulation": _room(
        "device_agent.record device_agent.package sdk.errors sdk.tools sdk.tools.system"
    ),
    "sdk.board": _room(
        "device_agent.record sdk.errors sdk.tools sdk.tools.system "
        "sdk.board.description sdk.board.ssh sdk.board.emulation"
    ),
    "sdk.compress": _room(pure=True),
    "sdk.compress.weights": _room("device_agent.record sdk.errors sdk.graph", pure=True),
    "sdk.compress.rewrite": _room("sdk.errors sdk.graph", pure=True),
    "sdk.compress.board_form": _room(
        "sdk.errors sdk.graph sdk.board.description sdk.compress.weights sdk.compress.rewrite", pure=True
    ),
    "sdk.compress.solve": _room(
        "device_agent.record sdk.errors sdk.tools sdk.graph sdk.graph.in_tensorflow "
        "sdk.graph.made_up sdk.compress.weights sdk.compress.rewrite",
        pure=True,
    ),
    "sdk.compress.solve.whole_channels": _room(
        "sdk.errors sdk.tools sdk.graph sdk.graph.in_tensorflow sdk.compress.rewrite sdk.compress.solve",
        pure=True,
    ),
    "sdk.compress.train": _room(
        "sdk.errors sdk.tools sdk.graph sdk.compress sdk.compress.weights sdk.compress.rewrite "
        "sdk.graph.in_tensorflow",
        pure=True,
    ),
    "sdk.compress.recipes": _room(
        "device_agent.record sdk.errors sdk.tools sdk.graph sdk.data.scoring sdk.package "
        "sdk.compress sdk.compress.weights sdk.compress.rewrite sdk.compress.solve "
        "sdk.compress.train sdk.graph.in_tensorflow sdk.compress.solve.whole_channels",
        pure=True,
    ),
    "sdk.explain": _room("device_agent.record sdk.errors sdk.tools sdk.graph", pure=True),
    "sdk.explain.speed": _room("device_agent.record sdk.errors sdk.tools sdk.graph sdk.explain", pure=True),
    "sdk.explain.soaking": _room("device_agent.record sdk.errors sdk.tools sdk.graph sdk.explain", pure=True),
    "sdk.deploy.agent": _room(
        "device_agent.errors device_agent.record device_agent.tensors sdk.errors "
        "sdk.tools sdk.package sdk.board.ssh"
    ),
    "sdk.deploy.fleet": _room(
        "device_agent.record sdk.errors sdk.tools sdk.tools.system sdk.board.ssh sdk.board"
    ),
    "sdk.deploy.provision": _room(
        "device_agent.record device_agent sdk.errors sdk.tools sdk.tools.system "
        "sdk.board.ssh sdk.board.emulation sdk.board"
    ),
    "sdk.deploy.native": _room("sdk.errors sdk.deploy.provision"),
    "sdk.deploy.predicting": _room(
        "device_agent.record device_agent.package device_agent sdk.errors sdk.tools sdk.graph "
        "sdk.board.description sdk.board.emulation.replay sdk.board.emulation sdk.board "
        "sdk.explain.speed sdk.deploy.agent sdk.deploy.provision sdk.tools.system"
    ),
    "sdk.deploy": _room(
        "device_agent sdk.errors sdk.tools sdk.tools.system sdk.package "
        "sdk.board.description sdk.board.ssh sdk.board sdk.deploy.agent "
        "sdk.deploy.provision"
    ),
    "sdk.report": _room(
        "device_agent.record sdk.data.meaning sdk.explain sdk.explain.speed sdk.explain.soaking", pure=True
    ),
    "sdk.report.terminal": _room(
        "device_agent.record sdk.package sdk.board.description sdk.explain "
        "sdk.explain.speed sdk.explain.soaking sdk.report",
        pure=True,
    ),
    "sdk.report.page": _room(
        "device_agent.record sdk.data.meaning sdk.explain sdk.explain.speed "
        "sdk.explain.soaking sdk.report sdk.report.terminal",
        pure=True,
    ),
    "sdk.api": _room(
        "device_agent.record sdk.tools sdk.package sdk.board.description sdk.compress "
        "sdk.compress.weights sdk.explain sdk.deploy.agent sdk.deploy.fleet "
        "sdk.deploy"
    ),
    "sdk.api.checking": _room(
        "device_agent.record device_agent.package device_agent.tensors sdk.errors "
        "sdk.tools sdk.graph sdk.graph.in_tensorflow sdk.graph.made_up sdk.graph.on_host sdk.data.scoring "
        "sdk.compress.weights sdk.compress.recipes sdk.explain sdk.api"
    ),
    "sdk.api.files": _room(
        "device_agent.record device_agent.package.codec device_agent.package device_agent.tensors "
        "sdk.errors sdk.tools sdk.tools.system sdk.graph.embedded sdk.graph sdk.graph.made_up "
        "sdk.graph.on_host sdk.graph.on_host.sources sdk.data.meaning sdk.data.scoring sdk.data "
        "sdk.models sdk.package sdk.board.description sdk.board.ssh sdk.board sdk.compress "
        "sdk.compress.weights sdk.compress.rewrite sdk.compress.board_form sdk.compress.solve "
        "sdk.compress.recipes sdk.explain sdk.deploy.agent sdk.deploy.provision "
        "sdk.deploy.predicting sdk.api sdk.api.checking sdk.graph.in_tensorflow"
    ),
    "sdk.api.boards": _room(
        "device_agent.record device_agent.package.codec device_agent.package "
        "device_agent.image device_agent.tensors sdk.errors sdk.tools "
        "sdk.tools.system sdk.graph sdk.graph.on_host sdk.graph.on_host.sources "
        "sdk.data.meaning sdk.data.scoring sdk.data sdk.package sdk.board.description "
        "sdk.board.ssh sdk.board.emulation sdk.board sdk.explain sdk.deploy.agent "
        "sdk.deploy.fleet sdk.deploy.provision sdk.deploy.predicting sdk.deploy "
        "sdk.api sdk.api.files"
    ),
    "sdk.api.measuring": _room(
        "device_agent.record device_agent.package.codec device_agent.package "
        "sdk.errors sdk.tools sdk.tools.system sdk.graph sdk.graph.on_host "
        "sdk.graph.on_host.sources sdk.data.scoring sdk.data sdk.models sdk.package "
        "sdk.board.description sdk.board sdk.compress.weights sdk.compress.rewrite "
        "sdk.compress.board_form sdk.compress.recipes sdk.explain sdk.explain.speed "
        "sdk.explain.soaking sdk.deploy.agent sdk.deploy.provision "
        "sdk.deploy.predicting sdk.deploy sdk.report sdk.report.page sdk.api "
        "sdk.api.checking sdk.api.files sdk.api.boards"
    ),
    "sdk": _room(
        "device_agent.errors sdk.tools sdk.graph sdk.data sdk.board.description "
        "sdk.board sdk.report.terminal sdk.api.files sdk.api.boards sdk.api.measuring"
    ),
    "sdk.commands": _room(
        "device_agent.errors device_agent.record sdk.errors sdk.tools "
        "sdk.tools.system sdk.board sdk.explain sdk.explain.speed sdk.deploy.native "
        "sdk.deploy sdk.report.terminal sdk.api sdk.api.files sdk.api.boards "
        "sdk.api.measuring"
    ),
    "sdk.cli": _room("device_agent.errors sdk.tools sdk.tools.system sdk sdk.commands"),
}

#: Modules for work with files, networks, clocks, processes and terminals. (io and hashlib work on bytes in memory.)
IMPURE_MODULES = {
    "asyncio",
    "ctypes",
    "datetime",
    "fcntl",
    "getpass",
    "glob",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "paramiko",
    "pathlib",
    "platform",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
}
IMPURE_CALLS = {"breakpoint", "exec", "eval", "input", "open", "print"}
IMPURE_METHODS = {
    "fromfile",
    "memmap",
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "savez",
    "tofile",
    "unlink",
    "write_bytes",
    "write_text",
}


@dataclass(frozen=True)
class Import:
    """One imported module, wherever the import stands."""

    target: str
    line: int


@cache
def _imports_in(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Every statement that imports; a source is parsed once for all rules."""
    return tuple(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)
    )


@dataclass(frozen=True)
class Module:
    """A module: its dotted name (of a folder's ``__init__.py`` that of the folder), its source, what else there is."""

    name: str
    source: str
    is_folder: bool = False

    @property
    def path(self) -> str:
        """Below the repository."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.is_folder else ".py")

    @property
    def room(self) -> str:
        """The room that it is in: its folder, or itself where it stands alone on a ground floor."""
        return self.name if self.is_folder or self.name in ROOMS else self.name.rpartition(".")[0]

    def imports(self, modules: Collection[str]) -> list[Import]:
        """Every import. ``from a import b`` is ``a.b`` where that is one of ``modules``, else ``a``."""
        package = self.name if self.is_folder else self.name.rpartition(".")[0]
        found: list[Import] = []
        for node in _imports_in(self.source):
            if isinstance(node, ast.Import):
                found += [Import(alias.name, node.lineno) for alias in node.names]
            else:
                base = node.module or ""
                if node.level:
                    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*parents, *([base] if base else [])])
                full = [f"{base}.{alias.name}" for alias in node.names]
                found += [Import(name if name in modules else base, node.lineno) for name in full]
        return list(dict.fromkeys(found))


def room_of(target: str, modules: Mapping[str, Module]) -> str | None:
    """The room of an imported name; None for what is not ours."""
    while target:
        if target in modules:
            return modules[target].room
        target = target.rpartition(".")[0]
    return None


def breaks_board_rule(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    """device_agent: standard library, numpy and the runtime; syntax of the oldest Python on a board."""
    try:
        ast.parse(module.source, feature_version=BOARD_PYTHON)
    except SyntaxError as error:
        yield f"{module.path}:{error.lineno} is not Python 3.8, which boards have: {error.msg}"
        return
    for found in module.imports(modules):
        top = found.target.partition(".")[0]
        if top not in ON_A_BOARD and (top not in sys.stdlib_module_names or top in NOT_IN_PYTHON_3_8):
            yield (
                f"{module.path}:{found.line} imports {found.target}; "
                "a board has the standard library of Python 3.8, numpy and the TFLite runtime, nothing else"
            )


def breaks_room_rule(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    """A module imports its own room, and the rooms that :data:`ROOMS` allows it."""
    for found in module.imports(modules):
        room = room_of(found.target, modules)
        if room is not None and room != module.room and room not in ROOMS[module.room].may:
            yield (
                f"{module.path}:{found.line} imports {found.target}; {module.room} may import "
                f"{', '.join(sorted(ROOMS[module.room].may)) or 'nothing'}: move what is needed to a lower room, "
                "or let a higher room put the two together"
            )


def breaks_pure_rule(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    """Pure rooms: no files, network, clock, processes or printing, and no import of a room that may do such work."""
    if not ROOMS[module.room].pure:
        return
    hint = "this room is pure: take bytes or arrays, give them back, report progress through a callback"
    for found in module.imports(modules):
        room = room_of(found.target, modules)
        if found.target.partition(".")[0] in IMPURE_MODULES or (room is not None and not ROOMS[room].pure):
            yield f"{module.path}:{found.line} imports {found.target}; {hint}"
    for node in ast.walk(ast.parse(module.source)):
        if not isinstance(node, ast.Call):
            continue
        call = node.func
        if isinstance(call, ast.Name) and call.id in IMPURE_CALLS:
            yield f"{module.path}:{node.lineno} calls {call.id}(); {hint}"
        elif isinstance(call, ast.Attribute) and call.attr in IMPURE_METHODS:
            yield f"{module.path}:{node.lineno} calls .{call.attr}(); {hint}"


def upward_arrows(rooms: Mapping[str, Room]) -> list[str]:
    """Rooms that are allowed what stands below them in the table, or what is not there."""
    seen: set[str] = set()
    found = []
    for name, room in rooms.items():
        found += [f"{name} may import {other}, which is no lower room" for other in sorted(room.may - seen)]
        seen.add(name)
    return found


def circles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Files that import one another in a circle, late and typing imports counted; each circle as sorted names."""
    graph = {
        name: {found.target for found in module.imports(modules)} & set(modules) - {name}
        for name, module in modules.items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:  # Tarjan's strongly connected components
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            component = []
            while component[-1:] != [name]:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for name in graph:
        if name not in index:
            visit(name)
    return found
