"""Fully connected layers beside images: straight behind one, at every pixel, and with rows of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_agent.run.runtime import Model
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.device_agent.run.kernels.layers_with_zeros import Images, sparse_matrix
from tests.device_agent.run.kernels.test_images import agrees

pytestmark = pytest.mark.usefixtures("c_delegate")


def connect(images: Images, x: int, outputs: int, *shape: int, keeps: bool = False) -> int:
    """A fully connected layer with zeros over the last dimension of a tensor; ``shape``: of what it gives."""
    weights = sparse_matrix(outputs, images.shape(x)[-1], 0.2, block=4, seed=x)
    inputs = (x, images.constant(weights), images.constant(images.rng.standard_normal(outputs)))
    said = {"fusedActivationFunction": 1, "keepNumDims": keeps}
    return images.add("FULLY_CONNECTED", inputs, (images.value(*shape),), "FullyConnectedOptions", **said)


def rows(images: Images, x: int, *shape: int) -> int:
    order = images.constant(np.array(shape, np.int32))
    return images.add("RESHAPE", (x, order), (images.value(*shape),), "ReshapeOptions")


def test_a_layer_straight_behind_the_means_of_an_image() -> None:
    images = Images(9, 7, 8)
    mean = images.mean(images.convolve(0, 32, 3), keep=True)
    kept = connect(images, mean, 24, 1, 1, 1, 24, keeps=True)
    agrees(images, connect(images, mean, 10, 1, 10), kept, operators=4)


@pytest.mark.parametrize("channels", [3, 20])
def test_a_layer_at_every_pixel_between_convolutions(channels: int) -> None:
    images = Images(6, 5, 8)
    x = images.convolve(0, 16, 3)
    at_pixels = connect(images, x, channels, 1, 6, 5, channels, keeps=True)
    agrees(images, images.convolve(at_pixels, 8, 3), images.sum(at_pixels, at_pixels), operators=4)


def test_pixels_as_rows_of_a_layer() -> None:
    images = Images(4, 5, 8)
    x = images.convolve(0, 16, 3)
    mixed = connect(images, rows(images, x, 20, 16), 12, 20, 12)
    agrees(images, connect(images, mixed, 8, 20, 8), x, operators=3)


def test_a_layer_whose_shape_is_not_what_it_makes_is_left_to_the_runtime() -> None:
    images = Images(24, 24, 32)
    x = images.convolve(images.convolve(0, 64, 3, keep=0.05, block=4), 64, 3, keep=0.05, block=4)
    y = connect(images, images.mean(x, keep=True), 64, 1, 64)
    graph = read_graph(images.model(y))
    assert len(Model(write_graph(graph), kernels="armlet").armlet_operators()) == 4
    tensors = list(graph.tensors)
    for shape in ((1, 1, 1, 64), (2, 32)):
        tensors[y] = replace(tensors[y], shape=shape)
        data = write_graph(replace(graph, tensors=tuple(tensors)))
        ours, plain = Model(data, kernels="armlet"), Model(data)
        image = np.random.default_rng(0).standard_normal((1, 24, 24, 32)).astype(np.float32)
        assert len(ours.armlet_operators()) == 3
        np.testing.assert_allclose(ours.run(image), plain.run(image), rtol=1e-4, atol=1e-4)
