"""What is broken at every call: what parts of Armlet do to a disk, and what must be right afterwards.

python -m tests.attacks.faults.scenarios NAME FOLDER     does it; tests.attacks.faults.harness breaks it
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_agent import bootstrap
from device_agent.record.release import OutputLimit
from device_agent.record.schema import parse_json, read
from device_agent.run import idle_check, quick_start_making
from device_agent.run.loaded import LoadedModel
from device_agent.serve import systemd_unit
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store
from sdk.api.files import golden
from sdk.board.ssh.command import Completed
from sdk.board.ssh.files import Files
from sdk.deploy.provision import downloading, instructions, kernel, locked, provisioning, wheels
from sdk.package.release import Golden
from tests.device_agent.store.deploying import deploy, package
from tests.sdk.board.machine import this_machine


@dataclass(frozen=True)
class Scenario:
    """``work`` is broken; before it ``prepare`` has made the folder, and ``right`` raises AssertionError unless all is
    well once the same was done again, undisturbed. ``mend`` is what finds damage of bytes that lie there for long."""

    name: str
    prepare: Callable[[Path], object]
    work: Callable[[Path], object]
    right: Callable[[Path], None]
    mend: Callable[[Path], object] = lambda root: None


# -- trees of a board -------------------------------------------------------------------------------------------------

TREE = {"numpy/__init__.py": (b"version = 1\n" * 50, False), "lib/a.so": (bytes(range(256)) * 40, True)}
AGENT = {"device_agent/__init__.py": (b"# the agent\n" * 30, False)}


def _unpack(root: Path) -> str:
    tree = wheels.pack_tree(TREE)
    where = root / "env" / tree.digest
    bootstrap.unpack(io.BytesIO(tree.archive), str(where), tree.archive_sha256, len(tree.archive))
    return tree.digest


def _unpacked(root: Path) -> None:
    for tree in (root / "env").glob("*") if (root / "env").is_dir() else ():
        assert tree.name.startswith(".") or bootstrap.tree_digest(str(tree)) == tree.name, (
            "a tree is not whole"
        )
    digest = _unpack(root)
    assert bootstrap.tree_digest(str(root / "env" / digest)) == digest


# -- a board made ready -----------------------------------------------------------------------------------------------


class _Here:
    """A connection to a board that is this machine, without the wire: commands run as the board's shell runs them."""

    address = "here"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = Files(self.run)

    def run(self, argv: Any, *, stdin: Any = b"", **options: Any) -> Completed:
        data = (
            stdin.read_bytes()
            if isinstance(stdin, Path)
            else stdin
            if isinstance(stdin, bytes)
            else stdin.read()
        )
        # The real python3 before any shim of the user's, which starts a dozen shells.
        path = f"{sys.base_prefix}/bin:{os.environ.get('PATH', os.defpath)}"
        environment = {**os.environ, "HOME": str(self._root), "PATH": path}
        done = subprocess.run(argv, input=data, capture_output=True, env=environment)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def put(self, source: bytes, remote: str, *, mode: int = 0o600, sent: Any = None) -> None:
        self._files.put(io.BytesIO(source), len(source), remote, mode, sent)

    def get(self, remote: str, *, max_bytes: int) -> bytes | None:
        return self._files.get(remote, max_bytes)


_PROOF = {
    "runtime": "ai-edge-litert",
    "runtime_version": "2.3.0",
    "numpy_version": "2.4.6",
    "delegate": "xnnpack",
    "decode_kernels": ["numpy"],
}


def _provision(root: Path) -> provisioning.Provisioned:
    tree = wheels.pack_tree(TREE)
    archive = root.with_name(f"{root.name}.tar.gz")  # the host's: not on the board's disk
    if not archive.exists():
        archive.write_bytes(tree.archive)
    environment = SimpleNamespace(
        runtime="ai-edge-litert",
        digest=tree.digest,
        archive=archive,
        archive_sha256=tree.archive_sha256,
        unpacked_bytes=tree.unpacked_bytes,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provisioning, "fetch_environment", lambda *a, **o: environment)
        patch.setattr(provisioning, "whole_environment", lambda *a, **o: environment)
        patch.setattr(provisioning, "agent_tree", lambda *libraries: wheels.pack_tree(AGENT))
        patch.setattr(provisioning, "_smoke_test", lambda connection, command: dict(_PROOF))
        facts = replace(this_machine(), home=str(root))
        return provisioning.provision(_Here(root), facts=facts, runtime="ai-edge-litert")  # type: ignore[arg-type]


def _ready(root: Path) -> None:
    ready = _provision(root)
    home = root / ".armlet"
    variables = dict(part.split("=", 1) for part in ready.command if "=" in part)
    for tree in variables["PYTHONPATH"].split(":"):
        assert bootstrap.tree_digest(tree) == Path(tree).name, (
            "a tree is lost or not whole, and nobody says so"
        )
    launcher = home / "python"
    wanted = provisioning._launcher(variables["PYTHONPATH"], variables["ARMLET_HOME"])  # noqa: SLF001
    assert launcher.read_bytes() == wanted, "the launcher is not what was written"
    assert launcher.stat().st_mode & 0o100
    assert ready.decode_kernels == ("numpy",)


def _mend_board(root: Path) -> None:
    """What `sdk board doctor` does of this."""
    here, home = _Here(root), str(root / ".armlet")
    whole = provisioning.launcher_is_whole(here, home)  # type: ignore[arg-type]
    provisioning.check_trees(here, home)  # type: ignore[arg-type]
    ready = _provision(root)
    if not whole:
        provisioning.prefer(here, ready)  # type: ignore[arg-type]


# -- quick starts -----------------------------------------------------------------------------------------------------


def _store(root: Path) -> Store:
    quick_start_making.WORTH, quick_start_making.FREE_SHARE = (
        1e9,
        0.0,
    )  # of a network so small no start is worth it
    return Store(root / "store")


def _deploy(root: Path) -> None:
    deploy(_store(root), package(size=16))


def _start(root: Path) -> None:
    store = _store(root)
    release = store.current("net")
    LoadedModel.of_release(store, release, warm=False).keep_start(store, release)


def _started(root: Path) -> None:
    store = _store(root)
    _as_recorded(store)
    release = store.current("net")
    image = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    expected = LoadedModel.of_release(store, release, warm=False).predict(image)
    found = LoadedModel.of_release(store, release)
    np.testing.assert_array_equal(
        found.predict(image), expected, err_msg=f"a {found.start} start answers otherwise"
    )
    _start(root)
    with store.locked():
        store.collect()
    [folder] = store.starts.iterdir()
    assert starts.is_whole(folder)
    assert LoadedModel.of_release(store, release).start == "warm"


def _as_recorded(store: Store) -> None:
    """A disk that lost bytes may have kept times: files that could pass for whole get theirs."""
    for record in store.starts.glob("*/" + starts.RECORD):
        with contextlib.suppress(Exception):
            kept = read(starts._Kept, parse_json(record.read_bytes()))  # noqa: SLF001
            for name, known in ((starts.MODEL, kept.model), (starts.WEIGHTS, kept.weights)):
                os.utime(record.with_name(name), ns=(known.mtime_ns, known.mtime_ns))


def _damaged_start(root: Path) -> None:
    _deploy(root)
    _start(root)
    for path in _store(root).starts.glob("*/" + starts.WEIGHTS):
        before, data = path.stat(), bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _drop(root: Path) -> str:
    store = _store(root)
    return idle_check.drop_damaged(store, store.current("net"), lambda release: _start(root))


def _dropped(root: Path) -> None:
    _as_recorded(_store(root))
    _drop(root)  # the next deploy, or the next look
    _started(root)


def _deploy_another(root: Path) -> None:
    deploy(_store(root), package(1, size=16))


def _deployed(root: Path) -> None:
    store = _store(root)
    data = store.read_package(store.current("net"))
    assert data in (package(size=16), package(1, size=16)), "neither the old nor the new release"
    _deploy_another(root)
    assert store.read_package(store.current("net")) == package(1, size=16)


#: The store has a harness of its own (tests/device_agent/store/test_faults.py); on a real disk it is tried here.
DEPLOYS = Scenario("deploys", _deploy, _deploy_another, _deployed)


# -- services ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_systemd(root: Path) -> Iterator[None]:
    shown = dict.fromkeys(systemd_unit._SHOWN, "")  # noqa: SLF001
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMLET_HOME", str(root / "armlet"))
        patch.setenv("XDG_CONFIG_HOME", str(root / "config"))
        patch.setattr(systemd_unit, "_require_manager", lambda: None)
        patch.setattr(systemd_unit, "_systemctl", lambda *a, **o: "")
        patch.setattr(systemd_unit, "_show", lambda unit: shown)
        patch.setattr(systemd_unit, "_begin", lambda *a: None)
        patch.setattr(systemd_unit, "_linger", lambda: True)
        yield


def _before_service(root: Path) -> None:
    home = root / "armlet"
    home.mkdir(mode=0o700)
    deploy(Store(home / "store"), package())
    (home / "python").write_bytes(b"#!/bin/sh\n")
    (home / "python").chmod(0o700)


def _install(root: Path) -> None:
    with _no_systemd(root):
        systemd_unit.install(Namespace(name="net", options="--port 8080"))


def _installed(root: Path) -> None:
    unit = root / "config" / "systemd" / "user" / systemd_unit.TEMPLATE
    wanted = systemd_unit.unit_text(root / "armlet")
    assert not unit.exists() or unit.read_text() == wanted, "half a unit"
    _install(root)
    assert unit.read_text() == wanted
    assert (root / "armlet/serve/net.env").read_text() == 'ARMLET_SERVE_OPTIONS="--port 8080"\n'


# -- the host's caches ------------------------------------------------------------------------------------------------

_FACTS = replace(this_machine(), machine="aarch64", python=(3, 11, 2), glibc=(2, 36))


@contextlib.contextmanager
def _index() -> Iterator[wheels.Runtime]:
    """A package index with one wheel, which the lock has."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, (data, _) in TREE.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    file = "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_aarch64.whl"
    wheel = locked.LockedWheel(
        file, hashlib.sha256(buffer.getvalue()).hexdigest(), "tflite-runtime", "2.14.0", "MIT"
    )
    pinned = locked.LockedEnvironment("tflite-runtime", "2.14.0", (3, 11), "aarch64", (2, 34), (wheel,))
    lock = locked.Lock((pinned,))

    def pip(command: str, options: list[str], *told: str) -> str:
        (Path(options[options.index("--dest") + 1]) / file).write_bytes(buffer.getvalue())
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheels, "shipped_lock", lambda: lock)
        patch.setattr(downloading, "run_pip", pip)
        yield wheels.RUNTIMES["tflite-runtime"]


def _fetch(root: Path) -> wheels.Environment:
    with _index() as runtime:
        environment = wheels.fetch_environment(runtime, _FACTS, cache=root)
        return wheels.whole_environment(runtime, _FACTS, environment)


def _fetched(root: Path) -> None:
    environment = _fetch(root)
    found = hashlib.sha256(environment.archive.read_bytes()).hexdigest()
    assert found == environment.archive_sha256 == _expected_archive()
    folder = instructions.unpacked(environment)
    assert bootstrap.tree_digest(str(folder)) == environment.digest, "what was unpacked is not whole"


def _fetch_and_unpack(root: Path) -> None:
    instructions.unpacked(_fetch(root))


def _expected_archive() -> str:
    # A ZipInfo made here says nothing of modes, so nothing is executable.
    return wheels.pack_tree({path: (data, False) for path, (data, _) in TREE.items()}).archive_sha256


_LIBRARY = b"\x7fELF" + bytes(range(256)) * 64


def _build(root: Path) -> Path:
    def compile_it(target: str, source: Path, output: Path, folder: Path) -> Path:
        output.write_bytes(_LIBRARY)
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_compile", compile_it)
        return kernel.build("aarch64", folder=root / "kernels")


def _built(root: Path) -> None:
    assert _build(root).read_bytes() == _LIBRARY, "a decoder that is not what was compiled"


_GOLDEN = Golden(
    (np.arange(12, dtype=np.float32).reshape(2, 6),),
    (np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4),),
    (OutputLimit("values", 1e-3, 1e-4),),
)


def _remember(root: Path) -> Golden:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden.folders, "cache_folder", lambda *parts: root.joinpath(*parts))
        patch.setattr(golden, "golden_pair", lambda model: _GOLDEN)
        return golden.remembered_golden(b"a model")


def _remembered(root: Path) -> None:
    found = _remember(root)
    np.testing.assert_array_equal(found.inputs[0], _GOLDEN.inputs[0])
    np.testing.assert_array_equal(found.outputs[0], _GOLDEN.outputs[0])
    assert found.limits == _GOLDEN.limits


def _nothing(root: Path) -> None:
    pass


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("environments", _nothing, _unpack, _unpacked, lambda root: bootstrap.check(str(root))),
        Scenario("provisioning", _nothing, _provision, _ready, _mend_board),
        Scenario("starts", _deploy, _start, _started, lambda root: _dropped(root)),
        Scenario("damaged starts", _damaged_start, _drop, _dropped),
        Scenario("services", _before_service, _install, _installed, _install),
        Scenario("wheels", _nothing, _fetch_and_unpack, _fetched),
        Scenario("decoders", _nothing, _build, _built),
        Scenario("golden pairs", _nothing, _remember, _remembered),
    )
}


def _careless(root: Path) -> None:
    """What nothing here does: a file that is renamed into its place before its bytes are on the disk."""
    (root / "new").write_bytes(b"all of it")
    os.replace(root / "new", root / "file")


def _old_or_new(root: Path) -> None:
    assert (root / "file").read_bytes() in (b"what was there", b"all of it")


CARELESS = Scenario(
    "careless", lambda root: (root / "file").write_bytes(b"what was there"), _careless, _old_or_new
)


def clear(root: Path) -> None:
    """Makes the folder empty, and what stands beside it for the host's side."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o700, parents=True)


def serve(scenario: Scenario, root: Path) -> None:
    """Works once for each line of standard input, each time in a child; prints how that ended."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        importlib.import_module("ai_edge_litert.interpreter")  # else each child imports it
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                scenario.work(root)
                status = 0
            finally:
                os._exit(status)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve({**SCENARIOS, CARELESS.name: CARELESS, DEPLOYS.name: DEPLOYS}[sys.argv[1]], Path(sys.argv[2]))
