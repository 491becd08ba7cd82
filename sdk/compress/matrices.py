"""Every layer with weights as matrix products: what the layer-wise solver and its statistics work on.

A convolution multiplies patches of its input by its weights. Unfolded, each layer is ``groups`` independent
products of (positions, columns) by (columns, rows): rows are the output channels of one group, columns the
weights that one output sums over. A depthwise layer has one group per input channel; an ordinary one has a
single group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk.graph import Graph, Weight

SOLVED_KINDS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


@dataclass(frozen=True)
class LayerShape:
    """How the weight of one operator unfolds. ``columns`` counts kernel positions times channels of a group."""

    kind: str
    weight_shape: tuple[int, ...]
    groups: int
    rows: int  # output channels of a group
    columns: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: str = "VALID"

    @classmethod
    def of(cls, graph: Graph, weight: Weight) -> LayerShape | None:
        """The unfolding of a layer, or None for a kind that is not unfolded."""
        operator = graph.operators[weight.operator_index]
        shape = weight.tensor.shape
        if operator.kind not in SOLVED_KINDS:
            return None
        if operator.kind == "FULLY_CONNECTED":
            return cls(operator.kind, shape, 1, shape[0], shape[1])
        channels = graph.tensors[operator.inputs[0]].shape[3]
        o = operator.options
        window: dict[str, Any] = {
            "kernel": (shape[1], shape[2]),
            "strides": (o["strideH"], o["strideW"]),
            "dilations": (o["dilationHFactor"], o["dilationWFactor"]),
            "padding": ("SAME", "VALID")[o["padding"]],
        }
        area = shape[1] * shape[2]
        if operator.kind == "DEPTHWISE_CONV_2D":
            return cls(operator.kind, shape, channels, shape[3] // channels, area, **window)
        groups = channels // shape[3]
        return cls(operator.kind, shape, groups, shape[0] // groups, area * shape[3], **window)

    @property
    def channels(self) -> int:
        """Output channels of the whole layer, in the order (group, row)."""
        return self.groups * self.rows

    def unfold(self, weight: np.ndarray) -> np.ndarray:
        """A weight in the graph's layout -> (groups, rows, columns)."""
        if self.kind == "DEPTHWISE_CONV_2D":
            weight = np.moveaxis(weight[0], 2, 0)  # (1, h, w, out) -> (out, h, w)
        return weight.reshape(self.groups, self.rows, self.columns)

    def fold(self, matrices: np.ndarray) -> np.ndarray:
        """(groups, rows, columns) -> the weight in the graph's layout."""
        if self.kind == "DEPTHWISE_CONV_2D":
            by_channel = matrices.reshape(self.channels, *self.kernel)
            return np.ascontiguousarray(np.moveaxis(by_channel, 0, 2)[None])
        return np.ascontiguousarray(matrices.reshape(self.weight_shape))

    def patches(self, value: Any) -> np.ndarray:
        """A layer's input (n, h, w, channels) or (n, columns) -> (positions, groups, columns), float32."""
        if self.kind == "FULLY_CONNECTED":
            return np.asarray(value, np.float32).reshape(-1, 1, self.columns)
        (height, width), channels = self.kernel, value.shape[3]
        if self.kernel == (1, 1):
            cut = np.asarray(value, np.float32)[:, :: self.strides[0], :: self.strides[1]]
        else:
            import tensorflow as tf

            cut = tf.image.extract_patches(
                value, (1, height, width, 1), (1, *self.strides, 1), (1, *self.dilations, 1), self.padding
            ).numpy()
        # extract_patches orders (kernel position, channel); a group takes a run of channels of every position.
        positions = cut.reshape(-1, height * width, self.groups, channels // self.groups)
        if self.groups == 1:
            return positions.reshape(-1, 1, self.columns)
        return np.moveaxis(positions, 2, 1).reshape(-1, self.groups, self.columns)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 values rounded to the nearest that bfloat16 holds: the package stores such scales in half the bytes."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
