"""The same network for images of another size, where its weights do not fix one: shapes change, constants do not.

Which shapes follow from the new input is asked of the TFLite interpreter, which knows every operator's rule.
"""

from __future__ import annotations

from dataclasses import replace

from sdk.errors import ModelError
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.system.quiet import quiet


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
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        with quiet(2):
            interpreter = Interpreter(
                model_content=write_graph(graph),
                # A delegate takes operators out of the graph, and shapes with them.
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            interpreter.resize_tensor_input(graph.inputs[0], wanted)
            interpreter.allocate_tensors()
            found = {d["index"]: tuple(int(n) for n in d["shape"]) for d in interpreter.get_tensor_details()}
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"the network cannot take images of {height}x{width}",
            expected=f"{entry.shape[1]}x{entry.shape[2]}, which its weights or pools are made for",
            found=str(error).strip().splitlines()[0],
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
    tensors = tuple(
        tensor if tensor.data is not None else replace(tensor, shape=found[number], shape_signature=None)
        for number, tensor in enumerate(graph.tensors)
    )
    return replace(graph, tensors=tensors)
