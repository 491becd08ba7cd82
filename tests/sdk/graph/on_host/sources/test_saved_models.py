"""SavedModels: which signature, which shape, one image at a time, trained for int8, with a state, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from sdk.errors import ModelError
from sdk.graph.on_host.sources.convert import tflite_bytes

pytestmark = pytest.mark.tensorflow


def saved(folder: Path, signatures: Any, **held: Any) -> Path:
    """A SavedModel of functions, each (function, its input specs); held: variables of theirs."""
    import tensorflow as tf

    module = tf.Module()
    for name, value in held.items():
        setattr(module, name, value)
    functions = {
        name: tf.function(function, input_signature=specs).get_concrete_function()
        for name, (function, specs) in signatures.items()
    }
    tf.saved_model.save(module, str(folder), signatures=functions)
    return folder


def spec(*shape: int | None, dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name=name)


def answer(tflite: bytes, x: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = Interpreter(model_content=tflite).get_signature_runner()(x=x)
    return found


def test_one_of_several_signatures_is_asked_for_and_named(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m",
        {
            "twice": (lambda x: {"y": x * 2}, [spec(None, 2)]),
            "thrice": (lambda x: {"y": x * 3}, [spec(None, 2)]),
        },
    )
    with pytest.raises(ModelError, match=r"several signatures.*--signature"):
        tflite_bytes(path)
    with pytest.raises(ModelError, match=r"no signature other; expected one of: .*twice"):
        tflite_bytes(path, signature="other")
    assert answer(tflite_bytes(path, signature="thrice"), np.ones((1, 2), np.float32))["y"].tolist() == [
        [3, 3]
    ]


def test_a_fixed_batch_becomes_one_where_the_answer_stays(tmp_path: Path) -> None:
    import tensorflow as tf

    path = saved(
        tmp_path / "m", {"serving_default": (lambda x: {"y": tf.reshape(x, (8, 2, 2)) * 2}, [spec(8, 4)])}
    )
    x = np.arange(4, dtype=np.float32)[None]
    assert answer(tflite_bytes(path), x)["y"].tolist() == [[[0, 2], [4, 6]]]
    kept = tflite_bytes(path, input_shape=(8, 4))
    assert answer(kept, np.ones((8, 4), np.float32))["y"].shape == (8, 2, 2)
    mixed = saved(
        tmp_path / "mixed", {"serving_default": (lambda x: {"y": x - tf.reduce_mean(x, 0)}, [spec(8, 4)])}
    )
    with pytest.raises(ModelError, match=r"takes 8 images at a time.*--input-shape 8x4"):
        tflite_bytes(mixed)


def test_an_unknown_rank_takes_a_shape_and_text_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    anything = [tf.TensorSpec(None, tf.float32, name="x")]
    path = saved(tmp_path / "m", {"serving_default": (lambda x: {"y": tf.nn.relu(x)}, anything)})
    with pytest.raises(ModelError, match=r"leaves its input shape open.*--input-shape"):
        tflite_bytes(path)
    x = np.full((1, 4, 4, 3), -1, np.float32)
    assert not answer(tflite_bytes(path, input_shape=(4, 4, 3)), x)["y"].any()
    text = saved(
        tmp_path / "text",
        {"serving_default": (lambda x: {"y": tf.strings.length(x)}, [spec(None, dtype="string")])},
    )
    with pytest.raises(ModelError, match=r"takes text: x.*--signature"):
        tflite_bytes(text)


def test_a_model_trained_for_int8_becomes_int8(tmp_path: Path) -> None:
    import tensorflow as tf

    weight = tf.Variable(np.random.default_rng(0).uniform(-1, 1, (3, 3, 3, 8)).astype(np.float32))

    def call(x: Any) -> Any:
        x = tf.quantization.fake_quant_with_min_max_args(x, 0, 1)
        kernel = tf.quantization.fake_quant_with_min_max_args(weight, -1, 1, narrow_range=True)
        return {
            "y": tf.quantization.fake_quant_with_min_max_args(
                tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), 0, 8
            )
        }

    tflite = tflite_bytes(
        saved(tmp_path / "m", {"serving_default": (call, [spec(None, 8, 8, 3)])}, weight=weight)
    )
    kinds = {one["dtype"] for one in Interpreter(model_content=tflite).get_tensor_details()}
    assert np.int8 in kinds
    x = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(answer(tflite, x)["y"], call(x)["y"], atol=0.1)


def test_a_state_is_carried_where_it_answers_the_same(tmp_path: Path) -> None:
    import tensorflow as tf

    total = tf.Variable(np.zeros((1, 2), np.float32))

    def call(x: Any) -> Any:
        total.assign_add(x)
        return {"y": total.read_value()}

    tflite = tflite_bytes(saved(tmp_path / "m", {"serving_default": (call, [spec(1, 2)])}, total=total))
    run = Interpreter(model_content=tflite).get_signature_runner()
    found = [run(x=np.ones((1, 2), np.float32))["y"].tolist() for _ in range(3)]
    assert found == [[[1, 1]], [[2, 2]], [[3, 3]]]


def test_an_operator_that_tflite_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = saved(tmp_path / "m", {"serving_default": (lambda x: {"y": tf.linalg.inv(x)}, [spec(None, 2, 2)])})
    with pytest.raises(ModelError, match=r"operator MatrixInverse.*The whole text is in"):
        tflite_bytes(path)


def test_the_example_of_jax(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax")
    import tensorflow as tf
    from jax.experimental import jax2tf

    rng = np.random.default_rng(0)
    kernel, weight = (
        rng.normal(size=(3, 3, 3, 8)).astype(np.float32),
        rng.normal(size=(8, 5)).astype(np.float32),
    )

    def apply(image: Any) -> Any:
        x = jax.lax.conv_general_dilated(
            image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(x).mean((1, 2)) @ weight

    function = tf.function(jax2tf.convert(apply), autograph=False)
    path, image = str(tmp_path / "from_jax"), rng.random((1, 8, 8, 3), np.float32)
    tf.saved_model.save(
        tf.Module(), path, signatures=function.get_concrete_function(spec(1, 8, 8, 3, name="image"))
    )
    runner = Interpreter(model_content=tflite_bytes(Path(path))).get_signature_runner()
    (found,) = runner(image=image).values()
    np.testing.assert_allclose(found, np.asarray(apply(image)), rtol=1e-4, atol=1e-4)
