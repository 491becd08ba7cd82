"""What a board can do: the models that are timed, and what follows from their times."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sdk.errors import DataError
from sdk.explain.speed.calibration import ADDED_ELEMENTS, Calibration, best_rates, experiments
from sdk.explain.theory import operator_costs
from sdk.graph.on_host.evaluate import predict
from sdk.graph.reader import read_graph

CALIBRATION = Calibration(
    board="rpi4",
    threads=1,
    flop_per_second=12e9,
    int8_per_second=20e9,
    memory_bytes_per_second=5e9,
    call_seconds=2e-6,
    runtime="ai-edge-litert",
    runtime_version="2.3.0",
    machine="aarch64",
    measured_unix_seconds=1.7e9,
)


def test_the_amounts_are_those_of_the_models() -> None:
    for experiment in experiments():
        (cost,) = operator_costs(read_graph(experiment.model))
        if experiment.kind == "memory":
            assert experiment.amount == cost.bytes == 3 * 4 * ADDED_ELEMENTS
        elif experiment.kind != "call":
            assert experiment.amount == 2 * cost.macs
            assert cost.dtype == experiment.kind


def test_the_runtime_takes_every_convolution() -> None:
    for experiment in experiments():
        if experiment.kind in ("float32", "int8"):
            graph = read_graph(experiment.model)
            dtype = np.int8 if experiment.kind == "int8" else np.float32
            shape = graph.tensors[graph.inputs[0]].shape
            assert predict(experiment.model, np.ones(shape, dtype)).shape == shape


def test_the_best_of_each_kind_counts_and_the_call_is_taken_off() -> None:
    done = experiments()
    times = [
        1e-6 if e.kind == "call" else 1e-6 + e.amount / {"float32": 10e9, "int8": 20e9}.get(e.kind, 5e9)
        for e in done
    ]
    slow = done.index(next(e for e in done if e.kind == "float32"))
    times[slow] *= 2
    rates = best_rates(done, times)
    assert rates == pytest.approx({"call": 1e-6, "float32": 10e9, "int8": 20e9, "memory": 5e9})


def test_times_that_no_board_can_have_are_refused() -> None:
    done = experiments()
    with pytest.raises(DataError, match="cannot be a board's"):
        best_rates(done, [1e-6] * len(done))


def test_a_calibration_survives_json_and_a_broken_one_is_named() -> None:
    record = json.loads(json.dumps(CALIBRATION.to_json()))
    assert Calibration.from_json(record) == CALIBRATION
    assert CALIBRATION.peaks().memory_bytes_per_second == 5e9
    for field, value in (("threads", 0), ("flop_per_second", 0), ("runtime", "\x1b"), ("extra", 1)):
        with pytest.raises(DataError, match="unknown" if field == "extra" else field):
            Calibration.from_json({**record, field: value})
