"""Measure models on a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from device_agent.package import reader as package_format
from sdk.api.board_requests import Bench, Soaking
from sdk.api.boards.deploying import package_of, told_apart
from sdk.api.boards.runtimes import note_of, with_a_runtime
from sdk.api.files.golden import remembered_golden
from sdk.api.files.opening import openings
from sdk.api.files.packing import title_of
from sdk.api.files.signatures import signed_as
from sdk.api.measuring.measure import measure
from sdk.api.measuring.predictions import beside_measured, require_core
from sdk.api.values import PathLike
from sdk.board.catalogue import load_board
from sdk.deploy.session import Session, open_scratch_session
from sdk.errors import ModelError
from sdk.explain.run import Report
from sdk.explain.suites import Size, size_text
from sdk.graph.on_host.input_size import at_size
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import BenchOptions

_Result = TypeVar("_Result")


def bench_models(
    board: str,
    sources: Sequence[PathLike],
    *,
    progress: Progress = silent,
    **options: Unpack[BenchOptions],
) -> Report:
    """Measures models on the board, interleaved; the first is what others are compared with.

    The board's own releases stay as they are, and nothing of the measured models stays there. Packages of one model are
    told apart by the names of their files. With ``sizes``, (height, width) each, every model is measured for images of
    these sizes instead of its own. ``options``: see :class:`sdk.api.board_requests.Bench`. Raises TypeError for others.
    """
    return bench(board, sources, build(Bench, options, function="bench_models"), progress)


def bench(board: str, sources: Sequence[PathLike], request: Bench, progress: Progress = silent) -> Report:
    """As :func:`bench_models`, with the options as a record."""

    measured: list[tuple[str, bytes]] = []
    if request.predict:
        require_core(load_board(board))  # refused before anything is measured

    def work(session: Session, packages: Sequence[tuple[str, bytes]]) -> Report:
        measured.extend(packages)
        return measure(session, packages, request, progress=progress)

    report, notes = with_deployed(board, sources, request, progress, work)
    if request.predict:
        report = beside_measured(report, load_board(board), measured, progress)
    return replace(report, notes=(*notes, *report.notes))


def with_deployed(
    board: str,
    sources: Sequence[PathLike],
    request: Bench | Soaking,
    progress: Progress,
    work: Callable[[Session, Sequence[tuple[str, bytes]]], _Result],
) -> tuple[_Result, tuple[str, ...]]:
    """The result of ``work`` on models that are deployed for it, as (name, package), and notes on their deploy."""
    sizes = request.sizes
    said = zip(sources, openings(sources, request), strict=True)
    packages = told_apart(sources, [package_of(s, progress, packing=packing) for s, packing in said])
    if sizes is not None:
        packages = [_at_size(*package, size, progress) for size in sizes for package in packages]
    names = [name for name, _ in packages]
    if len(set(names)) < len(names):
        raise ModelError(
            "two models have the same name, and would replace each other on the board",
            expected="different file names",
            found=", ".join(names),
        )
    if sizes is None:
        signatures = [signed_as(n, s, p) for s, (n, p) in zip(sources, packages, strict=True)]
    else:
        signatures = [None] * len(packages)  # nobody has signed what was made just now
    goldens = [remembered_golden(package) for _, package in packages]
    with open_scratch_session(board, request, progress) as session:
        session, _, failures = with_a_runtime(
            session,
            request,
            progress,
            lambda at: [
                at.agent.deploy(
                    package,
                    name,
                    golden=golden,
                    signed=signed,
                    title=title_of(package),
                    progress=progress,
                )
                for (name, package), golden, signed in zip(packages, goldens, signatures, strict=True)
            ],
        )
        return work(session, packages), note_of(failures, session)


def _at_size(name: str, package: bytes, size: Size, progress: Progress) -> tuple[str, bytes]:
    """The same model for images of another size; written as it is, since nothing but its time is asked for."""
    text = size_text(size)
    progress(f"{name} at {text}", 0, 0)
    graph = read_graph(package_format.unpack(package).tflite)
    return f"{name}-{text}", write_graph(at_size(graph, *size))
