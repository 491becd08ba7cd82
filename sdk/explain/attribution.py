"""Which operator of the graph a kernel of the runtime belongs to. Pure.

The runtime runs the graph in its order, but not one to one: it fuses (PAD into a convolution, RELU into what is before
it), splits (a RELU that could not be fused stands alone as "Clamp"), and adds (a "Transpose" where a cluster changes
its layout). So the two sequences are aligned like two texts, by the longest chain of pairs that can be the same work.
What a delegate does not take may run after all that it takes, so a kernel of TFLite itself that is left over belongs to
the first operator of its kind that has none; any other to the operator before it. Every kernel belongs to exactly one
operator, so times add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_agent.record.profile import KernelTime, Profile
from sdk.explain.theory import OperatorCost

#: Words in XNNPACK's names of operators (``xnn_operator_type_to_string``) that stand for a kind of TFLite.
_WORDS: dict[str, tuple[str, ...]] = {
    "ABS": ("Abs",),
    "ADD": ("Add",),
    "AVERAGE_POOL_2D": ("Average Pooling", "Mean"),
    "BATCH_MATMUL": ("Batch Matrix Multiply", "Fully Connected"),
    "CONCATENATION": ("Copy", "Concatenate"),
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution", "DWConv"),
    "DIV": ("Divide",),
    "EXPAND_DIMS": ("Reshape", "Copy"),
    "FULLY_CONNECTED": ("Fully Connected", "Convolution", "Batch Matrix Multiply"),
    "HARD_SWISH": ("HardSwish",),
    "LEAKY_RELU": ("Leaky ReLU",),
    "LOGISTIC": ("Sigmoid",),
    "MAX_POOL_2D": ("Max Pooling",),
    "MAXIMUM": ("Maximum",),
    "MEAN": ("Mean", "Global Average Pooling", "Reduce"),
    "MINIMUM": ("Minimum",),
    "MUL": ("Multiply",),
    "PAD": ("Pad",),
    "PADV2": ("Pad",),
    "PRELU": ("PReLU",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RELU_N1_TO_1": ("Clamp",),
    "RESHAPE": ("Reshape", "Copy"),
    "RESIZE_BILINEAR": ("Resize Bilinear",),
    "SLICE": ("Slice", "Copy"),
    "SOFTMAX": ("Softmax",),
    "SPACE_TO_DEPTH": ("Space To Depth", "Transpose"),
    "DEPTH_TO_SPACE": ("Depth To Space", "Transpose"),
    "SPLIT": ("Copy", "Slice"),
    "SPLIT_V": ("Copy", "Slice"),
    "SQUEEZE": ("Reshape", "Copy"),
    "STRIDED_SLICE": ("Slice", "Copy"),
    "SUB": ("Subtract",),
    "SUM": ("Sum", "Reduce"),
    "TANH": ("Tanh",),
    "TRANSPOSE": ("Transpose",),
    "TRANSPOSE_CONV": ("Deconvolution",),
}
_DEPTHWISE_WORDS = ("DWConv", "Depthwise", "dwconv", "DWCONV")


@dataclass(frozen=True)
class OperatorTime:
    """An operator's share of an inference: what theory says of it and what its kernels took.

    ``kernels`` are the runtime's names, () for an operator that was fused into another or done beforehand.
    ``seconds`` are scaled as the caller wants them; here they are the profile's.
    """

    cost: OperatorCost
    seconds: float
    kernels: tuple[str, ...]
    ran_sparse: bool

    @property
    def achieved_flop_per_second(self) -> float | None:
        """FLOP (or integer operations) a second; None for operators without MACs or without a time."""
        return 2.0 * self.cost.macs / self.seconds if self.cost.macs and self.seconds else None


def attribute(costs: Sequence[OperatorCost], profile: Profile) -> tuple[OperatorTime, ...]:
    """Every operator with its kernels, in the order of ``costs``; the seconds add up to ``profile.kernel_seconds``."""
    owner = (
        _align(costs, profile.kernels) if profile.method == "runtime" else _by_number(costs, profile.kernels)
    )
    kernels: list[list[KernelTime]] = [[] for _ in costs]
    for kernel, position in zip(profile.kernels, owner, strict=True):
        kernels[position].append(kernel)
    return tuple(
        OperatorTime(
            cost,
            sum(kernel.seconds for kernel in own),
            tuple(kernel.name for kernel in own),
            any(kernel.is_sparse for kernel in own),
        )
        for cost, own in zip(costs, kernels, strict=True)
    )


def _by_number(costs: Sequence[OperatorCost], kernels: Sequence[KernelTime]) -> list[int]:
    position = {cost.index: i for i, cost in enumerate(costs)}
    return [position.get(kernel.node, 0) for kernel in kernels]


def can_be(kernel: KernelTime, cost: OperatorCost) -> bool:
    """Whether ``kernel`` may be how the runtime runs an operator of this kind."""
    if not kernel.delegated:
        return kernel.name.upper().replace(" ", "_") == cost.kind
    if any(word in kernel.name for word in _DEPTHWISE_WORDS) and cost.group != "depthwise":
        return False
    words = _WORDS.get(cost.kind) or (cost.kind.replace("_", " ").title(),)
    return any(word in kernel.name for word in words)


def _align(costs: Sequence[OperatorCost], kernels: Sequence[KernelTime]) -> list[int]:
    """For every kernel the position in ``costs`` of its operator: a longest common subsequence under :func:`can_be`."""
    rows, columns = len(kernels), len(costs)
    # best[i][j]: pairs among kernels[i:] and costs[j:].
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    fits = [[can_be(kernel, cost) for cost in costs] for kernel in kernels]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            paired = 1 + best[i + 1][j + 1] if fits[i][j] else 0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    owner: list[int | None] = [None] * rows
    i = j = 0
    while i < rows and j < columns:
        if fits[i][j] and best[i][j] == 1 + best[i + 1][j + 1]:
            owner[i], i, j = j, i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    owner = _out_of_order(costs, kernels, owner)
    last = next((position for position in owner if position is not None), 0)
    result = []
    for position in owner:
        last = last if position is None else position
        result.append(last)
    return result


def _out_of_order(
    costs: Sequence[OperatorCost], kernels: Sequence[KernelTime], owner: Sequence[int | None]
) -> list[int | None]:
    """The owners, with those of kernels of TFLite itself that the order left over; of one kind they keep their
    order."""
    found = list(owner)
    alike: dict[str, list[int]] = {}
    for i, kernel in enumerate(kernels):
        if kernel.delegated:
            continue
        if found[i] is None:
            taken = set(found)
            found[i] = next(
                (j for j, cost in enumerate(costs) if j not in taken and can_be(kernel, cost)), None
            )
        if found[i] is not None:
            alike.setdefault(kernel.name, []).append(i)
    for places in alike.values():
        owners = sorted(position for i in places if (position := found[i]) is not None)
        for i, position in zip(places, owners, strict=True):
            found[i] = position
    return found
