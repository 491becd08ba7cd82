"""Chains of operators on images: the runtime's outputs for all kinds, strides, paddings, groups and sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device_agent.run.kernels.delegate import Delegate
from device_agent.run.runtime import Model, find_runtime
from tests.device_agent.run.kernels.layers_with_zeros import Images

pytestmark = pytest.mark.usefixtures("c_delegate")


class Run:
    """A model in the runtime, with the delegate where it is given."""

    def __init__(self, data: bytes, delegate: Delegate | None = None, threads: int = 1) -> None:
        _, interpreter = find_runtime()
        handles = [delegate.handle] if delegate else []
        self.interpreter = interpreter(
            model_content=data, num_threads=threads, experimental_delegates=handles
        )
        if delegate:
            delegate.outlive(self.interpreter)
        self.interpreter.allocate_tensors()

    def __call__(self, seed: int) -> list[np.ndarray]:
        entry = self.interpreter.get_input_details()[0]
        values = np.random.default_rng(seed).standard_normal(entry["shape"]).astype(np.float32)
        self.interpreter.set_tensor(entry["index"], values)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(o["index"]) for o in self.interpreter.get_output_details()]


def everything() -> Delegate:
    identity, interpreter = find_runtime()
    return Delegate(identity.name, identity.version, interpreter.__module__, everything=True)


def agrees(images: Images, *outputs: int, operators: int) -> None:
    """All operators run in the delegate, on one thread and on three, and give what the runtime gives."""
    data = images.model(*outputs)
    plain = Run(data)
    expected = [plain(seed) for seed in (0, 1)]
    for threads in (1, 3):
        delegate = everything()
        ours = Run(data, delegate, threads)
        assert len(delegate.operators()) == operators
        for seed, wanted in enumerate(expected):
            for found, right in zip(ours(seed), wanted, strict=True):
                scale = max(1.0, float(np.abs(right).max()))
                np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5 * scale)


KERNELS = [
    {"kernel": 1},
    {"kernel": 3},
    {"kernel": 3, "stride": 2},
    {"kernel": 3, "same": False},
    {"kernel": 3, "stride": 2, "same": False},
    {"kernel": 5, "dilation": 2},
    {"kernel": 1, "stride": 2},
    {"kernel": 5, "stride": 3},
    {"kernel": 3, "groups": 2},
    {"kernel": 3, "depthwise": True},
    {"kernel": 3, "depthwise": True, "stride": 2},
]


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("options", KERNELS, ids=lambda o: ", ".join(f"{k} {v}" for k, v in o.items()))
def test_convolutions(options: dict, block: int) -> None:
    for height, width in ((8, 8), (7, 9), (14, 13)):
        images = Images(height, width, 8)
        x = images.convolve(0, 16, block=block, **options)
        agrees(images, x, images.convolve(x, 12, activation=0), operators=2)


@pytest.mark.parametrize("activation", [0, 1, 2, 3])
def test_activations(activation: int) -> None:
    images = Images(6, 6, 4)
    x = images.convolve(0, 8, 3, activation=activation)
    agrees(images, images.sum(x, images.convolve(x, 8, 1), activation), operators=3)


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 6)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (3, 1), (2, 2)])
def test_pools_count_only_what_is_inside_of_the_image(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    for largest in (True, False):
        for same in (True, False):
            images = Images(*size, 6)
            x = images.convolve(0, 12, 1, activation=0)
            y = images.pool(x, kernel, stride, largest=largest, same=same)
            agrees(images, images.convolve(y, 12, 3), y, operators=3)


@pytest.mark.parametrize("five", [False, True])
def test_shuffles_are_planes_in_another_order(five: bool) -> None:
    images = Images(9, 7, 6)
    x = images.shuffle(images.convolve(0, 12, 3, groups=3), 3, five=five)
    y = images.shuffle(images.convolve(x, 12, 1, groups=3, block=2), 4, five=five)
    agrees(images, images.convolve(y, 12, 3, depthwise=True, stride=2), y, operators=9)


def network(keep: float = 0.2) -> tuple[Images, tuple[int, ...]]:
    """Convolutions that meet in a concatenation, pools, a split, a sum; three outputs."""
    images = Images(15, 15, 8)
    x = images.pool(images.convolve(0, 16, 3, keep=keep), 3, 2)
    joined = images.join(images.convolve(x, 16, 1, keep=keep), images.convolve(x, 16, 3, keep=keep))
    padded = images.relu(images.pad(images.pool(joined, 2, 2, largest=False), 1, 0, 2, 1))
    both = images.sum(*images.split(padded, 2))
    image = images.convolve(both, 20, 3, same=False, keep=keep)
    classes = images.classify(images.mean(image), 10)
    return images, (classes, images.classify(images.flatten(both), 7), image)


def test_a_network_with_several_outputs() -> None:
    images, outputs = network()
    agrees(images, *outputs, operators=15)


def test_a_mean_that_keeps_its_dimensions() -> None:
    images = Images(9, 9, 8)
    x = images.pool(images.convolve(0, 8, 3, activation=0), 3, 2, same=True)
    agrees(images, images.convolve(images.mean(x, keep=True), 6, 1), x, operators=4)


def detector(keep: float, block: int) -> bytes:
    images = Images(20, 20, 16)
    x = images.convolve(0, 64, keep=1.0)
    for _ in range(3):
        x = images.convolve(images.convolve(x, 64, 3, depthwise=True, keep=1.0), 64, keep=keep, block=block)
    return images.model(images.convolve(x, 24, keep=keep), images.convolve(x, 12, keep=keep))


def test_a_chain_with_zeros_is_claimed_as_a_whole_and_one_without_is_not() -> None:
    sparse, dense = (Model(detector(keep, 4), kernels="armlet") for keep in (0.2, 1.0))
    operators = sparse.armlet_operators()
    assert len(operators) == 9
    assert {op.block for op in operators if op.kept < op.weights} >= {4}
    assert dense.armlet_operators() == ()
    sparse.time_armlet_operators()
    sparse.invoke()
    assert all(op.seconds is not None for op in sparse.armlet_operators())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda images: images.sum(0, images.constant(np.ones((1, 1, 1, 8)))),
        lambda images: images.add(
            "CONCATENATION", (0, 0), (images.value(1, 10, 5, 8),), "ConcatenationOptions", axis=1
        ),
    ],
)
def test_what_a_chain_cannot_hold_is_left_to_the_runtime(spoil: Callable[[Images], int]) -> None:
    images = Images(5, 5, 8)
    agrees(images, images.convolve(spoil(images), 16, 3), operators=1)


def test_an_image_of_another_size_is_an_error_and_not_a_crash(c_delegate: Path) -> None:
    images, outputs = network()
    run = Run(images.model(*outputs), everything())
    run.interpreter.resize_tensor_input(run.interpreter.get_input_details()[0]["index"], (1, 17, 15, 8))
    with pytest.raises((RuntimeError, ValueError)):
        run.interpreter.allocate_tensors()
