"""The walk of a training toward a size, or a loss: it begins with what calibration found, and is compared with it.

Composes like :mod:`sdk.compress.recipes.recipe`. Calibration takes a fraction of the time, so it goes first. A training
that refines its result keeps its zeros and about its size. Where most weights must go, a training that prunes as it
learns does better, and is tried as well. All are attempts of one curve, and the best is taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.recipes.attempts import Attempts, Point
from sdk.compress.recipes.budget import MAX_RUNS, epochs_within
from sdk.compress.recipes.recipe import Recipe, tuning
from sdk.compress.recipes.walks import price_bits
from sdk.compress.rewrite.dead_channels import drop_dead_channels
from sdk.compress.solve.calibrate import with_biases
from sdk.compress.train.fine_tuning import untrained
from sdk.compress.train.moving import moves_borne
from sdk.compress.weights.cluster import check_clusters
from sdk.graph.in_tensorflow.executor import Executor

TRAINED_SPARSITY = 0.8  # where nothing else is asked
CALIBRATED_ON = 800  # of the images to learn from; more change little
# The knob of training: the share of weights that stays.
FIRST_KEPT, LEAST_KEPT, KEPT_STEP, KEPT_TOLERANCE = 0.1, 0.005, 1.6, 1.15
ESTIMATES = 12  # packages of untrained weights, to find the sparsity of a size
SIZED_TRAININGS, TRAINED_AIM = (
    3,
    0.985,
)  # toward a size: trainings at most, and the share of it that is aimed at
DEARER, REFINEMENTS = (
    1.5,
    3,
)  # toward a loss: the price of each refinement against the one before, and their number
WORTH_WINNING = 0.3  # points: where calibration loses less, there is nothing for a training to win
MUCH_LOST = 3.0  # points: where refinement leaves this many, one that prunes as it learns is tried, too


def keep_less(attempts: Attempts) -> None:
    """Trains at a sparsity that is given; else toward a size or a loss, from what calibration found there.

    A sparsity that is given beside a size, and nothing else, is each layer's least for what begins with a calibration,
    and that of all pruned layers for the one training that prunes.
    """
    wanted = attempts.wanted
    clusters = Recipe.clusters if wanted.clusters is None else wanted.clusters
    check_clusters(clusters, "train")
    flip, shift = _moves(attempts)
    base = replace(attempts.base, clusters=clusters, flip=flip, shift=shift)
    aims = wanted.target_bytes is not None or wanted.max_loss is not None
    sized = wanted.target_bytes is not None and wanted.clusters is None and not wanted.price
    if not aims or (wanted.sparsity is not None and not sized):
        sparsity = TRAINED_SPARSITY if wanted.sparsity is None else wanted.sparsity
        attempts.run(replace(base, epochs=epochs_within(attempts, base, 1), sparsity=sparsity))
        return
    calibrated = _calibrated(attempts)
    if attempts.only_one:
        return
    lost = None if calibrated.lost is None else calibrated.lost.value
    if wanted.if_worth and wanted.max_loss is None and lost is not None and lost < WORTH_WINNING:
        attempts.notes.append(
            f"not trained: calibration loses {lost:.2f} points, which leaves nothing to win"
        )
        return
    base = replace(base, epochs=epochs_within(attempts, base, 1 if wanted.if_worth else SIZED_TRAININGS))
    if not wanted.price and wanted.clusters is None:
        _refine(attempts, base, calibrated)
    if wanted.if_worth and not _much_is_lost(attempts):
        return
    if wanted.sparsity is not None:
        attempts.run(replace(base, sparsity=wanted.sparsity))
    elif wanted.most_bytes is not None:
        _train_to_size(attempts, base, wanted.most_bytes)
    elif wanted.max_loss is not None:
        _train_to_loss(attempts, base, wanted.max_loss)


def _moves(attempts: Attempts) -> tuple[bool, int]:
    """Whether images are mirrored while training, and by how many pixels they are moved at most."""
    assert attempts.dataset is not None
    if attempts.wanted.metric is not None:  # boxes and maps move with the image
        return False, attempts.wanted.shift
    flip, shift = moves_borne(Executor(attempts.graph), attempts.dataset)
    return flip, attempts.wanted.shift or shift


def _calibrated(attempts: Attempts) -> Point:
    """The best that calibration finds; its attempts are on the curve."""
    assert attempts.dataset is not None
    usual = attempts.base
    few = attempts.dataset.take(CALIBRATED_ON)
    attempts.base = replace(
        usual, effort="calibrate", few=CALIBRATED_ON, data_sha256=few.digest(), epochs=0, shift=0, price=0.0
    )
    price_bits(attempts)
    attempts.base = usual
    assert attempts.best is not None
    return attempts.best[1]


def _refine(attempts: Attempts, base: Recipe, calibrated: Point) -> None:
    """Trains from what calibration found: at its price for a size, at dearer ones as long as a loss allows it."""
    limit, price = attempts.wanted.max_loss, calibrated.recipe.price
    for _ in range(1 if limit is None else REFINEMENTS):
        if not attempts.time_for_another():
            return
        if limit is not None:
            price *= DEARER
        begin = float(f"{price:.4g}")
        point = attempts.run(
            replace(
                base,
                sparsity=calibrated.recipe.sparsity,
                clusters=0,
                price=0.0,
                few=CALIBRATED_ON,
                begin=begin,
            )
        )
        lost = attempts.upper(point)
        if limit is not None and lost is not None and lost > limit:
            return


def _much_is_lost(attempts: Attempts) -> bool:
    """Whether the best attempt misses what was asked, or loses much at its size."""
    assert attempts.best is not None
    best = attempts.best[1]
    if attempts.misses(best) > 0:
        return True
    return attempts.wanted.max_loss is None and best.lost is not None and best.lost.value > MUCH_LOST


def _train_to_size(attempts: Attempts, base: Recipe, target: int) -> None:
    """Trains at the sparsity whose untrained weights have the size; where training changed it, again.

    The second attempt corrects the size that is aimed at by the error of the first. Where the error changes its sign,
    the third attempt lies between the two.
    """
    aim = TRAINED_AIM * target
    kept = _kept_of_size(attempts, base, aim)
    tried: dict[float, int] = {}
    while kept not in tried and len(tried) < SIZED_TRAININGS and attempts.time_for_another():
        size = attempts.run(replace(base, sparsity=round(1 - kept, 4))).package_bytes
        tried[kept] = size
        if attempts.wanted.least_bytes <= size <= target:
            return
        small = [k for k, s in tried.items() if s <= target]
        large = [k for k, s in tried.items() if s > target]
        if small and large:
            kept = round(float(np.sqrt(max(small) * min(large))), 4)
        else:
            aim *= TRAINED_AIM * target / size
            kept = _kept_of_size(attempts, base, aim)


def _kept_of_size(attempts: Attempts, base: Recipe, size: float) -> float:
    """The share of weights with which pruned and shared, but untrained, weights pack to about this size."""
    executor = Executor(with_biases(attempts.narrow))
    low, high = LEAST_KEPT, 1.0
    for _ in range(ESTIMATES):
        kept = float(np.sqrt(low * high))
        recipe = replace(base, sparsity=round(1 - kept, 4))
        made = untrained(executor, tuning(attempts.narrow, recipe))
        if recipe.block == 1:
            made = drop_dead_channels(made)
        if attempts.size_of(made, recipe) > size:
            high = kept
        else:
            low = kept
    return round(low, 4)


def _train_to_loss(attempts: Attempts, base: Recipe, limit: float) -> None:
    """Takes steps toward fewer weights while the loss allows it, toward more while it does not, and then halves."""
    kept, good, bad = FIRST_KEPT, 1.0, 0.0
    first = len(attempts.curve)
    while len(attempts.curve) - first < MAX_RUNS and attempts.time_for_another():
        lost = attempts.upper(attempts.run(replace(base, sparsity=round(1 - kept, 4))))
        if lost is not None and lost <= limit:
            good = kept
        else:
            bad = kept
        if bad == 0.0 or good == 1.0:
            kept = kept / KEPT_STEP if bad == 0.0 else min(kept * KEPT_STEP, 0.9)
        else:
            kept = float(np.sqrt(good * bad))
        if good / max(bad, 1e-9) < KEPT_TOLERANCE or kept < LEAST_KEPT:
            return
