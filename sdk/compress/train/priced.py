"""The student of a training that counts bits: :mod:`sdk.compress.train.rate` is in its loss.

The phases are those of :class:`~sdk.compress.train.student.Student`, with four differences. The number of weights falls
by the same factor in equal times at first and more slowly toward the end, because the last ones are the hardest to do
without. The loss includes the price of the weights' bits, so that weights are zero before they are cut. Between two
epochs channels that nothing reads or makes are taken out, which makes a step of a network that is nearly empty several
times cheaper, and many more of them possible. And the codes of shared weights are decided again and again, by error and
bits, while the weight behind each code learns on, straight through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.compress.rewrite.dead_channels import cut_dead_channels
from sdk.compress.train.rate import STEP, cheapest, code_bits, soft_bits
from sdk.compress.train.schedule import Tuning
from sdk.compress.train.student import TEMPERATURE, State, Student, distilled, group_of, not_of_this
from sdk.errors import ModelError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

# Shares of all epochs: the last weight that goes has gone; masks, and then codes, stay as they are.
PRUNED_AT, FIX_FROM, SHARE_FROM, CODED_AT = 0.6, 0.65, 0.8, 0.96
EARLINESS = 3.0  # of the curve along which weights go
RATES, FALLS_FROM = (1.5, 0.2), 0.3  # of the learning rate, until masks are fixed; when it begins to fall
SETTLING_RATE, SHARED_RATE = 1.5, 0.1  # of the learning rate, at first; each falls to nothing
WARM_UP = 64  # steps after which mean squared gradients say which weights matter
MASK_EVERY = 32  # steps between two looks at which weights go
CODE_TURNS = 20  # times that codes are decided
SENSED = 64  # batches at most that say what an error of a weight costs
SMALLER = 0.8  # a layer that keeps less of its places is worth a smaller graph
BIAS_CENTROIDS = 16


class PricedStudent(Student):
    """As its base; its graph becomes smaller."""

    fix_from, share_from = FIX_FROM, SHARE_FROM
    bias_centroids = BIAS_CENTROIDS

    def __init__(self, executor: Executor, how: Tuning, teacher: Executor | None = None) -> None:
        weights = [w for w in executor.graph.weights() if w.array.dtype == np.float32]
        # By name and of the whole graph, before anything is taken out of it.
        self.scales = {w.tensor.name: float(np.sqrt(np.mean(np.square(w.array)))) or 1.0 for w in weights}
        self.places = {w.tensor.name: w.array.size for w in weights}
        self.curvature: dict[int, np.ndarray] = {}  # of the loss, by weight, nats
        self.sensed = 0  # batches of which it is the sum
        self.turn = 0  # times that codes were decided
        super().__init__(executor, how, teacher)

    def _shared_variables(self) -> list[Any]:
        free = [v for t, v in self.values.items() if t not in self.bias_codes]
        return [*free, *self.books.values(), self.bias_book]

    def _compile(self) -> None:
        import tensorflow as tf

        super()._compile()
        seeds = tf.TensorSpec((2,), tf.int32)
        images = self.batch_of(self.executor.graph.inputs[0])
        self.squares = tf.function(self._squares, input_signature=[images, seeds])

    def _signature(self) -> list[Any]:
        """As in the base, with the teacher's answers."""
        images, labels, *_, share, factor = super()._signature()
        return [images, labels, self.batch_of(self.executor.scores), share, factor]

    def build(self) -> dict[int, Any]:
        """As in the base, but that weights go on learning behind their codes."""
        import tensorflow as tf

        made = super().build()
        for tensor in self.codes:
            value = self.values[tensor]
            through = value - tf.stop_gradient(value)
            made[tensor] += through * self.masks[tensor] if tensor in self.masks else through
        return made

    def begin(self, epoch: int) -> None:
        """As in the base; until the last weight has gone, channels that died go, too."""
        if 0 < epoch <= self.how.epochs * PRUNED_AT:
            self._shrink(SMALLER)
        if epoch == self.fix_epoch:
            self.mask(self.how.sparsity)
            self._shrink(1.0)
            self.fix()
        if epoch == self.share_epoch:
            self.share()

    def _shrink(self, below: float) -> None:
        """Takes dead channels out, where a layer is left with less than a share of its places."""
        if self.how.block > 1:  # channels that share their zeros in pairs must stay side by side
            return
        slots = [dict(zip(self.values, slot, strict=True)) for slot in (self.adam.first, self.adam.second)]
        beside = [{t: v.numpy() for t, v in arrays.items()} for arrays in (self.values, self.masks, *slots)]
        smaller, cut = cut_dead_channels(self.graph(), beside)
        sizes = zip(smaller.weights(), self.executor.graph.weights(), strict=True)
        if all(after.array.size >= below * before.array.size for after, before in sizes):
            return
        count, biases = self.adam.count, len(self.biases)
        self._take(smaller)
        # Constants of dead channels are in the biases of the smaller graph, which are not those beside it.
        learned = list(zip(self.values.values(), cut[0].values(), strict=True))
        pairs = learned[: len(learned) - biases]
        pairs += zip(self.masks.values(), cut[1].values(), strict=True)
        pairs += zip(self.adam.first, cut[2].values(), strict=True)
        pairs += zip(self.adam.second, cut[3].values(), strict=True)
        for variable, array in pairs:
            variable.assign(array)
        self.adam.count = count

    def _take(self, graph: Graph) -> None:
        """Begins again with the constants of another graph."""
        super().__init__(Executor(graph), self.how)

    def learn_from(
        self, images: np.ndarray, labels: np.ndarray | None, answers: np.ndarray, done: float, step: int
    ) -> None:
        """One step on images (n, height, width, channels) float32, with labels (n,) where there are any.

        ``answers`` (n, classes) are the teacher's scores; ``done`` is the share of the training that is over.
        """
        import tensorflow as tf

        if not self.fixed and step % MASK_EVERY == 0 and self.adam.count >= WARM_UP:
            self.mask(self._sparsity(done))
        if self.books:
            self._look_at_codes(images, done)
        given = labels if labels is not None else np.zeros(len(images), np.int64)
        share = self.how.label_share if labels is not None else 0.0
        numbers = (share, self.adam.next_factor() * self._rate(done))
        arrays = (tf.constant(images), tf.constant(given), tf.constant(answers))
        self.step(*arrays, *(tf.constant(n, tf.float32) for n in numbers))

    def _look_at_codes(self, images: np.ndarray, done: float) -> None:
        """Decides codes when it is time, and before that learns what errors cost."""
        begun = self.share_epoch / self.how.epochs
        turn = int(CODE_TURNS * (done - begun) / (CODED_AT - begun))
        if self.turn < turn <= CODE_TURNS:
            self.choose_codes()
            self.turn = turn
        elif self.sensed < SENSED:
            self.sense(images)

    def _sparsity(self, done: float) -> float:
        """The share of zeros at a time: weights fall by the same factor in equal times at first, then more slowly."""
        gone = 1 - (1 - min(done / PRUNED_AT, 1.0)) ** EARLINESS
        return 1 - (1 - self.how.sparsity) ** gone

    def _rate(self, done: float) -> float:
        """The learning rate at a time."""
        high, low = RATES
        if not self.fixed:
            share = low + (high - low) * _cosine((done - FALLS_FROM) / (self.fix_from - FALLS_FROM))
        elif not self.books:
            share = SETTLING_RATE * _cosine((done - self.fix_from) / (self.share_from - self.fix_from))
        else:
            share = SHARED_RATE * (1 - (done - self.share_from) / (1 - self.share_from))
        return self.how.rate * share

    def _step(  # type: ignore[override]
        self, images: Any, labels: Any, answers: Any, share: Any, factor: Any
    ) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            scores = self.executor(images, self.build(), wanted=self.executor.scores)
            loss = distilled(answers, scores, labels, share)
            for tensor in () if self.fixed else self.pruned:
                scale = self.scales[self.executor.graph.tensors[tensor].name]
                loss += self.how.price * soft_bits(self.values[tensor], STEP * scale)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self.learning)]
        self.adam.update(gradients, factor, 0.0)

    def mask(self, sparsity: float) -> None:
        """As in the base; the share is of the places of the whole graph, of which some may be gone."""
        grown = np.log1p(-sparsity) / np.log1p(-self.how.sparsity) if self.how.sparsity else 1.0
        alone = self.how.layer_sparsity
        together = [t for t in self.pruned if t not in alone]
        groups = [([t], 1 - (1 - alone[t]) ** grown) for t in self.pruned if t in alone]
        for tensors, share in [(together, sparsity), *groups]:
            named = [self.executor.graph.tensors[t] for t in tensors]
            kept = (1 - share) * sum(self.places[t.name] for t in named)
            here = sum(t.elements for t in named)
            self._mask(tensors, max(1 - kept / max(here, 1), 0.0))

    def share(self) -> None:
        """As in the base; codes will be decided again."""
        super().share()
        self._let_codes_change()

    def sense(self, images: np.ndarray) -> None:
        """Adds the squared gradients of one batch to the known cost of an error of each weight.

        ``images`` (n, height, width, channels) float32. The labels are drawn from the network's own softened answers,
        so that their squares are the Fisher information: gradients of the loss itself vanish where the student answers
        like the teacher, however curved the loss is.
        """
        import tensorflow as tf

        gradients = self.squares(tf.constant(images), tf.constant((self.how.seed, self.sensed)))
        # Of the mean of a batch: that many times as much for one image. Softened answers have flatter gradients.
        factor = len(images) * TEMPERATURE**2
        for tensor, squares in zip(self.codes, gradients, strict=True):
            self.curvature[tensor] = self.curvature.get(tensor, 0.0) + factor * squares.numpy()
        self.sensed += 1

    def _squares(self, images: Any, seed: Any) -> list[Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            scores = self.executor(images, self.build(), wanted=self.executor.scores) / TEMPERATURE
            drawn = tf.random.stateless_categorical(tf.stop_gradient(scores), 1, seed)[:, 0]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, scores))
        found = tape.gradient(loss, [self.values[t] for t in self.codes])
        return [tf.square(tf.convert_to_tensor(gradient)) for gradient in found]

    def _let_codes_change(self) -> None:
        import tensorflow as tf

        self.codes = {t: tf.Variable(codes) for t, codes in self.codes.items()}

    def choose_codes(self) -> None:
        """Every weight takes the code that costs least, of error and bits together."""
        for tensor, codes in self.codes.items():
            kept = self._kept(tensor)
            book = np.concatenate([[0.0], self.books[tensor].numpy()])
            bits = code_bits(codes.numpy(), len(book))
            if self.blocks.get(tensor, 1) > 1:
                bits[0] = np.inf  # half a pair of zeros is skipped by no kernel
            values = self.values[tensor].numpy()[kept]
            curvature = self.curvature[tensor][kept] / max(self.sensed, 1)
            chosen = codes.numpy()
            chosen[kept] = cheapest(values, curvature, book, bits, self.how.price)
            codes.assign(chosen)

    def state(self, epoch: int, step: int = 0) -> State:
        """As in the base, and the graph, which may be smaller than it was."""
        arrays = {**super().state(epoch, step)}
        arrays["sensed"], arrays["turn"] = np.array(self.sensed), np.array(self.turn)
        arrays["graph"] = np.frombuffer(write_graph(self.executor.graph), np.uint8)
        arrays.update({f"curvature/{tensor}": array for tensor, array in self.curvature.items()})
        return arrays

    def restore(self, state: State) -> tuple[int, int]:
        """Takes a state back; returns the epoch and the step that come next."""
        try:
            graph = read_graph(state["graph"].tobytes())
        except (KeyError, ModelError) as error:
            raise not_of_this(error) from error
        known = {(w.tensor.name, len(w.tensor.shape)) for w in self.executor.graph.weights()}
        if known != {(w.tensor.name, len(w.tensor.shape)) for w in graph.weights()}:
            raise not_of_this("other layers")
        self._take(graph)
        found = super().restore(state)
        self.curvature = group_of(state, "curvature")
        self.sensed, self.turn = int(state["sensed"]), int(state["turn"])
        self._let_codes_change()
        return found


def _cosine(done: float) -> float:
    """Falls from 1 to 0 while ``done`` rises from 0 to 1."""
    return float(1 + np.cos(np.pi * min(max(done, 0.0), 1.0))) / 2
