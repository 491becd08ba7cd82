"""The walks of calibration and of compression without data toward a size, or a loss.

Composes like :mod:`sdk.compress.recipes.recipe`.  Each effort has one knob that trades size for accuracy: here how hard
weights are pruned and shared, and the price of a bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.recipes.attempts import SIZE_TOLERANCE, Attempts, Point
from sdk.compress.recipes.budget import LIMITED_RUNS, SIZED_RUNS, UNTAUGHT_RUNS
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.weights.cluster import check_clusters
from sdk.graph.records import Graph

# That calibration expects to lose where nothing else is asked: half a point of top-1 on MobileNet V2.
DEFAULT_LOSS_NATS = 0.007
# With an ideal code and fine steps, n weights at a price p are expected to lose n p / (2 ln 2) nats.
NATS_PER_PRICE = 1 / (2 * np.log(2))
NO_PRICE_BETWEEN = 0.002  # logarithm of the ratio of two prices that lead to either side of a size
CAREFUL = 0.25  # of the usual knob, where a single attempt is to keep a limit of the loss
# The knob without data, 0 ... 1: sparsity 0 ... 0.98 and 256 ... 14 centroids, the default among them.
MAX_SPARSITY, MOST_BITS, BITS_SPAN = 0.98, 8.0, 4.2
USUAL_HARDNESS = 0.7 / MAX_SPARSITY


def prune_more(attempts: Attempts) -> None:
    """Bisects how hard weights are pruned and shared."""
    wanted = attempts.wanted
    attempts.choose_ranks(
        Recipe.sparsity if wanted.sparsity is None else wanted.sparsity,
        Recipe.clusters if wanted.clusters is None else wanted.clusters,
        0.0,
    )

    def recipe(hardness: float) -> Recipe:
        sparsity, clusters = wanted.sparsity, wanted.clusters
        if sparsity is None:
            sparsity = round(MAX_SPARSITY * hardness, 4)
        if clusters is None:
            clusters = round(2 ** (MOST_BITS - BITS_SPAN * hardness))
        return replace(attempts.base, sparsity=sparsity, clusters=clusters)

    low, high, hardness = 0.0, 1.0, USUAL_HARDNESS
    if attempts.only_one:
        attempts.run(recipe(CAREFUL * USUAL_HARDNESS))
        return
    while True:
        point = attempts.run(recipe(hardness))
        size, target = point.package_bytes, wanted.most_bytes
        lost = attempts.upper(point) if wanted.max_loss is not None else None
        if lost is not None and wanted.max_loss is not None and lost > wanted.max_loss:
            high = hardness
        elif wanted.max_loss is not None or (target is not None and size > target):
            low = hardness
        elif target is not None and size < wanted.least_bytes:
            high = hardness
        else:
            return
        # The first step goes to the end, because a target may be out of reach of everything.
        first = len(attempts.curve) == 1
        hardness = (1.0 if low == hardness else 0.0) if first else (low + high) / 2
        done = len(attempts.curve) >= UNTAUGHT_RUNS or recipe(hardness) == point.recipe
        if done or not attempts.time_for_another():
            return


def price_bits(attempts: Attempts) -> None:
    """Finds the price of a bit that leads to the size or the loss."""
    wanted, graph = attempts.wanted, attempts.narrow
    if wanted.clusters is not None:
        check_clusters(wanted.clusters, "calibrate")
    weights = sum(w.array.size for w in graph.weights())
    usual = price_of(graph, 1.0 if wanted.max_loss is None else wanted.max_loss)
    attempts.choose_ranks(0.0, 0, usual)
    price: float | None = usual
    base = replace(attempts.base, sparsity=wanted.sparsity or 0.0, clusters=wanted.clusters or 0)
    tried: list[Point] = []
    most = LIMITED_RUNS if wanted.target_bytes is None else SIZED_RUNS
    if attempts.only_one:
        price, most = CAREFUL * usual, 1
    while price is not None and len(tried) < most and attempts.time_for_another():
        tried.append(attempts.run(replace(base, price=float(f"{price:.4g}"))))
        price = _next_price(tried, attempts, weights)


def _next_price(tried: list[Point], attempts: Attempts, weights: int) -> float | None:
    """The price to try next, or None when the search is over."""
    wanted, last = attempts.wanted, tried[-1]
    if wanted.most_bytes is not None:
        if wanted.least_bytes <= last.package_bytes <= wanted.most_bytes:
            return None
        return price_toward(tried, wanted.most_bytes, weights, wanted.least_bytes)
    if wanted.max_loss is None:
        return None
    lost = {p.recipe.price: attempts.upper(p) or 0.0 for p in tried}
    good = [price for price, loss in lost.items() if loss <= wanted.max_loss]
    bad = [price for price, loss in lost.items() if loss > wanted.max_loss]
    # A loss grows about as a price does.
    if not bad:
        return max(good) * float(np.clip(0.5 * wanted.max_loss / max(lost[max(good)], 1e-9), 2, 8))
    if not good:
        return min(bad) * float(np.clip(wanted.max_loss / lost[min(bad)], 1 / 16, 1 / 2))
    low, high = max(g for g in good if g < min(bad)) if min(good) < min(bad) else 0.0, min(bad)
    if low and high / low >= 1.3:
        return float(np.sqrt(low * high))
    # One that is surely confirmed belongs to them, or none may be.
    return None if any(attempts.sure(p) for p in tried) else min(lost) / 2


def price_toward(tried: list[Point], target: int, weights: int, least: float | None = None) -> float | None:
    """The price that should lead to a little below the target; None where none is left to try."""
    aim, last = ((SIZE_TOLERANCE * target if least is None else least) + target) / 2, tried[-1]
    fits = [p for p in tried if p.package_bytes <= target]
    above = [p for p in tried if p.package_bytes > target]
    if fits and above:
        # Sizes fall as prices rise: a straight line between the nearest on each side, but never quite to an end of it.
        near = max(above, key=lambda p: p.recipe.price)
        far = min(
            (p for p in fits if p.recipe.price > near.recipe.price),
            key=lambda p: p.recipe.price,
            default=None,
        )
        if far is not None:
            span = np.log(far.recipe.price / near.recipe.price)
            share = (near.package_bytes - aim) / max(near.package_bytes - far.package_bytes, 1)
            if len(tried) > 2 and (tried[-2].package_bytes > target) == (last.package_bytes > target):
                share = 0.5  # the line is so bent that it leads to one side again and again
            price = near.recipe.price * float(np.exp(span * np.clip(share, 0.1, 0.9)))
            return price if span > NO_PRICE_BETWEEN else None
    # Half a bit per weight for every doubling of the price. Where steps of that fall short one after another, as in
    # networks so small that their codes hardly shrink, each is longer.
    sides = [point.package_bytes > target for point in tried]
    alike = next((n for n, side in enumerate(reversed(sides)) if side != sides[-1]), len(sides))
    factor = 4.0 ** (alike * (last.package_bytes - aim) * 8 / weights)
    return last.recipe.price * float(np.clip(factor, 1 / 16, 16))


def price_of(graph: Graph, points: float) -> float:
    """The price of a bit that should cost about this many points, nats."""
    weights = sum(w.array.size for w in graph.weights())
    return max(DEFAULT_LOSS_NATS * points, 1e-4) / (NATS_PER_PRICE * weights)
