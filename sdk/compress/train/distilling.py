"""The training of a network with fewer channels on what the original computes, layer by layer.

The loss adds, for each layer of the original whose channels are known in the smaller network, the squared error of its
values as a share of how much they vary (hints, arXiv 1412.6550). A picture has some hundred places in each layer and a
thousand channels at each: a thousand pictures tell much there, and little in what they have once, such as the answer
and the mean of all places. A training on those learns them by heart; see :func:`well_seen`. No labels are needed.

All layers learn at one rate, since the inputs of each are made uncorrelated and equally large first, and its outputs
are measured by how much they vary (:class:`WhitenedLayer`). The weights that are taken are a running mean of the last
steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.train.adam import Adam
from sdk.compress.train.batches import held
from sdk.compress.train.student import FROM_THE_BEGINNING, Course, State, not_of_this
from sdk.graph.records import Graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset
    from sdk.graph.in_tensorflow.executor import Executor

BATCH = 64  # images of a step; fewer of a network whose values would take too much memory
MOST_NUMBERS = (
    400_000_000  # values of the original for a batch; the student and its gradients have some times as many
)
RATE = 1.2e-3  # of a weight's usual size, a step of a whole batch: Adam's
WARM_STEPS = 100  # until the rate is reached; a tenth of a short training
MEMORY = 0.99  # of the running mean, a step
SEEN_PER_CHANNEL = 8  # places that all pictures have of a tensor, for each of its channels, to learn from it
MOST_ROWS = 14  # and columns of a layer's places that are compared in a step, about
LEAST_AREA, MOST_AREA = 0.6, 1.25  # of a picture that is shown, with its mirrored border beyond 1
WIDER = 0.28  # by which the logarithm of width / height changes at most
BORDER = 8  # of these make a side: what the border has


@dataclass(frozen=True, eq=False)
class WhitenedLayer:
    """A layer that learns: its weight's and bias' tensors, ``matrices`` (groups, rows, columns) of the weight, and what
    makes its inputs alike: ``mean`` (parts, width), ``white`` and its inverse ``back`` (parts, width, width).

    The columns of each group lie in one part, or in some of equal width one after the other. The weight of a
    ``depthwise`` layer is (1, height, width, channels); of others it is the matrices in another shape.
    """

    weight: int
    bias: int
    matrices: np.ndarray
    mean: np.ndarray
    white: np.ndarray
    back: np.ndarray
    depthwise: bool

    @property
    def parts(self) -> int:
        """Of a group."""
        return len(self.mean) // len(self.matrices)

    def by_part(self) -> np.ndarray:
        """The matrices of all n parts, (n, rows, columns)."""
        groups, rows, _ = self.matrices.shape
        apart = self.matrices.reshape(groups, rows, self.parts, -1)
        return np.swapaxes(apart, 1, 2).reshape(len(self.mean), rows, -1)


@dataclass(frozen=True, eq=False)
class Hint:
    """A tensor of the smaller network, that of the original that it is compared with, and which of its channels: None
    stands for all. It may be an answer that ``ranks`` classes."""

    tensor: int
    original: int
    channels: np.ndarray | None = None
    ranks: bool = False


@dataclass(frozen=True)
class Distillation:
    """How long to distil, and how images may be changed: parts of them shown (``crops``), mirrored (``flip``)."""

    epochs: int
    crops: bool = False
    flip: bool = False
    seed: int = 0


def distil(
    executor: Executor,
    original: Executor,
    layers: Sequence[WhitenedLayer],
    hints: Sequence[Hint],
    dataset: Dataset,
    how: Distillation,
    course: Course = FROM_THE_BEGINNING,
) -> Graph:
    """The graph of ``executor`` after it learned from ``original`` on all of the data set."""
    student = _Distilled(executor, original, layers, hints)
    images, size = held(dataset), batch_size(original.graph)
    per_epoch = -(-len(dataset) // size)
    first = 0 if course.resume is None else student.restore(course.resume)
    epochs = how.epochs
    if course.epochs_within is not None:
        begun, some = student.state(first), np.arange(min(size, len(dataset)))
        batch = dataset.images(some) if images is None else images[some]
        epochs = course.epochs_within(
            epochs, per_epoch, lambda: student.learn(changed(batch, how, 0), RATE, 0, 1)
        )
        student.restore(begun)
    steps = epochs * per_epoch
    for step in range(first, steps):
        course.progress("distil", step, steps)
        if course.due():
            course.checkpoint(student.state(step))
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((how.seed, epoch)).permutation(len(dataset))
        chosen = order[place * size : (place + 1) * size]
        batch = dataset.images(chosen) if images is None else images[chosen]
        student.learn(changed(batch, how, step), RATE * np.sqrt(size / BATCH), step, steps)
    course.progress("distil", steps, steps)
    return student.graph()


def well_seen(hints: Sequence[Hint], original: Graph, images: int) -> list[Hint]:
    """Those of tensors that this many images show at enough places for each of their channels; all, where none is."""

    def enough(hint: Hint) -> bool:
        tensor = original.tensors[hint.original]
        channels = tensor.shape[-1] if tensor.shape else 1
        return images * tensor.elements >= SEEN_PER_CHANNEL * channels**2

    return [hint for hint in hints if enough(hint)] or list(hints)


def batch_size(graph: Graph) -> int:
    """Images of a step, so that the values of all layers fit into memory; at least one."""
    numbers = sum(graph.tensors[t].elements for operator in graph.operators for t in operator.outputs)
    return max(min(BATCH, MOST_NUMBERS // max(numbers, 1)), 1)


def changed(batch: np.ndarray, how: Distillation, step: int) -> Any:
    """Images (n, height, width, channels) in their size: of each a part, or all of it in a mirrored border, so that it
    is seen larger or smaller (``crops``), and half of them mirrored (``flip``)."""
    import tensorflow as tf

    if not (how.crops or how.flip):
        return tf.constant(batch)
    count, *sides = batch.shape[:3]
    chance = np.random.default_rng((how.seed, step, 1))
    area = chance.uniform(LEAST_AREA, MOST_AREA, count) if how.crops else np.ones(count)
    wider = np.exp(chance.uniform(-WIDER, WIDER, count)) if how.crops else np.ones(count)
    borders = [-(-side // BORDER) for side in sides]
    edges = []  # first and last row, or column, of each image, of the picture with its border
    for side, border, share in zip(
        sides, borders, (np.sqrt(area / wider), np.sqrt(area * wider)), strict=True
    ):
        share = np.minimum(share, 1 + 2 * border / side)
        first = chance.random(count) * (1 - share)  # negative where the border is seen
        edges.append(
            [(edge * (side - 1) + border) / (side + 2 * border - 1) for edge in (first, first + share)]
        )
    (top, bottom), (left, right) = edges
    if how.flip:
        mirrored = chance.random(count) < 0.5
        left, right = np.where(mirrored, right, left), np.where(mirrored, left, right)
    padded = tf.pad(batch, [(0, 0), *((border, border) for border in borders), (0, 0)], "SYMMETRIC")
    boxes = np.stack([top, left, bottom, right], 1).astype(np.float32)
    return tf.image.crop_and_resize(padded, boxes, np.arange(count), sides)


class _Distilled:
    """The variables of a training, and one step of them."""

    def __init__(
        self, executor: Executor, original: Executor, layers: Sequence[WhitenedLayer], hints: Sequence[Hint]
    ) -> None:
        import tensorflow as tf

        self.executor, self.original, self.layers, self.hints = executor, original, layers, hints
        self.values: list[Any] = []
        self.units: list[tuple[Any, Any]] = []
        for layer in layers:
            apart = layer.by_part()
            values = apart @ layer.back
            spread = np.sqrt(np.square(values).sum(2, keepdims=True))
            spread = np.maximum(spread, max(1e-3 * float(spread.max()), 1e-12))
            unit = spread / np.sqrt(values.shape[2])
            middle = (apart @ layer.mean[:, :, None])[..., 0]
            over_parts = (len(layer.matrices), layer.parts, -1)
            middle = middle.reshape(over_parts).sum(1)
            spread = np.sqrt(np.square(spread).reshape(over_parts).sum(1))
            bias = executor.graph.tensors[layer.bias].data
            assert bias is not None
            shift = (bias.reshape(middle.shape) + middle) / spread
            self.values += [
                tf.Variable((values / unit).astype(np.float32)),
                tf.Variable(shift.astype(np.float32)),
            ]
            self.units.append((unit.astype(np.float32), spread.astype(np.float32)))
        self.means = [tf.Variable(value) for value in self.values]
        self.adam = Adam(self.values)
        image = executor.graph.tensors[executor.graph.inputs[0]]
        number, whole = tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.int32)
        signature = [tf.TensorSpec((None, *image.shape[1:]), image.dtype.lower()), number, number, whole]
        self._compiled = tf.function(self._step, input_signature=signature, autograph=False)

    def build(self, values: Sequence[Any]) -> dict[int, Any]:
        """The constants of the graph, by tensor number, that these values of what learns make."""
        import tensorflow as tf

        made = {}
        for number, layer in enumerate(self.layers):
            (value, shift), (unit, spread) = values[2 * number : 2 * number + 2], self.units[number]
            matrices = (value * unit) @ layer.white
            middle = tf.squeeze(matrices @ layer.mean[:, :, None], 2)
            if layer.parts > 1:
                groups, rows, _ = layer.matrices.shape
                middle = tf.reduce_sum(tf.reshape(middle, (groups, layer.parts, rows)), 1)
                matrices = tf.reshape(matrices, (groups, layer.parts, rows, -1))
                matrices = tf.transpose(matrices, (0, 2, 1, 3))
            shape = self.executor.graph.tensors[layer.weight].shape
            if layer.depthwise:
                by_channel = tf.reshape(matrices, (shape[3], shape[1], shape[2]))
                made[layer.weight] = tf.transpose(by_channel, (1, 2, 0))[None]
            else:
                made[layer.weight] = tf.reshape(matrices, shape)
            made[layer.bias] = tf.reshape(shift * spread - middle, (-1,))
        return made

    def learn(self, images: Any, rate: float, step: int, steps: int) -> None:
        """One step on images (n, height, width, channels). ``rate`` is reached when the first steps are over, and falls
        to zero along a cosine."""
        import tensorflow as tf

        warm = min((step + 1) / max(min(WARM_STEPS, steps / 10), 1), 1.0)
        now = rate * warm * (1 + np.cos(np.pi * step / steps)) / 2
        memory = min(MEMORY, (step + 1) / (step + 10))
        factor = self.adam.next_factor() * now
        self._compiled(images, *(tf.constant(n, tf.float32) for n in (factor, memory)), tf.constant(step))

    def _groups(self) -> dict[str, list[Any]]:
        return {
            "value": self.values,
            "mean": self.means,
            "first": self.adam.first,
            "second": self.adam.second,
        }

    def state(self, step: int) -> State:
        """Everything that the training depends on, before a step."""
        arrays = {"step": np.array(step), "adam/count": np.array(self.adam.count)}
        for group, members in self._groups().items():
            arrays.update({f"{group}/{number}": member.numpy() for number, member in enumerate(members)})
        return arrays

    def restore(self, state: State) -> int:
        """Takes a state back; returns the step that comes next."""
        try:
            for group, members in self._groups().items():
                for number, member in enumerate(members):
                    member.assign(state[f"{group}/{number}"])
            self.adam.count = int(state["adam/count"])
            return int(state["step"])
        except (KeyError, ValueError) as error:
            raise not_of_this(error) from error

    def _step(self, images: Any, factor: Any, memory: Any, step: Any) -> None:
        import tensorflow as tf

        theirs = self.original.run(
            {self.original.graph.inputs[0]: images},
            wanted={hint.original for hint in self.hints},
        )
        with tf.GradientTape() as tape:
            mine = self.executor.run(
                {self.executor.graph.inputs[0]: images},
                wanted={hint.tensor for hint in self.hints},
                constants=self.build(self.values),
            )
            loss = self._loss(mine, theirs, step)
        none = tf.UnconnectedGradients.ZERO  # of what an activation or a shape takes all influence from
        self.adam.update(tape.gradient(loss, self.values, unconnected_gradients=none), factor, 0.0)
        for mean, value in zip(self.means, self.values, strict=True):
            mean.assign(memory * mean + (1 - memory) * value)

    def _loss(self, mine: Mapping[int, Any], theirs: Mapping[int, Any], step: Any) -> Any:
        import tensorflow as tf

        losses = []
        for hint in self.hints:
            value, right = (_some_places(side, step) for side in (mine[hint.tensor], theirs[hint.original]))
            if hint.channels is not None:
                right = tf.gather(right, hint.channels, axis=-1)
            losses.append((_answers_apart if hint.ranks else _apart)(value, right))
        return tf.add_n(losses)

    def graph(self) -> Graph:
        """The graph with the running means of what learned."""
        made = self.build(self.means)
        return self.executor.graph.with_data({t: np.asarray(value, np.float32) for t, value in made.items()})


def _apart(value: Any, right: Any) -> Any:
    """The mean squared error as a share of the variance of what is right, about each channel's mean."""
    import tensorflow as tf

    axes = list(range(len(right.shape) - 1))
    varies = tf.reduce_mean(tf.square(right - tf.reduce_mean(right, axes, keepdims=True)))
    return tf.reduce_mean(tf.square(value - right)) / (varies + 1e-12)


def _some_places(values: Any, step: Any) -> Any:
    """Of maps (n, height, width, channels) every second place or fewer, others in each step; the rest as it is."""
    if values.shape.rank != 4 or not values.shape[1:3].is_fully_defined():
        return values
    apart = [max(-(-side // MOST_ROWS), 1) for side in values.shape[1:3]]
    if apart == [1, 1]:
        return values
    row, column = step % apart[0], step // apart[0] % apart[1]
    return values[:, row :: apart[0], column :: apart[1]]


def _answers_apart(scores: Any, right: Any) -> Any:
    """The mean divergence of what scores of classes say from what the right ones do, in nats."""
    import tensorflow as tf

    apart = tf.nn.log_softmax(right) - tf.nn.log_softmax(scores)
    return tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(right) * apart, -1))
