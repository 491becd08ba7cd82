"""Inputs and outputs of a model as a runtime describes them. Host and board turn values into stored ones by this rule.

Values are *real* wherever people see them. A quantised tensor stores ``real = scale * (stored - zero_point)`` (TFLite
quantisation specification); an integer tensor without a scale stores the values themselves. An array that has the
tensor's own type already goes in as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from device_agent.errors import DataError


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model: its name, shape, numpy dtype and quantisation (``scale`` 0: none)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float = 0.0
    zero_point: int = 0

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real values."""
        return self.scale > 0.0 and self.dtype.kind in "iu"

    def quantize(self, real: np.ndarray) -> np.ndarray:
        """Real values to the integers of this tensor: any shape, rounded to nearest even and clipped to its dtype."""
        limits = np.iinfo(self.dtype)
        # float32 holds every step of the 8-bit types; the wider ones need more digits.
        wide = np.float32 if self.dtype.itemsize == 1 else np.float64
        steps = np.rint(np.asarray(real, wide) / wide(self.scale)) + self.zero_point
        if self.dtype.itemsize < 8:
            return np.clip(steps, limits.min, limits.max).astype(self.dtype)
        inside = np.clip(steps, -(2.0**62), 2.0**62)  # a float64 has no 2**63 - 1
        return inside.astype(self.dtype)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """Integers of this tensor to real values, float32 of the same shape."""
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def to_real(self, stored: np.ndarray) -> np.ndarray:
        """Real values of what the tensor holds, of the same shape: float32, or its own type for plain integers."""
        if self.is_quantized:
            return self.dequantize(stored)
        return stored.astype(np.float32) if stored.dtype.kind == "f" else stored

    def to_stored(self, values: Any) -> np.ndarray:
        """``values`` as the tensor holds them, of the same shape.

        Floats are quantised where the tensor is; for a tensor of plain integers they must be whole and in range.
        Integers and Booleans of another type go only into plain integers that can hold them. Raises DataError.
        """
        array = np.asarray(values)
        if array.dtype == self.dtype:
            return array
        if array.dtype.kind not in "fiub":
            raise self._wrong_type(array, str(self.dtype))
        if self.dtype.kind in "fc":
            # Integers are pixels more often than values: nobody wants 0 to 255 where -1 to 1 is expected.
            if array.dtype.kind != "f":
                raise self._wrong_type(array, str(self.dtype))
            return array.astype(self.dtype)
        if self.is_quantized:
            if array.dtype.kind != "f":
                raise self._wrong_type(array, f"{self.dtype} (stored values) or float32 (real ones)")
            return self.quantize(array)
        return self._whole(array)

    def _wrong_type(self, array: np.ndarray, expected: str) -> DataError:
        return DataError(
            f"the input {self.name!r} has the wrong type", expected=expected, found=str(array.dtype)
        )

    def _whole(self, array: np.ndarray) -> np.ndarray:
        low, high = (0, 1) if self.dtype.kind == "b" else (np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
        if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):  # NaN is unequal to itself
            raise DataError(
                f"the input {self.name!r} takes whole numbers",
                expected=f"whole numbers, {self.dtype}",
                found=f"{array.dtype} with fractions or NaN",
            )
        if array.size and not (low <= array.min() and array.max() <= high):
            raise DataError(
                f"a value is out of range of the input {self.name!r}",
                expected=f"{low} to {high}",
                found=f"{array.min()} to {array.max()}",
            )
        return array.astype(self.dtype)


def by_name(tensors: Sequence[TensorInfo], arrays: Any, what: str) -> list[Any]:
    """``arrays`` in the order of ``tensors``: from a dict by name, or a list in that order, or the only one.

    ``what`` names them in messages ("input"). Raises DataError for a name that is missing or unknown.
    """
    if not isinstance(arrays, dict):
        listed = list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]
        if len(listed) != len(tensors):
            raise DataError(
                f"the number of {what}s is wrong",
                expected=f"{len(tensors)}: {', '.join(names(tensors))}",
                found=str(len(listed)),
            )
        return listed
    if set(arrays) != set(names(tensors)):
        raise DataError(
            f"these are not the {what}s of the model",
            expected=", ".join(names(tensors)),
            found=", ".join(str(name)[:64] for name in arrays) or "none",
        )
    return [arrays[tensor.name] for tensor in tensors]


def names(tensors: Sequence[TensorInfo]) -> list[str]:
    """Their names, in order."""
    return [tensor.name for tensor in tensors]


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people write it: "1x224x224x3", or "a scalar"."""
    return "x".join(str(n) for n in shape) if len(shape) else "a scalar"
