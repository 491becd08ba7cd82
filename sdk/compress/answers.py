"""What the teacher answers, asked once for every image and the way in which it was moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.batches import number_of_variant, variant
from sdk.compress.schedule import Tuning
from sdk.execute import Executor

if TYPE_CHECKING:
    from sdk.data import Dataset

ASKED_AT_ONCE = 500  # images


class Answers:
    """The scores of the original network for the images of a training.

    All of a variant are asked in the order of the data set, so that they are the same numbers whatever step a training
    goes on from.
    """

    def __init__(self, executor: Executor, dataset: Dataset, images: np.ndarray | None, how: Tuning) -> None:
        import tensorflow as tf

        self.dataset, self.images, self.how = dataset, images, how
        self.known: dict[int, np.ndarray] = {}

        @tf.function(reduce_retracing=True)
        def ask(batch: Any) -> Any:
            return executor(batch, wanted=executor.scores)

        self.ask = ask

    def __call__(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        """Scores (n, classes) of the images ``numbers`` as this epoch moves them."""
        number = number_of_variant(self.how, epoch)
        if number not in self.known:
            everything = np.arange(len(self.dataset))
            parts = np.split(everything, range(ASKED_AT_ONCE, len(everything), ASKED_AT_ONCE))
            found = [self.ask(variant(self.dataset, self.images, self.how, epoch, part)) for part in parts]
            self.known[number] = np.concatenate([scores.numpy() for scores in found])
        return self.known[number][numbers]
