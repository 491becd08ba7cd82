"""What comes to a verb from outside: arrays of numbers and one line of JSON, each checked for size and kind."""

from __future__ import annotations

import io
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.errors import AgentError
from device_agent.record.release import MAX_JSON_BYTES
from device_agent.record.schema import parse_json

if TYPE_CHECKING:
    import numpy as np

#: No array is read that is larger than this many bytes.
MAX_ARRAY_BYTES = 1 << 30


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


def parse_golden(data: bytes) -> np.ndarray:
    """The array in a compressed .npy file: numbers of any shape and type.

    zlib, because an image of float32 is larger than many a model. Raises AgentError, before more than
    ``MAX_ARRAY_BYTES`` are made of it.
    """
    unpacker = zlib.decompressobj()
    try:
        array = unpacker.decompress(data, MAX_ARRAY_BYTES)
    except (zlib.error, MemoryError) as error:
        raise AgentError("a golden array cannot be decompressed", found=str(error)[:200]) from None
    if not unpacker.eof or unpacker.unused_data:
        raise AgentError(
            "a golden array cannot be decompressed",
            expected=f"one whole zlib stream of at most {MAX_ARRAY_BYTES} bytes",
            found="bytes behind it" if unpacker.eof else "no end",
        )
    return parse_array(array, "a golden array")


def parse_array(data: bytes, what: str) -> np.ndarray:
    """The array in the bytes of an .npy file: numbers of any shape and type.

    Raises AgentError, for a pickle and a zip too.
    """
    import numpy as np

    try:
        # Not np.load, which takes a zip or a pickle for an array, too.
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, OverflowError, MemoryError) as error:
        raise AgentError(f"{what} is not an .npy array", found=str(error)[:200]) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise AgentError(
            f"{what} is not an array of numbers", found=str(getattr(array, "dtype", type(array)))
        )
    return array


def json_line_from_stdin() -> Any:
    """The value of the first line of standard input; what follows stays there. Raises AgentError."""
    data = sys.stdin.buffer.readline(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise AgentError("too long a line on standard input", expected=f"at most {MAX_JSON_BYTES} bytes")
    return parse_json(data, what="the line on standard input", error=AgentError, most=MAX_JSON_BYTES)
