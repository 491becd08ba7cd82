"""The C decoder (huffman.c), loaded with ctypes.

The host builds it for the board's processor (sdk/deploy/provision/kernel.py) and pushes one file; the board needs
no compiler. Where no kernel is found or it does not load, the numpy decoder does the work, and every report names
which one ran.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Callable

import numpy as np

from device_agent.errors import ArmletError
from device_agent.package.codec.format import KERNEL_ERRORS
from device_agent.package.pushed_library import PushedLibrary

KERNEL_VERSION = 4  # armlet_kernel_version of huffman.c
KERNEL_VARIABLE = "ARMLET_KERNEL"  # environment: path of the shared library
KERNEL_FILE = "_huffman.so"  # beside this module

_loaded: dict[str, Kernel] = {}
_LIBRARY = PushedLibrary(KERNEL_VARIABLE, Path(__file__).with_name(KERNEL_FILE))
use, find = _LIBRARY.use, _LIBRARY.find


class KernelUnavailable(ArmletError):
    """The C kernel was asked for and there is none, or it is not loadable on this machine."""


#: Bytes of a piece of a section, at most.
PIECE_BYTES = 1 << 20
_SINK = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_IN_ONE_PIECE = 1


class Kernel:
    """The functions of the shared library at ``path``."""

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
            version = ctypes.c_uint32.in_dll(library, "armlet_kernel_version").value
            self._decode, self._decode_pieces = library.armlet_decode, library.armlet_decode_pieces
        except (OSError, ValueError, AttributeError) as error:
            raise KernelUnavailable("the C decoder does not load", found=f"{path}: {error}") from error
        if version != KERNEL_VERSION:
            raise KernelUnavailable(
                "the C decoder is of another version",
                expected=str(KERNEL_VERSION),
                found=f"{version} in {path}",
            )
        self._decode.restype = ctypes.c_int32
        self._decode.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
        self._decode_pieces.restype = ctypes.c_int32
        self._decode_pieces.argtypes = [
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t),
            *(_SINK, ctypes.c_void_p),
        ]
        self.path = path

    def decode(self, coded: Any, out: Any) -> None:
        """Decodes ``coded`` to ``out``, both contiguous 1-D uint8 arrays; raises what the numpy decoder would."""
        self.decode_at(coded.ctypes.data, coded.size, out.ctypes.data, out.size)

    def decode_at(self, coded: int, coded_size: int, out: int, out_size: int) -> None:
        """The same by addresses, which must be those of buffers of these sizes."""
        _require(self._decode(coded, coded_size, out, out_size))

    def decode_pieces(self, coded: Any, size: int, sink: Callable[[np.ndarray], Any]) -> bool:
        """Decodes ``coded``, a contiguous 1-D uint8 array, to ``size`` bytes: ``sink`` gets them in their order.

        A piece is a uint8 array (n,) of at most PIECE_BYTES that the next one overwrites. False where the section does
        not come in pieces; then none was given. Raises what the numpy decoder would, and what the sink raises.
        """
        buffer = np.empty(PIECE_BYTES, np.uint8)
        failed: list[BaseException] = []

        def take(_context: int, _bytes: int, count: int) -> int:
            try:
                sink(buffer[:count])
            except BaseException as error:  # raised again below: C cannot pass it on
                failed.append(error)
            return len(failed)

        status = self._decode_pieces(
            coded.ctypes.data, coded.size, size, buffer.ctypes.data, buffer.size, _SINK(take), None
        )
        if failed:
            raise failed[0]
        if status != _IN_ONE_PIECE:
            _require(status)
        return bool(status != _IN_ONE_PIECE)


def _require(status: int) -> None:
    if status:
        raise KERNEL_ERRORS[-status - 1]("section is corrupt", found=f"status {status} from the C decoder")


def load() -> Kernel:
    """The C kernel; raises :class:`KernelUnavailable`."""
    path = find()
    if path is None:
        raise KernelUnavailable(
            "there is no C decoder here",
            hint=f"Set {KERNEL_VARIABLE}, or let the host push one; numpy works without.",
        )
    if path not in _loaded:
        _loaded[path] = Kernel(path)
    return _loaded[path]


def kernels() -> tuple[str, ...]:
    """Names of the decoders that work here, the fastest first: ``("c", "numpy")`` or ``("numpy",)``."""
    try:
        load()
    except KernelUnavailable:
        return ("numpy",)
    return ("c", "numpy")
