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

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.batches import shuffled
from sdk.compress.schedule import PRUNE_UNTIL, Tuning
from sdk.compress.student import State, Student
from sdk.errors import ModelError

if TYPE_CHECKING:
    from sdk.data import Dataset
    from sdk.execute import Executor

Progress = Callable[[str, int, int], None]
HELD_BYTES = 1 << 30  # images are preprocessed once where all of them fit


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
    student = Student(executor, how)
    first, skip = (0, 0) if resume is None else student.restore(resume)
    steps = -(-len(dataset) // how.batch)
    held = len(dataset) * int(np.prod(dataset.input_shape)) * 4 <= HELD_BYTES
    images = dataset.images() if held else None
    for epoch in range(first, how.epochs):
        if not skip:
            student.begin(epoch)
        order = np.random.default_rng((how.seed, epoch))
        for step, batch, labels in shuffled(dataset, images, how, order, skip):
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
    student = Student(executor, how)
    student.mask(how.sparsity)
    student.share()
    return student.constants()


def step_batches(dataset: Dataset, how: Tuning, executor: Executor, steps: int) -> Iterator[int]:
    """Learns ``steps`` batches in vain and yields their sizes, the first (which compiles) apart: to be timed."""
    student = Student(executor, how)
    for step, images, labels in shuffled(dataset, None, how, np.random.default_rng(how.seed), 0):
        if step > steps:
            return
        student.learn(images, labels, 0.99 * PRUNE_UNTIL, 1)
        yield len(images)
