"""Finds the recipe for a target size or an allowed loss, with everything that was tried.

Composes like :mod:`sdk.compress.recipes.recipe`.  Every effort has one knob that trades size for accuracy: how
hard weights are pruned and shared without data, the price of a bit for calibration, the share of weights that
stays for training.  So a target is met by a handful of attempts; with a study (:mod:`sdk.compress.recipes.search`)
they are where its search starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device_agent.record.intervals import Interval
from sdk.compress.recipes.attempts import Attempts, Point, Settings, narrowed
from sdk.compress.recipes.budget import shares, spent, stages
from sdk.compress.recipes.confirm import decided
from sdk.compress.recipes.harmless import fit_size, keep_outputs, settle_unsolved
from sdk.compress.recipes.overall_progress import Journey
from sdk.compress.recipes.parts import HOLD_OUT, SMALLEST_CHECK, held_out, to_learn_from, unseen
from sdk.compress.recipes.recipe import (
    EFFORTS,
    INT8_SAMPLES,
    Recipe,
    apply,
    channels_that_fit,
    learned_from,
    split,
)
from sdk.compress.recipes.search import search
from sdk.compress.recipes.task_check import checker_of
from sdk.compress.recipes.trained import TRAINED_SPARSITY, keep_less
from sdk.compress.recipes.walks import price_bits, price_of, prune_more
from sdk.compress.solve.whole_channels.choice import macs_of
from sdk.compress.solve.whole_channels.narrowing import SHARE_STEPS
from sdk.compress.train.student import Course
from sdk.compress.weights.blocks import check_block
from sdk.errors import DataError, ModelError
from sdk.graph.own_task import outputs_of
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.data.scoring.by_task import Metric
    from sdk.graph.dataset import Dataset

SAMPLES = 1000  # for calibration; more change little
SEARCHED_LOSS = 1.0  # points, of a study where nothing else is asked


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
        _refuse_for_int8(dataset, wanted)
        if not _solves_int8(wanted):
            return _for_int8(graph, dataset, check, _with_channels(graph, wanted), report)
        effort = "calibrate"
    if effort == "auto":
        effort = "none" if dataset is None else "calibrate"
    if effort not in EFFORTS:
        raise ModelError("unknown effort", expected=f"auto, {', '.join(EFFORTS)}", found=repr(effort))
    if effort != "none" and dataset is None:
        raise DataError("calibration and training need images", expected="a data set", found="none")
    if effort == "train":
        refuse_untaught(graph)
    wanted = _with_channels(graph, wanted)
    _refuse_channels_without_images(wanted, effort, dataset)
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
    durations = shares(effort, wanted.epochs * samples, to_check, wanted.distill_epochs)
    journey = Journey(report, stages(effort, wanted), spent(wanted), durations)
    attempts = Attempts(graph, dataset, check, effort, wanted, samples, journey)
    if wanted.fits is not None and attempts.dataset is not None:
        attempts.base = channels_that_fit(graph, attempts.base, attempts.dataset, wanted.fits, journey)
    attempts.take_channels_out()
    if effort == "calibrate":
        settle_unsolved(attempts)
    walk = _walk(effort, wanted)
    if wanted.study is None or attempts.only_one:
        walk(attempts)
    else:
        search(attempts, walk)
    found = decided(attempts)
    recipe, curve = found.point.recipe, tuple(attempts.curve)
    return TargetResult(found.graph, recipe, curve, found.statement, found.met, found.lost, found.images)


def is_taught(graph: Graph) -> bool:
    """Whether a training can learn the model's answers: one row of scores."""
    return len(graph.outputs) == 1 and outputs_of(graph)[0].row > 1


def refuse_untaught(graph: Graph) -> None:
    """Raises :class:`ModelError` for a model whose answers a training cannot learn."""
    if not is_taught(graph):
        raise ModelError(
            "this model cannot be trained",
            expected="one output, a row of scores of classes",
            found=", ".join(f"{graph.tensors[n].name} {graph.tensors[n].shape}" for n in graph.outputs),
            hint="--effort calibrate solves the weights for outputs of any kind.",
        )


def _walk(effort: str, wanted: Settings) -> Callable[[Attempts], None]:
    """What makes the attempts of an effort."""
    if effort == "none" and wanted.harmless:
        return keep_outputs if wanted.target_bytes is None else fit_size
    return {"none": prune_more, "calibrate": price_bits, "train": keep_less}[effort]


def _solves_int8(wanted: Settings) -> bool:
    """Whether the weights of an int8 model are solved to be small, and not only rounded."""
    aims = wanted.target_bytes is not None or (wanted.effort == "auto" and wanted.max_loss is not None)
    return aims or wanted.effort == "calibrate"


def _with_channels(graph: Graph, wanted: Settings) -> Settings:
    """The settings, with the share of channels that a target of multiply-accumulates asks for."""
    if wanted.target_macs is None:
        return wanted
    macs = macs_of(graph)
    share = math.ceil(SHARE_STEPS * max(1 - wanted.target_macs / max(macs, 1), 0.0)) / SHARE_STEPS
    return replace(wanted, channels=min(max(share, wanted.channels), 1 - 1 / SHARE_STEPS))


def _refuse_channels_without_images(wanted: Settings, effort: str, dataset: Dataset | None) -> None:
    """Raises DataError where whole channels are to go and nothing tells what they do."""
    if effort == "none" and (wanted.channels or wanted.fits):
        raise DataError(
            "whole channels are chosen by what they do on images",
            expected="images, and calibration or training",
            found="no data" if dataset is None else "effort none",
            hint="Name some: --data FOLDER." if dataset is None else "Leave --effort out.",
        )


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
    courses: Callable[[str], Course] | None = None,
) -> TargetResult:
    """The graph after the recipe, and how accuracy was checked: on ``check``, or on the images that it kept back.

    ``courses``: see :func:`~sdk.compress.recipes.recipe.apply`.
    """
    report = progress or silent
    made = apply(graph, recipe, report, dataset, courses=courses)
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


# --------------------------------------------------------------------------------------------------- and for int8


def _refuse_for_int8(dataset: Dataset | None, wanted: Settings) -> None:
    """Raises DataError without images; ModelError for what an int8 model is not made by."""
    if dataset is None:
        raise DataError(
            "an int8 model needs images to find its ranges with",
            expected="some hundred images",
            found="no data",
            hint="Name some: --data FOLDER.",
        )
    if wanted.fits is not None:
        raise ModelError(
            "the instructions of an int8 model are not known before it is one",
            expected="--target-macs with --int8",
            found="--target-instructions",
        )
    sized = wanted.target_bytes is not None
    if wanted.effort == "train" or (wanted.effort == "none" and sized):
        raise ModelError(
            "int8 weights are solved, not trained" if wanted.effort == "train" else "nothing leads to a size",
            expected="--effort calibrate",
            found=f"--effort {wanted.effort}",
            hint="Train first with --save-tflite, then make that file int8: what lies on a grid stays on it.",
        )


def _for_int8(
    graph: Graph, dataset: Dataset | None, check: Dataset | None, wanted: Settings, report: Progress
) -> TargetResult:
    """The float graph that becomes int8, and the recipe that names the images to do it with."""
    assert dataset is not None
    most = len(dataset)
    if wanted.max_loss is not None and check is None:
        most = to_learn_from(dataset, most)
    samples = min(wanted.samples or INT8_SAMPLES, most)
    hold_out = held_out(samples, check)
    learn = split(dataset, samples, hold_out)[0]
    recipe = Recipe(
        sparsity=wanted.sparsity or 0.0,
        scope=wanted.scope,
        clusters=wanted.clusters or 0,
        samples=samples,
        hold_out=hold_out,
        data_sha256=learn.digest(),
        block=wanted.block,
        channels=wanted.channels,
        distill_epochs=wanted.distill_epochs,
        fitted=True,
        int8=True,
    )
    narrow, recipe = narrowed(graph, recipe, learn, wanted, report)
    made = apply(narrow, replace(recipe, channels=0.0), report, dataset)
    return TargetResult(made, recipe, (), "accuracy was not checked")


def calibration_recipe(graph: Graph, kept: Dataset, samples: int, hold_out: int) -> Recipe:
    """Calibration on ``kept``, ``samples`` without those held out, at the price that should cost about a point."""
    return Recipe(
        sparsity=0.0,
        clusters=0,
        effort="calibrate",
        price=float(f"{price_of(graph, 1.0):.4g}"),
        samples=samples,
        hold_out=hold_out,
        data_sha256=kept.digest(),
    )


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
