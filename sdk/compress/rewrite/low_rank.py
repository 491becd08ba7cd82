"""Low-rank factorisation: one fully connected or 1x1 layer becomes two thin ones, where that is smaller at equal error.

A weight W (rows, columns) of rank r is A B with A (rows, r) and B (r, columns): r (rows + columns) numbers in place of
rows * columns (Denton et al., arXiv 1404.0736). Factors want finer steps than W, because the error of cutting W to rank
r comes on top; so counting numbers says little. Bits are compared instead: those of W as the effort codes it, and those
of A and B with steps so fine that the whole error is no larger than W's.

Errors are of the layer's output: with the covariance H of its input the truncation is the best one in the metric
``dW H dW`` (a singular value decomposition of W H^1/2); without data H is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import groups_of
from sdk.errors import ModelError
from sdk.graph.enums import NO_ACTIVATION
from sdk.graph.records import Graph, Weight

LAYERS = ("convolution 1x1", "fully connected")
SMALLEST = 4096  # weights; below it there is nothing to win
RANKS = 12  # numbers of rank that are tried, evenly in their logarithm
STEPS = 8  # of bisecting how fine factors are coded
CHANNEL_BITS = 48  # a further channel costs a bias and a scale
SAVING = 0.95  # of the bits: what wins by less is not worth a further operator
LEAST_ENERGY = 1e-6  # of a direction of the input, as a share of the strongest one's
MOST_COLUMNS = 2048  # of the smaller side; a decomposition beyond takes minutes


def candidates(graph: Graph) -> list[Weight]:
    """The layers that may be factorised: dense float32, one group, and not tiny."""
    found = []
    for weight in graph.weights():
        if weight.layer not in LAYERS or not weight.tensor.is_dense_array or weight.array.dtype != np.float32:
            continue
        operator = graph.operators[weight.operator_index]
        if operator.kind == "CONV_2D" and groups_of(graph, operator) != 1:
            continue
        if operator.kind == "FULLY_CONNECTED" and operator.options.get("keepNumDims"):
            continue
        if operator.kind not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        rows = weight.array.shape[0]
        if weight.array.size >= SMALLEST and min(rows, weight.array.size // rows) <= MOST_COLUMNS:
            found.append(weight)
    return found


def ranks_to_try(rows: int, columns: int) -> list[int]:
    """Ranks up to that at which two factors have as many numbers as the matrix."""
    most = rows * columns // (rows + columns)
    return sorted({int(rank) for rank in np.geomspace(1, max(most, 1), RANKS)})


def winning_rank(
    weight: np.ndarray,
    step: float,
    row_weights: np.ndarray | None = None,
    covariance: np.ndarray | None = None,
) -> tuple[int, float] | None:
    """The rank with which a weight takes the fewest bits, and their share of the weight's own bits; None if none wins.

    ``weight`` (rows, columns); ``row_weights`` (rows,) weigh a squared error of each output, ``covariance`` (columns,
    columns) is the input's. ``step`` is the step of rounding in units of the square root of such an error, as
    :mod:`sdk.compress.solve.layer` chooses its scales; the error to keep is that of rounding the weight with it.
    """
    rows, columns = weight.shape
    scaled = weight.astype(np.float64)
    if row_weights is not None:
        scaled = scaled * np.sqrt(row_weights)[:, None]
    white, back, typical = _whitening(covariance, columns)
    coded_bits, coded_error = _coded(scaled * typical, step)
    left, values, right = np.linalg.svd(scaled @ white, full_matrices=False)
    lost = np.concatenate([np.cumsum((values**2)[::-1])[::-1], [0.0]])  # by cutting to each rank
    best: tuple[int, float] | None = None
    for rank in ranks_to_try(rows, columns):
        if lost[rank] >= coded_error:
            continue
        first = left[:, :rank] * values[:rank]
        second = (values[:rank, None] * right[:rank]) @ back * typical
        bits = _bits_at(first, second, coded_error - lost[rank], step) + CHANNEL_BITS * rank
        if bits < SAVING * coded_bits and (best is None or bits < best[1]):
            best = rank, bits
    return None if best is None else (best[0], best[1] / coded_bits)


def _bits_at(first: np.ndarray, second: np.ndarray, error: float, step: float) -> float:
    """Bits of both factors at the coarsest step whose errors sum to no more than ``error``."""
    low, high = step / 64, step
    for _ in range(STEPS):
        middle = np.sqrt(low * high)
        reached = _coded(first, middle)[1] + _coded(second, middle)[1]
        low, high = (middle, high) if reached <= error else (low, middle)
    (one, error_one), (other, error_other) = _coded(first, low), _coded(second, low)
    return one + other if error_one + error_other <= error else np.inf


def _coded(array: np.ndarray, step: float) -> tuple[float, float]:
    """Bits of an ideal code, and the squared error, of an array rounded to whole steps."""
    symbols = np.rint(array / step)
    counts = np.bincount((symbols - symbols.min()).astype(np.int64).ravel())
    counts = counts[counts > 0]
    bits = float((counts * (np.log2(counts.sum()) - np.log2(counts))).sum())
    return bits, float(((array - step * symbols) ** 2).sum())


def _whitening(covariance: np.ndarray | None, columns: int) -> tuple[np.ndarray, np.ndarray, float]:
    """H^1/2, H^-1/2, and the deviation that a column typically has given all others: det(H)^(1 / 2 columns)."""
    if covariance is None:
        return np.eye(columns), np.eye(columns), 1.0
    values, vectors = np.linalg.eigh(covariance)
    values = np.sqrt(np.maximum(values, max(values[-1], 1e-30) * LEAST_ENERGY))
    typical = float(np.exp(np.log(values).mean()))
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T, typical


def factors(
    weight: np.ndarray, rank: int, covariance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(A, B), float32: A B is the nearest to ``weight`` (rows, columns) of this rank in the metric of the covariance.

    Both have the same energy in every component. Raises :class:`ModelError` for a rank the matrix cannot have.
    """
    if not 1 <= rank <= min(weight.shape):
        raise ModelError("the rank is out of range", expected=f"1 to {min(weight.shape)}", found=str(rank))
    white, back, _ = _whitening(covariance, weight.shape[1])
    left, values, right = np.linalg.svd(weight.astype(np.float64) @ white, full_matrices=False)
    root = np.sqrt(values[:rank])
    return (
        (left[:, :rank] * root).astype(np.float32),
        (root[:, None] * right[:rank] @ back).astype(np.float32),
    )


def factorise(
    graph: Graph, ranks: Mapping[int, int], covariances: Mapping[int, np.ndarray] | None = None
) -> Graph:
    """The graph with each named weight (tensor number -> rank) as two layers; bias and activation stay with the second.

    ``covariances``: by tensor number, (columns, columns), of the layer's input; without one all inputs count the same.
    Raises :class:`ModelError` for a weight that is not a candidate, or a rank that it cannot have.
    """
    editor = Editor(graph)
    possible = {weight.tensor_index: weight for weight in candidates(graph)}
    for tensor, rank in ranks.items():
        if tensor not in possible:
            raise ModelError(
                f"{graph.tensors[tensor].name!r} cannot be factorised",
                expected="a fully connected or 1x1 layer of one group",
                found="/".join(map(str, graph.tensors[tensor].shape)),
            )
        _split(editor, graph, possible[tensor], rank, (covariances or {}).get(tensor))
    return editor.graph()


def _split(editor: Editor, graph: Graph, weight: Weight, rank: int, covariance: np.ndarray | None) -> None:
    operator = graph.operators[weight.operator_index]
    rows = weight.array.shape[0]
    first, second = factors(weight.array.reshape(rows, -1), rank, covariance)
    window = weight.array.shape[1:-1]  # (1, 1) of a convolution
    name, output = weight.tensor.name, graph.tensors[operator.outputs[0]].shape
    inner = editor.constant(f"{name}/in", second.reshape(rank, *window, -1))
    outer = editor.constant(f"{name}/out", first.reshape(rows, *window, rank))
    between = editor.value(f"{name}/between", (*output[:-1], rank))
    bias = editor.constant(f"{name}/in_bias", np.zeros(rank, np.float32))
    plain = {"fusedActivationFunction": NO_ACTIVATION}
    narrow = replace(
        operator.with_options(**plain), inputs=(operator.inputs[0], inner, bias), outputs=(between,)
    )
    wide = replace(operator, inputs=(between, outer, *operator.inputs[2:]))
    if operator.kind == "CONV_2D":
        wide = wide.with_options(strideH=1, strideW=1)
    editor.replace(weight.operator_index, [narrow, wide])
