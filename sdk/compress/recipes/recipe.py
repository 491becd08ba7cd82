"""A recipe names what is done to a graph; the same recipe, graph and data give the same weights.

This module composes the passes, which do not know each other; :mod:`sdk.compress.recipes.targets` searches for a recipe
that meets a size or a loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.record.kinds import Number, TableKind, Text, shown
from device_agent.record.named_kinds import Count, Share, Size, TensorName
from device_agent.record.schema import Held, limits, record, write
from sdk.compress.defaults import CLUSTERS, SPARSITY
from sdk.compress.recipes.distilled import distilled, narrowed_before
from sdk.compress.rewrite.dead_channels import drop_dead_channels
from sdk.compress.rewrite.equalise import equalise
from sdk.compress.rewrite.halves import as_floats
from sdk.compress.rewrite.short_names import shorten_names
from sdk.compress.solve.calibrate import (
    Calibrated,
    Wish,
    calibrate,
    output_sensitivities,
    round_to_grids,
    solved_layers,
    with_biases,
)
from sdk.compress.solve.even_values import evened, ranges
from sdk.compress.solve.layer import LEVELS
from sdk.compress.solve.quantize import (
    quantize,
    weight_grids,
    with_float_answers,
    with_own_grids,
    with_ranges,
    with_rounded,
)
from sdk.compress.solve.ranks import Ranks, factorised
from sdk.compress.solve.statistics import Taught
from sdk.compress.solve.synthetic_images import correct_biases
from sdk.compress.solve.whole_channels.narrowing import narrow, share_that_fits
from sdk.compress.train.fine_tuning import refine, tune
from sdk.compress.train.refining import MOST, USUAL_HOLD, Begun, RefinedStudent
from sdk.compress.train.schedule import Tuning
from sdk.compress.train.student import FROM_THE_BEGINNING, Course
from sdk.compress.weights.cluster import cluster
from sdk.compress.weights.eight_bits import on_multiples, on_own_grid
from sdk.compress.weights.grid import put_on_grids
from sdk.compress.weights.prune import prune
from sdk.compress.weights.selection import layer_names
from sdk.errors import DataError, ModelError, UnsupportedOperator
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent
from sdk.tools.toml_table import parse_toml, read_table

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset


EFFORTS = ("none", "calibrate", "train")
SCOPES = ("layer", "global")
LESSONS = ("channels", "training")  # of a recipe: what learns for long, and keeps its state
_LEFT_OUT = (
    "channels",
    "distill_epochs",
    "one_scale",
    "dynamic",
    "float16",
    "fitted",
    "int8",
    "flip",
    "few",
    "layers",
    "ranks",
    "equalise",
    "made_up",
)
ONE_SCALE = ("", "fully connected", "all")
SENSITIVITY_SAMPLES = 512
INT8_SAMPLES = 250  # to find ranges with; four fifths of them where the rest is checked on
SCORED_AT_ONCE = 16  # images
ROUNDING_SAMPLES = 128  # that int8 weights are rounded on
NARROWING_SAMPLES = 1000  # that what is left of a layer is solved on, where channels are taken out


if TYPE_CHECKING:
    Price = float
    Hold = float
    Digest = str
else:
    Hold = Number(0.5, 2.0 * MOST)
    Price = Number(0.0, 1.0, high_excluded=True, words="0 <= price < 1")
    Digest = Text(64, pattern="([0-9a-f]{64})?", words="64 lower-case hexadecimal digits")


@record(
    what="the recipe of a layer",
    may_lack=True,
    left_out=("sparsity", "clusters", "price", "step", "channel_step", "places", "multiple"),
)
@dataclass(frozen=True)
class LayerRecipe:
    """The settings of one layer that replace the recipe's; None keeps the recipe's.

    ``price``, for "calibrate", is a multiple of the recipe's. ``step`` and ``channel_step``, for "none", put the
    weights on a grid after they were pruned: in root mean squares of the layer, or of each output channel; ``places``
    rounds them to this many binary places; ``multiple`` makes 8-bit numbers multiples of that many of their own steps.
    """

    sparsity: Share | None = None
    clusters: int | None = None
    price: float | None = field(default=None, metadata=limits(low=0.0))
    step: float | None = field(default=None, metadata=limits(low=0.0))
    channel_step: float | None = field(default=None, metadata=limits(low=0.0))
    places: int | None = field(default=None, metadata=limits(low=1, high=23))
    multiple: int | None = field(default=None, metadata=limits(low=2, high=127))


if TYPE_CHECKING:
    Layers = tuple[tuple[str, LayerRecipe], ...]
else:
    Layers = TableKind(TensorName, Held(LayerRecipe), as_pairs=True)


@record(what="a recipe", error=ModelError, may_lack=True)
@dataclass(frozen=True)
class Recipe:
    """The settings of a compression. ``sparsity`` 0 or ``clusters`` 0 leaves that pass out.

    With effort "none" weights are pruned by magnitude and shared by k-means, which needs no data but for ``int8``.
    With "calibrate" the layers are solved on ``samples`` images of a data set at ``price`` nats per bit; ``sparsity``
    is then the least share of zeros, and ``clusters`` the most centroids, of a layer. With "train" the network is
    trained for ``epochs`` on the samples, ``sparsity`` is that of all pruned layers together, and ``clusters`` counts
    centroids of a layer; where the training begins with a calibration, ``sparsity`` is each layer's least share.
    """

    sparsity: Share = SPARSITY  # share of the selected weights that becomes zero
    scope: str = field(default="layer", metadata=limits(choices=SCOPES))  # where magnitudes are compared
    clusters: int = CLUSTERS  # centroids per layer, zero included
    effort: str = field(default="none", metadata=limits(choices=EFFORTS))
    price: Price = 0.0  # nats per bit; for "train" 0 counts none
    samples: int = 0  # of the data set, taken evenly
    hold_out: int = 0  # every n-th of them is kept back to check on; 0 keeps none
    seed: int = 0
    data_sha256: Digest = ""  # digest of the images that were calibrated or trained on
    epochs: int = 0
    shift: int = 0  # pixels that images are moved by, at most, while training
    flip: bool = False  # half of the images are mirrored while training
    few: Count = 0  # a calibration takes at most this many of the images to learn from; 0: all
    begin: Price = (
        0.0  # the price of the calibration that a training begins with; 0: it begins with the original
    )
    hold: Hold = USUAL_HOLD  # such a training's numbers follow values that moved by more of a step
    block: Size = (
        1  # output channels of a 1x1 convolution that share their zeros: sdk.compress.weights.blocks
    )
    # Of the multiply-accumulates, which go with whole channels first: sdk.compress.solve.whole_channels.narrowing.
    channels: Share = 0.0
    distill_epochs: Count = (
        0  # what is left then learns from the original's layers: sdk.compress.train.distilling
    )
    ranks: Ranks = ()  # layers that become two of low rank first of all: sdk.compress.rewrite.low_rank
    # Without data: channels are made alike first, and biases corrected last on made-up images of this preprocessing.
    equalise: bool = False
    made_up: str = ""
    # Of 8-bit weights that are solved: the layers whose channels all have one scale.
    one_scale: str = field(default="", metadata=limits(choices=ONE_SCALE))
    dynamic: bool = False  # 8-bit weights under float values, last: sdk.compress.rewrite.dynamic_range
    float16: bool = False  # weights are kept as halves, last: sdk.compress.rewrite.halves
    fitted: bool = False  # int8: channels and ranges of values are fitted to 8 bits on images
    int8: bool = False  # quantised last, after everything that is done to a float graph: see ``to_int8``
    layers: Layers = ()  # by the names of ``layer_names``

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields, for the package's provenance."""
        used = write(self)
        learns: tuple[str, ...] = ("samples", "hold_out", "seed", "data_sha256")
        if self.channels or self.int8:
            learns = () if self.channels else ("seed",)
        unused = {
            "none": ("price", "epochs", "shift", *learns),
            "calibrate": ("epochs", "shift"),
            "train": ("scope",) if self.price else ("price", "scope"),
        }
        for name in unused[self.effort]:
            del used[name]
        if self.block == 1:  # as recipes were before there were blocks
            del used["block"]
        if not self.begin:
            del used["begin"], used["hold"]
        for name in _LEFT_OUT:
            if not used[name]:
                del used[name]
        return used

    def to_toml(self) -> str:
        """The recipe as a TOML file that ``from_toml`` reads back exactly."""
        used = self.to_json()
        layers, ranks = used.pop("layers", {}), used.pop("ranks", {})
        lines = ["# An Armlet recipe: sdk compress MODEL --recipe THIS_FILE", "[recipe]"]
        lines += [f"{name} = {_toml(value)}" for name, value in used.items()]
        if ranks:
            lines += ["", "[recipe.ranks]", *(f"{_toml(name)} = {rank}" for name, rank in ranks.items())]
        for layer, own in layers.items():
            lines += ["", f"[recipe.layers.{_toml(layer)}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in own.items()]
        return "\n".join([*lines, ""])

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Reads ``to_toml``'s text. Raises :class:`ModelError` for what is not a recipe."""
        table = parse_toml(text, "the recipe", ModelError).get("recipe")
        if not isinstance(table, dict):
            found = "no such table" if table is None else shown(table)
            raise ModelError("this is not a recipe", expected="TOML with a table [recipe]", found=found)
        return read_table(cls, table, "the recipe", ModelError)


def apply(
    graph: Graph,
    recipe: Recipe,
    progress: Progress | None = None,
    dataset: Dataset | None = None,
    *,
    courses: Callable[[str], Course] | None = None,
    keep_halves: bool = False,
) -> Graph:
    """Runs the passes that the recipe names, on the float graph: :func:`to_int8` comes after all of them.

    A recipe that calibrates or trains needs the data set that it was made with; :class:`DataError` where that is
    missing or another one. ``courses``: where what learns for long goes on and keeps its state, by one of
    :data:`LESSONS`: the distillation of what whole channels left, and the training.
    ``keep_halves``: float16 weights stay float16, for a trial: the graph then differs only in its weights.
    """
    report = progress or silent
    if recipe.effort != "none" or recipe.channels:
        if dataset is None:
            what = recipe.effort if recipe.effort != "none" else "take out whole channels"
            raise DataError(f"this recipe is to {what}", expected="images to do it with", found="no data")
        kept = learned_from(dataset, recipe)
        learn = split(dataset, recipe.samples, recipe.hold_out)[0]
        distillation, training = (
            Course(progress=report) if courses is None else courses(lesson) for lesson in LESSONS
        )
        narrow = without_channels(graph, recipe, learn, distillation)
        if recipe.effort == "calibrate":
            low = settled(factorised(narrow, recipe.ranks, kept, report), recipe)
            workshop = Workshop(low, kept, recipe.seed, report, fitted=recipe.int8 and recipe.fitted)
            return workshop.run(recipe)[0]
        if recipe.begin:
            workshop = Workshop(narrow, few_of(kept, recipe), recipe.seed, report)
            begun = workshop.begun(beginning(recipe))
            student = refined(narrow, kept, recipe, begun, teacher=graph, course=training)
            return student.held(recipe.hold)
        if recipe.effort == "train":
            return train(narrow, kept, recipe, teacher=graph, course=training)
        graph = narrow
    graph = factorised(graph, recipe.ranks, None, report)
    if recipe.equalise:
        graph = equalise(graph)
    original = graph
    own = _own(graph, recipe)
    report("prune", 0, 2)
    if recipe.sparsity or _set(own, "sparsity"):
        graph = prune(
            graph, recipe.sparsity, scope=recipe.scope, block=recipe.block, own=_set(own, "sparsity")
        )
    report("cluster", 1, 2)
    if recipe.clusters or _set(own, "clusters"):
        graph = cluster(graph, recipe.clusters, own=_set(own, "clusters"))
    graph, halves = put_on_grids(graph, _set(own, "step"), _set(own, "channel_step"), _set(own, "places"))
    if keep_halves:
        graph = graph.with_data({number: values.astype(np.float16) for number, values in halves.items()})
    else:
        graph = as_floats(graph, halves)
    graph = on_multiples(graph, _set(own, "multiple"))
    report("cluster", 2, 2)
    return correct_biases(original, graph, recipe.made_up, report) if recipe.made_up else graph


def settled(graph: Graph, recipe: Recipe) -> Graph:
    """The graph with the weights on grids that a recipe names steps for, before the others are solved."""
    own = _own(graph, recipe)
    steps = (_set(own, name) for name in ("step", "channel_step", "places"))
    return put_on_grids(graph, *steps)[0]


def to_int8(graph: Graph, recipe: Recipe, dataset: Dataset | None, progress: Progress | None = None) -> Graph:
    """The int8 form, its ranges taken from the recipe's own samples.

    Weights that lie on a grid of 127 steps, as calibration leaves them, keep it; others are rounded on some samples. It
    comes last: the graph has its board's form already, because the quantiser keeps operators that a pass would have
    merged. :class:`DataError` where the data set is missing or another one than the recipe was made with.
    """
    if dataset is None:
        raise DataError("an int8 model needs images to find its ranges with", found="no data")
    learn = learned_from(dataset, recipe)
    few_for_ranges = learn if recipe.effort == "none" else learn.take(INT8_SAMPLES)
    few = learn.take(ROUNDING_SAMPLES)
    executor = _runs(graph)
    if executor is not None and recipe.fitted:
        free = not _on_grids(graph)
        graph = evened(executor, few.images, len(few), progress or silent, free=free)
        executor = Executor(graph)
    quantised, kept = with_own_grids(graph, quantize(graph, few_for_ranges.images()))
    grids = {tensor: grid for tensor, grid in weight_grids(graph, quantised).items() if tensor not in kept}
    if executor is None:  # then weights are rounded to the nearest
        return quantised
    if grids:
        rounded = round_to_grids(executor, few.images, len(few), grids, progress=progress or silent)
        layers = {layer.weight.tensor_index: layer for layer in solved_layers(graph)}
        symbols = {
            tensor: layers[tensor].shape.fold(solution.symbols)
            for tensor, solution in rounded.solutions.items()
        }
        biases = {layers[tensor].bias: rounded.constants[layers[tensor].bias] for tensor in rounded.solutions}
        quantised = with_rounded(graph, quantised, symbols, biases)
    if not recipe.fitted:
        return quantised
    quantised = with_ranges(quantised, ranges(executor, few.images, len(few)))
    if executor.scores == graph.outputs[0]:
        return quantised
    return with_float_answers(quantised, _scores(executor, few))


def _runs(graph: Graph) -> Executor | None:
    """The graph in TensorFlow; None where that cannot run it."""
    try:
        executor = Executor(graph)
        executor.check()
    except UnsupportedOperator:
        return None
    return executor


def _on_grids(graph: Graph) -> bool:
    """Whether weights of some layer lie on a grid of 127 steps."""
    return any(
        weight.tensor.is_dense_array
        and weight.array.dtype == np.float32
        and on_own_grid(weight.array, weight.channel_axis) is not None
        for weight in graph.weights()
    )


def _scores(executor: Executor, images: Dataset) -> np.ndarray:
    """What ranks the classes on all images, (n, classes) float32."""
    found = [
        np.asarray(executor(batch, wanted=executor.scores)) for batch, _ in images.batches(SCORED_AT_ONCE)
    ]
    return np.concatenate([scores.reshape(len(scores), -1) for scores in found])


def learned_from(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The samples that a recipe was made with; :class:`DataError` where these are others."""
    kept, _ = split(dataset, recipe.samples, recipe.hold_out)
    if recipe.effort == "calibrate":
        kept = few_of(kept, recipe)
    digest = kept.digest() if recipe.data_sha256 else ""
    if digest != recipe.data_sha256:
        raise DataError(
            "these are other images than the recipe was made with",
            expected=recipe.data_sha256[:16],
            found=digest[:16],
        )
    return kept


def without_channels(graph: Graph, recipe: Recipe, learn: Dataset, course: Course) -> Graph:
    """The graph without the channels that a recipe takes out, solved on at most 1,000 of the images to learn from, and
    trained on them for as many epochs as the recipe says: then the ``course`` keeps what was solved, too."""
    if not recipe.channels:
        return graph
    few = learn.take(NARROWING_SAMPLES)
    if recipe.distill_epochs and course.resume is not None:
        made = narrowed_before(course.resume)
    else:
        made = narrow(graph, few, recipe.channels, recipe.seed, course.progress)
    if not recipe.distill_epochs:
        return made.graph
    return distilled(made, graph, few, recipe.distill_epochs, recipe.seed, course)


def channels_that_fit(
    graph: Graph, recipe: Recipe, learn: Dataset, fits: Callable[[Graph], bool], report: Progress
) -> Recipe:
    """The recipe that takes out so many channels that what is left ``fits``; never fewer than it did."""
    share = share_that_fits(graph, learn.take(NARROWING_SAMPLES), fits, recipe.seed, report)
    return replace(recipe, channels=max(share, recipe.channels))


def few_of(learn: Dataset, recipe: Recipe) -> Dataset:
    """Of the images to learn from those that are calibrated on."""
    return learn.take(recipe.few) if recipe.few else learn


def beginning(recipe: Recipe) -> Recipe:
    """The calibration that a training begins with; the recipe's sparsity is each layer's least share of zeros."""
    return replace(recipe, effort="calibrate", clusters=0, price=recipe.begin, begin=0.0)


def _toml(value: Any) -> str:
    # A JSON string is a TOML string.
    return json.dumps(value) if isinstance(value, bool | str) else repr(value)


def _own(graph: Graph, recipe: Recipe) -> dict[int, LayerRecipe]:
    """What single layers get, by their weight's tensor number."""
    names = layer_names(graph)
    if unknown := [name for name, _ in recipe.layers if name not in names]:
        raise ModelError(
            "the recipe is for another model",
            expected=f"a layer {unknown[0]!r}",
            found=", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else ""),
        )
    return {names[name].tensor_index: layer for name, layer in recipe.layers}


def _set(own: dict[int, LayerRecipe], name: str) -> dict[int, Any]:
    values = {tensor: getattr(layer, name) for tensor, layer in own.items()}
    return {tensor: value for tensor, value in values.items() if value is not None}


def tuning(graph: Graph, recipe: Recipe) -> Tuning:
    """How a recipe trains a graph."""
    own = _own(graph, recipe)
    return Tuning(
        sparsity=recipe.sparsity,
        clusters=recipe.clusters,
        epochs=recipe.epochs,
        shift=recipe.shift,
        flip=recipe.flip,
        seed=recipe.seed,
        block=recipe.block,
        price=recipe.price,
        layer_sparsity=_set(own, "sparsity"),
        layer_clusters=_set(own, "clusters"),
    )


def train(
    graph: Graph,
    dataset: Dataset,
    recipe: Recipe,
    *,
    teacher: Graph | None = None,
    course: Course = FROM_THE_BEGINNING,
) -> Graph:
    """The graph after training on all of the data set. ``teacher`` answers right; None: the graph itself."""
    trained = tune(
        Executor(with_biases(graph)),
        dataset,
        tuning(graph, recipe),
        teacher=None if teacher is None else Executor(teacher),
        course=course,
    )
    if recipe.block == 1:  # channels that share their zeros in pairs must stay side by side
        trained = drop_dead_channels(trained)
    return shorten_names(trained) if recipe.price else trained


def refined(
    graph: Graph,
    dataset: Dataset,
    recipe: Recipe,
    begun: Begun,
    *,
    teacher: Graph | None = None,
    course: Course = FROM_THE_BEGINNING,
) -> RefinedStudent:
    """The graph after a training on all of the data set that begins with a calibration; else as :func:`train`."""
    return refine(
        Executor(with_biases(graph)),
        dataset,
        tuning(graph, recipe),
        begun,
        teacher=None if teacher is None else Executor(teacher),
        course=course,
    )


def split(dataset: Dataset, samples: int, hold_out: int) -> tuple[Dataset, Dataset | None]:
    """At most ``samples`` of the data set; every ``hold_out``-th of them apart, to check on."""
    dataset = dataset.take(samples)
    if not hold_out:
        return dataset, None
    numbers = np.arange(len(dataset))
    apart = numbers % hold_out == 0
    return dataset.subset(numbers[~apart]), dataset.subset(numbers[apart])


class Workshop:
    """The parts that all calibrations of one graph on the same images share: executor, sensitivities, the inputs of
    the original's layers."""

    def __init__(
        self, graph: Graph, dataset: Dataset, seed: int, report: Progress, *, fitted: bool = False
    ) -> None:
        """``fitted``: the channels are made alike first, because their values become 8-bit numbers."""
        self.graph = with_biases(graph)
        self.executor = Executor(self.graph)
        if fitted:
            few = dataset.take(ROUNDING_SAMPLES)
            self.graph = evened(self.executor, few.images, len(few), report, free=True)
            self.executor = Executor(self.graph)
        # In a mixed order, because folders are sorted by class and early layers see the first images alone.
        order = np.random.default_rng(seed).permutation(len(dataset))
        self.dataset = dataset.subset(order)
        self.report = report
        self.taught = Taught()
        count = min(SENSITIVITY_SAMPLES, len(self.dataset))
        self.fisher = output_sensitivities(self.executor, self.images, count, seed=seed, progress=report)

    def images(self, samples: Sequence[int]) -> np.ndarray:
        """The preprocessed images of these samples, (n, height, width, channels) float32."""
        return self.dataset.images(list(samples))

    def run(self, recipe: Recipe, watch: Callable[[float], None] = lambda bits: None) -> tuple[Graph, float]:
        """The calibrated graph and the nats that it is expected to lose; ``watch`` as in ``calibrate``."""
        result = self._calibrated(recipe, watch)
        return self.graph.with_data(result.constants), result.loss

    def begun(self, recipe: Recipe) -> Begun:
        """The constants and grids that a training begins with."""
        result = self._calibrated(recipe)
        layers = {layer.weight.tensor_index: layer.shape for layer in solved_layers(self.graph)}
        grids = {
            tensor: layers[tensor].fold(
                np.repeat(solution.scales[..., None], solution.symbols.shape[2], axis=2).astype(np.float32)
            )
            for tensor, solution in result.solutions.items()
        }
        return Begun(result.constants, grids)

    def _calibrated(self, recipe: Recipe, watch: Callable[[float], None] = lambda bits: None) -> Calibrated:

        def levels(clusters: int) -> int:
            return min(LEVELS, (clusters - 1) // 2) if clusters else LEVELS

        wishes = {
            tensor: Wish(
                1.0 if own.price is None else own.price,
                own.sparsity,
                None if own.clusters is None else levels(own.clusters),
            )
            for tensor, own in _own(self.graph, recipe).items()
        }
        for weight in self.graph.weights():
            if recipe.one_scale in ("all", weight.layer):
                wish = wishes.get(weight.tensor_index, Wish())
                wishes[weight.tensor_index] = replace(wish, one_scale=True)
        return calibrate(
            self.executor,
            self.images,
            len(self.dataset),
            recipe.price,
            self.fisher,
            usual=Wish(sparsity=recipe.sparsity, levels=levels(recipe.clusters), block=recipe.block),
            taught=self.taught,
            wishes=wishes,
            watch=watch,
            progress=self.report,
        )
