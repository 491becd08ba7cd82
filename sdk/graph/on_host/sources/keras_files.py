"""Keras files and Keras models, of Keras 3 and of Keras 2 -> ``.tflite`` bytes."""

from __future__ import annotations

import gc
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.input_shapes import Shapes
from sdk.graph.on_host.sources.running import run_converter
from sdk.graph.on_host.sources.shapes import filled
from sdk.graph.on_host.sources.telling import conversion_failed
from sdk.tools.system.quiet import quiet_tensorflow

#: Says something about a conversion to a person.
Note = Callable[[str], None]
_HALVES = ("float16", "bfloat16")
#: How Keras names a class of somebody's own that it does not find.
_UNKNOWN_CLASS = (
    re.compile(r"Could not locate class '([^']+)'"),
    re.compile(r"Unknown (?:layer|object|\w+ function|initializer|regularizer)s?: '?\"?([\w>.$]+)"),
    re.compile(r"Could not (?:locate|interpret) \w+ '([^']+)'"),
    re.compile(r"cannot be deserialized.*?class `?'?([\w>.$]+)"),
)
EXPORT = "model.export(FOLDER) where the model is made, and convert that folder"


def keras_file_bytes(
    path: Path,
    *,
    keras_2: bool,
    input_shape: Shapes | None = None,
    custom_objects: Sequence[str] = (),
    note: Note,
) -> bytes:
    """The Keras file as ``.tflite`` bytes. Raises ModelError.

    ``custom_objects``: each "FILE.py:Class", which is imported. ``note`` is called with remarks for the user.
    """
    with quiet_tensorflow():
        own = own_objects(custom_objects)
        model = _with_tf_keras(path, own) if keras_2 else _with_keras(path, own)
        if not getattr(model, "inputs", None) and input_shape is not None:
            model = _built(model, path, input_shape, note)
    return from_keras(model, input_shape=input_shape, name=str(path))


def from_keras(model: Any, *, input_shape: Shapes | None = None, name: str | None = None) -> bytes:
    """A Keras model -> float32 ``.tflite`` bytes with batch 1, batch norm folded, and a signature of its names.

    Raises ModelError. ``name``: what errors call it; None: as the model calls itself.
    """
    name = name or repr(model.name)
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        raise ModelError(
            f"{name} was never built, so that it has no input shape",
            expected="fixed height, width and channels",
            found="none",
            hint="Name it: --input-shape 224x224x3.",
        )
    with quiet_tensorflow():
        import tensorflow as tf

        model = _in_float32(model)
        inputs = list(model.inputs)
        names = _input_names(model)
        shapes = filled(
            name,
            {each: [1, *_dimensions(tensor)[1:]] for each, tensor in zip(names, inputs, strict=True)},
            input_shape,
        )
        structure = getattr(model, "input", inputs)

        def call(*arrays: Any) -> Any:
            try:
                given = tf.nest.pack_sequence_as(structure, arrays)
            except (ValueError, TypeError):
                given = list(arrays)
            return model(given, training=False)

        specs = [
            tf.TensorSpec(shape, tf.as_dtype(tensor.dtype), name=_plain(each))
            for shape, tensor, each in zip(shapes, inputs, names, strict=True)
        ]
        try:
            function = tf.function(call).get_concrete_function(*specs)
        except Exception as error:  # whatever a layer raises while it is traced
            raise conversion_failed(name, f"{name} cannot be called", error, hint=f"Try {EXPORT}.") from error
        outputs = _names_of(function.structured_outputs, getattr(model, "output_names", None))
        return run_converter(function, name, names, outputs)


def forget_keras_models() -> None:
    """Lets go of what Keras keeps of models that nobody uses any more: of several large ones, gigabytes."""
    with quiet_tensorflow():
        import keras

        keras.utils.clear_session()
    gc.collect()


def own_objects(said: Sequence[str]) -> dict[str, Any]:
    """The classes and functions that "FILE.py:Class" names, by name; the file is imported. Raises ModelError."""
    found = {}
    for each in said:
        file, _, name = each.rpartition(":")
        path = Path(file)
        if not file or not path.is_file():
            raise ModelError("there is no such file of custom objects", expected="FILE.py:Class", found=each)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)  # some decorators look their module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the user's own file raises
            raise conversion_failed(
                each, f"{file} cannot be imported", error, hint="Mend it first."
            ) from error
        if not hasattr(module, name):
            raise ModelError(
                f"{file} has no {name}", expected="a class or function of that name", found="none"
            )
        found[name] = getattr(module, name)
    return found


# -- loading ----------------------------------------------------------------------------------------------------


def _with_keras(path: Path, own: dict[str, Any]) -> Any:
    import keras

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
        """Files of Keras 2 store ``groups`` for depthwise layers, which Keras 3 refuses; it is always 1."""

        def __init__(self, *args: Any, groups: int = 1, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    try:
        return keras.models.load_model(
            path, compile=False, custom_objects={"DepthwiseConv2D": DepthwiseConv2D, **own}
        )
    except Exception as error:  # Keras raises whatever its layers raise
        raise _refused(path, f"Keras {keras.__version__}", error) from error


def _with_tf_keras(path: Path, own: dict[str, Any]) -> Any:
    try:
        import tf_keras
    except ImportError:
        return _with_keras(path, own)
    try:
        return tf_keras.models.load_model(path, compile=False, custom_objects=own)
    except Exception as error:  # Keras raises whatever its layers raise
        raise _refused(path, f"Keras {tf_keras.__version__}", error) from error


def _refused(path: Path, program: str, error: BaseException) -> ModelError:
    said = str(error)
    unknown = next((found.group(1) for pattern in _UNKNOWN_CLASS if (found := pattern.search(said))), None)
    if unknown is not None:
        name = unknown.rpartition(">")[2]
        return ModelError(
            f"{path} has a custom layer {visible(name, most=60)}",
            expected=f"layers that {program} has, or the code of this one",
            found=f"the name {visible(unknown, most=60)} only",
            hint=f"--custom-objects FILE.py:{visible(name, most=60)} names its code; or {EXPORT}.",
        )
    if "Lambda" in said and "safe_mode" in said:
        return ModelError(
            f"{path} has a Lambda layer, whose code is in the file",
            expected="layers without code in the file",
            found="a Lambda layer",
            hint=f"If you trust it: {EXPORT}.",
        )
    return conversion_failed(
        str(path),
        f"{path} cannot be loaded as a Keras model by {program}",
        error,
        hint=f"If it is whole and has layers of your own: {EXPORT}.",
    )


def _built(model: Any, path: Path, input_shape: Shapes, note: Note) -> Any:
    """A model that was saved before it had an input shape, built for this one; its weights are read again."""
    (shape,) = filled(str(path), {"input": None}, input_shape)
    try:
        model.build(tuple(shape))
    except Exception as error:
        raise conversion_failed(
            str(path),
            f"{path} cannot be built for this input shape",
            error,
            hint="Name another --input-shape.",
        ) from error
    try:
        model.load_weights(path)
    except Exception:  # a file that was saved before there were weights
        note(
            "The model was saved before it was built: the file holds no weights, and those written are fresh."
        )
    return model


def _in_float32(model: Any) -> Any:
    """The model in float32 where it computes in half floats, as a mixed precision training leaves it."""
    layers = getattr(model, "_flatten_layers", None)
    every = list(layers()) if callable(layers) else list(getattr(model, "layers", ()))
    if not any(str(getattr(layer, "compute_dtype", "")) in _HALVES for layer in every):
        return model
    weights = model.get_weights()
    rebuilt = type(model).from_config(_without_halves(model.get_config()))
    if not getattr(rebuilt, "built", True) or not rebuilt.inputs:
        rebuilt.build(model.input_shape)
    rebuilt.set_weights([weight.astype("float32") for weight in weights])
    return rebuilt


def _without_halves(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_halves(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_without_halves(value) for value in config)
    if isinstance(config, str) and config in (*_HALVES, *(f"mixed_{half}" for half in _HALVES)):
        return "float32"
    return config


# -- names ------------------------------------------------------------------------------------------------------


def _input_names(model: Any) -> list[str]:
    """What the model calls its inputs: the keys of a dict, or the names of its input layers."""
    inputs = list(model.inputs)
    structure = getattr(model, "input", None)
    if isinstance(structure, dict) and len(structure) == len(inputs):
        return sorted(str(key) for key in structure)
    names = [str(tensor.name).partition(":")[0] for tensor in inputs]
    return names if len(set(names)) == len(names) else [f"input_{number}" for number in range(len(names))]


def _names_of(structured: Any, given: Sequence[str] | None) -> list[str]:
    """What a Keras model calls its outputs, in TensorFlow's order: the keys of a dict, or the names of its layers."""
    if isinstance(structured, dict):
        return [str(key) for key in sorted(structured)]
    several = structured if isinstance(structured, list | tuple) else [structured]
    return [str(name) for name in given] if given is not None and len(given) == len(several) else []


def _dimensions(tensor: Any) -> list[int | None]:
    return [None if n is None else int(n) for n in tensor.shape]


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name) or "input"
