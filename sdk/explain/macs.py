"""Multiply-accumulates of an operator, from its shapes alone, and what they promise of one model against another. Pure.

Counting follows the papers that the field compares itself with (MobileNet, arXiv 1704.04861, section 3.1; ShuffleNet,
arXiv 1707.01083, section 3.2): one multiply-accumulate (MAC) for every weight and output position, padding included,
and nothing for biases, activations, pooling and shuffles. What those papers call FLOPs are MACs; here a MAC is two
FLOP. Layouts of weights are those of the TFLite schema.

Between two versions of one network the work is the multiply-accumulates by weights that are not zero: the versions
differ in the zeros, and an unused channel counts for nothing, before it was cut off and after. Between two networks it
is all multiply-accumulates, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Shape = tuple[int, ...]

#: Operators that multiply and accumulate in ways that are not counted; a total names them instead of hiding them.
NOT_COUNTED = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "CALL",
        "CUSTOM",
        "DELEGATE",
        "IF",
        "LSTM",
        "RNN",
        "STABLEHLO_COMPOSITE",
        "STABLEHLO_CONVOLUTION",
        "STABLEHLO_CUSTOM_CALL",
        "STABLEHLO_DOT_GENERAL",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "WHILE",
    }
)


def count_macs(kind: str, inputs: Sequence[Shape], output: Shape, options: Mapping[str, Any]) -> int:
    """MACs of one operator of a kind in :data:`MULTIPLYING_KINDS`.

    ``inputs`` are the shapes of its inputs in the schema's order (``()`` for one left out), ``output`` that of its
    output.
    """
    return _COUNTS[kind](inputs, output, options)


def _conv_2d(inputs: Sequence[Shape], output: Shape, _: Mapping[str, Any]) -> int:
    # weight (out, height, width, in / groups); output (batch, height, width, out)
    return math.prod(output) * math.prod(inputs[1][1:])


def _depthwise_conv_2d(inputs: Sequence[Shape], output: Shape, _: Mapping[str, Any]) -> int:
    # weight (1, height, width, in x multiplier); output (batch, height, width, in x multiplier)
    return math.prod(output) * math.prod(inputs[1][1:3])


def _transpose_conv(inputs: Sequence[Shape], _: Shape, __: Mapping[str, Any]) -> int:
    # inputs: output shape, weight (out, height, width, in), image (batch, height, width, in)
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])


def _conv_3d(inputs: Sequence[Shape], output: Shape, _: Mapping[str, Any]) -> int:
    # weight (depth, height, width, in / groups, out); output (batch, depth, height, width, out)
    return math.prod(output) * math.prod(inputs[1][:4])


def _conv_3d_transpose(inputs: Sequence[Shape], _: Shape, __: Mapping[str, Any]) -> int:
    # inputs: output shape, weight (depth, height, width, out, in), image (batch, depth, height, width, in)
    return math.prod(inputs[2]) * math.prod(inputs[1][:4])


def _fully_connected(inputs: Sequence[Shape], output: Shape, _: Mapping[str, Any]) -> int:
    # weight (out, in); output (..., out)
    return math.prod(output) * inputs[1][-1]


def _batch_matmul(inputs: Sequence[Shape], output: Shape, options: Mapping[str, Any]) -> int:
    # x (..., rows, inner), or (..., inner, rows) with adjX; output (..., rows, columns)
    return math.prod(output) * inputs[0][-2 if options.get("adjX") else -1]


_COUNTS: dict[str, Callable[[Sequence[Shape], Shape, Mapping[str, Any]], int]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
}

#: The kinds that :func:`count_macs` knows. Every other kind that is not in :data:`NOT_COUNTED` has no MACs.
MULTIPLYING_KINDS = frozenset(_COUNTS)


# -- what theory promises: one rule for every table, waterfall and sentence -------------------------------------

Yardstick = Literal["MACs", "effective MACs"]
ALL: Yardstick = "MACs"
NOT_BY_ZERO: Yardstick = "effective MACs"
YARDSTICKS = (ALL, NOT_BY_ZERO)

#: Models that are not known to come from one file are versions of one network where their MACs differ by no more.
ONE_NETWORK = 0.05


@dataclass(frozen=True)
class Counted:
    """The work of one inference. ``original`` is the digest of the file that the model was made of, "" if unknown."""

    macs: int
    effective_macs: int
    original: str = ""


def yardstick(baseline: Counted, candidate: Counted) -> Yardstick:
    """The unit in which the work of both is counted."""
    if not (baseline.effective_macs and candidate.effective_macs):
        return ALL
    of_one_file = baseline.original != "" and baseline.original == candidate.original
    alike = abs(baseline.macs - candidate.macs) <= ONE_NETWORK * max(baseline.macs, candidate.macs)
    return NOT_BY_ZERO if of_one_file or alike else ALL


def promised(work: str, baseline: Counted, candidate: Counted) -> float | None:
    """The work of the baseline over that of the candidate; None where either has none."""
    if work == NOT_BY_ZERO:
        return ratio(baseline.effective_macs, candidate.effective_macs)
    return ratio(baseline.macs, candidate.macs)


def ratio(baseline: int, candidate: int) -> float | None:
    """``baseline / candidate``; None where either is 0."""
    return baseline / candidate if baseline and candidate else None
