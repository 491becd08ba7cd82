"""Samples in a folder: pictures alone, one subfolder per class, or pictures and a table that names their classes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from device_agent.record.task import SEGMENTATION
from sdk.data.meaning.class_names import SORTED, ClassMatch, match_classes
from sdk.data.picture_files import (
    LeftOut,
    find_pictures,
    holds_pictures,
    picture_suffixes,
    read_picture,
    subfolders,
)
from sdk.data.tables import truth_of_tables
from sdk.data.things import truth_of_pictures, without_masks
from sdk.data.wanted import Wanted
from sdk.errors import DataError
from sdk.graph.dataset import Dataset

#: Names of the folders of a split, the first that is there counts; in any case.
SPLIT_FOLDERS = {
    "train": ("train", "training", "train_set", "training_set", "trainset"),
    "test": ("test", "testing", "test_set", "testset", "val", "valid", "validation", "eval", "dev"),
}
#: Pictures beside class folders are passed over where they are so few: a preview, a plot.
_STRAY_SHARE = 0.1
_DIGEST_BLOCK_BYTES = 1 << 20
#: Files beside pictures that say what is on them.
_SAID_BY = (".txt", ".json", ".yaml", ".yml", ".names")


def split_folder(path: Path, split: str) -> Path | None:
    """The folder of a split, as people call it; None where there is none."""
    by_name = {folder.name.casefold(): folder for folder in subfolders(path)}
    return next((by_name[name] for name in SPLIT_FOLDERS[split] if name in by_name), None)


def unwrapped(path: Path) -> Path:
    """The folder that holds splits, classes or pictures: of one folder alone in another the inner, as in archives."""
    for _ in range(4):
        inside = [folder for folder in subfolders(path) if holds_pictures(folder)]
        beside = any(file.suffix.lower() in picture_suffixes() for file in path.iterdir() if file.is_file())
        if len(inside) != 1 or beside or not any(holds_pictures(f) for f in subfolders(inside[0])):
            return path
        if any(inside[0].name.casefold() in names for names in SPLIT_FOLDERS.values()):
            return path
        path = inside[0]
    return path


def dataset_of_folder(path: Path, wanted: Wanted, split: str | None) -> Dataset:
    """The pictures of a folder and their classes, where it says them. Raises DataError."""
    shape = wanted.shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            "a folder of images cannot feed this network",
            expected="an input of (height, width, 1 or 3 channels)",
            found="x".join(map(str, shape)),
            hint="Store the inputs as an array `x` in an .npz file.",
        )
    left_out = LeftOut()
    notes: list[str] = []
    root = unwrapped(path)
    if root != path:
        notes.append(f"the pictures are in {root.relative_to(path)}")
    folder = _of_split(_with_splits(root), split)
    if folder not in (root, _with_splits(root)):
        notes.append(f"of the splits, {folder.name} is used")
    if wanted.task is not None:
        return _with_things(path, folder, wanted, notes, left_out)
    groups, match = _groups(folder, left_out, notes, wanted)
    files = [file for _, group in groups for file in group]
    classes, truth = None, None
    if match is not None:
        notes.append(match.how)
        numbers = [n for n, (_, group) in zip(match.numbers, groups, strict=True) for _ in group]
        order = sorted(range(len(files)), key=lambda i: numbers[i])  # stable: sorted by name within a class
        files, classes = [files[i] for i in order], np.array([numbers[i] for i in order], np.int64)
    elif files:
        files, classes, truth = truth_of_tables(folder, files, left_out, notes, wanted)
    if not files:
        raise _no_images(path, left_out)
    return Dataset(
        name=path.name,
        input_shape=shape,
        preprocess=wanted.preprocess,
        load=lambda index: read_picture(files[index], shape, wanted.fit),
        source_digest=lambda index: _file_digest(files[index]),
        indices=np.arange(len(files)),
        all_labels=classes,
        class_names=()
        if match is None
        else tuple(zip(match.numbers, (name for name, _ in groups), strict=True)),
        notes=(*notes, *left_out.notes()),
        order_is_certain=not any(SORTED in note for note in notes),
        source_name=lambda index: str(files[index].relative_to(path)),
        truth=truth,
    )


def _with_things(path: Path, folder: Path, wanted: Wanted, notes: list[str], left_out: LeftOut) -> Dataset:
    """The pictures of a folder and below for a detector or a segmenting model, and what is on them."""
    found = find_pictures(folder, folder, left_out)
    if wanted.task is not None and wanted.task.kind == SEGMENTATION:
        found = without_masks(found)
    if not found:
        raise _no_images(path, left_out)
    files, truth, told = truth_of_pictures(folder, found, wanted)
    left_out.others = [name for name in left_out.others if Path(name).suffix.lower() not in _SAID_BY]
    return Dataset(
        name=path.name,
        input_shape=wanted.shape,
        preprocess=wanted.preprocess,
        load=lambda index: read_picture(files[index], wanted.shape, wanted.fit),
        source_digest=lambda index: _file_digest(files[index]),
        indices=np.arange(len(files)),
        notes=(*notes, told, *left_out.notes()),
        source_name=lambda index: str(files[index].relative_to(path)),
        truth=truth,
    )


def _with_splits(root: Path) -> Path:
    """The folder whose subfolders are the splits: of ``images/train`` and ``labels/train`` the first."""
    inside = root / "images"
    if inside.is_dir() and not split_folder(root, "train"):
        return inside if all(split_folder(inside, split) for split in SPLIT_FOLDERS) else root
    return root


def has_split_folders(path: Path) -> bool:
    """True when a folder has pictures to train with and others to test with."""
    root = _with_splits(unwrapped(path))
    return all(split_folder(root, split) for split in SPLIT_FOLDERS)


def _no_images(path: Path, left_out: LeftOut) -> DataError:
    return DataError(
        f"there are no images in {path}",
        expected="pictures that Pillow reads, alone or in one folder per class",
        found="; ".join(left_out.notes()) or "no files",
    )


def _of_split(root: Path, split: str | None) -> Path:
    train, test = split_folder(root, "train"), split_folder(root, "test")
    if split is None:
        return (train or root) if train and test else root
    folder = train if split == "train" else test
    if folder is None:
        raise DataError(f"{root} has no split {split!r}", expected="subfolders train and test (or val)")
    return folder


def _groups(
    folder: Path, left_out: LeftOut, notes: list[str], wanted: Wanted
) -> tuple[list[tuple[str, list[Path]]], ClassMatch | None]:
    """The pictures by class folder, and which class each is; one group and None where there are no classes."""
    folders = subfolders(folder, left_out)
    flat = find_pictures(folder, folder, left_out, deep=False)
    groups = [(inner.name, find_pictures(inner, folder, left_out)) for inner in folders]
    filled = [group for group in groups if group[1]]
    if not filled:
        return [("", flat)], None
    count = sum(len(files) for _, files in filled)
    if len(flat) > _STRAY_SHARE * count:
        raise DataError(
            f"{folder} holds both images and folders",
            expected="images alone, or one subfolder per class",
            found=f"{len(flat)} images and {len(filled)} subfolders of images",
        )
    if flat:
        notes.append(f"pictures beside the class folders are left out: {len(flat)}, such as {flat[0].name}")
    if len(groups) > len(filled):
        empty = [name for name, files in groups if not files]
        notes.append(f"folders without a picture: {', '.join(empty[:5])}")
        if not wanted.labels and wanted.scores == len(groups):
            filled = groups  # a class without samples counts in the order of classes
    if len(filled) == 1 and not wanted.labels and not filled[0][0].isdecimal():
        notes.append(f"a single folder, {filled[0][0]}, is not a class: the images have no labels")
        return filled, None
    return filled, match_classes([name for name, _ in filled], labels=wanted.labels, scores=wanted.scores)


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_DIGEST_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
