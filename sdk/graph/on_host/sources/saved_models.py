"""SavedModel folders -> ``.tflite`` bytes: one signature of them, with a batch of one where it can be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.input_shapes import Shapes
from sdk.graph.on_host.input_size import closed
from sdk.graph.on_host.sources.running import SIGNATURE, KeepsState, run_converter, with_state
from sdk.graph.on_host.sources.shapes import Declared, filled
from sdk.graph.on_host.sources.telling import conversion_failed
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.system.quiet import quiet_tensorflow

#: How far two answers of the same computation may be apart.
SAME_ANSWER = 1e-4
#: A state is compared over this many calls.
CALLS = 3


def saved_model_bytes(
    path: Path, *, input_shape: Shapes | None = None, signature: str | None = None
) -> bytes:
    """The SavedModel folder's signature as ``.tflite`` bytes. Raises ModelError.

    ``signature``: its name; None: "serving_default", or the only one there is.
    """
    with quiet_tensorflow():
        loaded = _loaded(path)
        function = _signature_of(loaded, path, signature)
        specs = _inputs_of(function, path)
        declared: dict[str, Declared] = {
            name: None if spec.shape.rank is None else list(spec.shape) for name, spec in specs.items()
        }
        shapes = dict(zip(specs, filled(str(path), declared, input_shape), strict=True))
        call = _fixed(function, specs, shapes)
        names = sorted(function.structured_outputs)
        try:
            concrete = call.get_concrete_function()
        except Exception as error:  # whatever its operators raise at this shape
            raise conversion_failed(
                str(path),
                f"{path} cannot be called with {_said(shapes)}",
                error,
                hint="Name another --input-shape.",
            ) from error
        try:
            tflite = run_converter(concrete, str(path), list(specs), names)
        except KeepsState as refused:
            return _stateful(path, loaded, call, shapes, specs, refused)
    batches = {shape[0] for name, shape in shapes.items() if (declared[name] or [1])[0] not in (None, 1)}
    asked = input_shape is not None and _asks_for(input_shape, shapes, specs)
    return tflite if asked or len(batches) != 1 else _of_one(tflite, path, batches.pop())


def _loaded(path: Path) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # whatever TensorFlow raises on a broken folder: it has no common root
        raise conversion_failed(
            str(path),
            f"{path} cannot be loaded as a SavedModel",
            error,
            hint="If it is whole and needs operators or code of its own, export it again where those are.",
        ) from error


def _signature_of(loaded: Any, path: Path, wanted: str | None) -> Any:
    there = {
        str(key): function for key, function in loaded.signatures.items() if not str(key).startswith("__")
    }
    shown = ", ".join(visible(key, most=60) for key in there) or "none"
    if wanted is not None:
        if wanted not in there:
            raise ModelError(f"{path} has no signature {visible(wanted, most=60)}", expected=f"one of: {shown}",
                             found=wanted[:60])  # fmt: skip
        return there[wanted]
    if not there:
        raise ModelError(
            f"{path} has no signature to convert",
            expected=f"a signature {SIGNATURE!r}",
            found="no signature",
            hint="Save it with model.export(folder), or tf.saved_model.save(..., signatures=...).",
        )
    if SIGNATURE in there or len(there) == 1:
        return there.get(SIGNATURE) or next(iter(there.values()))
    raise ModelError(
        f"{path} has several signatures",
        expected="the name of one",
        found=shown,
        hint=f"Name it: --signature {visible(next(iter(there)), most=60)}.",
    )


def _inputs_of(function: Any, path: Path) -> dict[str, Any]:
    """Its inputs by name, in order. Raises ModelError for none, and for text such as the bytes of a picture."""
    import tensorflow as tf

    _, keyword_inputs = function.structured_input_signature
    if not keyword_inputs:
        raise ModelError(
            f"signature of {path} has no input", expected="1 input or more", found="none",
            hint="Name another one with --signature.",
        )  # fmt: skip
    text = [name for name, spec in keyword_inputs.items() if spec.dtype == tf.string]
    if text:
        raise ModelError(
            f"signature of {path} takes text: {visible(text[0], most=60)}",
            expected="numbers, such as the pixels of an image",
            found="strings, such as the bytes of a picture file, which a TFLite runtime does not decode",
            hint="Export the part behind the decoding as a signature of its own, and name it with --signature.",
        )
    return {name: keyword_inputs[name] for name in sorted(keyword_inputs)}


def _fixed(function: Any, specs: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> Any:
    """The signature as a tf.function of fixed shapes that gives a dict."""
    import tensorflow as tf

    names = list(specs)

    @tf.function(
        input_signature=[
            tf.TensorSpec(shapes[name], specs[name].dtype, name=re.sub(r"\W", "_", name)) for name in names
        ]
    )
    def call(*arrays: Any) -> Any:
        return dict(function(**dict(zip(names, arrays, strict=True))))

    return call


def _said(shapes: Mapping[str, list[int]]) -> str:
    return ", ".join(
        f"{visible(name, most=40)} {'x'.join(map(str, shape))}" for name, shape in shapes.items()
    )


# -- a fixed batch ----------------------------------------------------------------------------------------------


def _asks_for(given: Shapes, shapes: Mapping[str, list[int]], specs: Mapping[str, Any]) -> bool:
    """Whether a person wrote whole shapes with the model's own batch: then it stays."""
    several = given if isinstance(given, Mapping) else dict.fromkeys(specs, given)
    return all(list(several.get(name, [])) == shape for name, shape in shapes.items())


def _of_one(tflite: bytes, path: Path, batch: int) -> bytes:
    """The model for one image at a time, where the answer to the first of a batch stays the same."""
    try:
        graph = read_graph(tflite)
        single = closed(_first_of_batch(graph, batch))
        one = write_graph(single)
        rng = np.random.default_rng(0)
        with HostModel(tflite, delegates=False) as whole, HostModel(one, delegates=False) as part:
            arrays = [rng.random(info.shape).astype(info.dtype) for info in whole.inputs]
            expected = list(whole.run(arrays).values())
            found = list(part.run([array[:1] for array in arrays]).values())
        if all(
            a.shape == (1, *b.shape[1:]) and np.allclose(a, b[:1], rtol=SAME_ANSWER, atol=SAME_ANSWER)
            for a, b in zip(found, expected, strict=True)
        ):
            return one
        why = "the answer to one image depends on the others"
    except ModelError as error:
        why = error.found or error.what
    shapes = "x".join(str(n) for n in read_graph(tflite).tensors[read_graph(tflite).inputs[0]].shape)
    raise ModelError(
        f"{path} takes {batch} images at a time, and cannot be converted for one",
        expected="a batch of 1, or one that is open",
        found=visible(why, most=200),
        hint=f"Export it with a batch of 1 or None; or keep its batch: --input-shape {shapes}.",
    )


def _first_of_batch(graph: Graph, batch: int) -> Graph:
    """The graph with a batch of 1 at its inputs, and in the constants of RESHAPE that say the batch."""
    tensors = list(graph.tensors)
    for number in graph.inputs:
        tensors[number] = replace(
            tensors[number], shape=(1, *tensors[number].shape[1:]), shape_signature=None
        )
    for operator in graph.operators:
        if operator.kind != "RESHAPE" or len(operator.inputs) < 2:
            continue
        shape = tensors[operator.inputs[1]]
        if shape.data is not None and shape.data.ndim == 1 and shape.data.size and shape.data[0] == batch:
            tensors[operator.inputs[1]] = replace(
                shape, data=np.concatenate([np.ones(1, shape.data.dtype), shape.data[1:]])
            )
    operators = tuple(
        operator.with_options(newShape=None) if operator.kind == "RESHAPE" else operator
        for operator in graph.operators
    )
    return replace(graph, tensors=tuple(tensors), operators=operators)


# -- a state ----------------------------------------------------------------------------------------------------


def _stateful(
    path: Path,
    loaded: Any,
    call: Any,
    shapes: Mapping[str, list[int]],
    specs: Mapping[str, Any],
    refused: ModelError,
) -> bytes:
    """The model with its state in variables, where it answers as TensorFlow does, call after call."""
    try:
        tflite = with_state(loaded, call, str(path))
        rng = np.random.default_rng(0)
        arrays = [rng.random(shapes[name]).astype(specs[name].dtype.as_numpy_dtype) for name in specs]
        with HostModel(tflite, delegates=False) as model:
            if len(model.inputs) != len(arrays):
                raise refused
            for _ in range(CALLS):
                expected = [np.asarray(value) for _, value in sorted(call(*arrays).items())]
                found = list(
                    model.run(dict(zip([i.name for i in model.inputs], arrays, strict=True))).values()
                )
                if not _same(found, expected):
                    raise refused
        return tflite
    except ModelError as error:
        raise refused from error


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=SAME_ANSWER, atol=SAME_ANSWER)
        for a, b in zip(found, expected, strict=True)
    )
