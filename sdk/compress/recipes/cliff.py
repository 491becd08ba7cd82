"""Where the curve of size and metric falls off: below a size every byte that is saved costs many answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from sdk.compress.recipes.attempts import Point

STEEP = 15.0  # points of loss for half of the bytes
DEEP = 3.0  # points from one attempt to the next


def cliff(curve: Sequence[Point]) -> str:
    """A sentence about the largest package after which the metric falls off, of attempts by one effort; "" if none."""
    for effort in dict.fromkeys(point.recipe.effort for point in curve):
        of_effort = [p for p in curve if p.recipe.effort == effort and p.lost is not None]
        points = sorted(of_effort, key=lambda p: -p.package_bytes)
        for above, below in pairwise(points):
            if above.lost is None or below.lost is None or below.package_bytes == above.package_bytes:
                continue
            fall = below.lost.value - above.lost.value
            halvings = math.log2(above.package_bytes / below.package_bytes)
            # What is worse for certain, not by the luck of few images.
            if fall >= DEEP and fall >= STEEP * halvings and below.lost.low > above.lost.high:
                return (
                    f"the metric falls off below {above.package_bytes:,} bytes: {above.lost.value:.1f} points are lost "
                    f"there, {below.lost.value:.1f} at {below.package_bytes:,}"
                )
    return ""
