"""Runs one recipe after another on one graph and keeps the results: the base of every search.

Composes like :mod:`sdk.compress.recipes.recipe`.  An attempt makes the graph, packs it, to know its real size, and
checks it on images that it did not learn from, where there are some.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from device_agent.record.intervals import Interval
from sdk.compress.recipes.check import Checker, Judge
from sdk.compress.recipes.distilled import TimeForDistilling
from sdk.compress.recipes.overall_progress import Journey
from sdk.compress.recipes.parts import (
    HOLD_OUT,
    SMALLEST_CHECK,
    Parts,
    carrying,
    checked_parts,
    parts_of,
)
from sdk.compress.recipes.recipe import (
    LayerRecipe,
    Recipe,
    Workshop,
    apply,
    beginning,
    few_of,
    refined,
    settled,
    train,
    without_channels,
)
from sdk.compress.recipes.task_check import checker_of
from sdk.compress.solve.ranks import factorised, with_data, without_data
from sdk.compress.solve.whole_channels.choice import macs_of
from sdk.compress.train.refining import RefinedStudent
from sdk.compress.train.schedule import Tuning
from sdk.compress.train.student import Course, State
from sdk.errors import DataError
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack
from sdk.tools.progress import Progress

if TYPE_CHECKING:
    from sdk.data.scoring.by_task import Metric
    from sdk.graph.dataset import Dataset

HOLDS = (0.5, 0.75, 1.0, 1.5, 2.5, 254.0)  # steps that values move before their numbers do; at last none does
CANDIDATES = 3  # attempts whose graphs are kept, to be confirmed, beside those that are surest to be
SURE = 0.65  # of a half interval, which are 1.96 standard errors: the nine of ten of `Attempts.sure`
SIZE_TOLERANCE = 0.97  # a package of this share of the target size is near enough
ROOM_TO_AIM = (
    0.985  # of the most bytes; where a signature takes much of the target, so much must be left to aim at
)
EPOCH_CHECK = 256  # samples that a training is watched on


class Checkpoints(Protocol):
    """Where trainings keep their state, by a key for each recipe."""

    def load(self, key: str) -> State | None:
        """The state that was saved last, or None."""

    def save(self, key: str, state: State) -> None:
        """Replaces it."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def remember(self, name: str, value: float) -> float:
        """The value that an earlier run of the same work had for ``name``, else this one, kept for a later run."""


class NoCheckpoints:
    """Nothing is kept."""

    def load(self, key: str) -> State | None:
        """None."""
        return None

    def save(self, key: str, state: State) -> None:
        """Does nothing."""

    def due(self) -> bool:
        """Never."""
        return False

    def remember(self, name: str, value: float) -> float:
        """The value."""
        return value


def channels_key(recipe: Recipe) -> str:
    """The key of the distillation of what whole channels left, for a recipe."""
    return f"channels-{key_of(recipe)}"


def course_of(kept: Checkpoints, key: str, progress: Progress) -> Course:
    """Where a training goes on whose state is kept by this key."""
    return Course(kept.load(key), lambda arrays: kept.save(key, arrays), due=kept.due, progress=progress)


@dataclass(frozen=True)
class Settings:
    """The settings of a user; None leaves it to the effort's default."""

    effort: str = "auto"  # "auto": calibrate where there are data, otherwise none
    sparsity: float | None = None
    scope: str = "layer"
    clusters: int | None = None
    target_bytes: int | None = None  # of the whole package
    room: int = 0  # bytes of the target that the package leaves free, for its signature
    # Points of top-1, or of agreement with the original where labels are missing.
    max_loss: float | None = None
    samples: int | None = None  # at most this many images; by default 1,000, and all for training
    seed: int = 0
    epochs: int = Tuning.epochs  # of training
    shift: int = 0  # pixels that images are moved by, at most, while training
    price: float = 0.0  # of a bit, nats of the loss of a training: sdk.compress.train.priced
    block: int = 1  # output channels of a 1x1 convolution that share their zeros
    target_macs: int | None = None  # met by taking out whole channels
    # Whether a graph of this shape is small enough: channels go until one is.
    fits: Callable[[Graph], bool] | None = None
    channels: float = (
        0.0  # the share of the multiply-accumulates that goes with whole channels; images are needed
    )
    distill_epochs: int = 0  # that what is left then learns from the original's layers
    low_rank: bool = True  # layers become two of low rank where that wins, but in training
    equalise: bool = False  # without data: channels of neighbouring layers are made alike
    made_up: str = ""  # without data: biases are corrected on made-up images of this preprocessing
    int8: bool = False  # the caller quantises last (``recipe.to_int8``), with the grids that weights lie on
    stored: bool = (
        False  # the graph is the float twin of an 8-bit model, which the caller puts weights back into
    )
    one_scale: str = ""  # the layers of that model whose channels all have one scale
    if_worth: bool = False  # training only where it is expected to do better than calibration
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    seconds_left: Callable[[], float] | None = None  # of the time budget; a search stops before it is overrun
    study: Any = None  # an Optuna study: recipes with other sparsities and bits per layer are searched
    trials: int | None = None  # of the study, by this process; None: until the time is over
    metric: Metric | None = None  # of the model's task; None: top-1 of the first output
    harmless: bool = (
        False  # without data: each layer is pruned and shared so far as the outputs stay what they are
    )
    judge: Judge | None = None  # that tells what becomes of the outputs; None: nobody can
    # The package that a graph and its recipe end up in, with all that stands in it; None: the graph alone is packed.
    package: Callable[[Graph, Recipe, Progress], bytes] | None = None

    @property
    def most_bytes(self) -> int | None:
        """The most bytes of a package that meets the target; None where there is no target."""
        return None if self.target_bytes is None else max(self.target_bytes - self.room, 1)

    @property
    def least_bytes(self) -> float:
        """A package of this many bytes is near enough to the target: within 3 %, with or without its signature."""
        if self.target_bytes is None:
            return 0.0
        return min(SIZE_TOLERANCE * self.target_bytes, ROOM_TO_AIM * (self.target_bytes - self.room))


def narrowed(
    graph: Graph, recipe: Recipe, learn: Dataset, wanted: Settings, progress: Progress
) -> tuple[Graph, Recipe]:
    """As :func:`without_channels`, in the time that is left and with the state that is kept; and the recipe with as
    many epochs as the distillation took."""
    course, time = course_of(wanted.checkpoints, channels_key(recipe), progress), None
    if wanted.seconds_left is not None:
        time = TimeForDistilling(wanted.seconds_left, wanted.checkpoints.remember)
        course = replace(course, epochs_within=time)
    made = without_channels(graph, recipe, learn, course)
    taken = 0 if time is None else time.epochs
    return made, replace(recipe, distill_epochs=taken) if taken else recipe


@dataclass(frozen=True)
class Point:
    """One recipe that was tried. Figures are None where nothing was checked."""

    recipe: Recipe
    package_bytes: int
    expected_loss_nats: float | None = None
    accuracy_percent: float | None = None  # top-1 by the labels
    agreement_percent: float | None = None  # same answer as the original
    divergence_nats: float | None = None  # of the answers from the original's
    lost: Interval | None = None  # points of top-1, or of agreement without labels
    reached: str = ""  # the metric of the model's task in words, where that is another
    macs: int = 0  # multiply-accumulates of an inference


class Watch:
    """Watches an attempt while it runs, and may raise to end a hopeless one. This one never does."""

    def bits(self, bits: float) -> None:
        """All layers calibrated until now take this many."""

    def package(self, size: int) -> None:
        """Bytes of the package, before the check."""

    def check(self, batches: int, nats: float) -> None:
        """The divergence on the first batches of the check."""

    def epoch(self, epochs: int, nats: Callable[[], float]) -> None:
        """Called after this many epochs; ``nats()`` measures the present divergence."""


class Attempts:
    """Attempts of one effort on one graph, the curve that they make, and the best of them.

    ``base`` names the images and settings that all of them share.
    """

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset | None,
        check: Dataset | None,
        effort: str,
        wanted: Settings,
        samples: int,
        journey: Journey,
    ) -> None:
        self.graph, self.wanted, self.effort, self.journey = graph, wanted, effort, journey
        self.curve: list[Point] = []
        self.notes: list[str] = []  # what a walk left out, and why
        self.best: tuple[Graph, Point] | None = None
        self.kept: list[tuple[Graph, Point]] = []  # the best, and the one that loses least
        self._longest = 0.0
        self._workshop: Workshop | None = None
        self._low: Graph | None = None
        self._narrow: Graph | None = None
        self._original_bytes: int | None = None
        self.parts = _parts(dataset, check, effort, wanted, samples)
        self.dataset = self.parts.learn if effort != "none" else dataset
        used, kept_back = self.parts.choosing, effort != "none" and check is None
        self.checker = None if used is None else self.checker_on(used, kept_back)
        self.base = Recipe(
            scope=wanted.scope,
            effort=effort,
            samples=self.parts.samples,
            hold_out=self.parts.hold_out,
            seed=wanted.seed,
            data_sha256=self.dataset.digest() if effort != "none" and self.dataset is not None else "",
            epochs=wanted.epochs if effort == "train" else 0,
            shift=wanted.shift if effort == "train" else 0,
            price=wanted.price if effort == "train" else 0.0,
            block=wanted.block,
            channels=wanted.channels,
            distill_epochs=wanted.distill_epochs,
            one_scale=wanted.one_scale if effort == "calibrate" else "",
            fitted=wanted.int8,
            int8=wanted.int8,
            equalise=wanted.equalise and effort == "none",
            made_up=wanted.made_up if effort == "none" else "",
        )

    def take_channels_out(self) -> None:
        """Takes out the channels that all attempts leave out.

        After that their ``base`` says for how many epochs what is left was distilled: fewer than were asked for, where
        the time is too short for these.
        """
        self._narrow = self.graph
        if self.dataset is not None and self.base.channels:
            self._narrow, self.base = narrowed(self.graph, self.base, self.dataset, self.wanted, self.journey)

    @property
    def narrow(self) -> Graph:
        """The graph without the channels that all attempts leave out."""
        if self._narrow is None:
            self.take_channels_out()
        assert self._narrow is not None
        return self._narrow

    @property
    def low(self) -> Graph:
        """The graph after its layers of low rank became two each, which the recipes of all attempts share."""
        if self._low is None:
            images = self.dataset if self.effort == "calibrate" else None
            self._low = settled(factorised(self.narrow, self.base.ranks, images, self.journey), self.base)
        return self._low

    def run(self, recipe: Recipe, watch: Watch | None = None) -> Point:
        """Makes, packs and checks one recipe, and puts it on the curve."""
        watch = watch or Watch()
        left = self.wanted.seconds_left
        started = left() if left is not None else 0.0
        made, expected, recipe = self._make(recipe, watch)
        size = self.size_of(made, recipe)
        watch.package(size)
        checked = self.checker(made, watch.check) if self.checker is not None else None
        point = Point(
            recipe,
            size,
            expected,
            checked.accuracy_percent if checked else None,
            checked.agreement_percent if checked else None,
            checked.divergence_nats if checked else None,
            checked.lost if checked else None,
            checked.reached if checked else "",
            macs_of(made),
        )
        self.keep(made, point)
        if left is not None:
            self._longest = max(self._longest, started - left())
        return point

    def checker_on(self, dataset: Dataset, held_out: bool) -> Checker:
        """The checker of graphs on these images, in the wanted metric."""
        return checker_of(self.graph, dataset, self.wanted.metric, self.journey, held_out)

    def keep(self, made: Graph, point: Point) -> None:
        """Puts an attempt on the curve, and its graph among those that are kept where it belongs there."""
        self.curve.append(point)
        ranked = sorted([*self.kept, (made, point)], key=lambda one: self.rank(one[1]))
        least = min(ranked, key=lambda one: self.upper(one[1]) or 0.0)
        sure = next((one for one in ranked if self.sure(one[1])), least)
        self.best = ranked[0]
        self.kept = [one for n, one in enumerate(ranked) if n < CANDIDATES or one is least or one is sure]

    def size_of(self, made: Graph, recipe: Recipe) -> int:
        """Bytes of the package, as it will be written."""
        eight_bits = self.wanted.int8 or self.wanted.stored
        if self.wanted.package is not None and (self.wanted.target_bytes is not None or eight_bits):
            return len(self.wanted.package(made, recipe, self.journey))
        return len(
            pack.pack(write_graph(made), progress=lambda done, total: self.journey("pack", done, total))
        )

    def _make(self, recipe: Recipe, watch: Watch) -> tuple[Graph, float | None, Recipe]:
        """The graph, the nats that it is expected to lose where that is known, and the recipe as it became."""
        if recipe.effort == "none":
            return apply(self.graph, recipe, self.journey), None, recipe
        assert self.dataset is not None
        if recipe.effort == "calibrate":
            return (*self._calibrating(recipe).run(recipe, watch.bits), recipe)
        course = replace(
            self._course(key_of(recipe)),
            watch=lambda epochs, graph: watch.epoch(epochs, lambda: self._divergence(graph())),
        )
        if not recipe.begin:
            return train(self.narrow, self.dataset, recipe, teacher=self.graph, course=course), None, recipe
        begun = self._calibrating(recipe).begun(beginning(recipe))
        student = refined(self.narrow, self.dataset, recipe, begun, teacher=self.graph, course=course)
        return self._fitting(student, recipe)

    def _course(self, key: str) -> Course:
        """Where a training goes on that keeps its state by this key."""
        return course_of(self.wanted.checkpoints, key, self.journey)

    def _calibrating(self, recipe: Recipe) -> Workshop:
        """What all calibrations share."""
        assert self.dataset is not None
        if self._workshop is None:
            few = few_of(self.dataset, recipe)
            fitted = recipe.int8 and recipe.fitted
            self._workshop = Workshop(self.low, few, recipe.seed, self.journey, fitted=fitted)
        return self._workshop

    def _fitting(self, student: RefinedStudent, recipe: Recipe) -> tuple[Graph, None, Recipe]:
        """The graph of a training in which as many numbers moved as the size allows."""
        most = self.wanted.most_bytes
        for hold in HOLDS:
            made, used = student.held(hold), replace(recipe, hold=hold)
            if most is None or self.size_of(made, used) <= most:
                break
        return made, None, used

    def _divergence(self, graph: Graph) -> float:
        if self.checker is None:
            return 0.0
        few = checker_of(self.graph, self.checker.dataset.take(EPOCH_CHECK), self.wanted.metric)
        return few(graph).divergence_nats

    @property
    def only_one(self) -> bool:
        """Whether the images are too few to choose between attempts that are to keep a limit of the loss."""
        return self.wanted.max_loss is not None and self.parts.confirming is None

    def upper(self, point: Point) -> float | None:
        """Points that are lost at most, the upper end of the interval; None where nothing was checked."""
        return None if point.lost is None else point.lost.high

    def sure(self, point: Point) -> bool:
        """Whether the images that confirm will most likely confirm the limit of the loss: nine times of ten."""
        limit, lost = self.wanted.max_loss, point.lost
        if limit is None or lost is None or self.parts.confirming is None or self.parts.choosing is None:
            return True
        here = lost.high - lost.value
        there = here * (len(self.parts.choosing) / len(self.parts.confirming)) ** 0.5
        return lost.value + there + SURE * (here**2 + there**2) ** 0.5 <= limit

    def misses(self, point: Point) -> float:
        """How far a point is from what was asked: percent of the size, and points of loss. Zero where it is met."""
        missed = 0.0
        if self.wanted.most_bytes is not None:
            missed += max(100 * (point.package_bytes / self.wanted.most_bytes - 1), 0.0)
        lost = self.upper(point)
        if self.wanted.max_loss is not None and lost is not None:
            missed += max(lost - self.wanted.max_loss, 0.0)
        return missed

    def choose_ranks(self, sparsity: float, clusters: int, price: float) -> None:
        """Layers become two of low rank where that wins with weights coded like this.

        Training leaves them alone, and so does an 8-bit model, whose own operators take the solved weights back.
        """
        if not self.wanted.low_rank or self.effort == "train" or self.wanted.stored:
            return
        if self.effort == "calibrate":
            assert self.dataset is not None
            self.base = replace(self.base, ranks=with_data(self.narrow, self.dataset, price, self.journey))
        elif self.wanted.block == 1:
            ranks, codings = without_data(self.graph, sparsity, clusters)
            own = tuple((name, LayerRecipe(*coding)) for name, coding in codings.items())
            self.base = replace(self.base, ranks=ranks, layers=own)

    def rank(self, point: Point) -> tuple[float, ...]:
        """Of two points the better has the smaller: what was asked comes first, then size or loss, as was left open.

        Of those that fit into a size the one that loses least is taken, and of equals that whose answers changed least.
        """
        nats = point.divergence_nats
        if nats is None:
            nats = point.expected_loss_nats
        if nats is None:
            nats = -float(point.package_bytes)  # nothing is known but that less was taken away
        if self.wanted.max_loss is None and self.wanted.target_bytes is not None:
            lost = 0.0 if point.lost is None else point.lost.value
            return self.misses(point), lost, nats, point.package_bytes
        return self.misses(point), point.package_bytes, nats

    def score(self, point: Point) -> float:
        """The rank as one number for a study: above 1,000 if the target is missed, below if it is met."""
        missed, *rest = self.rank(point)
        # Toward a size answers count, not points: they tell more about the next trial.
        first = rest[1] if len(rest) == 3 else rest[0]
        if missed > 0:
            return 1000.0 + missed
        if self.wanted.max_loss is not None:
            if self._original_bytes is None:
                self._original_bytes = len(write_graph(self.graph))
            return 100.0 * first / self._original_bytes
        return first

    def time_for_another(self) -> bool:
        """Whether the time that is left is enough for the longest attempt until now."""
        left = self.wanted.seconds_left
        return left is None or not self.curve or left() >= self._longest


def _parts(
    dataset: Dataset | None, check: Dataset | None, effort: str, wanted: Settings, samples: int
) -> Parts:
    """The images of these attempts. Without a limit or a search nobody asks what a network lost that nothing taught."""
    limited = wanted.max_loss is not None or wanted.study is not None
    compared = limited or wanted.target_bytes is not None
    if effort == "none":
        parts = checked_parts((check or dataset) if limited else None, compared=compared)
    else:
        assert dataset is not None
        parts = parts_of(dataset, samples, check, compared=compared)
    if wanted.max_loss is not None and parts.choosing is None:
        raise DataError(
            "too few images to measure a loss on",
            expected=f"at least {HOLD_OUT * SMALLEST_CHECK} images",
            found="none" if dataset is None else str(len(dataset)),
            hint="Give more. With --effort none the weights are plain 8-bit numbers, and their loss is told."
            if wanted.int8
            else None,
        )
    return parts if wanted.max_loss is None else carrying(parts, wanted.max_loss)


def key_of(recipe: Recipe) -> str:
    """A short name for the state of a recipe's training."""
    return hashlib.sha256(recipe.to_toml().encode()).hexdigest()[:16]
