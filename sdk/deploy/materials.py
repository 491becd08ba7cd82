"""The bill of materials of a release and its environment on a kind of board."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import device_agent
from sdk.board.description.records import Board
from sdk.board.facts import Facts
from sdk.deploy.provision.kernel import KernelBuildError, build_delegate, delegate_sources, source_path
from sdk.deploy.provision.kernel import build as build_kernel
from sdk.deploy.provision.locked import LockedEnvironment, refuse_unpinned, shipped_lock
from sdk.deploy.provision.provisioning import agent_tree
from sdk.deploy.provision.wheels import NUMPY_ARCHITECTURES, choose_runtime
from sdk.package.release import PreparedRelease
from sdk.package.sbom import Part, document

LICENCE = "Apache-2.0"
_BOARD_NUMPY = Part(
    ref="board:numpy",
    kind="library",
    name="numpy",
    description="of the board's own distribution (python3-numpy): Armlet brings none for this processor",
)


def bill_of_materials(releases: Sequence[PreparedRelease], board: Board, known: Sequence[Facts]) -> bytes:
    """CycloneDX of the models and of what runs them on such a board: agent, decoder and pinned wheels.

    ``known``: the facts of such boards, one for each Python that they may have; the time is now, or SOURCE_DATE_EPOCH.
    Raises ProvisionError where no runtime fits.
    """
    architecture = known[0].wheel_architecture
    decoder, delegate = (_built(made, architecture) for made in (build_kernel, build_delegate))
    parts = _agent(decoder, delegate, architecture)
    environments = [
        _environment(facts, [(r.name, r.version) for r in board.runtimes], parts) for facts in known
    ]
    models = [_model(release) for release in releases]
    subject = Part(
        ref="release",
        kind="application",
        name=", ".join(release.name for release in releases),
        version=releases[0].id if len(releases) == 1 else None,
        description=f"models of Armlet on {board.title}",
        needs=(*(model.ref for model in models), "agent", *environments),
    )
    when = os.environ.get("SOURCE_DATE_EPOCH", "")
    time = datetime.fromtimestamp(int(when), timezone.utc) if when.isdigit() else datetime.now(timezone.utc)
    return document(
        subject,
        [*models, *parts.values()],
        made_by=device_agent.__version__,
        when=time.isoformat(timespec="seconds"),
    )


def _model(release: PreparedRelease) -> Part:
    return Part(
        ref=f"model:{release.name}",
        kind="machine-learning-model",
        name=release.record.title or release.name,
        version=release.id,
        sha256=release.package_sha256,
        properties={
            "armlet:release": release.id,
            "armlet:package_bytes": str(release.package_bytes),
            "armlet:signed": "yes" if release.record.signature_sha256 else "no",
        },
    )


def _built(make: Callable[[str], Path], architecture: str) -> bytes | None:
    """A library for such boards; None where it cannot be built, and they do without."""
    try:
        return make(architecture).read_bytes()
    except KernelBuildError:
        return None


def _agent(decoder: bytes | None, delegate: bytes | None, architecture: str) -> dict[str, Part]:
    """The agent and its libraries, by their names in the document."""
    libraries = {
        "decoder": (decoder, [source_path()]),
        "kernels": (delegate, delegate_sources()),
    }
    there = {name: (data, sources) for name, (data, sources) in libraries.items() if data is not None}
    parts = {
        "agent": Part(
            ref="agent",
            kind="application",
            name="armlet-agent",
            version=device_agent.__version__,
            licence=LICENCE,
            properties={"armlet:tree_sha256": agent_tree(decoder, delegate).digest},
            needs=tuple(there),
        )
    }
    for name, (data, sources) in there.items():
        source = b"".join(path.read_bytes() for path in sources)
        parts[name] = Part(
            ref=name,
            kind="library",
            name=f"armlet-{name}-{architecture}",
            version=device_agent.__version__,
            sha256=hashlib.sha256(data).hexdigest(),
            licence=LICENCE,
            properties={"armlet:source_sha256": hashlib.sha256(source).hexdigest()},
        )
    return parts


def _environment(facts: Facts, preferred: Sequence[tuple[str, str]], parts: dict[str, Part]) -> str:
    """Adds the wheels of the environment that such a board gets to ``parts``; the environment's own name there."""
    runtime = choose_runtime(facts, preferred=preferred)
    assert facts.python is not None and facts.glibc is not None  # noqa: PT018 - choose_runtime has seen to it
    python = facts.python[:2]
    locked = shipped_lock().find(runtime.name, runtime.version, python, facts.wheel_architecture, facts.glibc)
    if locked is None:
        raise refuse_unpinned(runtime.name, runtime.version)
    name = f"cp{python[0]}{python[1]}-{facts.wheel_architecture}"
    needs = _wheels(locked, parts)
    if facts.wheel_architecture not in NUMPY_ARCHITECTURES:
        parts[_BOARD_NUMPY.ref] = _BOARD_NUMPY
        needs.append(_BOARD_NUMPY.ref)
    ref = f"environment:{name}"
    parts[ref] = Part(
        ref=ref,
        kind="platform",
        name=f"environment for Python {python[0]}.{python[1]} on {facts.wheel_architecture}",
        version=f"{runtime.name} {runtime.version}",
        properties={"armlet:least_glibc": ".".join(map(str, locked.glibc))},
        needs=tuple(needs),
    )
    return ref


def _wheels(locked: LockedEnvironment, parts: dict[str, Part]) -> list[str]:
    """Adds each wheel to ``parts``; their names there."""
    refs = []
    for wheel in locked.wheels:
        ref = f"wheel:{wheel.file}"
        refs.append(ref)
        parts[ref] = Part(
            ref=ref,
            kind="library",
            name=wheel.name,
            version=wheel.version,
            sha256=wheel.sha256,
            licence=wheel.licence,
            purl=f"pkg:pypi/{wheel.name.lower().replace('_', '-')}@{wheel.version}?file_name={wheel.file}",
        )
    return refs
