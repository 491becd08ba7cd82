"""Runs a model on the host with the TFLite interpreter: what its answers are before any board is involved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from device_agent.record.usage import channels_come_first, picture_shape
from sdk.errors import ModelError
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_graph
from sdk.graph.records import FLIP_AXES, INPUT_METADATA


def predict(
    tflite: bytes,
    images: np.ndarray,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The first output for each image in real values: (n, ...) from ``images`` (n, height, width, channels).

    Images go in one at a time, with their channels in front where the model wants that. A mirrored model
    (``sdk/compress/board_form/mirror.py``) gets every image flipped, as the agent on a board does. Raises
    :class:`ModelError` when the interpreter refuses the model or the images do not fit it.
    """
    with HostModel(tflite, threads=threads) as model:
        return every_output(model, images, flips=flips_of(tflite), progress=progress)[0]


def every_output(
    model: HostModel,
    images: np.ndarray,
    *,
    flips: tuple[int, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, ...]:
    """Every output of an open model in real values, (n, ...) each, from images (n, height, width, channels).

    Each image is a case of its own: a model with a state forgets the one before.
    ``flips``: the axes along which an image is reversed first (:func:`flips_of`). Raises ModelError where the images do
    not fit.
    """
    whole = model.inputs[0].shape
    shape = picture_shape(whole)
    if images.shape[1:] != shape:
        raise ModelError(
            "the images do not fit the model",
            expected="x".join(map(str, shape)),
            found="x".join(map(str, images.shape[1:])),
        )
    found: list[list[np.ndarray]] = [[] for _ in model.outputs]
    for done, image in enumerate(images):
        answer = model.run_real(as_it_enters(image, whole, flips), reset=True)
        for kept, info in zip(found, model.outputs, strict=True):
            kept.append(of_one(answer[info.name]))
        if progress:
            progress(done + 1, len(images))
    return tuple(
        np.stack(kept) if kept else np.empty((0, *info.shape[1:]), np.float32)
        for kept, info in zip(found, model.outputs, strict=True)
    )


def of_one(values: np.ndarray) -> np.ndarray:
    """An output of one sample, (1, ...), without its leading 1; another one as it is."""
    return values[0] if values.ndim and len(values) == 1 else values


def as_it_enters(image: np.ndarray, shape: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """One image (height, width, channels) as an input of ``shape`` takes it, (1, ...): turned round along ``flips``,
    with its channels in front where the input has them there."""
    one = np.flip(image, flips)
    return (one.transpose(2, 0, 1) if channels_come_first(shape) else one)[None]


def flips_of(tflite: bytes) -> tuple[int, ...]:
    """The axes of one image (height, width, channels) that the model wants flipped."""
    if INPUT_METADATA.encode() not in tflite:  # most have none, and reading a graph takes time
        return ()
    return tuple(FLIP_AXES[name] - 1 for name in read_graph(tflite).input_flips)


def top1(scores: np.ndarray) -> np.ndarray:
    """Class numbers (int64) with the highest score, from scores (n, classes)."""
    return np.argmax(scores.reshape(len(scores), -1), axis=1).astype(np.int64)
