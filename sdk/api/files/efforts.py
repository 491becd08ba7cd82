"""Chooses the effort if the user leaves it open: the strongest that data and time allow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sdk.compress.defaults import EPOCHS
from sdk.compress.recipes import budget
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.recipes.targets import is_taught
from sdk.errors import UnsupportedOperator
from sdk.explain import theory
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

TRAINED_IMAGES = 2000  # fewer are learned by heart
USUAL_SECONDS = 30 * 60.0  # a training may take so long where no time budget is given
LEAST_EPOCHS = 10  # with a time budget; below that calibration is better
# An image of training is a pass of the teacher, and a pass forward and two passes back of the student.
PASSES = 4
FASTEST_MACS_PER_SECOND = 1e11  # of any host: what would be too long even there is not measured first


def strongest(
    graph: Graph,
    learn: Dataset | None,
    *,
    aimed: bool = True,
    samples: int | None = None,
    epochs: int = EPOCHS,
    seconds: float | None = None,
) -> tuple[str, str]:
    """(effort, in words why).

    Without images: none.  With images: calibrate.  Where a size, a loss or a sparsity is ``aimed`` at, with at least
    2,000 images to learn from, that have labels or were given a time budget: train, where the measured pace says that
    it fits the budget (of at least 10 epochs' time) or, without one, half an hour. Such a training is compared with
    calibration, and left out where that leaves nothing to win.
    """
    if learn is None:
        return "none", "no images were given"
    try:
        Executor(graph).check()
    except UnsupportedOperator as error:
        return "none", "; found ".join(filter(None, [error.what, _beyond(error)]))
    if not is_taught(graph):
        return "calibrate", "a training learns one row of scores, which is not what this model answers with"
    if not aimed:
        return "calibrate", "neither a size nor a loss was asked for, which training needs"
    count = min(samples or len(learn), len(learn))
    labelled = learn.labels is not None
    images = f"{count:,} images {'with' if labelled else 'without'} labels"
    if count < TRAINED_IMAGES:
        return "calibrate", f"{images}; training needs {TRAINED_IMAGES:,}"
    if not labelled and seconds is None:
        return "calibrate", f"{images}; to train on them name a time budget or --effort train"
    allowed = USUAL_SECONDS if seconds is None else seconds * budget.BUDGET_SHARE
    wanted = epochs if seconds is None else min(epochs, LEAST_EPOCHS)
    macs = theory.totals(theory.operator_costs(graph)).macs
    needed = macs * PASSES / FASTEST_MACS_PER_SECOND * count * wanted
    if needed <= allowed:
        how = Recipe(effort="train", epochs=epochs, clusters=Recipe.clusters)
        epoch = budget.seconds_per_epoch(graph, learn.take(count), how, time.monotonic)
        needed = epoch * wanted
    if needed <= allowed:
        return "train", f"{images}; {wanted} epochs take about {_duration(needed)}"
    return (
        "calibrate",
        f"{images}; {wanted} epochs of training take {_duration(needed)} or more, and {_duration(allowed)} are there",
    )


def _beyond(error: UnsupportedOperator) -> str:
    """What was found, unless the error's first words name it."""
    return error.found if error.found and error.found not in error.what else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
