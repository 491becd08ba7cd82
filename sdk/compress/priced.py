"""The student of a training that counts bits: :mod:`sdk.compress.rate` is in its loss.

The phases are those of :class:`~sdk.compress.student.Student`, with four differences.  The number of weights falls by
the same factor in equal times at first and more slowly toward the end, because the last ones are the hardest to do
without.  The loss has the price of the weights' bits in it, so that what is cut is zero already.  Between two epochs
channels that nothing reads or makes are taken out, which makes a step of a network that is nearly empty several times
cheaper, and many more of them possible.  And the codes of shared weights are decided again and again, by error and
bits: behind each code its weight learns on, straight through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.compress.adam import factored
from sdk.compress.dead_channels import drop_dead_channels
from sdk.compress.rate import STEP, cheapest, code_bits, soft_bits
from sdk.compress.schedule import Tuning
from sdk.compress.student import State, Student, distilled, group_of, not_of_this
from sdk.errors import ModelError
from sdk.execute import Executor
from sdk.graph import Graph

# Shares of all epochs: the last weight that goes has gone; masks, and then codes, stay as they are.
PRUNED_AT, FIX_FROM, SHARE_FROM, CODED_AT = 0.4, 0.75, 0.8, 0.95
EARLINESS = 4.0  # of the curve along which weights go
RATES = (1.5, 0.05)  # of the learning rate while weights go, and when masks are fixed
SETTLING_RATE, SHARED_RATE = 0.5, 0.3  # of the learning rate, at first; each falls to nothing
WARM_UP = 64  # steps after which mean squared gradients say which weights matter
MASK_EVERY = 32  # steps between two looks at which weights go
CODES_EVERY = 100  # steps between two looks at which code is whose
SMALLER = 0.8  # a layer that keeps less of its places is worth a smaller graph
BIAS_CENTROIDS = 16


class PricedStudent(Student):
    """As its base; its graph becomes smaller."""

    fix_from, share_from = FIX_FROM, SHARE_FROM
    bias_centroids = BIAS_CENTROIDS

    def __init__(self, executor: Executor, how: Tuning) -> None:
        weights = [w for w in executor.graph.weights() if w.array.dtype == np.float32]
        # By name and of the whole graph, before anything is taken out of it.
        self.scales = {w.tensor.name: float(np.sqrt(np.mean(np.square(w.array)))) or 1.0 for w in weights}
        self.places = {w.tensor.name: w.array.size for w in weights}
        self.curvature: dict[int, np.ndarray] = {}  # of the loss, by weight, once codes are decided by it
        super().__init__(executor, how)

    def _shared_variables(self) -> list[Any]:
        free = [v for t, v in self.values.items() if t not in self.bias_codes]
        return [*free, *self.books.values(), self.bias_book]

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
        smaller = drop_dead_channels(self.graph())
        left = {w.tensor.name: w.array.size for w in smaller.weights()}
        if all(left[w.tensor.name] >= below * w.array.size for w in self.executor.graph.weights()):
            return
        self._take(smaller)
        for tensor, mask in self.masks.items():
            mask.assign(self.values[tensor].numpy() != 0)

    def _take(self, graph: Graph) -> None:
        """Begins anew with the constants of another graph."""
        super().__init__(Executor(graph), self.how)

    def learn_from(
        self, images: np.ndarray, labels: np.ndarray | None, answers: np.ndarray, done: float, step: int
    ) -> None:
        """One step; ``answers`` are the teacher's scores, ``done`` is the share of the training that is over."""
        import tensorflow as tf

        if not self.fixed and step % MASK_EVERY == 0 and self.adam.count >= WARM_UP:
            self.mask(self._sparsity(done))
        if self.books and step % CODES_EVERY == CODES_EVERY // 2 and done < CODED_AT:
            self.choose_codes()
        given = labels if labels is not None else np.zeros(len(images), np.int64)
        share = self.how.label_share if labels is not None else 0.0
        price = 0.0 if self.fixed else self.how.price
        numbers = (share, price, self.adam.next_factor() * self._rate(done))
        arrays = (tf.constant(images), tf.constant(given), tf.constant(answers))
        self.step(*arrays, *(tf.constant(n, tf.float32) for n in numbers))

    def _sparsity(self, done: float) -> float:
        """The share of zeros at a time: weights fall by the same factor in equal times at first, then more slowly."""
        gone = 1 - (1 - min(done / PRUNED_AT, 1.0)) ** EARLINESS
        return 1 - (1 - self.how.sparsity) ** gone

    def _rate(self, done: float) -> float:
        """The learning rate at a time."""
        high, low = RATES
        if done < PRUNED_AT:
            share = high
        elif not self.fixed:
            share = low + (high - low) * _cosine((done - PRUNED_AT) / (self.fix_from - PRUNED_AT))
        elif not self.books:
            share = SETTLING_RATE * _cosine((done - self.fix_from) / (self.share_from - self.fix_from))
        else:
            share = SHARED_RATE * (1 - (done - self.share_from) / (1 - self.share_from))
        return self.how.rate * share

    def _step(  # type: ignore[override]
        self, images: Any, labels: Any, answers: Any, share: Any, price: Any, factor: Any
    ) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            scores = self.executor(images, self.build(), wanted=self.executor.scores)
            loss = distilled(answers, scores, labels, share)
            for tensor in self.pruned:
                scale = self.scales[self.executor.graph.tensors[tensor].name]
                loss += price * soft_bits(self.values[tensor], STEP * scale)
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
        """As in the base; what an error of a weight costs is kept, to decide its code by."""
        place = {t: number for number, t in enumerate(self.values)}
        corrected = self.how.batch / (1 - self.adam.betas[1] ** max(self.adam.count, 1))
        self.curvature = {
            t: corrected * factored(self.adam.second[place[t]].numpy())
            for t in (*self.pruned, *self.unpruned)
        }
        super().share()
        self._let_codes_change()

    def _let_codes_change(self) -> None:
        import tensorflow as tf

        self.codes = {t: tf.Variable(codes) for t, codes in self.codes.items()}

    def choose_codes(self) -> None:
        """Every weight takes the code that costs least, of error and bits together."""
        for tensor, codes in self.codes.items():
            kept = self.masks[tensor].numpy() > 0 if tensor in self.masks else np.ones(codes.shape, bool)
            book = np.concatenate([[0.0], self.books[tensor].numpy()])
            bits = code_bits(codes.numpy(), len(book))
            if self.blocks.get(tensor, 1) > 1:
                bits[0] = np.inf  # half a pair of zeros is skipped by no kernel
            values, curvature = self.values[tensor].numpy()[kept], self.curvature[tensor][kept]
            chosen = codes.numpy()
            chosen[kept] = cheapest(values, curvature, book, bits, self.how.price)
            codes.assign(chosen)

    def state(self, epoch: int, step: int = 0) -> State:
        """As in the base, and the graph, which may be smaller than it was."""
        arrays = {**super().state(epoch, step)}
        arrays["graph"] = np.frombuffer(self.executor.graph.write(), np.uint8)
        arrays.update({f"curvature/{tensor}": array for tensor, array in self.curvature.items()})
        return arrays

    def restore(self, state: State) -> tuple[int, int]:
        """Takes a state back; returns the epoch and the step that come next."""
        try:
            graph = Graph.read(state["graph"].tobytes())
        except (KeyError, ModelError) as error:
            raise not_of_this(error) from error
        known = {(w.tensor.name, len(w.tensor.shape)) for w in self.executor.graph.weights()}
        if known != {(w.tensor.name, len(w.tensor.shape)) for w in graph.weights()}:
            raise not_of_this("other layers")
        self._take(graph)
        found = super().restore(state)
        self.curvature = group_of(state, "curvature")
        self._let_codes_change()
        return found


def _cosine(done: float) -> float:
    """Falls from 1 to 0 while ``done`` rises from 0 to 1."""
    return float(1 + np.cos(np.pi * min(max(done, 0.0), 1.0))) / 2
