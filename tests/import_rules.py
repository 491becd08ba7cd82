"""Who may import whom, as functions of source text; tests/test_imports.py applies them to every module.

The rules are those of docs/architecture.md. Each function takes a module's dotted name and its source and gives one
line for everything that breaks its rule: the file, the line, what was imported, and what to do instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# ---- rule 1: the board has the standard library, numpy and a runtime, and Python 3.8.

BOARD_PYTHON = (3, 8)
ON_A_BOARD = {"numpy", "tflite_runtime", "ai_edge_litert", "device_agent"}
NOT_IN_PYTHON_3_8 = {"graphlib", "tomllib", "zoneinfo"}

# ---- rule 2: what the host shares with the board, the rest it reaches through a connection.

SHARED_WITH_THE_HOST = {
    # The package as such: where the sources stand that are pushed to a board.
    "device_agent",
    "device_agent.errors",
    "device_agent.record.measurement",
    "device_agent.record.profile",
    "device_agent.package.reader",
    # What is done to an image, and what a package says of it.
    "device_agent.record.preprocess",
    "device_agent.record.usage",
    # The parts that the package's reader is made of; its writer speaks the same format.
    "device_agent.package.codec.format",
    "device_agent.package.codec.huffman",
    "device_agent.package.codec.lz",
    "device_agent.package.codec.sections",
    "device_agent.package.codec.table",
    # How a signature is verified: the host asks as the board does.
    "device_agent.package.signature",
    # Which C decoder this process uses: the host builds its own.
    "device_agent.package.kernel",
}

# ---- rule 3: stages do not know each other.

#: They put stages together; the last is a script. Nobody imports them, except one another.
COMPOSERS = {
    "sdk",
    "sdk.__main__",
    "sdk.api",
    "sdk.api.measuring.bench",
    "sdk.api.files.compressing",
    "sdk.api.boards.deploying",
    "sdk.api.files.efforts",
    "sdk.api.boards.evaluating",
    "sdk.api.boards.exporting",
    "sdk.api.files.packing",
    "sdk.api.boards.fleet",
    "sdk.api.files.golden",
    "sdk.api.measuring.measure",
    "sdk.api.boards.probing",
    "sdk.api.boards.releases",
    "sdk.api.boards.services",
    "sdk.api.files.signatures",
    "sdk.api.measuring.runs",
    "sdk.api.measuring.size_suite",
    "sdk.api.files.studies",
    "sdk.api.measuring.suites",
    "sdk.api.measuring.tune",
    "sdk.api.files.usage",
    "sdk.cli",
    "sdk.commands",
    "sdk.commands.arguments",
    "sdk.commands.boards",
    "sdk.commands.exports",
    "sdk.commands.fleet",
    "sdk.commands.models",
    "sdk.commands.output",
    "sdk.commands.register",
    "sdk.commands.releases",
    "sdk.commands.runs",
    "sdk.commands.services",
    "sdk.api.measuring.demo",
    "sdk.api.boards.fleet_results",
    "sdk.deploy.provision.instructions",
    "sdk.api.boards.fetch",
    "sdk.api.results",
    "sdk.deploy.session",
    "sdk.compress.recipes.attempts",
    "sdk.compress.recipes.budget",
    "sdk.compress.recipes.check",
    "sdk.compress.solve.synthetic_images",
    "sdk.compress.solve.ranks",
    "sdk.compress.recipes.recipe",
    "sdk.compress.recipes.search",
    "sdk.compress.recipes.targets",
    "sdk.compress.board_form.specialise",
    "sdk.models.train_digits",
}

#: What passes from stage to stage, and may be imported by every one of them.
EVERYWHERE = {"sdk.board.catalogue", "sdk.errors", "sdk.graph.records", "sdk.graph.schema"}

#: Small tools that are no stage: files, progress bars, the chatter of libraries. Not for pure modules.
TOOLS = {
    "sdk.tools.system.files",
    "sdk.tools.system.folders",
    "sdk.tools.printable",
    "sdk.tools.progress",
    "sdk.tools.system.quiet",
    "sdk.tools.toml_table",
}

#: What the passes of sdk.compress share. (Every other module there is a pass, and a stage of its own.)
SHARED_BY_PASSES = {
    "sdk.compress.weights.blocks",
    "sdk.compress.board_form.cost",
    "sdk.compress.rewrite.edit",
    "sdk.compress.recipes.overall_progress",
    "sdk.compress.weights.selection",
    "sdk.compress.rewrite.structure",
}

#: Modules that are part of a stage: to the rule they are the stage.
PART_OF = {
    "sdk.deploy.agent.answers": "sdk.deploy.agent.remote_agent",
    "sdk.explain.attribution": "sdk.explain.gap",
    "sdk.board.description.board_file": "sdk.board.catalogue",
    "sdk.explain.breakdown": "sdk.explain.gap",
    "sdk.explain.causes": "sdk.explain.gap",
    "sdk.package.coding": "sdk.package.pack",
    "sdk.compress.solve.matrices": "sdk.compress.solve.calibrate",
    "sdk.compress.solve.layer": "sdk.compress.solve.calibrate",
    "sdk.compress.solve.statistics": "sdk.compress.solve.calibrate",
    "sdk.compress.train.adam": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.answers": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.batches": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.priced": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.rate": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.schedule": "sdk.compress.train.fine_tuning",
    "sdk.compress.train.student": "sdk.compress.train.fine_tuning",
    "sdk.graph.execute_operators": "sdk.graph.execute",
    "sdk.package.bit_fields": "sdk.package.pack",
    "sdk.board.proposal": "sdk.deploy.provision.provisioning",
    "sdk.board.facts": "sdk.deploy.provision.provisioning",
    "sdk.board.probe": "sdk.deploy.provision.provisioning",
    "sdk.deploy.fleet.inventory_ansible": "sdk.deploy.fleet.inventory",
    "sdk.deploy.fleet.inventory_vars": "sdk.deploy.fleet.inventory",
    "sdk.board.local_server": "sdk.board.local",
    "sdk.deploy.exporting": "sdk.deploy.agent.remote_agent",
    "sdk.package.lz_encode": "sdk.package.pack",
    "sdk.explain.macs": "sdk.explain.theory",
    "sdk.deploy.native": "sdk.deploy.provision.kernel",
    "sdk.package.oci_layout": "sdk.deploy.agent.remote_agent",
    "sdk.package.release": "sdk.deploy.agent.remote_agent",
    "sdk.deploy.agent.profiles": "sdk.deploy.agent.remote_agent",
    "sdk.deploy.agent.services": "sdk.deploy.agent.remote_agent",
    "sdk.deploy.fleet.journal": "sdk.deploy.fleet.rollout",
    "sdk.package.scales": "sdk.package.pack",
    "sdk.package.spans": "sdk.package.pack",
    "sdk.board.ssh.agent": "sdk.board.ssh.connection",
    "sdk.board.ssh.config": "sdk.board.ssh.connection",
    "sdk.board.ssh.files": "sdk.board.ssh.connection",
    "sdk.board.ssh.known_hosts": "sdk.board.ssh.connection",
    "sdk.board.ssh.login": "sdk.board.ssh.connection",
    "sdk.board.ssh.target": "sdk.board.ssh.connection",
    "sdk.board.ssh.transport": "sdk.board.ssh.connection",
    "sdk.package.symbols": "sdk.package.pack",
    "sdk.graph.reader": "sdk.graph.records",
    "sdk.graph.writer": "sdk.graph.records",
    "sdk.board.virtual": "sdk.board.emulation",
    "sdk.deploy.provision.wheels": "sdk.deploy.provision.provisioning",
}

#: Packages that are one stage as a whole.
WHOLE_PACKAGES = ("sdk.board.emulation", "sdk.models", "sdk.report")

#: Edges between stages that are right, and why.
EXCEPTIONS = {
    (
        "sdk.compress.train.fine_tuning",
        "sdk.compress.weights.cluster",
    ): "centroids that are trained start from the same k-means",
    (
        "sdk.compress.train.fine_tuning",
        "sdk.compress.rewrite.dead_channels",
    ): "a network that empties is trained without what is dead",
    (
        "sdk.compress.train.fine_tuning",
        "sdk.graph.execute",
    ): "and what is left of it needs an executor of its own",
    (
        "sdk.explain.calibration",
        "sdk.explain.gap",
    ): "a calibration gives the peaks that a gap is held against: the record",
    (
        "sdk.explain.calibration",
        "sdk.graph.isolate",
    ): "both time models that hold one operator; the empty one is the same",
    (
        "sdk.explain.gap",
        "sdk.explain.theory",
    ): "a gap is between the theory's costs and a profile: the record, not the work",
    ("sdk.report", "sdk.explain.gap"): "a report holds gaps: the record, not the work",
    ("sdk.report", "sdk.explain.compare"): "a report holds comparisons: the record, not the work",
    ("sdk.report", "sdk.explain.theory"): "a report holds operators' costs: the record, not the work",
    ("sdk.report", "sdk.explain.tuning"): "a report shows what was tuned: the record, not the work",
    ("sdk.report", "sdk.package.inspection"): "a report holds inspections: the record, not the work",
}

# ---- rule 4: pure modules.

PURE = (
    "device_agent.package.codec.format",
    "device_agent.package.codec.huffman",
    "device_agent.package.codec.lz",
    "device_agent.record.measurement",
    "device_agent.package.reader",
    "device_agent.record.prediction",
    "device_agent.record.preprocess",
    "device_agent.record.profile",
    "device_agent.image.resize",
    "device_agent.package.codec.sections",
    "device_agent.package.codec.table",
    "device_agent.record.usage",
    "device_agent.record.wire",
    "sdk.explain.attribution",
    "sdk.package.bit_fields",
    "sdk.explain.breakdown",
    "sdk.explain.calibration",
    "sdk.explain.causes",
    "sdk.package.coding",
    "sdk.explain.compare",
    "sdk.compress",
    "sdk.graph.execute",
    "sdk.graph.execute_operators",
    "sdk.explain.gap",
    "sdk.package.inspection",
    "sdk.graph.isolate",
    "sdk.package.lz_encode",
    "sdk.explain.macs",
    "sdk.package.oci_layout",
    "sdk.package.pack",
    "sdk.package.release",
    "sdk.report",
    "sdk.package.scales",
    "sdk.package.spans",
    "sdk.explain.suites",
    "sdk.package.symbols",
    "sdk.explain.theory",
    "sdk.explain.tuning",
)

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

#: (module, imported module): why a pure module may have it all the same.
PURE_EXCEPTIONS = {
    (
        "device_agent.package.reader",
        "device_agent.package.kernel",
    ): "the C decoder is looked for when the caller leaves the choice",
    (
        "sdk.compress.recipes.overall_progress",
        "sdk.tools.progress",
    ): "the name under which the whole work reports, no terminal",
}


@dataclass(frozen=True)
class Import:
    """One imported module. ``typing_only`` stands under ``if TYPE_CHECKING`` and never happens at run time."""

    target: str
    line: int
    typing_only: bool


def file_of(module: str, modules: frozenset[str] = frozenset()) -> str:
    """Its path below the repository."""
    return module.replace(".", "/") + ("/__init__.py" if f"{module}.__init__" in modules else ".py")


def imports(module: str, source: str, modules: frozenset[str] = frozenset()) -> list[Import]:
    """Every import of ``source``, wherever it stands. ``from a import b`` is ``a.b`` where that is one of
    ``modules``, else ``a``."""
    package = module if f"{module}.__init__" in modules else module.rpartition(".")[0]
    found: list[Import] = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.append(Import(full if full in modules else base, node.lineno, typing_only))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, typing_only)

    visit(ast.parse(source), False)
    # `from sdk import api, boards` is two modules, `from sdk.board.catalogue import Board, Figure` one.
    return list(dict.fromkeys(found))


def breaks_rule_1(module: str, source: str, modules: frozenset[str] = frozenset()) -> Iterator[str]:
    """device_agent: standard library, numpy and the runtime; syntax of the oldest Python on a board."""
    try:
        ast.parse(source, feature_version=BOARD_PYTHON)
    except SyntaxError as error:
        yield f"{file_of(module, modules)}:{error.lineno} is not Python 3.8, which boards have: {error.msg}"
        return
    for found in imports(module, source):
        top = found.target.partition(".")[0]
        if top not in ON_A_BOARD and (top not in sys.stdlib_module_names or top in NOT_IN_PYTHON_3_8):
            yield (
                f"{file_of(module, modules)}:{found.line} imports {found.target}; "
                "a board has the standard library of Python 3.8, numpy and the TFLite runtime, nothing else"
            )


def breaks_rule_2(module: str, source: str, modules: frozenset[str]) -> Iterator[str]:
    """sdk: of device_agent only the package's format, the measurement's record and the errors."""
    for found in imports(module, source, modules):
        if found.target.partition(".")[0] == "device_agent" and found.target not in SHARED_WITH_THE_HOST:
            yield (
                f"{file_of(module, modules)}:{found.line} imports {found.target}; the host shares "
                f"{', '.join(sorted(SHARED_WITH_THE_HOST))} and reaches the rest through a connection"
            )


def stage_of(module: str) -> str:
    """The stage that a module of sdk belongs to."""
    for package in WHOLE_PACKAGES:
        if module == package or module.startswith(package + "."):
            return package
    return PART_OF.get(module, module)


def breaks_rule_3(module: str, source: str, modules: frozenset[str]) -> Iterator[str]:
    """sdk: a stage imports no other stage; composers put them together."""
    if module in COMPOSERS:
        # Composers may import everything but the command line, which is where everything starts.
        for found in imports(module, source, modules):
            if found.target == "sdk.cli" and module != "sdk.__main__":
                yield f"{file_of(module, modules)}:{found.line} imports sdk.cli; nobody imports the command line"
        return
    for found in imports(module, source, modules):
        target = found.target
        if not target.startswith("sdk.") or found.typing_only or target in EVERYWHERE | TOOLS:
            continue
        if target in SHARED_BY_PASSES and module.startswith("sdk.compress."):
            continue
        if stage_of(target) == stage_of(module) or (stage_of(module), stage_of(target)) in EXCEPTIONS:
            continue
        yield (
            f"{file_of(module, modules)}:{found.line} imports {target}; stages do not import each other: "
            "let sdk/api.py put them together, or say in tests/import_rules.py why this edge is right"
        )


def is_pure(module: str) -> bool:
    return any(module == pure or module.startswith(pure + ".") for pure in PURE)


def breaks_rule_4(module: str, source: str, modules: frozenset[str] = frozenset()) -> Iterator[str]:
    """Pure modules: no files, network, clock, processes or printing."""
    if not is_pure(module):
        return
    pure_hint = (
        "this module is pure: take bytes or arrays, give them back, report progress through a callback"
    )
    for found in imports(module, source, modules):
        target = found.target
        project = target.partition(".")[0] in ("sdk", "device_agent")
        allowed = (module, target) in PURE_EXCEPTIONS or found.typing_only
        # Errors and records are data; boards are read elsewhere, their record is imported.
        impure = not is_pure(target) and target not in EVERYWHERE | {"device_agent.errors", "device_agent"}
        if not allowed and (target.partition(".")[0] in IMPURE_MODULES or (project and impure)):
            yield f"{file_of(module, modules)}:{found.line} imports {target}; {pure_hint}"
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        call = node.func
        if isinstance(call, ast.Name) and call.id in IMPURE_CALLS:
            yield f"{file_of(module, modules)}:{node.lineno} calls {call.id}(); {pure_hint}"
        elif isinstance(call, ast.Attribute) and call.attr in IMPURE_METHODS:
            yield f"{file_of(module, modules)}:{node.lineno} calls .{call.attr}(); {pure_hint}"
