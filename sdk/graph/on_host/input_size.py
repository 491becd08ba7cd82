"""The same network for images of another size, where its weights do not fix one: shapes change, constants do not.

The TFLite interpreter, which knows every operator's rule, tells which shapes follow from the new input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sdk.errors import ModelError
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph


def at_size(graph: Graph, height: int, width: int) -> Graph:
    """``graph``, whose one input is an image (1, h, w, channels), for images of ``height`` x ``width`` pixels.

    Raises :class:`ModelError` for a graph without such an input, and for one that works at its own size only: with a
    flattened map before a fully connected layer, a pool or a RESHAPE of fixed size.
    """
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        raise ModelError(
            "this model has no image size to change",
            expected="one input (1, height, width, channels)",
            found=", ".join(str(graph.tensors[i].shape) for i in graph.inputs),
        )
    entry = graph.tensors[graph.inputs[0]]
    wanted = (1, height, width, entry.shape[3])
    if entry.shape == wanted:
        return graph
    try:
        with HostModel(write_graph(graph), delegates=False, shapes={graph.inputs[0]: wanted}) as model:
            found = model.tensor_shapes
    except ModelError as error:
        raise ModelError(
            f"the network cannot take images of {height}x{width}",
            expected=f"{entry.shape[1]}x{entry.shape[2]}, which its weights or pools are made for",
            found=error.found,
            hint="Networks that end in a mean over space take any size.",
        ) from error
    before = [graph.tensors[i].shape for i in graph.outputs]
    after = [found[i] for i in graph.outputs]
    if before != after:
        raise ModelError(
            f"the network gives another answer for images of {height}x{width}",
            expected=f"outputs {before}",
            found=f"outputs {after}",
        )
    return with_shapes(graph, found)


def with_shapes(graph: Graph, shapes: Mapping[int, tuple[int, ...]]) -> Graph:
    """The graph with the shapes, by number, of the tensors that it computes; none of them is open."""
    tensors = tuple(
        tensor
        if tensor.data is not None
        else replace(tensor, shape=shapes.get(number, tensor.shape), shape_signature=None)
        for number, tensor in enumerate(graph.tensors)
    )
    return replace(graph, tensors=tensors)


def closed(graph: Graph) -> Graph:
    """The graph with every shape as the runtime works it out from those of its inputs. Raises ModelError."""
    with HostModel(write_graph(graph), delegates=False) as model:
        return with_shapes(graph, model.tensor_shapes)
