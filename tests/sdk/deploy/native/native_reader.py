"""libarmlet called from Python, and the same question put to the reader in Python."""

from __future__ import annotations

import ctypes
from pathlib import Path

from device_agent.errors import PackageError
from device_agent.package import reader as package

Answer = tuple[str, bytes | None]  # name of the error or "OK", the model


class NativeReader:
    """The functions of armlet.h; buffers are made as large as the library asks for, not a byte more."""

    def __init__(self, library: Path) -> None:
        self.functions = ctypes.CDLL(str(library))
        for name in ("armlet_error_name", "armlet_strerror"):
            getattr(self.functions, name).restype = ctypes.c_char_p
        size, pointer, sizes = ctypes.c_size_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)
        self.functions.armlet_unpacked_size.argtypes = [pointer, size, sizes, sizes]
        self.functions.armlet_unpack.argtypes = [pointer, size, pointer, size, pointer, size]
        self.functions.armlet_metadata.argtypes = [
            *(pointer, size, pointer, size),
            *(ctypes.POINTER(ctypes.c_void_p), sizes),
        ]

    def name(self, status: int) -> str:
        return str(self.functions.armlet_error_name(status).decode())

    def sizes(self, data: bytes) -> tuple[str, int, int]:
        """-> (name of the error, bytes of the model, bytes of working memory)."""
        size, scratch = ctypes.c_size_t(), ctypes.c_size_t()
        status = self.functions.armlet_unpacked_size(
            data, len(data), ctypes.byref(size), ctypes.byref(scratch)
        )
        return self.name(status), size.value, scratch.value

    def unpack(self, data: bytes, size: int, scratch_size: int) -> Answer:
        out, scratch = (
            ctypes.create_string_buffer(max(size, 1)),
            ctypes.create_string_buffer(max(scratch_size, 1)),
        )
        status = self.functions.armlet_unpack(data, len(data), out, size, scratch, scratch_size)
        return self.name(status), out.raw[:size] if status == 0 else None

    def read(self, data: bytes) -> Answer:
        name, size, scratch_size = self.sizes(data)
        return (name, None) if name != "OK" else self.unpack(data, size, scratch_size)

    def metadata(self, data: bytes) -> Answer:
        name, _, scratch_size = self.sizes(data)
        if name != "OK":
            return name, None
        scratch = ctypes.create_string_buffer(max(scratch_size, 1))
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        status = self.functions.armlet_metadata(
            data, len(data), scratch, scratch_size, ctypes.byref(text), ctypes.byref(size)
        )
        return self.name(status), ctypes.string_at(text.value or 0, size.value) if status == 0 else None


def read_in_python(data: bytes) -> Answer:
    try:
        return "OK", package.unpack(data, kernel="numpy").tflite
    except PackageError as error:
        return type(error).__name__, None
