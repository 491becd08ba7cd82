"""The training that starts from a calibrated graph, and keeps its zeros and its grids.

A weight that calibration left is a whole number times the scale of its row. Here its real value learns behind that
number (straight through), biases learn, and zeros stay zeros, so that a package keeps about its size. Numbers that
moved lengthen the code a little: ``hold`` says how far a value must have moved before its number follows; the caller,
who knows the package, weighs that cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdk.compress.train.schedule import REFINING_RATE, Tuning
from sdk.compress.train.student import State, Student
from sdk.compress.weights.biases import rounded_bias
from sdk.graph.records import Graph

if TYPE_CHECKING:
    from sdk.graph.in_tensorflow.executor import Executor

USUAL_HOLD = 0.5  # of a step: numbers are rounded to the nearest
MOST = 127  # the largest whole number


@dataclass(frozen=True)
class Begun:
    """A calibration's result by tensor number: ``constants``, and ``grids``, the scale of every weight, float32 of the
    shape of its tensor."""

    constants: Mapping[int, np.ndarray]
    grids: Mapping[int, np.ndarray]


class RefinedStudent(Student):
    """As its base, without its phases: zeros and grids are what calibration found."""

    def __init__(
        self, executor: Executor, how: Tuning, begun: Begun, teacher: Executor | None = None
    ) -> None:
        super().__init__(executor, how, teacher)
        constants = begun.constants
        self.grids = {t: grid for t, grid in begun.grids.items() if t in self.values}
        self.begun = {t: np.rint(constants[t] / grid).astype(np.int32) for t, grid in self.grids.items()}
        self.rounded = [t for t in constants if t not in self.grids]  # biases
        self.hold = USUAL_HOLD
        for tensor, variable in self.values.items():
            if tensor in constants:
                variable.assign(constants[tensor])
        self.fixed = True
        self._compile()

    def build(self) -> dict[int, Any]:
        """Constants of the student, as functions of what learns."""
        import tensorflow as tf

        made = dict(self.values)
        for tensor, grid in self.grids.items():
            value = self.values[tensor]
            number = tf.clip_by_value(tf.round(value / grid), -MOST, MOST)
            kept = tf.constant((self.begun[tensor] != 0).astype(np.float32))
            made[tensor] = kept * (value + tf.stop_gradient(number * grid - value))
        return made

    def constants(self) -> dict[int, np.ndarray]:
        """The student's constants by tensor number, float32, each of the shape of its tensor.

        Numbers follow where their values moved further than ``hold``.
        """
        made = {t: np.asarray(v.numpy(), np.float32) for t, v in self.values.items()}
        for tensor in self.rounded:
            made[tensor] = rounded_bias(made[tensor])
        for tensor, grid in self.grids.items():
            place, begun = made[tensor] / grid, self.begun[tensor]
            moved = (np.abs(place - begun) > self.hold) & (begun != 0)
            number = np.where(moved, np.clip(np.rint(place), -MOST, MOST), begun)
            made[tensor] = number.astype(np.float32) * grid
        return made

    def held(self, hold: float) -> Graph:
        """The graph, where numbers follow values that moved further than this."""
        self.hold = hold
        return self.graph()

    def begin(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def learn(self, images: np.ndarray, labels: np.ndarray | None, done: float, step: int) -> None:
        """One step on images (n, height, width, channels) float32, with labels (n,) where there are any.

        It is the step of the base class at a lower rate, since the student is nearly there.
        """
        import tensorflow as tf

        given = labels if labels is not None else np.zeros(len(images), np.int64)
        share = self.how.label_share if labels is not None else 0.0
        factor = self.adam.next_factor() * self.how.rate * REFINING_RATE * (1 - done)
        self.step(
            tf.constant(images),
            tf.constant(given),
            *(tf.constant(n, tf.float32) for n in (share, factor, 0.0)),
        )

    def restore(self, state: State) -> tuple[int, int]:
        """As in the base; masks are those of the beginning."""
        found = super().restore(state)
        self.fixed = True
        self._compile()
        return found
