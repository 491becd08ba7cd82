"""Statistics of a network on calibration images: the sensitivity of each output channel, and the input of each layer.

Two networks run side by side: the teacher (the float original) and the student (whose earlier layers are
already compressed). Both are one executor with other constants. Values are moved forward from layer to layer
and held for as many images as the memory budget allows; where layers get smaller and more images fit, both
start again from the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sdk.compress.solve.answer_loss import AnsweringRunner, AnswerLoss
from sdk.compress.solve.matrices import LayerShape
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

BATCH = 8  # images per step: few enough for the unfolded patches of an early layer
STEP_NUMBERS = 1 << 21  # of the largest tensor, up to which a network runs several steps' images at once
MEMORY_BYTES = 2 << 30  # for the values of both networks
MAX_POSITIONS = 200_000  # of one layer; more sharpen its covariance no further

# Of a layer's positions that are looked at one by one: how many, of how many batches, and how many numbers they read.
SAMPLED_POSITIONS, SAMPLED_BATCHES, SAMPLED_NUMBERS = 40_000, 32, 1 << 25
MOST_COLUMNS = 4096  # of a layer whose gradients' second moments are kept
MOST_COHERENT = 64.0  # times, that a group's errors may cost for being alike at many positions

Constants = Mapping[int, Any]


class GraphRunner(AnsweringRunner, Protocol):
    """The part of :class:`sdk.graph.in_tensorflow.executor.Executor` that is used here."""

    def __call__(self, images: Any, constants: Constants | None = None, *, wanted: int | None = None) -> Any:
        """One tensor for these images."""


Images = Callable[[Sequence[int]], np.ndarray]  # sample positions -> preprocessed images


@dataclass(frozen=True)
class LayerPlace:
    """Where a layer stands: its weight's and its bias' tensor, and how the weight unfolds.

    ``others``: the biases of the others that read the same weight, by operator number.
    """

    weight: int
    bias: int
    shape: LayerShape
    others: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivity:
    """The cost of errors of a layer's output, in nats for half a squared error, means over images.

    ``channels`` (groups * rows,) sums over positions as if errors at different positions had nothing in common.  The
    rest are the second moments of the gradients of a group's weights and biases, summed over its rows: ``weights``
    (groups, columns, columns), ``mixed`` (groups, columns) of weights and bias, ``biases`` (groups,); empty for a layer
    of very many columns, and where several layers read the weight.
    """

    channels: np.ndarray
    weights: np.ndarray
    mixed: np.ndarray
    biases: np.ndarray

    def coherence(self, covariance: np.ndarray, mean: np.ndarray) -> float:
        """The factor by which an error of the weights costs more because its positions are not independent.

        The errors that second-order rounding leaves are white in the metric of the input's ``covariance`` (groups,
        columns, columns), about its ``mean`` (groups, columns), for which the bias compensates.
        """
        if not self.weights.size:
            return 1.0
        crossed = mean[:, :, None] * self.mixed[:, None, :]
        outer = mean[:, :, None] * mean[:, None, :]
        centred = self.weights - crossed - np.swapaxes(crossed, 1, 2) + self.biases[:, None, None] * outer
        together = np.trace(np.linalg.solve(covariance, centred), axis1=1, axis2=2)
        apart = self.channels.reshape(len(covariance), -1).sum(axis=1)
        if not apart.sum() > 0:
            return 1.0
        ratios = np.clip(
            together / np.maximum(apart * covariance.shape[1], 1e-300), 1 / MOST_COHERENT, MOST_COHERENT
        )
        return float((ratios * apart).sum() / apart.sum())


def sensitivities(
    runner: GraphRunner,
    layers: Mapping[int, LayerPlace],
    images: Images,
    count: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[int, Sensitivity]:
    """For each layer (by operator number) what errors of its output cost.

    It is the Fisher information: with labels drawn from the network's own answer, half of it times a squared output
    error is the loss in nats to second order (:mod:`sdk.compress.solve.answer_loss`). A few images cannot show every
    channel's sensitivity (of a thousand classes most were never drawn), so the channels of a layer are moved toward
    their mean by the share of their differences that is chance. Gradients of different images are independent, because
    their labels were drawn independently: the second moment of a batch's gradient is the sum of theirs.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    graph = runner.graph
    answers = AnswerLoss(runner, images, range(count))
    totals: dict[int, np.ndarray] = {}  # (2, channels): sums over images of the sensitivity and of its square
    moments: dict[int, list[np.ndarray]] = {}
    watched = {place.weight: tf.constant(graph.tensors[place.weight].data) for place in layers.values()}
    for start in range(0, count, BATCH):
        progress("sensitivity", start, count)
        batch = images(range(start, min(start + BATCH, count)))
        probes = _probes(graph, layers, len(batch))
        with tf.GradientTape() as tape:
            tape.watch((probes, watched))
            values = runner.run(
                {graph.inputs[0]: batch}, wanted=answers.wanted, constants={**watched, **probes}
            )
            loss = answers.drawn(values, rng)
        of_outputs, of_weights = tape.gradient(
            loss, (probes, watched), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        for index, place in layers.items():
            outputs = of_outputs[place.bias].numpy()
            biases = (place.bias, *place.others.values())
            each = np.sum([_by_image(of_outputs[bias].numpy()) for bias in biases], axis=0)
            totals[index] = totals.get(index, np.zeros(1)) + np.stack(
                [each.sum(axis=0), np.square(each).sum(axis=0)]
            )
            if place.shape.columns > MOST_COLUMNS or place.others:
                continue
            parts = _second_moments(place.shape.unfold(of_weights[place.weight].numpy()), outputs)
            kept = moments.setdefault(index, [np.zeros(part.shape) for part in parts])
            for total, part in zip(kept, parts, strict=True):
                total += part
    progress("sensitivity", count, count)
    none = [np.zeros((0, 0, 0)), np.zeros((0, 0)), np.zeros(0)]
    return {
        index: Sensitivity(_shrunk(total / count, count), *(p / count for p in moments.get(index, none)))
        for index, total in totals.items()
    }


def _by_image(gradients: np.ndarray) -> np.ndarray:
    """Squared gradients (n, ..., channels), summed over positions: (n, channels)."""
    squared = np.square(gradients, dtype=np.float64)
    return squared.reshape(len(squared), -1, squared.shape[-1]).sum(axis=1)


def _probes(graph: Graph, layers: Mapping[int, LayerPlace], count: int) -> dict[int, Any]:
    """For each layer a bias of its own for every sample and position: its gradient is that of the layer's output."""
    import tensorflow as tf

    biases = {
        operator: bias
        for index, place in layers.items()
        for operator, bias in ((index, place.bias), *place.others.items())
    }
    return {
        bias: tf.zeros((count, *graph.tensors[graph.operators[operator].outputs[0]].shape[1:]))
        + graph.tensors[bias].data
        for operator, bias in biases.items()
    }


def _second_moments(rows: np.ndarray, outputs: np.ndarray) -> list[np.ndarray]:
    """Of the gradients of a layer's weights, ``rows`` (groups, rows, columns), and of its biases, which are the sums
    of ``outputs`` (..., channels): (groups, columns, columns), (groups, columns) and (groups,).
    """
    biases = outputs.reshape(-1, outputs.shape[-1]).sum(axis=0).reshape(rows.shape[:2])
    return [
        np.swapaxes(rows, 1, 2) @ rows,
        np.einsum("gr,grc->gc", biases, rows),
        np.square(biases).sum(axis=1),
    ]


def _shrunk(moments: np.ndarray, count: int) -> np.ndarray:
    """Channel means drawn to their common mean by the share of their variance that comes from few samples."""
    mean, second = moments
    chance = (second - mean**2).mean() / max(count - 1, 1)
    share = 1.0 if chance >= mean.var() else chance / mean.var()
    return mean + share * (mean.mean() - mean)


def input_covariances(
    runner: GraphRunner,
    operators: Sequence[int],
    images: Images,
    count: int,
    progress: Progress = silent,
) -> dict[int, np.ndarray]:
    """For each operator number the second moment (columns, columns) of what a fully connected or 1x1 layer reads."""
    graph = runner.graph
    shapes = {
        weight.operator_index: LayerShape.of(graph, weight)
        for weight in graph.weights()
        if weight.operator_index in operators
    }
    sums: dict[int, np.ndarray] = {}
    totals: dict[int, int] = {}
    for start in range(0, count, BATCH):
        progress("low rank", start, count)
        batch = images(range(start, min(start + BATCH, count)))
        sources = {graph.operators[index].inputs[0] for index in operators}
        values = runner.run({graph.inputs[0]: batch}, wanted=sources)
        for index, shape in shapes.items():
            assert shape is not None
            columns = shape.patches(values[graph.operators[index].inputs[0]])[:, 0]
            sums[index] = sums.get(index, np.zeros(1)) + (columns.T @ columns).astype(np.float64)
            totals[index] = totals.get(index, 0) + len(columns)
    return {index: total / totals[index] for index, total in sums.items()}


@dataclass(frozen=True)
class Moments:
    """First and second moments of a layer's input columns, student (s) and teacher (t).

    Means are (groups, columns), ``covariance`` of s, ``cross`` of t with s and ``teacher_covariance`` are (groups,
    columns, columns), centred. ``energy`` (groups,) is the mean square of a student's column, uncentred: every one of
    its columns has rounding errors. ``noise`` (groups,) is the share of the covariance's off-diagonal energy that is
    chance, 0 ... 1.
    """

    student_mean: np.ndarray
    teacher_mean: np.ndarray
    covariance: np.ndarray
    cross: np.ndarray
    teacher_covariance: np.ndarray
    energy: np.ndarray
    noise: np.ndarray


class Taught:
    """The sums of what the teacher's layers read, which are the same in each calibration of one runner on the same
    images: they are counted once."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, LayerShape], tuple[np.ndarray, np.ndarray]] = {}

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(first.nbytes + second.nbytes for first, second in self._sums.values())

    def get(self, tensor: int, shape: LayerShape) -> tuple[np.ndarray, np.ndarray] | None:
        """The sums (groups, columns) and (groups, columns, columns) of a layer's columns, where they are known."""
        return self._sums.get((tensor, shape))

    def keep(self, tensor: int, shape: LayerShape, sums: tuple[np.ndarray, np.ndarray]) -> None:
        """Holds the sums (groups, columns) and (groups, columns, columns) of a layer's columns."""
        self._sums[tensor, shape] = sums


Both = tuple[dict[int, Any], dict[int, Any]]  # the teacher's tensors, and the student's


def _at_once(graph: Graph) -> int:
    """How many images a network is run on at once, a multiple of those of a step: of a small one many."""
    read = {tensor for operator in graph.operators for tensor in operator.outputs} | {*graph.inputs}
    largest = max(graph.tensors[tensor].elements for tensor in read)
    return max(STEP_NUMBERS // largest // BATCH, 1) * BATCH


def _arrays(values: dict[int, Any]) -> dict[int, np.ndarray]:
    return {tensor: np.asarray(value) for tensor, value in values.items()}


def _part(both: Both, samples: range, first: int) -> Both:
    """The values of these samples, of those of a run that begins with ``first``."""
    teacher, student = (
        {tensor: value[samples.start - first : samples.stop - first] for tensor, value in values.items()}
        for values in both
    )
    return teacher, student


class Streams:
    """Teacher and student at one point of the network, moved forward layer by layer.

    The values of all images are held at the last point where they fit into the memory budget; values between that point
    and the current layer, such as the wide middle of a bottleneck, are computed batch by batch.
    """

    def __init__(
        self,
        runner: GraphRunner,
        images: Images,
        count: int,
        memory_bytes: int = MEMORY_BYTES,
        *,
        taught: Taught | None = None,
    ) -> None:
        self.runner, self.images, self.memory_bytes = runner, images, memory_bytes
        self.taught = taught or Taught()
        self._batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
        size = _at_once(runner.graph)
        self._runs = [range(start, min(start + size, count)) for start in range(0, count, size)]
        self._count = count
        self._held: list[Both] = []  # of each run
        self._student: Constants = {}

    def advance(self, operator_index: int, student: Constants) -> None:
        """Brings both networks to just before an operator; every earlier layer is final in ``student``."""
        self._student = student
        live = live_before(self.runner.graph, operator_index)
        size = sum(self.runner.graph.tensors[t].elements for t in live) * 4 * 2
        if size * self._count + self.taught.size > self.memory_bytes:
            self._hold_images()
            return
        held = []
        for number, run in enumerate(self._runs):
            held.append(self._run(self._of_run(number, run), live))
            if self._held:
                self._held[number] = ({}, {})  # no longer needed, and the memory is
        self._held = held

    def _hold_images(self) -> None:
        """Holds the images until something smaller is: they are read and decoded once."""
        source = self.runner.graph.inputs[0]
        size = self.runner.graph.tensors[source].elements * 4
        if not self._held and size * self._count <= self.memory_bytes // 4:
            for run in self._runs:
                values = {source: self.images(run)}
                self._held.append((values, values))

    def _of_run(self, number: int, samples: range) -> Both:
        """The tensors from which those of these samples, a part of a run, are computed."""
        if not self._held:
            source = self.runner.graph.inputs[0]
            values = {source: self.images(samples)}
            return values, values
        run = self._runs[number]
        return self._held[number] if samples == run else _part(self._held[number], samples, run.start)

    def _run(self, known: Both, wanted: Sequence[int]) -> Both:
        """The tensors ``wanted``, teacher's and student's."""
        teacher, student = known
        return (
            self.runner.run(teacher, wanted=wanted),
            self.runner.run(student, wanted=wanted, constants=self._student),
        )

    def _values(self, number: int, wanted: Sequence[int]) -> Both:
        """The tensors ``wanted`` of one batch."""
        samples = self._batches[number]
        return self._run(self._of_run(samples.start // len(self._runs[0]), samples), wanted)

    def _all_values(self, wanted: Sequence[int]) -> Iterator[Both]:
        """The tensors ``wanted`` of each batch in turn; those of a run are computed at once."""
        for number, run in enumerate(self._runs):
            teacher, student = self._run(self._of_run(number, run), wanted)
            values = _arrays(teacher), _arrays(student)  # a part of an array is no call of TensorFlow
            for start in range(run.start, run.stop, BATCH):
                yield _part(values, range(start, min(start + BATCH, run.stop)), run.start)

    def means(self, shape: LayerShape, tensor: int) -> tuple[np.ndarray, np.ndarray]:
        """The means (groups, columns) of what a layer reads, teacher's and student's."""
        sums, total = [np.zeros(1), np.zeros(1)], 0
        for both in self._all_values((tensor,)):
            patches = [shape.patches(values[tensor]) for values in both]
            sums = [a + b.sum(axis=0, dtype=np.float64) for a, b in zip(sums, patches, strict=True)]
            total += len(patches[0])
        return sums[0] / total, sums[1] / total

    def samples(self, shape: LayerShape, tensor: int) -> tuple[np.ndarray, np.ndarray]:
        """What a layer reads at some positions, teacher's and student's: (groups, n, columns) float32 each."""
        most = min(SAMPLED_POSITIONS, SAMPLED_NUMBERS // (shape.columns * shape.groups))
        found: list[list[np.ndarray]] = [[], []]
        there = 0
        for number in np.random.default_rng(0).permutation(len(self._batches)).tolist():
            values = self._values(number, (tensor,))
            count = int(np.prod(shape.positions(values[0][tensor])))
            wanted = -(-most // min(len(self._batches), SAMPLED_BATCHES))
            keep = some_of(count, wanted, number)
            for side, of_network in zip(found, values, strict=True):
                side.append(shape.patches(of_network[tensor], keep))
            there += len(found[0][-1])
            if there >= most:
                break
        teacher, student = (np.swapaxes(np.concatenate(side), 0, 1) for side in found)
        return teacher, student

    def _columns(self, shape: LayerShape, tensor: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What a layer reads at some positions of each batch, teacher's and student's: (groups, n, columns) each."""
        wanted = -(-MAX_POSITIONS // len(self._batches))
        for number, values in enumerate(self._all_values((tensor,))):
            keep = some_of(int(np.prod(shape.positions(values[0][tensor]))), wanted, number)
            teacher, student = (np.swapaxes(shape.patches(v[tensor], keep), 0, 1) for v in values)
            yield teacher, student

    def moments_of_parts(self, shape: LayerShape, tensor: int, parts: int) -> list[Moments]:
        """As :meth:`moments`, of each of ``parts`` equal parts of the images, without what only calibration reads (the
        teacher's covariance, the share of chance: zero)."""
        sums: list[list[np.ndarray]] = [[] for _ in range(parts)]
        totals = [0] * parts
        for number, (t, s) in enumerate(self._columns(shape, tensor)):
            found = [s.sum(1, np.float64), t.sum(1, np.float64)]
            found += [np.swapaxes(s, 1, 2) @ s, np.swapaxes(t, 1, 2) @ s]
            part = number * parts // len(self._batches)
            sums[part] = [a + b for a, b in zip(sums[part], found, strict=True)] if sums[part] else found
            totals[part] += s.shape[1]
        return [_centred(found, total) for found, total in zip(sums, totals, strict=True)]

    def moments(self, shape: LayerShape, tensor: int) -> Moments:
        """Moments of the columns that a layer with this unfolding reads from ``tensor``."""
        known = self.taught.get(tensor, shape)
        sums: list[np.ndarray] = []
        total = 0
        for number, (t, s) in enumerate(self._columns(shape, tensor)):
            s_t = np.swapaxes(s, 1, 2)
            t_t = np.swapaxes(t, 1, 2)
            parts = [s.sum(1, np.float64), s_t @ s, t_t @ s]
            parts.append(energy_off_diagonal(parts[1] / s.shape[1]))
            if known is None:
                parts += [t.sum(1, np.float64), t_t @ t]
            for place, part in enumerate(parts):
                if number == 0:
                    sums.append(part)
                else:
                    sums[place] += part
            total += s.shape[1]
        if known is None:
            known = sums[4], sums[5]
            self.taught.keep(tensor, shape, known)
        sums = [sums[0], known[0], *sums[1:4], known[1]]
        student_mean, teacher_mean, second, cross = (part.astype(np.float64) / total for part in sums[:4])
        covariance = second - student_mean[:, :, None] * student_mean[:, None, :]
        batches = len(self._batches)
        noise = chance_share(sums[4] / batches, second, covariance, batches)
        cross_covariance = cross - teacher_mean[:, :, None] * student_mean[:, None, :]
        energy = np.trace(second, axis1=1, axis2=2) / second.shape[1]
        taught = sums[5].astype(np.float64) / total - teacher_mean[:, :, None] * teacher_mean[:, None, :]
        return Moments(student_mean, teacher_mean, covariance, cross_covariance, taught, energy, noise)


def some_of(count: int, most: int, seed: int) -> np.ndarray | None:
    """Which of ``count`` positions are read, at most ``most`` of them, (n,) int64; None where all are."""
    return np.random.default_rng(seed).choice(count, most, replace=False) if count > most else None


def _centred(sums: Sequence[np.ndarray], total: int) -> Moments:
    """Moments of the sums over ``total`` positions of what the student reads, and the teacher, and of products."""
    student, teacher, second, cross = (part.astype(np.float64) / total for part in sums)
    covariance = second - student[:, :, None] * student[:, None, :]
    cross -= teacher[:, :, None] * student[:, None, :]
    energy = np.trace(second, axis1=1, axis2=2) / second.shape[1]
    return Moments(
        student, teacher, covariance, cross, np.zeros_like(covariance), energy, np.zeros(len(second))
    )


def together(parts: Sequence[Moments]) -> Moments:
    """The moments of all parts, which are of equally many positions; the rest is zero as in theirs."""
    student, teacher, energy = (
        np.mean([getattr(part, name) for part in parts], axis=0)
        for name in ("student_mean", "teacher_mean", "energy")
    )
    covariance, cross = (np.zeros_like(parts[0].covariance) for _ in range(2))
    for part in parts:
        apart, taught = part.student_mean - student, part.teacher_mean - teacher
        covariance += (part.covariance + apart[:, :, None] * apart[:, None, :]) / len(parts)
        cross += (part.cross + taught[:, :, None] * apart[:, None, :]) / len(parts)
    return Moments(student, teacher, covariance, cross, np.zeros_like(covariance), energy, parts[0].noise)


def chance_share(
    of_batches: np.ndarray, second: np.ndarray, covariance: np.ndarray, batches: int
) -> np.ndarray:
    """The share (groups,) of a covariance (groups, columns, columns) off its diagonal that is chance, 0 ... 1.

    As Ledoit and Wolf (2004): how far the batches' own second moments lie from their mean tells how far the mean lies
    from the truth. ``of_batches`` (groups,) is the mean energy of those of one batch, ``second`` their mean. Batches,
    not positions, because the positions of an image are not independent.
    """
    spread = np.maximum(of_batches - energy_off_diagonal(second), 0) / max(batches - 1, 1)
    return np.minimum(spread / np.maximum(energy_off_diagonal(covariance), 1e-30), 1.0)


def energy_off_diagonal(matrices: np.ndarray) -> np.ndarray:
    """The sum of squares off the diagonals of matrices (groups, columns, columns), (groups,)."""
    squared = np.square(matrices, dtype=np.float64)
    return squared.sum(axis=(1, 2)) - np.trace(squared, axis1=1, axis2=2)


def live_before(graph: Graph, operator_index: int) -> tuple[int, ...]:
    """The computed tensors that exist before an operator runs and are read by it or later."""
    made = set(graph.inputs)
    made.update(t for operator in graph.operators[:operator_index] for t in operator.outputs)
    read = {t for operator in graph.operators[operator_index:] for t in operator.inputs}
    outputs = set(graph.outputs)
    return tuple(sorted(made & (read | outputs)))
