"""Answers about pictures, and predicted times on boards. Pure: makes rich renderables, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.explain.run import PREDICTED
from sdk.explain.speed.predictions import PredictedModel, PredictedRatio, Predictions
from sdk.explain.theory import GROUPS
from sdk.report.predictions import PART_NAMES, facts_of_predictions, likely_text, optional_text, sentence_of
from sdk.report.terminal.gap import Bar
from sdk.report.terminal.tables import facts, notes, short_name
from sdk.report.terminal.tables import table as _table
from sdk.report.units import count_text, percent_text, ratio_text, seconds_text

#: Rows of one picture; --json has all of them.
MOST_ROWS = 40


def predicted(result: Any) -> RenderableType:
    """A table for each picture: classes, boxes, shares of a map, or points."""
    parts: list[RenderableType] = [Text(f"{result.name} on {result.board}", style="bold")]
    for picture, answer in zip(result.pictures, result.answers, strict=True):
        parts += [Text(f"{picture}: {_kind(answer)}, in {seconds_text(answer.seconds)}"), _answer(answer)]
    return Group(*parts)


def _kind(answer: Any) -> str:
    if answer.boxes is not None:
        return f"{len(answer.boxes)} found"
    return answer.task or ("classes" if answer.top else "its outputs")


def _answer(answer: Any) -> RenderableType:
    if answer.boxes is not None:
        rows = [(_label(b), _number(b.score, 3), *(_number(v, 0) for v in b.box)) for b in answer.boxes]
        return _rows(("label", "score", "left", "top", "right", "bottom"), rows)
    if answer.map is not None:
        return _rows(("class", "share"), [(_label(c), f"{100 * c.share:.1f} %") for c in answer.map.classes])
    if answer.points is not None:
        points = [
            (point.label or str(number), _number(point.x, 1), _number(point.y, 1), _number(point.score, 3))
            for number, point in enumerate(answer.points)
        ]
        return _rows(("point", "x", "y", "score"), points)
    if answer.top:
        return _rows(("label", "score"), [(_label(c), _number(c.score, 4)) for c in answer.top])
    return Text(", ".join("x".join(map(str, shape)) or "a scalar" for shape in answer.outputs))


def _rows(names: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    found = _table(None, *names)
    listed = list(rows)
    for row in listed[:MOST_ROWS]:
        found.add_row(*row)
    if len(listed) > MOST_ROWS:
        found.add_row(f"and {len(listed) - MOST_ROWS} more", *("" for _ in names[1:]))
    return found


def _label(one: Any) -> str:
    return str(one.index) if one.label is None else one.label


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


# -- times of boards that nobody has at hand ----------------------------------------------------------------------

#: More models on boards than this have no waterfalls on a terminal; the page has them all.
MOST_WATERFALLS = 6


def predictions(result: Predictions, *, operators: bool = False) -> RenderableType:
    """Theory, prediction and measurement in columns of their own, what a time is made of, and how far off it may be.

    With ``operators`` there is a table of every single operator, too.
    """
    parts: list[RenderableType] = [_times(result), _splits(result)]
    if any(one.bounds for one in result.models):
        parts.append(_bounds(result.models))
    if ratios := result.ratios():
        parts.append(_ratios(ratios))
    if len(result.models) <= MOST_WATERFALLS:
        parts += [_waterfall(one) for one in result.models if one.theory_seconds is not None]
    names = dict.fromkeys(one.name for one in result.models if one.operators())
    parts += [
        _groups([one for one in result.models if one.name == name and one.operators()]) for name in names
    ]
    if operators:
        parts += [_operators(one) for one in result.models if one.operators()]
    parts.append(facts(*facts_of_predictions(result)))
    return Group(*parts, *notes(result.notes))


def _times(result: Predictions) -> RenderableType:
    made = _table(
        f"One inference, 1 thread: {result.statement}",
        *("model", "<board", "theory", "predicted", "likely", "measured"),
        tight=True,
    )
    for one in result.models:
        made.add_row(
            short_name(one.name, 20),
            one.board,
            optional_text(one.theory_seconds),
            Text(f"{seconds_text(one.predicted_seconds)}{' !' if one.memory_decides else ''}", style="bold"),
            likely_text(one),
            optional_text(one.measured_seconds),
        )
    said = "theory: MACs / peak of one core; predicted: not measured"
    if any(one.memory_decides for one in result.models):
        said += "; !: waiting for DRAM decides, and the prediction is least sure"
    return Group(made, Text(said, style="dim"))


def _splits(result: Predictions) -> RenderableType:
    made = _table(
        "What the predicted time is made of",
        "model",
        "<board",
        *PART_NAMES.values(),
        "instructions",
        tight=True,
    )
    for one in result.models:
        seconds = one.part_seconds()
        made.add_row(
            short_name(one.name, 20),
            one.board,
            *(_share_text(one, name, seconds[name]) for name in PART_NAMES),
            count_text(one.prediction.instructions),
        )
    return made


def _share_text(one: PredictedModel, name: str, seconds: float) -> Text:
    decides = name == "dram" and one.memory_decides
    return Text(percent_text(seconds / one.predicted_seconds, 0), style="bold yellow" if decides else "")


def _bounds(models: Sequence[PredictedModel]) -> RenderableType:
    made = _table(
        "Several threads: a bound, no prediction", "model", "<board", "threads", "not faster than", "<limit"
    )
    for one in models:
        for bound in one.bounds:
            made.add_row(
                short_name(one.name, 20),
                one.board,
                str(bound.threads),
                seconds_text(bound.seconds),
                "shared memory" if bound.memory_limits else "cores",
            )
    said = "predicted, not measured: the same inference split without any loss, the shared bandwidth counted once"
    return Group(made, Text(said, style="dim"))


def _ratios(ratios: Sequence[PredictedRatio]) -> RenderableType:
    made = _table(
        f"Against {ratios[0].baseline}: {PREDICTED}", "model", "<board", "in theory", "predicted", "realised"
    )
    for one in ratios:
        theory = one.theoretical
        made.add_row(
            short_name(one.candidate, 20),
            one.board,
            "-" if theory is None else ratio_text(theory),
            ratio_text(one.predicted),
            "-" if theory is None else percent_text(one.predicted / theory, 0),
        )
    return made


def _waterfall(one: PredictedModel) -> RenderableType:
    """From theory to the predicted time, part by part."""
    steps, longest, total = one.steps(), one.predicted_seconds, 0.0
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for number, step in enumerate(steps):
        start, total = total, total + step.seconds
        if number and abs(step.seconds) < 0.0005 * one.predicted_seconds:
            continue
        sign = "" if not number else "+" if step.seconds > 0 else "-"
        style = "dim" if not number else "yellow" if step.seconds > 0 else "green"
        table.add_row(
            "theory" if not number else PART_NAMES.get(step.name, step.name),
            sign + seconds_text(abs(step.seconds)),
            percent_text(step.seconds / one.predicted_seconds, 0),
            Bar(min(start, total), max(start, total), max(longest, steps[0].seconds), style),
        )
    whole = Bar(0.0, one.predicted_seconds, max(longest, steps[0].seconds), "cyan")
    table.add_row("predicted", seconds_text(one.predicted_seconds), "100 %", whole)
    return Group(Text(f"\nFrom theory to {sentence_of(one)}", style="bold"), table)


def _groups(there: Sequence[PredictedModel]) -> RenderableType:
    """The time of each group of operators, a column for each board."""
    made = _table(
        f"Operators of {there[0].name}: {PREDICTED}",
        *("group", "number", "MACs", *(one.board for one in there)),
    )
    times = [one.operators() for one in there]
    for group in GROUPS:
        members = [t for t in times[0] if t.cost.group == group]
        if members:
            macs = sum(t.cost.macs for t in members)
            seconds = [sum(t.seconds for t in own if t.cost.group == group) for own in times]
            made.add_row(
                group, str(len(members)), count_text(macs) if macs else "-", *map(_with_share, seconds, there)
            )
    made.add_row("outside of them", "", "", *(_with_share(one.outside_seconds(), one) for one in there))
    if not any(one.operators_alone for one in there):
        return made
    said = "each operator predicted alone, with its inputs in the caches; the whole is another run"
    return Group(made, Text(said, style="dim"))


def _with_share(seconds: float, one: PredictedModel) -> str:
    sign = "-" if seconds < 0 else ""
    return f"{sign}{seconds_text(abs(seconds))} {percent_text(seconds / one.predicted_seconds, 0):>5}"


def _operators(one: PredictedModel) -> RenderableType:
    made = _table(
        f"Every operator of {one.name} on {one.board}: {PREDICTED}",
        *("#", "<operator", "output", "MACs", "predicted", "~kernels"),
        tight=True,
    )
    for t in one.operators():
        made.add_row(
            str(t.cost.index),
            t.cost.kind.lower(),
            "x".join(map(str, t.cost.output_shape[1:])),
            count_text(t.cost.macs) if t.cost.macs else "-",
            seconds_text(t.seconds),
            " + ".join(dict.fromkeys(t.kernels)) or "fused",
        )
    return made
