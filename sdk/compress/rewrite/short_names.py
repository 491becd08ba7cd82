"""Names that nothing needs are removed from a graph: in packages of a few kilobytes they are a tenth of the file.

Inputs, outputs and weights keep theirs: programs and recipes know them by name.
"""

from __future__ import annotations

from dataclasses import replace

from sdk.graph.records import Graph

#: What the converter writes about itself: its version and when it ran.
CONVERTER_NOTES = frozenset({"CONVERSION_METADATA"})


def shorten_names(graph: Graph) -> Graph:
    """The graph whose other tensors are called by their numbers, and without the converter's notes on itself."""
    kept = {*graph.inputs, *graph.outputs, *(w.tensor_index for w in graph.weights())}
    taken = {graph.tensors[t].name for t in kept}
    tensors = tuple(
        tensor if number in kept or str(number) in taken else replace(tensor, name=str(number))
        for number, tensor in enumerate(graph.tensors)
    )
    notes = tuple((name, raw) for name, raw in graph.metadata if name not in CONVERTER_NOTES)
    return replace(graph, tensors=tensors, metadata=notes)
