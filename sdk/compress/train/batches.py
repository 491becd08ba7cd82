"""Batches of a training: in an order and with moves that a seed decides, whatever step they begin at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.train.schedule import Tuning

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset


HELD_BYTES = 1 << 30  # images are preprocessed once where all of them fit
VARIANTS = 6  # moves of every image that a priced training sees: what the teacher answers to each is kept


def held(dataset: Dataset) -> np.ndarray | None:
    """All images, (n, height, width, channels) float32, where memory holds them; else None: each batch is read."""
    fits = len(dataset) * int(np.prod(dataset.input_shape)) * 4 <= HELD_BYTES
    return dataset.images() if fits else None


def shuffled(
    dataset: Dataset, images: np.ndarray | None, how: Tuning, order: np.random.Generator, skip: int
) -> Any:
    """(step, images, labels) for each batch of an epoch after its first ``skip``.

    The random moves of the skipped ones are drawn all the same. ``images`` (n, height, width, channels) float32: the
    whole data set, where it is held. A batch's labels are (n,) int64, None where there are none.
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
        yield step, moved(batch, how, mirrored, moves), None if labels is None else labels[chosen]


def moved(
    batch: np.ndarray, how: Tuning, mirrored: np.ndarray | None, moves: np.ndarray | None
) -> np.ndarray:
    """Images (n, height, width, channels): some ``mirrored`` (n,), then each moved by its ``moves`` (n, 2)."""
    if mirrored is not None:
        batch = np.where(mirrored[:, None, None, None], batch[:, :, ::-1], batch)
    return batch if moves is None else shifted(batch, how.shift, moves)


def shifted(images: np.ndarray, most: int, moves: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels), each moved by whole pixels; its own border fills in.

    ``moves`` (n, 2) are rows and columns, 0 ... 2 * ``most``; ``most`` itself moves nothing.
    """
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    count, height, width = images.shape[:3]
    rows, columns = moves[:, :1] + np.arange(height), moves[:, 1:] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


class Variant:
    """The images of a data set as an epoch of a priced training moves them.

    Every image is moved in as many ways as there are variants, epoch after epoch in turn: the same moves come again, in
    another order.
    """

    def __init__(self, dataset: Dataset, images: np.ndarray | None, how: Tuning, epoch: int) -> None:
        self.dataset, self.images, self.how = dataset, images, how
        self.number = epoch % VARIANTS if how.shift or how.flip else 0
        drawn, count = np.random.default_rng((how.seed, self.number, 1)), len(dataset)
        self._mirrored = drawn.random(count) < 0.5 if how.flip else None
        self._moves = drawn.integers(0, 2 * how.shift + 1, (count, 2)) if how.shift else None

    def __call__(self, chosen: np.ndarray) -> np.ndarray:
        """Images ``chosen`` (numbers)."""
        batch = self.dataset.images(chosen) if self.images is None else self.images[chosen]
        drawn = (None if of_all is None else of_all[chosen] for of_all in (self._mirrored, self._moves))
        return moved(batch, self.how, *drawn)


def numbered(how: Tuning, count: int, epoch: int, skip: int) -> Iterator[tuple[int, np.ndarray]]:
    """(step, image numbers) for each batch of an epoch over ``count`` images after its first ``skip``.

    Image numbers are (n,) int64.
    """
    numbers = np.random.default_rng((how.seed, epoch)).permutation(count)
    for step in range(skip, -(-count // how.batch)):
        yield step, numbers[step * how.batch : (step + 1) * how.batch]
