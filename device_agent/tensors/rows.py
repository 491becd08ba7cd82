"""Arrays one behind the other, each as an .npy file: how inputs and outputs travel and are kept. The bytes are a
stranger's when they are read.

numpy's own reader is not used: it takes a pickle or a zip for an array, and reserves memory for data that is not there.
"""

from __future__ import annotations

import io
import math
from typing import Sequence

import numpy as np

from device_agent.errors import AgentError

#: Arrays in a row.
MAX_ARRAYS = 1024


def write_row(arrays: Sequence[np.ndarray]) -> bytes:
    """The arrays, of any shape and type, as .npy files one behind the other."""
    stream = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    return stream.getvalue()


def read_row(data: bytes, what: str) -> list[np.ndarray]:
    """The arrays of a row: numbers of any shape and type, at least one. Raises AgentError about ``what``."""
    stream = io.BytesIO(data)
    arrays: list[np.ndarray] = []
    while stream.tell() < len(data):
        if len(arrays) == MAX_ARRAYS:
            raise AgentError(f"there is too much of {what}", expected=f"at most {MAX_ARRAYS} arrays")
        arrays.append(read_next(stream, len(data), what))
    if not arrays:
        raise AgentError(f"{what} is missing", expected="an .npy array", found="nothing")
    return arrays


def read_next(stream: io.BytesIO, size: int, what: str) -> np.ndarray:
    """The array, of any shape, that begins where ``stream`` (of ``size`` bytes) stands. Raises AgentError."""
    formats = np.lib.format
    try:
        version = formats.read_magic(stream)
        header = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}.get(version)
        if header is None:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = header(stream)
        if dtype.kind not in "fiub" or dtype.hasobject:
            raise AgentError(f"{what} is not an array of numbers", found=str(dtype)[:200])
        count = math.prod(shape)
        left = size - stream.tell()
        if not 0 <= count * dtype.itemsize <= left:  # before memory is taken for what is not there
            raise ValueError(f"{count * dtype.itemsize} bytes announced, {left} there")
        array = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
        return array.reshape(shape[::-1]).transpose() if fortran else array.reshape(shape)
    except (ValueError, EOFError, OSError, OverflowError, MemoryError, TypeError, SyntaxError) as error:
        raise AgentError(f"{what} is not an .npy array", found=str(error)[:200]) from None
