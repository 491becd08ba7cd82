"""From a model file to the answer on the board: boxes, maps and points in the image's own pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent import Agent
from device_agent.package import reader as package
from device_agent.record.usage import Usage
from device_agent.record.wire import answer_as_json
from sdk.cli import main
from sdk.graph.embedded.model_metadata import ModelMetadata, TensorMetadata
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.answering_graphs import post_processing, saying, yolo_rows
from tests.sdk.graph.embedded.made_metadata import labels_file, with_words

#: 100 x 200 pixels.
IMAGE = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)


def packed(graph: Graph, tmp_path: Path, *more: str) -> Path:
    source, out = tmp_path / "net.tflite", tmp_path / "net.armlet"
    source.write_bytes(write_graph(graph))
    assert main(["pack", str(source), "-o", str(out), *more]) == 0
    return out


def boxes_of(out: Path, image: np.ndarray = IMAGE) -> list[tuple]:
    with Agent(out) as agent:
        found = agent.predict(image)
    assert found.task == "detections"
    return [(b.label, round(b.score, 2), tuple(round(v) for v in b.box)) for b in found.boxes]


def test_a_yolo_with_the_notes_of_its_exporter_needs_no_word(tmp_path: Path) -> None:
    rows = yolo_rows(64, [0.5, 0.5, 0.5, 0.5, 0.1, 0.9, 0.2])
    notes = str({"task": "detect", "names": {0: "cat", 1: "dog", 2: "bird"}})
    graph = with_words(saying(64, out=rows.transpose(0, 2, 1)), None, temp_meta_txt=notes)
    out = packed(graph, tmp_path)
    usage = Usage.from_metadata(package.read(out.read_bytes()).metadata)
    assert usage.preprocess is not None
    assert (usage.preprocess.name, usage.fit, usage.labels) == ("01", "letterbox", ("cat", "dog", "bird"))
    # In the letterbox 200 x 100 pixels are the middle 64 x 32.
    assert boxes_of(out) == [("dog", 0.9, (50, 0, 150, 100))]


def test_the_older_heads_are_told_by_their_shape(tmp_path: Path) -> None:
    rows = yolo_rows(64, [16, 32, 16, 8, 0.5, 0.9, 0.2, 0.1], [60, 60, 1, 1, 0, 0, 0, 0], anchors=3)
    out = packed(saying(64, out=rows), tmp_path)
    assert boxes_of(out) == [(None, 0.45, (25, 38, 75, 62))]
    again = packed(saying(64, out=rows), tmp_path, "--fit", "stretch")
    assert boxes_of(again) == [(None, 0.45, (25, 44, 75, 56))]


def post_processed(order: tuple[int, ...] = (0, 1, 2, 3)) -> Graph:
    """A detector of two anchors and two classes that ends in TFLite's own post-processing."""
    encodings = np.array([[[0, 0, 0, 0], [0, 0, 0, 0]]])
    scores = np.array([[[0, 0.9, 0.1], [0, 0.2, 0.6]]])
    graph = saying(32, encodings=encodings, scores=scores)
    anchors = np.array([[0.5, 0.25, 0.5, 0.5], [0.5, 0.75, 0.25, 0.25]], np.float32)  # y, x, height, width
    return post_processing(graph, anchors, boxes=2, order=order)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_post_processing_is_known_whatever_order_its_outputs_have(order, tmp_path: Path) -> None:
    metadata = ModelMetadata(
        inputs=(TensorMetadata(content="image", mean=(127.5,), deviation=(127.5,)),),
        files=(labels_file("value labels"),),
    )
    graph = with_words(post_processed(order), metadata, labels_txt="cat\ndog\n")
    assert boxes_of(packed(graph, tmp_path)) == [
        ("cat", 0.9, (0, 25, 100, 75)),
        ("dog", 0.6, (125, 38, 175, 62)),
    ]


def test_labels_of_a_detector_are_held_against_its_classes(tmp_path: Path, capsys) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    rows = yolo_rows(64, [0.5, 0.5, 0.5, 0.5, 0.1, 0.9, 0.2])
    source = tmp_path / "three.tflite"
    source.write_bytes(write_graph(saying(64, out=rows.transpose(0, 2, 1))))
    told = ["--labels", str(labels)]
    assert main(["pack", str(source), "-o", str(tmp_path / "x"), *told]) == 2
    assert "expected 3 labels, one for each score; found 2" in capsys.readouterr().err
    labels.write_text("cat\ndog\nbird\n")
    out = packed(saying(64, out=rows.transpose(0, 2, 1)), tmp_path, *told)
    assert boxes_of(out)[0][0] == "dog"


def test_a_map_of_classes_knows_where_it_lies(tmp_path: Path) -> None:
    scores = np.zeros((1, 8, 8, 3), np.float32)
    scores[0, :4, :, 1] = 1.0
    out = packed(saying(64, segmentation=scores), tmp_path, "--preprocess", "01")
    with Agent(out) as agent:
        found = agent.predict(IMAGE)
    assert [(share.index, share.share) for share in found.map.classes] == [(0, 0.5), (1, 0.5)]
    assert (found.map.at(100, 200)[:50] == 1).all()
    assert (found.map.at(100, 200)[50:] == 0).all()
    assert json.loads(json.dumps(found.to_json()))["map"]["shape"] == [8, 8]


def test_an_answer_is_json_for_programs_too(tmp_path: Path) -> None:
    rows = yolo_rows(64, [0.5, 0.5, 0.5, 0.5, 0.1, 0.9, 0.2])
    out = packed(saying(64, out=rows), tmp_path, "--task", "detections", "--labels", str(_labels(tmp_path)))
    with Agent(out) as agent:
        found = agent.predict(IMAGE)
        several = agent.predict(np.stack([IMAGE, IMAGE]))
    said = json.loads(json.dumps(answer_as_json(found, "net"), allow_nan=False))
    (box,) = said["boxes"]
    assert (said["model"], said["task"], box["label"]) == ("net", "detections", "dog")
    assert box["box"] == [50.0, 0.0, 150.0, 100.0]
    assert [one["boxes"][0]["label"] for one in answer_as_json(several, "net")["answers"]] == ["dog", "dog"]
    assert found.named["out"].shape == rows.shape[1:]


def _labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\nbird\n")
    return path


def test_points_need_a_word_and_are_in_pixels_of_the_image(tmp_path: Path, capsys) -> None:
    maps = np.zeros((1, 16, 16, 2), np.float32)
    maps[0, 8, 4, 0] = 1.0
    packed(saying(64, out=maps), tmp_path)
    assert "what the outputs mean is not known" in " ".join(capsys.readouterr().out.split())
    out = packed(saying(64, out=maps), tmp_path, "--task", "keypoints", "--preprocess", "01")
    with Agent(out) as agent:
        first = agent.predict(IMAGE).points[0]
    assert (first.x, first.y, first.score) == (56.25, 53.125, 1.0)


def test_of_several_outputs_the_scores_answer_and_never_the_first_by_chance(tmp_path: Path) -> None:
    outputs = {"embedding": np.full((1, 8), 5.0), "scores": np.array([[0.1, 0.7, 0.2]])}
    with Agent(packed(saying(32, **outputs), tmp_path)) as agent:
        found = agent.predict(np.zeros((32, 32, 3), np.float32))
    assert (found.task, found.index) == ("classes", 1)
    assert [output.shape for output in found.outputs] == [(8,), (3,)]
    unknown = {"a": np.full((1, 8), 5.0), "b": np.array([[0.1, 0.7, 0.2]])}
    with Agent(packed(saying(32, **unknown), tmp_path)) as agent:
        found = agent.predict(np.zeros((32, 32, 3), np.float32))
    assert (found.task, found.top, len(found.outputs)) == (None, (), 2)
    told = packed(saying(32, **unknown), tmp_path, "--task", "classes:b")
    with Agent(told) as agent:
        assert agent.predict(np.zeros((32, 32, 3), np.float32)).index == 1


def test_a_task_travels_through_convert_and_compress(tmp_path: Path) -> None:
    source, converted, out = (tmp_path / name for name in ("a.tflite", "b.tflite", "c.armlet"))
    source.write_bytes(write_graph(saying(64, out=np.zeros((1, 16, 16, 2)))))
    sdk.convert_model(source, converted, task="keypoints", fit="letterbox")
    sdk.compress_model(converted, out, allow_unchanged=True)
    usage = Usage.from_metadata(package.read(out.read_bytes()).metadata)
    assert usage.task is not None
    assert (usage.task.form, usage.fit) == ("heatmaps", "letterbox")


def test_a_classifier_answers_as_it_did(tmp_path: Path) -> None:
    with Agent(packed(saying(32, scores=np.array([[0.1, 0.7, 0.2]])), tmp_path)) as agent:
        found = agent.predict(np.zeros((32, 32, 3), np.float32))
    assert found.to_json() == {
        "label": None,
        "index": 1,
        "score": pytest.approx(0.7),
        "top": [
            {"index": n, "score": pytest.approx(s), "label": None} for n, s in ((1, 0.7), (2, 0.2), (0, 0.1))
        ],
    }
