"""From what a user asks for (a size, a loss that is allowed) to a recipe, with everything that was tried on the way.

Composes like :mod:`sdk.compress.recipes.recipe`.  Every effort has one knob that trades size for accuracy: how
hard weights are pruned and shared without data, the price of a bit for calibration, the share of weights that
stays for training.  So a target is met by a handful of attempts; with a study (:mod:`sdk.compress.recipes.search`)
they are where its search starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from device_agent.record.intervals import Interval
from sdk.compress.recipes.attempts import Attempts, Point, Settings
from sdk.compress.recipes.budget import (
    LIMITED_RUNS,
    MAX_RUNS,
    SIZED_RUNS,
    UNTAUGHT_RUNS,
    epochs_within,
    shares,
    spent,
    stages,
)
from sdk.compress.recipes.confirm import decided
from sdk.compress.recipes.overall_progress import Journey
from sdk.compress.recipes.parts import HOLD_OUT, SMALLEST_CHECK, held_out, to_learn_from, unseen
from sdk.compress.recipes.recipe import EFFORTS, Recipe, apply, learned_from, split, tuning
from sdk.compress.recipes.search import search
from sdk.compress.recipes.task_check import checker_of
from sdk.compress.rewrite.dead_channels import drop_dead_channels
from sdk.compress.solve.calibrate import with_biases
from sdk.compress.solve.layer import LEVELS
from sdk.compress.train.fine_tuning import untrained
from sdk.compress.weights.blocks import check_block
from sdk.errors import DataError, ModelError
from sdk.graph.execute import Executor
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.data.scoring.by_task import Metric
    from sdk.graph.dataset import Dataset

# That calibration expects to lose where nothing else is asked: half a point of top-1 on MobileNet V2.
DEFAULT_LOSS_NATS = 0.007
# With an ideal code and fine steps, n weights at a price p are expected to lose n p / (2 ln 2) nats.
NATS_PER_PRICE = 1 / (2 * np.log(2))
SAMPLES = 1000  # for calibration; more change little
INT8_SAMPLES = 250  # to find ranges with; four fifths of them where the rest is checked on
TRAINED_SPARSITY = 0.8  # where nothing else is asked
SEARCHED_LOSS = 1.0  # points, of a study where nothing else is asked
SIZE_TOLERANCE = 0.97  # a package of this share of the target size is near enough
NO_PRICE_BETWEEN = 0.002  # logarithm of the ratio of two prices that lead to either side of a size
CAREFUL = 0.25  # of the usual knob, where a single attempt is to keep a limit of the loss
# The knob without data, 0 ... 1: sparsity 0 ... 0.98 and 256 ... 14 centroids, the default among them.
MAX_SPARSITY, MOST_BITS, BITS_SPAN = 0.98, 8.0, 4.2
USUAL_HARDNESS = 0.7 / MAX_SPARSITY
# The knob of training: the share of weights that stays.
FIRST_KEPT, LEAST_KEPT, KEPT_STEP, KEPT_TOLERANCE = 0.1, 0.005, 1.6, 1.15
ESTIMATES = 12  # packages of untrained weights, to find the sparsity of a size
# Toward a size: trainings at most, the share of it that ends them, and the one that is aimed at.
SIZED_TRAININGS, NEAR_ENOUGH, TRAINED_AIM = 3, 0.94, 0.99


@dataclass(frozen=True)
class TargetResult:
    """The result: the graph, the recipe that made it, all that was tried, and in words how accuracy was checked."""

    graph: Graph
    recipe: Recipe
    curve: tuple[Point, ...]
    statement: str
    target_met: bool = True
    lost: Interval | None = (
        None  # points, on ``images`` that nothing was learned from; None: nothing was checked
    )
    images: int = 0


def compress(
    graph: Graph,
    dataset: Dataset | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    check: Dataset | None = None,
) -> TargetResult:
    """The recipe that meets ``settings``, found and applied.

    ``dataset`` is learned from; accuracy is checked on ``check``, or on samples of ``dataset`` that are held out.
    """
    wanted = settings or Settings()
    report = progress or silent
    effort = wanted.effort
    check_block(wanted.block)
    if wanted.int8:
        return _for_int8(graph, dataset, check, wanted, report)
    if effort == "auto":
        effort = "none" if dataset is None else "calibrate"
    if effort not in EFFORTS:
        raise ModelError("unknown effort", expected=f"auto, {', '.join(EFFORTS)}", found=repr(effort))
    if effort != "none" and dataset is None:
        raise DataError("calibration and training need images", expected="a data set", found="none")
    if dataset is None and check is None and (wanted.max_loss is not None or wanted.study is not None):
        raise DataError(
            "a limit of the loss can be kept only where accuracy is measured"
            if wanted.study is None
            else "a search over recipes needs accuracy to be measured",
            expected="images to measure it on",
            found="no data",
            hint="Name some: --data FOLDER.",
        )
    if wanted.study is not None and wanted.target_bytes is None and wanted.max_loss is None:
        wanted = replace(wanted, max_loss=SEARCHED_LOSS)
    samples = wanted.samples or _usual_samples(dataset, effort, wanted, check)
    to_check = len(check) if check is not None else samples // HOLD_OUT
    journey = Journey(
        report, stages(effort, wanted), spent(wanted), shares(effort, wanted.epochs * samples, to_check)
    )
    attempts = Attempts(graph, dataset, check, effort, wanted, samples, journey)
    walk: Callable[[Attempts], None] = {"none": _prune_more, "calibrate": _price_bits, "train": _keep_less}[
        effort
    ]
    if wanted.study is None or attempts.only_one:
        walk(attempts)
    else:
        search(attempts, walk)
    found = decided(attempts)
    recipe, curve = found.point.recipe, tuple(attempts.curve)
    return TargetResult(found.graph, recipe, curve, found.statement, found.met, found.lost, found.images)


def _usual_samples(dataset: Dataset | None, effort: str, wanted: Settings, check: Dataset | None) -> int:
    """Images to learn from where the user leaves it open."""
    if dataset is None:
        return SAMPLES
    if effort == "train":
        return len(dataset)
    return to_learn_from(dataset, SAMPLES) if wanted.max_loss is not None and check is None else SAMPLES


def replay(
    graph: Graph,
    recipe: Recipe,
    dataset: Dataset | None = None,
    progress: Progress | None = None,
    *,
    check: Dataset | None = None,
    metric: Metric | None = None,
) -> TargetResult:
    """What the recipe makes of the graph, and how accuracy was checked: on ``check``, or on what it held out."""
    report = progress or silent
    made = apply(graph, recipe, report, dataset)
    used = check
    if used is None and dataset is not None and recipe.effort != "none":
        used = unseen(dataset, learned_from(dataset, recipe))
    if used is None:
        why = "no data were given" if dataset is None else "the recipe kept no images back for it"
        return TargetResult(made, recipe, (), f"accuracy was not checked: {why}")
    checker = checker_of(graph, used, metric, report, held_out=check is None)
    checked = checker(made)
    statement = f"a recipe was replayed, and {checker.statement(checked)}"
    return TargetResult(made, recipe, (), statement, lost=checked.lost, images=len(used))


# ------------------------------------------------------------------------------------------- the knob without data


def _prune_more(attempts: Attempts) -> None:
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
        size, target = point.package_bytes, wanted.target_bytes
        lost = attempts.upper(point) if wanted.max_loss is not None else None
        if lost is not None and wanted.max_loss is not None and lost > wanted.max_loss:
            high = hardness
        elif wanted.max_loss is not None or (target is not None and size > target):
            low = hardness
        elif target is not None and size < SIZE_TOLERANCE * target:
            high = hardness
        else:
            return
        # The first step goes to the end, because a target may be out of reach of everything.
        first = len(attempts.curve) == 1
        hardness = (1.0 if low == hardness else 0.0) if first else (low + high) / 2
        done = len(attempts.curve) >= UNTAUGHT_RUNS or recipe(hardness) == point.recipe
        if done or not attempts.time_for_another():
            return


# ------------------------------------------------------------------------------------------- the knob of calibration


def _price_bits(attempts: Attempts) -> None:
    """Finds the price of a bit that leads to the size or the loss."""
    wanted, graph = attempts.wanted, attempts.graph
    if wanted.clusters is not None and not 3 <= wanted.clusters <= 2 * LEVELS + 1:
        raise ModelError(
            "the number of clusters is out of range", expected="3 to 255", found=str(wanted.clusters)
        )
    weights = sum(w.array.size for w in graph.weights())
    usual = _price_of(graph, 1.0 if wanted.max_loss is None else wanted.max_loss)
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
    if wanted.target_bytes is not None:
        if SIZE_TOLERANCE * wanted.target_bytes <= last.package_bytes <= wanted.target_bytes:
            return None
        return _price_toward(tried, wanted.target_bytes, weights)
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


def _price_toward(tried: list[Point], target: int, weights: int) -> float | None:
    """The price that should lead just below the target; None where no price between those that were tried is left."""
    aim, last = (1 + SIZE_TOLERANCE) / 2 * target, tried[-1]
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
    # Half a bit a weight for every doubling of the price. Where steps of that fall short one after another, as in
    # networks so small that their codes hardly shrink, each is longer.
    sides = [point.package_bytes > target for point in tried]
    alike = next((n for n, side in enumerate(reversed(sides)) if side != sides[-1]), len(sides))
    factor = 4.0 ** (alike * (last.package_bytes - aim) * 8 / weights)
    return last.recipe.price * float(np.clip(factor, 1 / 16, 16))


# ---------------------------------------------------------------------------------------------- the knob of training


def _keep_less(attempts: Attempts) -> None:
    """Trains with the share of weights that a size leads to, or with fewer and fewer until the loss is too large."""
    wanted = attempts.wanted
    base = replace(attempts.base, clusters=wanted.clusters or Recipe.clusters)
    trainings = 1 if wanted.target_bytes is None and wanted.max_loss is None else 3
    base = replace(
        base, epochs=epochs_within(attempts, base, 1 if wanted.sparsity is not None else trainings)
    )
    if wanted.sparsity is not None:
        attempts.run(replace(base, sparsity=wanted.sparsity))
    elif wanted.target_bytes is not None:
        _train_to_size(attempts, base, wanted.target_bytes)
    elif wanted.max_loss is not None:
        _train_to_loss(attempts, base, wanted.max_loss)
    else:
        attempts.run(replace(base, sparsity=TRAINED_SPARSITY))


def _train_to_size(attempts: Attempts, base: Recipe, target: int) -> None:
    """Trains at the sparsity whose untrained weights have the size; where training changed it, again.

    The second time the size that is aimed at is corrected by the factor that the first was wrong by, and where that has
    gone from too large to too small or back, the third lies between the two.
    """
    aim = TRAINED_AIM * target
    kept = _kept_of_size(attempts.graph, base, aim)
    tried: dict[float, int] = {}
    while kept not in tried and len(tried) < SIZED_TRAININGS and attempts.time_for_another():
        size = attempts.run(replace(base, sparsity=round(1 - kept, 4))).package_bytes
        tried[kept] = size
        if NEAR_ENOUGH * target <= size <= target:
            return
        small = [k for k, s in tried.items() if s <= target]
        large = [k for k, s in tried.items() if s > target]
        if small and large:
            kept = round(float(np.sqrt(max(small) * min(large))), 4)
        else:
            aim *= TRAINED_AIM * target / size
            kept = _kept_of_size(attempts.graph, base, aim)


def _kept_of_size(graph: Graph, base: Recipe, size: float) -> float:
    """The share of weights with which pruned and shared, but untrained, weights pack to about this size."""
    executor = Executor(with_biases(graph))
    low, high = LEAST_KEPT, 1.0
    for _ in range(ESTIMATES):
        kept = float(np.sqrt(low * high))
        recipe = replace(base, sparsity=round(1 - kept, 4))
        made = untrained(executor, tuning(graph, recipe))
        if recipe.block == 1:
            made = drop_dead_channels(made)
        if len(pack.pack(write_graph(made))) > size:
            high = kept
        else:
            low = kept
    return round(low, 4)


def _train_to_loss(attempts: Attempts, base: Recipe, limit: float) -> None:
    """Takes steps toward fewer weights while the loss allows it, toward more while it does not, and then halves."""
    kept, good, bad = FIRST_KEPT, 1.0, 0.0
    if attempts.only_one:
        attempts.run(replace(base, sparsity=1 - CAREFUL))
        return
    while len(attempts.curve) < MAX_RUNS and attempts.time_for_another():
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


# --------------------------------------------------------------------------------------------------- and for int8


def _for_int8(
    graph: Graph, dataset: Dataset | None, check: Dataset | None, wanted: Settings, report: Progress
) -> TargetResult:
    """The float graph that becomes int8, and the recipe that names the images to do it with."""
    if dataset is None:
        raise DataError(
            "an int8 model needs images to find its ranges with",
            expected="some hundred images",
            found="no data",
            hint="Name some: --data FOLDER.",
        )
    if wanted.effort not in ("auto", "none") or wanted.target_bytes is not None:
        raise ModelError(
            "int8 has no search and no training",
            expected="a sparsity at most",
            found="a target size" if wanted.target_bytes is not None else f"effort {wanted.effort}",
            hint="Compress first with --save-tflite, then make that file int8: its zeros stay zeros.",
        )
    most = len(dataset)
    if wanted.max_loss is not None and check is None:
        most = to_learn_from(dataset, most)
    samples = min(wanted.samples or INT8_SAMPLES, most)
    hold_out = held_out(samples, check)
    recipe = Recipe(
        sparsity=wanted.sparsity or 0.0,
        scope=wanted.scope,
        clusters=wanted.clusters or 0,
        samples=samples,
        hold_out=hold_out,
        data_sha256=split(dataset, samples, hold_out)[0].digest(),
        block=wanted.block,
        int8=True,
    )
    return TargetResult(apply(graph, recipe, report), recipe, (), "accuracy was not checked")


def calibration_recipe(graph: Graph, kept: Dataset, samples: int, hold_out: int) -> Recipe:
    """Calibration on ``kept``, ``samples`` without those held out, at the price that should cost about a point."""
    return Recipe(
        sparsity=0.0,
        clusters=0,
        effort="calibrate",
        price=float(f"{_price_of(graph, 1.0):.4g}"),
        samples=samples,
        hold_out=hold_out,
        data_sha256=kept.digest(),
    )


def _price_of(graph: Graph, points: float) -> float:
    """The price of a bit that should cost about so many points, nats."""
    weights = sum(w.array.size for w in graph.weights())
    return max(DEFAULT_LOSS_NATS * points, 1e-4) / (NATS_PER_PRICE * weights)


__all__ = [
    "HOLD_OUT",
    "SAMPLES",
    "SMALLEST_CHECK",
    "TRAINED_SPARSITY",
    "Point",
    "Settings",
    "TargetResult",
    "calibration_recipe",
    "compress",
    "replay",
]
