"""Every kind of model file becomes the same graph, and what is not a model is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from sdk.errors import ModelError
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.own_usage import own_usage
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network


@pytest.fixture(scope="module")
def keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization(beta_initializer="ones", gamma_initializer="ones")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4)(x))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_each_file_kind_gives_a_graph_that_answers_like_the_model(
    keras_model: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "saved_model":
        keras_model.export(path, verbose=False)
    else:
        keras_model.save(path)
    graph = convert(path)
    assert [op.kind for op in graph.operators] == ["CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert graph.tensors[graph.inputs[0]].shape == (1, 8, 8, 3)
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(interpret(write_graph(graph), image), keras_model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.tensorflow
def test_an_open_input_size_must_be_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, x)
    with pytest.raises(ModelError, match=r"leaves its input shape open.*--input-shape"):
        from_keras(model)
    graph = read_graph(from_keras(model, input_shape=(16, 12, 3)))
    assert graph.tensors[graph.inputs[0]].shape == (1, 16, 12, 3)
    with pytest.raises(ModelError, match=r"expected \?x\?x3; found 16x12x1"):
        from_keras(model, input_shape=(16, 12, 1))


def test_a_tflite_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "any name at all"
    path.write_bytes(write_graph(small_network()))
    assert write_graph(convert(path)) == write_graph(small_network())


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello, world")
    for name, found in [
        ("missing", "no such file"),
        ("folder", "without saved_model.pb"),
        ("empty", "an empty file"),
        ("text.txt", "hello"),
    ]:
        with pytest.raises(ModelError, match=found) as caught:
            convert(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_a_broken_keras_file_is_refused_in_one_line(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "broken.keras"
    path.write_bytes(head + b"\0" * 100)
    with pytest.raises(ModelError, match="cut off") as caught:
        convert(path)
    assert "\n" not in str(caught.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["dict", "layers", "saved_model"])
def test_outputs_keep_their_names(tmp_path: Path, kind: str) -> None:
    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(image))
    scores = keras.layers.Dense(3, activation="softmax", name="scores")(x)
    embedding = keras.layers.Dense(5, name="embedding")(x)
    outputs = [scores, embedding] if kind == "layers" else {"scores": scores, "embedding": embedding}
    model = keras.Model(image, outputs)
    path = tmp_path / ("model" if kind == "saved_model" else "model.keras")
    if kind == "saved_model":
        model.export(path, verbose=False)
    else:
        model.save(path)
    graph = convert(path)
    shapes = {name: graph.tensors[number].shape for name, number in graph.signatures[0].outputs}
    assert shapes == {"scores": (1, 3), "embedding": (1, 5)}
    usage, _ = own_usage(graph)
    assert usage.task is not None
    assert graph.tensors[graph.outputs[usage.task.outputs[0]]].shape == (1, 3)
    array = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    answer = model(array)
    expected = answer["scores"] if isinstance(answer, dict) else answer[0]
    interpreter = Interpreter(model_content=write_graph(graph))
    np.testing.assert_allclose(
        interpreter.get_signature_runner()(**{graph.signatures[0].inputs[0][0]: array})["scores"],
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
