"""Intervals of a share of right answers, and confusions. Pure."""

from __future__ import annotations

import math

import numpy as np

#: Of the normal distribution, for a 95 % interval.
_Z = 1.959964


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the share of right answers, by Wilson's score, from ``right`` of ``count``."""
    if count < 1:
        return 0.0, 1.0
    share, z2 = right / count, _Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(answered: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was answered as each: (classes, classes) int64, rows by label, from (n,) and (n,)."""
    inside = (answered >= 0) & (answered < classes) & (labels >= 0) & (labels < classes)
    counts = np.bincount(labels[inside] * classes + answered[inside], minlength=classes * classes)
    return counts.reshape(classes, classes)


def worst_pairs(counts: np.ndarray, most: int = 10) -> list[tuple[int, int, int]]:
    """(label, answer, how often) of the wrong answers that are most frequent, from a confusion (classes, classes)."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [(label, answer, int(wrong[label, answer])) for label, answer in pairs if wrong[label, answer] > 0]
