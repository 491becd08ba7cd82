"""The network that learns: its variables, masks and codebooks, and one step of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.train.adam import Adam, factored
from sdk.compress.train.schedule import FIX_FROM, PRUNE_UNTIL, SHARE_FROM, SHARED_RATE, Tuning
from sdk.compress.weights.blocks import block_of, energies, sizes, smallest, spread
from sdk.compress.weights.cluster import kmeans_1d, nearest
from sdk.compress.weights.selection import select_weights
from sdk.errors import ModelError
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.graph.in_tensorflow.executor import Executor

State = Mapping[str, np.ndarray]  # of a training between two steps, as arrays for an .npz
MASK_EVERY = 16  # steps between two looks at which weights go
TEMPERATURE = 3.0  # of the answers that are compared
BIAS_CENTROIDS = 32
# Depthwise and first layers are not pruned, and share finer: with one centroid per eight weights the codebook takes
# half a byte per weight. The smallest layers would save nothing by it.
UNPRUNED_CENTROIDS, UNPRUNED_SIZE, WEIGHTS_PER_CENTROID = 255, 256, 8


@dataclass(frozen=True)
class Course:
    """Where a training goes on, and whom it tells. A run that was cut and resumed gives what an uncut run gives."""

    #: The state to go on from; None: from the beginning.
    resume: State | None = None
    #: Is called with the whole state after every epoch, and after every step at which ``due`` says so.
    checkpoint: Callable[[State], None] = lambda state: None
    due: Callable[[], bool] = lambda: False
    #: Is called with the number of epochs that are over and what makes the graph of that time; may raise to end a run
    #: that leads nowhere.
    watch: Callable[[int, Callable[[], Graph]], None] = lambda epochs, graph: None
    progress: Progress = silent
    #: Of a distillation: as many epochs as the time is enough for, of the epochs that were asked for, the steps of one,
    #: and what does a step to be timed. None: there is time for all.
    epochs_within: Callable[[int, int, Callable[[], None]], int] | None = None


FROM_THE_BEGINNING = Course()


class Student:
    """Variables, masks and codebooks of the network that learns."""

    fix_from, share_from = FIX_FROM, SHARE_FROM
    bias_centroids = BIAS_CENTROIDS

    def __init__(self, executor: Executor, how: Tuning, teacher: Executor | None = None) -> None:
        """``teacher`` is who answers right; None: the network as it is before it learns."""
        import tensorflow as tf

        self.executor, self.how, graph = executor, how, executor.graph
        self.teacher = teacher or executor
        self.share_epoch = max(int(how.epochs * self.share_from), 1)
        self.fix_epoch = min(max(int(how.epochs * self.fix_from), 1), self.share_epoch)
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
        self.codes: dict[int, Any] = {}  # number of each weight's centroid; 0 is the pruned weights'
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
        self.step = tf.function(self._step, input_signature=self._signature(), jit_compile=not windows)

    def _signature(self) -> list[Any]:
        """What a step takes. Batches have any size, so that a smaller one at the end is not compiled for itself."""
        import tensorflow as tf

        labels, number = tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.float32)
        return [self.batch_of(self.executor.graph.inputs[0]), labels, number, number, number]

    def batch_of(self, tensor: int) -> Any:
        """The type and shape of a tensor of the graph for a batch of any size: (n, ...) float32."""
        import tensorflow as tf

        return tf.TensorSpec((None, *self.executor.graph.tensors[tensor].shape[1:]), tf.float32)

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
        """The student's constants by tensor number, float32, each of the shape of its tensor."""
        return {t: np.asarray(v, np.float32) for t, v in self.build().items()}

    def graph(self) -> Graph:
        """The graph with the student's constants."""
        return self.executor.graph.with_data(self.constants())

    def begin(self, epoch: int) -> None:
        """Begins an epoch: fixes masks, shares weights."""
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
        """One step on images (n, height, width, channels) float32, with labels (n,) where there are any.

        ``done`` is the share of the training that is over.
        """
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

        teacher = self.teacher(images, wanted=self.teacher.scores)
        with tf.GradientTape() as tape:
            scores = self.executor(images, self.build(), wanted=self.executor.scores)
            loss = distilled(teacher, scores, labels, share)
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
            importance = factored(self.adam.second[place[tensor]].numpy())
            found[tensor] = energies(self.values[tensor].numpy() * np.sqrt(importance), self.blocks[tensor])
        unit_sizes = np.concatenate([sizes(shapes[t], self.blocks[t]) for t in tensors])
        scores = np.concatenate([*found.values()])
        keep = ~smallest(scores, unit_sizes, int(sparsity * unit_sizes.sum()))
        start = 0
        for tensor, squares in found.items():
            units = keep[start : start + squares.size]
            self.masks[tensor].assign(spread(units, shapes[tensor], self.blocks[tensor]).astype(np.float32))
            start += squares.size

    def _kept(self, tensor: int) -> np.ndarray:
        """Which weights of a tensor are not masked."""
        if tensor in self.masks:
            return np.asarray(self.masks[tensor].numpy() > 0)
        return np.ones(tuple(self.values[tensor].shape), bool)

    def share(self) -> None:
        """Weights become centroids; from here on the centroids learn."""
        import tensorflow as tf

        for tensor in (*self.pruned, *self.unpruned):
            values = self.values[tensor].numpy()
            kept = self._kept(tensor)
            if not kept.any():
                kept.flat[0] = True
            finer = min(UNPRUNED_CENTROIDS, kept.size // WEIGHTS_PER_CENTROID)
            usual = self.how.clusters - 1 if tensor in self.masks else finer
            clusters = self.how.layer_clusters.get(tensor, usual + 1) - 1
            book = kmeans_1d(values[kept], clusters).astype(np.float32)
            codes = np.zeros(values.shape, np.int32)
            codes[kept] = nearest(values[kept], book) + 1
            self.codes[tensor], self.books[tensor] = codes, tf.Variable(book)
        everything = np.concatenate([self.values[t].numpy().ravel() for t in self.biases] or [np.zeros(1)])
        book = kmeans_1d(everything, self.bias_centroids).astype(np.float32)
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
            for name, variables in (("value", self.values), ("mask", self.masks)):
                for tensor, array in group_of(state, name).items():
                    variables[tensor].assign(array)
            self.codes, self.bias_codes = group_of(state, "code"), group_of(state, "bias code")
            self.books = {t: tf.Variable(b) for t, b in group_of(state, "book").items()}
            if self.books:
                self.bias_book = tf.Variable(state["bias book"])
            epoch, step = int(state["epoch"]), int(state["step"])
            self.fixed = epoch + bool(step) > self.fix_epoch
            self._restart()
            self.adam.count = int(state["adam/count"])
            for name, slots in (("first", self.adam.first), ("second", self.adam.second)):
                for number, array in group_of(state, name).items():
                    slots[number].assign(array)
            return epoch, step
        except (KeyError, ValueError, IndexError) as error:
            raise not_of_this(error) from error


def group_of(state: State, name: str) -> dict[int, np.ndarray]:
    """The arrays of a state that are kept under one name, by number; of any shape."""
    return {int(key.split("/")[1]): array for key, array in state.items() if key.startswith(name + "/")}


def not_of_this(found: object) -> ModelError:
    """The error for the state of another training."""
    return ModelError(
        "the checkpoint is not of this training", expected="the same model and settings", found=str(found)
    )


def distilled(teacher: Any, scores: Any, labels: Any, share: Any) -> Any:
    """The mean loss, nats: the teacher's softened answers, and for a ``share`` of it the labels."""
    import tensorflow as tf

    soft = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(teacher / TEMPERATURE), scores / TEMPERATURE)
    hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    return tf.reduce_mean((1 - share) * TEMPERATURE**2 * soft + share * hard)


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
