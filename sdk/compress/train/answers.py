"""The teacher's answers, computed once per image and move."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.compress.train.batches import Variant
from sdk.graph.in_tensorflow.executor import Executor

ASKED_AT_ONCE = 500  # images


class Answers:
    """The scores of the original network for the images of a training.

    All answers of a variant are computed in the order of the data set, so that they are the same numbers at whichever
    step a training is resumed.
    """

    def __init__(self, executor: Executor) -> None:
        import tensorflow as tf

        self.known: dict[int, np.ndarray] = {}

        @tf.function(reduce_retracing=True)
        def ask(batch: Any) -> Any:
            return executor(batch, wanted=executor.scores)

        self.ask = ask

    def __call__(self, variant: Variant) -> np.ndarray:
        """Scores (images, classes) of the whole data set in a variant."""
        if variant.number not in self.known:
            everything = np.arange(len(variant.dataset))
            parts = np.split(everything, range(ASKED_AT_ONCE, len(everything), ASKED_AT_ONCE))
            found = [self.ask(variant(part)).numpy() for part in parts]
            self.known[variant.number] = np.concatenate(found)
        return self.known[variant.number]
