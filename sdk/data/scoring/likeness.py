"""How far outputs are from others, sample by sample, without keeping them. Pure."""

from __future__ import annotations

import numpy as np

from device_agent.tensors.agreement import OutputAgreement, decibel


class Likeness:
    """Of one output or value: the largest difference, the cosine of the angle, the signal-to-noise ratio in dB.

    ``classes``: it holds class numbers, which can only be equal or not.
    """

    def __init__(self, name: str, *, classes: bool = False) -> None:
        self.name, self._classes = name, classes
        self._largest = self._signal = self._other = self._dot = self._noise = 0.0
        self._count = self._differing = 0

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Values of any shape, and others of the same shape that are compared with them."""
        self._count += one.size
        self._differing += int(np.sum(one != other))
        first, second = (np.nan_to_num(np.asarray(side, np.float64)).reshape(-1) for side in (one, other))
        apart = first - second
        self._largest = max(self._largest, float(np.max(np.abs(apart), initial=0.0)))
        self._signal += float(np.dot(first, first))
        self._other += float(np.dot(second, second))
        self._dot += float(np.dot(first, second))
        self._noise += float(np.dot(apart, apart))

    def told(self) -> OutputAgreement:
        """The likeness of all that was added."""
        if self._classes:
            differing = self._differing / max(self._count, 1)
            return OutputAgreement(self.name, differing, 1.0 - differing, decibel(1.0, 2.0 * differing), True)
        cosine = 1.0 if self._signal == self._other == 0.0 else 0.0
        if min(self._signal, self._other) > 0.0:
            cosine = float(np.clip(self._dot / np.sqrt(self._signal) / np.sqrt(self._other), -1.0, 1.0))
        cosine = 1.0 if self._noise == 0.0 else cosine
        return OutputAgreement(self.name, self._largest, cosine, decibel(self._signal, self._noise))
