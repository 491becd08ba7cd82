"""Fetches what a board will need while there is internet: its runtime's wheels and its decoder, and for a board that
is emulated on this machine the userland that it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from sdk.api.board_requests import FetchRuntimes
from sdk.api.results import Fetched
from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.board.emulation import userland
from sdk.board.facts import Facts
from sdk.board.local import LocalBoard
from sdk.board.ssh.connection import connect
from sdk.deploy.provision.kernel import KernelBuildError, build_delegate
from sdk.deploy.provision.kernel import build as build_kernel
from sdk.deploy.provision.provisioning import fetch_runtime, read_facts
from sdk.errors import BoardError, ProvisionError
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import FetchRuntimesOptions

# What is taken for granted of a board that has not been asked: Debian 12 and later, so that wheels are chosen that
# run on anything as new. Provisioning asks the board itself and fetches again if it must.
ASSUMED_GLIBC = (2, 36)


def fetch_runtimes(
    board_name: str, *, progress: Progress = silent, **options: Unpack[FetchRuntimesOptions]
) -> list[Fetched]:
    """One record per runtime that is now in the cache; the first that fits, or with ``all_runtimes`` each that does.

    Raises ProvisionError when none fits the board's Python, BoardError when a virtual board cannot be built.
    ``options``: see :class:`sdk.api.board_requests.FetchRuntimes`. Raises TypeError for others.
    """
    request = build(FetchRuntimes, options, function="fetch_runtimes")
    board = load_board(board_name)
    if board.transport == "virtual":
        userland.root_folder(board.architecture, progress=progress)
    known = assumed_facts(board, request.python_version)

    with ThreadPoolExecutor(1) as beside:  # the compiler is a process of its own
        machines = sorted({facts.wheel_architecture for facts in known})
        builds = [beside.submit(_build_kernels, machine) for machine in machines]
        fetched, refused = _fetched(board, known, request.all_runtimes, progress)
        for built in builds:
            built.result()
    if not fetched and refused is not None:
        raise refused
    return fetched


def _fetched(
    board: Board, known: Sequence[Facts], every: bool, progress: Progress
) -> tuple[list[Fetched], ProvisionError | None]:
    """What is in the cache now, of ``every`` runtime or the first that fits, and the last reason why one does not."""
    fetched, refused = [], None
    preferred = [(r.name, r.version) for r in board.runtimes]
    for facts in known:
        for runtime in [name for name, _ in preferred] if every else [None]:
            try:
                environment = fetch_runtime(facts, runtime=runtime, preferred=preferred, progress=progress)
            except ProvisionError as error:
                refused = error
                continue
            fetched.append(
                Fetched(
                    board=board.name,
                    runtime=environment.runtime,
                    runtime_version=environment.runtime_version,
                    python=".".join(map(str, environment.python)),
                    architecture=environment.architecture,
                    archive_bytes=environment.archive.stat().st_size,
                )
            )
    return fetched, refused


def _build_kernels(machine: str) -> None:
    with contextlib.suppress(KernelBuildError):  # numpy decodes there; the report will say so
        build_kernel(machine)
        build_delegate(machine)


def assumed_facts(board: Board, python_version: str | None) -> list[Facts]:
    """Assumed facts of a board that is not connected, for each Python that its file names, or for one.

    A board that is this computer is asked itself. Raises BoardError where no Python is known.
    """
    if board.transport == "local":
        with LocalBoard() as local, connect(**local.login()) as connection:
            facts = read_facts(connection)
        return [facts if python_version is None else replace(facts, python=_python(python_version))]
    versions = (python_version,) if python_version else board.python_versions
    if not versions:
        raise BoardError(
            f"the file of board {board.name} does not say which Python it has",
            expected="--python-version X.Y",
            found="nothing",
        )
    return [_facts(board, version) for version in versions]


def _facts(board: Board, version: str) -> Facts:
    return Facts(
        home="/",
        machine=board.architecture,
        system="Linux",
        python=_python(version),
        python_implementation="cpython",
        pointer_bits=32 if board.architecture == "armv7l" else 64,
        python_abi_flags="",
        glibc=ASSUMED_GLIBC,
        libc="glibc",
        free_disk_bytes=None,
        memory_bytes=None,
        os_name=board.os or "",
        model=board.title,
        cores=board.cores,
        cpu_features=(),
        max_clocks_hz=(),
        numpy_folder="/usr/lib/python3/dist-packages",
    )


def _python(version: str) -> tuple[int, int, int]:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        raise BoardError("this is not a version of Python", expected="such as 3.11", found=version) from None
    return major, minor, 0
