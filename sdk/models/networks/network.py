"""A network written down once: shapes, parameters and multiply-accumulates by arithmetic, Keras from the same list.

A family's file (``mobilenet_v1.py``, ...) writes its network on a :class:`Network`: each call appends one
:class:`Layer`, infers its shape and counts its work, in plain Python, so that ``sdk zoo`` answers at once
and VGG-16 is counted without its 552 MB. ``keras_builder.py`` turns the same list into a Keras model.

Counting rules, the same for every network:

* ``macs``: multiply-accumulates of convolutions and fully connected layers (what the papers call Mult-Adds,
  or FLOPs in the ShuffleNet papers). Pooling, additions, activations and biases count nothing.
* ``parameters``: weights and biases of the network as deployed, i.e. with every batch norm folded into the
  convolution before it, which leaves one bias per output channel.

Shapes leave out the batch, which is 1 on a board: ``(height, width, channels)`` or ``(features,)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sdk.errors import ModelError

PADDINGS = ("same", "symmetric")
"""``same`` is TensorFlow's; ``symmetric`` pads ``kernel // 2`` on every side (an explicit zero padding, then valid)."""


@dataclass(frozen=True)
class Layer:
    """One layer of a :class:`Network`; it knows its place (``index``) and the layers that it reads (``inputs``)."""

    index: int
    name: str
    kind: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    weights: int = 0
    biases: int = 0
    macs: int = 0
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1]


class Network:
    """An append-only list of layers, the first of them the input and the last the output."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        *,
        padding: str = "same",
        batch_norm: bool = True,
        activation: str | None = "relu",
    ) -> None:
        """Start a network on images of ``shape`` ``(height, width, channels)``.

        ``padding``, ``batch_norm`` and ``activation`` are the defaults of its convolutions.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise ModelError(
                f"{name}: bad input shape",
                expected="height, width and channels, each at least 1",
                found=" x ".join(map(str, shape)),
            )
        if padding not in PADDINGS:
            raise ModelError(f"{name}: unknown padding", expected=" or ".join(PADDINGS), found=repr(padding))
        self.name = name
        self.padding = padding
        self._batch_norm = batch_norm
        self._activation = activation
        self._layers: list[Layer] = []
        self.input = self._append("input", "input", (), tuple(shape))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, in an order in which they can be executed."""
        return tuple(self._layers)

    @property
    def output(self) -> Layer:
        """The last layer."""
        return self._layers[-1]

    @property
    def parameters(self) -> int:
        """Weights and biases, batch norms folded."""
        return sum(layer.weights + layer.biases for layer in self._layers)

    @property
    def weights(self) -> int:
        """Kernel weights alone, as some papers count."""
        return sum(layer.weights for layer in self._layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self._layers)

    # Layers with weights.

    def conv(
        self,
        source: Layer,
        filters: int,
        kernel: int = 1,
        *,
        name: str,
        stride: int = 1,
        groups: int = 1,
        padding: str | None = None,
        **how: Any,
    ) -> Layer:
        """A convolution with its batch norm and activation; ``how`` may override ``batch_norm`` and ``activation``.

        ``padding`` may also be ``valid``.
        """
        if source.channels % groups or filters % groups:
            raise ModelError(
                f"{self.name}: layer {name} cannot be split into {groups} groups",
                expected="channel counts that the group count divides",
                found=f"{source.channels} in, {filters} out",
            )
        source, padding = self._pad(source, kernel, stride, padding, name)
        height, width = self._window(source, kernel, stride, padding, name)
        weights = kernel * kernel * (source.channels // groups) * filters
        return self._append(
            name,
            "conv",
            (source,),
            (height, width, filters),
            weights=weights,
            biases=filters,
            macs=weights * height * width,
            filters=filters,
            kernel=kernel,
            stride=stride,
            groups=groups,
            padding=padding,
            **self._finish(how),
        )

    def depthwise(
        self,
        source: Layer,
        kernel: int = 3,
        *,
        name: str,
        stride: int = 1,
        padding: str | None = None,
        **how: Any,
    ) -> Layer:
        """A depthwise convolution (multiplier 1) with its batch norm and activation."""
        source, padding = self._pad(source, kernel, stride, padding, name)
        height, width = self._window(source, kernel, stride, padding, name)
        weights = kernel * kernel * source.channels
        return self._append(
            name,
            "depthwise",
            (source,),
            (height, width, source.channels),
            weights=weights,
            biases=source.channels,
            macs=weights * height * width,
            kernel=kernel,
            stride=stride,
            padding=padding,
            **self._finish(how),
        )

    def dense(self, source: Layer, units: int, *, name: str, activation: str | None = None) -> Layer:
        """A fully connected layer on a flat vector."""
        if units < 1:
            raise ModelError(
                f"{self.name}: bad size of layer {name}", expected="at least 1", found=str(units)
            )
        weights = source.channels * units
        return self._append(
            name,
            "dense",
            (source,),
            (units,),
            weights=weights,
            biases=units,
            macs=weights,
            units=units,
            activation=activation,
        )

    # Layers without weights.

    def pool(
        self,
        source: Layer,
        kind: str,
        kernel: int,
        *,
        name: str,
        stride: int,
        padding: str | None = None,
    ) -> Layer:
        """A ``max`` or ``average`` pool.

        Symmetric padding pads with zeros: exact for a max pool behind a ReLU, and an average pool counts the
        zeros in (as PyTorch's default does; TensorFlow's ``same`` leaves them out).
        """
        source, padding = self._pad(source, kernel, stride, padding, name)
        height, width = self._window(source, kernel, stride, padding, name)
        return self._append(
            name,
            f"{kind}_pool",
            (source,),
            (height, width, source.channels),
            kernel=kernel,
            stride=stride,
            padding=padding,
        )

    def average_pool_to(self, source: Layer, size: int, *, name: str) -> Layer:
        """The mean over ``size`` x ``size`` windows that cover the map: what PyTorch calls adaptive average pooling.

        It is one ordinary pool with equal windows, so where ``size`` does not divide a side, all windows overlap
        equally. A map that is no larger than ``size`` stays as it is.
        """
        height, width, channels = source.shape
        if max(height, width) <= size:
            return source
        stride = (max(1, height // size), max(1, width // size))
        kernel = tuple(
            max(1, side - (size - 1) * step) for side, step in zip((height, width), stride, strict=True)
        )
        shape = tuple(
            (side - window) // step + 1
            for side, window, step in zip((height, width), kernel, stride, strict=True)
        )
        return self._append(
            name,
            "average_pool",
            (source,),
            (*shape, channels),
            kernel=kernel,
            stride=stride,
            padding="valid",
        )

    def global_average_pool(self, source: Layer, *, name: str = "pool") -> Layer:
        """The mean over space: ``(height, width, channels)`` to ``(channels,)``."""
        return self._append(name, "global_average_pool", (source,), (source.channels,))

    def add(self, first: Layer, second: Layer, *, name: str, activation: str | None = None) -> Layer:
        """Element-wise sum."""
        return self._append(name, "add", (first, second), first.shape, activation=activation)

    def concatenate(self, sources: Sequence[Layer], *, name: str, activation: str | None = None) -> Layer:
        """Join along the channels."""
        shape = (*sources[0].shape[:-1], sum(source.channels for source in sources))
        return self._append(name, "concatenate", tuple(sources), shape, activation=activation)

    def halves(self, source: Layer, *, name: str) -> tuple[Layer, Layer]:
        """Split the channels in two equal halves."""
        shape = (*source.shape[:-1], source.channels // 2)
        first, second = (
            self._append(f"{name}_{part}", "half", (source,), shape, part=part) for part in range(2)
        )
        return first, second

    def shuffle(self, source: Layer, groups: int, *, name: str) -> Layer:
        """Channel shuffle (arXiv 1707.01083, figure 1): channels as a ``(groups, rest)`` matrix, transposed."""
        return self._append(name, "shuffle", (source,), source.shape, groups=groups)

    def flatten(self, source: Layer) -> Layer:
        """``(height, width, channels)`` to ``(height * width * channels,)``."""
        size = 1
        for length in source.shape:
            size *= length
        return self._append("flatten", "flatten", (source,), (size,))

    def dropout(self, source: Layer, rate: float, *, name: str) -> Layer:
        """Dropout, for training; a converted model does not hold it."""
        return self._append(name, "dropout", (source,), source.shape, rate=rate)

    def softmax(self, source: Layer) -> Layer:
        """Softmax over the last axis."""
        return self._append("probabilities", "softmax", (source,), source.shape)

    def pad(self, source: Layer, amount: int, *, name: str) -> Layer:
        """Zeros, ``amount`` rows and columns on every side."""
        height, width, channels = source.shape
        shape = (height + 2 * amount, width + 2 * amount, channels)
        return self._append(name, "pad", (source,), shape, amount=amount)

    # How the calls above are done.

    def _append(
        self,
        name: str,
        kind: str,
        sources: tuple[Layer, ...],
        shape: tuple[int, ...],
        *,
        weights: int = 0,
        biases: int = 0,
        macs: int = 0,
        **options: Any,
    ) -> Layer:
        layer = Layer(
            index=len(self._layers),
            name=name,
            kind=kind,
            inputs=tuple(source.index for source in sources),
            shape=shape,
            weights=weights,
            biases=biases,
            macs=macs,
            options=MappingProxyType(options),
        )
        self._layers.append(layer)
        return layer

    def _finish(self, how: dict[str, Any]) -> dict[str, Any]:
        return {"batch_norm": self._batch_norm, "activation": self._activation, **how}

    def _pad(
        self, source: Layer, kernel: int, stride: int, padding: str | None, name: str
    ) -> tuple[Layer, str]:
        """Make symmetric padding explicit where it is not what TensorFlow's ``same`` does anyway."""
        padding = padding or self.padding
        if padding != "symmetric":
            return source, padding
        if stride == 1:  # An odd kernel at stride 1: both pad kernel // 2 on every side.
            return source, "same"
        if kernel == 1:
            return source, "valid"
        return self.pad(source, kernel // 2, name=f"{name}_pad"), "valid"

    def _window(self, source: Layer, kernel: int, stride: int, padding: str, name: str) -> tuple[int, int]:
        height, width = source.shape[:2]
        if padding == "same":
            return -(-height // stride), -(-width // stride)
        if min(height, width) < kernel:
            shape = self._layers[0].shape
            raise ModelError(
                f"{self.name}: an input of {shape[0]}x{shape[1]} is too small",
                expected=f"at least {kernel}x{kernel} at layer {name}",
                found=f"{height}x{width}",
                hint="Choose a larger input size.",
            )
        return (height - kernel) // stride + 1, (width - kernel) // stride + 1
