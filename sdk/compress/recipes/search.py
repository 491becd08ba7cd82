"""A search over recipes with sparsities and bits for every layer, on an Optuna study.

Composes like :mod:`sdk.compress.recipes.recipe`. The study is the caller's, so that this module opens no storage: in
memory, or in a database that several machines work on. All of them need the same model, images and options: the study's
first user writes them down, and the others are compared with that.

A trial moves layers against each other: one keeps more weights, more centroids or has cheaper bits, others fewer, and
one number moves all. The search starts from the recipe that the effort's one knob finds, which treats all layers alike,
and tries its neighbourhood. A trial ends early as soon as it is known to be too large, or when its answers are clearly
worse than the best trial's were on the same images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdk.compress.recipes.attempts import Attempts, Point, Watch
from sdk.compress.recipes.recipe import LayerRecipe, Recipe
from sdk.compress.weights.cluster import MAX_CENTROIDS
from sdk.compress.weights.selection import layer_names, select_weights
from sdk.errors import DataError
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

TRIALS = 30  # where neither a number nor a time is given
SPAN = 2.0  # a layer's kept weights, or the price of its bits, are this many times as much, or this many times less
BITS = 1.0  # a layer's centroids have this many bits more or less
ALL_SPAN = 1.25  # the same for all layers together
WORSE = 1.5  # times the best trial's divergence on the same images: nothing comes of it
WATCHED_EPOCHS = 0.5  # of a training; before that half of the weights are still to go
CHECK_STEP = 10_000  # steps of the study from here on are batches of a check, below it epochs


class Hopeless(Exception):
    """Ends a hopeless trial."""


def search(attempts: Attempts, walk: Callable[[Attempts], None]) -> None:
    """Runs trials until their number or the time is used up; the best recipe of the study ends as ``attempts.best``.

    ``walk`` finds the recipe to start from, where the study has none yet.
    """
    import optuna

    study = attempts.wanted.study
    _hold(study, attempts)
    text = study.user_attrs.get("start")
    if text is None:
        walk(attempts)
        assert attempts.best is not None
        made, start = attempts.best
        text = start.recipe.to_toml()
        kept = _kept(made)
        space = Space.around(attempts.low, start.recipe, kept)
        study.add_trial(
            optuna.create_trial(
                params=space.middle(),
                distributions=space.distributions(),
                value=attempts.score(start),
                user_attrs=_attributes(start),
            )
        )
        study.set_user_attr("kept", kept)
        study.set_user_attr("start", text)
    begun = Recipe.from_toml(text)
    attempts.base = replace(attempts.base, ranks=begun.ranks)
    space = Space.around(attempts.low, begun, study.user_attrs["kept"])
    trials = attempts.wanted.trials
    if trials is None and attempts.wanted.seconds_left is None:
        trials = TRIALS
    done = 0
    while (trials is None or done < trials) and attempts.time_for_another():
        trial = study.ask()
        recipe = space.recipe(trial)
        try:
            point = attempts.run(recipe, Race(attempts, study, trial))
        except Hopeless:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        else:
            for name, value in _attributes(point).items():
                trial.set_user_attr(name, value)
            study.tell(trial, attempts.score(point))
        done += 1
    _take_the_best(attempts, study)


def _take_the_best(attempts: Attempts, study: Any) -> None:
    """What other machines found better is made here, too."""
    best = study.best_trial
    if attempts.best is not None and attempts.score(attempts.best[1]) <= best.value:
        return
    if best.user_attrs["recipe"] in [point.recipe.to_toml() for point in attempts.curve]:
        return  # it was made here, and another one was better
    attempts.run(Recipe.from_toml(best.user_attrs["recipe"]))


def _kept(graph: Graph) -> dict[str, float]:
    """The share of each layer's weights that is not zero."""
    return {name: float(np.mean(w.array != 0)) for name, w in layer_names(graph).items()}


def _attributes(point: Point) -> dict[str, Any]:
    figures = {
        "package_bytes": point.package_bytes,
        "accuracy_percent": point.accuracy_percent,
        "agreement_percent": point.agreement_percent,
        "divergence_nats": point.divergence_nats,
    }
    return {"recipe": point.recipe.to_toml(), **figures}


def _hold(study: Any, attempts: Attempts) -> None:
    """The first user of a study writes down what it is about; :class:`DataError` where this is about something else."""
    wanted, checker = attempts.wanted, attempts.checker
    assert checker is not None
    about = {
        "model": hashlib.sha256(write_graph(attempts.graph)).hexdigest()[:16],
        "images": attempts.base.data_sha256[:16],
        "checked on": checker.dataset.digest()[:16],
        "effort": attempts.effort,
        "target_bytes": wanted.target_bytes,
        "max_loss": wanted.max_loss,
        "sparsity": wanted.sparsity,
        "clusters": wanted.clusters,
        "seed": wanted.seed,
    }
    found = study.user_attrs.get("about")
    if found is None:
        study.set_user_attr("about", about)
        return
    if differing := [name for name, value in about.items() if found.get(name) != value]:
        raise DataError(
            "the study is one of another search",
            expected=json.dumps({name: found.get(name) for name in differing}),
            found=json.dumps({name: about[name] for name in differing}),
            hint="Give the same model, images and targets on every machine, or another --study NAME.",
        )


def _priced(recipe: Recipe) -> bool:
    """Whether layers have prices of bits: of a calibration, or of the one that a training begins with."""
    return recipe.effort == "calibrate" or recipe.begin > 0


@dataclass(frozen=True)
class Space:
    """The neighbourhood of a recipe: the settings of each layer, and the factors between which they may move.

    A parameter is the logarithm (base 2) of a factor, so that the start is zero everywhere.
    """

    start: Recipe
    weights: Mapping[str, int]  # elements of each layer that moves
    kept: Mapping[str, float]  # share of each layer's weights that the start leaves

    @classmethod
    def around(cls, graph: Graph, start: Recipe, kept: Mapping[str, float]) -> Space:
        """The space of a recipe's effort; ``kept`` says what share of each layer's weights the start leaves."""
        pruned = {w.tensor_index for w in select_weights(graph)}
        chosen = {
            name: weight.tensor.elements
            for name, weight in layer_names(graph).items()
            if weight.tensor_index in pruned or _priced(start)
        }
        return cls(start, chosen, kept)

    @property
    def _spans(self) -> dict[str, float]:
        spans = {"all": float(np.log2(ALL_SPAN))}
        for name in self.weights:
            if _priced(self.start):
                spans[f"price of {name}"] = float(np.log2(SPAN))
            else:
                spans[f"kept of {name}"] = float(np.log2(SPAN))
                spans[f"bits of {name}"] = BITS
        return spans

    def middle(self) -> dict[str, float]:
        """The parameters of the start."""
        return dict.fromkeys(self._spans, 0.0)

    def distributions(self) -> dict[str, Any]:
        """Optuna's distributions of all parameters."""
        import optuna

        return {n: optuna.distributions.FloatDistribution(-span, span) for n, span in self._spans.items()}

    def recipe(self, trial: Any) -> Recipe:
        """The recipe that a trial suggests."""
        moves = {name: trial.suggest_float(name, -span, span) for name, span in self._spans.items()}
        return self.at(moves)

    def at(self, moves: Mapping[str, float]) -> Recipe:
        """The recipe at these parameters. Layers move against each other: their mean, by weights, stays."""
        everything = 2.0 ** moves["all"]
        if _priced(self.start):
            levels = {name: moves[f"price of {name}"] for name in self.weights}
            mean = sum(levels[n] * size for n, size in self.weights.items()) / sum(self.weights.values())
            layers = tuple(
                (name, LayerRecipe(price=float(f"{2.0 ** (level - mean):.4g}")))
                for name, level in levels.items()
            )
            price, begin = (float(f"{one * everything:.4g}") for one in (self.start.price, self.start.begin))
            # Layers that are not solved keep their steps.
            layers = (*(one for one in self.start.layers if one[0] not in levels), *layers)
            return replace(self.start, layers=layers, price=price, begin=begin)
        moved = {n: 2.0 ** moves[f"kept of {n}"] * self.kept[n] for n in self.weights}
        before, after = (sum(k[n] * size for n, size in self.weights.items()) for k in (self.kept, moved))
        factor = everything * before / max(after, 1e-9)
        layers = tuple(
            (
                name,
                LayerRecipe(
                    sparsity=round(1 - min(factor * moved[name], 1.0), 4),
                    clusters=self._clusters(moves, name),
                ),
            )
            for name in self.weights
        )
        return replace(self.start, layers=layers)

    def _clusters(self, moves: Mapping[str, float], name: str) -> int:
        return int(np.clip(round(self.start.clusters * 2.0 ** moves[f"bits of {name}"]), 2, MAX_CENTROIDS))


class Race(Watch):
    """Ends a trial that is larger than allowed or than the best, or whose answers are worse than the best's were."""

    def __init__(self, attempts: Attempts, study: Any, trial: Any) -> None:
        self.attempts, self.study, self.trial = attempts, study, trial
        best = study.best_trial
        self.before: Mapping[int, float] = best.intermediate_values
        self.limit = float("inf")
        if attempts.wanted.most_bytes is not None:
            self.limit = attempts.wanted.most_bytes
        if attempts.wanted.max_loss is not None and best.value < 1000:
            self.limit = min(self.limit, best.user_attrs["package_bytes"])

    def bits(self, bits: float) -> None:
        """The entropy is less than the code will take."""
        if bits / 8 > self.limit:
            raise Hopeless

    def package(self, size: int) -> None:
        """A package too large needs no check."""
        if size > self.limit:
            raise Hopeless

    def check(self, batches: int, nats: float) -> None:
        """The same images in the same order as the best trial's."""
        self._report(CHECK_STEP + batches, nats)

    def epoch(self, epochs: int, nats: Callable[[], float]) -> None:
        """Checked from the middle of the training on."""
        if epochs >= WATCHED_EPOCHS * self.attempts.base.epochs:
            self._report(epochs, nats())

    def _report(self, step: int, nats: float) -> None:
        self.trial.report(nats, step)
        if step in self.before and nats > WORSE * self.before[step]:
            raise Hopeless
