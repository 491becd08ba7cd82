"""The smoke test that every environment has to pass on its board."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.errors import RuntimeUnavailable
from device_agent.verbs import smoke
from tests.device_agent.tiny_models import tiny_convolution


def test_the_embedded_model_is_the_one_that_its_arrays_make():
    assert smoke.model_bytes() == tiny_convolution(smoke.WEIGHTS, smoke.BIAS)


def test_a_working_runtime_passes_and_is_named():
    answer = smoke.smoke_test()
    assert answer["runtime"] in ("ai-edge-litert", "tflite-runtime")
    assert answer["delegate"] == "xnnpack"


def test_wrong_results_are_not_accepted(monkeypatch):
    monkeypatch.setattr(smoke, "EXPECTED", smoke.EXPECTED + np.float32(2**-10))
    with pytest.raises(RuntimeUnavailable, match="wrong results"):
        smoke.smoke_test()
