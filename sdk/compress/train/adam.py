"""The optimiser of a training, and what its state says of how much each weight matters."""

from __future__ import annotations

from typing import Any

import numpy as np

BETAS = 0.9, 0.999


class Adam:
    """Adam (arXiv 1412.6980) with decoupled decay (arXiv 1711.05101), at a rate that the caller sets each step."""

    def __init__(self, variables: list[Any]) -> None:
        import tensorflow as tf

        self.variables, self.count = variables, 0
        self.first = [tf.Variable(tf.zeros_like(v)) for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v)) for v in variables]

    def next_factor(self) -> float:
        """Counts a step; what the rate is multiplied by because the means start from zero."""
        self.count += 1
        b1, b2 = BETAS
        return float(np.sqrt(1 - b2**self.count) / (1 - b1**self.count))

    def update(self, gradients: list[Any], factor: Any, decay: Any) -> None:
        """One step of all variables; to be called in a ``tf.function``."""
        import tensorflow as tf

        b1, b2 = BETAS
        slots = zip(self.variables, gradients, self.first, self.second, strict=True)
        for variable, gradient, first, second in slots:
            first.assign(b1 * first + (1 - b1) * gradient)
            second.assign(b2 * second + (1 - b2) * tf.square(gradient))
            variable.assign(variable * (1 - decay) - factor * first / (tf.sqrt(second) + 1e-8))


def factored(second: np.ndarray) -> np.ndarray:
    """The best product of a row's and a column's part for mean squared gradients (out, ...): less noisy than they are.

    As in Adafactor (arXiv 1804.04235). It is all ones where nothing is known yet.
    """
    flat = second.reshape(len(second), -1).astype(np.float64)
    mean = flat.mean()
    if mean == 0:
        return np.ones(second.shape)
    return (flat.mean(axis=1, keepdims=True) * flat.mean(axis=0, keepdims=True) / mean).reshape(second.shape)
