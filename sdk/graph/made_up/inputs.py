"""Inputs that a model could meet, made up from what is known of it: pictures, sounds, words, noise. Pure, seeded.

Random numbers over the whole range of a type crash real models, which look words up in tables, and drive others into
saturation, where a broken model answers as a whole one does. So pictures look like pictures (smooth areas and edges),
long rows of numbers like sound, and numbers of words stay inside their tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from device_agent.record.preprocess import PREPROCESS, Preprocess
from device_agent.tensors.tensor import TensorInfo
from sdk.graph.made_up.photographs import photographs
from sdk.graph.records import Graph

#: What pictures are normalised to where nothing is known, in turn: -1 to 1, 0 to 1.
PREPROCESSINGS = ("tf", "01")
#: An axis of at least this many values is a row of samples of a sound.
SOUND_SAMPLES = 1000
#: Numbers of unknown meaning are small.
SMALL_NUMBERS = 4
_CHANNELS = (1, 3, 4)
_SCALING = frozenset({"MUL", "SUB", "ADD", "DIV"})
_NEUTRAL = frozenset(
    {"RESHAPE", "CAST", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE", "QUANTIZE"}
)


def is_picture(shape: Sequence[int]) -> bool:
    """Whether a shape is that of pictures: (n, height, width, channels), or (n, channels, height, width)."""
    return len(shape) == 4 and (
        (shape[3] in _CHANNELS and min(shape[1:3]) >= 8) or (shape[1] in _CHANNELS and min(shape[2:]) >= 8)
    )


def made_up(
    inputs: Sequence[TensorInfo],
    rows: Mapping[int, int],
    count: int,
    *,
    preprocess: Preprocess | None = None,
    takes_pixels: bool = False,
    first: int = 0,
    like_photographs: bool = False,
) -> list[list[np.ndarray]]:
    """``count`` cases: each a list of one array per input, of its shape such as (1, 224, 224, 3), as it is stored.

    ``rows``: by position, the rows of the table that an input chooses from. ``preprocess``: how pixels are normalised,
    where that is known; else pictures of several ranges are made. ``takes_pixels``: the model normalises pictures
    itself. ``first``: the number of the first case; no two numbers give the same case. ``like_photographs``: every
    second pair of pictures has the spectrum of photographs in place of areas with edges.
    """
    cases = []
    for case in range(first, first + count):
        rng = np.random.default_rng(1000 + case)
        names = ("raw",) if takes_pixels else PREPROCESSINGS
        scaling = preprocess or PREPROCESS[names[case % len(names)]]
        cases.append(
            [
                _one(info, rows.get(position), case, rng, scaling, like_photographs and case % 4 > 1)
                for position, info in enumerate(inputs)
            ]
        )
    return cases


def normalises_inside(graph: Graph) -> bool:
    """Whether the first thing that the graph does to its first input is arithmetic with constants, as on pixels."""
    current = graph.inputs[0] if graph.inputs else -1
    for operator in graph.operators:
        if current not in operator.inputs:
            continue
        if operator.kind in _SCALING:
            return all(n == current or graph.tensors[n].data is not None for n in operator.inputs if n >= 0)
        if operator.kind not in _NEUTRAL:
            return False
        current = operator.outputs[0]
    return False


def quiet_case(inputs: Sequence[TensorInfo]) -> list[np.ndarray]:
    """The most harmless case: zeros, as real values; one array per input, of its shape such as (1, 224, 224, 3)."""
    return [np.full(info.shape, info.zero_point if info.is_quantized else 0, info.dtype) for info in inputs]


def _one(
    info: TensorInfo,
    rows: int | None,
    case: int,
    rng: np.random.Generator,
    scaling: Preprocess,
    photographed: bool,
) -> np.ndarray:
    kind = info.dtype.kind
    if rows is not None:
        numbers = rng.integers(0, rows, info.shape)
        return info.to_stored(numbers.astype(np.float32)) if kind == "f" else numbers.astype(info.dtype)
    if kind == "b":
        return rng.random(info.shape) < 0.5
    if is_picture(info.shape):
        pixels = _photograph(info.shape, case) if photographed else picture(info.shape, case, rng)
        return _picture_stored(info, pixels, scaling)
    if kind in "iu" and not info.is_quantized:
        return rng.integers(0, SMALL_NUMBERS, info.shape).astype(info.dtype)
    values = _signal(info.shape, case, rng)
    if kind == "f":
        return values.astype(info.dtype)
    # Over the part of the range that the quantisation was calibrated for, not beyond.
    limits = np.iinfo(info.dtype)
    half = min(limits.max - info.zero_point, info.zero_point - limits.min) or (limits.max - limits.min) // 2
    steps = np.rint(values * max(half, 1) * 0.8) + info.zero_point
    return np.clip(steps, limits.min, limits.max).astype(info.dtype)


def _picture_stored(info: TensorInfo, pixels: np.ndarray, scaling: Preprocess) -> np.ndarray:
    if info.dtype.kind == "f":
        channels_first = pixels.shape[3] not in _CHANNELS
        last = scaling(np.moveaxis(pixels, 1, 3) if channels_first else pixels)
        return (np.moveaxis(last, 3, 1) if channels_first else last).astype(info.dtype)
    limits = np.iinfo(info.dtype)
    # A quantised picture is calibrated for its pixels: 0 to 255, or -128 to 127, whatever they stand for.
    if info.dtype.itemsize == 1:
        return (pixels + limits.min).astype(info.dtype)
    if info.is_quantized:
        return info.quantize(scaling(pixels))
    return pixels.astype(info.dtype)


def _photograph(shape: Sequence[int], case: int) -> np.ndarray:
    """As :func:`picture`, with the spectrum of photographs."""
    first = shape[3] not in _CHANNELS
    n, height, width, channels = (shape[0], *shape[2:], shape[1]) if first else tuple(shape)
    pixels = np.rint(photographs((height, width, channels), n, seed=case))
    return np.moveaxis(pixels, 3, 1) if first else pixels


def picture(shape: Sequence[int], case: int, rng: np.random.Generator) -> np.ndarray:
    """Pixels 0 to 255 of a made-up picture of ``shape``, such as (1, 224, 224, 3): float32, whole numbers.

    It has areas of colour in blocks of several sizes, coarse to fine by case, with rectangles in front: it compresses
    well and still has edges in every direction.
    """
    first = len(shape) == 4 and shape[3] not in _CHANNELS
    n, height, width, channels = (shape[0], *shape[2:], shape[1]) if first else tuple(shape)
    blocks = (8, 4, 16, 2)[case % 4]
    values = rng.integers(0, 256, (n, min(blocks, height), min(blocks, width), channels)).astype(np.float32)
    image = np.take(values, np.arange(height) * values.shape[1] // height, axis=1)
    image = np.take(image, np.arange(width) * values.shape[2] // width, axis=2)
    for _ in range(3):
        top, left = int(rng.integers(0, max(1, height // 2))), int(rng.integers(0, max(1, width // 2)))
        tall, wide = int(rng.integers(2, height // 2 + 2)), int(rng.integers(2, width // 2 + 2))
        image[:, top : top + tall, left : left + wide] = rng.integers(0, 256, channels)
    return np.moveaxis(image, 3, 1) if first else image


def _signal(shape: Sequence[int], case: int, rng: np.random.Generator) -> np.ndarray:
    """Values mostly in -1 to 1, float32 of ``shape``: tones in noise along a long axis, else noise of some loudness."""
    loudness = (1.0, 0.3, 0.1, 2.0)[case % 4]
    longest = int(np.argmax(shape)) if shape else 0
    if shape and shape[longest] >= SOUND_SAMPLES:
        time = np.arange(shape[longest], dtype=np.float64)
        tones = sum(
            np.sin(2 * np.pi * time * rng.uniform(0.002, 0.2) + rng.uniform(0, 6)) * rng.uniform(0.1, 0.5)
            for _ in range(4)
        )
        along = np.reshape(tones, [-1 if axis == longest else 1 for axis in range(len(shape))])
        values = np.broadcast_to(along, shape) + 0.05 * rng.standard_normal(shape)
    else:
        values = 0.5 * rng.standard_normal(shape)
    # Few digits, so that they compress: a golden input is sent to every board.
    return (np.rint(values * loudness * 64) / 64).astype(np.float32)
