"""What an application gets back: the best classes by name, and the raw outputs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np


@dataclass(frozen=True)
class Scored:
    """One class: its number, its score as the model gives it, and its label where the package has labels."""

    index: int
    score: float
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to one image.

    ``top``: the best classes, the best first; empty where the first output is not one row of scores. ``outputs``: every
    output of the model, float32, without the leading 1. ``release``: the id of the release that answered, None for a
    model file.
    """

    top: tuple[Scored, ...]
    outputs: tuple[Any, ...]
    release: str | None = None

    @property
    def index(self) -> int | None:
        """Number of the best class."""
        return self.top[0].index if self.top else None

    @property
    def label(self) -> str | None:
        """Label of the best class."""
        return self.top[0].label if self.top else None

    @property
    def score(self) -> float | None:
        """Score of the best class; a probability where the model ends in a softmax."""
        return self.top[0].score if self.top else None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the outputs."""
        return {
            "label": self.label,
            "index": self.index,
            "score": self.score,
            "top": [scored.to_json() for scored in self.top],
        }


def predict_from(outputs: Sequence[Any], labels: Sequence[str], top: int, release: str | None) -> Prediction:
    """The record of one inference; ``outputs`` are float32, the first holds the scores of classes."""
    return Prediction(best(outputs[0], labels, top), tuple(outputs), release)


def best(scores: Any, labels: Sequence[str], count: int) -> tuple[Scored, ...]:
    """The ``count`` highest of ``scores`` (classes,), or (1, ..., classes); equal scores in the order of classes."""
    if scores.size == 0 or scores.shape[-1:] != (scores.size,):
        return ()
    flat = scores.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:count]
    return tuple(
        Scored(int(i), float(flat[i]), labels[int(i)] if int(i) < len(labels) else None) for i in order
    )
