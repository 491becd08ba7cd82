"""The kernels on images against their references in numpy, over sizes, strides, groups and paddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from device_agent.run.kernels import images as reference
from sdk.graph.records import Tensor
from tests.device_agent.run.kernels.layers_with_zeros import Images
from tests.device_agent.run.kernels.test_images import KERNELS, Run, everything

pytestmark = pytest.mark.usefixtures("c_delegate")


def before(size: int, out: int, kernel: int, stride: int, dilation: int, same: bool) -> int:
    """Zeros before the first pixel of a dimension, as a graph says it."""
    return max(0, ((out - 1) * stride + (kernel - 1) * dilation + 1 - size) // 2) if same else 0


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def constant(tensor: Tensor) -> np.ndarray:
    assert tensor.data is not None
    return np.asarray(tensor.data, np.float32)


@pytest.mark.parametrize("size", [(6, 7), (13, 12)])
@pytest.mark.parametrize("options", KERNELS, ids=lambda o: ", ".join(f"{k} {v}" for k, v in o.items()))
def test_convolutions(options: dict[str, Any], size: tuple[int, int]) -> None:
    images = Images(*size, 8)
    out = images.convolve(0, 8, block=2, activation=3, **options)
    kernel, stride, dilation = (options.get(name, 1) for name in ("kernel", "stride", "dilation"))
    shape, same = images.shape(out)[1:3], options.get("same", True)
    weights = constant(images.tensors[images.operators[0].inputs[1]])
    if options.get("depthwise"):
        weights = weights[0].transpose(2, 0, 1)[..., None]
    expected = reference.convolve(
        noise((*size, 8)), weights, constant(images.tensors[images.operators[0].inputs[2]]), shape,
        stride=(stride, stride), dilation=(dilation, dilation), limits=(0.0, 6.0),
        before=[before(n, o, kernel, stride, dilation, same) for n, o in zip(size, shape, strict=True)],
    )  # fmt: skip
    delegate = everything()
    run = Run(images.model(out), delegate)
    assert len(delegate.operators()) == 1
    np.testing.assert_allclose(answer(run, noise((1, *size, 8))), expected[None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_pools(kernel: int, stride: int, same: bool, largest: bool) -> None:
    images = Images(9, 8, 8)
    made = images.convolve(0, 8, 1, activation=1)
    out = images.pool(made, kernel, stride, largest=largest, same=same)
    run = Run(images.model(made, out), everything())
    answer(run, noise((1, 9, 8, 8)))
    seen, found = (run.interpreter.get_tensor(o["index"]) for o in run.interpreter.get_output_details())
    shape = found.shape[1:3]
    pads = [before(n, o, kernel, stride, 1, same) for n, o in zip((9, 8), shape, strict=True)]
    expected = reference.pool(
        seen[0], (kernel, kernel), shape, stride=(stride, stride), before=pads, largest=largest
    )
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def answer(run: Run, values: np.ndarray) -> np.ndarray:
    """The first output for an input."""
    run.interpreter.set_tensor(run.interpreter.get_input_details()[0]["index"], values)
    run.interpreter.invoke()
    return run.interpreter.get_tensor(run.interpreter.get_output_details()[0]["index"])
