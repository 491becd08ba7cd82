"""What is right beside pictures: boxes in COCO JSON and YOLO text, masks, values. What does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_agent.record.preprocess import PREPROCESS
from device_agent.record.task import DETECTIONS, SEGMENTATION, Task
from device_agent.record.usage import Usage
from sdk.data.for_model import DataFor, data_for
from sdk.data.scoring.by_task import score_of
from sdk.data.scoring.score import Score
from sdk.errors import DataError
from sdk.graph.on_host.evaluate import every_output
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.writer import write_graph
from tests.sdk.data.colour_network import COLOURS, SIZE, colour_map_network, mean_colour_network
from tests.sdk.graph.answering_graphs import saying

_NAMES = ("cat", "dog")
#: A dog from a quarter to three quarters of the picture, whatever is on it.
_DOG = np.array([[[0.25, 0.25, 0.75, 0.75, 0.9, 1], *[[0.0] * 6] * 4]])
_DETECTOR = write_graph(saying(32, rows=_DOG))
_DETECTS = Usage(PREPROCESS["tf"], labels=_NAMES, task=Task(DETECTIONS, "final rows", (0,)), fit="stretch")
_SEGMENTS = Usage(PREPROCESS["tf"], task=Task(SEGMENTATION, "scores", (0,)), fit="stretch")


def _pictures(
    folder: Path, count: int = 4, size: tuple[int, int] = (80, 40), suffix: str = ".jpg"
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}{suffix}" for number in range(count)]
    for path in paths:
        Image.new("RGB", size, (90, 90, 90)).save(path)
    return paths


def _opened(tflite: bytes, usage: Usage, path: Path, **how) -> tuple[DataFor, Score]:
    """The data, and the first score of the model on them."""
    with data_for(tflite, usage, **how) as opener:
        found = opener.open(path)
        metric = opener.metric(found.dataset)
    assert metric.by_truth
    with HostModel(tflite) as model:
        outputs = every_output(model, found.dataset.images())
    return found, score_of(metric, outputs, metric.truths(found.dataset))


def _refusal(tflite: bytes, usage: Usage, path: Path, **how) -> str:
    with pytest.raises(DataError) as caught:
        _opened(tflite, usage, path, **how)
    return str(caught.value)


def _coco(folder: Path, name: str = "a.json", **changes) -> Path:
    """Annotations of four pictures: a dog on each, and a cat on the first that is not found."""
    box = [20.0, 10.0, 40.0, 20.0]
    said = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 40, "width": 80} for i in range(4)],
        "annotations": [{"id": i, "image_id": i, "category_id": 7, "bbox": box} for i in range(4)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 0, "name": "animals"}],
    }
    said["annotations"].append({"id": 9, "image_id": 0, "category_id": 3, "bbox": [0, 0, 8, 8]})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({**said, **changes}))
    return folder / name


@pytest.mark.parametrize("where", [".", "annotations", "../annotations", ".."])
def test_coco_json_is_found_around_the_pictures(where: str, tmp_path: Path) -> None:
    _pictures(tmp_path / "val")
    _coco(tmp_path / "val" / where)
    found, score = _opened(_DETECTOR, _DETECTS, tmp_path / "val")
    assert score.value == pytest.approx(0.5)  # all dogs, not the cat
    assert any("a.json (COCO)" in note and "matched by name" in note for note in found.notes)


def test_coco_json_elsewhere_is_named(tmp_path: Path) -> None:
    _pictures(tmp_path / "val")
    truth = _coco(tmp_path / "far" / "away")
    assert _opened(_DETECTOR, _DETECTS, tmp_path / "val", truth=truth)[1].value == pytest.approx(0.5)
    message = _refusal(_DETECTOR, _DETECTS, tmp_path / "val", truth=tmp_path / "none.json")
    assert "no such file" in message


def _yolo(pictures: list[Path], folder: Path, line: str = "1 0.5 0.5 0.5 0.5") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in pictures:
        (folder / f"{path.stem}.txt").write_text(line + "\n")


@pytest.mark.parametrize(
    ("pictures", "texts"), [("d", "d"), ("d/images", "d/labels"), ("d/images/val", "d/labels/val")]
)
def test_yolo_text_is_found_beside_the_pictures(pictures: str, texts: str, tmp_path: Path) -> None:
    _yolo(_pictures(tmp_path / pictures), tmp_path / texts)
    for path in {tmp_path / pictures, tmp_path / "d"}:
        found, score = _opened(_DETECTOR, _DETECTS, path)
        assert score.value == 1.0
        assert any("4 text files (YOLO)" in note for note in found.notes)


def test_names_of_the_data_in_another_order_are_matched(tmp_path: Path) -> None:
    _yolo(_pictures(tmp_path / "images"), tmp_path / "labels", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text("names: [dog, cat]\n")
    assert _opened(_DETECTOR, _DETECTS, tmp_path / "images")[1].value == 1.0


def test_an_outline_counts_as_its_box(tmp_path: Path) -> None:
    _yolo(_pictures(tmp_path), tmp_path, "1 0.25 0.25 0.75 0.3 0.75 0.75 0.3 0.5")
    assert _opened(_DETECTOR, _DETECTS, tmp_path)[1].value == 1.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 40 20 20 20", "Divide pixels"),
        ("1 0.5 0.5 0.5 0.5 0.9", "middle x, middle y"),
        ("5 0.5 0.5 0.5 0.5", "do not fit the classes"),
        ("dog 0.5 0.5 0.5 0.5", "line 1"),
    ],
)
def test_boxes_that_are_none_are_refused(line: str, said: str, tmp_path: Path) -> None:
    _yolo(_pictures(tmp_path), tmp_path, line)
    assert said in _refusal(_DETECTOR, _DETECTS, tmp_path)


def test_boxes_of_a_picture_that_exif_turns_are_refused(tmp_path: Path) -> None:
    _pictures(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(tmp_path / "0.jpg", exif=exif)
    _coco(tmp_path)
    assert "store it upright" in _refusal(_DETECTOR, _DETECTS, tmp_path)


def test_categories_without_labels_go_by_number_or_are_asked_for(tmp_path: Path) -> None:
    _pictures(tmp_path)
    _coco(tmp_path)
    unlabelled = Usage(PREPROCESS["tf"], task=Task(DETECTIONS, "final rows", (0,)), fit="stretch")
    assert "--labels" in _refusal(_DETECTOR, unlabelled, tmp_path)


def test_the_list_of_coco_numbers_a_model_of_as_many_classes(tmp_path: Path) -> None:
    _pictures(tmp_path)
    _coco(tmp_path, categories=[{"id": 3, "name": "x"}, {"id": 7, "name": "y"}])
    of_two = Usage(PREPROCESS["tf"], task=Task(DETECTIONS, "final rows", (0,), classes=2), fit="stretch")
    found, score = _opened(_DETECTOR, of_two, tmp_path)
    assert score.value == pytest.approx(0.5)
    assert any("in the order of their ids" in note for note in found.notes)


def test_both_kinds_of_boxes_are_no_answer(tmp_path: Path) -> None:
    _yolo(_pictures(tmp_path), tmp_path)
    _coco(tmp_path)
    assert "--truth" in _refusal(_DETECTOR, _DETECTS, tmp_path)


# -- maps ------------------------------------------------------------------------------------------------------------


def _scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of four colours, (SIZE, SIZE, 3), and the class of each pixel."""
    classes = np.random.default_rng(number).integers(0, 4, (SIZE, SIZE))
    return COLOURS[classes].astype(np.uint8), classes


def _save_map(numbers: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers.astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("{}.png", "{}_mask.png"),
        ("{}.bmp", "{}.png"),
        ("images/{}.png", "masks/{}.png"),
        ("JPEGImages/{}.png", "SegmentationClass/{}.png"),
        ("images/val/{}.png", "annotations/val/{}.png"),
    ],
)
def test_maps_are_found_beside_the_pictures(picture: str, mask: str, tmp_path: Path) -> None:
    for number in range(3):
        pixels, classes = _scene(number)
        classes[0, 0] = 255 if number else classes[0, 0]
        (tmp_path / picture.format(number)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / picture.format(number))
        _save_map(classes, tmp_path / mask.format(number))
    found, score = _opened(colour_map_network(PREPROCESS["tf"]), _SEGMENTS, tmp_path)
    assert (len(found.dataset), score.name, score.value) == (3, "mean IoU", 1.0)


def test_maps_that_count_from_one_are_refused(tmp_path: Path) -> None:
    pixels, classes = _scene(0)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    _save_map(classes + 1, tmp_path / "a.png")
    assert "Subtract 1" in _refusal(colour_map_network(PREPROCESS["tf"]), _SEGMENTS, tmp_path)


def test_maps_of_colours_are_refused(tmp_path: Path) -> None:
    pixels, _ = _scene(0)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert "holds colours" in _refusal(colour_map_network(PREPROCESS["tf"]), _SEGMENTS, tmp_path)


def test_maps_in_an_array(tmp_path: Path) -> None:
    scenes = [_scene(number) for number in range(3)]
    np.savez(tmp_path / "d.npz", x=np.stack([s[0] for s in scenes]), y=np.stack([s[1] for s in scenes]))
    assert _opened(colour_map_network(PREPROCESS["tf"]), _SEGMENTS, tmp_path / "d.npz")[1].value == 1.0


def test_the_truth_tells_the_preprocessing(tmp_path: Path) -> None:
    scenes = [_scene(number) for number in range(20)]
    np.savez(tmp_path / "d.npz", x=np.stack([s[0] for s in scenes]), y=np.stack([s[1] for s in scenes]))
    unknown = Usage(task=_SEGMENTS.task, fit="stretch")
    found, score = _opened(colour_map_network(PREPROCESS["torch"]), unknown, tmp_path / "d.npz")
    assert found.chosen.source == "labels"
    assert score.value > 0.98


# -- values ----------------------------------------------------------------------------------------------------------


def _with_values(folder: Path, write: str) -> Path:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)
    values = pixels.mean(axis=(1, 2)) / 255 + random.normal(0, 0.01, (20, 3))
    if write == "npz":
        np.savez(folder / "d.npz", x=pixels, y=values)
        return folder / "d.npz"
    rows = []
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{number}.png")
        rows.append(f"{number}.png," + ",".join(f"{value:.6f}" for value in values[number]))
    (folder / "targets.csv").write_text("\n".join(["file,r,g,b", *rows]))
    return folder


@pytest.mark.parametrize("write", ["npz", "csv"])
def test_values_are_no_labels(write: str, tmp_path: Path) -> None:
    path = _with_values(tmp_path, write)
    found, score = _opened(mean_colour_network(), Usage(PREPROCESS["01"]), path)
    assert score.name == "mean absolute error"
    assert 0.005 < score.value < 0.02
    assert any("3 of each" in note for note in found.notes)


def test_values_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = _with_values(tmp_path, "npz")
    with np.load(path) as both:
        np.savez(tmp_path / "x.npz", x=both["x"])
        np.savetxt(tmp_path / "t.csv", both["y"], delimiter=",")
    usage = Usage(PREPROCESS["01"])
    score = _opened(mean_colour_network(), usage, tmp_path / "x.npz", truth=tmp_path / "t.csv")[1]
    assert 0.005 < score.value < 0.02
