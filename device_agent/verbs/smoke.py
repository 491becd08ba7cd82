"""The smoke test of a board's environment: does the runtime load a model, run it, and get it right?

The model is one 1x1 convolution with RELU whose weights and inputs are small whole numbers, so that float32 must
give the expected outputs exactly, on any processor, in any order of summation.
``tests/device_agent/verbs/test_smoke.py`` builds the same bytes from the arrays below.
"""

from __future__ import annotations

import base64
import platform
import zlib
from typing import Any

import numpy as np

from device_agent.errors import RuntimeUnavailable
from device_agent.run.runtime import Model

WEIGHTS = np.array(
    [[1, -2, 3, 0], [0, 2, -1, 1], [-1, 0, 1, 2], [2, 1, 0, -3]], np.float32
)  # (outputs, inputs)
BIAS = np.array([1, -1, 0, 2], np.float32)  # (outputs,)
INPUT = np.arange(-8, 8, dtype=np.float32).reshape(1, 2, 2, 4)
EXPECTED = np.maximum(INPUT @ WEIGHTS.T + BIAS, 0)  # (1, 2, 2, outputs)

#: The .tflite bytes, deflated.
_MODEL = """
eNp1UDtuAjEQffsRrBQLrcQWKfYAKSgi5QC4SoEoc4FFoGSlkAKQQqQUFDlEyhS5RzgIFRfZPI/HeBssPXvGfu/NeAoAT4/zh1nXdRXjb+KH
qFMgg8eBmBA5cSbPnSXcOkyJP/hlgQEKsgbKtRcOjsws4rJe19cLz+rbVGnHHLl4Oc9ms35d7YCEcSXvI9wyKmGk7kjva+JT+/7SXtZN++YU
fW0l/zC4UW3tiyZ3+l9Dxli8h9z9W6IeIQ4zCt6pnlnkSf1fYknca77nHAup4Xkfeh88Us1P5BnNS71btM021MvFoxQfNwPT83T8IfG+ap9f
dlvhhhpR6/7nu/QeUb+/0lPwNjK7qNU5ZP/ASyzD
"""


def model_bytes() -> bytes:
    """The .tflite file of the smoke test."""
    return zlib.decompress(base64.b64decode(_MODEL))


def smoke_test() -> dict[str, Any]:
    """Runs the model; what ran it. Raises RuntimeUnavailable when that is not possible or the outputs are wrong."""
    model = Model(model_bytes())
    outputs = model.run(INPUT)
    if outputs.shape != EXPECTED.shape or not np.array_equal(outputs, EXPECTED):
        raise RuntimeUnavailable(
            f"{model.identity.name} {model.identity.version} computes wrong results on this machine",
            expected=str(EXPECTED.ravel().tolist()),
            found=str(outputs.ravel().tolist()),
        )
    return {
        "runtime": model.identity.name,
        "runtime_version": model.identity.version,
        "numpy_version": model.identity.numpy_version,
        "python_version": platform.python_version(),
        "delegate": model.delegate,
    }
