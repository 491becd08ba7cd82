"""Which images a compression learns from, which it compares its attempts on, and which confirm what it promises.

Composes like :mod:`sdk.compress.recipes.recipe`. The best of many attempts looks better than it is on the images that
it was chosen on, so a promise is checked on others, which no attempt saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from device_agent.record.intervals import paired_interval
from sdk.compress.recipes.recipe import split

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

HOLD_OUT = 5  # every fifth sample is kept from calibration, to check on
SMALLEST_CHECK = 20  # samples; with fewer nothing is held out
MOST_TO_CHOOSE = 5000  # images that every attempt is checked on; all others confirm


@dataclass(frozen=True)
class Parts:
    """The images to learn from, to compare attempts on, and to confirm the chosen one.

    ``confirming`` is None where ``choosing`` are all images that nothing was learned from.
    """

    learn: Dataset | None
    choosing: Dataset | None
    confirming: Dataset | None
    samples: int = 0  # as the recipe names them
    hold_out: int = 0

    @property
    def images(self) -> int:
        """That accuracy is told on."""
        told_on = self.confirming or self.choosing
        return 0 if told_on is None else len(told_on)


def held_out(samples: int, check: Dataset | None) -> int:
    """Every how many-th of the samples is kept back to check on; 0 where others are there for it, or too few."""
    return HOLD_OUT if check is None and samples // HOLD_OUT >= SMALLEST_CHECK else 0


def to_learn_from(dataset: Dataset, most: int) -> int:
    """Of how many images to learn where a limit of the loss is to be kept: at most ``most``, and half of them."""
    return min(most, len(dataset) // 2)


def unseen(dataset: Dataset, learned: Dataset) -> Dataset | None:
    """The samples of a data set that are not among those learned from, in their order; None where all are."""
    rest = dataset.indices[~np.isin(dataset.indices, learned.indices)]
    return replace(dataset, indices=rest) if rest.size else None


def parts_of(dataset: Dataset, samples: int, check: Dataset | None, *, compared: bool) -> Parts:
    """Parts of a compression that learns from at most ``samples`` images; the others are checked on.

    Where there is ``check``, it is checked on that. Attempts that are ``compared`` leave a part to confirm the best.
    """
    count = min(samples, len(dataset))
    hold_out = held_out(count, check) if 2 * count > len(dataset) else 0
    learn, _ = split(dataset, count, hold_out)
    rest = check or unseen(dataset, learn)
    if check is None and rest is not None and len(rest) < SMALLEST_CHECK:
        rest = None
    choosing, confirming = _halves(rest) if compared and rest is not None else (rest, None)
    return Parts(learn, choosing, confirming, count, hold_out)


def checked_parts(checked: Dataset | None, *, compared: bool) -> Parts:
    """Parts where nothing is learned: all of ``checked`` are there to be checked on."""
    if checked is None:
        return Parts(None, None, None)
    choosing, confirming = _halves(checked) if compared else (checked, None)
    return Parts(None, choosing, confirming)


def least_limit(images: int) -> float:
    """The least limit of a loss, in points, that this many images can confirm: where no answer changed at all."""
    return 100.0 if images == 0 else 100 * paired_interval(np.zeros(images)).high


def carrying(parts: Parts, limit: float) -> Parts:
    """The parts, or, where those that confirm are too few for a limit of the loss, with all images in one part.

    Then nothing can be chosen, and one attempt is checked on all of them.
    """
    if parts.confirming is None or least_limit(len(parts.confirming)) <= limit:
        return parts
    assert parts.choosing is not None
    both = np.concatenate([parts.choosing.indices, parts.confirming.indices])
    return replace(parts, choosing=replace(parts.choosing, indices=np.sort(both)), confirming=None)


def _halves(rest: Dataset) -> tuple[Dataset, Dataset | None]:
    """Images to choose on, evenly taken, and the others; all and None where there are too few for two parts."""
    if len(rest) < SMALLEST_CHECK:
        return rest, None
    choosing = rest.take(min(len(rest) // 2, MOST_TO_CHOOSE))
    return choosing, unseen(rest, choosing)
