"""Which preprocessing a network was trained with, told from its answers: by labels, or by how certain it is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Tried on colour and on grey images; of equal ones the earlier counts.
COLOUR = ("tf", "01", "raw", "torch", "caffe", "tf:bgr", "01:bgr", "raw:bgr", "torch:bgr")
GREY = ("01", "tf", "raw", "mean=33.3285:scale=78.5655")
#: Values of these are some hundred times as large; a network is certain of them without reason.
_LARGE = ("raw", "raw:bgr", "caffe")
#: A difference that chance makes less often than this is told from none.
SIGNIFICANT = 0.05
#: Candidates whose accuracies differ by no more tell the same.
_SAME_POINTS = 3.0
_CLEAR_Z = 3.0
_CLEAR_SHARE = 0.7
_LEAST_UNLABELLED = 16


@dataclass(frozen=True)
class Tried:
    """The result of one candidate: percent right (None without labels), mean certainty of the best class."""

    name: str
    accuracy_percent: float | None
    certainty_percent: float

    def told(self) -> str:
        """``tf 98.5 %``."""
        if self.accuracy_percent is not None:
            return f"{self.name} {self.accuracy_percent:.1f} %"
        return f"{self.name} {self.certainty_percent:.0f} % certain"


@dataclass(frozen=True)
class Verdict:
    """``chosen`` is None where the images leave it open; ``why`` says so, or why this one."""

    chosen: str | None
    why: str
    tried: tuple[Tried, ...]
    tied: bool = False  # others are right as often on these images


def by_labels(scores: Mapping[str, np.ndarray], labels: np.ndarray) -> Verdict:
    """The candidate under which the network is right most often; ``scores`` (n, classes) of each, ``labels`` (n,)."""
    right = {name: answers(found) == labels for name, found in scores.items()}
    share = {name: float(hits.mean()) for name, hits in right.items()}
    tried = tuple(Tried(name, 100 * share[name], 100 * _certainty(scores[name])) for name in scores)
    best = max(share, key=lambda name: share[name])  # of equal ones the first
    guess = float(np.max(np.bincount(labels))) / len(labels)
    if chance_of_more(int(right[best].sum()), len(labels), guess) > SIGNIFICANT / len(scores):
        return Verdict(
            None,
            f"under none is it right more often than guessing ({100 * guess:.0f} %) on {len(labels)} images",
            tried,
        )
    rivals = [
        name
        for name in scores
        if name != best and paired_chance(right[best], right[name]) >= 2 * SIGNIFICANT  # one side counts
    ]
    apart = [name for name in rivals if 100 * (share[best] - share[name]) > _SAME_POINTS]
    if apart:
        return Verdict(
            None, f"{len(labels)} images are too few to tell {best} from {', '.join(apart)}", tried
        )
    why = f"right most often of {len(scores)} candidates on {len(labels)} labelled images"
    if rivals:
        why = f"{why}, though no more often than {', '.join(rivals)}; --preprocess settles it"
    return Verdict(best, why, tried, tied=bool(rivals))


def by_certainty(scores: Mapping[str, np.ndarray], changed: Mapping[str, np.ndarray]) -> Verdict:
    """The candidate under which the network is clearly the most certain, the most varied and the most steady.

    ``scores`` (n, classes) of the images, ``changed`` of the same ones moved by a pixel and darkened a little.
    """
    p = {name: probabilities(found) for name, found in scores.items()}
    tried = tuple(Tried(name, None, 100 * _certainty(scores[name])) for name in scores)
    count = len(next(iter(p.values())))
    doubt = {name: _entropy(found) for name, found in p.items()}  # (n,) nats
    told = {name: float(_entropy(found.mean(axis=0)) - doubt[name].mean()) for name, found in p.items()}
    moved = {name: float(np.abs(p[name] - probabilities(changed[name])).sum(axis=1).mean()) for name in p}
    unclear = Verdict(None, f"{count} images without labels leave it open", tried)
    if count < _LEAST_UNLABELLED:
        return unclear
    small, large = [n for n in p if n not in _LARGE], [n for n in p if n in _LARGE]
    group, others = (
        (small, large) if max(told[n] for n in small) > 0.1 * max(told.values()) else (large, small)
    )
    best = max(group, key=lambda name: told[name])
    steady = [name for name in group if told[name] > 0.1 * told[best]]
    agrees = best == min(group, key=lambda n: doubt[n].mean()) or len(steady) == 1
    agrees = agrees and best == min(steady, key=lambda n: moved[n])
    ahead = all(_z(doubt[name] - doubt[best]) > _CLEAR_Z for name in steady if name != best)
    beyond = all(told[name] < _CLEAR_SHARE * told[best] for name in others)
    if not (agrees and ahead and beyond):
        return unclear
    return Verdict(
        best, f"clearly the most certain of {len(p)} candidates on {count} images without labels", tried
    )


def answers(scores: np.ndarray) -> np.ndarray:
    """Class numbers (n,) of scores (n, classes); one score tells two classes."""
    flat = scores.reshape(len(scores), -1)
    if flat.shape[1] == 1:
        return (flat[:, 0] > _threshold(flat)).astype(np.int64)
    return np.argmax(flat, axis=1).astype(np.int64)


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of scores that are some already, or logits; of one score those of two classes."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    if flat.shape[1] == 1:
        p = flat if _threshold(flat) else 1 / (1 + np.exp(-np.clip(flat, -50, 50)))
        flat = np.concatenate([1 - p, p], axis=1)
    elif np.min(flat, initial=0.0) < -1e-3 or np.abs(flat.sum(axis=1) - 1).max(initial=0.0) > 0.02:
        flat = np.exp(flat - flat.max(axis=1, keepdims=True))
        flat /= flat.sum(axis=1, keepdims=True)
    return np.clip(flat, 1e-12, 1.0)


def _threshold(flat: np.ndarray) -> float:
    """0.5 for one probability, 0 for one logit."""
    return 0.5 if flat.min(initial=0.0) >= 0.0 and flat.max(initial=0.0) <= 1.0 else 0.0


def _certainty(scores: np.ndarray) -> float:
    return float(probabilities(scores).max(axis=1).mean())


def _entropy(p: np.ndarray) -> np.ndarray:
    found: np.ndarray = -(p * np.log(p)).sum(axis=-1)
    return found


def _z(differences: np.ndarray) -> float:
    """How many standard errors the mean of paired differences (n,) is above zero."""
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / error if error else math.inf * float(np.sign(differences.mean()) or -1)


def paired_chance(first: np.ndarray, second: np.ndarray) -> float:
    """How likely two equally good sets of answers differ so much or more: McNemar's exact test of right (n,) bool."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    many, few = only_first + only_second, min(only_first, only_second)
    if many == 0:
        return 1.0
    return min(1.0, 2.0 * math.exp(_log_tail(few, many, 0.5)))


def chance_of_more(right: int, count: int, share: float) -> float:
    """How likely ``right`` or more of ``count`` are right by guessing with that share."""
    if right == 0 or share >= 1.0:
        return 1.0
    return math.exp(_log_tail(count - right, count, 1.0 - share))


def _log_tail(most: int, count: int, share: float) -> float:
    """Logarithm of the binomial probability of ``most`` or fewer of ``count``."""
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(max(share, 1e-300))
        + (count - k) * math.log(max(1 - share, 1e-300))
        for k in range(most + 1)
    ]
    top = max(logs)
    return min(0.0, top + math.log(sum(math.exp(one - top) for one in logs)))


def table(tried: Sequence[Tried]) -> str:
    """The results of all candidates, in one line."""
    return ", ".join(one.told() for one in tried)
