"""Runs where onnx2tf is: ``python onnx_child.py MODEL.onnx OUT.tflite SHAPES``.  Standard library besides.

``SHAPES``: JSON, shapes by name of the input; under "" that of the only one. Errors for the user go to stderr as
``ARMLET: what | what to do``, with exit status 1.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

#: How far answers of ONNX Runtime and of the .tflite may be apart, of the largest one.
TOLERANCE = 1e-2


def main(model: str, output: str, said: str) -> int:
    """Converts; the exit status."""
    import onnx

    try:
        loaded = onnx.load(model)
    except Exception as error:
        return tell(
            f"it is not a sound ONNX model: {str(error).strip().splitlines()[0][:200]}", "Fetch it again."
        )
    graph = loaded.graph
    lacking = sorted(
        {n.op_type for n in graph.node if importlib.util.find_spec(f"onnx2tf.ops.{n.op_type}") is None}
    )
    if lacking:
        return tell(
            f"operators {', '.join(lacking)}, which onnx2tf does not convert", "Replace them in the network."
        )
    held = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in held]
    shapes = {}
    for one in inputs:
        given = json.loads(said)
        asked = given.get(one.name, given.get("") if len(inputs) == 1 else None)
        shape = whole_shape([d.dim_value or None for d in one.type.tensor_type.shape.dim], asked)
        if shape is None or None in shape:
            open_one = "x".join(str(d.dim_value or "?") for d in one.type.tensor_type.shape.dim)
            return tell(
                f"the input {one.name} is {open_one}", f"Name it: --input-shape {one.name}=1x3x224x224."
            )
        shapes[one.name] = shape
    model = with_shapes(model, loaded, inputs, shapes)
    try:
        made = run_onnx2tf(model)
    except (Exception, SystemExit):
        culprit = failed_node(graph)
        if culprit is None:
            raise
        return tell(f"the operator {culprit.op_type} (node {culprit.name})", "Replace it in the network.")
    apart = difference(model, made, shapes)
    if apart > TOLERANCE:
        return tell(
            f"its answers differ from ONNX Runtime's by {apart:.2g} of the largest", "Report it to onnx2tf."
        )
    shutil.copyfile(made, output)
    return 0


def whole_shape(declared: list[int | None], given: list[int] | None) -> list[int | None] | None:
    """The shape with a batch of 1; of an image (height, width, channels) may be given. None where it does not fit."""
    if given is None:
        return [*([declared[0] or 1] if declared else []), *declared[1:]]
    if len(given) == len(declared) - 1:
        image = len(given) == 3 and given[2] == declared[1] and given[0] != declared[1]
        given = [declared[0] or 1, *([given[2], *given[:2]] if image else given)]
    fits = len(given) == len(declared) and all(d in (None, g) for d, g in zip(declared, given, strict=True))
    return list(given) if fits else None


_ERRORS: list[str] = []


def with_shapes(model: str, loaded: Any, inputs: list[Any], shapes: dict[str, Any]) -> str:
    """The path of the model, or of a copy here whose inputs have these shapes where they were open."""
    import onnx

    changed = False
    for one in inputs:
        for dimension, size in zip(one.type.tensor_type.shape.dim, shapes[one.name], strict=True):
            if dimension.dim_value != size:
                dimension.dim_value, changed = size, True
    if not changed:
        return model
    for one in loaded.graph.output:
        for dimension in one.type.tensor_type.shape.dim:
            if not dimension.dim_value:
                dimension.Clear()
    del loaded.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(loaded), "static.onnx")
    return "static.onnx"


def run_onnx2tf(model: str) -> Path:
    """Converts into a folder here; the float32 file."""
    import numpy as np
    import onnx2tf

    def made_up(*_: Any, **__: Any) -> Any:
        """In place of the pictures that onnx2tf would fetch from the internet to try each operator on."""
        return np.random.default_rng(0).random((20, 128, 128, 3), np.float32)

    def remember(*words: Any, **__: Any) -> None:
        _ERRORS.append(" ".join(map(str, words)))
        print(*words, file=sys.stderr)

    for name, module in list(sys.modules.items()):
        if name.startswith("onnx2tf"):
            for known, ours in (("download_test_image_data", made_up), ("error", remember)):
                if callable(getattr(module, known, None)):
                    setattr(module, known, ours)
    onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path="made",
        non_verbose=True,
        copy_onnx_input_output_names_to_tflite=True,
    )
    return next(Path("made").glob("*_float32.tflite"))


def failed_node(graph: Any) -> Any:
    """The node that onnx2tf named last before it gave up; None where it named none."""
    by_name = {node.name: node for node in graph.node}
    for said in reversed(_ERRORS):
        _, mark, name = said.partition("onnx_op_name: ")
        if mark and name.strip() in by_name:
            return by_name[name.strip()]
    return None


def difference(model: str, made: Path, shapes: dict[str, Any]) -> float:
    """The largest distance of answers to made-up inputs, over the largest number that ONNX Runtime gives."""
    import numpy as np
    import onnxruntime
    import tensorflow as tf

    rng = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    if any(one.type != "tensor(float)" for one in session.get_inputs()):
        return 0.0  # numbers of another kind cannot be made up
    arrays = {one.name: rng.random(shapes[one.name]).astype(np.float32) for one in session.get_inputs()}
    expected = dict(zip([one.name for one in session.get_outputs()], session.run(None, arrays), strict=True))
    interpreter = tf.lite.Interpreter(str(made))
    interpreter.allocate_tensors()
    for place, name in zip(
        interpreter.get_input_details(), ordered(arrays, interpreter.get_input_details()), strict=True
    ):
        interpreter.set_tensor(place["index"], turned(arrays[name], place["shape"]))
    interpreter.invoke()
    places = interpreter.get_output_details()
    largest = 0.0
    for place, name in zip(places, ordered(expected, places), strict=True):
        wanted = expected[name]
        got = turned_back(interpreter.get_tensor(place["index"]), wanted.shape)
        if got is None:
            return float("inf")
        largest = max(largest, float(np.abs(wanted - got).max() / max(1e-6, float(np.abs(wanted).max()))))
    return largest


def ordered(names: Any, places: list[dict[str, Any]]) -> list[str]:
    """The names in the order of the tensors that are called so; in their own order where none is."""
    found = [next((name for name in names if name == place["name"] or f"_{name}:" in place["name"]), "")
             for place in places]  # fmt: skip
    return found if sorted(found) == sorted(names) else list(names)


def turned(array: Any, shape: Any) -> Any:
    """The array with channels last, where the input wants that."""
    order = (0, *range(2, array.ndim), 1)
    return array if array.shape == tuple(shape) else array.transpose(order)


def turned_back(array: Any, shape: Any) -> Any:
    """The array with channels first, where the output was so; None where it has another shape altogether."""
    if array.shape == tuple(shape):
        return array
    back = array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1)) if array.ndim > 2 else array
    return back if back.shape == tuple(shape) else None


def tell(what: str, hint: str) -> int:
    """Says it to a person; the exit status."""
    print(f"ARMLET: {what} | {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
