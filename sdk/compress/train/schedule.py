"""Settings of a training, and when its phases begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sdk.compress.defaults import EPOCHS

PRUNE_UNTIL, FIX_FROM, SHARE_FROM = 0.5, 0.65, 0.8  # of all epochs
SHARED_RATE = 0.2  # of the learning rate, once centroids are trained: their gradients are sums
REFINING_RATE = 0.3  # of the learning rate, where training begins with what calibration found


@dataclass(frozen=True)
class Tuning:
    """How to train.

    ``shift``: images are moved by up to this many pixels each way, and with ``flip`` half of them are mirrored, where
    that does not change their meaning.
    """

    sparsity: float
    clusters: int  # centroids per layer, zero included
    epochs: int = EPOCHS
    batch: int = 128
    rate: float = 1e-3  # Adam's
    decay: float = 1e-5  # L2, decoupled
    label_share: float = 0.3  # of the loss that is the labels', where there are labels
    shift: int = 0
    flip: bool = False
    seed: int = 0
    block: int = 1  # output channels of a 1x1 convolution that share their zeros
    price: float = 0.0  # of a bit, nats of the loss; above 0 bits are counted: sdk.compress.train.priced
    # Of weights that are not compared with others, and of weights with a number of their own.
    layer_sparsity: Mapping[int, float] = field(default_factory=dict)
    layer_clusters: Mapping[int, int] = field(default_factory=dict)
