"""Boxes of which several lie on one thing, down to one each: non-maximum suppression. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Boxes that are looked at, those of the highest scores; and boxes that are left at most. They bound the time.
MAX_CANDIDATES = 3000
MAX_BOXES = 300
#: Two boxes of one class that share more of their union are one.
OVERLAP = 0.45


def best_apart(corners: Any, scores: Any, classes: Any, overlap: float = OVERLAP) -> Any:
    """The boxes to keep, as numbers (k,) of rows, the best first.

    ``corners`` (n, 4) float: left, top, right, bottom, in any unit; ``scores`` (n,); ``classes`` (n,) of integers.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    corners, classes = corners[order].astype(np.float64), classes[order]
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0.0), axis=1)
    alive = np.ones(len(order), bool)
    kept = []
    for place in range(len(order)):
        if not alive[place]:
            continue
        kept.append(place)
        if len(kept) == MAX_BOXES:
            break
        rest = place + 1 + np.flatnonzero(alive[place + 1 :] & (classes[place + 1 :] == classes[place]))
        low = np.maximum(corners[rest, :2], corners[place, :2])
        high = np.minimum(corners[rest, 2:], corners[place, 2:])
        shared = np.prod(np.maximum(high - low, 0.0), axis=1)
        union = areas[rest] + areas[place] - shared
        alive[rest[shared > overlap * np.maximum(union, 1e-12)]] = False
    return order[np.array(kept, np.int64)]
