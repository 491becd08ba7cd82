"""From what a user asks for (a size, a loss that is allowed) to a recipe, with everything that was tried on the way.

Composes like :mod:`sdk.compress.recipe`.  Calibration has one knob, the price of a bit, so a search is some runs; each
is packed, to know its real size, and checked on images that calibration did not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk import pack
from sdk.compress.blocks import check_block
from sdk.compress.recipe import EFFORTS, Progress, Recipe, Workshop, apply, split, train
from sdk.compress.solve import LEVELS
from sdk.compress.tune import State
from sdk.errors import DataError, ModelError
from sdk.execute import Executor
from sdk.graph import Graph

if TYPE_CHECKING:
    from sdk.data import Dataset

# That calibration expects to lose where nothing else is asked: about a point of top-1 on MobileNet V1.
DEFAULT_LOSS_NATS = 0.007
# With an ideal code and fine steps, n weights at a price p are expected to lose n p / (2 ln 2) nats.
NATS_PER_PRICE = 1 / (2 * np.log(2))
SAMPLES = 1000  # for calibration; more change little
INT8_SAMPLES = 250  # to find ranges with; four fifths of them where the rest is checked on
TRAINED_SPARSITY = 0.8  # where nothing else is asked
HOLD_OUT = 5  # every fifth sample is kept from calibration, to check on
SMALLEST_CHECK = 20  # samples; with fewer nothing is held out
CHECK_BATCH = 32
MAX_RUNS = 5  # calibrations of one search
SIZE_TOLERANCE = 0.98  # a package of this share of the target size is near enough
MAX_SPARSITY = 0.98  # that a search without data goes to


@dataclass(frozen=True)
class Settings:
    """What a user asks for; None leaves it to the effort's default."""

    effort: str = "auto"  # "auto": calibrate where there are data, otherwise none; "train" takes longest
    sparsity: float | None = None
    scope: str = "layer"
    clusters: int | None = None
    target_bytes: int | None = None  # of the whole package
    max_loss: float | None = (
        None  # points of top-1, or of agreement with the original where labels are missing
    )
    samples: int | None = (
        None  # at most so many images; by default 1,000 for calibration and all for training
    )
    seed: int = 0
    epochs: int = 30  # of training
    shift: int = 0  # pixels that images are moved by, at most, while training
    block: int = 1  # output channels of a 1x1 convolution that share their zeros
    int8: bool = False  # the caller quantises last (``recipe.to_int8``); weights keep effort "none"
    resume: State | None = None  # training goes on from here
    checkpoint: Callable[[State], None] = lambda state: None  # gets training's state after every epoch
    seconds_left: Callable[[], float] | None = None  # of the time budget; a search stops before it is overrun


@dataclass(frozen=True)
class Point:
    """One recipe that was tried. Percentages are None where nothing was checked."""

    recipe: Recipe
    package_bytes: int
    expected_loss_nats: float | None = None
    accuracy_percent: float | None = None  # top-1 by the labels
    agreement_percent: float | None = None  # same answer as the original


@dataclass(frozen=True)
class Compressed:
    """The result: the graph, the recipe that made it, all that was tried, and in words how accuracy was checked."""

    graph: Graph
    recipe: Recipe
    curve: tuple[Point, ...]
    statement: str
    target_met: bool = True


def compress(
    graph: Graph,
    dataset: Dataset | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    check: Dataset | None = None,
) -> Compressed:
    """The recipe that meets ``settings``, found and applied.

    ``dataset`` is calibrated on; accuracy is checked on ``check``, or on samples of ``dataset`` that are held out.
    """
    wanted = settings or Settings()
    report = progress or (lambda stage, done, total: None)
    effort = wanted.effort
    check_block(wanted.block)
    if wanted.int8:
        return _for_int8(graph, dataset, check, wanted, report)
    if effort == "auto":
        effort = "none" if dataset is None else "calibrate"
    if effort not in EFFORTS:
        raise ModelError("unknown effort", expected=f"auto, {', '.join(EFFORTS)}", found=repr(effort))
    if effort == "none":
        return _without_data(graph, wanted, report)
    if dataset is None:
        raise DataError("calibration and training need images", expected="a data set", found="none")
    if effort == "train":
        return _trained(graph, dataset, check, wanted, report)
    return _calibrated(graph, dataset, check, wanted, report)


# ---------------------------------------------------------------------------------------------------- without data


def _without_data(graph: Graph, wanted: Settings, report: Progress) -> Compressed:
    if wanted.max_loss is not None:
        raise DataError(
            "a limit of the loss can be kept only where accuracy is measured",
            expected="images to measure it on",
            found="no data",
            hint="Name some: --data FOLDER.",
        )
    first = Recipe(scope=wanted.scope, block=wanted.block)
    if wanted.sparsity is not None:
        first = replace(first, sparsity=wanted.sparsity)
    if wanted.clusters is not None:
        first = replace(first, clusters=wanted.clusters)
    curve: list[Point] = []

    def attempt(recipe: Recipe) -> Graph:
        made = apply(graph, recipe, report)
        curve.append(Point(recipe, len(pack.pack(made.write()))))
        return made

    made, recipe = attempt(first), first
    target = wanted.target_bytes
    low, high = first.sparsity, MAX_SPARSITY
    if target is not None and curve[-1].package_bytes > target and wanted.sparsity is None:
        recipe = replace(first, sparsity=high)
        made = attempt(recipe)
        runs = MAX_RUNS if curve[-1].package_bytes <= target else 0
        for _ in range(runs):
            middle = replace(first, sparsity=round((low + high) / 2, 4))
            candidate = attempt(middle)
            if curve[-1].package_bytes <= target:
                made, recipe, high = candidate, middle, middle.sparsity
            else:
                low = middle.sparsity
    met = target is None or any(p.recipe == recipe and p.package_bytes <= target for p in curve)
    return Compressed(made, recipe, tuple(curve), "accuracy was not checked: no data were given", met)


def _for_int8(
    graph: Graph, dataset: Dataset | None, check: Dataset | None, wanted: Settings, report: Progress
) -> Compressed:
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
    samples = min(wanted.samples or INT8_SAMPLES, len(dataset))
    hold_out = HOLD_OUT if check is None and samples // HOLD_OUT >= SMALLEST_CHECK else 0
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
    return Compressed(apply(graph, recipe, report), recipe, (), "accuracy was not checked")


def calibration_recipe(
    graph: Graph, kept: Dataset, samples: int, hold_out: int, points: float = 1.0
) -> Recipe:
    """Calibration on ``kept``, ``samples`` without those held out, at the price that should cost about ``points``."""
    weights = sum(w.array.size for w in graph.weights())
    nats = max(DEFAULT_LOSS_NATS * points, 1e-4)
    return Recipe(
        sparsity=0.0,
        clusters=0,
        effort="calibrate",
        price=float(f"{nats / (NATS_PER_PRICE * weights):.4g}"),
        samples=samples,
        hold_out=hold_out,
        data_sha256=kept.digest(),
    )


def _calibrated(
    graph: Graph, dataset: Dataset, check: Dataset | None, wanted: Settings, report: Progress
) -> Compressed:
    if wanted.clusters is not None and not 3 <= wanted.clusters <= 2 * LEVELS + 1:
        raise ModelError(
            "the number of clusters is out of range", expected="3 to 255", found=str(wanted.clusters)
        )
    samples, hold_out, dataset, checker = _parted(graph, dataset, check, wanted.samples or SAMPLES, report)
    workshop = Workshop(graph, dataset, wanted.seed, report)
    if wanted.max_loss is not None and checker is None:
        raise DataError(
            "too few images to measure a loss on",
            expected=f"at least {HOLD_OUT * SMALLEST_CHECK} images",
            found=str(samples),
        )
    weights = sum(w.array.size for w in graph.weights())
    recipe = replace(
        calibration_recipe(
            graph, dataset, samples, hold_out, 1.0 if wanted.max_loss is None else wanted.max_loss
        ),
        sparsity=wanted.sparsity or 0.0,
        scope=wanted.scope,
        clusters=wanted.clusters or 0,
        seed=wanted.seed,
        block=wanted.block,
    )
    curve: list[Point] = []
    graphs: list[Graph] = []
    price: float | None = recipe.price
    started = longest = 0.0
    while price is not None and len(curve) < MAX_RUNS:
        if wanted.seconds_left is not None:
            started = wanted.seconds_left()
            if curve and started < longest:
                break
        attempt = replace(recipe, price=float(f"{price:.4g}"))
        made, expected = workshop.run(attempt)
        size = len(pack.pack(made.write()))
        accuracy, agreement = checker(made) if checker is not None else (None, None)
        curve.append(Point(attempt, size, expected, accuracy, agreement))
        graphs.append(made)
        if wanted.seconds_left is not None:
            longest = max(longest, started - wanted.seconds_left())
        price = _next_price(curve, wanted, checker, weights)
    best, met = _choose(curve, wanted, checker)
    return Compressed(graphs[best], curve[best].recipe, tuple(curve), _said(checker, curve[best]), met)


def _trained(
    graph: Graph, dataset: Dataset, check: Dataset | None, wanted: Settings, report: Progress
) -> Compressed:
    if wanted.target_bytes is not None or wanted.max_loss is not None:
        raise ModelError(
            "training has no search for a size or a loss",
            expected="a sparsity and a number of clusters",
            found="a target",
            hint="Leave the target out, or use --effort calibrate.",
        )
    samples, hold_out, dataset, checker = _parted(
        graph, dataset, check, wanted.samples or len(dataset), report
    )
    recipe = Recipe(
        sparsity=TRAINED_SPARSITY if wanted.sparsity is None else wanted.sparsity,
        clusters=wanted.clusters or Recipe.clusters,
        effort="train",
        samples=samples,
        hold_out=hold_out,
        seed=wanted.seed,
        data_sha256=dataset.digest(),
        epochs=wanted.epochs,
        shift=wanted.shift,
        block=wanted.block,
    )
    made = train(graph, dataset, recipe, report, wanted.resume, wanted.checkpoint)
    accuracy, agreement = checker(made) if checker is not None else (None, None)
    size = len(pack.pack(made.write()))
    point = Point(recipe, size, accuracy_percent=accuracy, agreement_percent=agreement)
    return Compressed(made, recipe, (point,), _said(checker, point))


def _parted(
    graph: Graph, dataset: Dataset, check: Dataset | None, samples: int, report: Progress
) -> tuple[int, int, Dataset, _Checker | None]:
    """(samples taken, every how many-th is held out, those to learn from, what checks on the others)."""
    samples = min(samples, len(dataset))
    hold_out = HOLD_OUT if check is None and samples // HOLD_OUT >= SMALLEST_CHECK else 0
    dataset, apart = split(dataset, samples, hold_out)
    used = check if check is not None else apart
    return samples, hold_out, dataset, None if used is None else _Checker(graph, used, report, bool(hold_out))


def _said(checker: _Checker | None, point: Point) -> str:
    if checker is None:
        return "accuracy was not checked: there were too few images to keep some back for it"
    return checker.statement(point)


class _Checker:
    """Counts right answers, and answers like the original's, on images."""

    def __init__(self, graph: Graph, dataset: Dataset, report: Progress, held_out: bool) -> None:
        self.dataset, self.report, self.held_out = dataset, report, held_out
        self.original = self._answers(graph)
        self.accuracy = self._percent(self.original == dataset.labels) if dataset.labels is not None else None

    def __call__(self, graph: Graph) -> tuple[float | None, float]:
        """(top-1 percent or None without labels, percent of answers like the original's)."""
        answers = self._answers(graph)
        right = None if self.dataset.labels is None else self._percent(answers == self.dataset.labels)
        return right, self._percent(answers == self.original)

    def loss(self, point: Point) -> float:
        """Points lost, by the labels where there are some."""
        if self.accuracy is not None and point.accuracy_percent is not None:
            return self.accuracy - point.accuracy_percent
        assert point.agreement_percent is not None
        return 100.0 - point.agreement_percent

    def statement(self, point: Point) -> str:
        """In words, what was measured on what."""
        kept = "kept back for it" if self.held_out else "of their own"
        where = f"on {len(self.dataset)} images of {self.dataset.name} {kept}"
        agreement = f"{point.agreement_percent:.2f} % of the answers are the original's"
        if self.accuracy is None:
            return f"checked {where}, which have no labels: {agreement}"
        return f"checked {where}: top-1 {self.accuracy:.2f} % -> {point.accuracy_percent:.2f} %; {agreement}"

    def _answers(self, graph: Graph) -> np.ndarray:
        executor = Executor(graph)
        answers: list[np.ndarray] = []
        done = 0
        for images, _ in self.dataset.batches(CHECK_BATCH):
            self.report("check", done, len(self.dataset))
            scores = np.asarray(executor(images, wanted=executor.scores))
            answers.append(scores.reshape(len(images), -1).argmax(axis=1))
            done += len(images)
        self.report("check", done, done)
        return np.concatenate(answers)

    @staticmethod
    def _percent(right: Any) -> float:
        return float(100 * np.mean(right))


def _next_price(
    curve: Sequence[Point], wanted: Settings, checker: _Checker | None, weights: int
) -> float | None:
    """The price to try next, or None when the search is over."""
    last = curve[-1]
    if wanted.target_bytes is not None:
        if SIZE_TOLERANCE * wanted.target_bytes <= last.package_bytes <= wanted.target_bytes:
            return None
        # Half a bit a weight for every doubling of the price; aim just below the target.
        aim = (1 + SIZE_TOLERANCE) / 2 * wanted.target_bytes
        factor = 4.0 ** ((last.package_bytes - aim) * 8 / weights)
        return last.recipe.price * float(np.clip(factor, 1 / 16, 16))
    if wanted.max_loss is not None and checker is not None:
        good = [p.recipe.price for p in curve if checker.loss(p) <= wanted.max_loss]
        bad = [p.recipe.price for p in curve if checker.loss(p) > wanted.max_loss]
        if not bad:
            return 2 * max(good)
        if not good:
            return min(bad) / 2
        low, high = max(g for g in good if g < min(bad)) if min(good) < min(bad) else 0.0, min(bad)
        return None if low == 0.0 or high / low < 1.3 else float(np.sqrt(low * high))
    return None


def _choose(curve: Sequence[Point], wanted: Settings, checker: _Checker | None) -> tuple[int, bool]:
    """Which point of the curve is delivered, and whether it meets what was asked."""
    numbers: Mapping[int, Point] = dict(enumerate(curve))
    if wanted.target_bytes is not None:
        fits = [i for i, p in numbers.items() if p.package_bytes <= wanted.target_bytes]
        if fits:
            return min(fits, key=lambda i: numbers[i].recipe.price), True
        return min(numbers, key=lambda i: numbers[i].package_bytes), False
    if wanted.max_loss is not None and checker is not None:
        fits = [i for i, p in numbers.items() if checker.loss(p) <= wanted.max_loss]
        if fits:
            return min(fits, key=lambda i: numbers[i].package_bytes), True
        return min(numbers, key=lambda i: checker.loss(numbers[i])), False
    return 0, True
