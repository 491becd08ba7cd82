"""The training level: masks and shared centroids trained end to end, with the float original as teacher.

Four phases, the outline that of Deep Compression (arXiv 1510.00149). Pruning: the share of zeros rises along a cubic
curve (arXiv 1710.01878) while the rest learns; which weights go is decided across layers by what their removal costs,
w^2 F / 2 (Optimal Brain Damage), with F the mean squared gradient that Adam keeps anyway. A weight that is masked
still learns from the gradient of its place (straight through, as in Dynamic Network Surgery, arXiv 1608.04493), and
comes back when it is worth more than another. Settling: the masks are fixed, the rest learns on. Sharing: the weights
of a layer become centroids, and a centroid learns from the summed gradients of its members; biases share centroids
across the network.

The loss is the distance from the teacher's answer (distillation, arXiv 1503.02531), and from the labels where there are
some.

With a price of a bit above 0 the bits of the package are in the loss, too, and the phases are those of
:mod:`sdk.compress.train.priced`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.train.answers import Answers
from sdk.compress.train.batches import Variant, held, numbered, shuffled
from sdk.compress.train.priced import PricedStudent
from sdk.compress.train.refining import Begun, RefinedStudent
from sdk.compress.train.schedule import PRUNE_UNTIL, Tuning
from sdk.compress.train.student import FROM_THE_BEGINNING, Course, Student
from sdk.errors import ModelError
from sdk.graph.records import Graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset
    from sdk.graph.in_tensorflow.executor import Executor


def tune(
    executor: Executor,
    dataset: Dataset,
    how: Tuning,
    *,
    teacher: Executor | None = None,
    course: Course = FROM_THE_BEGINNING,
) -> Graph:
    """The trained graph. ``teacher`` answers right; None: ``executor`` with the graph's own weights, before they learn.

    Raises ModelError for settings that cannot be trained and for the state of another training.
    """
    if not 2 <= how.clusters <= 256 or not 0 <= how.sparsity < 1 or how.epochs < 3 or not 0 <= how.price < 1:
        raise ModelError(
            "this cannot be trained",
            expected="2 to 256 clusters, 0 <= sparsity < 1, at least 3 epochs, 0 <= price < 1",
            found=f"{how.clusters} clusters, sparsity {how.sparsity}, {how.epochs} epochs, price {how.price}",
        )
    student = PricedStudent(executor, how, teacher) if how.price else Student(executor, how, teacher)
    _teach(student, dataset, course)
    return student.graph()


def refine(
    executor: Executor,
    dataset: Dataset,
    how: Tuning,
    begun: Begun,
    *,
    teacher: Executor | None = None,
    course: Course = FROM_THE_BEGINNING,
) -> RefinedStudent:
    """The student that begins with what calibration found, after its epochs; the rest as in :func:`tune`."""
    student = RefinedStudent(executor, how, begun, teacher)
    _teach(student, dataset, course)
    return student


def _teach(student: Student, dataset: Dataset, course: Course) -> None:
    """All epochs, or those that a state that is given back leaves."""
    how = student.how
    lessons = _lessons(student, dataset, held(dataset))
    first, skip = (0, 0) if course.resume is None else student.restore(course.resume)
    steps = -(-len(dataset) // how.batch)
    for epoch in range(first, how.epochs):
        if not skip:
            student.begin(epoch)
        for step, _, lesson in lessons(epoch, skip):
            course.progress("train", epoch * steps + step, how.epochs * steps)
            lesson((epoch * steps + step) / (how.epochs * steps), step)
            if step + 1 < steps and course.due():
                course.checkpoint(student.state(epoch, step + 1))
        skip = 0
        course.checkpoint(student.state(epoch + 1))
        course.watch(epoch + 1, student.graph)
    course.progress("train", how.epochs * steps, how.epochs * steps)


def untrained(executor: Executor, how: Tuning) -> Graph:
    """The original after pruning and sharing alone: about the size that training will lead to."""
    student = Student(executor, how)
    student.mask(how.sparsity)
    student.share()
    return student.graph()


def step_batches(dataset: Dataset, how: Tuning, executor: Executor, steps: int) -> Iterator[int]:
    """Learns ``steps`` batches in vain and yields their sizes, the first (which compiles) apart: to be timed."""
    learn = _lessons(Student(executor, how), dataset, None)
    for step, size, lesson in learn(0, 0):
        if step > steps:
            return
        lesson(0.99 * PRUNE_UNTIL, 1)
        yield size


Lesson = Callable[[float, int], None]


def _lessons(
    student: Student, dataset: Dataset, images: np.ndarray | None
) -> Callable[[int, int], Iterator[tuple[int, int, Lesson]]]:
    """(epoch, steps to skip) -> (step, images, what learns them) of the rest of an epoch."""
    how, teacher = student.how, student.teacher

    def plain(epoch: int, skip: int) -> Iterator[tuple[int, int, Lesson]]:
        order = np.random.default_rng((how.seed, epoch))
        for step, batch, labels in shuffled(dataset, images, how, order, skip):
            yield step, len(batch), partial(student.learn, batch, labels)

    if not isinstance(student, PricedStudent):
        return plain
    answers, labels = Answers(teacher), dataset.labels

    def priced(epoch: int, skip: int) -> Iterator[tuple[int, int, Lesson]]:
        variant = Variant(dataset, images, how, epoch)
        answered = answers(variant)
        for step, chosen in numbered(how, len(dataset), epoch, skip):
            given = None if labels is None else labels[chosen]
            yield step, len(chosen), partial(student.learn_from, variant(chosen), given, answered[chosen])

    return priced
