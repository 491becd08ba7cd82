"""Batches of a training: in an order and with moves that a seed decides, whatever step they begin at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.schedule import Tuning

if TYPE_CHECKING:
    from sdk.data import Dataset


VARIANTS = 6  # moves of every image that a priced training sees: what the teacher answers to each is kept


def shuffled(
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
            batch = shifted(batch, how.shift, moves)
        yield step, batch, None if labels is None else labels[chosen]


def shifted(images: np.ndarray, most: int, moves: np.ndarray) -> np.ndarray:
    """Every image moved by whole pixels (rows and columns, 0 ... 2 * ``most``); its own border fills in."""
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    count, height, width = images.shape[:3]
    rows, columns = moves[:, :1] + np.arange(height), moves[:, 1:] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def variants(
    dataset: Dataset, images: np.ndarray | None, how: Tuning, epoch: int, skip: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None]]:
    """(step, numbers, images, labels) of an epoch but its first ``skip`` steps.

    Every image is moved in as many ways as there are variants, epoch after epoch in turn: the same moves come again,
    in another order.
    """
    numbers = np.random.default_rng((how.seed, epoch)).permutation(len(dataset))
    labels = dataset.labels
    for step, start in enumerate(range(0, len(dataset), how.batch)):
        if step >= skip:
            chosen = numbers[start : start + how.batch]
            batch = variant(dataset, images, how, epoch, chosen)
            yield step, chosen, batch, None if labels is None else labels[chosen]


def variant(
    dataset: Dataset, images: np.ndarray | None, how: Tuning, epoch: int, chosen: np.ndarray
) -> np.ndarray:
    """Images ``chosen`` (numbers) as an epoch moves them."""
    moves = np.random.default_rng((how.seed, number_of_variant(how, epoch), 1))
    count = len(dataset)
    batch = dataset.images(chosen) if images is None else images[chosen]
    if how.flip:
        mirrored = moves.random(count)[chosen] < 0.5
        batch = np.where(mirrored[:, None, None, None], batch[:, :, ::-1], batch)
    if how.shift:
        batch = shifted(batch, how.shift, moves.integers(0, 2 * how.shift + 1, (count, 2))[chosen])
    return batch


def number_of_variant(how: Tuning, epoch: int) -> int:
    """Which moves an epoch sees."""
    return epoch % VARIANTS if how.shift or how.flip else 0
