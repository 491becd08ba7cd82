"""A network that sees its image mirrored in both directions, kernels mirrored alike: the same answers.

TensorFlow's SAME pads a stride-2 window on an even size by one row at the bottom and one column at the right (so does
Keras' ZeroPadding2D ((0, 1), (0, 1)) in front of a VALID one).  XNNPACK's sparse path wants the same padding on every
side.  Mirror image and kernels and the padding comes first, at the top and left; one more row at the bottom and one
more column at the right are then never read, and the padding is the same on every side.  A mean over space does not
see the difference, and a fully connected layer on a flattened value has its columns ordered alike.

The graph says in its metadata (:data:`sdk.graph.records.INPUT_METADATA`) that its input must be mirrored before it is
fed: :mod:`sdk.graph.on_host.evaluate` does so on the host, and on the board the agent, to which the package says so.
Where the runtime cannot, :func:`flip_inside` lets the graph do it, for about nine instructions per element of the
image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor, pad
from sdk.compress.rewrite.structure import (
    CHANNEL_WISE,
    find_shuffles,
    never_negative,
    same_padding,
    spatial_padding,
    window_of,
)
from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.enums import SAME, VALID
from sdk.graph.records import FLIP_AXES, INPUT_METADATA, Graph, Operator

_FLIPPED = {"flip": ["height", "width"]}

_HEIGHT, _WIDTH, _CHANNELS = 1, 2, 3
# Each output pixel depends on the same pixel of every input.
_PIXEL_WISE = (
    CHANNEL_WISE - {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
) | {
    *(
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAXIMUM",
        "MINIMUM",
        "SQUARED_DIFFERENCE",
        "POW",
        "PRELU",
        "SQUARE",
        "RSQRT",
    ),
    *(
        "EXP",
        "LOG",
        "SIN",
        "COS",
        "FLOOR",
        "CEIL",
        "ROUND",
        "GELU",
        "RELU_0_TO_1",
        "QUANTIZE",
        "DEQUANTIZE",
        "CAST",
    ),
}
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_POOLS = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D"})

Amounts = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right))


def pads_at_the_end(graph: Graph) -> bool:
    """True when some window pads more after the value than before it, which mirroring turns round."""
    for operator in graph.operators:
        padding = spatial_padding(graph, operator)
        if padding is None and operator.kind in _WEIGHTED and operator.options["padding"] == SAME:
            padding = _same(graph, operator)
        if padding is not None and any(after > before for before, after in padding):
            return True
    return False


def mirror(graph: Graph) -> Graph:
    """The graph for a mirrored image.

    Raises :class:`UnsupportedOperator`, naming the operator, where the path from the image to the pooling holds an
    operator whose result for a mirrored value is not mirrored; :class:`ModelError` where the graph has several inputs,
    no image, or is mirrored already.
    """
    if graph.input_flips:
        raise ModelError(
            "the graph is mirrored already", expected="an input that is not flipped", found="flipped"
        )
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        raise ModelError(
            "only a graph of one image can be mirrored",
            expected="1 input (1, height, width, channels)",
            found=", ".join(str(graph.tensors[t].shape) for t in graph.inputs) or "no input",
        )
    return _Mirror(graph).run()


def flip_inside(graph: Graph) -> Graph:
    """The graph flips its image itself, with a REVERSE_V2 in front; one that wants no flip stays as it is."""
    axes = [FLIP_AXES[name] for name in graph.input_flips]
    if not axes:
        return graph
    editor = Editor(graph)
    (image,) = graph.inputs
    flipped = editor.value(f"{graph.tensors[image].name}_flipped", graph.tensors[image].shape, like=image)
    editor.redirect(image, flipped)
    constant = editor.constant("flipped_axes", np.array(axes, np.int32))
    reverse = Operator("REVERSE_V2", (image, constant), (flipped,), {}, "ReverseV2Options")
    editor.replace(0, [reverse, *editor.slot(0)])
    del editor.metadata[INPUT_METADATA]
    return editor.graph()


class _Mirror:
    """One walk along the operators; ``mirrored`` holds the tensors whose value is mirrored."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.editor = graph, Editor(graph)
        self.mirrored = set(graph.inputs)
        self.flattened: dict[
            int, tuple[int, ...]
        ] = {}  # vectors made of a mirrored (height, width, channels)
        self.positive = never_negative(graph)
        self.in_shuffles = {index for shuffle in find_shuffles(graph) for index in shuffle.operators}
        self.pads: dict[int, Amounts] = {}  # outputs of PAD operators, left to the window behind them

    def run(self) -> Graph:
        handlers: dict[str, Callable[[int, Operator], None]] = {
            **dict.fromkeys(_PIXEL_WISE, self.pixel_wise),
            **dict.fromkeys(_WEIGHTED | _POOLS, self.window),
            "PAD": self.pad,
            "MEAN": self.reduce,
            "SUM": self.reduce,
            "RESHAPE": self.reshape,
            "TRANSPOSE": self.reshape,
            "FULLY_CONNECTED": self.fully_connected,
            "CONCATENATION": self.concatenation,
            "SPLIT": self.split,
            "SOFTMAX": self.softmax,
            "RESIZE_BILINEAR": self.resize,
            "RESIZE_NEAREST_NEIGHBOR": self.resize,
        }
        for index, operator in enumerate(self.graph.operators):
            touched = self.mirrored.intersection(operator.inputs) or self.flattened.keys() & set(
                operator.inputs
            )
            if not touched:
                continue
            handlers.get(operator.kind, self.refuse)(index, operator)
        seen = [
            t for t in self.graph.outputs if (t in self.mirrored and self.has_space(t)) or t in self.flattened
        ]
        if seen:
            raise UnsupportedOperator(
                f"output {self.graph.tensors[seen[0]].name!r} would come out mirrored",
                expected="a mean over space or a fully connected layer before it",
                found="/".join(map(str, self.graph.tensors[seen[0]].shape)),
            )
        self.editor.metadata[INPUT_METADATA] = json.dumps(_FLIPPED).encode()
        return self.editor.graph()

    def has_space(self, tensor: int) -> bool:
        shape = self.graph.tensors[tensor].shape
        return len(shape) != 4 or shape[_HEIGHT] * shape[_WIDTH] > 1

    def refuse(self, index: int, operator: Operator, why: str = "") -> None:
        raise UnsupportedOperator(
            f"the network cannot be mirrored: operator {index} ({operator.kind}) before "
            f"{self.graph.tensors[operator.outputs[0]].name!r} {why or 'does not treat space alike in both directions'}"
        )

    def passes(self, operator: Operator) -> None:
        self.mirrored.update(operator.outputs)

    # Operators, by what they do to space.

    def pixel_wise(self, index: int, operator: Operator) -> None:
        inputs = list(operator.inputs)
        for place, tensor in enumerate(inputs):
            data = self.editor.data(tensor)
            if data is not None and self.graph.tensors[tensor].is_dense_array:
                # Constants are aligned at the last axis, as numpy broadcasts.
                axes = [a for a in (-3, -2) if data.ndim >= -a and data.shape[a] > 1]
                if axes:
                    inputs[place] = self.editor.constant(
                        f"{self.graph.tensors[tensor].name}_mirrored", np.flip(data, tuple(axes))
                    )
            elif data is None and tensor not in self.mirrored and self.has_space(tensor):
                self.refuse(index, operator, "joins a mirrored value with one that is not")
        self.editor.replace(index, [replace(operator, inputs=tuple(inputs))])
        self.passes(operator)

    def window(self, index: int, operator: Operator) -> None:
        inputs = list(operator.inputs)
        if operator.kind in _WEIGHTED:
            weight = self.graph.tensors[inputs[1]]
            if weight.data is None or not weight.is_dense_array:
                self.refuse(index, operator, "has no constant weights")
            elif max(weight.shape[1:3]) > 1:
                flipped = np.flip(weight.data, (_HEIGHT, _WIDTH))
                inputs[1] = self.editor.constant(f"{weight.name}_mirrored", flipped, weight.quantization)
        amounts = self.mirrored_padding(index, operator)
        if amounts is None:
            self.editor.replace(index, [replace(operator, inputs=tuple(inputs))])
        else:
            before, inputs[0] = self.padded(inputs[0], amounts)
            same = replace(operator, inputs=tuple(inputs)).with_options(padding=VALID)
            self.editor.replace(index, [*before, same])
        self.passes(operator)

    def mirrored_padding(self, index: int, operator: Operator) -> Amounts | None:
        """The padding in front of the mirrored window; None where nothing changes."""
        source = operator.inputs[0]
        explicit = self.pads.get(source)
        if operator.options["padding"] == SAME and explicit is None:
            original = _same(self.graph, operator)
            if all(before == after for before, after in original):
                return None
            if operator.kind == "AVERAGE_POOL_2D":
                self.refuse(index, operator, "averages over fewer pixels at one border than at the other")
            if operator.kind == "MAX_POOL_2D" and source not in self.positive:
                self.refuse(index, operator, "pads values that may be negative")
        elif operator.options["padding"] == SAME:
            self.refuse(index, operator, "pads a value that is padded already")
        else:
            original = explicit or ((0, 0), (0, 0))
        space = self.graph.tensors[source].shape[1:3]
        if explicit is not None:
            space = tuple(n - sum(pair) for n, pair in zip(space, explicit, strict=True))
        spans, strides = window_of(self.graph, operator)
        result = []
        for size, span, stride, (before, after) in zip(space, spans, strides, original, strict=True):
            count = (size + before + after - span) // stride + 1
            unread = size + before + after - ((count - 1) * stride + span)
            leading = after - unread
            if leading < 0:
                self.refuse(index, operator, "leaves its last rows or columns unread")
            # As much behind as in front, where that adds no window: the form that the sparse path knows.
            even = (size + 2 * leading - span) // stride + 1 == count
            result.append((leading, leading if even else before))
        return (result[0], result[1]) if explicit is not None or any(map(any, result)) else None

    def padded(self, tensor: int, amounts: Amounts) -> tuple[list[Operator], int]:
        """The operators that pad ``tensor``, and the tensor that holds the result."""
        if tensor in self.pads:
            tensor = self.graph.operators[self.graph.producers()[tensor]].inputs[0]
        if not any(map(any, amounts)):
            return [], tensor
        name, shape = self.graph.tensors[tensor].name, list(self.graph.tensors[tensor].shape)
        for axis, pair in zip((_HEIGHT, _WIDTH), amounts, strict=True):
            shape[axis] += sum(pair)
        output = self.editor.value(f"{name}_padded", shape, like=tensor)
        constant = self.editor.constant(f"{name}_padding", np.array([(0, 0), *amounts, (0, 0)], np.int32))
        return [pad(tensor, constant, output)], output

    def pad(self, index: int, operator: Operator) -> None:
        amounts = spatial_padding(self.graph, operator)
        if amounts is None:
            self.refuse(index, operator, "pads something else than space")
            return
        readers = [self.graph.operators[r] for r in self.graph.consumers().get(operator.outputs[0], [])]
        if readers and all(r.kind in _WEIGHTED | _POOLS for r in readers):
            # The window mirrors it, and puts its own PAD in front.
            self.pads[operator.outputs[0]] = amounts
        else:
            turned = np.array([(0, 0), *(pair[::-1] for pair in amounts), (0, 0)], np.int32)
            constant = self.editor.constant(f"{self.graph.tensors[operator.inputs[1]].name}_mirrored", turned)
            self.editor.replace(index, [replace(operator, inputs=(operator.inputs[0], constant))])
        self.passes(operator)

    def reduce(self, index: int, operator: Operator) -> None:
        axes = self.editor.data(operator.inputs[1])
        rank = len(self.graph.tensors[operator.inputs[0]].shape)
        over = set() if axes is None else {int(axis) % rank for axis in axes.ravel()}
        if not over.isdisjoint((_HEIGHT, _WIDTH)) and not over.issuperset((_HEIGHT, _WIDTH)):
            self.refuse(index, operator, "reduces one axis of space only")
        elif over.isdisjoint((_HEIGHT, _WIDTH)):
            self.refuse(index, operator, "reduces something else than space")
        # From here on there is no space left, and nothing is mirrored.

    def reshape(self, index: int, operator: Operator) -> None:
        source = operator.inputs[0]
        shape = self.graph.tensors[operator.outputs[0]].shape
        if index in self.in_shuffles:
            # Only channels move; what lies between the first and the last operator is nobody else's.
            self.passes(operator)
        elif operator.kind == "RESHAPE" and source in self.flattened:
            self.flattened[operator.outputs[0]] = self.flattened[source]
        elif source in self.mirrored and not self.has_space(source):
            return
        elif (
            operator.kind == "RESHAPE"
            and source in self.mirrored
            and shape == self.graph.tensors[source].shape
        ):
            self.passes(operator)
        elif operator.kind == "RESHAPE" and len(shape) == 2 and shape[0] == 1:
            self.flattened[operator.outputs[0]] = self.graph.tensors[source].shape[1:]
        else:
            self.refuse(index, operator, "renumbers the pixels")

    def fully_connected(self, index: int, operator: Operator) -> None:
        source, weight = operator.inputs[0], self.graph.tensors[operator.inputs[1]]
        if source in self.flattened and weight.is_dense_array and weight.data is not None:
            columns = weight.data.reshape(weight.shape[0], *self.flattened[source])
            flipped = np.flip(columns, (_HEIGHT, _WIDTH)).reshape(weight.shape)
            constant = self.editor.constant(f"{weight.name}_mirrored", flipped, weight.quantization)
            inputs = (source, constant, *operator.inputs[2:])
            self.editor.replace(index, [replace(operator, inputs=inputs)])
        elif source in self.mirrored and len(self.graph.tensors[operator.outputs[0]].shape) == 4:
            self.passes(operator)  # keepNumDims: a 1x1 convolution by another name
        elif source not in self.mirrored or self.has_space(source):
            self.refuse(index, operator, "flattens space by itself")

    def concatenation(self, index: int, operator: Operator) -> None:
        rank = len(self.graph.tensors[operator.outputs[0]].shape)
        if operator.options["axis"] % rank != _CHANNELS or not self.mirrored.issuperset(operator.inputs):
            self.refuse(index, operator, "joins values along space, or one that is not mirrored")
        self.passes(operator)

    def split(self, index: int, operator: Operator) -> None:
        axis = self.editor.data(operator.inputs[0])
        if axis is None or int(axis.ravel()[0]) % 4 != _CHANNELS:
            self.refuse(index, operator, "splits space")
        self.passes(operator)

    def softmax(self, index: int, operator: Operator) -> None:
        if self.flattened.keys() & set(operator.inputs):
            self.refuse(index, operator, "makes an output of a flattened value")
        self.passes(operator)  # over channels, pixel by pixel

    def resize(self, index: int, operator: Operator) -> None:
        if not (operator.options.get("alignCorners") or operator.options.get("halfPixelCenters")):
            self.refuse(index, operator, "samples towards the top left")
        self.passes(operator)


def _same(graph: Graph, operator: Operator) -> Amounts:
    spans, strides = window_of(graph, operator)
    space = graph.tensors[operator.inputs[0]].shape[1:3]
    down, across = (same_padding(*n) for n in zip(space, spans, strides, strict=True))
    return down, across
