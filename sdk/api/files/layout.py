"""Prepares every graph for editing: channels last, with notes, and finite weights."""

from __future__ import annotations

import numpy as np

from device_agent.record.visible import visible
from device_agent.tensors.tensor import shape_text
from sdk.compress.rewrite.channels_last import channels_last
from sdk.errors import ModelError
from sdk.graph.records import Graph


def with_channels_last(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph with channels last, if that leaves less to transpose, and notes for a person."""
    found = channels_last(graph)
    notes = []
    for place in found.inputs:
        before, now = (one.tensors[one.inputs[place]].shape for one in (graph, found.graph))
        notes.append(
            f"its channels came first ({shape_text(before)}); now they come last, and its input is {shape_text(now)}"
        )
    if found.after < found.before - len(found.inputs):
        notes.append(f"of {found.before} TRANSPOSE operators {found.after} are left")
    return found.graph, tuple(notes)


def require_numbers(graph: Graph, source: str) -> None:
    """Raises ModelError, with the tensor's name, where a weight is not a number or is infinite."""
    for weight in graph.weights():
        data = weight.tensor.data
        if data is None or data.dtype.kind != "f" or np.isfinite(data).all():
            continue
        broken = int(data.size - np.count_nonzero(np.isfinite(data)))
        raise ModelError(
            f"the weights {visible(weight.tensor.name, most=80)} of {source} are not all numbers",
            expected="finite weights",
            found=f"{broken} of {data.size} NaN or infinite",
            hint="Such a network answers NaN. Take the weights from before its training went wrong.",
        )
