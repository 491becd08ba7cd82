"""Reads ``.armlet`` packages: every check of the header and the table, and the way back to the ``.tflite``.

PACKAGE_FORMAT.md is the specification. Bytes in, bytes out; the C decoder is loaded where it is there.

    read(data)         what a package holds, all checked except the bits of the codes
    unpack(data)       the exact bytes of the .tflite that was packed
    unpack_into(...)   the same into a buffer of the caller, with nothing else allocated (C kernel)
    read_table(data)   header and table alone
"""

from __future__ import annotations

import io
from typing import Any

from device_agent.package import kernel as kernels_module
from device_agent.package.codec.contents import (
    Package,
    Section,
    Unpacked,
    decode,
    describe,
    open_package,
    read,
)
from device_agent.package.codec.format import MAX_TFLITE_SIZE, LimitExceeded
from device_agent.package.codec.table import read_table

__all__ = ["Package", "Section", "Unpacked", "read", "read_table", "unpack", "unpack_into"]


def unpack(data: bytes, *, kernel: str = "auto", max_size: int = MAX_TFLITE_SIZE) -> Unpacked:
    """The exact .tflite; ``kernel`` is ``"c"``, ``"numpy"`` or ``"auto"`` (C where it is there)."""
    opened = open_package(data, max_size)
    table = opened.table
    # BytesIO lends its memory for writing and hands it over as bytes, so that the model stands in memory once.
    buffer = io.BytesIO()
    buffer.truncate(0)
    if table.tflite_size:
        buffer.seek(table.tflite_size - 1)
        buffer.write(b"\0")
    with buffer.getbuffer() as out:
        decoder = _choose(kernel)
        decode(data, opened, out, decoder)
    return Unpacked(buffer.getvalue(), describe(data, opened), _name(decoder))


def unpack_into(data: bytes, out: Any, *, kernel: str = "auto") -> str:
    """Writes the exact .tflite to ``out`` (writable buffer of ``tflite_size`` bytes); the decoder that ran."""
    view = memoryview(out).cast("B")
    opened = open_package(data, len(view))
    if opened.table.tflite_size != len(view):
        raise LimitExceeded(
            "size of the model", expected=f"{len(view)} bytes", found=f"{opened.table.tflite_size} bytes"
        )
    decoder = _choose(kernel)
    decode(data, opened, view, decoder)
    return _name(decoder)


def _choose(kernel: str) -> kernels_module.Kernel | None:
    if kernel not in ("auto", "c", "numpy"):
        raise ValueError(f"kernel is auto, c or numpy, not {kernel!r}")
    if kernel == "numpy" or (kernel == "auto" and "c" not in kernels_module.kernels()):
        return None
    return kernels_module.load()


def _name(decoder: kernels_module.Kernel | None) -> str:
    return "numpy" if decoder is None else "c"
