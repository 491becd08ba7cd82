"""A recipe names what is done to a graph; the same recipe, graph and data give the same weights.

This module composes the passes, which do not know each other; :mod:`sdk.compress.targets` looks for a recipe that
meets a size or a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.blocks import check_block
from sdk.compress.calibrate import calibrate, output_sensitivities, with_biases
from sdk.compress.cluster import cluster
from sdk.compress.dead_channels import drop_dead_channels
from sdk.compress.prune import prune
from sdk.compress.quantize import quantize
from sdk.compress.solve import LEVELS
from sdk.compress.tune import State, Tuning, tune
from sdk.errors import DataError, ModelError
from sdk.execute import Executor
from sdk.graph import Graph

if TYPE_CHECKING:
    from sdk.data import Dataset

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all

EFFORTS = ("none", "calibrate", "train")
SENSITIVITY_SAMPLES = 512


@dataclass(frozen=True)
class Recipe:
    """What is done. ``sparsity`` 0 or ``clusters`` 0 leaves that pass out.

    With effort "none" weights are pruned by magnitude and shared by k-means, which needs no data but for ``int8``.
    With "calibrate" the layers are solved on ``samples`` images of a data set at ``price`` nats a bit; ``sparsity`` is
    then the least share of zeros, and ``clusters`` the most centroids, of a layer.  With "train" the network is trained
    for ``epochs`` on the samples, ``sparsity`` is that of all pruned layers together, and ``clusters`` counts centroids
    of a layer.
    """

    sparsity: float = 0.7  # share of the selected weights that becomes zero
    scope: str = "layer"  # where magnitudes are compared: "layer" or "global"
    clusters: int = 32  # centroids a layer, zero included
    effort: str = "none"
    price: float = 0.0  # nats a bit
    samples: int = 0  # of the data set, taken evenly
    hold_out: int = 0  # every so many-th of them is kept back to check on; 0 keeps none
    seed: int = 0
    data_sha256: str = ""  # digest of the images that were calibrated or trained on
    epochs: int = 0
    shift: int = 0  # pixels that images are moved by, at most, while training
    flip: bool = False  # half of the images are mirrored while training
    block: int = 1  # output channels of a 1x1 convolution that share their zeros: sdk.compress.blocks
    int8: bool = False  # quantised last, after everything that is done to a float graph: see ``to_int8``

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields, for the package's provenance."""
        used = asdict(self)
        learns = ("samples", "hold_out", "seed", "data_sha256")
        unused = {
            "none": ("price", "epochs", "shift", *(("seed",) if self.int8 else learns)),
            "calibrate": ("epochs", "shift"),
            "train": ("price", "scope"),
        }
        for name in unused[self.effort]:
            del used[name]
        if self.block == 1:  # as recipes were before there were blocks
            del used["block"]
        for name in ("int8", "flip"):
            if not used[name]:
                del used[name]
        return used

    def to_toml(self) -> str:
        """The recipe as a TOML file that ``from_toml`` reads back exactly."""
        lines = [f"{name} = {_toml(value)}" for name, value in self.to_json().items()]
        return "\n".join(
            ["# An Armlet recipe: sdk compress MODEL --recipe THIS_FILE", "[recipe]", *lines, ""]
        )

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Reads ``to_toml``'s text. Raises :class:`ModelError` for what is not a recipe."""
        try:
            import tomllib  # type: ignore[import-not-found]
        except ModuleNotFoundError:  # before Python 3.11
            import tomli as tomllib
        try:
            table = tomllib.loads(text)["recipe"]
            if unknown := sorted(set(table) - {f.name for f in fields(cls)}):
                raise ModelError("the recipe has unknown entries", found=", ".join(unknown))
            defaults = asdict(cls())
            recipe = cls(**{name: type(defaults[name])(value) for name, value in table.items()})
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "this is not a recipe", expected="TOML with a table [recipe]", found=str(error)
            ) from error
        if recipe.effort not in EFFORTS:
            raise ModelError("unknown effort", expected=" or ".join(EFFORTS), found=repr(recipe.effort))
        check_block(recipe.block)
        return recipe


def apply(
    graph: Graph,
    recipe: Recipe,
    progress: Progress | None = None,
    dataset: Dataset | None = None,
    *,
    resume: State | None = None,
    checkpoint: Callable[[State], None] = lambda state: None,
) -> Graph:
    """Runs the passes that the recipe names, on the float graph: :func:`to_int8` comes after all of them.

    A recipe that calibrates or trains needs the data set that it was made with; :class:`DataError` where that is
    missing or another one.  Training gives ``checkpoint`` its state after every epoch, and goes on from ``resume``.
    """
    report = progress or (lambda stage, done, total: None)
    if recipe.effort != "none":
        if dataset is None:
            raise DataError(
                f"this recipe is to {recipe.effort}", expected="images to do it with", found="no data"
            )
        kept = learned_from(dataset, recipe)
        if recipe.effort == "calibrate":
            return Workshop(graph, kept, recipe.seed, report).run(recipe)[0]
        return train(graph, kept, recipe, report, resume, checkpoint)
    report("prune", 0, 2)
    if recipe.sparsity:
        graph = prune(graph, recipe.sparsity, scope=recipe.scope, block=recipe.block)
    report("cluster", 1, 2)
    if recipe.clusters:
        graph = cluster(graph, recipe.clusters)
    report("cluster", 2, 2)
    return graph


def to_int8(graph: Graph, recipe: Recipe, dataset: Dataset | None) -> Graph:
    """The int8 form, its ranges taken from the recipe's own samples.

    Last of all: the graph has its board's form already, because the quantiser keeps what a pass would have merged.
    :class:`DataError` where the data set is missing or another one than the recipe was made with.
    """
    if dataset is None:
        raise DataError("an int8 model needs images to find its ranges with", found="no data")
    return quantize(graph, learned_from(dataset, recipe).images())


def learned_from(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The samples that a recipe was made with; :class:`DataError` where these are others."""
    kept, _ = split(dataset, recipe.samples, recipe.hold_out)
    digest = kept.digest() if recipe.data_sha256 else ""
    if digest != recipe.data_sha256:
        raise DataError(
            "these are other images than the recipe was made with",
            expected=recipe.data_sha256[:16],
            found=digest[:16],
        )
    return kept


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def train(
    graph: Graph,
    dataset: Dataset,
    recipe: Recipe,
    report: Progress,
    resume: State | None,
    checkpoint: Callable[[State], None],
) -> Graph:
    """The graph after training on all of the data set."""
    how = Tuning(
        sparsity=recipe.sparsity,
        clusters=recipe.clusters,
        epochs=recipe.epochs,
        shift=recipe.shift,
        flip=recipe.flip,
        seed=recipe.seed,
        block=recipe.block,
    )
    executor = Executor(with_biases(graph))
    constants = tune(executor, dataset, how, progress=report, resume=resume, checkpoint=checkpoint)
    trained = executor.graph.with_data(constants)
    # Channels that share their zeros in pairs must stay side by side.
    return drop_dead_channels(trained) if recipe.block == 1 else trained


def split(dataset: Dataset, samples: int, hold_out: int) -> tuple[Dataset, Dataset | None]:
    """At most ``samples`` of the data set; every ``hold_out``-th of them apart, to check on."""
    dataset = dataset.take(samples)
    if not hold_out:
        return dataset, None
    numbers = np.arange(len(dataset))
    apart = numbers % hold_out == 0
    return dataset.subset(numbers[~apart]), dataset.subset(numbers[apart])


class Workshop:
    """What every calibration of one graph on the same images shares: the executor and the sensitivities."""

    def __init__(self, graph: Graph, dataset: Dataset, seed: int, report: Progress) -> None:
        self.graph = with_biases(graph)
        self.executor = Executor(self.graph)
        # In a mixed order, because folders are sorted by class and early layers see the first images alone.
        order = np.random.default_rng(seed).permutation(len(dataset))
        self.dataset = dataset.subset(order)
        self.report = report
        count = min(SENSITIVITY_SAMPLES, len(self.dataset))
        self.fisher = output_sensitivities(self.executor, self.images, count, seed=seed, progress=report)

    def images(self, samples: Sequence[int]) -> np.ndarray:
        """Sample numbers -> preprocessed images."""
        return self.dataset.images(list(samples))

    def run(self, recipe: Recipe) -> tuple[Graph, float]:
        """The calibrated graph and the nats that it is expected to lose."""
        levels = min(LEVELS, (recipe.clusters - 1) // 2) if recipe.clusters else LEVELS
        result = calibrate(
            self.executor,
            self.images,
            len(self.dataset),
            recipe.price,
            self.fisher,
            sparsity=recipe.sparsity,
            levels=levels,
            block=recipe.block,
            progress=self.report,
        )
        return self.graph.with_data(result.constants), result.loss
