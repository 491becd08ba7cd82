"""The expected stages of a compression, their relative durations, and the epochs that fit a budget.

Composes like :mod:`sdk.compress.recipes.recipe`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdk.compress.recipes.attempts import Attempts, Settings
from sdk.compress.recipes.overall_progress import SHARES
from sdk.compress.recipes.recipe import Recipe, tuning
from sdk.compress.recipes.search import TRIALS
from sdk.compress.solve.calibrate import with_biases
from sdk.compress.train.fine_tuning import step_batches
from sdk.errors import DataError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

MAX_RUNS = 5  # attempts of one search
LIMITED_RUNS = 7  # of a calibration that keeps a limit of the loss
SIZED_RUNS = 9  # of a calibration toward a size, which is hit within 3 %
UNTAUGHT_RUNS = 14  # attempts without data, which take seconds
TIMED_STEPS = 4  # of training, to know how many epochs a time budget allows
BUDGET_SHARE = 0.85  # of the time that epochs are planned for; the rest is for packing and checking
LEAST_EPOCHS = 3


def spent(wanted: Settings) -> Callable[[], float] | None:
    """The share of the time budget that is over, where a study goes on until all of it is."""
    left = wanted.seconds_left
    if left is None or wanted.study is None or wanted.trials is not None:
        return None
    budget = max(left(), 1e-9)
    return lambda: 1 - left() / budget


def stages(effort: str, wanted: Settings) -> list[str]:
    """The expected stages, in order."""
    aims = wanted.target_bytes is not None or wanted.max_loss is not None
    attempt, first, runs = {
        "none": (["prune", "cluster", "pack", "check"], [], UNTAUGHT_RUNS if aims else 1),
        "calibrate": (["calibrate", "pack", "check"], ["check", "sensitivity"], MAX_RUNS - 1 if aims else 1),
        "train": (["train", "pack", "check"], ["check"], MAX_RUNS if wanted.max_loss is not None else 1),
    }[effort]
    if effort == "train" and aims and wanted.sparsity is None:
        first = [*first, "sensitivity", *["calibrate", "pack", "check"] * (MAX_RUNS - 1)]
    if wanted.channels or wanted.fits is not None:
        orders = ["channels", "sensitivity"] * (
            1 + (wanted.fits is not None)
        )  # once to find a share that fits
        narrowing = [*orders, "solve", *["distil"] * bool(wanted.distill_epochs)]
        first = [*first[:1], *narrowing, *first[1:]]
    if wanted.study is not None:
        runs += TRIALS if wanted.trials is None else wanted.trials
    return first + attempt * runs


def shares(effort: str, lessons: int, checked: int, distilled: int = 0) -> dict[str, float]:
    """How long stages take beside each other; a training sees ``lessons`` images, a check ``checked`` of them, and what
    whole channels left is ``distilled`` for some epochs.

    An image in a batch of a training, which goes forward twice and back once, takes about as long as one by itself in
    the interpreter.
    """
    known = {**SHARES, "distil": SHARES["distil"] * distilled}
    if effort != "train":
        return known
    images = checked / SHARES["check"]  # that take as long as one of the shares
    return {
        **{stage: images * share for stage, share in known.items()},
        "train": max(lessons, 1),
        "check": checked,
        "pack": 0.01 * lessons,
        "calibrate": 0.02 * lessons,
    }


def epochs_within(attempts: Attempts, recipe: Recipe, trainings: int) -> int:
    """As many epochs as were asked for, or as the time budget allows: measured on some steps."""
    wanted, dataset = attempts.wanted, attempts.dataset
    assert dataset is not None
    if wanted.seconds_left is None:
        return wanted.epochs
    clock = wanted.seconds_left
    epoch = seconds_per_epoch(attempts.graph, dataset, recipe, lambda: -clock())
    left = clock()
    allowed = int(BUDGET_SHARE * left / trainings / max(epoch, 1e-9))
    if allowed < LEAST_EPOCHS:
        raise DataError(
            "the time is too short to train",
            expected=f"{LEAST_EPOCHS} epochs, about {LEAST_EPOCHS * epoch / BUDGET_SHARE / 60:.1f} minutes",
            found=f"{left / 60:.1f} minutes left",
            hint="Allow more (--time-budget), take fewer images (--samples), or use --effort calibrate.",
        )
    # A run that was cut and goes on must not count again: its weights were trained for this many epochs.
    return int(wanted.checkpoints.remember("epochs", min(wanted.epochs, allowed)))


def seconds_per_epoch(graph: Graph, dataset: Dataset, recipe: Recipe, clock: Callable[[], float]) -> float:
    """Seconds of an epoch of a training, measured by ``clock`` on some steps whose result is dropped."""
    executor = Executor(with_biases(graph))
    readings, sizes = [clock()], [0]
    for size in step_batches(dataset, tuning(graph, recipe), executor, TIMED_STEPS):
        readings.append(clock())
        sizes.append(size)
    if len(readings) > 2:  # the first step compiles
        del readings[0], sizes[:1]
    return (readings[-1] - readings[0]) / max(sum(sizes[1:]), 1) * len(dataset)
