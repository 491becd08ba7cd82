"""The data that would be used, on 80 columns. Pure: makes renderables, prints nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from device_agent.record.visible import visible
from sdk.report.terminal.tables import notes, shape_text, table

#: Classes in the table; of more the rest is counted.
MAX_CLASSES = 30
_MAX_LABEL = 50


def data_report(result: Any) -> RenderableType:
    """Samples and classes, a note on each thing that was found, the preprocessing that would be taken."""
    for_model = f" for {result.model}" if result.model else ""
    parts: list[RenderableType] = [
        Text(
            f"{visible(result.data)}{visible(for_model)}: {result.samples} samples, {shape_text(result.input_shape)}"
        )
    ]
    if result.classes:
        counts = table("Classes", "class", "<label", "samples")
        for one in result.classes[:MAX_CLASSES]:
            counts.add_row(str(one.number), visible(one.label, most=_MAX_LABEL), str(one.samples))
        parts.append(counts)
        if len(result.classes) > MAX_CLASSES:
            rest = result.classes[MAX_CLASSES:]
            parts.append(Text(f"and {len(rest)} more classes of {sum(one.samples for one in rest)} samples"))
    else:
        parts.append(Text(f"{result.truth} of each" if result.truth else "no labels"))
    if result.candidates:
        tried = table("Preprocessing", "candidate", "right", "certain")
        for one in result.candidates:
            right = one["accuracy_percent"]
            tried.add_row(
                one["name"], "-" if right is None else f"{right:.1f} %", f"{one['certainty_percent']:.0f} %"
            )
        parts.append(tried)
    parts += notes(result.notes)
    if result.sheet:
        parts.append(Text(f"{visible(result.sheet)} shows nine of them as the network sees them"))
    return Group(*parts)
