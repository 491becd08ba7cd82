"""The preprocessing that a graph shows: by its input's type and scale, or its first operators. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_agent.record.preprocess import PREPROCESS, Preprocess
from device_agent.record.usage import picture_shape
from device_agent.tensors.tensor import TensorInfo
from sdk.graph.records import NUMPY_DTYPES, Graph, Operator

_CENTRED = Preprocess.parse("mean=127.5:scale=255")
_SIGNED = Preprocess.parse("mean=128:scale=1")
#: What people train networks with, of RGB or grey, by the range that it makes of 0 ... 255.
_USUAL = (*(PREPROCESS[name] for name in ("raw", "01", "tf", "torch", "caffe")), _CENTRED, _SIGNED)
#: Ranges are this near to one another, as a share of their width, where they are the same.
_SAME = 0.02
#: Of a usual range a calibrated one covers at least so much, and reaches at most so far beyond.
_COVERED, _BEYOND = 0.75, 0.04
#: A normalised value is spread over so much, and its zero lies within the middle of it.
_SPREADS = (1.5, 8.0)
_MIDDLE = (0.15, 0.85)
_FIRST_OPERATORS = 8


@dataclass(frozen=True)
class Known:
    """A preprocessing, and how it is known, in words."""

    preprocess: Preprocess
    why: str


def known_preprocess(entry: TensorInfo, graph: Graph | None) -> Known | None:
    """The preprocessing that an image input and its graph show; None where they show none.

    ``graph`` is None for a model that cannot be read as one.
    """
    channels = picture_shape(entry.shape)[-1] if len(entry.shape) > 1 else 0
    if len(entry.shape) < 2 or (len(entry.shape) == 4 and channels not in (1, 3)):
        return None
    if entry.is_quantized:
        found = _by_scale(entry.dtype, entry.scale, entry.zero_point)
        return None if found is None else _quantised(found, entry.dtype, entry.scale, entry.zero_point)
    if entry.dtype.kind in "iu":
        name = "raw" if entry.dtype.kind == "u" or entry.dtype.itemsize > 1 else _SIGNED.name
        return Known(
            Preprocess.parse(name), f"its input is {entry.dtype} without a scale: pixels as they are"
        )
    if graph is None or not graph.inputs:
        return None
    inside = _inside(graph, channels)
    if inside is not None:
        return inside
    for operator in _readers(graph, graph.inputs[0]):
        scaled = _scale_of(graph, operator.outputs[0]) if operator.kind == "QUANTIZE" else None
        if scaled is not None:
            after = np.dtype(NUMPY_DTYPES[graph.tensors[operator.outputs[0]].dtype])
            found = _by_range(_ends(after, *scaled))
            return None if found is None else _quantised(found, after, *scaled)
    return None


def _quantised(preprocess: Preprocess, dtype: np.dtype, scale: float, zero: int) -> Known:
    return Known(preprocess, f"its input is quantised to {dtype}, scale {scale:.6g}, zero point {zero}")


def _scale_of(graph: Graph, tensor: int) -> tuple[float, int] | None:
    quantization = graph.tensors[tensor].quantization
    if quantization is None or len(quantization.scales) != 1 or not quantization.scales[0] > 0:
        return None
    zeros = quantization.zero_points
    return float(quantization.scales[0]), int(zeros[0]) if len(zeros) else 0


def _ends(dtype: np.dtype, scale: float, zero: int) -> tuple[float, float]:
    bounds = np.iinfo(dtype)
    return (int(bounds.min) - zero) * scale, (int(bounds.max) - zero) * scale


def _by_scale(dtype: np.dtype, scale: float, zero: int) -> Preprocess | None:
    """For 8 bits that span a usual range, the preprocessing under which each level is one pixel value, exactly."""
    ends = _ends(dtype, scale, zero)
    usual = _by_range(ends)
    if usual is None or dtype.itemsize != 1 or len(usual.mean) > 1:
        return usual
    low, high = _range_of(usual)
    if max(abs(ends[0] - low), abs(ends[1] - high)) > _SAME * (high - low):
        return usual
    black = zero - int(np.iinfo(dtype).min)  # the pixel whose value is 0
    exact = Preprocess.parse(f"mean={black}:scale={1 / scale:.9g}")
    near = abs(exact.mean[0] - usual.mean[0]) < 1e-3 and abs(1 - exact.scale[0] / usual.scale[0]) < 1e-5
    return usual if near else exact


def _range_of(one: Preprocess) -> tuple[float, float]:
    ends = [(0.0 - m) / s for m, s in _pairs(one)], [(255.0 - m) / s for m, s in _pairs(one)]
    return min(ends[0]), max(ends[1])


def _pairs(one: Preprocess) -> list[tuple[float, float]]:
    many = max(len(one.mean), len(one.scale))
    return list(zip(one.mean * (many // len(one.mean)), one.scale * (many // len(one.scale)), strict=True))


def _by_range(ends: tuple[float, float]) -> Preprocess | None:
    """The one usual preprocessing whose range these are, as calibration finds it: nearly all of it, and no more."""
    low, high = ends
    same, covered = [], []
    for one in _USUAL:
        first, last = _range_of(one)
        width = last - first
        if max(abs(low - first), abs(high - last)) <= _SAME * width:
            same.append(one)
        inside = low >= first - _BEYOND * width and high <= last + _BEYOND * width
        if inside and high - low >= _COVERED * width:
            covered.append(one)
    found = same or covered
    return found[0] if len(found) == 1 else None


def _readers(graph: Graph, tensor: int) -> list[Operator]:
    return [op for op in graph.operators if tensor in op.inputs]


def _inside(graph: Graph, channels: int) -> Known | None:
    """A normalisation that the graph begins with: MUL, SUB, ADD, DIV and BatchNorm by constants, as one line.

    Each usual input range is put through it: the right one is the one that becomes a usual range of values.
    """
    line = _first_line(graph, channels)
    if line is None:
        return None
    factor, offset = line
    inputs = [PREPROCESS[name] for name in ("raw", "01", "tf")]
    becomes = {one: [(end * factor + offset) for end in _range_of(one)] for one in inputs}
    usual = [one for one in inputs if _is_usual(*becomes[one])]
    if len(usual) != 1 and np.any(offset != 0.0):
        usual = [one for one in inputs if _is_normalised(*becomes[one])]
    if len(usual) != 1:
        return None
    values = becomes[usual[0]]
    told = f"{float(np.min(values)):.3g} to {float(np.max(values)):.3g}"
    words = {"raw": "pixels as they are", "01": "pixels / 255", "tf": "pixels / 127.5 - 1"}[usual[0].name]
    return Known(
        usual[0], f"the network begins with a normalisation of its own, which makes {told} of {words}"
    )


def _first_line(graph: Graph, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(factor, offset), (channels,) each, of the arithmetic on constants before anything else; None without any."""
    factor, offset = np.ones(channels), np.zeros(channels)
    tensor, found = graph.inputs[0], False
    for _ in range(_FIRST_OPERATORS):
        readers = _readers(graph, tensor)
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            break
        operator = readers[0]
        if operator.kind in ("CAST", "RESHAPE", "PAD", "DEQUANTIZE"):
            tensor = operator.outputs[0]
            continue
        constant = _constant(graph, operator, tensor, channels)
        if constant is None:
            break
        if operator.kind == "MUL":
            factor, offset = factor * constant, offset * constant
        elif operator.kind == "DIV" and operator.inputs[0] == tensor and np.all(constant != 0):
            factor, offset = factor / constant, offset / constant
        elif operator.kind == "ADD":
            offset = offset + constant
        elif operator.kind == "SUB" and operator.inputs[0] == tensor:
            offset = offset - constant
        else:
            break
        tensor, found = operator.outputs[0], True
    return (factor, offset) if found else None


def _constant(graph: Graph, operator: Operator, tensor: int, channels: int) -> np.ndarray | None:
    """The constant that an element-wise operator takes beside ``tensor``, (channels,); None for anything else."""
    if operator.kind not in ("MUL", "DIV", "ADD", "SUB") or len(operator.inputs) != 2:
        return None
    (other,) = [i for i in operator.inputs if i != tensor] or [-1]
    data = graph.tensors[other].data if other >= 0 else None
    if data is None or data.dtype.kind != "f" or data.size not in (1, channels):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))


def _is_usual(low: np.ndarray, high: np.ndarray) -> bool:
    """True where every channel has the range of a usual preprocessing, in its order or the other way round."""
    for one in _USUAL:
        pairs = _pairs(one)
        for order in (pairs, pairs[::-1]):
            first = np.array([(0.0 - m) / s for m, s in order])
            last = np.array([(255.0 - m) / s for m, s in order])
            width = last - first
            if first.size in (1, low.size) and np.all(
                np.maximum(np.abs(low - first), np.abs(high - last)) <= _SAME * width
            ):
                return True
    return False


def _is_normalised(low: np.ndarray, high: np.ndarray) -> bool:
    """True where every channel has a spread and a middle as values have that were normalised by their statistics."""
    spread = high - low
    if not np.all((spread >= _SPREADS[0]) & (spread <= _SPREADS[1])):
        return False
    zero = -low / spread
    return bool(np.all((zero >= _MIDDLE[0]) & (zero <= _MIDDLE[1])))
