"""The zoo: the networks of the field at any size, and the two trained ones of ``sdk demo``.

:func:`describe` counts parameters and multiply-accumulates without TensorFlow; :func:`build` makes the Keras
model of the same description. Importing this package imports neither.

May import: sdk.errors, sdk.graph.on_host, sdk.graph.on_host.sources, sdk.models.networks.
"""

from __future__ import annotations

from typing import Any

from sdk.models.catalogue import ENTRIES, ZooEntry, ZooOption, entry
from sdk.models.demo import DemoModel, demo_models
from sdk.models.networks.network import Layer, Network

__all__ = [
    "DemoModel",
    "Layer",
    "Network",
    "ZooEntry",
    "ZooOption",
    "build",
    "catalogue",
    "demo_models",
    "describe",
    "entry",
]


def catalogue() -> tuple[ZooEntry, ...]:
    """Every network of the zoo."""
    return ENTRIES


def describe(
    name: str,
    *,
    input_size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    channels: int | None = None,
    **options: Any,
) -> Network:
    """The network as a list of layers, with its ``parameters`` and ``macs``; needs no TensorFlow.

    Args:
        name: a name of :func:`catalogue`.
        input_size: pixels of a square input, or ``(height, width)``; the paper's where None.
        classes: size of the output; the paper's where None.
        channels: input channels; the paper's where None.
        options: the network's own (see its :class:`ZooEntry`), e.g. ``width=0.5``.

    Raises:
        ModelError: an unknown network or option, a bad value, or an input too small for the network.
    """
    chosen = entry(name)
    size = chosen.default_size if input_size is None else input_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (height, width, chosen.default_channels if channels is None else channels)
    return chosen.network(
        shape, chosen.default_classes if classes is None else classes, **chosen.resolve(options)
    )


def build(
    name: str,
    *,
    input_size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """The same network as a ``keras.Model`` (Keras 3 on TensorFlow) with fresh weights drawn from ``seed``.

    Arguments and errors as in :func:`describe`; a ModelError too where Keras is missing.
    """
    from sdk.models.keras_builder import to_keras

    network = describe(name, input_size=input_size, classes=classes, channels=channels, **options)
    return to_keras(network, seed=seed)
