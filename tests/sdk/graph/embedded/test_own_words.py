"""What a model says of itself is read where it is sound, and told where it is not; hostile bytes cost nothing."""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.graph.embedded.attached import MAX_BYTES, read_attached, with_attached
from sdk.graph.embedded.model_metadata import (
    TFLITE_METADATA,
    ModelMetadata,
    TensorMetadata,
    metadata_entry,
    read_model_metadata,
)
from sdk.graph.embedded.own_words import words_in
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.embedded.made_metadata import labels_file, metadata_bytes, with_words
from tests.sdk.graph.small_graphs import small_network

FULL = ModelMetadata(
    "classifier",
    "says what it sees",
    "v1",
    "somebody",
    "Apache 2.0",
    (TensorMetadata("image", "pixels", "image", (127.5,), (127.5,)),),
    (TensorMetadata("scores", "", "feature", threshold=0.25, files=(labels_file(),)),),
    (labels_file("descriptions", "readme.md"),),
)


def test_metadata_are_read_as_they_were_written() -> None:
    assert read_model_metadata(metadata_bytes(FULL)) == FULL


def test_what_the_model_says_is_found_in_its_bytes_and_survives_reading_and_writing() -> None:
    tflite = write_graph(with_words(small_network(), FULL, labels_txt="a\nb\n", readme_md="read me"))
    for data in (tflite, write_graph(read_graph(tflite))):
        words = words_in(data)
        assert (words.metadata, words.problems) == (FULL, ())
        assert words.labels_of(0) == ("a", "b")
        assert words.attached.get("readme.md") == b"read me"
    assert write_graph(read_graph(tflite)) == tflite


def test_other_programs_find_the_attached_files_too(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(with_words(small_network(), FULL, labels_txt="a\nb\n")))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt") == b"a\nb\n"


def test_labels_in_english_are_taken_before_others() -> None:
    files = (labels_file(name="de.txt", locale="de"), labels_file(name="en.txt", locale="en"))
    metadata = ModelMetadata(outputs=(TensorMetadata(files=files),))
    tflite = write_graph(with_words(small_network(), metadata, de_txt="rot", en_txt="red"))
    assert words_in(tflite).labels_of(0) == ("red",)


@pytest.mark.parametrize(
    ("notes", "names", "task"),
    [
        ('{"names": {"0": "cat", "1": "dog"}, "task": "detect"}', ("cat", "dog"), "detect"),
        ("{'stride': 32, 'names': {0: 'cat', 1: 'dog'}}", ("cat", "dog"), ""),
        ("{'names': ['cat', 'dog'], 'task': 'pose', 'when': None}", ("cat", "dog"), "pose"),
    ],
)
def test_the_notes_of_an_exporter_are_read_as_json_and_as_python(notes, names, task) -> None:
    found = words_in(with_attached(write_graph(small_network()), [("temp_meta.txt", notes.encode())])).notes
    assert found is not None
    assert (found.names, found.task) == (names, task)


@pytest.mark.parametrize(
    "notes",
    [
        "{'names': __import__('os').getcwd()}",
        "{" * 100_000,
        "{'names': {1: 'from one'}}",
        '{"names": 3}',
        "{",
    ],
)
def test_notes_that_are_none_are_passed_over(notes) -> None:
    assert (
        words_in(with_attached(write_graph(small_network()), [("metadata.json", notes.encode())])).notes
        is None
    )


def test_what_cannot_be_read_is_told() -> None:
    missing = words_in(write_graph(with_words(small_network(), FULL)))
    assert "labels.txt, which is not attached" in " ".join(missing.problems)
    no_text = words_in(write_graph(with_words(small_network(), FULL, labels_txt=b"\xff\xfe", readme_md="")))
    assert "labels.txt is not text in UTF-8" in " ".join(no_text.problems)
    graph = with_words(small_network(), None)
    broken = words_in(write_graph(replace(graph, metadata=((TFLITE_METADATA, b"?"),))))
    assert "cannot be read" in " ".join(broken.problems)


def test_a_zip_bomb_is_left_out_and_told() -> None:
    buffer = io.BytesIO(write_graph(small_network()))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.txt", "w") as bomb:
            for _ in range(MAX_BYTES // (1 << 20) + 1):
                bomb.write(bytes(1 << 20))
        archive.writestr("labels.txt", "a")
    attached = read_attached(buffer.getvalue())
    assert attached.files == (("labels.txt", b"a"),)
    assert "bomb.txt was left out" in attached.problems[0]


@settings(max_examples=300)
@given(st.data())
def test_damaged_metadata_are_read_or_passed_over(data) -> None:
    raw = bytearray(metadata_bytes(FULL))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_model_metadata(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def test_lists_that_say_the_same_over_and_over_end_soon() -> None:
    """Every entry of a vector may point at one table: a few bytes could stand for thousands of tensors."""
    files = tuple(labels_file(name="x" * 60_000) for _ in range(60))
    tensors = tuple(TensorMetadata(files=files) for _ in range(3))
    started = time.perf_counter()
    assert read_model_metadata(metadata_bytes(ModelMetadata(inputs=tensors, outputs=tensors))) is None
    assert read_model_metadata(metadata_bytes(ModelMetadata(inputs=(TensorMetadata(),) * 300))) is None
    assert time.perf_counter() - started < 5.0


def test_a_damaged_model_has_no_entry() -> None:
    tflite = write_graph(with_words(small_network(), FULL))
    assert metadata_entry(tflite) == metadata_bytes(FULL)
    assert metadata_entry(tflite, "other") is None
    for cut in range(0, len(tflite), 97):
        metadata_entry(tflite[:cut])
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(tflite)
        damaged[int(rng.integers(8, 400))] = int(rng.integers(256))
        words_in(bytes(damaged))
