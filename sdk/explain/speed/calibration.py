"""The peaks of a board, measured on the board through its runtime. Pure.

The host makes small models, the board's agent times them (the verb ``time``), and the best of each kind is a figure:

- peak: convolutions with far more arithmetic than bytes, of sizes that fit caches from small to large;
- bandwidth: additions of tensors much larger than any cache, which read twice and write once;
- call: one addition of two numbers, which is already taken off the others.

So a peak is what the runtime's best kernel reaches there, not the data sheet's figure: no network can do better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device_agent.record.named_kinds import Rate, Seconds, Threads, UnixSeconds
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.breakdown import Peaks
from sdk.graph.enums import NO_ACTIVATION, SAME
from sdk.graph.isolate import null_model
from sdk.graph.records import Graph, Operator, Quantization, Tensor
from sdk.graph.writer import write_graph
from sdk.tools.shown import Shown

SCHEMA = "armlet.calibration/1"

#: (height = width, channels in and out, kernel): 4 to 116 M MACs, 64 kB to 1 MB of float32 weights.
CONVOLUTIONS = (
    (16, 128, 1),
    (28, 128, 1),
    (14, 256, 1),
    (28, 256, 1),
    (14, 512, 1),
    (14, 128, 3),
    (28, 128, 3),
)
#: Elements of a tensor that is added: 32 MB of float32, three of them, so that no cache of a board holds them.
ADDED_ELEMENTS = 8 << 20


@dataclass(frozen=True)
class Experiment:
    """One model of the calibration. ``amount`` is what the figure counts: operations, or bytes read and written."""

    kind: str  # "call", "float32", "int8" or "memory"
    model: bytes
    amount: float


@record(SCHEMA, "a calibration", DataError)
@dataclass(frozen=True)
class Calibration(Shown):
    """Figures of one board with one runtime on ``threads`` threads."""

    board: str
    threads: Threads
    flop_per_second: Rate
    int8_per_second: Rate
    memory_bytes_per_second: Rate
    call_seconds: Seconds
    runtime: str
    runtime_version: str
    machine: str
    measured_unix_seconds: UnixSeconds
    frequency_hz: float | None = field(default=None, metadata=limits(low=1.0, high=1e12))

    def peaks(self) -> Peaks:
        """As the gap wants them."""
        return Peaks(
            self.flop_per_second,
            f"sdk board calibrate, {self.runtime} {self.runtime_version}",
            int8_per_second=self.int8_per_second,
            memory_bytes_per_second=self.memory_bytes_per_second,
            clock_hz=self.frequency_hz,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Calibration:
        """The calibration that :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)


def experiments() -> tuple[Experiment, ...]:
    """Everything that is timed, the call first."""
    found = [Experiment("call", null_model(), 1.0)]
    for size, channels, kernel in CONVOLUTIONS:
        operations = 2.0 * size * size * channels * channels * kernel * kernel
        for kind in ("float32", "int8"):
            found.append(Experiment(kind, _convolution(size, channels, kernel, kind), operations))
    found.append(Experiment("memory", _addition(ADDED_ELEMENTS), 3.0 * 4.0 * ADDED_ELEMENTS))
    return tuple(found)


def best_rates(done: Sequence[Experiment], seconds: Sequence[float]) -> dict[str, float]:
    """The highest rate of each kind, amount per second; under "call" the seconds of a call.

    Raises DataError when an experiment took no longer than a call, which no board can do.
    """
    call = next(s for e, s in zip(done, seconds, strict=True) if e.kind == "call")
    rates: dict[str, float] = {"call": call}
    for experiment, time in zip(done, seconds, strict=True):
        if experiment.kind == "call":
            continue
        if time <= call:
            raise DataError(
                "these times cannot be a board's",
                expected=f"more than {call:g} s for {experiment.amount:g} operations or bytes",
                found=f"{time:g} s",
            )
        rates[experiment.kind] = max(rates.get(experiment.kind, 0.0), experiment.amount / (time - call))
    return rates


def _convolution(size: int, channels: int, kernel: int, kind: str) -> bytes:
    shape = (1, size, size, channels)
    rng = np.random.default_rng(0)
    filters = (channels, kernel, kernel, channels)
    one = _scales(1, 0.05) if kind == "int8" else None
    if kind == "int8":
        weights: np.ndarray = rng.integers(-127, 128, filters, np.int8)
        bias: np.ndarray = np.zeros(channels, np.int32)
    else:
        weights, bias = rng.standard_normal(filters, np.float32), np.zeros(channels, np.float32)
    dtype = kind.upper()
    tensors = (
        Tensor("x", shape, dtype, quantization=one),
        Tensor("w", filters, dtype, weights, _scales(channels, 0.01) if one else None),
        Tensor("b", (channels,), "INT32" if one else dtype, bias, _scales(channels, 0.0005) if one else None),
        Tensor("y", shape, dtype, quantization=_scales(1, 1.0) if one else None),
    )
    options = {
        "padding": SAME,
        "strideW": 1,
        "strideH": 1,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        "fusedActivationFunction": NO_ACTIVATION,
    }
    version = 3 if one else 1
    convolution = Operator("CONV_2D", (0, 1, 2), (3,), options, "Conv2DOptions", version)
    return write_graph(Graph(tensors, (convolution,), (0,), (3,)))


def _scales(count: int, scale: float) -> Quantization:
    return Quantization(np.full(count, scale, np.float32), np.zeros(count, np.int64), 0)


def _addition(elements: int) -> bytes:
    shape = (1, 64, 64, elements // 4096)
    tensors = tuple(Tensor(name, shape, "FLOAT32") for name in "abc")
    options = {"fusedActivationFunction": NO_ACTIVATION, "potScaleInt16": True}
    add = Operator("ADD", (0, 1), (2,), options, "AddOptions")
    return write_graph(Graph(tensors, (add,), (0, 1), (2,)))
