"""Options of a compression that contradict each other or are out of range, refused before any work begins."""

from __future__ import annotations

from collections.abc import Iterator

from sdk.api.compress_request import Compress
from sdk.compress.defaults import EPOCHS
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.weights.cluster import check_clusters
from sdk.errors import ModelError

LEAST_EPOCHS = 3  # of a training: it learns, prunes and settles


def check_options(request: Compress) -> None:
    """Raises ModelError for the first thing that cannot be done as it is asked for."""
    effort = _effort_known_before(request)
    if request.recipe is not None:
        _refuse_beside_a_recipe(request)
    if request.clusters is not None:
        check_clusters(request.clusters, effort)
    for name, share in (("sparsity", request.sparsity), ("channels", request.channels)):
        if share is not None and not 0 <= share < 1:
            raise ModelError(f"--{name} leaves nothing", expected=f"0 <= {name} < 1", found=f"{share:g}")
    if effort == "train" and request.epochs < LEAST_EPOCHS:
        raise ModelError(
            "a training is too short", expected=f"at least {LEAST_EPOCHS} epochs", found=str(request.epochs)
        )
    for given, possible, flag, why in _conditions(request, effort):
        if given and not possible:
            raise ModelError(f"{flag} has no effect here", expected=why, found=_found(request, effort))
    if request.predict and (request.board is None or request.target_bytes is not None):
        raise ModelError(
            "--predict chooses the form for a board after everything else",
            expected="--predict with --for BOARD, and without --target-size, which counts the bytes of a form",
        )


def _effort_known_before(request: Compress) -> str:
    """The effort, or "auto" where images and time will decide between calibration and training."""
    if request.effort == "auto" and request.data is None:
        return "none"
    return request.effort


def _conditions(request: Compress, effort: str) -> Iterator[tuple[bool, bool, str, str]]:
    """(it was asked for, it can be had, the option, what it needs)."""
    trains = effort in ("train", "auto") and not request.int8
    taught = effort != "none" or request.int8
    by_magnitude = effort == "none" and not request.int8
    needs_data, by_data = "--data", request.data is not None
    narrowing = (
        (request.channels > 0, "--channels"),
        (request.target_macs is not None, "--target-macs"),
        (request.target_instructions is not None, "--target-instructions"),
    )
    for given, flag in narrowing:
        yield given, by_data, flag, needs_data
        yield given, taught, flag, "calibration or training: leave --effort none out"
    narrows = any(given for given, _ in narrowing)
    yield request.distill_epochs > 0, narrows, "--distill-epochs", "--channels or a target of work"
    yield request.samples is not None, by_data, "--samples", needs_data
    yield request.trials is not None, by_data or request.check is not None, "--trials", needs_data
    yield request.storage is not None, by_data or request.check is not None, "--storage", needs_data
    yield request.shift > 0, trains, "--shift", "--effort train"
    yield request.price > 0, trains, "--price", "--effort train"
    yield request.equalise, by_magnitude, "--equalise", "--effort none without --int8"
    yield request.correct_biases, by_magnitude, "--correct-biases", "--effort none without --int8"
    yield request.scope == "global", by_magnitude or effort == "auto", "--scope global", "--effort none"
    aims = request.target_bytes is not None or (effort == "auto" and request.max_loss is not None)
    solved = effort == "calibrate" or aims
    for given, flag in ((request.trials is not None, "--trials"), (request.storage is not None, "--storage")):
        yield (
            given and request.int8,
            solved,
            flag,
            "--effort calibrate, --target-size or --max-loss with --int8",
        )


def _found(request: Compress, effort: str) -> str:
    words = {"none": "effort none", "auto": "an effort that images and time decide"}
    told = words.get(effort, f"--effort {effort}")
    if request.data is None:
        told += ", no data"
    return told + (", --int8" if request.int8 else "")


def _refuse_beside_a_recipe(request: Compress) -> None:
    """Raises ModelError where something is asked for that the recipe says already."""
    says: tuple[str, ...] = (
        "sparsity",
        "clusters",
        "channels",
        "distill_epochs",
        "target_macs",
        "target_instructions",
        "target_bytes",
        "max_loss",
    )
    says += ("int8", "trials", "storage", "samples", "price", "shift", "equalise", "correct_biases", "block")
    usual = {
        "channels": 0.0,
        "distill_epochs": 0,
        "int8": False,
        "price": 0.0,
        "shift": 0,
        "equalise": False,
        "correct_biases": False,
    }
    given = [name for name in says if getattr(request, name) != usual.get(name)]
    given += [
        name
        for name, value in (("effort", "auto"), ("epochs", EPOCHS), ("scope", Recipe.scope))
        if getattr(request, name) != value
    ]
    if given:
        flags = {"target_bytes": "target-size"}
        raise ModelError(
            "a recipe says all that is done to the weights",
            expected="--recipe without other settings",
            found=", ".join(f"--{flags.get(name, name.replace('_', '-'))}" for name in given),
        )
