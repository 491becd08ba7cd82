"""Models whose channels come first, as PyTorch and ONNX have them: with channels last, and a word on what changed."""

from __future__ import annotations

from device_agent.tensors.tensor import shape_text
from sdk.compress.rewrite.channels_last import channels_last
from sdk.graph.records import Graph


def with_channels_last(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph with channels last, where that leaves less to transpose, and what a person should know of it."""
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
