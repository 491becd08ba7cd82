"""The training script's parts: its twin network, its shrinking, its statistics, its arguments."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from sdk import models
from sdk.errors import ModelError
from sdk.models import keras_builder, train_digits


@pytest.fixture(scope="module")
def tensorflow() -> tuple[Any, Any]:
    keras = keras_builder.load_keras()
    import tensorflow as tf

    return keras, tf


@pytest.fixture(scope="module")
def shufflenet(tensorflow: tuple[Any, Any]) -> tuple[Any, Any]:
    """A small ShuffleNet as it is deployed, and its twin."""
    deployed = models.build("shufflenet_v1", input_size=32, classes=10, scale=0.25)
    return deployed, train_digits.trainable_twin(*tensorflow, deployed)


@pytest.mark.tensorflow
def test_the_twin_that_is_trained_computes_what_the_deployed_network_does(
    shufflenet: tuple[Any, Any],
) -> None:
    deployed, twin = shufflenet
    images = np.random.RandomState(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    assert np.allclose(deployed(images).numpy(), twin(images).numpy(), atol=1e-5)


@pytest.mark.tensorflow
def test_the_twin_can_be_trained_where_grouped_convolutions_cannot(
    tensorflow: tuple[Any, Any], shufflenet: tuple[Any, Any]
) -> None:
    _, tf = tensorflow
    deployed, twin = shufflenet
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(twin(np.zeros((2, 32, 32, 3), np.float32), training=True)[:, 0])
    assert all(gradient is not None for gradient in tape.gradient(loss, twin.trainable_variables))
    twin.set_weights(deployed.get_weights())  # the norms' means have moved


@pytest.mark.tensorflow
def test_shrinking_takes_the_smallest_folded_weights_of_pointwise_and_dense_layers(tensorflow: Any) -> None:
    model = models.build("mobilenet_v1", input_size=32, classes=10, width=0.25)
    layer, norm = model.get_layer("block5_pointwise"), model.get_layer("block5_pointwise_norm")
    gamma = np.linspace(0.1, 2, norm.gamma.shape[0]).astype(np.float32)
    norm.gamma.assign(gamma)
    before = {variable.path: variable.numpy() for variable in model.variables}
    train_digits.shrinker(*tensorflow, model)(0.7)
    after = {variable.path: variable.numpy() for variable in model.variables}
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {
        "classifier/kernel",
        *(f"block{number}_pointwise/kernel" for number in range(1, 14)),
    }
    old, new = before[layer.kernel.path], after[layer.kernel.path]
    shrunk = new != old
    assert shrunk.mean() == pytest.approx(0.7, abs=0.001)
    assert np.allclose(new[shrunk], old[shrunk] * train_digits.SHRINK)
    folded = np.abs(old) * gamma
    assert folded[shrunk].max() <= folded[~shrunk].min()


@pytest.mark.tensorflow
def test_retaken_statistics_are_plain_averages_over_the_batches(tensorflow: Any) -> None:
    keras, _ = tensorflow
    net = models.Network("norm", (4, 4, 1), activation=None)
    net.conv(net.input, 1, 1, name="conv")
    model = keras_builder.to_keras(net)
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1), np.float32)])
    batches = np.random.RandomState(0).normal(3, 2, (5, 8, 4, 4, 1)).astype(np.float32)
    train_digits.retake_statistics(keras, model, batches)
    norm = model.get_layer("conv_norm")
    assert norm.moving_mean.numpy() == pytest.approx(batches.mean(), abs=1e-4)
    assert norm.moving_variance.numpy() == pytest.approx(
        np.mean([batch.var() for batch in batches]), abs=1e-3
    )


def test_a_run_without_epochs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train_digits.main(["--epochs", "0"])
    assert caught.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_a_missing_keras_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModelError, match=r"Keras is needed.*pip install"):
        models.build("lenet_5")


def test_keras_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", fake)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="expected tensorflow; found jax"):
        models.build("lenet_5")
