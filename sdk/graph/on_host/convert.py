"""Model files -> :class:`~sdk.graph.records.Graph`: Keras ``.keras`` / ``.h5``, a SavedModel folder, or a ``.tflite``.

The only module that knows a converter.  The input gets a static batch of one (an edge device answers one image at
a time; a dynamic batch makes the converter compute shapes at run time, which keeps operators from being fused),
batch norm is folded by the converter, and nothing is quantised: later passes start from float32.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdk.errors import ModelError
from sdk.graph.on_host.input_shapes import Shapes, with_input_shapes
from sdk.graph.on_host.input_size import closed
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Signature
from sdk.graph.schema import FILE_IDENTIFIER
from sdk.graph.writer import write_graph
from sdk.tools.system.quiet import quiet_tensorflow

BATCH = 1
#: What TensorFlow says where a variable that a model writes to would become a constant.
_WRITTEN_VARIABLE = re.compile(
    r"Input 0 of node (\S+)/Assign\w*VariableOp\S* was passed .* incompatible with expected resource"
)
_READABLE = "a .keras or .h5 file, a SavedModel folder or a .tflite file"


def convert(path: str | os.PathLike[str], *, input_shape: Shapes | None = None) -> Graph:
    """Reads the model at ``path`` and returns its graph.

    ``input_shape`` is (height, width, channels), with or without a batch of 1 in front, and is needed only where the
    model leaves them open; of several inputs, shapes by name.
    Raises :class:`ModelError` when there is no such file, when it is of another kind, or when it is broken.
    """
    path = Path(path)
    graph = read_graph(tflite_bytes(path, input_shape=input_shape))
    if input_shape is not None and is_tflite(path):
        return closed(graph)  # the shapes inside are still those of the file
    return graph


def tflite_bytes(path: Path, *, input_shape: Shapes | None = None) -> bytes:
    """The model at ``path`` as ``.tflite`` bytes; a ``.tflite`` is given back as it is, but for ``input_shape``."""
    if not path.exists():
        raise ModelError(f"there is no model at {path}", expected=_READABLE, found="no such file")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ModelError(
                f"{path} is not a model", expected=_READABLE, found="a folder without saved_model.pb"
            )
        return _from_saved_model(path, _only(input_shape))
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head[4:8] == FILE_IDENTIFIER:
                return with_input_shapes(head + file.read(), input_shape)
    except OSError as error:
        raise ModelError(f"{path} cannot be read", expected="a readable file", found=str(error)) from error
    if head.startswith(b"PK\x03\x04") or head == b"\x89HDF\r\n\x1a\n":
        return from_keras(_load_keras(path), input_shape=_only(input_shape))
    raise ModelError(
        f"{path} is not a model that is read",
        expected=_READABLE,
        found=f"a file that starts with {head[:8]!r}" if head else "an empty file",
        hint="For PyTorch, convert first with ai-edge-torch, which writes a .tflite.",
    )


def is_tflite(path: Path) -> bool:
    """Whether there is a file at ``path`` that begins as a ``.tflite`` does."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:8] == FILE_IDENTIFIER
    except OSError:
        return False


def from_keras(model: Any, *, input_shape: Sequence[int] | None = None) -> bytes:
    """A Keras model with one input -> float32 ``.tflite`` bytes with batch 1 and batch norm folded."""
    if len(model.inputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(model.inputs)} inputs",
            expected="1 input",
            found=str(len(model.inputs)),
        )
    with quiet_tensorflow():
        import tensorflow as tf

        shape = _static_shape(model.inputs[0].shape[1:], input_shape, model.name)

        def call(image: Any) -> Any:
            return model(image, training=False)

        signature = tf.TensorSpec([BATCH, *shape], tf.as_dtype(model.inputs[0].dtype), name="input")
        function = tf.function(call).get_concrete_function(signature)
        names = _names_of(function.structured_outputs, getattr(model, "output_names", None))
        return _with_names(_run_converter(function, model.name), names)


def forget_keras_models() -> None:
    """Lets go of what Keras keeps of models that nobody uses any more: of several large ones, gigabytes."""
    with quiet_tensorflow():
        import keras

        keras.utils.clear_session()
    gc.collect()


def _from_saved_model(path: Path, input_shape: Sequence[int] | None) -> bytes:
    with quiet_tensorflow():
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(path))
        except Exception as error:  # whatever TensorFlow raises on a broken folder: it has no common root
            raise ModelError(
                f"{path} cannot be loaded as a SavedModel",
                expected="a sound SavedModel",
                found=_first_line(error),
            ) from error
        function = loaded.signatures.get("serving_default") or next(iter(loaded.signatures.values()), None)
        if function is None:
            raise ModelError(
                f"{path} has no signature to convert",
                expected="a signature 'serving_default'",
                found="no signature",
                hint="Save it with model.export(folder), or tf.saved_model.save(..., signatures=...).",
            )
        _, keyword_inputs = function.structured_input_signature
        if len(keyword_inputs) != 1:
            raise ModelError(
                f"signature of {path} has {len(keyword_inputs)} inputs",
                expected="1 input",
                found=", ".join(sorted(keyword_inputs)) or "none",
            )
        ((name, spec),) = keyword_inputs.items()
        shape = _static_shape(spec.shape[1:], input_shape, str(path))

        names = sorted(function.structured_outputs)

        @tf.function(input_signature=[tf.TensorSpec([BATCH, *shape], spec.dtype, name="input")])
        def call(image: Any) -> Any:
            found = function(**{name: image})
            return [found[one] for one in names]

        return _with_names(_run_converter(call.get_concrete_function(), str(path)), names)


def _names_of(structured: Any, given: Sequence[str] | None) -> Sequence[str]:
    """What a Keras model calls its outputs, in TensorFlow's order: the keys of a dict, or the names of its layers."""
    if isinstance(structured, dict):
        return [str(key) for key in sorted(structured)]
    several = structured if isinstance(structured, list | tuple) else [structured]
    return list(given) if given is not None and len(given) == len(several) else []


def _with_names(tflite: bytes, names: Sequence[str]) -> bytes:
    """The model with a signature that names its outputs, where it has several: the converter forgets their names."""
    if len(set(names)) < 2:
        return tflite
    try:
        graph = read_graph(tflite)
    except ModelError:  # what a graph cannot carry keeps the converter's names
        return tflite
    if graph.signatures or len(set(graph.outputs)) != len(names) or len(graph.inputs) != 1:
        return tflite
    inputs = ((graph.tensors[graph.inputs[0]].name, graph.inputs[0]),)
    outputs = tuple(zip(names, graph.outputs, strict=True))
    return write_graph(replace(graph, signatures=(Signature("serving_default", inputs, outputs),)))


def _run_converter(function: Any, name: str) -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        # Frozen first: the converter otherwise leaves some variables as resources and folds nothing into them.
        try:
            frozen = convert_variables_to_constants_v2(function)
        except ValueError as error:
            written = _WRITTEN_VARIABLE.search(str(error))
            if written is None:
                raise
            raise ModelError(
                f"{name} keeps a state of its own, which the converter does not carry over",
                expected="layers without a state between calls",
                found=f"a variable that is written to: {written.group(1)}",
                hint="Build the layer with stateful=False, or make its state an input and an output of the model.",
            ) from error
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    except ModelError:
        raise
    except Exception as error:  # the converter raises its own ConverterError and plain RuntimeErrors
        raise ModelError(
            f"TensorFlow could not convert {name}",
            expected="operators that TFLite has built in",
            found=_first_line(error),
            hint="Replace the operator that is named, or convert with your own script and pass the .tflite.",
        ) from error


def _load_keras(path: Path) -> Any:
    with quiet_tensorflow():
        import keras

        class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
            """Files of Keras 2 store ``groups`` for depthwise layers, which Keras 3 refuses; it is always 1."""

            def __init__(self, *args: Any, groups: int = 1, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)

        try:
            return keras.models.load_model(
                path, compile=False, custom_objects={"DepthwiseConv2D": DepthwiseConv2D}
            )
        except Exception as error:  # Keras raises whatever its layers raise
            raise ModelError(
                f"{path} cannot be loaded as a Keras model",
                expected=f"a model that Keras {keras.__version__} can load without its own code",
                found=_first_line(error),
                hint="With custom layers: model.export(folder) and convert the SavedModel folder instead.",
            ) from error


def _only(shapes: Shapes | None) -> Sequence[int] | None:
    """The shape of the only input that converters take here."""
    if not isinstance(shapes, Mapping):
        return shapes
    if len(shapes) != 1:
        raise ModelError("one input can be converted", expected="1 shape", found=", ".join(shapes)[:80])
    return next(iter(shapes.values()))


def _static_shape(declared: Sequence[int | None], given: Sequence[int] | None, name: str) -> list[int]:
    if given is not None:
        if len(given) == len(declared) + 1 and given[0] == BATCH:
            given = given[1:]
        if len(given) != len(declared) or any(
            d not in (None, g) for d, g in zip(declared, given, strict=True)
        ):
            raise ModelError(
                f"{name} does not take this input shape",
                expected="x".join("?" if d is None else str(d) for d in declared),
                found="x".join(map(str, given)),
            )
        return list(given)
    if any(d is None for d in declared):
        raise ModelError(
            f"{name} leaves its input shape open",
            expected="fixed height, width and channels",
            found="x".join("?" if d is None else str(d) for d in declared),
            hint="Name it: --input-shape 224x224x3.",
        )
    return [int(d) for d in declared if d is not None]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
