"""The training level: masks and shared centroids trained end to end, with the float original as teacher.

Four phases, the outline that of Deep Compression (arXiv 1510.00149). Pruning: the share of zeros rises along a cubic
curve (arXiv 1710.01878) while the rest learns; which weights go is decided across layers by what their removal costs,
w^2 F / 2 (Optimal Brain Damage), with F the mean squared gradient that Adam keeps anyway. A weight that is masked
still learns from the gradient of its place (straight through, as in Dynamic Network Surgery, arXiv 1608.04493), and
comes back when it is worth more than another. Settling: the masks are fixed, the rest learns on. Sharing: the weights
of a layer become centroids, and a centroid learns from the summed gradients of its members; biases share centroids
across the network.

The loss is the teacher's answer (distillation, arXiv 1503.02531), and the labels' where there are some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.blocks import block_of, energies, sizes, smallest, spread
from sdk.compress.cluster import kmeans_1d, nearest
from sdk.compress.selection import select_weights
from sdk.errors import ModelError
from sdk.graph import Graph

if TYPE_CHECKING:
    from sdk.data import Dataset
    from sdk.execute import Executor

Progress = Callable[[str, int, int], None]
State = Mapping[str, np.ndarray]  # of a training between two epochs, as arrays for an .npz
PRUNE_UNTIL, FIX_FROM, SHARE_FROM = 0.5, 0.65, 0.8  # of all epochs
MASK_EVERY = 16  # steps between two looks at which weights go
TEMPERATURE = 3.0  # of the answers that are compared
BIAS_CENTROIDS = 32
# Depthwise and first layers are not pruned, and share finer; the smallest would save nothing by it.
UNPRUNED_CENTROIDS, UNPRUNED_SIZE = 255, 1024
SHARED_RATE = 0.2  # of the learning rate, once centroids are trained: their gradients are sums
HELD_BYTES = 1 << 30  # images are preprocessed once where all of them fit


@dataclass(frozen=True)
class Tuning:
    """How to train.

    ``shift``: images are moved by up to so many pixels each way, and with ``flip`` half of them are mirrored, where
    they stay what they are.
    """

    sparsity: float
    clusters: int  # centroids a layer, zero included
    epochs: int = 30
    batch: int = 128
    rate: float = 1e-3  # Adam's
    decay: float = 1e-5  # L2, decoupled
    label_share: float = 0.3  # of the loss that is the labels', where there are labels
    shift: int = 0
    flip: bool = False
    seed: int = 0
    block: int = 1  # output channels of a 1x1 convolution that share their zeros
    # Of weights that are not compared with others, and of weights with a number of their own.
    layer_sparsity: Mapping[int, float] = field(default_factory=dict)
    layer_clusters: Mapping[int, int] = field(default_factory=dict)


def tune(
    executor: Executor,
    dataset: Dataset,
    how: Tuning,
    *,
    progress: Progress = lambda stage, done, total: None,
    resume: State | None = None,
    checkpoint: Callable[[State], None] = lambda state: None,
    due: Callable[[], bool] = lambda: False,
    watch: Callable[[int, Callable[[], dict[int, np.ndarray]]], None] = lambda epochs, constants: None,
) -> dict[int, np.ndarray]:
    """New constants by tensor number. ``checkpoint`` gets the whole state after every epoch, and after every step at
    which ``due`` says so; ``resume`` takes it back.  ``watch`` is told how many epochs are over, with the constants
    of then at hand, and may raise to end a run that leads nowhere.

    A run that was cut and resumed gives what an uncut run gives.
    """
    if not 2 <= how.clusters <= 256 or not 0 <= how.sparsity < 1 or how.epochs < 3:
        raise ModelError(
            "this cannot be trained",
            expected="2 to 256 clusters, 0 <= sparsity < 1, at least 3 epochs",
            found=f"{how.clusters} clusters, sparsity {how.sparsity}, {how.epochs} epochs",
        )
    student = _Student(executor, how)
    first, skip = (0, 0) if resume is None else student.restore(resume)
    steps = -(-len(dataset) // how.batch)
    held = len(dataset) * int(np.prod(dataset.input_shape)) * 4 <= HELD_BYTES
    images = dataset.images() if held else None
    for epoch in range(first, how.epochs):
        if not skip:
            student.begin(epoch)
        order = np.random.default_rng((how.seed, epoch))
        for step, batch, labels in _shuffled(dataset, images, how, order, skip):
            progress("train", epoch * steps + step, how.epochs * steps)
            student.learn(batch, labels, (epoch * steps + step) / (how.epochs * steps), step)
            if step + 1 < steps and due():
                checkpoint(student.state(epoch, step + 1))
        skip = 0
        checkpoint(student.state(epoch + 1))
        watch(epoch + 1, student.constants)
    progress("train", how.epochs * steps, how.epochs * steps)
    return student.constants()


def untrained(executor: Executor, how: Tuning) -> dict[int, np.ndarray]:
    """What pruning and sharing make of the original alone: about the size that training will lead to."""
    student = _Student(executor, how)
    student.mask(how.sparsity)
    student.share()
    return student.constants()


def step_batches(dataset: Dataset, how: Tuning, executor: Executor, steps: int) -> Iterator[int]:
    """Learns ``steps`` batches in vain and yields their sizes, the first (which compiles) apart: to be timed."""
    student = _Student(executor, how)
    for step, images, labels in _shuffled(dataset, None, how, np.random.default_rng(how.seed), 0):
        if step > steps:
            return
        student.learn(images, labels, 0.99 * PRUNE_UNTIL, 1)
        yield len(images)


def _shuffled(
    dataset: Dataset, images: np.ndarray | None, how: Tuning, order: np.random.Generator, skip: int
) -> Any:
    """(step, images, labels) of an epoch but its first ``skip`` steps, whose random moves are drawn all the same.

    ``images`` are those of the whole data set, where they are held.
    """
    numbers = order.permutation(len(dataset))
    labels = dataset.labels
    for step, start in enumerate(range(0, len(dataset), how.batch)):
        chosen = numbers[start : start + how.batch]
        moves = order.integers(0, 2 * how.shift + 1, (len(chosen), 2)) if how.shift else None
        mirrored = order.random(len(chosen)) < 0.5 if how.flip else None
        if step < skip:
            continue
        batch = dataset.images(chosen) if images is None else images[chosen]
        if mirrored is not None:
            batch = np.where(mirrored[:, None, None, None], batch[:, :, ::-1], batch)
        if moves is not None:
            batch = _shifted(batch, how.shift, moves)
        yield step, batch, None if labels is None else labels[chosen]


def _shifted(images: np.ndarray, most: int, moves: np.ndarray) -> np.ndarray:
    """Every image moved by whole pixels (rows and columns, 0 ... 2 * ``most``); its own border fills in."""
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    count, height, width = images.shape[:3]
    rows, columns = moves[:, :1] + np.arange(height), moves[:, 1:] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


class _Student:
    """Variables, masks and codebooks of the network that learns."""

    def __init__(self, executor: Executor, how: Tuning) -> None:
        import tensorflow as tf

        self.executor, self.how, graph = executor, how, executor.graph
        self.share_epoch = max(int(how.epochs * SHARE_FROM), 1)
        self.fix_epoch = min(max(int(how.epochs * FIX_FROM), 1), self.share_epoch)
        self.fixed = False  # whether masks stay as they are
        chosen = select_weights(graph, skip_first=_has_many_layers(graph))
        self.pruned = [w.tensor_index for w in chosen]
        self.blocks = {w.tensor_index: block_of(w, how.block) for w in chosen}
        weights = [w.tensor_index for w in graph.weights() if w.array.dtype == np.float32]
        self.unpruned = [
            t for t in weights if t not in self.pruned and graph.tensors[t].elements >= UNPRUNED_SIZE
        ]
        self.biases = _biases(graph)
        self.values = {t: tf.Variable(graph.tensors[t].data) for t in (*weights, *self.biases)}
        self.masks = {t: tf.Variable(tf.ones(graph.tensors[t].shape)) for t in self.pruned}
        self.codes: dict[int, np.ndarray] = {}  # number of each weight's centroid; 0 is the pruned weights'
        self.books: dict[int, Any] = {}  # centroids of each weight
        self.bias_codes: dict[int, np.ndarray] = {}
        self.bias_book: Any = None
        self._restart()

    def _restart(self) -> None:
        """Optimiser and compiled step for the variables that learn now."""
        self.learning = [*self.values.values()] if not self.books else self._shared_variables()
        self.adam = Adam(self.learning)
        self._compile()

    def _compile(self) -> None:
        import tensorflow as tf

        # XLA makes fully connected networks three times as fast; its convolutions on a CPU are slow.
        windows = any("CONV" in operator.kind for operator in self.executor.graph.operators)
        self.step = tf.function(self._step, reduce_retracing=True, jit_compile=not windows)

    def _shared_variables(self) -> list[Any]:
        free = [v for t, v in self.values.items() if t not in self.codes and t not in self.bias_codes]
        return [*free, *self.books.values(), self.bias_book]

    def build(self) -> dict[int, Any]:
        """Constants of the student, as functions of what learns."""
        import tensorflow as tf

        made = dict(self.values)
        for tensor, mask in self.masks.items():
            value = self.values[tensor]
            masked = value * mask
            made[tensor] = masked if self.fixed else value + tf.stop_gradient(masked - value)
        for tensor, codes in self.codes.items():
            made[tensor] = tf.gather(tf.concat([[0.0], self.books[tensor]], 0), codes)
        for tensor, codes in self.bias_codes.items():
            made[tensor] = tf.gather(self.bias_book, codes)
        return made

    def constants(self) -> dict[int, np.ndarray]:
        """The student's constants as arrays."""
        return {t: np.asarray(v, np.float32) for t, v in self.build().items()}

    def begin(self, epoch: int) -> None:
        """What happens at the start of an epoch: masks are fixed, weights become shared."""
        if epoch == self.fix_epoch:
            self.mask(self.how.sparsity)
            self.fix()
        if epoch == self.share_epoch:
            self.share()

    def fix(self) -> None:
        """Masks stay as they are from here on."""
        self.fixed = True
        self._compile()

    def learn(self, images: np.ndarray, labels: np.ndarray | None, done: float, step: int) -> None:
        """One step; ``done`` is the share of the training that is over."""
        import tensorflow as tf

        if not self.fixed and step % MASK_EVERY == 0:
            self.mask(self.how.sparsity * (1 - (1 - min(done / PRUNE_UNTIL, 1.0)) ** 3))
        given = labels if labels is not None else np.zeros(len(images), np.int64)
        share = self.how.label_share if labels is not None else 0.0
        rate = self.how.rate * (SHARED_RATE if self.books else 1.0) * (1 - done)
        decay = 0.0 if self.books else rate * self.how.decay
        numbers = (share, self.adam.next_factor() * rate, decay)
        self.step(tf.constant(images), tf.constant(given), *(tf.constant(n, tf.float32) for n in numbers))

    def _step(self, images: Any, labels: Any, share: Any, factor: Any, decay: Any) -> None:
        import tensorflow as tf

        teacher = self.executor(images, wanted=self.executor.scores) / TEMPERATURE
        with tf.GradientTape() as tape:
            scores = self.executor(images, self.build(), wanted=self.executor.scores)
            soft = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(teacher), scores / TEMPERATURE)
            hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
            loss = tf.reduce_mean((1 - share) * TEMPERATURE**2 * soft + share * hard)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self.learning)]
        self.adam.update(gradients, factor, decay)

    def mask(self, sparsity: float) -> None:
        """Masks this share of all weights that may go, those whose removal costs least."""
        grown = sparsity / self.how.sparsity if self.how.sparsity else 1.0
        for tensor in self.pruned:
            if tensor in self.how.layer_sparsity:
                self._mask((tensor,), self.how.layer_sparsity[tensor] * grown)
        self._mask([t for t in self.pruned if t not in self.how.layer_sparsity], sparsity)

    def _mask(self, tensors: Sequence[int], sparsity: float) -> None:
        if not tensors:
            return
        shapes = {t: tuple(self.masks[t].shape) for t in tensors}
        place = {t: number for number, t in enumerate(self.values)}
        found = {}
        for tensor in tensors:
            importance = _factored(self.adam.second[place[tensor]].numpy())
            found[tensor] = energies(self.values[tensor].numpy() * np.sqrt(importance), self.blocks[tensor])
        unit_sizes = np.concatenate([sizes(shapes[t], self.blocks[t]) for t in tensors])
        scores = np.concatenate([*found.values()])
        keep = ~smallest(scores, unit_sizes, int(sparsity * unit_sizes.sum()))
        start = 0
        for tensor, squares in found.items():
            units = keep[start : start + squares.size]
            self.masks[tensor].assign(spread(units, shapes[tensor], self.blocks[tensor]).astype(np.float32))
            start += squares.size

    def share(self) -> None:
        """Weights become centroids; from here on the centroids learn."""
        import tensorflow as tf

        for tensor in (*self.pruned, *self.unpruned):
            values = self.values[tensor].numpy()
            kept = self.masks[tensor].numpy() > 0 if tensor in self.masks else np.ones(values.shape, bool)
            if not kept.any():
                kept.flat[0] = True
            usual = self.how.clusters - 1 if tensor in self.masks else UNPRUNED_CENTROIDS
            clusters = self.how.layer_clusters.get(tensor, usual + 1) - 1
            book = kmeans_1d(values[kept], clusters).astype(np.float32)
            codes = np.zeros(values.shape, np.int32)
            codes[kept] = nearest(values[kept], book) + 1
            self.codes[tensor], self.books[tensor] = codes, tf.Variable(book)
        everything = np.concatenate([self.values[t].numpy().ravel() for t in self.biases] or [np.zeros(1)])
        book = kmeans_1d(everything, BIAS_CENTROIDS).astype(np.float32)
        self.bias_book = tf.Variable(book)
        self.bias_codes = {t: nearest(self.values[t].numpy(), book).astype(np.int32) for t in self.biases}
        self._restart()

    def state(self, epoch: int, step: int = 0) -> State:
        """Everything that training depends on, before a step of an epoch."""
        arrays: dict[str, np.ndarray] = {
            "epoch": np.array(epoch),
            "step": np.array(step),
            "adam/count": np.array(self.adam.count),
        }
        groups: Mapping[str, Mapping[int, Any]] = {
            "value": self.values,
            "mask": self.masks,
            "code": self.codes,
            "book": self.books,
            "bias code": self.bias_codes,
            "first": dict(enumerate(self.adam.first)),
            "second": dict(enumerate(self.adam.second)),
        }
        for group, members in groups.items():
            arrays.update({f"{group}/{key}": np.asarray(value) for key, value in members.items()})
        if self.bias_book is not None:
            arrays["bias book"] = self.bias_book.numpy()
        return arrays

    def restore(self, state: State) -> tuple[int, int]:
        """Takes a state back; returns the epoch and the step that come next."""
        import tensorflow as tf

        try:

            def group(name: str) -> dict[int, np.ndarray]:
                return {int(k.split("/")[1]): v for k, v in state.items() if k.startswith(name + "/")}

            for name, variables in (("value", self.values), ("mask", self.masks)):
                for tensor, array in group(name).items():
                    variables[tensor].assign(array)
            self.codes, self.bias_codes = group("code"), group("bias code")
            self.books = {t: tf.Variable(b) for t, b in group("book").items()}
            if self.books:
                self.bias_book = tf.Variable(state["bias book"])
            epoch, step = int(state["epoch"]), int(state["step"])
            self.fixed = epoch + bool(step) > self.fix_epoch
            self._restart()
            self.adam.count = int(state["adam/count"])
            for name, slots in (("first", self.adam.first), ("second", self.adam.second)):
                for number, array in group(name).items():
                    slots[number].assign(array)
            return epoch, step
        except (KeyError, ValueError, IndexError) as error:
            raise ModelError(
                "the checkpoint is not of this training",
                expected="the same model and settings",
                found=str(error),
            ) from error


def _has_many_layers(graph: Graph) -> bool:
    """Small networks of some fully connected layers prune the first, too: it holds most of their weights."""
    return sum(1 for _ in graph.weights()) > 4


def _biases(graph: Graph) -> list[int]:
    found = []
    for weight in graph.weights():
        inputs = graph.operators[weight.operator_index].inputs
        if len(inputs) > 2 and inputs[2] >= 0 and graph.tensors[inputs[2]].is_dense_array:
            found.append(inputs[2])
    return list(dict.fromkeys(found))


def _factored(second: np.ndarray) -> np.ndarray:
    """The best product of a row's and a column's part for mean squared gradients (out, ...): less noisy than they are.

    As in Adafactor (arXiv 1804.04235).  All ones where nothing is known yet.
    """
    flat = second.reshape(len(second), -1).astype(np.float64)
    mean = flat.mean()
    if mean == 0:
        return np.ones(second.shape)
    return (flat.mean(axis=1, keepdims=True) * flat.mean(axis=0, keepdims=True) / mean).reshape(second.shape)


class Adam:
    """Adam (arXiv 1412.6980) with decoupled decay (arXiv 1711.05101), at a rate that the caller sets each step."""

    def __init__(self, variables: list[Any], beta_1: float = 0.9, beta_2: float = 0.999) -> None:
        import tensorflow as tf

        self.variables, self.betas, self.count = variables, (beta_1, beta_2), 0
        self.first = [tf.Variable(tf.zeros_like(v)) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v)) for v in variables]

    def next_factor(self) -> float:
        """Counts a step; what the rate is multiplied by because the means start from zero."""
        self.count += 1
        b1, b2 = self.betas
        return float(np.sqrt(1 - b2**self.count) / (1 - b1**self.count))

    def update(self, gradients: list[Any], factor: Any, decay: Any) -> None:
        """One step of all variables; to be called in a ``tf.function``."""
        import tensorflow as tf

        b1, b2 = self.betas
        slots = zip(self.variables, gradients, self.first, self.second, strict=True)
        for variable, gradient, first, second in slots:
            first.assign(b1 * first + (1 - b1) * gradient)
            second.assign(b2 * second + (1 - b2) * tf.square(gradient))
            variable.assign(variable * (1 - decay) - factor * first / (tf.sqrt(second) + 1e-8))
