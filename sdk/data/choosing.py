"""The preprocessing of a network on given images: as it is stated, as the graph shows, or as the images tell.

Nothing is assumed. Where there is no evidence, the error says what each candidate would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device_agent.record.preprocess import PREPROCESS, Preprocess, every_pixel
from sdk.data.meaning import preprocess_evidence as evidence
from sdk.data.meaning.class_order import check_order
from sdk.data.meaning.known_preprocess import known_preprocess
from sdk.data.meaning.model_facts import ModelFacts
from sdk.data.scoring.score import Score, change
from sdk.errors import DataError
from sdk.graph.dataset import Dataset

#: Images (n, height, width, channels) -> scores (n, classes), by the model that the choice is for.
Answer = Callable[[np.ndarray], np.ndarray]
#: Images that every candidate is tried on: the second time more, where the first were too few.
_ROUNDS = (48, 320)
#: Samples whose range of values is looked at.
_LOOKED_AT = 64
#: Candidates whose scores differ by no more points tell the same.
_SAME_POINTS = 1.0
AS_THEY_ARE = PREPROCESS["raw"]


@dataclass(frozen=True)
class Chosen:
    """A preprocessing and how it was found.

    ``source``: "given", "stated" (by the package or the model's metadata), "graph", "labels", "certainty", or "values"
    where the data are not pixels. ``why``: in words. ``tried``: what each candidate gave, where some were tried.
    """

    preprocess: Preprocess
    source: str
    why: str
    tried: tuple[evidence.Tried, ...] = ()

    def told(self) -> str:
        """One line for a person."""
        tried = f" ({evidence.table(self.tried)})" if self.tried else ""
        return f"{self.preprocess.name}: {self.why}{tried}"


def choose_preprocess(
    model: ModelFacts,
    dataset: Dataset,
    answer: Answer,
    *,
    given: Preprocess | None = None,
    stated: Preprocess | None = None,
    score: Callable[[np.ndarray], Score] | None = None,
) -> Chosen:
    """The preprocessing of ``dataset`` for this network; it may hold any preprocessing so far.

    ``given``: by the user, which is not questioned; ``stated``: by package or metadata. ``score``: what the network
    reaches on images (n, height, width, channels), the first of the data, where no right classes are known. Raises
    DataError where there is no evidence, and where the data are not pixels and not in the range that is expected.
    """
    known = known_preprocess(model.input, model.graph)
    expected = given or stated or (None if known is None else known.preprocess)
    if not dataset.are_pixels:
        if expected is not None and len(dataset.input_shape) == 3:
            _check_range(dataset, expected)
        return Chosen(AS_THEY_ARE, "values", "the data are not pixels and go in as they are")
    if given is not None:
        return Chosen(given, "given", "as it was given")
    if stated is not None:
        return Chosen(stated, "stated", "as the package or the model's metadata say")
    if known is not None:
        return Chosen(known.preprocess, "graph", known.why)
    if dataset.truth is not None and score is not None:
        return _by_truth(dataset, score)
    return _by_evidence(model, dataset, answer)


def _check_range(dataset: Dataset, expected: Preprocess) -> None:
    """Raises DataError where values that go in as they are leave the range that preprocessed pixels have."""
    some = dataset.take(_LOOKED_AT).pixels()
    ends = expected(every_pixel(dataset.input_shape[-1])[[0, 255]])
    slack = 0.05 * float(ends.max() - ends.min())
    if some.min() < ends.min() - slack or some.max() > ends.max() + slack:
        made = f"{ends.min():.3g} to {ends.max():.3g}"
        raise DataError(
            "the values of the data are not what the network takes",
            expected="pixels 0 to 255 or 0 to 1"
            + ("" if made in ("0 to 255", "0 to 1") else f", or {made}, as {expected.name!r} makes"),
            found=f"{float(some.min()):.3g} to {float(some.max()):.3g}",
            hint="Store the pixels as uint8. Other values than pixels go in as they are with --preprocess raw.",
        )


def _by_evidence(model: ModelFacts, dataset: Dataset, answer: Answer) -> Chosen:
    coloured = dataset.input_shape[-1] == 3
    candidates = evidence.COLOUR if coloured else evidence.GREY
    labels = dataset.labels
    verdict = evidence.Verdict(None, "its answers are not scores of classes", ())
    if model.score_output is not None:
        for limit in _ROUNDS:
            some = dataset.take(limit)
            scores = _scores(some, candidates, answer, lambda pixels: pixels)
            if labels is not None:
                certain = some.order_is_certain
                check_order(list(scores.values()), np.asarray(some.labels), certain=certain)
                verdict = evidence.by_labels(scores, np.asarray(some.labels))
            else:
                verdict = evidence.by_certainty(scores, _scores(some, candidates, answer, _changed))
            if (verdict.chosen is not None and not verdict.tied) or limit >= len(dataset):
                break
    if verdict.chosen is None:
        raise DataError(
            "the preprocessing of the network is not known",
            expected=f"--preprocess {', '.join(PREPROCESS)} or mean=...:scale=..., as it was trained",
            found=f"{verdict.why}: {evidence.table(verdict.tried)}" if verdict.tried else verdict.why,
            hint="Of the data: " + "; ".join(dataset.notes) + "." if dataset.notes else None,
        )
    source = "labels" if labels is not None else "certainty"
    return Chosen(Preprocess.parse(verdict.chosen), source, verdict.why, verdict.tried)


def _by_truth(dataset: Dataset, score: Callable[[np.ndarray], Score]) -> Chosen:
    """The candidate under which the network is right significantly more than under any that says otherwise."""
    candidates = evidence.COLOUR if dataset.input_shape[-1] == 3 else evidence.GREY
    some = dataset.subset(np.arange(min(len(dataset), _ROUNDS[0])))
    pixels = some.pixels()
    found = {name: score(Preprocess.parse(name)(pixels)) for name in candidates}
    lost = {name: -found[name].points_lost(found[candidates[0]]) for name in candidates}
    best = min(lost, key=lambda name: lost[name])
    told = ", ".join(f"{name} {found[name].text(found[name].value)}" for name in candidates)
    apart = [
        name for name in candidates if name != best and change(found[name], found[best]).verdict == "better"
    ]
    rivals = [
        name
        for name in candidates
        if name != best and name not in apart and lost[name] - lost[best] > _SAME_POINTS
    ]
    if not apart or rivals:
        raise DataError(
            "the preprocessing of the network is not known",
            expected=f"--preprocess {', '.join(PREPROCESS)} or mean=...:scale=..., as it was trained",
            found=f"{len(some)} images cannot tell {best} from {', '.join(rivals) or 'the others'}: "
            f"{found[best].name} of {told}",
        )
    why = f"the best {found[best].name} of {len(candidates)} candidates on {len(some)} images ({told})"
    return Chosen(Preprocess.parse(best), "labels", why)


def _scores(
    some: Dataset, candidates: tuple[str, ...], answer: Answer, change: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    pixels = change(some.pixels())
    return {name: answer(Preprocess.parse(name)(pixels)) for name in candidates}


def _changed(pixels: np.ndarray) -> np.ndarray:
    """The same pictures moved by one pixel and a little darker: what should change no answer."""
    return np.clip(np.roll(pixels, (1, 1), (1, 2)).astype(np.float32) * 0.9 + 8.0, 0.0, 255.0)
