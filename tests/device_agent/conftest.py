"""Models and folders that the agent's tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.device_agent.tiny_models import tiny_convolution

WEIGHTS = np.array([[1, -2, 3], [0, 2, -1]], np.float32)  # (outputs, inputs)
BIAS = np.array([1, -1], np.float32)


@pytest.fixture(scope="session")
def float_model() -> bytes:
    """A .tflite: relu(x @ WEIGHTS.T + BIAS) on (1, 2, 2, 3) float32."""
    return tiny_convolution(WEIGHTS, BIAS)


@pytest.fixture(scope="session")
def other_model() -> bytes:
    """As float_model, with weights doubled."""
    return tiny_convolution(2 * WEIGHTS, BIAS)


@pytest.fixture(scope="session")
def int8_model() -> bytes:
    """A .tflite in int8: input scale 1, output scale 2."""
    return tiny_convolution(WEIGHTS, BIAS, quantized=True)


@pytest.fixture(scope="session")
def expected():
    """What float_model computes, in numpy."""

    def compute(x: np.ndarray, factor: float = 1.0) -> np.ndarray:
        return np.maximum(x @ (factor * WEIGHTS).T + BIAS, 0)

    return compute


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent's folder of its own."""
    monkeypatch.setenv("ARMLET_HOME", str(tmp_path / "armlet"))
    return tmp_path / "armlet"
