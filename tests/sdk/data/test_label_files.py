"""Files of labels as people have them are read as they are meant."""

from __future__ import annotations

import pytest

from sdk.data.meaning.label_files import parse_labels
from sdk.errors import DataError

COLOURS = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "red\ngreen\nblue\n\n"),
        ("labels.txt", "\ufeffred\r\ngreen\r\nblue\r\n"),
        ("labels.txt", "0 red\n1 green\n2 blue"),  # Teachable Machine
        ("labels.txt", "0  red\n1  green\n2  blue"),  # Coral
        ("labels.txt", "1 red\n2 green\n3 blue"),
        ("labels.txt", "2 blue\n0 red\n1 green"),
        ("labels.txt", "0: red\n1: green\n2: blue"),
        ("labels.txt", "0,red\n1,green\n2,blue"),
        ("labels.txt", "0\tred\n1\tgreen\n2\tblue"),
        ("labels.txt", "0. red\n1. green\n2. blue"),
        ("labels.txt", "red 0\ngreen 1\nblue 2"),
        ("labels.csv", "index,name\n0,red\n1,green\n2,blue"),
        ("labels.csv", "label,id\nred,0\nblue,2\ngreen,1"),
        ("labels.csv", "name\nred\ngreen\nblue"),
        ("labels.json", '["red", "green", "blue"]'),
        ("labels.json", '{"0": "red", "2": "blue", "1": "green"}'),
        ("class_indices.json", '{"red": 0, "blue": 2, "green": 1}'),
        ("config.json", '{"id2label": {"0": "red", "1": "green", "2": "blue"}}'),
        ("labels.json", '[{"id": 0, "name": "red"}, {"id": 1, "name": "green"}, {"id": 2, "name": "blue"}]'),
        ("data.yaml", "train: a\nnames:\n  0: red\n  1: green\n  2: blue\nnc: 3"),
        ("data.yaml", "names: ['red', \"green\", blue]"),
        ("data.yml", "names:\n- red\n- green\n- blue\n"),
        (
            "map.pbtxt",
            "item {\n id: 1\n name: 'red'\n}\nitem { id: 2 name: 'green' }\nitem {id: 3 name: \"blue\"}",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_every_form_means_the_same(name: str, text: str, encoding: str) -> None:
    if encoding == "utf-16":
        text = text.lstrip("\ufeff")
    assert parse_labels(text.encode(encoding), name) == COLOURS


def test_numbers_may_have_gaps_as_in_lists_for_coco() -> None:
    text = "0  person\n1  bicycle\n3  motorcycle\n4  airplane"
    assert parse_labels(text.encode(), "coco.txt") == ("person", "bicycle", "???", "motorcycle", "airplane")


@pytest.mark.parametrize(
    "text",
    [
        "7 up\n3 musketeers\ncola",
        "101 dalmatians\n50 cent",
        "0\n1\n2",
        "n01440764 tench, Tinca tinca\nn01443537 goldfish",
    ],
)
def test_labels_that_begin_with_a_number_stay_whole(text: str) -> None:
    assert parse_labels(text.encode(), "labels.txt") == tuple(text.splitlines())


def test_keras_index_of_imagenet_keeps_synset_and_name() -> None:
    text = '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}'
    assert parse_labels(text.encode(), "imagenet_class_index.json") == (
        "n01440764 tench",
        "n01443537 goldfish",
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("labels.txt", b"red\n\nblue", "line 2 empty"),
        ("labels.txt", b"", "an empty file"),
        ("labels.txt", b"red\n\xff\xe9", "not text in UTF-8"),
        ("labels.json", b"{", "is not JSON"),
        ("labels.json", b'{"a": [1]}', "holds no labels"),
        ("labels.csv", b"0,a\n0,b", "numbers its labels wrongly"),
        ("data.yaml", b"nc: 3", "a list of `names:`"),
        ("map.pbtxt", b"item { name: 'a' }", "without id or name"),
    ],
)
def test_what_holds_no_labels_is_named(name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_labels(data, name)
    assert message in str(caught.value)
