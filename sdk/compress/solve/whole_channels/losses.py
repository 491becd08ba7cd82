"""What families of channels cost, measured: the network answers without some of them, and what it loses is counted.

Second moments give the order in which a family's channels are removed, and how much more each costs than the one before
(:mod:`sdk.compress.solve.whole_channels.costs`). Across families they are too coarse: the effect of later layers on an
error is known only to second order, which in MobileNet V1 is off by a factor of two either way. So a few shares of each
family are removed for a trial, and the costs are scaled to the loss of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sdk.compress.rewrite.coupled_channels import Coupling
from sdk.compress.solve.answer_loss import AnswerLoss
from sdk.compress.solve.calibrate import SolvedLayer, made_up_for, regular
from sdk.compress.solve.statistics import BATCH, GraphRunner, Images, Moments, live_before
from sdk.compress.solve.whole_channels.costs import Order, column_sets
from sdk.tools.progress import Progress, silent

TRIED = (0.12, 0.3, 0.5, 0.75)  # shares of a family's steps that are taken out for a trial
LEAST_NATS = 1e-6  # of a step: none is free


def measured(
    runner: GraphRunner,
    coupling: Coupling,
    layers: Sequence[SolvedLayer],
    seen: Mapping[int, Moments],
    found: Sequence[Order],
    images: Images,
    samples: Sequence[int],
    progress: Progress = silent,
) -> list[Order]:
    """The same orders with costs as measured on images ``samples``, which ``seen`` was not counted on."""
    made = []
    for number, order in enumerate(found):
        progress("channels", number, len(found))
        readers = [
            layer
            for layer in layers
            if layer.shape.kind != "DEPTHWISE_CONV_2D"
            and np.isin(coupling.sets(layer.source), order.family.sets).any()
        ]
        lost_with = _trial(runner, min(layer.weight.operator_index for layer in readers), images, samples)
        tried: list[int] = []
        ratios: list[float] = []
        for count in sorted({max(1, round(share * len(order.chunks))) for share in TRIED}):
            gone = np.concatenate(order.chunks[:count])
            nats = lost_with(_without(runner, coupling, readers, seen, gone))
            tried.append(count)
            ratios.append(nats / max(sum(order.nats[:count]), LEAST_NATS))
        made.append(Order(order.family, order.chunks, _scaled(order.nats, tried, ratios)))
    progress("channels", len(found), len(found))
    return made


def _trial(
    runner: GraphRunner, first: int, images: Images, samples: Sequence[int]
) -> Callable[[Mapping[int, Any]], float]:
    """A function from constants of operators ``first`` and later to the mean divergence of the answers, in nats."""
    graph = runner.graph
    live = live_before(graph, first)
    loss = AnswerLoss(runner, images, samples)
    held: list[tuple[dict[int, Any], dict[int, np.ndarray]]] = []
    for start in range(0, len(samples), BATCH):
        values = runner.run(
            {graph.inputs[0]: images(samples[start : start + BATCH])}, wanted={*live, *loss.wanted}
        )
        held.append(({tensor: values[tensor] for tensor in live}, loss.of(values)))

    def lost(constants: Mapping[int, Any]) -> float:
        total = 0.0
        for values, before in held:
            total += loss.apart(before, loss.of(runner.run(values, wanted=loss.wanted, constants=constants)))
        return total / len(samples)

    return lost


def _without(
    runner: GraphRunner,
    coupling: Coupling,
    readers: Sequence[SolvedLayer],
    seen: Mapping[int, Moments],
    gone: np.ndarray,
) -> dict[int, np.ndarray]:
    """Weights and biases of layers that no longer read the sets ``gone``, (n,), and make up for them."""
    constants = {}
    for layer in readers:
        kept = ~np.isin(column_sets(coupling.sets(layer.source), layer.shape), gone)
        weights = layer.shape.unfold(layer.weight.array).astype(np.float64)
        left, moved = solved(weights, seen[layer.weight.operator_index], kept)
        constants[layer.weight.tensor_index] = layer.shape.fold(left).astype(np.float32)
        bias = runner.graph.tensors[layer.bias].data
        assert bias is not None
        constants[layer.bias] = (bias + moved).astype(np.float32)
    return constants


def _scaled(nats: Sequence[float], tried: Sequence[int], ratios: Sequence[float]) -> tuple[float, ...]:
    """Costs of steps whose sums are as many times larger as measured, and which never fall."""
    counts = np.arange(1, len(nats) + 1)
    sums = np.maximum.accumulate(np.cumsum(nats) * np.interp(counts, tried, ratios))
    blocks: list[tuple[float, int]] = []  # pooled where a step would be cheaper than the one before it
    for cost in np.diff(sums, prepend=0.0).tolist():
        block = (max(cost, LEAST_NATS), 1)
        while blocks and blocks[-1][0] > block[0]:
            (one, many), (other, more) = blocks.pop(), block
            block = ((one * many + other * more) / (many + more), many + more)
        blocks.append(block)
    return tuple(cost for cost, many in blocks for _ in range(many))


def solved(weights: np.ndarray, moments: Moments, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights (groups, rows, columns) of the columns that are ``kept`` (groups, columns), zero elsewhere, and what
    is added to the bias (groups * rows,)."""
    count = int(kept.sum(axis=1).max())
    found = np.zeros_like(weights)
    if count:
        # A depthwise channel that went has no columns left: it is solved with what it had, and zeroed below.
        places = np.argsort(~kept, axis=1, kind="stable")[:, :count]
        across = places[:, None, :]
        student = np.take_along_axis(moments.student_mean, places, 1)
        covariance = np.take_along_axis(
            np.take_along_axis(moments.covariance, places[:, :, None], 1), across, 2
        )
        cross = np.take_along_axis(moments.cross, across, 2)
        energy = moments.energy * kept.shape[1] / count
        few = Moments(student, moments.teacher_mean, covariance, cross, covariance, energy, moments.noise)
        beginning = np.take_along_axis(weights, across, 2)
        missing = (weights @ cross - beginning @ covariance) * (1 - moments.noise)[:, None, None]
        best = beginning + made_up_for(missing, regular(few, covariance))
        np.put_along_axis(found, np.broadcast_to(across, best.shape), best, 2)
        found *= kept[:, None, :]
    reached = found @ moments.student_mean[..., None]
    return found, (weights @ moments.teacher_mean[..., None] - reached).reshape(-1)
