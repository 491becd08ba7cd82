"""The record of a prediction: its parts add up, it reads back as written, and others are refused by name."""

from __future__ import annotations

import pytest

from sdk.errors import DataError
from sdk.explain.speed.prediction import Assumption, CycleParts, PredictedOperator, Prediction


def made() -> Prediction:
    """A prediction of an inference of 18 M cycles at 1.8 GHz."""
    return Prediction(
        board="rpi4",
        core="Cortex-A72",
        emulated_core="cortex-a72",
        clock_hz=1.8e9,
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        dtype="float32",
        cycles=18e6,
        instructions=20_000_000,
        parts=CycleParts(compute=10e6, l1=1e6, l2=2e6, dram=4e6, branch=0.5e6, dispatch=0.5e6),
        dram_bytes=5_000_000,
        dram_share=4 / 18,
        memory_bytes_per_second=5.16e9,
        kernels=(("xnn_f32_gemm", 0.9),),
        operators=(PredictedOperator(0, "Convolution", 18e6, 20_000_000),),
        assumptions=(
            Assumption("dram latency", 130.0, "ns", "estimated", "no source"),
            Assumption("clock", 1.8, "GHz", "published", "its maker"),
        ),
    )


def test_it_is_milliseconds_at_the_clock_and_reads_back():
    prediction = made()
    assert prediction.milliseconds == pytest.approx(10.0)
    assert [a.name for a in prediction.estimated] == ["dram latency"]
    assert Prediction.from_json(prediction.to_json()) == prediction


def test_parts_that_do_not_add_up_are_refused():
    written = made().to_json()
    written["parts"]["dram"] *= 2
    with pytest.raises(DataError, match="parts that add up to cycles"):
        Prediction.from_json(written)
    written = made().to_json()
    written["dram_share"] = 1.5
    with pytest.raises(DataError, match="dram_share"):
        Prediction.from_json(written)
