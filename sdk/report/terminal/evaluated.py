"""Scores of host and board on the same images, by the task of the model, and the noise of each layer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from device_agent.record.visible import visible
from sdk.explain.layers import LayerLosses
from sdk.report.terminal.tables import notes, shape_text, short_names, table
from sdk.report.units import percent_text, seconds_text

#: Lines of what has no counterpart.
_MOST_UNMATCHED = 8


def agreed(result: Any) -> RenderableType:
    """How far each output of a board is from the host's."""
    where = f"{result.name} on {result.board} against the host, {result.cases} made-up inputs"
    told = [Text(f"note: {visible(note)}") for note in result.notes]
    head = Text(f"{where}, {result.runtime} {result.runtime_version}")
    return Group(head, _outputs(result.outputs), *told)


def _outputs(outputs: Any) -> RenderableType:
    rows = table(None, "~output", "difference", "cosine", "noise")
    for one in outputs:
        largest = f"{percent_text(one.largest)} of classes" if one.classes else f"{one.largest:.3g}"
        noise = "equal" if one.largest == 0.0 else f"{one.decibel:.0f} dB below"
        rows.add_row(visible(one.name, most=40), largest, f"{one.cosine:.6f}", noise)
    return rows


def evaluation(result: Any) -> RenderableType:
    """Accuracy of one package on host and board, in the metrics of its task."""
    head = f"{result.name} on {result.board}: {result.samples} samples of {result.data}"
    rows: list[RenderableType] = [Text(head + (f", {result.task}" if result.task else ""))]
    if result.reached:
        rows.append(_reached(result))
    rows += [Text(change_text(one)) for one in result.changes]
    told_of_board = []
    if result.agree is not None:
        told_of_board.append(f"same answer on host and board: {result.agree} of {result.samples}")
    if result.board_seconds is not None:
        told_of_board.append(
            f"{seconds_text(result.board_seconds / result.samples)} per inference on the board"
        )
    if told_of_board:
        rows.append(Text("; ".join(told_of_board)))
    if not result.by_truth or result.counted != "classes":
        rows += [Text("\nthe board's outputs against the host's:"), _outputs(result.outputs)]
    if result.mistaken:
        told = ", ".join(f"{one['label']} as {one['answer']} ({one['times']})" for one in result.mistaken)
        rows.append(Text(f"most often mistaken: {visible(told)}"))
    return Group(*rows, *notes(result.notes))


def _reached(result: Any) -> RenderableType:
    """A line for each metric at each place."""
    against = "" if result.by_truth else f", against {_reference(result)}"
    rows = table(None, "where", "<metric", "reached", "95 %")
    for one in result.reached:
        rows.add_row(one.place + against, one.name, one.text, one.interval_text)
    return rows


def _reference(result: Any) -> str:
    """What answers are compared with where the data hold no right answers."""
    return "the host" if all(one.place == "board" for one in result.reached) else "the original"


def change_text(one: Mapping[str, Any]) -> str:
    """A paired test in a sentence: ``original to host: top-1 99.00 % -> 98.00 % (-1.00 points, 95 %: ...)``."""
    if one["percent"]:
        low, high = (0.0 - end for end in reversed(one["points_interval"]))
        by = f"{0.0 - one['points_lost']:+.2f} points, 95 %: {low:+.2f} to {high:+.2f}"
    else:
        low, high = one["interval"]
        by = f"{one['after'] - one['before']:+.3g}, 95 %: {low:+.3g} to {high:+.3g}"
    counts = ""
    if one["only_before"] is not None:
        counts = f"; {one['only_before']} right before alone, {one['only_after']} after alone"
    return (
        f"{one['from']} to {one['to']}: {one['name']} {one['before_text']} -> {one['after_text']} ({by}): "
        f"{one['verdict']} (p {one['p_value']:.2g}, {one['test']}{counts})"
    )


def decibel_text(value: float | None) -> str:
    """Signal to noise for people."""
    return "-" if value is None else "equal" if value >= 150.0 else f"{value:.1f} dB"


def layer_losses(result: LayerLosses) -> RenderableType:
    """Every operator, the one with the most noise first, and what to do about the three that add most."""
    heads = ["<kind", "shape", "SNR", "adds"]
    heads += ["on the board"] if result.board else []
    rows = table(None, "operator", *heads, "~weights", tight=True)
    worst = result.worst_first()
    for name, one in zip(short_names([one.name for one in worst]), worst, strict=True):
        cells = [one.kind, shape_text(one.shape), decibel_text(one.decibel), percent_text(one.added, 2)]
        cells += [decibel_text(one.board_decibel)] if result.board else []
        rows.add_row(name, *cells, one.weights)
    where = f"{result.compressed} against {result.original}: {result.samples} samples of {result.data}"
    if result.board:
        where += f"; {result.board} against the host, {result.runtime}"
    parts: list[RenderableType] = [Text(visible(where)), rows]
    parts += _named("what adds most noise:", result.advice, "no operator adds noise")
    if result.board:
        parts += _named(
            "where board and host differ most:", result.board_advice, "board and host agree everywhere"
        )
    for alone in result.unmatched[:_MOST_UNMATCHED]:
        told = f"not compared: {alone.operator} of the {alone.model} model, {alone.why}"
        parts.append(Text(visible(told), style="dim"))
    if len(result.unmatched) > _MOST_UNMATCHED:
        parts.append(Text(f"and {len(result.unmatched) - _MOST_UNMATCHED} more", style="dim"))
    return Group(*parts, *notes(result.notes))


def _named(head: str, advice: tuple[str, ...], none: str) -> list[RenderableType]:
    if not advice:
        return [Text(none)]
    return [
        Text(head, style="bold"),
        *(Text(f"{n}. {visible(one)}") for n, one in enumerate(advice, start=1)),
    ]
