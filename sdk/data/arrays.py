"""Reads samples from an ``.npz`` or ``.npy``: the arrays of images and labels, and the meaning of their numbers."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.record.task import SEGMENTATION
from sdk.data.meaning.class_names import SORTED, check_numbers, match_classes
from sdk.data.meaning.stored_values import StoredForm, stored_form
from sdk.data.picture_files import fit_picture
from sdk.data.scoring.truth import MAPS, NO_CLASS, VALUES, TrueMap
from sdk.data.tables import are_values, numbers_of_table
from sdk.data.wanted import Wanted
from sdk.errors import DataError
from sdk.graph.dataset import Dataset, Truth

IMAGE_NAMES = ("x", "images", "image", "imgs", "data", "inputs", "input", "features", "pixels", "samples")
LABEL_NAMES = ("y", "labels", "label", "targets", "target", "classes", "class", "outputs")
SPLIT_NAMES = {
    "train": ("train", "training", "tr"),
    "test": ("test", "testing", "te", "val", "valid", "validation"),
}
_UNREADABLE = (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError, KeyError)


def open_arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of an archive, each read when it is looked up. Raises DataError."""
    try:
        found = np.load(path, allow_pickle=False)
        return {"x": found} if isinstance(found, np.ndarray) else found
    except (*_UNREADABLE, AttributeError) as error:
        raise DataError(
            f"{path} is not a readable .npz", expected="an .npz of numpy", found=str(error)
        ) from error


def array_name(arrays: Mapping[str, Any], names: Sequence[str], split: str | None) -> str | None:
    """The array that one of these names and the split mean, such as ``X_train`` or ``train_images``; None for none."""
    wanted: list[str] = []
    for name in names:
        if split is None:
            wanted.append(name)
            continue
        for part in SPLIT_NAMES[split]:
            wanted += [f"{name}_{part}", f"{part}_{name}", f"{name}{part}", f"{part}{name}"]
    by_name = {key.casefold(): key for key in reversed(list(arrays))}
    return next((by_name[name] for name in wanted if name in by_name), None)


def dataset_of_arrays(path: Path, wanted: Wanted, split: str | None) -> Dataset:
    """The images of an archive, and their classes where it has some. Raises DataError."""
    arrays, shape = open_arrays(path), wanted.shape
    notes: list[str] = []
    image_key, label_key = _keys(path, arrays, split, notes)
    try:
        images = arrays[image_key]
        raw = None if label_key is None else arrays[label_key]
    except _UNREADABLE as error:
        raise DataError(
            f"{path} cannot be read",
            expected="plain numeric arrays",
            found=str(error),
            hint="Arrays of Python objects are refused, because reading them runs code: store numbers or text.",
        ) from error
    if images.ndim < 2 or images.dtype.kind not in "uifb" or len(images) == 0:
        raise DataError(
            f"array {image_key!r} of {path} holds no images",
            expected="numbers of shape (samples, height, width[, channels])",
            found=f"{images.dtype} {images.shape}",
        )
    images = _channels_last(images, shape, notes)
    if wanted.truth is not None:
        raw, label_key = _other_truth(wanted.truth, split), wanted.truth.name
    truth = None if raw is None else _truth(raw, str(label_key), len(images), wanted)
    classes = None
    if truth is not None:
        notes.append(truth.told)
    elif raw is not None:
        classes = _classes(raw, str(label_key), len(images), wanted, notes)
    form = stored_form(images, shape[-1] if len(shape) == 3 else 0)
    if len(shape) != 3 and images.dtype != np.uint8:
        form = StoredForm("values", "", None)  # features, not pixels
    if form.told:
        notes.append(f"{image_key}: {form.told}")
    _fitted(images[0], wanted, image_key, form)  # fails here, by name, and not in the middle of a run
    return Dataset(
        name=path.stem,
        input_shape=shape,
        preprocess=wanted.preprocess,
        load=lambda index: _fitted(images[index], wanted, image_key, form),
        source_digest=lambda index: hashlib.sha256(np.ascontiguousarray(images[index]).tobytes()).digest(),
        indices=np.arange(len(images)),
        all_labels=classes,
        notes=tuple(notes),
        order_is_certain=not any(SORTED in note for note in notes),
        are_pixels=form.pixels is not None,
        source_name=lambda index: f"{path.name} {image_key}[{index}]",
        truth=truth,
    )


def shape_of_samples(path: Path, split: str | None) -> tuple[int, ...]:
    """The shape of one sample as it is stored, an image as (height, width, channels). Raises DataError."""
    arrays = open_arrays(path)
    shape = tuple(int(n) for n in arrays[_keys(path, arrays, split, [])[0]].shape[1:])
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
        return (*shape[1:], shape[0])
    return (*shape[:2], 3) if len(shape) == 3 and shape[2] == 4 else shape


def _keys(
    path: Path, arrays: Mapping[str, Any], split: str | None, notes: list[str]
) -> tuple[str, str | None]:
    """The names of images and labels. Raises DataError where the images are not to be found."""
    has_parts = any(array_name(arrays, IMAGE_NAMES, part) for part in SPLIT_NAMES)
    part = (split or "train") if has_parts else None
    if part is None and split is not None:
        raise DataError(
            f"{path} has no split {split!r}", expected=f"an array 'x_{split}'", found=names_of(arrays)
        )
    image_key = array_name(arrays, IMAGE_NAMES, part)
    if image_key is None and split is None and has_parts:
        part = "test"
        image_key = array_name(arrays, IMAGE_NAMES, part)
    label_key = array_name(arrays, LABEL_NAMES, part)
    if image_key is None and split is None:
        keys = list(arrays)
        large = [key for key in keys if np.ndim(arrays[key]) >= 3]
        if len(large) == 1:
            image_key = large[0]
            small = [
                key
                for key in keys
                if key != image_key and len(np.atleast_1d(arrays[key])) == len(arrays[image_key])
            ]
            label_key = label_key or (small[0] if len(small) == 1 else None)
            notes.append(
                f"array {image_key!r} is taken as images"
                + (f", {label_key!r} as labels" if label_key else "")
            )
    if image_key is None:
        raise DataError(
            f"{path} has no images",
            expected="an array 'x' or 'images' (or 'x_train', 'x_test')",
            found=names_of(arrays),
        )
    return image_key, label_key


def names_of(arrays: Mapping[str, Any]) -> str:
    """The names of the arrays, for an error."""
    return ", ".join(sorted(arrays)) or "no arrays"


def _channels_last(images: np.ndarray, shape: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """Images (n, height, width[, channels]); those of other tools have their channels in front."""
    if (
        images.ndim == 4
        and len(shape) == 3
        and images.shape[1] in (1, 3)
        and images.shape[3] not in (1, 3, 4)
    ):
        notes.append(f"channels come first in {images.shape[1:]}: they are moved to the end")
        return np.moveaxis(images, 1, -1)
    if images.ndim == 4 and len(shape) == 3 and images.shape[3] == 4 and shape[2] != 4:
        notes.append("the fourth channel, transparency, is left out")
        return images[..., :3]
    return images


def _other_truth(path: Path, split: str | None) -> np.ndarray:
    """What a file of its own says is right: the labels of an .npz, an .npy, or the last columns of a table."""
    if path.suffix.lower() in (".npz", ".npy"):
        arrays = open_arrays(path)
        part = (
            (split or "train") if any(array_name(arrays, LABEL_NAMES, one) for one in SPLIT_NAMES) else None
        )
        key = array_name(arrays, LABEL_NAMES, part) or (next(iter(arrays)) if len(arrays) == 1 else None)
        if key is None:
            raise DataError(f"{path} holds no right answers", expected="an array 'y'", found=names_of(arrays))
        return np.asarray(arrays[key])
    return numbers_of_table(path)


def _truth(raw: np.ndarray, key: str, count: int, wanted: Wanted) -> Truth | None:
    """Maps or values, where the model answers with such; None where these are labels. Raises DataError."""
    if wanted.task is not None:
        if wanted.task.kind != SEGMENTATION or raw.ndim < 3 or raw.dtype.kind not in "uifb":
            raise DataError(
                f"array {key!r} holds no right answers for {wanted.task.in_words()}",
                expected="whole numbers of shape (samples, height, width), for a segmenting model",
                found=f"{raw.dtype} {raw.shape}",
            )
        maps = _checked_maps(raw, key, count, wanted.scores)
        return Truth(MAPS, lambda index: TrueMap(maps[index]), f"{key!r} holds maps of classes")
    if not are_values(raw, wanted.values):
        return None
    values = raw.reshape(len(raw), -1).astype(np.float64)
    if len(values) != count:
        raise DataError(
            f"array {key!r} has another number of rows than there are images",
            expected=str(count),
            found=str(len(values)),
        )
    return Truth(VALUES, lambda index: values[index], f"{key!r} holds values, {wanted.values} of each sample")


def _checked_maps(raw: np.ndarray, key: str, count: int, classes: int | None) -> np.ndarray:
    maps = raw[..., 0] if raw.ndim == 4 and raw.shape[-1] == 1 else raw
    if maps.ndim != 3 or len(maps) != count or not np.all(maps == np.rint(maps)):
        raise DataError(
            f"array {key!r} holds no map for each image",
            expected=f"whole numbers of shape ({count}, height, width)",
            found=f"{raw.dtype} {raw.shape}",
        )
    maps = maps.astype(np.int64)
    maps = np.where((maps == 255) | (maps < 0), NO_CLASS, maps)
    if classes is not None and int(maps.max()) >= classes:
        raise DataError(
            f"array {key!r} has classes that the model does not have",
            expected=f"0 to {classes - 1}, and 255 where a pixel does not count",
            found=str(int(maps.max())),
        )
    return maps


def _classes(raw: np.ndarray, key: str, count: int, wanted: Wanted, notes: list[str]) -> np.ndarray:
    """Class numbers (n,) int64 of an array of labels. Raises DataError for what is none."""
    if raw.ndim == 2 and raw.shape[1] > 1 and len(raw) == count:
        raw = _from_one_hot(raw, key, notes)
    raw = raw.reshape(-1)
    if raw.size != count:
        raise DataError(
            f"array {key!r} has another number of labels than there are images",
            expected=f"{count} labels",
            found=str(raw.size),
        )
    if raw.dtype.kind in "US":
        words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in raw]
        names = sorted(set(words))
        match = match_classes(names, labels=wanted.labels, scores=wanted.scores, what=f"names in {key!r}")
        notes.append(match.how)
        number_of = dict(zip(names, match.numbers, strict=True))
        return np.array([number_of[word] for word in words], np.int64)
    whole = _whole_numbers(raw, key)
    notes.append(check_numbers(whole.tolist(), len(wanted.labels) or wanted.scores, f"labels in {key!r}"))
    return whole


def _whole_numbers(raw: np.ndarray, key: str) -> np.ndarray:
    if raw.dtype.kind not in "iubf":
        raise DataError(
            f"array {key!r} holds no labels", expected="class numbers or names", found=str(raw.dtype)
        )
    with np.errstate(invalid="ignore"):
        wrong = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
        if raw.dtype.kind == "f" and not wrong.any():
            wrong = raw != np.rint(raw)
    if wrong.any():
        raise DataError(
            f"array {key!r} holds labels that are not class numbers",
            expected="whole numbers from 0",
            found=f"{int(wrong.sum())} of {raw.size} that are not, such as {raw[wrong][0]} at {int(np.argmax(wrong))}",
            hint="Leave these samples out, or mend their labels.",
        )
    return raw.astype(np.int64)


def _from_one_hot(raw: np.ndarray, key: str, notes: list[str]) -> np.ndarray:
    if raw.dtype.kind in "uifb" and np.all((raw == 0) | (raw == 1)) and np.all(raw.sum(axis=1) == 1):
        notes.append(f"labels in {key!r} are rows with a 1 at their class")
        return np.argmax(raw, axis=1)
    raise DataError(
        f"array {key!r} holds no class for each image",
        expected="one number per image, or a row with one 1",
        found=f"{raw.dtype} {raw.shape}",
    )


def _fitted(sample: np.ndarray, wanted: Wanted, key: str, form: StoredForm) -> np.ndarray:
    """One array as a network input: as it is, with a channel axis added, or as an image that is resized."""
    shape = wanted.shape
    values = sample if form.pixels is None else form.pixels(sample)
    if values.shape == shape or (values.size == np.prod(shape) and values.ndim != len(shape)):
        return values.reshape(shape)
    is_image = form.pixels is not None and (
        values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3))
    )
    if not is_image or len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            f"array {key!r} does not fit the network",
            expected="samples of " + "x".join(map(str, shape)) + ", or images of pixels, which are resized",
            found=f"{sample.dtype} " + "x".join(map(str, sample.shape)),
        )
    return fit_picture(values, shape, wanted.fit)
