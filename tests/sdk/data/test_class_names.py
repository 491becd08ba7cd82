"""Folders and names are matched with the classes that people mean by them, or refused with what would fit."""

from __future__ import annotations

import pytest

from sdk.data.meaning.class_names import SORTED, match_classes
from sdk.errors import DataError

COLOURS = ("red", "green", "blue", "yellow")


@pytest.mark.parametrize(
    ("names", "labels", "numbers"),
    [
        (("blue", "green", "red", "yellow"), COLOURS, (2, 1, 0, 3)),
        (("Blue", "GREEN", " red ", "Yellow"), COLOURS, (2, 1, 0, 3)),
        (("00_red", "01_green", "2-blue", "3.yellow"), COLOURS, (0, 1, 2, 3)),
        (("a_red", "b_green"), COLOURS, (0, 1)),
        (("hot_dog", "ice-cream"), ("ice cream", "hot dog"), (1, 0)),
        (("cats", "dogs"), ("dog", "cat"), (1, 0)),
        (("n01443537", "n01440764"), ("n01440764 tench, Tinca tinca", "n01443537 goldfish"), (1, 0)),
        (("tinca_tinca", "goldfish"), ("n01440764 tench, Tinca tinca", "n01443537 goldfish"), (0, 1)),
        (("n02085620-Chihuahua",), ("beagle", "chihuahua"), (1,)),
        (("2", "1"), ("1", "2"), (1, 0)),  # the labels are numbers: a name before a number
        (("2", "0"), COLOURS, (2, 0)),
        (("café",), ("tea", "café"), (1,)),
    ],
)
def test_labels_are_found_by_name(names: tuple[str, ...], labels: tuple[str, ...], numbers: tuple[int, ...]):
    assert match_classes(names, labels=labels, scores=len(labels)).numbers == numbers


@pytest.mark.parametrize(
    ("names", "labels", "scores", "message"),
    [
        (("red", "gren"), COLOURS, 4, "Is 'gren' 'green'?"),
        (("red", "Red"), COLOURS, 4, "'red', 'Red' for 'red'"),
        (("crane",), ("crane", "ox", "crane"), 3, "several classes"),
        (("1", "2", "3", "4"), (), 4, "seem to count from 1"),
        (("0", "7"), (), 4, "found 0 to 7"),
        (("1", "01"), (), 4, "same number"),
        (("a", "b", "c"), (), 4, "found 3: a, b, c"),
        (("a", "b", "c", "d", "e"), (), 4, "expected 4"),
        (("1 a", "2 b", "10 c"), (), 3, "leading zeros"),
    ],
)
def test_what_does_not_fit_is_refused(
    names: tuple[str, ...], labels: tuple[str, ...], scores: int, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        match_classes(names, labels=labels, scores=scores)
    assert message in str(caught.value)


def test_numbers_are_the_classes_themselves_and_missing_ones_are_named() -> None:
    match = match_classes(("3", "0"), scores=4)
    assert match.numbers == (3, 0)
    assert "2 classes have no images (1, 2)" in match.how


def test_sorted_order_is_said_where_nothing_else_is_known() -> None:
    match = match_classes(("dog", "cat"), scores=2)
    assert match.numbers == (1, 0)
    assert SORTED in match.how
    assert "0 = cat, 1 = dog" in match.how
    assert match_classes(("dog", "cat"), scores=1).numbers == (1, 0)  # one score tells two classes
