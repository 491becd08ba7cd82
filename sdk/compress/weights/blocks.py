"""Blocks of weights that become zero together, in the pattern that XNNPACK's sparse kernels like best.

The kernels multiply 32 pixels by one, two or four output channels that share their non-zeros; XNNPACK looks at each 1x1
weight and takes the widest block of which 90 % is filled (``src/operators/convolution-nchw.c``). Instructions for a
multiply-accumulate, counted on Cortex-A72 with ai-edge-litert 2.3, MobileNet V1 at 80 % zeros: single channels 0.76,
pairs 0.51, fours 0.63 (the kernel for four runs out of registers). So pairs are worth 1.5 times at equal sparsity. The
price is that two weights are kept or removed together.

A weight (out, height, width, in) or (out, in) falls into units: ``block`` neighbouring output channels at the same
input, and the single weights of the channels that are left over at the end. Arrays of units are flat: whole blocks
first, row by row, then the rest.
"""

from __future__ import annotations

import numpy as np

from sdk.errors import ModelError
from sdk.graph.records import Weight

#: Output channels that share their zeros, in the kernel that costs least for a product.
PAIR = 2
#: Those that share them in every layer that the kernels of Armlet compute.
FOUR = 4


def check_block(block: int) -> None:
    """Raises :class:`ModelError` for a block below 1."""
    if block < 1:
        raise ModelError("the block is out of range", expected="1 or more", found=str(block))


def block_of(weight: Weight, block: int) -> int:
    """The block of one weight. Pairs are for the runtime's kernels, which are sparse for 1x1 convolutions alone; fours
    are for Armlet's, which skip them in every layer but the depthwise ones."""
    if weight.layer == "convolution 1x1":
        return block
    return block if block >= FOUR and weight.layer != "depthwise" else 1


def energies(array: np.ndarray, block: int) -> np.ndarray:
    """The mean square of every unit of ``array`` (out, ..., in): (units,) float64."""
    rows = len(array) // block * block
    squares = np.square(array, dtype=np.float64)
    blocks = squares[:rows].reshape(rows // block, block, -1).mean(axis=1)
    return np.concatenate([blocks.ravel(), squares[rows:].ravel()])


def sizes(shape: tuple[int, ...], block: int) -> np.ndarray:
    """How many weights each unit of an array of this shape holds, (units,) int64."""
    whole = shape[0] // block
    columns = int(np.prod(shape[1:], dtype=np.int64))
    return np.repeat([block, 1], [whole * columns, (shape[0] - whole * block) * columns])


def spread(units: np.ndarray, shape: tuple[int, ...], block: int) -> np.ndarray:
    """One value per unit (units,) to one value per weight, in an array of this shape and the same type."""
    whole = shape[0] // block
    columns = int(np.prod(shape[1:], dtype=np.int64))
    blocks = units[: whole * columns].reshape(whole, columns)
    rest = units[whole * columns :].reshape(shape[0] - whole * block, columns)
    return np.concatenate([np.repeat(blocks, block, axis=0), rest]).reshape(shape)


def smallest(scores: np.ndarray, unit_sizes: np.ndarray, count: int) -> np.ndarray:
    """True for the units of lowest score that hold at most ``count`` weights together, (units,) bool.

    ``scores`` and ``unit_sizes`` are (units,); of equal scores the earlier goes first.
    """
    order = np.argsort(scores, kind="stable")
    gone = np.zeros(scores.size, bool)
    gone[order[np.cumsum(unit_sizes[order]) <= count]] = True
    return gone
