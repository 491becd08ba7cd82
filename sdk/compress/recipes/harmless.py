"""How hard each layer may be pruned and shared without data so that the outputs stay what they are.

Composes like :mod:`sdk.compress.recipes.recipe`. Noise in the weights of different layers adds up in the outputs, so
each layer is tried alone once, which shows how much of its noise arrives. Then all get the steps of their ladders at
which a bit costs the same everywhere, and their joint effect is measured and corrected a few times.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdk.compress.recipes.attempts import Attempts
from sdk.compress.recipes.check import Judge
from sdk.compress.recipes.recipe import LayerRecipe, Recipe, apply
from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.weights.cluster import check_clusters
from sdk.compress.weights.ladder import Rung, ladder, stored_ladder
from sdk.compress.weights.selection import (
    float_weights,
    is_stored,
    layer_names,
    pruned_weights,
    stored_weights,
)
from sdk.graph.records import Graph
from sdk.tools.progress import Progress

MOST_NOISE = 0.01  # of the outputs' energy: 20 dB
#: Of the answers of a classifier: twenty decibels may hide that two classes which are close change places.
MOST_OTHER_ANSWERS = 1 / 32
UNSOLVED_NOISE = 0.1  # of that, for weights that are not solved while others are
LEAST_UNSOLVED = 256  # elements of a layer
AIM = (
    0.8  # of the noise that is allowed, because other inputs are not quite like those that it was measured on
)
NEAR = 0.5  # of it: no nearer is tried for
TRIES = 10  # of all layers together
#: A package that is not at least this share smaller than an exact one is not worth a change of the answers.
LEAST_SAVING = 0.1
SIZE_TRIES = 8  # packages toward a size
PROBE_NOISE = 0.0005  # in the weights of the one layer that is tried
#: Of the median layer's: no layer counts as less, because made-up inputs may not reach it.
LEAST_SENSITIVITY = 0.1


@dataclass(frozen=True)
class _Layer:
    """A layer that moves: its name in a recipe, tensor number, elements, and the steps that it may take."""

    name: str
    tensor: int
    elements: int
    rungs: tuple[Rung, ...]


@dataclass(frozen=True)
class _Allowed:
    """What may become of the outputs: their noise, and the share of other answers; who tells it."""

    judge: Judge | None
    noise: float
    others: float

    def reached(self, made: Graph) -> float:
        """The noise of a graph, on the inputs that it is chosen on and on others.

        Other answers count as noise: their share grows with its root.
        """
        assert self.judge is not None
        noise = self.judge.noise(made)
        if noise > AIM * self.noise:
            return noise
        noise = max(noise, AIM * self.judge.unseen(made))
        return max(noise, AIM * self.noise * (self.judge.other_answers(made) / self.others) ** 2)


def keep_outputs(attempts: Attempts) -> None:
    """The one attempt that prunes and shares each layer as far as the outputs allow."""
    wanted = attempts.wanted
    plain = replace(attempts.base, made_up="")
    asked = wanted.sparsity, wanted.clusters
    found = harmless(attempts.graph, plain, asked, wanted.judge, attempts.journey)
    if asked == (None, None) and found.layers:
        found = _worth_it(attempts, plain, found)
    attempts.run(replace(found, made_up=attempts.base.made_up))


def _worth_it(attempts: Attempts, plain: Recipe, found: Recipe) -> Recipe:
    """The recipe, or the one that leaves weights exact where that takes hardly more bytes."""
    nothing = replace(plain, sparsity=0.0, clusters=0)
    exact, small = (
        attempts.size_of(apply(attempts.graph, one, attempts.journey), one) for one in (nothing, found)
    )
    if small <= (1 - LEAST_SAVING) * exact:
        return found
    attempts.notes.append(
        f"the weights stay exact: coarser ones would change the answers to save {exact - small:,} of {exact:,} bytes"
        if small < exact
        else "the weights stay exact: coarser ones would save nothing"
    )
    return nothing


def unsolved(graph: Graph) -> frozenset[int]:
    """The tensor numbers of float weights that no calibration solves, but for very small ones."""
    solved = {layer.weight.tensor_index for layer in solved_layers(with_biases(graph))}
    return frozenset(
        weight.tensor_index
        for weight in float_weights(graph)
        if weight.tensor_index not in solved and weight.tensor.elements >= LEAST_UNSOLVED
    )


def settle_unsolved(attempts: Attempts) -> None:
    """Puts the weights that no calibration solves (tables of embeddings, recurrent layers) on grids, in all recipes.

    They get the coarsest that keep the outputs ten times as well as without data: the others are solved after them.
    """
    graph, judge = attempts.graph, attempts.wanted.judge
    if judge is None or attempts.wanted.stored:
        return
    plain = Recipe(sparsity=0.0, clusters=0)
    layers = _layers(graph, plain, None, None, attempts.journey, only=unsolved(graph))
    if not layers:
        return
    sensitivities = _sensitivities(graph, plain, layers, judge, attempts.journey)
    allowed = _Allowed(judge, UNSOLVED_NOISE * MOST_NOISE, MOST_OTHER_ANSWERS)
    found = _together(graph, plain, layers, sensitivities, allowed, attempts.journey)
    attempts.base = replace(attempts.base, layers=found.layers)


def fit_size(attempts: Attempts) -> None:
    """Attempts toward the target size that cost the outputs as little as may be."""
    wanted, base, most = attempts.wanted, attempts.base, attempts.wanted.most_bytes
    assert most is not None
    base = replace(base, sparsity=0.0, clusters=0)
    layers = _layers(attempts.graph, base, None, None, attempts.journey)
    plain = replace(base, made_up="")
    sensitivities = _sensitivities(attempts.graph, plain, layers, wanted.judge, attempts.journey)
    aim = (wanted.least_bytes + most) / 2
    beside: float = 0.0  # bytes of the package beyond what the ladders promise
    tried: set[Recipe] = set()
    for _ in range(SIZE_TRIES):
        steps = _steps_of_size(layers, sensitivities, 8 * (aim - beside))
        recipe = _recipe(base, layers, steps)
        if recipe in tried:
            break
        tried.add(recipe)
        size = attempts.run(recipe).package_bytes
        if wanted.least_bytes <= size <= most or not attempts.time_for_another():
            break
        beside = size - _bits(layers, steps) / 8


def harmless(
    graph: Graph,
    base: Recipe,
    wanted: tuple[float | None, int | None],
    judge: Judge | None,
    report: Progress,
) -> Recipe:
    """``base`` with a sparsity and a number of centroids for each layer, so that the outputs keep 20 dB.

    They keep it on the inputs that they were chosen on and on others, to which a classifier gives the same answers but
    for three of a hundred. ``wanted``: sparsity and centroids that were asked for, which all layers meant for it get;
    what they do to the outputs is then allowed as well. ``judge``: None where the host cannot run the model; then all
    layers count alike.
    """
    sparsity, clusters = wanted
    if clusters is not None:
        check_clusters(clusters, "none")
    base = replace(base, sparsity=sparsity or 0.0, clusters=clusters or 0)
    layers = _layers(graph, base, sparsity, clusters, report)
    if not layers:
        return base
    allowed, others = MOST_NOISE, MOST_OTHER_ANSWERS
    fixed = sparsity is not None or clusters is not None
    if fixed and judge is not None:
        asked_for = apply(graph, base, keep_halves=True)
        allowed += min(max(judge.noise(asked_for), judge.unseen(asked_for)), 1.0)
        others += judge.other_answers(asked_for)
    plain = replace(base, sparsity=0.0, clusters=0)
    sensitivities = _sensitivities(graph, plain, layers, judge, report)
    return _together(graph, base, layers, sensitivities, _Allowed(judge, allowed, others), report)


def _layers(
    graph: Graph,
    base: Recipe,
    sparsity: float | None,
    clusters: int | None,
    report: Progress,
    *,
    only: Collection[int] | None = None,
) -> list[_Layer]:
    """The layers that move, ``only`` those of these tensor numbers: a ladder takes long for a large layer."""
    names = {weight.tensor_index: name for name, weight in layer_names(graph).items()}
    fixed = sparsity is not None or clusters is not None
    weights = pruned_weights(graph) if fixed else [*float_weights(graph), *stored_weights(graph)]
    if only is not None:
        weights = [weight for weight in weights if weight.tensor_index in only]
    layers = []
    for number, weight in enumerate(weights):
        report("steps of the layers", number, len(weights))
        if is_stored(weight.tensor):
            rungs = stored_ladder(weight.tensor, weight.channel_axis)
        else:
            rungs = ladder(weight.array, weight.channel_axis, sparsity=sparsity, clusters=clusters)
        if len(rungs) > 1:
            layers.append(
                _Layer(names[weight.tensor_index], weight.tensor_index, weight.tensor.elements, rungs)
            )
    return layers


def _probe(layer: _Layer, noise: float) -> Rung:
    """The step that a layer is tried with: of about this noise."""
    return min(layer.rungs[1:], key=lambda rung: abs(np.log(max(rung.noise, 1e-12) / noise)))


def _sensitivities(
    graph: Graph,
    base: Recipe,
    layers: Sequence[_Layer],
    judge: Judge | None,
    report: Progress,
) -> np.ndarray:
    """Noise in the outputs per noise in the weights of each layer, (layers,) float64; inf where it ruins them."""
    if judge is None:
        return np.ones(len(layers))
    order = sorted(range(len(layers)), key=lambda number: -layers[number].elements)
    # The largest are tried alone, as many as there is time for, the others together.
    alone = len(layers) if len(layers) <= judge.probes else max(judge.probes - 1, 1)
    found, done = np.zeros(len(layers)), 0
    while done < len(order):
        report("try each layer", done, len(order))
        group = order[done : done + 1] if done < alone and not judge.late else order[done:]
        done += len(group)
        steps = {number: _probe(layers[number], PROBE_NOISE / len(group)) for number in group}
        noise = judge.quick(apply(graph, _recipe(base, layers, steps), keep_halves=True))
        found[group] = noise / sum(step.noise for step in steps.values())
    sound = found[np.isfinite(found)]
    least = LEAST_SENSITIVITY * float(np.median(sound)) if sound.size else 1.0
    return np.maximum(found, max(least, 1e-9))


def _recipe(base: Recipe, layers: Sequence[_Layer], steps: Mapping[int, Rung]) -> Recipe:
    """The recipe in which layers take these steps, by their number."""
    own = []
    for number, rung in sorted(steps.items()):
        layer = LayerRecipe(
            sparsity=None if rung.sparsity == base.sparsity else rung.sparsity,
            clusters=None if rung.clusters == base.clusters else rung.clusters,
            step=rung.step if rung.step and not rung.by_channel else None,
            channel_step=rung.step if rung.by_channel else None,
            places=rung.places or None,
            multiple=rung.multiple if rung.multiple > 1 else None,
        )
        if layer != LayerRecipe():
            own.append((layers[number].name, layer))
    return replace(base, layers=tuple(own))


def _together(
    graph: Graph,
    base: Recipe,
    layers: Sequence[_Layer],
    sensitivities: np.ndarray,
    limits: _Allowed,
    report: Progress,
) -> Recipe:
    """The smallest of a few recipes for all layers that keep the outputs."""
    judge, allowed = limits.judge, limits.noise
    budget = AIM * allowed
    if judge is None:
        return _recipe(base, layers, _steps(layers, sensitivities, budget))
    best: Recipe | None = None
    reached: dict[Recipe, float] = {}
    low, high = 0.0, np.inf  # budgets that are kept, and that are not
    for number in range(2 * TRIES):
        report("all layers", number, TRIES)
        recipe = _recipe(base, layers, _steps(layers, sensitivities, budget))
        if best is not None and (number >= TRIES or judge.late or recipe in reached):
            break
        if recipe not in reached:
            reached[recipe] = limits.reached(apply(graph, recipe, keep_halves=True))
        noise = reached[recipe]
        if noise <= AIM * allowed:
            low, best = budget, recipe
            if noise >= NEAR * allowed:
                break
        else:
            high = budget
        moved = budget * float(np.clip(np.sqrt(AIM * NEAR) * allowed / max(noise, 1e-9), 1 / 30, 8))
        if low < moved < high:
            budget = moved
        else:
            budget = float(np.sqrt(low * high)) if low else high / 4
    report("all layers", TRIES, TRIES)
    return best if best is not None else base


def _steps(layers: Sequence[_Layer], sensitivities: np.ndarray, budget: float) -> dict[int, Rung]:
    """For each layer the step at which a bit costs the same noise everywhere, all of it within the budget."""
    low, high = -40.0, 40.0  # logarithm of the bits that a unit of noise must save
    for _ in range(60):
        middle = (low + high) / 2
        noise = sum(
            sensitivity * rung.noise
            for sensitivity, rung in zip(sensitivities, _at(layers, sensitivities, middle), strict=True)
            if rung.noise
        )
        low, high = (middle, high) if noise > budget else (low, middle)
    return dict(enumerate(_at(layers, sensitivities, high)))


def _steps_of_size(layers: Sequence[_Layer], sensitivities: np.ndarray, bits: float) -> dict[int, Rung]:
    """The steps that cost the outputs least among those that take no more bits; the coarsest where none do."""
    low, high = -60.0, 12.0  # logarithm of the budget
    for _ in range(40):
        middle = (low + high) / 2
        steps = _steps(layers, sensitivities, float(np.exp(middle)))
        low, high = (low, middle) if _bits(layers, steps) <= bits else (middle, high)
    return _steps(layers, sensitivities, float(np.exp(high)))


def _bits(layers: Sequence[_Layer], steps: Mapping[int, Rung]) -> float:
    """What the layers take, by their ladders."""
    return sum(layers[number].elements * rung.bits for number, rung in steps.items())


def _at(layers: Sequence[_Layer], sensitivities: np.ndarray, price: float) -> list[Rung]:
    """Each layer's step where a unit of the outputs' noise counts as ``exp(price)`` bits."""
    chosen = []
    for layer, sensitivity in zip(layers, sensitivities, strict=True):
        if not np.isfinite(sensitivity):
            chosen.append(layer.rungs[0])
            continue
        dear = np.exp(price) * sensitivity
        chosen.append(min(layer.rungs, key=lambda rung: layer.elements * rung.bits + dear * rung.noise))
    return chosen
