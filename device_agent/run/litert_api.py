"""LiteRT's C API through ctypes, for what no Python class of the wheel offers: a profiler, a cache of packed weights.

``libLiteRt.so`` of ``ai-edge-litert`` >= 2.1 exports ``LiteRtCompiledModel``. Declarations: LiteRT,
``litert/c/litert_{any,environment,model,options,opaque_options,compiled_model,tensor_buffer}.h``.
A compiled model runs the same XNNPACK delegate as ``Interpreter`` does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import mmap
import os
from ctypes import byref, c_int, c_size_t, c_void_p
from typing import Any, Union

import numpy as np

from device_agent.errors import AgentError, RuntimeUnavailable

#: What holds a model: a compiled model reads its weights from these very bytes while it lives.
Buffer = Union[bytes, mmap.mmap]

#: ``LiteRtHwAccelerators``, litert_common.h.
CPU = 1

#: ``LiteRtElementType``, litert_model_types.h.
ELEMENT_TYPES = {1: "f4", 2: "i4", 3: "u1", 4: "i8", 6: "?", 7: "i2", 9: "i1", 10: "f2", 11: "f8"}

#: ``LiteRtEnvOptionTag``: which accelerators are looked for. Without it the libraries for GPUs are loaded, and that of
#: ai-edge-litert 2.3.0 ends the process on ARMv8.0 cores ("compiled with lse enabled").
_AUTO_REGISTER_ACCELERATORS = 24
_INTEGER = 2  # LiteRtAnyType
_HOST_MEMORY = 1  # LiteRtTensorBufferType
_WRITE = 1  # LiteRtTensorBufferLockMode


class _Any(ctypes.Structure):
    """``LiteRtAny`` holding an integer."""

    _fields_ = (("type", c_int), ("value", ctypes.c_int64))


class _EnvironmentOption(ctypes.Structure):
    """``LiteRtEnvOption``."""

    _fields_ = (("tag", c_int), ("value", _Any))


class _RankedTensorType(ctypes.Structure):
    """``LiteRtRankedTensorType``: element type, rank in 7 bits, dimensions[8], strides[8]; 72 bytes."""

    _fields_ = (
        ("element_type", c_int),
        ("rank", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


# (name, types of the arguments). All return a LiteRtStatus, 0 for success.
_H = c_void_p
_OUT = ctypes.POINTER(c_void_p)
_CALLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("LiteRtCreateEnvironment", (c_int, c_void_p, _OUT)),
    ("LiteRtCreateModelFromBuffer", (_H, c_void_p, c_size_t, _OUT)),
    ("LiteRtCreateOptions", (_OUT,)),
    ("LiteRtSetOptionsHardwareAccelerators", (_H, c_int)),
    ("LiteRtCreateOpaqueOptions", (ctypes.c_char_p, c_void_p, c_void_p, _OUT)),
    ("LiteRtAddOpaqueOptions", (_H, _H)),
    ("LiteRtCreateCompiledModel", (_H, _H, _H, _OUT)),
    ("LiteRtGetModelSignature", (_H, c_size_t, _OUT)),
    ("LiteRtGetNumSignatureInputs", (_H, ctypes.POINTER(c_size_t))),
    ("LiteRtGetNumSignatureOutputs", (_H, ctypes.POINTER(c_size_t))),
    ("LiteRtGetSignatureInputTensorByIndex", (_H, c_size_t, _OUT)),
    ("LiteRtGetSignatureOutputTensorByIndex", (_H, c_size_t, _OUT)),
    ("LiteRtGetRankedTensorType", (_H, ctypes.POINTER(_RankedTensorType))),
    ("LiteRtGetCompiledModelInputBufferRequirements", (_H, c_size_t, c_size_t, _OUT)),
    ("LiteRtGetCompiledModelOutputBufferRequirements", (_H, c_size_t, c_size_t, _OUT)),
    (
        "LiteRtCreateManagedTensorBufferFromRequirements",
        (_H, ctypes.POINTER(_RankedTensorType), _H, _OUT),
    ),
    ("LiteRtGetTensorBufferType", (_H, ctypes.POINTER(c_int))),
    ("LiteRtLockTensorBuffer", (_H, _OUT, c_int)),
    ("LiteRtUnlockTensorBuffer", (_H,)),
    ("LiteRtGetTensorBufferPackedSize", (_H, ctypes.POINTER(c_size_t))),
    ("LiteRtRunCompiledModel", (_H, c_size_t, c_size_t, c_void_p, c_size_t, c_void_p)),
    ("LiteRtCompiledModelGetProfiler", (_H, _OUT)),
    ("LiteRtStartProfiler", (_H,)),
    ("LiteRtStopProfiler", (_H,)),
    ("LiteRtResetProfiler", (_H,)),
    ("LiteRtGetNumProfilerEvents", (_H, ctypes.POINTER(c_int))),
    ("LiteRtGetProfilerEvents", (_H, c_int, c_void_p)),
)
_DESTROY = (
    "LiteRtDestroyTensorBuffer",
    "LiteRtDestroyCompiledModel",
    "LiteRtDestroyOptions",
    "LiteRtDestroyModel",
    "LiteRtDestroyEnvironment",
)


def _load_library() -> Any:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for f in folders if os.path.exists(p := os.path.join(f, "libLiteRt.so"))), None)
    if path is None:
        raise RuntimeUnavailable(
            "this runtime has no compiled models, and so neither a profiler nor a cache of packed weights",
            expected="ai-edge-litert 2.1 or newer",
            found="no libLiteRt.so",
            hint="Profile its operators one by one instead (isolated).",
        )
    library = ctypes.CDLL(path)
    try:
        for name, types in _CALLS:
            function = getattr(library, name)
            function.argtypes, function.restype = types, c_int
        for name in _DESTROY:
            function = getattr(library, name)
            function.argtypes, function.restype = (c_void_p,), None
    except AttributeError as error:
        raise RuntimeUnavailable(
            "this LiteRT has another C API", expected="that of LiteRT 2.1 to 2.3", found=str(error)
        ) from None
    return library


class CompiledModel:
    """A model compiled for the CPU. Use as a context.

    ``inputs`` and ``outputs`` are arrays over the runtime's own memory, in the order of the model's signature: write
    the first, :meth:`run`, read the second. With ``weight_cache`` XNNPACK maps its packed weights from that file; where
    the file is not there, or was written by another XNNPACK, it is written again.

    Raises RuntimeUnavailable or AgentError.
    """

    def __init__(
        self, tflite: Buffer, *, threads: int = 1, weight_cache: str | None = None, profiling: bool = False
    ) -> None:
        self._library = _load_library()
        self._libc = ctypes.CDLL(None)
        self._libc.strdup.restype, self._libc.strdup.argtypes = c_void_p, (ctypes.c_char_p,)
        self._owned: list[tuple[str, c_void_p]] = []
        self._bytes = np.frombuffer(tflite, np.uint8)
        options = {"xnnpack": f"num_threads = {threads}\n"}
        if weight_cache is not None:
            # A JSON string is a TOML string too, but this runtime does not read \\u escapes.
            path = json.dumps(weight_cache, ensure_ascii=False)
            options["xnnpack"] += f"weight_cache_file_path = {path}\n"
        if profiling:
            options["runtime_options_string"] = "enable_profiling = true\n"
        try:
            self._compile(options)
        except BaseException:
            self.close()
            raise

    def _compile(self, texts: dict[str, str]) -> None:
        only = _EnvironmentOption(_AUTO_REGISTER_ACCELERATORS, _Any(_INTEGER, CPU))
        environment = self._made("LiteRtDestroyEnvironment", "LiteRtCreateEnvironment", 1, byref(only))
        model = self._made(
            "LiteRtDestroyModel",
            "LiteRtCreateModelFromBuffer",
            environment,
            c_void_p(self._bytes.ctypes.data),
            len(self._bytes),
        )
        options = self._made("LiteRtDestroyOptions", "LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        # Their payload is TOML that the runtime frees.
        for name, text in texts.items():
            payload = c_void_p(self._libc.strdup(os.fsencode(text)))
            free = ctypes.cast(self._libc.free, c_void_p)
            opaque = self._got("LiteRtCreateOpaqueOptions", name.encode(), payload, free)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        self._model = self._made(
            "LiteRtDestroyCompiledModel", "LiteRtCreateCompiledModel", environment, model, options
        )
        signature = self._got("LiteRtGetModelSignature", model, 0)
        self._input_buffers, self.inputs = self._buffers("Input", environment, signature)
        self._output_buffers, self.outputs = self._buffers("Output", environment, signature)

    def _buffers(
        self, side: str, environment: c_void_p, signature: c_void_p
    ) -> tuple[Any, tuple[np.ndarray, ...]]:
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, byref(count))
        handles, arrays = [], []
        for index in range(count.value):
            tensor = self._got(f"LiteRtGetSignature{side}TensorByIndex", signature, index)
            kind = _RankedTensorType()
            self._call("LiteRtGetRankedTensorType", tensor, byref(kind))
            needs = self._got(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, 0, index)
            buffer = self._made(
                "LiteRtDestroyTensorBuffer",
                "LiteRtCreateManagedTensorBufferFromRequirements",
                environment,
                byref(kind),
                needs,
            )
            handles.append(buffer.value)
            arrays.append(self._array(buffer, kind))
        return (c_void_p * len(handles))(*handles), tuple(arrays)

    def _array(self, buffer: c_void_p, kind: _RankedTensorType) -> np.ndarray:
        """The buffer's memory, zeroed; host memory stays where it is for as long as the buffer lives."""
        where = c_int()
        self._call("LiteRtGetTensorBufferType", buffer, byref(where))
        element = ELEMENT_TYPES.get(kind.element_type)
        if where.value != _HOST_MEMORY or element is None:
            raise AgentError(
                "a compiled model's values cannot be reached",
                expected="known elements in host memory",
                found=f"memory of kind {where.value}, elements of type {kind.element_type}",
            )
        size, address = c_size_t(), c_void_p()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        self._call("LiteRtLockTensorBuffer", buffer, byref(address), _WRITE)
        self._call("LiteRtUnlockTensorBuffer", buffer)
        assert address.value is not None
        memory = memoryview((ctypes.c_ubyte * size.value).from_address(address.value))
        shape = tuple(kind.dimensions[: kind.rank & 0x7F])
        array = np.frombuffer(memory, element).reshape(shape)
        array[...] = 0
        return array

    def run(self) -> None:
        """One inference."""
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            0,
            len(self._input_buffers),
            self._input_buffers,
            len(self._output_buffers),
            self._output_buffers,
        )

    def close(self) -> None:
        """Frees everything, in reverse; ``inputs`` and ``outputs`` must not be touched any more."""
        while self._owned:
            destroy, handle = self._owned.pop()
            getattr(self._library, destroy)(handle)

    def __enter__(self) -> CompiledModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_owned"):
            self.close()

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise AgentError(f"{name} failed", expected="status 0", found=f"status {status}")

    def _got(self, name: str, *arguments: Any) -> c_void_p:
        handle = c_void_p()
        self._call(name, *arguments, byref(handle))
        return handle

    def _made(self, destroy: str, name: str, *arguments: Any) -> c_void_p:
        handle = self._got(name, *arguments)
        self._owned.append((destroy, handle))
        return handle
