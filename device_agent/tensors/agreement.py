"""How far two answers to the same inputs are apart, output by output, in terms that people know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Sequence

import numpy as np

from device_agent.record.schema import limits, record
from device_agent.tensors.tensor import TensorInfo

#: What a signal-to-noise ratio is at most said to be: float32 has no more.
MOST_DECIBEL = 150.0


@record(what="the agreement of an output")
@dataclass(frozen=True)
class OutputAgreement:
    """One output over all cases. ``largest``: the largest difference; of class numbers, the share that differs.

    ``cosine``: of the angle between the two, 1 where they are equal or both 0. ``decibel``: the signal-to-noise ratio
    of the second against the first, at most 150. ``classes``: the output holds class numbers, and the other two figures
    are those of one-hot vectors.
    """

    name: str
    largest: float = field(metadata=limits(low=0.0, high=1e300))
    cosine: float = field(metadata=limits(low=-1.0, high=1.0))
    decibel: float = field(metadata=limits(low=-1e3, high=MOST_DECIBEL))
    classes: bool = False


def agreement(info: TensorInfo, one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> OutputAgreement:
    """How far ``other`` is from ``one``: arrays of one output such as (1, 1000), as they are stored, case by case."""
    first, second = (np.concatenate([np.ravel(array) for array in side]) for side in (one, other))
    if info.dtype.kind in "iub" and not info.is_quantized:
        differing = float(np.mean(first != second)) if first.size else 0.0
        return OutputAgreement(info.name, differing, 1.0 - differing, decibel(1.0, 2.0 * differing), True)
    first, second = (np.nan_to_num(info.to_real(array).astype(np.float64)) for array in (first, second))
    apart = first - second
    sizes = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    cosine = 1.0 if sizes == (0.0, 0.0) else 0.0
    if min(sizes) > 0.0:
        cosine = float(np.clip(np.dot(first / sizes[0], second / sizes[1]), -1.0, 1.0))
    return OutputAgreement(
        info.name,
        float(np.max(np.abs(apart), initial=0.0)),
        cosine,
        decibel(sizes[0] ** 2, float(np.dot(apart, apart))),
    )


def decibel(signal: float, noise: float) -> float:
    """The signal-to-noise ratio of two sums of squares, at most 150 dB."""
    if noise <= 0.0:
        return MOST_DECIBEL
    if signal <= 0.0:
        return 0.0
    return float(np.clip(10.0 * np.log10(signal / noise), -1e3, MOST_DECIBEL))
