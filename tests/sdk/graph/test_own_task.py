"""What a model is for is found out where it tells, and asked for where it does not."""

from __future__ import annotations

import pytest

from device_agent.record.task import Task
from sdk.errors import DataError
from sdk.graph.embedded.attached import AttachedFiles
from sdk.graph.embedded.exporter_notes import ExporterNotes
from sdk.graph.embedded.model_metadata import ModelMetadata, TensorMetadata
from sdk.graph.embedded.own_words import OwnWords
from sdk.graph.own_task import Clues, OutputFacts, own_fit, own_task, ranking, told_task
from sdk.graph.records import Graph, Operator, Tensor
from tests.sdk.graph.embedded.made_metadata import labels_file

IMAGE = (640, 640)
NO_WORDS = OwnWords()


def clues(*shapes, image=IMAGE, labels=0, words=NO_WORDS, made_by="", names=(), dtype="FLOAT32", post=()):
    names = names or [f"output_{i}" for i in range(len(shapes))]
    outputs = tuple(OutputFacts(n, s, dtype, made_by) for n, s in zip(names, shapes, strict=True))
    return Clues(image, outputs, words, labels, post)


def notes(count: int, task: str = "") -> OwnWords:
    return OwnWords(notes=ExporterNotes(tuple(f"class {n}" for n in range(count)), task))


def with_labels(position: int, outputs: int, name: str = "") -> OwnWords:
    tensors = [TensorMetadata() for _ in range(outputs)]
    tensors[position] = TensorMetadata(name, files=(labels_file(),))
    return OwnWords(ModelMetadata(outputs=tuple(tensors)), AttachedFiles((("labels.txt", b"a\nb\nc\n"),)))


@pytest.mark.parametrize(
    ("found", "task"),
    [
        (clues((25200, 85)), Task("detections", "yolov5", (0,), classes=80)),
        (clues((25200, 6), labels=1), Task("detections", "yolov5", (0,), classes=1)),
        (clues((84, 8400)), Task("detections", "yolov8", (0,), classes=80)),
        (clues((7, 8400), labels=3), Task("detections", "yolov8", (0,), classes=3)),
        (clues((8400, 84), labels=80), Task("detections", "yolov8 rows", (0,), classes=80)),
        (clues((10647, 25), image=(416, 416)), Task("detections", "yolov5", (0,), classes=20)),
        (clues((2535, 85), image=(416, 416)), Task("detections", "yolov5", (0,), classes=80)),
        (clues((84, 6300), image=(480, 640)), Task("detections", "yolov8", (0,), classes=80)),
        (
            clues((116, 8400), (160, 160, 32), words=notes(80, "segment"), labels=80),
            Task("detections", "yolov8", (0,), classes=80),
        ),
        (
            clues((56, 8400), words=notes(1, "pose"), labels=1),
            Task("keypoints", "yolov8", (0,), classes=1, points=17),
        ),
        (clues((300, 6), words=notes(80, "detect"), labels=80), Task("detections", "final rows", (0,))),
        (clues((80,), words=notes(80, "classify"), labels=80), Task("classes", "row", (0,))),
        (
            clues((10, 4), (10,), (10,), (), post=(0, 1, 2, 3)),
            Task("detections", "post-process", (0, 1, 2, 3)),
        ),
        (
            clues((10,), (10, 4), (), (10,), post=(1, 3, 0, 2)),
            Task("detections", "post-process", (1, 3, 0, 2)),
        ),
        (clues((513, 513), dtype="INT64"), Task("segmentation", "numbers", (0,))),
        (clues((65, 65, 1), made_by="ARG_MAX"), Task("segmentation", "numbers", (0,))),
        (clues((64, 64, 21), made_by="SOFTMAX"), Task("segmentation", "scores", (0,))),
        (clues((64, 64, 3), words=with_labels(0, 1), labels=3), Task("segmentation", "scores", (0,))),
        (clues((257, 257, 21), image=(257, 257)), Task("segmentation", "scores", (0,))),
        (clues((512, 512, 2), image=(512, 512)), Task("segmentation", "scores", (0,))),
        (
            clues((2535, 4), (2535, 80), image=(416, 416)),
            Task("detections", "yolov4", (0, 1), classes=80),
        ),
        (
            clues((10647, 20), (10647, 4), image=(416, 416), labels=20),
            Task("detections", "yolov4", (1, 0), classes=20),
        ),
        (clues((64, 64, 1), names=["mask"]), Task("segmentation", "mask", (0,))),
        (clues((1, 17, 3), image=(192, 192)), Task("keypoints", "movenet", (0,))),
        (clues((6, 56), image=(256, 256)), Task("keypoints", "movenet bodies", (0,))),
        (
            clues(
                (9, 9, 17),
                (9, 9, 34),
                (9, 9, 32),
                (9, 9, 32),
                names=["float_heatmaps", "float_short_offsets", "fwd", "bwd"],
            ),
            Task("keypoints", "posenet", (0, 1)),
        ),
        (clues((48, 48, 14), names=["heatmap_out"]), Task("keypoints", "heatmaps", (0,))),
        (clues((3,), (128,), labels=3), Task("classes", "row", (0,))),
        (clues((128,), (3,), words=with_labels(1, 2)), Task("classes", "row", (1,))),
        (clues((128,), (3,), names=["embedding", "scores"]), Task("classes", "row", (1,))),
    ],
)
def test_a_task_that_a_model_tells(found, task) -> None:
    assert own_task(found) == task


@pytest.mark.parametrize(
    "found",
    [
        clues((1000,)),  # one row of values needs no task
        clues((896, 16), (896, 1), image=(128, 128)),  # BlazeFace: its anchors are not in the file
        clues((8400, 85)),  # rows of YOLOX, or of a YOLOv8 of 81 classes
        clues((56, 8400)),  # a body and its points, or 52 classes
        clues((25200, 85), labels=20),
        clues((48, 48, 14)),  # heat maps, or a map of classes
        clues((640, 640, 3)),  # a picture
        clues((640, 640, 1)),  # how deep each pixel is
        clues((1917, 4), (1917, 91), image=(300, 300)),  # an SSD whose anchors are not in the file
        clues((128,), (64,)),
        clues((1, 257), (2, 128), image=None, made_by="LOGISTIC"),
        clues((10, 1), image=(8, 8)),
    ],
)
def test_what_could_be_several_things_is_not_guessed(found) -> None:
    assert own_task(found) is None


@pytest.mark.parametrize(
    ("found", "text", "task"),
    [
        (clues((48, 48, 14)), "keypoints", Task("keypoints", "heatmaps", (0,))),
        (clues((48, 48, 14)), "segmentation", Task("segmentation", "scores", (0,))),
        (clues((33, 3)), "keypoints", Task("keypoints", "points", (0,))),
        (clues((128,), (64,), names=["a", "b"]), "classes:b", Task("classes", "row", (1,))),
        (clues((128,), (64,)), "classes:1", Task("classes", "row", (1,))),
        (clues((300, 6)), "detections", Task("detections", "final rows", (0,))),
        (clues((25200, 85)), "detections", Task("detections", "yolov5", (0,), classes=80)),
        (clues((25200, 85)), "raw", Task("raw")),
        (clues((1000,)), "classes", Task("classes", "row", (0,))),
    ],
)
def test_a_task_that_somebody_tells(found, text, task) -> None:
    assert told_task(text, found) == task


@pytest.mark.parametrize(
    ("found", "text", "said"),
    [
        (clues((1000,)), "colours", "unknown task"),
        (clues((1000,)), "detections", "no output has the form of detections"),
        (clues((1000,), (64,)), "classes", "several outputs could hold classes"),
        (clues((1000,)), "classes:none", "no such output"),
        (clues((1000,)), "classes:1", "no such output"),
        (clues((896, 16), (896, 1)), "detections", "no output has the form"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(found, text, said) -> None:
    with pytest.raises(DataError, match=said):
        told_task(text, found)


def test_pictures_get_in_as_the_training_did_it() -> None:
    assert own_fit(Task("detections", "yolov8", (0,), classes=1)) == "letterbox"
    assert own_fit(Task("detections", "post-process", (0, 1, 2, 3))) == "stretch"
    assert own_fit(Task("segmentation", "scores", (0,))) == "stretch"
    assert own_fit(Task("classes", "row", (0,))) is None
    assert own_fit(None) is None


@pytest.mark.parametrize(
    ("kind", "name", "values", "read", "ranks"),
    [
        ("SOFTMAX", "Identity", 64, 64, True),  # a move on a board
        ("FULLY_CONNECTED", "Identity", 10, 192, True),
        ("FULLY_CONNECTED", "Identity", 640, 640, False),  # a spectrum once more
        ("LOGISTIC", "Identity", 257, 257, False),  # a share of each frequency
        ("LOGISTIC", "Identity", 1, 192, False),
        ("CONV_2D", "landmarks", 1404, 192, False),
        ("ADD", "logits", 10, 192, True),
    ],
)
def test_a_row_that_ranks_classes(kind: str, name: str, values: int, read: int, ranks: bool) -> None:
    tensors = (Tensor("in", (1, read), "FLOAT32"), Tensor(name, (1, values), "FLOAT32"))
    graph = Graph(tensors, (Operator(kind, (0,), (1,), {}, ""),), (0,), (1,))
    assert ranking(graph) == (ranks,)
