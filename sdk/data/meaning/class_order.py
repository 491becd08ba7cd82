"""Whether the numbers of classes in data are those of the model: told from its answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdk.data.meaning.preprocess_evidence import answers, paired_chance
from sdk.errors import DataError

#: Another order counts only where chance makes such a gain so rarely, and where it is this many points.
_CHANCE = 1e-4
_POINTS = 15.0
_OPEN_POINTS = 2.0
#: For an order of its own for every class, this many images of each.
_IMAGES_PER_CLASS = 4


def check_order(scores: Sequence[np.ndarray], labels: np.ndarray, *, certain: bool = True) -> None:
    """Raises DataError where another order of classes fits the model's answers far better than that of the data.

    ``scores`` (n, classes), under each preprocessing that is possible; ``labels`` (n,). Where the order was not stated
    (not ``certain``) and the preprocessing is open, any better order is an error.
    """
    answered = [answers(one) for one in scores]
    classes = max(2, scores[0].reshape(len(labels), -1).shape[1])
    right = max((one == labels for one in answered), key=lambda hits: float(hits.mean()))
    others = [
        (one == other, words) for one in answered for words, other in _other_orders(one, labels, classes)
    ]
    for hits, words in sorted(others, key=lambda found: -float(found[0].mean())):
        gain = 100.0 * float(hits.mean() - right.mean())
        told = gain >= _POINTS and paired_chance(hits, right) < _CHANCE
        if told or (not certain and gain > _OPEN_POINTS):
            raise DataError(
                "the classes of the data are not numbered as the model's are",
                expected="the order that the model was trained with",
                found=f"{100 * right.mean():.1f} % right on {len(labels)} images, and {100 * hits.mean():.1f} % "
                f"{words}",
                hint="Give the labels in the model's order with --labels, and name the classes of the data so; "
                "or number them from 0 in the model's order.",
            )


def _other_orders(answered: np.ndarray, labels: np.ndarray, classes: int) -> list[tuple[str, np.ndarray]]:
    """Each other order in words, and the labels (n,) under it."""
    orders = [
        ("if labels count from 1", labels - 1),
        ("if the model's first class is a background that the data do not have", labels + 1),
    ]
    if classes > 10:
        as_text = np.array(sorted(range(classes), key=str))
        place = np.argsort(as_text)  # class number -> where its name stands among sorted texts
        orders.append(
            ("if folders are sorted as text: 0, 1, 10, 11, ...", place[np.clip(labels, 0, classes - 1)])
        )
    present = np.unique(labels)
    if len(labels) >= _IMAGES_PER_CLASS * len(present):
        usual = {int(k): int(np.argmax(np.bincount(answered[labels == k]))) for k in present}
        if len(set(usual.values())) == len(usual):
            told = ", ".join(f"{k} is the model's {v}" for k, v in list(usual.items())[:4] if k != v)
            orders.append(
                (f"if classes change places: the data's {told}", np.array([usual[int(k)] for k in labels]))
            )
    return orders
