"""Which class a folder or a name stands for: by the model's labels, else by its number, else in sorted order. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from device_agent.record.visible import first_of
from sdk.errors import DataError

#: How an order is told that nobody stated.
SORTED = "classes in sorted order"
#: Names listed in one message.
MAX_NAMED = 6
_SYNSET = re.compile(r"n\d{8}")
_NUMBER_IN_FRONT = re.compile(r"(\d+)[\s._-]+\S")
_HINT = "Give the labels in the model's order with --labels, or name the folders by class number from 0."


@dataclass(frozen=True)
class ClassMatch:
    """``numbers``: the class of each name, in the order asked. ``how``: in words, for a person to check."""

    numbers: tuple[int, ...]
    how: str


def match_classes(
    names: Sequence[str], *, labels: Sequence[str] = (), scores: int | None = None, what: str = "folders"
) -> ClassMatch:
    """The class of every name, of a model with these ``labels`` and this many ``scores`` (None: not known).

    Raises DataError where names or numbers do not fit, saying what would.
    """
    if labels:
        found = [_label_of(name, labels, what) for name in names]
        if all(number is not None for number in found):
            return ClassMatch(
                _each_once(names, found, labels, what), f"{what} matched by name with {len(labels)} labels"
            )
        if any(number is not None for number in found) or not _are_numbers(names):
            raise _unmatched(names, found, labels, what)
    if _are_numbers(names):
        return _by_number(names, scores, what)
    return _in_sorted_order(names, scores, what)


def check_numbers(numbers: Sequence[int], scores: int | None, what: str) -> str:
    """A note on class numbers that fit a model of this many scores. Raises DataError where they do not."""
    low, high = min(numbers), max(numbers)
    if scores is None:
        return f"{what} are class numbers, {low} to {high}"
    classes = classes_of(scores)
    if low < 0 or high >= classes:
        hint = _HINT
        if low == 1 and high == classes:
            hint = f"They seem to count from 1: subtract 1, so that they are 0 to {classes - 1}. " + _HINT
        raise DataError(
            f"the {what} do not fit the classes of the model",
            expected=f"numbers of 0 to {classes - 1}, one for each of {classes} classes",
            found=f"{low} to {high}",
            hint=hint,
        )
    missing = sorted(set(range(classes)) - set(numbers))
    without = (
        f"; {len(missing)} classes have no images ({first_of(map(str, missing), MAX_NAMED)})"
        if missing
        else ""
    )
    return f"{what} are class numbers, {low} to {high}{without}"


def classes_of(scores: int) -> int:
    """How many classes this many scores tell apart: one score tells two."""
    return 2 if scores == 1 else scores


def plain(name: str) -> str:
    """A name without what people write differently: case, accents' form, ``_`` and ``-`` and runs of spaces."""
    return " ".join(re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", name)).casefold().split())


def _label_of(name: str, labels: Sequence[str], what: str) -> int | None:
    """The number of the one label that ``name`` means; None where there is none. Raises DataError for several."""
    for wanted, forms in (
        ({plain(name)}, lambda label: {plain(label)}),
        ({plain(name)}, _forms),
        (_without_front(name), _forms),
        (
            {_singular(form) for form in _without_front(name)},
            lambda label: set(map(_singular, _forms(label))),
        ),
    ):
        found = [number for number, label in enumerate(labels) if wanted & forms(label)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{name!r} of the {what} is the name of several classes",
                expected="names that stand for one class each",
                found=f"classes {first_of(map(str, found), MAX_NAMED)}",
                hint="Name the folders by class number from 0.",
            )
    return None


def _forms(label: str) -> set[str]:
    """What a label is called: itself, each of its synonyms, its synset (``n01440764 tench, Tinca tinca``)."""
    head, _, rest = label.strip().partition(" ")
    synset = {head} if _SYNSET.fullmatch(head) else set()
    names = (rest if synset else label).split(",")
    return {plain(form) for form in (label, *names, *synset) if form.strip()}


def _without_front(name: str) -> set[str]:
    """A folder's name, also without the number, letter or synset that people put in front: ``00_red``, ``a_red``."""
    head, _, rest = plain(name.replace(".", " ")).partition(" ")
    forms = {plain(name)}
    if rest and (head.isdecimal() or len(head) == 1 or _SYNSET.fullmatch(head)):
        forms.add(rest)
        if _SYNSET.fullmatch(head):
            forms.add(head)
    return forms


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name


def _each_once(
    names: Sequence[str], found: Sequence[int | None], labels: Sequence[str], what: str
) -> tuple[int, ...]:
    numbers = tuple(number for number in found if number is not None)
    for number in numbers:
        same = [name for name, other in zip(names, numbers, strict=True) if other == number]
        if len(same) > 1:
            raise DataError(
                f"several of the {what} stand for one class",
                expected="one for each class",
                found=f"{first_of(map(repr, same), MAX_NAMED)} for {labels[number]!r}",
            )
    return numbers


def _unmatched(
    names: Sequence[str], found: Sequence[int | None], labels: Sequence[str], what: str
) -> DataError:
    lost = [name for name, number in zip(names, found, strict=True) if number is None]
    close = get_close_matches(plain(lost[0]), [plain(label) for label in labels], n=1)
    meant = f" Is {lost[0]!r} {close[0]!r}?" if close else ""
    return DataError(
        f"the names of the {what} are not those of the labels",
        expected=f"some of {first_of(map(repr, labels), MAX_NAMED)}",
        found=first_of(map(repr, lost), MAX_NAMED),
        hint=f"Rename them, or give the labels of this model with --labels.{meant}",
    )


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdecimal() and name.isascii() for name in names)


def _by_number(names: Sequence[str], scores: int | None, what: str) -> ClassMatch:
    numbers = tuple(int(name) for name in names)
    if len(set(numbers)) < len(numbers):
        raise DataError(
            f"two of the {what} have the same number",
            expected="one for each class",
            found=first_of(names, MAX_NAMED),
        )
    return ClassMatch(numbers, check_numbers(numbers, scores, f"names of the {what}"))


def _in_sorted_order(names: Sequence[str], scores: int | None, what: str) -> ClassMatch:
    ordered = sorted(names)
    if scores is not None and len(names) != classes_of(scores):
        raise DataError(
            f"the {what} are not the classes of the model",
            expected=f"{classes_of(scores)}, one for each class, where no labels are known",
            found=f"{len(names)}: {first_of(ordered, MAX_NAMED)}",
            hint=_HINT,
        )
    fronts = [_NUMBER_IN_FRONT.match(name) for name in ordered]
    if all(fronts):
        numbers = [int(front[1]) for front in fronts if front]
        if numbers != sorted(numbers):
            raise DataError(
                f"the numbers in front of the {what} and the order of their letters differ",
                expected="numbers with leading zeros, or none",
                found=first_of(ordered, MAX_NAMED),
                hint=_HINT,
            )
    number_of = {name: number for number, name in enumerate(ordered)}
    told = ", ".join(f"{number} = {name}" for number, name in enumerate(ordered[:MAX_NAMED]))
    more = ", ..." if len(ordered) > MAX_NAMED else ""
    return ClassMatch(
        tuple(number_of[name] for name in names),
        f"no labels are known, so that the {what} are {SORTED}: {told}{more}",
    )
