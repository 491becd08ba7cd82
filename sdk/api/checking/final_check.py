"""The loss of a compressed model on images that nothing was learned from, if no search measured it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from device_agent.package import reader as package_format
from device_agent.record.intervals import Interval
from sdk.api.checking.held_against import HeldAgainst
from sdk.api.compress_request import Compress
from sdk.compress.recipes import targets
from sdk.compress.recipes.parts import unseen
from sdk.compress.recipes.recipe import Recipe, learned_from
from sdk.errors import DataError
from sdk.explain.run import Accuracy
from sdk.tools.progress import Progress

if TYPE_CHECKING:
    from sdk.data.scoring.by_task import Metric
    from sdk.graph.dataset import Dataset


def final_check(
    models: tuple[bytes, bytes],
    images: tuple[Dataset | None, Dataset | None],
    metric: Metric | None,
    made: targets.TargetResult,
    request: Compress,
    progress: Progress,
    *,
    simulated: bool,
) -> tuple[Accuracy | None, targets.TargetResult]:
    """Right answers where classes are counted and nothing told them before; the result, with what was lost.

    ``models``: the original .tflite, and the package. ``images``: to learn from, and to check on, where there are some;
    ``metric``: of the model on these. ``simulated``: attempts were checked by a float form of the packed model, so the
    packed one is checked once more. Raises DataError where a loss is limited and no images are left to check it on.
    """
    original, package = models
    learn, check = images
    on = check
    if check is None:
        on = _unseen(learn, made.recipe) if simulated else learn
    if on is None and learn is not None:
        made = _without_a_check(made, len(learn), request)
    checked = not simulated and (made.recipe.effort != "none" or made.lost is not None)
    if on is None or checked:
        return None, made
    assert metric is not None  # there are images
    accuracy, made = _checked(original, package_format.unpack(package).tflite, on, metric, made, progress)
    if simulated and request.max_loss is not None and made.lost is not None:
        made = replace(made, target_met=made.target_met and made.lost.high <= request.max_loss)
    return accuracy, made


def _unseen(learn: Dataset | None, recipe: Recipe) -> Dataset | None:
    """Of the images to learn from, all that the recipe did not use, to check on.

    None where it used all: images that were learned from cannot test it.
    """
    if learn is None or not (recipe.int8 or recipe.effort != "none"):
        return learn
    return unseen(learn, learned_from(learn, recipe))


def _without_a_check(made: targets.TargetResult, images: int, request: Compress) -> targets.TargetResult:
    """The result, which says that nothing is left to check it on. DataError where a loss is limited."""
    if request.max_loss is not None:
        raise DataError(
            "too few images to measure a loss on",
            expected=f"at least {targets.HOLD_OUT * targets.SMALLEST_CHECK}, or others with --check",
            found=f"{images}, all of them used for learning",
        )
    return replace(
        made,
        statement=f"accuracy was not checked: all {images} images are used for learning; name others with --check",
    )


def _checked(
    original: bytes,
    compressed: bytes,
    dataset: Dataset,
    metric: Metric,
    made: targets.TargetResult,
    progress: Progress,
) -> tuple[Accuracy | None, targets.TargetResult]:
    """Right answers of both where classes are counted, and the result with the points lost, and how that was found."""
    held = HeldAgainst(original, dataset, metric, progress)
    found = held.change(compressed, progress, "check the compressed")
    lost = Interval(found.points_lost, *found.points_interval)
    made = replace(made, lost=lost, images=found.samples)
    if found.name != "top-1":
        return None, replace(made, statement=held.told(found))
    agreement = "" if metric.by_truth else ", agreement with the original"
    right = (round(found.before * found.samples), round(found.after * found.samples))
    return Accuracy(f"{dataset.name}{agreement}", found.samples, *right), made
