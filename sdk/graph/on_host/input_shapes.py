"""Shapes that a ``.tflite`` leaves open, filled in: the same file with the shapes of its inputs written into it.

The runtime works out every other shape from them when it loads the model, so nothing else has to change, and any
model can be treated so, whatever its operators are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from device_agent.record.visible import visible
from device_agent.tensors.tensor import shape_text
from sdk.errors import ModelError
from sdk.graph.reader import read_subgraphs
from sdk.graph.records import Graph, Tensor
from sdk.graph.schema import schema_classes

#: One shape for the only input, or shapes by the name of the input.
Shapes = Sequence[int] | Mapping[str, Sequence[int]]


def with_input_shapes(tflite: bytes, shapes: Shapes | None) -> bytes:
    """The model with these shapes of its inputs, each with or without its leading batch.

    Without ``shapes``, and for inputs that they do not name, the file's own shapes hold. Raises ModelError for a name
    or a shape that does not fit, and where the file leaves a dimension open and has no size of its own for it.
    """
    try:
        graph = read_subgraphs(tflite)[0]
    except ModelError:
        if shapes is None:
            return tflite  # who runs it will say what is wrong with it
        raise
    wanted = _by_position(graph, shapes)
    changed = bytearray(tflite)
    for position, number in enumerate(graph.inputs):
        tensor = graph.tensors[number]
        if position not in wanted:
            _require_size(tensor, input_names(graph)[position][0])
            continue
        shape = _fitting(tensor, wanted[position])
        if shape != tensor.shape:
            _write_shape(changed, number, shape)
    return bytes(changed)


def input_names(graph: Graph) -> list[tuple[str, ...]]:
    """Of each input the names that people may call it: the signature's, and the tensor's."""
    given: dict[int, list[str]] = {}
    for signature in graph.signatures:
        for name, number in signature.inputs:
            given.setdefault(number, []).append(name)
    return [(*given.get(number, []), graph.tensors[number].name) for number in graph.inputs]


def _by_position(graph: Graph, shapes: Shapes | None) -> dict[int, tuple[int, ...]]:
    if shapes is None:
        return {}
    names = input_names(graph)
    known = ", ".join(visible(one[0], most=60) for one in names)
    if not isinstance(shapes, Mapping):
        if len(names) != 1:
            raise ModelError(
                "which of the inputs has this shape?",
                expected=f"a name for each shape; the inputs are {known}",
                found=shape_text(shapes),
                hint="For example: --input-shape " + ",".join(f"{one[0]}=1x..." for one in names) + ".",
            )
        return {0: tuple(int(n) for n in shapes)}
    found = {}
    for name, shape in shapes.items():
        positions = [position for position, one in enumerate(names) if name in one]
        if len(positions) != 1:
            raise ModelError(
                f"the model has no input {visible(name, most=60)}",
                expected=f"one of {known}",
                found=name[:60],
            )
        found[positions[0]] = tuple(int(n) for n in shape)
    return found


def open_axes(tensor: Tensor) -> tuple[int, ...]:
    """The axes that a model leaves open, without the first one of several, which counts images."""
    signature = tensor.shape_signature or ()
    first = 1 if len(signature) > 1 else 0
    return tuple(axis for axis, n in enumerate(signature) if n < 0 and axis >= first)


def _require_size(tensor: Tensor, name: str) -> None:
    """Raises ModelError where an open dimension has no size in the file: a 1 there is no size."""
    asked = [axis for axis in open_axes(tensor) if axis >= len(tensor.shape) or tensor.shape[axis] <= 1]
    if asked:
        raise ModelError(
            f"the model leaves the shape of its input {visible(name, most=60)} open",
            expected="a size for each dimension",
            found=_open_text(tensor),
            hint=f"Say it, for example: --input-shape {_example(tensor)}.",
        )


def _fitting(tensor: Tensor, given: tuple[int, ...]) -> tuple[int, ...]:
    """``given`` as the whole shape of the input. Raises ModelError."""
    signature = tensor.shape_signature or tensor.shape
    shape = (max(1, tensor.shape[0]), *given) if len(given) == len(tensor.shape) - 1 else given
    fits = len(shape) == len(tensor.shape) and all(
        wanted == there or open_one < 0
        for wanted, there, open_one in zip(shape, tensor.shape, signature, strict=True)
    )
    if not fits:
        raise ModelError(
            f"the input {visible(tensor.name, most=60)} does not take this shape",
            expected=_open_text(tensor),
            found=shape_text(given),
        )
    return shape


def _open_text(tensor: Tensor) -> str:
    signature = tensor.shape_signature or tensor.shape
    return "x".join("?" if n < 0 else str(n) for n in signature) or "a scalar"


def _example(tensor: Tensor) -> str:
    signature = tensor.shape_signature or tensor.shape
    picture = len(signature) == 4
    sizes = [
        "1" if n < 0 and axis == 0 and len(signature) > 1 else str(n) for axis, n in enumerate(signature)
    ]
    return "x".join(("224" if picture else "16000") if size.startswith("-") else size for size in sizes)


def _write_shape(tflite: bytearray, number: int, shape: tuple[int, ...]) -> None:
    """Writes the shape of tensor ``number`` of the first subgraph in place: it has as many dimensions as before."""
    schema = schema_classes()
    tensor = schema.Model.GetRootAs(tflite, 0).Subgraphs(0).Tensors(number)
    stored = tensor.ShapeAsNumpy()  # a view of the file's own bytes
    stored[:] = np.asarray(shape, np.int32)
