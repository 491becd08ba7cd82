"""Every operator of a graph as a graph of its own: for runtimes without a profiler. Pure.

Alone, an operator runs with its inputs, weights and output warm in the caches, and without what the runtime does across
operators (sparse kernels, one layout for a whole cluster). So isolated times are what the operators *can* do; their sum
differs from the whole, and the difference is shown. Only padding stays with the convolution behind it, since every
runtime fuses the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdk.graph.enums import NO_ACTIVATION, VALID
from sdk.graph.records import NUMPY_DTYPES, Graph, Operator, Tensor
from sdk.graph.writer import write_graph

_FUSE_PADDING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})

#: Done once, while the runtime prepares, where their input is a constant.
_PREPARED_ONCE = frozenset({"DENSIFY", "DEQUANTIZE"})
_NEED_SUBGRAPHS = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE", "STABLEHLO_COMPOSITE"})


@dataclass(frozen=True)
class Isolated:
    """Models to time: ``models[of[i]]`` is operator ``i`` alone, with its padding; like operators share one."""

    models: tuple[bytes, ...]
    of: Mapping[int, int]


def isolate(graph: Graph) -> Isolated:
    """One-operator models of every operator that computes something from computed values."""
    models: dict[bytes, int] = {}
    of: dict[int, int] = {}
    padded = _fused_pads(graph)
    for index, operator in enumerate(graph.operators):
        if index in padded.values() or not _can_stand_alone(graph, operator):
            continue
        computed = [t for t in dict.fromkeys(operator.inputs) if t >= 0 and graph.tensors[t].data is None]
        if not computed or all(_is_prepared(graph, tensor) for tensor in computed):
            continue  # the runtime does it once, while it prepares
        together = [graph.operators[padded[index]], operator] if index in padded else [operator]
        model = write_graph(_alone(graph, together))
        of[index] = models.setdefault(model, len(models))
    return Isolated(tuple(models), of)


def _can_stand_alone(graph: Graph, operator: Operator) -> bool:
    """False for what needs another subgraph, or takes or gives something else than numbers."""
    if operator.kind in _NEED_SUBGRAPHS:
        return False
    values = [t for t in (*operator.inputs, *operator.outputs) if t >= 0 and graph.tensors[t].data is None]
    return all(graph.tensors[t].dtype in NUMPY_DTYPES for t in values)


def _fused_pads(graph: Graph) -> dict[int, int]:
    """Convolution -> the PAD before it, where the runtime makes one of the two: nobody else reads the padded tensor,
    the convolution pads nothing itself, and only height and width are padded, with zeros.
    """
    producers, consumers = graph.producers(), graph.consumers()
    found = {}
    for index, operator in enumerate(graph.operators):
        pad = producers.get(operator.inputs[0]) if operator.kind in _FUSE_PADDING else None
        if pad is None or graph.operators[pad].kind != "PAD" or operator.options.get("padding") != VALID:
            continue
        amounts = graph.tensors[graph.operators[pad].inputs[1]].data
        alone = consumers[operator.inputs[0]] == [index] and operator.inputs[0] not in graph.outputs
        if alone and amounts is not None and amounts.shape == (4, 2) and not amounts[[0, 3]].any():
            found[index] = pad
    return found


def _is_prepared(graph: Graph, tensor: int) -> bool:
    """True for what DENSIFY or DEQUANTIZE makes of a constant."""
    producer = graph.producers().get(tensor)
    if producer is None:
        return False
    operator = graph.operators[producer]
    return operator.kind in _PREPARED_ONCE and graph.tensors[operator.inputs[0]].data is not None


def _alone(graph: Graph, operators: Sequence[Operator]) -> Graph:
    """``operators``, a chain, with their tensors and nothing else. Weights behind DENSIFY or DEQUANTIZE become plain
    constants.
    """
    numbers: dict[int, int] = {}
    tensors: list[Tensor] = []
    inputs: list[int] = []
    made = {t for operator in operators for t in operator.outputs}

    def number(index: int) -> int:
        if index < 0:
            return -1
        if index not in numbers:
            numbers[index] = len(tensors)
            tensor = graph.tensors[index]
            if _is_prepared(graph, index):
                # What it holds does not matter for its time; zeros could, where a kernel skips them.
                values = np.random.default_rng(0).standard_normal(tensor.shape).astype(np.float32)
                tensor = replace(tensor, data=values, dtype="FLOAT32", sparsity=None)
            elif tensor.data is None and index not in made:
                inputs.append(numbers[index])
            # The name must not tell like operators apart.
            tensors.append(replace(tensor, name=f"t{len(tensors)}"))
        return numbers[index]

    chain = tuple(
        replace(
            operator,
            inputs=tuple(number(t) for t in operator.inputs),
            outputs=tuple(number(t) for t in operator.outputs),
        )
        for operator in operators
    )
    return Graph(tuple(tensors), chain, tuple(inputs), chain[-1].outputs)


def null_model() -> bytes:
    """One addition of two single numbers: what a call costs that computes nothing."""
    shape = (1, 1, 1, 1)
    tensors = (
        Tensor("x", shape, "FLOAT32"),
        Tensor("one", shape, "FLOAT32", np.ones(shape, np.float32)),
        Tensor("y", shape, "FLOAT32"),
    )
    add = Operator(
        "ADD", (0, 1), (2,), {"fusedActivationFunction": NO_ACTIVATION, "potScaleInt16": True}, "AddOptions"
    )
    return write_graph(Graph(tensors, (add,), (0,), (2,), name="null"))
