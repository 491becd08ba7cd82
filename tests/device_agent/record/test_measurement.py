"""The record of a measurement: what may be said from it, and that nothing hostile passes for one."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.record import measurement as measure
from device_agent.record.intervals import Turn
from device_agent.record.measurement import Measurement, MeasurementError, Moment, joined


def record(**changes) -> Measurement:
    values = {
        "model": "mobilenet",
        "tflite_sha256": "a" * 64,
        "package_sha256": "b" * 64,
        "samples_seconds": tuple(0.010 + 0.0001 * (i % 10) for i in range(200)),
        "warmup_seconds": (0.02, 0.01),
        "init_seconds": 0.03,
        "first_seconds": 0.02,
        "decode_seconds": 0.004,
        "decode_kernel": "c",
        "threads": 1,
        "cpus": (0, 1),
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "xnnpack",
        "numpy_version": "2.4.6",
        "python_version": "3.11.2",
        "machine": "aarch64",
        "emulated": False,
        "started_unix_seconds": 1.7e9,
    }
    return Measurement(**{**values, **changes})


def clocks(*hertz: float) -> tuple[Moment, ...]:
    return tuple(Moment(float(i), hz, None) for i, hz in enumerate(hertz))


NOISY = (0.01,) * 80 + (0.05,) * 20


def test_a_record_survives_json():
    first = record(
        temperature_before_celsius=41.5,
        throttled=False,
        governor="ondemand",
        peak_memory_bytes=1 << 26,
        during=(Moment(0.5, 1.8e9, 44.0), Moment(1.0, None, None)),
        preemptions=3,
        turns=in_turns(10, 5, 4),
    )
    again = Measurement.from_json(json.loads(json.dumps(first.to_json(), allow_nan=False)))
    assert again == first


def test_statistics_are_those_of_the_samples():
    m = record(samples_seconds=tuple(i / 1000 for i in range(1, 102)))
    assert (m.minimum, m.median) == (0.001, 0.051)
    assert m.p90 == pytest.approx(0.091)
    assert m.p99 == pytest.approx(0.100)


def test_the_interval_of_the_median_holds_it_and_is_reproducible():
    m = record()
    low, high = m.median_interval()
    assert low <= m.median <= high
    assert (low, high) == m.median_interval()


def in_turns(loadings: int, rounds: int, samples: int) -> tuple[Turn, ...]:
    return tuple(Turn(i, r, float(i), samples) for i in range(loadings) for r in range(rounds))


def test_runs_of_one_model_are_joined_into_one_record():
    first = record(turns=in_turns(1, 4, 50), throttled=False, preemptions=2, during=clocks(1.8e9))
    second = record(
        turns=in_turns(2, 4, 25),
        throttled=True,
        throttle_reasons=("under-voltage",),
        preemptions=1,
        temperature_after_celsius=60.0,
        temperature_max_celsius=61.0,
        frequency_min_hz=1e9,
        during=clocks(1.2e9),
    )
    whole = joined([first, second])
    assert whole.samples_seconds == first.samples_seconds + second.samples_seconds
    assert [t.loading for t in whole.turns] == [0] * 4 + [1] * 4 + [2] * 4
    assert whole.loadings == 3
    assert (whole.throttled, whole.throttle_reasons, whole.preemptions) == (True, ("under-voltage",), 3)
    assert (whole.temperature_after_celsius, whole.temperature_max_celsius) == (60.0, 61.0)
    assert [moment.frequency_hz for moment in whole.during] == [1.8e9, 1.2e9]
    assert whole == Measurement.from_json(json.loads(json.dumps(whole.to_json())))


def test_records_without_turns_are_joined_as_a_loading_each():
    assert joined([record(), record()]).loadings == 2


def test_turns_must_hold_all_samples():
    lacking = record().to_json()
    lacking["turns"] = [{"loading": 0, "round": 0, "seconds": 0.0, "samples": 199}]
    with pytest.raises(MeasurementError, match=r"turns.*200 samples in all; found 199"):
        Measurement.from_json(lacking)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"emulated": True}, "emulated"),
        ({"throttled": True, "throttle_reasons": ("under-voltage",)}, "under-voltage"),
        ({"frequency_before_hz": 1.8e9, "frequency_after_hz": 0.6e9}, "clock fell by 67 %"),
        ({"during": clocks(1.8e9, 1.8e9, 1.2e9)}, "clock fell by 33 %"),
        ({"samples_seconds": NOISY}, "noisy"),
        ({"samples_seconds": NOISY, "preemptions": 20}, "took the core 20 times in 100 samples"),
        ({"samples_seconds": NOISY, "preemptions": 0}, "no process of this machine"),
        (
            {"samples_seconds": NOISY, "preemptions": 0, "during": clocks(1.8e9, 0.6e9, 1.8e9)},
            "between 0.60 and 1.80 GHz",
        ),
        ({"samples_seconds": (0.01,) * 20}, "few samples"),
        ({"delegate": "none"}, "XNNPACK"),
    ],
)
def test_a_run_that_should_not_be_trusted_says_why(changes, word):
    assert any(word in problem for problem in record(**changes).problems)


def test_a_quiet_run_has_no_problems():
    assert record(frequency_before_hz=1.8e9, frequency_after_hz=1.8e9, throttled=False).problems == ()


def test_a_clock_that_rises_from_idle_to_work_has_not_fallen():
    """What counts is the clock between rounds: before the first the core may have idled."""
    m = record(frequency_before_hz=0.6e9, frequency_after_hz=0.6e9, during=clocks(1.8e9, 1.8e9))
    assert m.problems == ()
    assert m.clock_hz == 1.8e9
    assert record(frequency_before_hz=1.0e9, frequency_after_hz=2.0e9).clock_hz == 1.5e9
    assert record().clock_hz is None


def test_a_record_of_the_schema_before_is_still_read():
    written = record(temperature_before_celsius=40.0).to_json()
    old = {k: v for k, v in written.items() if k not in ("during", "preemptions", "turns")}
    read = Measurement.from_json({**old, "schema": "armlet.measurement/1"})
    assert read == replace(record(temperature_before_celsius=40.0), during=(), preemptions=None)
    with pytest.raises(MeasurementError, match="during"):
        Measurement.from_json({**old, "schema": "armlet.measurement/2"})


def test_a_record_from_before_kernels_told_their_memory_is_read():
    written = record(armlet_operators=3).to_json()
    old = {
        k: v for k, v in written.items() if not k.startswith(("armlet_packed", "armlet_float", "runtime_"))
    }
    old = {**old, **{k: written[k] for k in ("runtime", "runtime_version") if k in written}}
    read = Measurement.from_json({**old, "schema": "armlet.measurement/5"})
    assert read == record(armlet_operators=3)
    assert (read.armlet_packed_bytes, read.runtime_start_seconds, read.runtime_peak_memory_bytes) == (
        0,
        None,
        None,
    )
    with pytest.raises(MeasurementError, match="armlet_packed_bytes"):
        Measurement.from_json({**old, "schema": "armlet.measurement/6"})


# -- what a board may send --------------------------------------------------------------------------------------------

HOSTILE = [
    ("samples_seconds", []),
    ("samples_seconds", "0.1"),
    ("samples_seconds", [0.1, None]),
    ("samples_seconds", [0.1, "0.1"]),
    ("samples_seconds", [True]),
    ("samples_seconds", [-0.1]),
    ("samples_seconds", [float("nan")]),
    ("samples_seconds", [float("inf")]),
    ("samples_seconds", [10**400]),
    ("samples_seconds", [[0.1]]),
    ("warmup_seconds", {"0": 0.1}),
    ("during", [{"seconds": 0.0}]),
    ("during", [{"seconds": 0.0, "frequency_hz": -1.0, "temperature_celsius": None}]),
    ("during", [{"seconds": 0.0, "frequency_hz": None, "temperature_celsius": None}] * 1000),
    ("preemptions", -1),
    ("turns", [{"loading": 0, "round": 0, "seconds": 0.0, "samples": 1}]),
    ("turns", [{"loading": -1, "round": 0, "seconds": 0.0, "samples": 200}]),
    ("turns", [{"loading": 0, "round": 0, "seconds": 0.0, "samples": 0}]),
    ("turns", [0.1]),
    ("init_seconds", None),
    ("first_seconds", 1e6),
    ("decode_kernel", "fortran"),
    ("decode_kernel", ["c"]),
    ("threads", 0),
    ("threads", 1.0),
    ("threads", True),
    ("threads", 10**30),
    ("cpus", [-1]),
    ("cpus", list(range(5000))),
    ("model", "\x1b]0;pwned\x07"),
    ("model", "x" * 300),
    ("model", 7),
    ("runtime", None),
    ("tflite_sha256", "A" * 64),
    ("tflite_sha256", "a" * 63),
    ("package_sha256", ""),
    ("emulated", "false"),
    ("emulated", 0),
    ("temperature_max_celsius", 1e4),
    ("frequency_min_hz", -1.0),
    ("governor", "a\nb"),
    ("throttle_reasons", ["x"] * 17),
    ("peak_memory_bytes", 1.5),
    ("delegate", "gpu"),
    ("started_unix_seconds", -5),
]


@pytest.mark.parametrize(("field", "value"), HOSTILE, ids=[f"{f}-{i}" for i, (f, _) in enumerate(HOSTILE)])
def test_a_hostile_value_is_refused_and_its_field_named(field, value):
    hostile = {**record().to_json(), field: value}
    with pytest.raises(MeasurementError) as caught:
        Measurement.from_json(hostile)
    assert field in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [None, [], "record", 3, {}, {"schema": "armlet.measurement/2"}])
def test_what_is_no_record_is_refused(value):
    with pytest.raises(MeasurementError):
        Measurement.from_json(value)


def test_every_field_is_required_and_no_other_is_taken():
    whole = record().to_json()
    for field in dataclasses.fields(Measurement):
        lacking = copy.deepcopy(whole)
        del lacking[field.name]
        with pytest.raises(MeasurementError, match="lacks a field"):
            Measurement.from_json(lacking)
    with pytest.raises(MeasurementError, match="unknown fields"):
        Measurement.from_json({**whole, "latency": 1})


def test_too_many_samples_are_refused_before_they_are_looked_at():
    too_many = [None] * (measure.MAX_SAMPLES + 1)
    with pytest.raises(
        MeasurementError, match=r"samples_seconds.* a list of 1 to 1000000; found a list of 1000001"
    ):
        Measurement.from_json({**record().to_json(), "samples_seconds": too_many})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([f.name for f in dataclasses.fields(Measurement)] + ["schema"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
        ),
        max_size=6,
    )
)
def test_whatever_json_arrives_there_is_a_record_or_the_one_named_error(changes):
    try:
        measurement = Measurement.from_json({**record().to_json(), **changes})
    except MeasurementError:
        return
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement
