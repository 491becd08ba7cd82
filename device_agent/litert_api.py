"""The profiler of LiteRT, through its C API and ctypes: no Python class of the wheel exposes it.

``libLiteRt.so`` of ``ai-edge-litert`` >= 2.1 exports ``LiteRtCompiledModel`` and its profiler. Declarations: LiteRT,
``litert/c/litert_{environment,model,options,opaque_options,compiled_model,tensor_buffer,profiler,profiler_event}.h``.
A compiled model runs the same XNNPACK delegate as ``Interpreter`` does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import byref, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.errors import AgentError, RuntimeUnavailable

#: ``LiteRtHwAccelerators``, litert_common.h.
CPU = 1

#: ``LiteRtProfilerEventType``, litert_profiler_event.h: anything; an operator of the interpreter; one of a delegate.
DEFAULT = 1
OPERATOR = 2
DELEGATE_OPERATOR = 4 | 8
WORK = OPERATOR | DELEGATE_OPERATOR

#: ``LiteRtElementType``, litert_model_types.h.
ELEMENT_TYPES = {1: "f4", 2: "i4", 3: "u1", 4: "i8", 6: "?", 7: "i2", 9: "i1", 10: "f2", 11: "f8"}

#: The profiler counts whole microseconds.
RESOLUTION_SECONDS = 1e-6

# Bytes set aside for one ProfiledEventData. It has 104 in LiteRT 2.1 to 2.3; the part about memory may grow.
_EVENT_ROOM = 512
_UNTOUCHED = 0xA5


@dataclass(frozen=True)
class Event:
    """One event of the profiler."""

    name: str
    type: int
    node: int
    seconds: float


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
_WRITE = 1  # LiteRtTensorBufferLockMode


def _load_library() -> Any:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for f in folders if os.path.exists(p := os.path.join(f, "libLiteRt.so"))), None)
    if path is None:
        raise RuntimeUnavailable(
            "this runtime has no profiler",
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


class ProfiledModel:
    """A model compiled with profiling. Use as a context; inputs hold zeros or, if real-valued, seeded noise."""

    def __init__(self, tflite: bytes, *, threads: int = 1) -> None:
        self._library = _load_library()
        self._libc = ctypes.CDLL(None)
        self._libc.strdup.restype, self._libc.strdup.argtypes = c_void_p, (ctypes.c_char_p,)
        self._owned: list[tuple[str, c_void_p]] = []
        self._bytes = tflite  # the model reads its weights from these very bytes while it lives
        try:
            self._compile(len(tflite), threads)
        except BaseException:
            self.close()
            raise

    def _compile(self, size: int, threads: int) -> None:
        environment = self._made("LiteRtDestroyEnvironment", "LiteRtCreateEnvironment", 0, None)
        start = ctypes.cast(ctypes.c_char_p(self._bytes), c_void_p)
        model = self._made("LiteRtDestroyModel", "LiteRtCreateModelFromBuffer", environment, start, size)
        options = self._made("LiteRtDestroyOptions", "LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        # Their payload is TOML that the runtime frees.
        for name, text in (
            ("runtime_options_string", "enable_profiling = true\n"),
            ("xnnpack", f"num_threads = {threads}\n"),
        ):
            payload = c_void_p(self._libc.strdup(text.encode()))
            free = ctypes.cast(self._libc.free, c_void_p)
            opaque = self._got("LiteRtCreateOpaqueOptions", name.encode(), payload, free)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        self._model = self._made(
            "LiteRtDestroyCompiledModel", "LiteRtCreateCompiledModel", environment, model, options
        )
        signature = self._got("LiteRtGetModelSignature", model, 0)
        self._inputs = self._buffers("Input", environment, signature)
        self._outputs = self._buffers("Output", environment, signature)
        self._profiler = self._got("LiteRtCompiledModelGetProfiler", self._model)
        if not self._profiler:
            raise RuntimeUnavailable("this LiteRT was built without its profiler")

    def _buffers(self, side: str, environment: c_void_p, signature: c_void_p) -> Any:
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, byref(count))
        made = []
        rng = np.random.default_rng(0)
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
            if side == "Input":
                self._fill(buffer, ELEMENT_TYPES.get(kind.element_type), rng)
            made.append(buffer.value)
        return (c_void_p * len(made))(*made)

    def _fill(self, buffer: c_void_p, element: str | None, rng: np.random.Generator) -> None:
        size = c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        address = c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer, byref(address), _WRITE)
        ctypes.memset(address, 0, size.value)
        if element in ("f4", "f2"):
            noise = rng.random(size.value // np.dtype(element).itemsize, np.float32).astype(element)
            ctypes.memmove(address, noise.ctypes.data, noise.nbytes)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """One inference."""
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            0,
            len(self._inputs),
            self._inputs,
            len(self._outputs),
            self._outputs,
        )

    def start(self) -> None:
        """Forgets earlier events and records from here on."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)

    def stop(self) -> list[Event]:
        """The events since :meth:`start`, in order: operators, and what is around them."""
        self._call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        if count.value < 2:
            raise AgentError("the profiler saw nothing", expected="an event an operator")
        room = ctypes.create_string_buffer(count.value * _EVENT_ROOM)
        ctypes.memset(room, _UNTOUCHED, len(room))
        self._call("LiteRtGetProfilerEvents", self._profiler, count.value, room)
        return read_events(room.raw, count.value)

    def close(self) -> None:
        """Frees everything, in reverse."""
        while self._owned:
            destroy, handle = self._owned.pop()
            getattr(self._library, destroy)(handle)

    def __enter__(self) -> ProfiledModel:
        return self

    def __exit__(self, *_: object) -> None:
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


def read_events(raw: bytes, count: int) -> list[Event]:
    """The operators and default events among ``count`` structures ``ProfiledEventData`` at the start of ``raw``.

    How long one is follows from how much of ``raw`` was written, since its middle (two ``MemoryUsage``) differs
    between versions: ``tag, event_type, start, elapsed`` come first, ``metadata1, metadata2, source`` last, 8 bytes
    each.
    """
    written = len(raw.rstrip(bytes([_UNTOUCHED])))
    stride = 8 * -(-written // (8 * count))
    if not 56 <= stride <= _EVENT_ROOM or stride * (count - 1) >= written:
        raise AgentError(
            "the profiler's events have an unknown layout", found=f"{written} bytes for {count} events"
        )
    words = np.frombuffer(raw, "<u8", count * stride // 8).reshape(count, stride // 8)
    events = []
    for row in words:
        kind = int(row[1]) & 0xFFFFFFFF
        if kind & (DEFAULT | WORK):
            tag = ctypes.string_at(int(row[0])).decode("utf-8", "replace")
            events.append(Event(tag, kind, int(row[-3]) & 0x7FFFFFFF, float(row[3]) * RESOLUTION_SECONDS))
    return events
