"""Images for calibration, training and checking: a folder of images or an ``.npz``, with or without labels.

A folder is flat (no labels) or has one subfolder a class; where every subfolder's name is a number, that number is
the class, otherwise the classes count the names in sorted order.  ``train`` and ``test`` (or ``val``) subfolders,
and ``x_train`` / ``x_test`` arrays, are splits.  Pixels are kept as stored; a batch is preprocessed when asked for.

Everything is deterministic: files in sorted order, Pillow's antialiased bilinear resize of the shorter side, a crop of
the centre, and a ``limit`` that takes samples evenly from the whole set, so that every class keeps its share.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from device_agent.record.preprocess import Preprocess
from sdk.errors import DataError
from sdk.graph.dataset import Dataset

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"})
SPLITS = ("train", "test")
_SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "validation")}
_DIGEST_BLOCK_BYTES = 1 << 20


def load_dataset(
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int],
    preprocess: str | Preprocess = "tf",
    split: str | None = None,
    limit: int | None = None,
) -> Dataset:
    """Reads the data at ``path`` for a network whose input is ``input_shape`` (height, width, channels).

    ``split`` is "train" or "test" where the source has both ("train" by default); asking a source without splits
    for one is an error.  Raises :class:`DataError` for whatever cannot be read.
    """
    path = Path(path)
    shape = tuple(int(n) for n in input_shape)
    recipe = preprocess if isinstance(preprocess, Preprocess) else Preprocess.parse(preprocess)
    if split is not None and split not in SPLITS:
        raise DataError("unknown split", expected=" or ".join(SPLITS), found=repr(split))
    if limit is not None and limit < 1:
        raise DataError("the limit of samples is out of range", expected="at least 1", found=str(limit))
    if path.is_dir():
        dataset = _from_folder(path, shape, recipe, split)
    elif path.suffix == ".npz" and path.is_file():
        dataset = _from_npz(path, shape, recipe, split)
    else:
        raise DataError(
            f"there are no data at {path}",
            expected="a folder of images or an .npz file",
            found="another kind of file" if path.exists() else "no such file or folder",
        )
    return dataset if limit is None else dataset.take(limit)


def has_splits(path: str | os.PathLike[str]) -> bool:
    """True when the source at ``path`` holds training and test samples apart."""
    path = Path(path)
    if path.is_dir():
        return all(_split_folder(path, split) for split in SPLITS)
    if path.suffix == ".npz" and path.is_file():
        return {"x_train", "x_test"} <= set(_open_npz(path))
    return False


# ----------------------------------------------------------------------------------------------------- folders


def _from_folder(path: Path, shape: tuple[int, ...], preprocess: Preprocess, split: str | None) -> Dataset:
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            "a folder of images cannot feed this network",
            expected="an input of (height, width, 1 or 3 channels)",
            found="x".join(map(str, shape)),
            hint="Store the inputs as an array `x` in an .npz file.",
        )
    if has_splits(path):
        path = _split_folder(path, split or "train") or path
    elif split is not None:
        folder = _split_folder(path, split)
        if folder is None:
            raise DataError(f"{path} has no split {split!r}", expected="subfolders train and test (or val)")
        path = folder
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    flat = _image_files(path)
    if folders and flat:
        raise DataError(
            f"{path} holds both images and folders",
            expected="images alone, or one subfolder a class",
            found=f"{len(flat)} images and {len(folders)} subfolders",
        )
    files: list[Path] = flat
    labels = None
    if folders:
        numbered = all(f.name.isdecimal() for f in folders)
        grouped = [(int(f.name) if numbered else i, _image_files(f)) for i, f in enumerate(folders)]
        grouped.sort(key=lambda group: group[0])
        files = [file for _, group in grouped for file in group]
        labels = np.array([number for number, group in grouped for _ in group], np.int64)
    if not files:
        raise DataError(
            f"there are no images in {path}",
            expected=f"files that end in {', '.join(sorted(IMAGE_SUFFIXES))}",
            found="none",
        )
    return Dataset(
        name=path.name,
        input_shape=shape,
        preprocess=preprocess,
        load=lambda index: _read_image(files[index], shape),
        source_digest=lambda index: _file_digest(files[index]),
        indices=np.arange(len(files)),
        all_labels=labels,
    )


def _split_folder(path: Path, split: str) -> Path | None:
    return next((path / name for name in _SPLIT_FOLDERS[split] if (path / name).is_dir()), None)


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_DIGEST_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def _read_image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            converted = image.convert("RGB" if shape[2] == 3 else "L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable image", expected="an image", found=str(error)) from error
    return _fit(converted, shape)


def _fit(image, shape: tuple[int, ...]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Resizes the shorter side to fit and crops the centre: uint8 (height, width, channels)."""
    from PIL import Image

    height, width = shape[:2]
    if image.size != (width, height):
        scale = max(width / image.width, height / image.height)
        # Box of the source that maps onto the whole target, so that resize and crop are one step.
        box_width, box_height = width / scale, height / scale
        # A box that is beyond the edge by a rounding error would be refused.
        left, top = max(0.0, (image.width - box_width) / 2), max(0.0, (image.height - box_height) / 2)
        box = (left, top, min(image.width, left + box_width), min(image.height, top + box_height))
        image = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image, np.uint8).reshape(shape)


# --------------------------------------------------------------------------------------------------------- npz


def _open_npz(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of an archive, each read when it is looked up."""
    try:
        archive = np.load(path, allow_pickle=False)
        archive.files  # noqa: B018  a bare .npy under this name has none
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(
            f"{path} is not a readable .npz", expected="an .npz of numpy", found=str(error)
        ) from error
    return archive


def _from_npz(path: Path, shape: tuple[int, ...], preprocess: Preprocess, split: str | None) -> Dataset:
    arrays = _open_npz(path)
    suffix = f"_{split or 'train'}" if "x_train" in arrays or "x_test" in arrays else ""
    if suffix == "" and split is not None:
        raise DataError(
            f"{path} has no split {split!r}", expected=f"an array 'x_{split}'", found=_names(arrays)
        )
    image_key = next((key for key in (f"x{suffix}", f"images{suffix}") if key in arrays), None)
    label_key = next((key for key in (f"y{suffix}", f"labels{suffix}") if key in arrays), None)
    if image_key is None:
        raise DataError(
            f"{path} has no images",
            expected="an array 'x' or 'images' (or 'x_train', 'x_test')",
            found=_names(arrays),
        )
    try:
        images = arrays[image_key]
        labels = None if label_key is None else arrays[label_key].astype(np.int64).reshape(-1)
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} cannot be read", expected="plain numeric arrays", found=str(error)
        ) from error
    if images.ndim < 2 or images.dtype.kind not in "uif" or len(images) == 0:
        raise DataError(
            f"array {image_key!r} of {path} holds no images",
            expected="numbers of shape (samples, height, width[, channels])",
            found=f"{images.dtype} {images.shape}",
        )
    if labels is not None and labels.size != len(images):
        raise DataError(
            f"{path} has another number of labels than images",
            expected=f"{len(images)} labels",
            found=str(labels.size),
        )
    _fit_sample(images[0], shape, image_key)  # fails here, by name, and not in the middle of a run
    return Dataset(
        name=path.stem,
        input_shape=shape,
        preprocess=preprocess,
        load=lambda index: _fit_sample(images[index], shape, image_key),
        source_digest=lambda index: hashlib.sha256(np.ascontiguousarray(images[index]).tobytes()).digest(),
        indices=np.arange(len(images)),
        all_labels=labels,
    )


def _names(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(sorted(arrays)) or "no arrays"


def _fit_sample(sample: np.ndarray, shape: tuple[int, ...], key: str) -> np.ndarray:
    """One array as a network input: as it is, with a channel axis added, or as an image that is resized."""
    if sample.shape == shape or (sample.size == np.prod(shape) and sample.ndim != len(shape)):
        return sample.reshape(shape)
    pixels = sample[..., 0] if sample.ndim == 3 and sample.shape[2] == 1 else sample
    images = sample.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    if not images or len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            f"array {key!r} does not fit the network",
            expected="samples of " + "x".join(map(str, shape)) + ", or uint8 images, which are resized",
            found=f"{sample.dtype} " + "x".join(map(str, sample.shape)),
        )
    from PIL import Image

    return _fit(Image.fromarray(pixels).convert("RGB" if shape[2] == 3 else "L"), shape)
