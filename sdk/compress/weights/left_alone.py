"""Which layers compression works on, and why it leaves the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agent.record.visible import first_of
from sdk.compress.weights.selection import (
    PRUNED_LAYERS,
    UNPACKING,
    constant_weights,
    is_float,
    is_stored,
    layer_names,
    pruned_weights,
    select_weights,
)
from sdk.graph.before_choice import behind_all_values
from sdk.graph.records import WEIGHT_ROLES, Graph, Weight

#: Characters of a layer's name in a line.
_NAME_LENGTH = 48


@dataclass(frozen=True)
class LeftAlone:
    """A layer that stays as it is: the name of its weight, and the reason."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Reach:
    """How many of a graph's layers with weights compression works on, and the others."""

    layers: int
    compressed: int
    left_alone: tuple[LeftAlone, ...]

    @property
    def reasons(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the layers left alone, by reason."""
        found: dict[str, list[str]] = {}
        for one in self.left_alone:
            found.setdefault(one.reason, []).append(one.layer)
        return {reason: tuple(names) for reason, names in found.items()}

    def lines(self, most: int = 3) -> list[str]:
        """For each reason one line: how many layers, why, and the names of the first ``most``."""
        lines = []
        for reason, names in self.reasons.items():
            word = "layer" if len(names) == 1 else "layers"
            lines.append(f"{len(names)} {word}: {reason} ({first_of(map(_short, names), most)})")
        return lines


def _short(name: str) -> str:
    """Converters join the names of everything that they fuse; the end of the first one says most."""
    first = name.partition(";")[0]
    return first if len(first) <= _NAME_LENGTH else "..." + first[3 - _NAME_LENGTH :]


def reach(
    graph: Graph, *, by_magnitude: bool, measured: bool = False, settled: frozenset[str] = frozenset()
) -> Reach:
    """The layers of a graph that compression works on.

    ``by_magnitude``: pruning and sharing without images, with one share for all, which leaves out the first layer and
    depthwise ones; ``measured``: with a share for each layer, which takes all floats and 8-bit numbers. Otherwise all
    float32 layers of a known kind are solved or trained, and those ``settled``, by name, were put on grids.
    """
    one_share = {weight.tensor_index for weight in pruned_weights(graph)}
    solved = {
        w.tensor_index
        for w in select_weights(graph, set(WEIGHT_ROLES.values()) | _ROLES_1X1, skip_first=False)
    }
    if settled:
        solved |= {weight.tensor_index for name, weight in layer_names(graph).items() if name in settled}
    left, compressed = [], 0
    constants, behind = constant_weights(graph), behind_all_values(graph)
    for weight in constants:
        reason = _storage(graph, weight)
        if measured and by_magnitude and is_stored(weight.tensor):
            reason = ""  # they keep their scales
        if not reason and not by_magnitude and weight.tensor_index not in solved:
            reason = f"weights of {graph.operators[weight.operator_index].kind} are not solved or trained"
        if not reason and by_magnitude and not measured and weight.tensor_index not in one_share:
            reason = f"{weight.layer} layer"
            if weight.layer in PRUNED_LAYERS:
                reason = "the first layer, which sees the input itself"
        if weight.operator_index in behind:
            reason = "read where the answers are chosen"
        if reason:
            left.append(LeftAlone(weight.tensor.name or f"tensor {weight.tensor_index}", reason))
        else:
            compressed += 1
    return Reach(len(constants), compressed, tuple(left))


_ROLES_1X1 = frozenset({"convolution 1x1"})


def _storage(graph: Graph, weight: Weight) -> str:
    """The reason that lies in how the weights are stored; "" for dense floats."""
    tensor = weight.tensor
    if tensor.sparsity is not None:
        return "stored sparse, behind DENSIFY"
    if is_float(tensor):
        return ""
    behind = any(op.kind in UNPACKING and weight.tensor_index in op.inputs for op in graph.operators)
    return f"{tensor.dtype.lower()} weights" + (" behind DEQUANTIZE" if behind else "")
