"""How much of what images tell of a layer's inputs is chance, by what it does to images that were not asked.

A layer that is solved on few images fits them better than others. How far its solution is drawn toward the weights
that it had is decided by cross-validation: the layer is solved on all parts of the images but one, and the error is
counted on that one. The estimate from the spread of batches (:func:`~sdk.compress.solve.statistics.chance_share`) is
too low in the last layers of MobileNet V1: on other images their error grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sdk.compress.solve.statistics import BATCH, Moments, together
from sdk.compress.solve.whole_channels.losses import solved

PARTS = 4
LEAST_IMAGES = 16 * BATCH  # a part of fewer tells little
MOST_COLUMNS = 2048  # of a layer: it is solved some dozens of times
TRIED = (0.0, 1e-3, 1e-2, 0.03, 0.1, 0.2, 0.4, 0.7, 0.9)


def chance_by_parts(
    weights: np.ndarray, parts: Sequence[Moments], kept: np.ndarray, stays: np.ndarray
) -> float:
    """The share of chance, of those tried, with which a layer's error on the part that it was not solved on is least.

    ``weights`` (groups, rows, columns) are the original's, ``kept`` (groups, columns) the columns that are still read,
    and ``stays`` (groups, rows) the rows that are still made.
    """
    errors = np.zeros(len(TRIED))
    used = weights * stays[:, :, None]
    for number, apart in enumerate(parts):
        rest = together([*parts[:number], *parts[number + 1 :]])
        wanted = used @ apart.cross
        for place, share in enumerate(TRIED):
            found = solved(used, replace(rest, noise=np.full(len(weights), share)), kept)[0]
            errors[place] += float((found * (found @ apart.covariance - 2 * wanted)).sum())
    return TRIED[int(np.argmin(errors))]
