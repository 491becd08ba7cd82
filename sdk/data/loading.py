"""Images for calibration, training and checking: a folder of pictures, an ``.npz`` or an ``.npy``.

A folder is flat (no labels, or a table of them) or has one subfolder per class. ``train`` and ``test`` (or ``val``)
subfolders, and ``x_train`` / ``x_test`` arrays, are splits. Pixels are kept as stored; a batch is preprocessed when
asked for. The notes of the data set say what was passed over, and how classes were found.

Everything is deterministic: files in sorted order, the shorter side fitted and the centre cropped as on a board, and a
``limit`` that takes samples evenly from the whole set, so that every class keeps its share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from device_agent.record.preprocess import PREPROCESS, Preprocess
from device_agent.record.task import CROP
from sdk.data.arrays import (
    IMAGE_NAMES,
    SPLIT_NAMES,
    array_name,
    dataset_of_arrays,
    open_arrays,
    shape_of_samples,
)
from sdk.data.folders import dataset_of_folder, has_split_folders
from sdk.data.wanted import Wanted
from sdk.errors import DataError
from sdk.graph.dataset import Dataset

SPLITS = ("train", "test")
ARRAYS = (".npz", ".npy")
#: What pictures are looked at as where no network says it.
_PICTURES = (96, 96, 3)
_ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".xz", ".bz2")


def load_dataset(
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int],
    preprocess: str | Preprocess | None = None,
    split: str | None = None,
    limit: int | None = None,
    labels: Sequence[str] = (),
    scores: int | None = None,
    fit: str = CROP,
) -> Dataset:
    """The data at ``path`` for a network whose input is ``input_shape`` (height, width, channels).

    ``preprocess`` must be given: nothing here assumes one (:mod:`sdk.data.choosing` finds it). ``split`` is "train" or
    "test" where the source has both ("train" by default); asking a source without splits for one is an error.
    ``labels`` of the model and its number of ``scores`` decide which folder or name is which class; see
    :mod:`sdk.data.meaning.class_names`. ``fit``: how pictures of another shape get that of the input, one of
    :data:`device_agent.record.task.FITS`. Raises :class:`DataError` for whatever cannot be read or does not fit.
    """
    shape = tuple(int(n) for n in input_shape)
    return load_wanted(path, Wanted(shape, _parsed(preprocess), tuple(labels), scores, fit), split, limit)


def load_wanted(
    path: str | os.PathLike[str], wanted: Wanted, split: str | None = None, limit: int | None = None
) -> Dataset:
    """The data at ``path`` as a network wants them, as :func:`load_dataset` reads them. Raises DataError."""
    path = Path(path)
    if split is not None and split not in SPLITS:
        raise DataError("unknown split", expected=" or ".join(SPLITS), found=repr(split))
    if limit is not None and limit < 1:
        raise DataError("the limit of samples is out of range", expected="at least 1", found=str(limit))
    if path.is_dir():
        dataset = dataset_of_folder(path, wanted, split)
    elif path.suffix.lower() in ARRAYS and path.is_file():
        dataset = dataset_of_arrays(path, wanted, split)
    else:
        packed = path.suffix.lower() in _ARCHIVES and path.exists()
        raise DataError(
            f"there are no data at {path}",
            expected="a folder of images or an .npz file",
            found=f"a file {path.suffix or 'without a suffix'}"
            if path.exists()
            else "no such file or folder",
            hint="Unpack it, and give the folder." if packed else None,
        )
    return dataset if limit is None else dataset.take(limit)


def own_shape(path: str | os.PathLike[str], split: str | None = None) -> tuple[int, ...]:
    """The shape of a sample without a network: as stored in arrays, else one for pictures of any size."""
    path = Path(path)
    return _PICTURES if path.is_dir() or not path.is_file() else shape_of_samples(path, split)


def _parsed(preprocess: str | Preprocess | None) -> Preprocess:
    if preprocess is None:
        raise DataError(
            "the preprocessing of the network is missing",
            expected=f"preprocess={', '.join(PREPROCESS)} or mean=...:scale=...",
            found="none",
        )
    return preprocess if isinstance(preprocess, Preprocess) else Preprocess.parse(preprocess)


def has_splits(path: str | os.PathLike[str]) -> bool:
    """True when the source at ``path`` holds training and test samples apart."""
    path = Path(path)
    if path.is_dir():
        return has_split_folders(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        arrays = open_arrays(path)
        return all(array_name(arrays, IMAGE_NAMES, split) for split in SPLIT_NAMES)
    return False
