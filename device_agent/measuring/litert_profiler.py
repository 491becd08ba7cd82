"""The profiler of LiteRT: the microseconds of every operator, through the runtime's C API.

No Python class of the wheel exposes it. Declarations: LiteRT, ``litert/c/litert_{profiler,profiler_event}.h``.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from device_agent.errors import AgentError, RuntimeUnavailable
from device_agent.run.litert_api import Buffer, CompiledModel

#: ``LiteRtProfilerEventType``, litert_profiler_event.h: anything; an operator of the interpreter; one of a delegate.
DEFAULT = 1
OPERATOR = 2
DELEGATE_OPERATOR = 4 | 8
WORK = OPERATOR | DELEGATE_OPERATOR
#: The interpreter lists what it handed to a delegate as one operator of its own; its parts are listed beside it.
_DELEGATE_NODES = ("DELEGATE", "TfLiteXNNPackDelegate")

#: The profiler counts whole microseconds.
RESOLUTION_SECONDS = 1e-6

# Bytes set aside for one ProfiledEventData. It has 104 in LiteRT 2.1 to 2.3; the part about memory may grow.
_EVENT_ROOM = 512
_UNTOUCHED = 0xA5


@dataclass(frozen=True)
class ProfilerEvent:
    """One event of the profiler."""

    name: str
    type: int
    node: int
    seconds: float


class ProfiledModel(CompiledModel):
    """A model compiled with profiling. Use as a context; inputs hold zeros or, if real-valued, seeded noise."""

    def __init__(self, tflite: Buffer, *, threads: int = 1, weight_cache: str | None = None) -> None:
        super().__init__(tflite, threads=threads, weight_cache=weight_cache, profiling=True)
        try:
            self._fill_inputs()
            self._profiler = self._got("LiteRtCompiledModelGetProfiler", self._model)
            if not self._profiler:
                raise RuntimeUnavailable("this LiteRT was built without its profiler")
        except BaseException:
            self.close()
            raise

    def _fill_inputs(self) -> None:
        rng = np.random.default_rng(0)
        for array in self.inputs:
            array[...] = rng.random(array.shape, np.float32) if array.dtype.kind == "f" else 0

    def start(self) -> None:
        """Forgets earlier events and records from here on."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)

    def stop(self) -> list[ProfilerEvent]:
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


def read_events(raw: bytes, count: int) -> list[ProfilerEvent]:
    """The operators and default events among ``count`` structures ``ProfiledEventData`` at the start of ``raw``.

    The length of one follows from how much of ``raw`` was written, since its middle (two ``MemoryUsage``) differs
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
            events.append(
                ProfilerEvent(tag, kind, int(row[-3]) & 0x7FFFFFFF, float(row[3]) * RESOLUTION_SECONDS)
            )
    return events


def kernel_events(events: Sequence[ProfilerEvent]) -> list[ProfilerEvent]:
    """The events that are operators, without the nodes that only stand for a delegate."""
    return [
        event
        for event in events
        if event.type & WORK and not any(event.name.startswith(name) for name in _DELEGATE_NODES)
    ]
