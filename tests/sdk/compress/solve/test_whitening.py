"""The inputs of a layer, made uncorrelated and equally large."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.solve.whitening import whitenings
from sdk.graph.in_tensorflow.executor import Executor
from tests.sdk.compress.layered_graphs import small_mobilenet
from tests.sdk.compress.solve.whole_channels.test_narrowing import images

pytestmark = pytest.mark.tensorflow


def test_what_layers_read_becomes_uncorrelated_and_equally_large() -> None:
    graph = with_biases(small_mobilenet(16))
    executor, layers = Executor(graph), solved_layers(graph)
    found = whitenings(executor, layers, images, 64)
    assert set(found) == {layer.weight.operator_index for layer in layers}
    values = executor.run({graph.inputs[0]: images(range(64))}, wanted={layer.source for layer in layers})
    for layer in layers:
        white = found[layer.weight.operator_index]
        columns = np.swapaxes(layer.shape.patches(values[layer.source]), 0, 1)
        made = (columns - white.mean[:, None]) @ white.white
        covariance = np.swapaxes(made, 1, 2) @ made / made.shape[1]
        middle = columns - columns.mean(axis=1, keepdims=True)
        before = np.swapaxes(middle, 1, 2) @ middle / columns.shape[1]
        for one, raw in zip(covariance, before, strict=True):
            after, spread = np.linalg.eigvalsh(one), np.linalg.eigvalsh(raw)
            if spread[-1] > 1e-6:  # a channel that varies
                # Directions in which it varies much have variance 1 now; where it hardly does, none is blown up.
                much = int((spread > spread.mean()).sum())
                assert after[-much:] == pytest.approx(1.0, abs=0.02)
            assert after[-1] < 1.02
        assert np.allclose(white.white @ white.back, np.eye(layer.shape.columns), atol=2e-2)


def test_a_layer_that_reads_zeros_alone_is_left_as_it_is() -> None:
    graph = with_biases(small_mobilenet(16))
    found = whitenings(
        Executor(graph), solved_layers(graph)[:1], lambda s: np.zeros((len(s), 16, 16, 3), "f"), 8
    )
    (white,) = found.values()
    assert np.isfinite(white.white).all()
    assert np.allclose(white.white @ white.back, np.eye(white.mean.shape[1]), atol=1e-3)
