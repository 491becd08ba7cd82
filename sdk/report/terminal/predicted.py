"""What a model says of pictures, as rich renderables. Pure: makes them, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sdk.report.terminal.tables import table as _table
from sdk.report.units import seconds_text

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
