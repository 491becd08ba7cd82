"""Every operator of a graph as a graph of its own: for runtimes without a profiler. Pure.

Alone, an operator runs with its inputs, weights and output warm in the caches, and without what the runtime does across
operators (fusing padding, sparse kernels, one layout for a whole cluster). So isolated times are what the operators
*can* do; that they add up to something else than the whole is part of the finding, and is shown as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sdk.graph import Graph, Operator, Tensor

#: Done once, while the runtime prepares, where their input is a constant.
_PREPARED_ONCE = frozenset({"DENSIFY", "DEQUANTIZE"})


@dataclass(frozen=True)
class Isolated:
    """Models to time: ``models[of[i]]`` is operator ``i`` alone. Operators that are alike share one."""

    models: tuple[bytes, ...]
    of: Mapping[int, int]


def isolate(graph: Graph) -> Isolated:
    """One-operator models of every operator that computes something from computed values."""
    models: dict[bytes, int] = {}
    of: dict[int, int] = {}
    for index, operator in enumerate(graph.operators):
        computed = [t for t in dict.fromkeys(operator.inputs) if t >= 0 and graph.tensors[t].data is None]
        if not computed or all(_is_prepared(graph, tensor) for tensor in computed):
            continue  # the runtime does it once, while it prepares
        model = _alone(graph, operator).write()
        of[index] = models.setdefault(model, len(models))
    return Isolated(tuple(models), of)


def _is_prepared(graph: Graph, tensor: int) -> bool:
    """True for what DENSIFY or DEQUANTIZE makes of a constant."""
    producer = graph.producers().get(tensor)
    if producer is None:
        return False
    operator = graph.operators[producer]
    return operator.kind in _PREPARED_ONCE and graph.tensors[operator.inputs[0]].data is not None


def _alone(graph: Graph, operator: Operator) -> Graph:
    """``operator`` with its tensors and nothing else. Weights behind DENSIFY or DEQUANTIZE become plain constants."""
    numbers: dict[int, int] = {}
    tensors: list[Tensor] = []
    inputs: list[int] = []

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
            elif tensor.data is None and index in operator.inputs:
                inputs.append(numbers[index])
            # The name must not tell like operators apart.
            tensors.append(replace(tensor, name=f"t{len(tensors)}"))
        return numbers[index]

    new_inputs = tuple(number(t) for t in operator.inputs)
    new_outputs = tuple(number(t) for t in operator.outputs)
    alone = replace(operator, inputs=new_inputs, outputs=new_outputs)
    return Graph(tuple(tensors), (alone,), tuple(inputs), new_outputs)


def null_model() -> bytes:
    """One addition of two single numbers: what a call costs that computes nothing."""
    shape = (1, 1, 1, 1)
    tensors = (
        Tensor("x", shape, "FLOAT32"),
        Tensor("one", shape, "FLOAT32", np.ones(shape, np.float32)),
        Tensor("y", shape, "FLOAT32"),
    )
    add = Operator("ADD", (0, 1), (2,), {"fusedActivationFunction": 0, "potScaleInt16": True}, "AddOptions")
    return Graph(tensors, (add,), (0,), (2,), name="null").write()
