"""Reads the input of a verb: arrays of numbers and one line of JSON, each checked for size and kind."""

from __future__ import annotations

import io
import math
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from device_agent.errors import AgentError
from device_agent.record.release import MAX_JSON_BYTES
from device_agent.record.schema import parse_json

if TYPE_CHECKING:
    import numpy as np

    from device_agent.tensors.tensor import TensorInfo

#: No array is read that is larger than this many bytes.
MAX_ARRAY_BYTES = 1 << 30
#: All golden inputs of a release together have at most this many bytes, and all outputs; those of a small model no
#: more than the next number, or what this many cases and answers of its own tensors take.
MAX_GOLDEN_BYTES = 1 << 27
SMALL_GOLDEN_BYTES = 1 << 24
MAX_GOLDEN_CASES = 64
MAX_GOLDEN_ANSWERS = 16


def read_array(name: str) -> np.ndarray:
    """The array in an .npy file, or on standard input for "-": numbers of any shape and type. Raises AgentError."""
    if name == "-":
        data = sys.stdin.buffer.read(MAX_ARRAY_BYTES + 1)
        if len(data) > MAX_ARRAY_BYTES:
            raise AgentError("standard input is too large", expected=f"at most {MAX_ARRAY_BYTES} bytes")
        return parse_array(data, "standard input")
    path = Path(name)
    try:
        if path.stat().st_size > MAX_ARRAY_BYTES:
            raise AgentError(f"{path} is too large", expected=f"at most {MAX_ARRAY_BYTES} bytes")
        return parse_array(path.read_bytes(), str(path))
    except OSError as error:
        raise AgentError(f"cannot read {path}", found=error.strerror or str(error)) from None


def parse_golden(data: bytes, tensors: Sequence[TensorInfo]) -> list[np.ndarray]:
    """The arrays in a compressed row of .npy files: numbers of any shape and type, each of several cases.

    They are compressed by zlib, because an image of float32 is larger than many a model. Raises AgentError before more
    memory is taken than some cases of ``tensors``, the inputs or outputs of the model, need.
    """
    import numpy as np

    row = sum(math.prod(info.shape) * np.dtype(info.dtype).itemsize for info in tensors)
    most = min(MAX_GOLDEN_BYTES, max(SMALL_GOLDEN_BYTES, MAX_GOLDEN_CASES * MAX_GOLDEN_ANSWERS * row))
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, most)
    except (zlib.error, MemoryError) as error:
        raise AgentError("a golden array cannot be decompressed", found=str(error)[:200]) from None
    if not unpacker.eof or unpacker.unused_data:
        raise AgentError(
            "a golden array cannot be decompressed",
            expected=f"one whole zlib stream of at most {most} bytes",
            found="bytes behind it" if unpacker.eof else "no end",
        )
    from device_agent.tensors.rows import read_row

    arrays = read_row(content, "a golden array")
    cases = max(len(array) if array.ndim else 0 for array in arrays)
    if cases > MAX_GOLDEN_CASES:
        raise AgentError(
            "there are too many golden cases", expected=f"at most {MAX_GOLDEN_CASES}", found=str(cases)
        )
    return arrays


def parse_array(data: bytes, what: str) -> np.ndarray:
    """The array in the bytes of an .npy file: numbers of any shape and type.

    Raises AgentError, for a pickle and a zip too.
    """
    from device_agent.tensors.rows import read_next

    return read_next(io.BytesIO(data), len(data), what)


def read_rows() -> list[np.ndarray]:
    """The arrays on standard input, .npy files of any shape one behind the other. Raises AgentError."""
    from device_agent.tensors.rows import read_row

    data = sys.stdin.buffer.read(MAX_ARRAY_BYTES + 1)
    if len(data) > MAX_ARRAY_BYTES:
        raise AgentError("standard input is too large", expected=f"at most {MAX_ARRAY_BYTES} bytes")
    return read_row(data, "standard input")


def json_line_from_stdin() -> Any:
    """The value of the first line of standard input; what follows stays there. Raises AgentError."""
    data = sys.stdin.buffer.readline(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise AgentError("too long a line on standard input", expected=f"at most {MAX_JSON_BYTES} bytes")
    return parse_json(data, what="the line on standard input", error=AgentError, most=MAX_JSON_BYTES)
