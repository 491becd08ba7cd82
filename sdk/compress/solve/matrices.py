"""Every layer with weights as matrix products, on which the layer-wise solver and its statistics work.

A convolution multiplies patches of its input by its weights. Unfolded, each layer is ``groups`` independent
products of (positions, columns) by (columns, rows): rows are the output channels of one group, columns the
weights that one output sums over. A depthwise layer has one group per input channel; an ordinary one has a
single group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk.graph.records import Graph, Weight

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

    def positions(self, value: Any) -> tuple[int, ...]:
        """(n, output height, output width) for a layer's input, or (n,): their product is the number of positions."""
        if self.kind == "FULLY_CONNECTED":
            return (int(np.prod(value.shape)) // self.columns,)
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        unpadded = [0 if self.padding == "SAME" else span - 1 for span in spans]
        sizes = zip(value.shape[1:3], unpadded, self.strides, strict=True)
        return (int(value.shape[0]), *(-(-(int(size) - less) // stride) for size, less, stride in sizes))

    def patches(self, value: Any, keep: np.ndarray | None = None) -> np.ndarray:
        """A layer's input (n, h, w, channels) or (n, columns) -> (positions, groups, columns), float32.

        ``keep`` numbers the wanted positions; the windows of others are not read.
        """
        if self.kind == "FULLY_CONNECTED":
            found = np.asarray(value, np.float32).reshape(-1, 1, self.columns)
            return found if keep is None else found[keep]
        (height, width), channels = self.kernel, value.shape[3]
        if self.kernel == (1, 1):
            cut = np.asarray(value, np.float32)[:, :: self.strides[0], :: self.strides[1]]
            if keep is not None:
                cut = cut.reshape(-1, channels)[keep]
        elif keep is not None:
            windows = self._windows(np.asarray(value, np.float32), keep)
            if self.groups == channels:
                return _channel_by_channel((window.T for window in windows), height * width)
            cut = np.stack(list(windows), axis=1)
        else:
            import tensorflow as tf

            cut = tf.image.extract_patches(
                value, (1, height, width, 1), (1, *self.strides, 1), (1, *self.dilations, 1), self.padding
            ).numpy()
        # extract_patches orders (kernel position, channel); a group takes a run of channels of every position.
        positions = cut.reshape(-1, height * width, self.groups, channels // self.groups)
        if self.groups == channels and self.kernel != (1, 1):
            return _channel_by_channel(np.moveaxis(positions[..., 0], 0, 2), height * width)
        if self.groups == 1:
            return positions.reshape(-1, 1, self.columns)
        return np.moveaxis(positions, 2, 1).reshape(-1, self.groups, self.columns)

    def _windows(self, value: np.ndarray, keep: np.ndarray) -> Iterator[np.ndarray]:
        """What the windows at these positions cover: for each kernel position (kept positions, channels)."""
        images, height, width = self.positions(value)
        amounts = [(0, 0)] * 4
        if self.padding == "SAME":
            for axis, count in ((1, height), (2, width)):
                kernel, stride, dilation = (v[axis - 1] for v in (self.kernel, self.strides, self.dilations))
                total = max((count - 1) * stride + (kernel - 1) * dilation + 1 - value.shape[axis], 0)
                amounts[axis] = (total // 2, total - total // 2)
        padded = np.pad(value, amounts)
        image, row, column = np.unravel_index(keep, (images, height, width))
        row, column = row * self.strides[0], column * self.strides[1]
        down, across = self.dilations
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                yield padded[image, row + y * down, column + x * across]


def _channel_by_channel(windows: Iterable[np.ndarray], count: int) -> np.ndarray:
    """For each of ``count`` kernel positions (channels, positions) -> (positions, channels, kernel positions).

    Each channel's numbers are side by side in memory: products of them are several times as fast.
    """
    beside = np.empty(0, np.float32)
    for number, window in enumerate(windows):
        if number == 0:
            beside = np.empty((count, *window.shape), np.float32)
        beside[number] = window
    return beside.transpose(2, 1, 0)
