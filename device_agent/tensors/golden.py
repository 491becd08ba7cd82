"""Golden answers: how far outputs may be from those that the host got, and whether they are.

An output of real values is compared with two limits: the largest difference of one element, which catches what is far
off somewhere, and the root mean square over all of them, which catches what is a little off everywhere. An output of
class numbers is compared with the share of elements that differ. Detections come in no order that two runtimes agree
on, so they are matched as sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.record.release import (
    BOX_CLASSES,
    BOX_COUNT,
    BOX_SCORES,
    BOXES,
    CLASSES,
    DETECTIONS,
    VALUES,
    OutputLimit,
)
from device_agent.tensors.tensor import TensorInfo, shape_text

#: Two boxes that overlap by this much of their union are the same.
SAME_BOX = 0.7


@dataclass(frozen=True)
class OutputDifference:
    """How far one output is from the golden one, in the terms of its :class:`OutputLimit`."""

    name: str
    largest: float
    rms: float
    limit: OutputLimit

    @property
    def excess(self) -> float:
        """The difference over its limit: above 1 it is too far; infinite where the limit is 0."""
        return max(_over(self.largest, self.limit.largest), _over(self.rms, self.limit.rms))

    def error(self) -> AgentError:
        """The error for an output that is too far off."""
        said = f"{self.largest:.3g}" + (f" (root mean square {self.rms:.3g})" if self.limit.rms else "")
        allowed = f"{self.limit.largest:.3g}" + (
            f" (root mean square {self.limit.rms:.3g})" if self.limit.rms else ""
        )
        what = {VALUES: "a difference", BOX_SCORES: "a difference"}.get(
            self.limit.kind, "a share that differs"
        )
        return AgentError(
            f"the golden outputs do not come out: {self.name!r}",
            expected=f"{what} of at most {allowed}",
            found=said,
        )


def differences(
    infos: Sequence[TensorInfo],
    expected: Sequence[Sequence[np.ndarray]],
    found: Sequence[Sequence[np.ndarray]],
    output_limits: Sequence[OutputLimit],
) -> list[OutputDifference]:
    """The difference of every output over all cases.

    ``expected`` and ``found``: of each case its outputs in order, each in its own shape such as (1, 1000) and in the
    dtype that it is stored in. Raises AgentError where shapes, or the positions of NaN, are not the same.
    """
    if not len(infos) == len(output_limits):
        raise AgentError(
            "the golden outputs are of another model",
            expected=f"{len(output_limits)} outputs",
            found=str(len(infos)),
        )
    for there, here in zip(expected, found):
        for info, one, other in zip(infos, there, here):
            if one.shape != other.shape:
                raise AgentError(
                    f"the golden outputs have another shape: {info.name!r}",
                    expected=shape_text(one.shape),
                    found=shape_text(other.shape),
                )
    kinds = {limit.kind: position for position, limit in enumerate(output_limits)}
    result = []
    for position, (info, limit) in enumerate(zip(infos, output_limits)):
        if limit.kind == BOXES:
            largest, rms = _unmatched(expected, found, kinds, output_limits), 0.0
        elif limit.kind in (BOX_CLASSES, BOX_COUNT):
            continue
        else:
            pairs = [(one[position], other[position]) for one, other in zip(expected, found)]
            largest, rms = of_pairs(info, pairs, limit.kind)
        result.append(OutputDifference(info.name, largest, rms, limit))
    return result


def require_close(
    infos: Sequence[TensorInfo],
    answers: Sequence[Sequence[Sequence[np.ndarray]]],
    found: Sequence[Sequence[np.ndarray]],
    output_limits: Sequence[OutputLimit],
) -> float:
    """The largest difference of an output of values from the nearest of several right answers; 0 without such outputs.

    ``answers``: each as ``expected`` of :func:`differences`, arrays in their own shapes such as (1, 1000). Raises
    AgentError where ``found`` is too far from all of them, with the distance from the nearest.
    """
    apart = [differences(infos, expected, found, output_limits) for expected in answers]
    nearest = min(apart, key=lambda one: max((d.excess for d in one), default=0.0))
    for one in nearest:
        if not one.excess <= 1.0:
            raise one.error()
    return max((one.largest for one in nearest if one.limit.kind == VALUES), default=0.0)


def _over(value: float, limit: float) -> float:
    if limit > 0.0:
        return value / limit
    return 0.0 if value == 0.0 else float("inf")


def of_pairs(
    info: TensorInfo, pairs: Sequence[tuple[np.ndarray, np.ndarray]], kind: str
) -> tuple[float, float]:
    """Largest difference and root mean square over pairs of arrays of one output, as (1, 1000): expected and found."""
    one, other = (np.concatenate([np.ravel(pair[side]) for pair in pairs]) for side in (0, 1))
    if kind == CLASSES:
        return float(np.mean(one != other)) if one.size else 0.0, 0.0
    one, other = (info.to_real(array).astype(np.float64) for array in (one, other))
    if kind == BOX_SCORES:
        one, other = np.sort(one), np.sort(other)
    # Infinities and NaN must stand where they stood; what is finite is subtracted.
    known = np.isfinite(one)
    if not (
        np.array_equal(known, np.isfinite(other))
        and np.array_equal(one[~known], other[~known], equal_nan=True)
    ):
        return float("inf"), float("inf")
    apart = np.abs(one[known] - other[known])
    if not apart.size:
        return 0.0, 0.0
    return float(apart.max()), float(np.sqrt(np.mean(apart**2)))


def _unmatched(
    expected: Sequence[Sequence[np.ndarray]],
    found: Sequence[Sequence[np.ndarray]],
    kinds: Mapping[str, int],
    output_limits: Sequence[OutputLimit],
) -> float:
    """The share of expected boxes, over all cases, without a partner among those that were found."""
    missing = total = 0
    score_limit = output_limits[kinds[BOX_SCORES]].largest
    for one, other in zip(expected, found):
        theirs, ours = (_detections([case[kinds[kind]] for kind in DETECTIONS]) for case in (one, other))
        # The last ones of a full list are those that another rounding pushes out of it.
        least = min((float(score) for _, _, score in ours), default=0.0) + score_limit
        for box, number, score in theirs:
            if score <= least:
                continue
            total += 1
            missing += not any(
                number == n and abs(score - s) <= score_limit and _overlap(box, b) >= SAME_BOX
                for b, n, s in ours
            )
    return missing / total if total else 0.0


def _detections(case: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int, float]]:
    boxes, classes, scores, count = (np.asarray(array, np.float64) for array in case)
    boxes, classes, scores = boxes.reshape(-1, 4), classes.ravel(), scores.ravel()
    wanted = int(np.nan_to_num(count.ravel()[0])) if count.size else 0
    wanted = max(0, min(wanted, len(boxes), len(classes), len(scores)))
    return [(boxes[i], int(np.nan_to_num(classes[i])), float(scores[i])) for i in range(wanted)]


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (top, left, bottom, right)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 0.0))) for box in (one, other)]
    union = sum(areas) - shared
    return shared / union if union > 0.0 else float(np.allclose(one, other, atol=1e-3))
