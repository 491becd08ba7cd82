"""Pictures with what is on them: boxes in COCO JSON or YOLO text, maps of classes as PNG beside the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from device_agent.record.task import DETECTIONS, SEGMENTATION
from sdk.data.meaning.class_names import check_numbers, match_classes
from sdk.data.meaning.label_files import parse_labels
from sdk.data.picture_files import MAX_DEPTH, picture_size
from sdk.data.scoring.box_files import (
    classes_of_categories,
    is_coco,
    of_coco,
    of_yolo,
    parse_coco,
    parse_yolo,
)
from sdk.data.scoring.truth import BOXES, MAPS, NO_CLASS, TrueBoxes, TrueMap
from sdk.data.wanted import Wanted
from sdk.errors import DataError
from sdk.graph.dataset import Truth

#: What folders of pictures are called, and those beside them that say what is on them.
_PICTURES = ("images", "imgs", "image", "img", "jpegimages", "photos", "input", "inputs", "rgb")
_MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "segmentationclass", "segmentation"),
    *("gt", "groundtruth", "ground_truth", "targets", "target"),
)
_MASK_ENDS = ("_mask", "-mask", ".mask", "_seg", "_segmentation", "_gt", "_label", "_labels", "_target")
_MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")
_LISTS = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt")
_MAX_JSON_BYTES = 1 << 30
#: In a mask of no more than two classes: the second, as image editors write it; else a pixel that does not count.
_WHITE = 255
_LOOKED_AT = 64


def truth_of_pictures(
    folder: Path, files: Sequence[Path], wanted: Wanted
) -> tuple[list[Path], Truth | None, str]:
    """The pictures whose things are known, what is on each, and a sentence on what was found.

    Where nothing lies beside them, all pictures and None. Raises DataError for files that cannot be read, or fit no
    model.
    """
    assert wanted.task is not None
    if wanted.task.kind == SEGMENTATION:
        return _of_masks(folder, files, wanted)
    assert wanted.task.kind == DETECTIONS
    given = wanted.truth
    coco = _coco_file(folder, files, given)
    texts = {} if given is not None and given.is_file() else _yolo_files(files, given)
    if coco is not None and texts:
        raise DataError(
            f"the boxes of {folder} are there twice",
            expected="one of both, named with --truth",
            found=f"{coco.name} of COCO, and {len(texts)} files of YOLO's such as {next(iter(texts.values())).name}",
        )
    if coco is not None:
        return _of_coco(coco, files, wanted)
    if texts:
        return _of_yolo(folder, files, texts, wanted)
    if given is not None:
        raise DataError(
            f"{given} describes no picture in {folder}",
            expected="COCO's JSON, or a folder of YOLO's text files, with the names of the pictures",
            found="no such file or folder" if not given.exists() else "other names",
        )
    return (
        list(files),
        None,
        "what is on the pictures is not known: neither COCO's JSON nor YOLO's text files lie there",
    )


# -- boxes -----------------------------------------------------------------------------------------------------------


def _coco_file(folder: Path, files: Sequence[Path], given: Path | None) -> Path | None:
    """The file that names most pictures, at least half of them."""
    if given is not None:
        return given if given.is_file() else None
    around = [folder, folder / "annotations", folder.parent, folder.parent / "annotations"]
    around.append(folder.parent.parent / "annotations")
    found: dict[Path, int] = {}
    names = {file.name for file in files}
    for place in dict.fromkeys(around):
        for path in sorted(place.glob("*.json")) if place.is_dir() else ():
            if path.stat().st_size <= _MAX_JSON_BYTES:
                found[path] = len(names & _names_in(path))
    best = max(found, key=lambda path: found[path], default=None)
    return best if best is not None and 2 * found[best] >= len(files) > 0 else None


def _names_in(path: Path) -> set[str]:
    try:
        said = json.loads(path.read_text("utf-8-sig", "replace"))
    except ValueError:
        return set()
    if not is_coco(said):
        return set()
    named = [one.get("file_name", "") for one in said["images"] if isinstance(one, dict)]
    return {str(name).replace("\\", "/").rpartition("/")[2] for name in named}


def _of_coco(path: Path, files: Sequence[Path], wanted: Wanted) -> tuple[list[Path], Truth | None, str]:
    found = parse_coco(path.read_text("utf-8-sig", "replace"), path.name)
    used = [file for file in files if file.name in found.pictures]
    if not used or not found.categories:
        raise DataError(
            f"{path} describes none of the pictures",
            expected=f"names such as {files[0].name}",
            found=", ".join(list(found.pictures)[:3]) or "no names",
        )
    assert wanted.task is not None
    classes, how = classes_of_categories(found, wanted.task, wanted.labels, wanted.scores)

    def of(index: int) -> TrueBoxes:
        name = used[index].name
        return of_coco(found.pictures[name], classes, *picture_size(used[index]), name)

    told = f"boxes of {path.name} (COCO); {how}"
    if len(used) < len(files):
        told += f"; pictures that it does not name are left out: {len(files) - len(used)}"
    if len(used) < len(found.pictures):
        told += f"; {len(found.pictures) - len(used)} pictures that it names are missing"
    return used, Truth(BOXES, of, told), told


def _yolo_files(files: Sequence[Path], given: Path | None) -> dict[Path, Path]:
    """Picture -> the text file with its boxes."""
    found = {}
    places = _places(files, ("labels",), given)
    for file in files:
        for place in places[file.parent]:
            path = place / f"{file.stem}.txt"
            if path.is_file():
                found[file] = path
                break
    return found


def _of_yolo(
    folder: Path, files: Sequence[Path], texts: Mapping[Path, Path], wanted: Wanted
) -> tuple[list[Path], Truth | None, str]:
    if 2 * len(texts) < len(files):
        raise DataError(
            f"most pictures of {folder} have no file of YOLO's labels",
            expected="a text file of the same name for each, empty where nothing is on it",
            found=f"{len(texts)} for {len(files)} pictures",
        )
    read = {
        file: parse_yolo(path.read_text("utf-8-sig", "replace"), path.name) for file, path in texts.items()
    }
    numbers = sorted({int(number) for _, classes in read.values() for number in classes})
    if not numbers:
        raise DataError(f"no box is in the text files of {folder}", expected="boxes", found="empty files")
    names = _listed_names(folder)
    if names and wanted.labels:
        match = match_classes(
            names, labels=wanted.labels, scores=len(wanted.labels), what="names of the data"
        )
        classes_of, how = np.array(match.numbers, np.int64), match.how
    else:
        classes_of = np.arange(numbers[-1] + 1)
        how = check_numbers(numbers, wanted.scores, "classes of the boxes")
    if numbers[-1] >= len(classes_of):
        raise DataError(
            "the boxes have classes that the list of the data does not name",
            expected=f"0 to {len(classes_of) - 1}",
            found=str(numbers[-1]),
        )

    def of(index: int) -> TrueBoxes:
        file = files[index]
        corners, classes = read.get(file, (np.zeros((0, 4)), np.zeros(0, np.int64)))
        return of_yolo(corners, classes_of[classes], *picture_size(file))

    told = f"boxes of {len(texts)} text files (YOLO); {how}"
    if len(texts) < len(files):
        told += f"; on {len(files) - len(texts)} pictures without one is nothing"
    return list(files), Truth(BOXES, of, told), told


def _listed_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes that lie with the data; empty where none do."""
    for place in (folder, folder.parent, folder.parent.parent):
        for name in _LISTS:
            path = place / name
            if path.is_file():
                return parse_labels(path.read_bytes(), name)
    return ()


# -- maps of classes -------------------------------------------------------------------------------------------------


def without_masks(files: Sequence[Path]) -> list[Path]:
    """The files that are pictures, not maps of the classes on one of the others, by their names."""
    stems = {(file.parent, file.stem): 0 for file in files}
    for file in files:
        stems[file.parent, file.stem] += 1

    def is_mask(file: Path) -> bool:
        if file.parent.name.casefold() in _MASKS:
            return True
        if file.suffix.lower() == ".png" and stems[file.parent, file.stem] > 1:
            return True  # x.jpg and x.png
        ends = [end for end in _MASK_ENDS if file.stem.endswith(end)]
        return any((file.parent, file.stem.removesuffix(end)) in stems for end in ends)

    return [file for file in files if not is_mask(file)]


def _of_masks(folder: Path, files: Sequence[Path], wanted: Wanted) -> tuple[list[Path], Truth | None, str]:
    masks = {}
    places = _places(files, _MASKS, wanted.truth)
    for file in files:
        for path in _mask_paths(file, places[file.parent]):
            if path != file and path.is_file():
                masks[file] = path
                break
    if not masks:
        if wanted.truth is not None:
            raise DataError(
                f"{wanted.truth} holds no map for a picture in {folder}",
                expected="PNG files with the names of the pictures",
                found="no such folder" if not wanted.truth.is_dir() else "other names",
            )
        return (
            list(files),
            None,
            "the class of each pixel is not known: no PNG of classes lies beside the pictures",
        )
    used = [file for file in files if file in masks]
    read = _meaning_of_values([masks[file] for file in used[:_LOOKED_AT]], wanted.scores)

    def of(index: int) -> TrueMap:
        file = used[index]
        numbers = read(masks[file])
        height, width = picture_size(file)
        if abs(numbers.shape[1] * height / (numbers.shape[0] * width) - 1) > 0.02:
            raise DataError(
                f"the map {masks[file].name} is not of the picture {file.name}",
                expected=f"{width} x {height} pixels",
                found=f"{numbers.shape[1]} x {numbers.shape[0]}",
            )
        return TrueMap(numbers)

    told = f"maps of classes beside the pictures, such as {masks[used[0]].name}"
    if len(used) < len(files):
        told += f"; pictures without one are left out: {len(files) - len(used)}"
    return used, Truth(MAPS, of, told), told


def _meaning_of_values(paths: Sequence[Path], classes: int | None) -> Callable[[Path], np.ndarray]:
    """Reads a map (height, width) of a file, in the way that the first of them tell."""
    values = np.unique(np.concatenate([np.unique(_stored(path)) for path in paths]))
    painted = classes in (None, 2) and set(values.tolist()) <= {0, _WHITE}

    def read(path: Path) -> np.ndarray:
        found = _stored(path)
        if painted:
            return (found == _WHITE).astype(np.int64)
        found = np.where(found == _WHITE, NO_CLASS, found)
        largest = int(found.max())
        if classes is not None and largest >= classes:
            hint = (
                "Is 0 no class? Subtract 1, and store 255 where nothing counts."
                if largest == classes
                else None
            )
            raise DataError(
                f"the map {path.name} has classes that the model does not have",
                expected=f"0 to {classes - 1}, and 255 where a pixel does not count",
                found=str(largest),
                hint=hint,
            )
        return found

    return read


def _stored(path: Path) -> np.ndarray:
    """The numbers of a map (height, width) int64, of a palette its own."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            stored = np.asarray(image if image.mode in ("P", "L", "I;16", "I") else image.convert("RGB"))
            if image.mode == "1":
                stored = np.asarray(image).astype(np.uint8) * _WHITE
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is not a readable map", expected="a whole PNG", found=str(error)) from error
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            raise DataError(
                f"the map {path.name} holds colours",
                expected="the number of a class for each pixel, grey or of a palette",
                found="pixels of red, green and blue",
            )
        stored = stored[..., 0]
    return stored.astype(np.int64)


def _mask_paths(file: Path, places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        for end in ("", *_MASK_ENDS):
            for suffix in _MASK_SUFFIXES:
                yield place / f"{file.stem}{end}{suffix}"


def _places(files: Sequence[Path], called: Sequence[str], given: Path | None) -> dict[Path, list[Path]]:
    """Folder of pictures -> where a file that belongs to one of them may lie, the likeliest first."""
    return {parent: list(_around(parent, called, given)) for parent in {file.parent for file in files}}


def _around(parent: Path, called: Sequence[str], given: Path | None) -> Iterator[Path]:
    """The folder that was named; else that of the pictures and those beside it, images/val and labels/val alike."""
    if given is not None:
        yield given
        yield given / parent.name
        return
    yield parent
    parts = parent.absolute().parts
    for place in range(len(parts) - 1, max(-1, len(parts) - 1 - MAX_DEPTH), -1):
        if parts[place].casefold() in _PICTURES:
            for folder in _named_folders(Path(*parts[:place]), called):
                yield folder.joinpath(*parts[place + 1 :])
    for folder in (*_named_folders(parent, called), *_named_folders(parent.parent, called)):
        yield folder
        yield folder / parent.name


def _named_folders(above: Path, called: Sequence[str]) -> list[Path]:
    found = sorted(above.iterdir()) if above.is_dir() else []
    return [path for path in found if path.name.casefold() in called and path.is_dir()]
