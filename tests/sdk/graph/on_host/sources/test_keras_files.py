"""Keras models of every kind become a ``.tflite`` that answers as they do, under the names that they have."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from sdk.errors import ModelError
from sdk.graph.on_host.sources.convert import tflite_bytes
from sdk.graph.on_host.sources.keras_files import from_keras

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(find_spec("tf_keras") is None, reason="there is no tf_keras"),
]


def answer(tflite: bytes, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """What its signature answers, by name."""
    found: dict[str, np.ndarray] = Interpreter(model_content=tflite).get_signature_runner()(**arrays)
    return found


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def keras_2_network() -> Any:
    """Layers whose files Keras 3 refuses: TFOpLambda, SeparableConv2D, Conv2DTranspose, augmentation, depthwise."""
    import tf_keras

    layers = tf_keras.layers
    image = layers.Input((8, 8, 3), name="image")
    x = layers.RandomFlip()(image) * 2.0 - 1.0
    x = layers.SeparableConv2D(4, 3, name="separable")(x)
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2DTranspose(4, 2)(x))
    return tf_keras.Model(image, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_files_of_keras_2_are_read(tmp_path: Path, ending: str) -> None:
    model = keras_2_network()
    path = tmp_path / f"model{ending}"
    model.save(path)
    array = random(1, 8, 8, 3)
    found = answer(tflite_bytes(path), image=array)
    np.testing.assert_allclose(found["scores"], model(array, training=False), rtol=1e-4, atol=1e-5)


def test_half_floats_of_a_mixed_precision_training_become_float32() -> None:
    import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    policy = "mixed_float16"
    x = layers.BatchNormalization(dtype=policy)(layers.Conv2D(4, 3, dtype=policy)(image))
    model = keras.Model(
        image, layers.Dense(3, dtype="float32", name="scores")(layers.Flatten(dtype=policy)(x))
    )
    array = random(1, 8, 8, 3)
    found = answer(from_keras(model), image=array)
    np.testing.assert_allclose(found["scores"], model(array), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("form", ["list", "dict"])
def test_several_inputs_and_outputs_keep_their_names(form: str) -> None:
    import keras

    layers = keras.layers
    picture, extra = keras.Input((4, 4, 1), name="picture"), keras.Input((None,), name="extra")
    x = layers.Concatenate()(
        [layers.Flatten()(picture), layers.Lambda(lambda t: t * 2, output_shape=(3,))(extra)]
    )
    first, second = layers.Dense(2, name="first", use_bias=True)(layers.Reshape((19,))(x)), x
    inputs: Any = [picture, extra] if form == "list" else {"picture": picture, "extra": extra}
    outputs: Any = [first, second] if form == "list" else {"first": first, "second": second}
    model = keras.Model(inputs, outputs)
    with pytest.raises(ModelError, match="leaves the shape of extra open"):
        from_keras(model)
    arrays = {"picture": random(1, 4, 4, 1), "extra": random(1, 3)}
    found = answer(from_keras(model, input_shape={"extra": (3,)}), **arrays)
    said = model([arrays["picture"], arrays["extra"]] if form == "list" else arrays)
    expected = said["first"] if form == "dict" else said[0]
    np.testing.assert_allclose(found["first"], expected, rtol=1e-4, atol=1e-5)
    assert len(found) == 2


def test_a_model_that_was_never_built_is_built_for_a_shape(tmp_path: Path) -> None:
    import keras

    path = tmp_path / "unbuilt.keras"
    keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]).save(path)
    with pytest.raises(ModelError, match=r"never built.*--input-shape"):
        tflite_bytes(path)
    told: list[str] = []
    tflite = tflite_bytes(path, input_shape=(8, 8, 3), note=told.append)
    assert Interpreter(model_content=tflite).get_input_details()[0]["shape"].tolist() == [1, 8, 8, 3]
    assert "fresh" in told[0]


CUSTOM = """
import keras
class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2
"""


def test_a_custom_layer_is_named_and_its_file_can_be(tmp_path: Path) -> None:
    import keras

    (tmp_path / "layers_of_mine.py").write_text(CUSTOM)
    space: dict[str, Any] = {}
    exec(CUSTOM, space)
    image = keras.Input((4,), name="image")
    path = tmp_path / "custom.keras"
    keras.Model(image, space["Twice"](name="twice")(image)).save(path)
    with pytest.raises(ModelError, match=r"custom layer Twice.*--custom-objects FILE.py:Twice.*model.export"):
        tflite_bytes(path)
    named = f"{tmp_path / 'layers_of_mine.py'}:Twice"
    found = answer(tflite_bytes(path, custom_objects=[named]), image=np.ones((1, 4), np.float32))
    assert next(iter(found.values())).tolist() == [[2, 2, 2, 2]]
    with pytest.raises(ModelError, match="has no Thrice"):
        tflite_bytes(path, custom_objects=[named.replace("Twice", "Thrice")])


@pytest.mark.parametrize("save", [lambda model, path: model.save_weights(path)])
def test_weights_without_a_network_say_so(tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
    import keras

    for name, model in [
        ("three.weights.h5", keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])),
        ("two.h5", keras_2_network()),
    ]:
        save(model, tmp_path / name)
        with pytest.raises(ModelError, match=r"weights, without the network.*load_weights"):
            tflite_bytes(tmp_path / name)
