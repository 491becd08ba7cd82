"""Reads boxes of pictures from COCO JSON and YOLO text. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.record.task import Task
from sdk.data.meaning.class_names import check_numbers, match_classes
from sdk.data.scoring.truth import TrueBoxes
from sdk.errors import DataError

#: Shares of a picture may be rounded a little beyond its edges.
_SLACK = 0.01
#: Sides of a picture that was resized keep their ratio but for rounding.
_SAME_RATIO = 0.02
#: Classes of the lists that number COCO's things with gaps.
_WITH_GAPS = 90


@dataclass(frozen=True, eq=False)
class CocoPicture:
    """The things on one picture, in pixels of (height, width): ``corners`` (k, 4), ``ids`` (k,), ``crowd`` (k,)."""

    height: int
    width: int
    corners: np.ndarray
    ids: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class CocoFile:
    """``categories``: the name of each id that something has; ``declared``: of each in the file's list. ``pictures``:
    by the end of their paths.
    """

    categories: Mapping[int, str]
    declared: Mapping[int, str]
    pictures: Mapping[str, CocoPicture]


def is_coco(said: Any) -> bool:
    """Whether a JSON document has the three lists of COCO's annotations."""
    return isinstance(said, dict) and all(
        isinstance(said.get(key), list) for key in ("images", "annotations", "categories")
    )


def parse_coco(text: str, name: str) -> CocoFile:
    """The boxes of a COCO file. Raises DataError, naming it, for what is none."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{name} is not JSON", expected="COCO's annotations", found=str(error)[:100]
        ) from error
    if not is_coco(said):
        raise DataError(
            f"{name} holds no COCO annotations",
            expected="lists of images, annotations and categories",
            found=", ".join(map(str, said))[:100] if isinstance(said, dict) else "a list",
        )
    try:
        by_picture: dict[Any, list[Any]] = {one["id"]: [] for one in said["images"]}
        used = set()
        for one in said["annotations"]:
            if one.get("bbox"):
                left, top, width, height = map(float, one["bbox"])
                row = (
                    left,
                    top,
                    left + width,
                    top + height,
                    int(one["category_id"]),
                    bool(one.get("iscrowd")),
                )
                by_picture[one["image_id"]].append(row)
                used.add(int(one["category_id"]))
        pictures = {
            str(one["file_name"]).replace("\\", "/").rpartition("/")[2]: _picture(one, by_picture[one["id"]])
            for one in said["images"]
        }
        names = {int(one["id"]): str(one.get("name", one["id"])) for one in said["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} has another form than COCO's annotations",
            expected="images with id, file_name, height, width; annotations with image_id, category_id, bbox",
            found=f"{type(error).__name__}: {error}"[:100],
        ) from error
    return CocoFile({number: names.get(number, str(number)) for number in sorted(used)}, names, pictures)


def _picture(one: Mapping[str, Any], rows: Sequence[tuple[Any, ...]]) -> CocoPicture:
    return CocoPicture(
        int(one["height"]),
        int(one["width"]),
        np.array([row[:4] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[4] for row in rows], np.int64),
        np.array([row[5] for row in rows], bool),
    )


def classes_of_categories(
    coco: CocoFile, task: Task, labels: Sequence[str], count: int | None
) -> tuple[dict[int, int], str]:
    """The class of the model for each category id, and how it was told.

    By name where the model has ``labels``; else by number: in the order of the file's list where that has as many, or
    one less than the id where classes are numbered with COCO's gaps. ``count``: of classes, None where it is not known.
    Raises DataError where neither fits.
    """
    categories = coco.categories
    ids = sorted(categories)
    listed = sorted(coco.declared)
    if 0 in listed and 0 not in ids and len(listed) != count:
        listed.remove(0)  # what stands above all others, and nothing has
    if labels:
        match = match_classes(
            [categories[i] for i in ids], labels=labels, scores=len(labels), what="categories"
        )
        return dict(zip(ids, match.numbers, strict=True)), match.how
    gaps = count is None or count >= _WITH_GAPS
    if task.form == "post-process" and (gaps or listed == list(range(1, len(listed) + 1))):
        numbers = {i: i - 1 for i in ids}
        told = "categories are the model's classes by their ids less 1"
    elif len(listed) == count or (count is None and listed in _from_0_and_1(len(listed))):
        numbers = {i: listed.index(i) for i in ids}
        told = "categories are the model's classes in the order of their ids"
    else:
        raise DataError(
            "it is not known which category is which class of the model",
            expected="the labels of the model, with --labels FILE",
            found=f"{len(listed)} categories ({', '.join(list(categories.values())[:4])}, ...) and "
            f"{'an unknown number of' if count is None else count} classes",
        )
    check_numbers(list(numbers.values()), count, "categories")
    return numbers, told


def _from_0_and_1(count: int) -> list[list[int]]:
    return [list(range(count)), list(range(1, count + 1))]


def of_coco(found: CocoPicture, classes: Mapping[int, int], height: int, width: int, name: str) -> TrueBoxes:
    """The boxes on a picture of (height, width) pixels. Raises DataError where the file is about another shape."""
    ratio = (found.width * height) / max(found.height * width, 1)
    if abs(ratio - 1) > _SAME_RATIO:
        turned = (found.width, found.height) == (height, width)
        raise DataError(
            f"the boxes of {name} are of another picture",
            expected=f"{width} x {height} pixels, as it is looked at",
            found=f"{found.width} x {found.height}",
            hint="Its EXIF turns it: store it upright, or annotate it so." if turned else None,
        )
    scale = width / max(found.width, 1)
    numbers = np.array([classes[int(i)] for i in found.ids], np.int64)
    return TrueBoxes(height, width, found.corners * scale, numbers, found.crowd)


def parse_yolo(text: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Corners (k, 4) as shares of the picture, and classes (k,), of one file of YOLO's.

    Each line is a class with middle x, middle y, width, height, or with the points of an outline. Raises DataError.
    """
    corners, classes = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 5 and not (len(values) >= 7 and len(values) % 2 == 1):
            raise DataError(
                f"{name} is not a YOLO label file",
                expected="lines of a class and middle x, middle y, width, height, or the points of an outline",
                found=f"line {number}: {line[:60]!r}",
            )
        place = np.array(values[1:])
        if values[0] != int(values[0]) or values[0] < 0 or place.min() < -_SLACK or place.max() > 1 + _SLACK:
            raise DataError(
                f"{name} holds a number that is neither a class nor a share of the picture",
                expected="a class number from 0, and numbers of 0 to 1",
                found=f"line {number}: {line[:60]!r}",
                hint="Divide pixels by the picture's width and height." if place.max() > 2 else None,
            )
        if len(values) == 5:
            x, y, w, h = values[1:]
            corners.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        else:
            across, down = place[0::2], place[1::2]
            corners.append((across.min(), down.min(), across.max(), down.max()))
        classes.append(int(values[0]))
    return np.array(corners, np.float64).reshape(-1, 4), np.array(classes, np.int64)


def of_yolo(corners: np.ndarray, classes: np.ndarray, height: int, width: int) -> TrueBoxes:
    """The boxes on a picture of (height, width) pixels, of corners (k, 4) as shares of it and classes (k,)."""
    scale = np.array([width, height, width, height], np.float64)
    return TrueBoxes(height, width, corners * scale, classes, np.zeros(len(classes), bool))
