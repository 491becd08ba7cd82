"""Boards: the catalogue, one board with the source of each figure, and what became of one. Pure."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from device_agent.record.visible import visible
from sdk.board.description.records import Board, CoreCluster, Figure
from sdk.report.terminal.tables import facts, notes
from sdk.report.terminal.tables import table as _table


def boards(result: Any) -> RenderableType:
    """The catalogue: cores, peaks, bandwidth."""
    table = _table(None, "board", "~what it is", "~cores", "GFLOP/s", "GB/s", "<runtime")
    for board in result.boards:
        clusters = " + ".join(f"{len(c.cpus)}x {c.core.removeprefix('Cortex-')}" for c in board.clusters)
        peak = max((c.peak_fp32_gflops_per_core.value for c in board.clusters), default=None)
        bandwidth = board.memcpy_gigabytes_per_second
        table.add_row(
            board.name,
            board.title,
            clusters or "-",
            f"{peak:.1f}" if peak else "-",
            f"{bandwidth.value:.1f}" if bandwidth else "-",
            board.preferred_runtime.name if board.preferred_runtime else "-",
        )
    return Group(table, Text("GFLOP/s: float32 peak of the fastest core; GB/s: memcpy", style="dim"))


def board_facts(result: Any) -> RenderableType:
    """One board: what it is, its figures with their sources, and what others measured on it."""
    board: Board = result.board
    runtimes = [f"{one.name} {one.version}: {one.source}" for one in board.runtimes]
    parts: list[RenderableType] = [
        Text(f"{board.name}: {board.title}", style="bold"),
        facts(
            ("architecture", board.architecture + (", emulated" if board.emulated else "")),
            ("system", f"{board.os or 'any'}; Python {', '.join(board.python_versions) or 'any'}"),
            ("user", board.user or "as ssh's configuration says"),
            ("runtimes", "\n".join(runtimes) or "-"),
            ("file", board.origin),
        ),
    ]
    sources: list[str] = []
    figures = _table("Figures", "figure", "value", "<known", "source")
    for cluster in board.clusters:
        for name, figure in _figures_of(cluster):
            figures.add_row(
                f"{cluster.core}: {name}", _value(figure), figure.kind, _numbered(figure.source, sources)
            )
    for name, of_memory in (
        ("memcpy", board.memcpy_gigabytes_per_second),
        ("latency of memory", board.memory_latency_nanoseconds),
    ):
        if of_memory is not None:
            figures.add_row(name, _value(of_memory), of_memory.kind, _numbered(of_memory.source, sources))
    if figures.rows:
        parts.append(figures)
    if board.published:
        table = _table("Measured by others", "network", "<framework", "<type", "threads", "latency", "source")
        for one in board.published:
            latency = f"{one.latency_milliseconds:g} ms"
            threads = "-" if one.threads is None else str(one.threads)
            table.add_row(
                one.network, one.framework, one.dtype, threads, latency, _numbered(one.source, sources)
            )
        parts.append(table)
    if sources:
        parts += [
            Text("\nSources", style="bold"),
            facts(*((f"[{n}]", one) for n, one in enumerate(sources, 1))),
        ]
    return Group(*parts, *notes(board.notes))


def _numbered(source: str, sources: list[str]) -> str:
    """The number of the source in the list, where it is added if it is new."""
    if source not in sources:
        sources.append(source)
    return f"[{sources.index(source) + 1}]"


def _figures_of(cluster: CoreCluster) -> list[tuple[str, Figure]]:
    return [
        ("clock", cluster.clock_ghz),
        ("float32 per cycle", cluster.fp32_flop_per_cycle),
        ("int8 per cycle", cluster.int8_op_per_cycle),
        ("float32 peak", cluster.peak_fp32_gflops_per_core),
        ("int8 peak", cluster.peak_int8_gops_per_core),
    ]


def _value(figure: Figure) -> str:
    between = (
        f" ({figure.low:g} to {figure.high:g})" if figure.low is not None and figure.high is not None else ""
    )
    return f"{figure.value:g} {figure.unit}{between}"


def added_board(result: Any) -> RenderableType:
    """The path of the board's file, and what to check in it."""
    return Text("\n".join([str(result.path), *(f"note: {warning}" for warning in result.warnings)]))


def stopped_board(result: Any) -> RenderableType:
    """Whether an emulated board ran until now."""
    return Text(f"{result.board} {'stopped' if result.stopped else 'was not running'}")


def signature_policy(result: Any) -> RenderableType:
    """The signers whose packages a board accepts."""
    signed = "only if they are signed by one of them" if result.requires_signatures else "from anyone"
    return Text(f"{result.board} takes packages {signed}")


def diagnosis(result: Any) -> RenderableType:
    """The checks of a board, and what was wrong, one line each."""
    counts = ", ".join(f"{count} {kind}" for kind, count in result.checked.items())
    lines = [Text(f"{result.board} at {result.address}: looked at {visible(counts)}")]
    for what, mended in result.found:
        lines.append(
            Text(
                f"{'mended' if mended else 'to do'}: {visible(what)}{f' ({visible(mended)})' if mended else ''}"
            )
        )
    return Text("\n").join(lines if result.found else [*lines, Text("nothing is wrong")])
