"""Whether images keep their meaning when they are mirrored or moved, by the original's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.train.batches import shifted

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset
    from sdk.graph.in_tensorflow.executor import Executor

ASKED, ASKED_AT_ONCE = 1024, 128  # images
SMALLEST_SHARE = 16  # of its height, by which an image is moved at most
#: Percent of the answers that stay the same: without labels, and with them; and points that the original loses then.
LIKE, LIKE_WITH_LABELS, POINTS = 92.0, 80.0, 1.0


def moves_borne(executor: Executor, dataset: Dataset) -> tuple[bool, int]:
    """Whether images may be mirrored, and by how many pixels they may be moved, without becoming something else.

    Digits may not be mirrored: the original answers otherwise. (False, 0) for inputs that are not images.
    """
    shape = dataset.input_shape
    if len(shape) != 3 or shape[0] < SMALLEST_SHARE or shape[1] < SMALLEST_SHARE:
        return False, 0
    some = dataset.take(ASKED)
    images, labels = some.images(), some.labels
    before = _answers(executor, images)

    def borne(moved: np.ndarray) -> bool:
        after = _answers(executor, moved)
        like = 100 * float(np.mean(after == before))
        if labels is None:
            return like >= LIKE
        lost = 100 * float(np.mean(before == labels) - np.mean(after == labels))
        return like >= LIKE_WITH_LABELS and lost <= POINTS

    most = min(shape[:2]) // SMALLEST_SHARE
    moves = np.random.default_rng(0).integers(0, 2 * most + 1, (len(images), 2))
    return borne(images[:, :, ::-1]), most if borne(shifted(images, most, moves)) else 0


def _answers(executor: Executor, images: np.ndarray) -> np.ndarray:
    """The class of each image, (n,)."""
    parts = [
        np.asarray(executor(images[start : start + ASKED_AT_ONCE], wanted=executor.scores))
        for start in range(0, len(images), ASKED_AT_ONCE)
    ]
    return np.concatenate([part.reshape(len(part), -1) for part in parts]).argmax(axis=1)
