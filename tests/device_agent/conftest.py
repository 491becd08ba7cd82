"""Models and folders that the agent's tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def _load(name: str) -> ModuleType:
    # tests/ holds no packages; a helper module is loaded from beside this file.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


tiny_models = _load("tiny_models")

WEIGHTS = np.array([[1, -2, 3], [0, 2, -1]], np.float32)  # (outputs, inputs)
BIAS = np.array([1, -1], np.float32)


@pytest.fixture(scope="session")
def float_model() -> bytes:
    """A .tflite: relu(x @ WEIGHTS.T + BIAS) on (1, 2, 2, 3) float32."""
    return tiny_models.tiny_convolution(WEIGHTS, BIAS)


@pytest.fixture(scope="session")
def other_model() -> bytes:
    """As float_model, with weights doubled."""
    return tiny_models.tiny_convolution(2 * WEIGHTS, BIAS)


@pytest.fixture(scope="session")
def int8_model() -> bytes:
    """A .tflite in int8: input scale 1, output scale 2."""
    return tiny_models.tiny_convolution(WEIGHTS, BIAS, quantized=True)


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
