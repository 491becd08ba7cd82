"""The cost of weights in bits: the rate term of a training.

A weight that is not zero costs the code of its gap and the code of its centroid
(``device_agent/package/PACKAGE_FORMAT.md``). While weights are pruned that is about log2(1 + (w / s)^2) / 2 bits: the
length of a number's code grows with the number of steps between it and zero. The function is smooth, so that its slope
moves small weights to zero long before they are cut, and leaves large ones alone; up to a constant it is the divergence
in the loss of Sparse Variational Dropout (arXiv 1701.05369) and Bayesian compression (arXiv 1705.08665). Once weights
share centroids their codes are known, and so are their bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEP = 0.1  # of a layer's root mean square: the s above
CHANNEL_BITS = 8.0  # of an output channel that is there: its bias, and longer gaps everywhere


def soft_bits(value: Any, step: float) -> Any:
    """Bits of a weight (out, ..., in), its channels included, as a function that TensorFlow differentiates."""
    import tensorflow as tf

    squares = tf.square(value / step)
    channels = tf.reduce_sum(tf.reshape(squares, (squares.shape[0], -1)), axis=1)
    bits = tf.reduce_sum(tf.math.log1p(squares)) + CHANNEL_BITS * tf.reduce_sum(tf.math.log1p(channels))
    return bits * (0.5 / np.log(2))


def code_bits(codes: np.ndarray, symbols: int) -> np.ndarray:
    """Bits of each of ``symbols`` codes, (symbols,) float64, where they occur as often as in ``codes``.

    Gaps and centroids together cost the entropy of all positions of a layer, zeros included. A symbol that occurs
    nowhere counts as half of one, so that it may come back.
    """
    counts = np.bincount(codes.ravel(), minlength=symbols).astype(np.float64)
    return np.asarray(-np.log2(np.maximum(counts, 0.5) / codes.size))


def cheapest(
    values: np.ndarray, curvature: np.ndarray, book: np.ndarray, bits: np.ndarray, price: float
) -> np.ndarray:
    """For each value (n,) the number (n,) of the entry of ``book`` whose error and bits together cost least.

    ``book`` and ``bits``, what each entry takes, are (k,); ``curvature`` is (n,). An error e of a value costs curvature
    * e^2 / 2 nats, a bit ``price`` nats.
    """
    errors = np.square(values.astype(np.float64)[:, None] - book)
    return np.argmin(curvature[:, None] / 2 * errors + price * bits, axis=1)
