"""The form of a graph that its board runs fastest: which passes apply, in which order, and why.

Every pass is exact; together they change an output by no more than float rounding.  Two forms are made and the cheaper
one by :mod:`sdk.compress.board_form.cost` is taken:

* *dense*: shuffles settled and cut short, channels rounded up to the kernel;
* *armlet*, for graphs that were pruned in fours: only fused, as the kernels of Armlet claim them (docs/kernels.md);
* *sparse*, where the runtime has sparse kernels for the board and enough weights are zero: shuffles and groups folded
  into block-sparse weights, pools and concatenations lowered, mirrored where TensorFlow's padding asks for it, hinted.

Where seconds are predicted for the board (:mod:`sdk.deploy.predicting`), these decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sdk.board.description.records import Board
from sdk.compress.board_form import armlet_kernels
from sdk.compress.board_form.cost import instructions
from sdk.compress.board_form.lower import (
    average_pools_as_depthwise,
    concatenations_as_sums,
    enter_channels_first,
    explicit_padding,
    flat_pads,
    global_pools_as_means,
    pixel_convolutions_as_fully_connected,
)
from sdk.compress.board_form.mirror import flip_inside, mirror, pads_at_the_end
from sdk.compress.board_form.shuffle import fold_shuffles, settle_shuffles
from sdk.compress.board_form.shuffle_halves import part_shuffles
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.board_form.sparse_path import SparsePath, left_outside, sparse_path
from sdk.compress.board_form.squeeze import constants_with_four_axes, inner_means_as_depthwise
from sdk.compress.board_form.widen import widen
from sdk.compress.board_form.zero_branch import zero_branch
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.weights.blocks import PAIR
from sdk.compress.weights.prune import prune
from sdk.errors import ModelError
from sdk.graph.records import Graph


class Seconds(Protocol):
    """Predicted seconds of one inference of a graph on the board, in the kernels of Armlet where ``armlet``."""

    def __call__(self, graph: Graph, /, *, armlet: bool = False) -> float:
        """Seconds."""


#: The sparse form must cost less than this share of the dense one: the estimates are good to a tenth.
MARGIN = 0.95


@dataclass(frozen=True)
class PassResult:
    """One line of the report: what a pass did, or why it was not used."""

    name: str
    applied: bool
    reason: str


@dataclass(frozen=True)
class Specialised:
    """A graph for one board; ``form`` is "sparse", "dense" or "armlet"; its ``input_flips`` say how it wants its image;
    ``instructions`` are estimated, 0 where they were not."""

    graph: Graph
    form: str
    passes: tuple[PassResult, ...]
    instructions: float = 0.0

    @property
    def applied(self) -> tuple[str, ...]:
        """The names of the passes that changed the graph."""
        return tuple(result.name for result in self.passes if result.applied)


def runs_sparse(board: Board, runtime: str | None = None) -> bool:
    """True when the runtime has sparse 1x1 kernels that it uses on the board's cores.

    ``ai-edge-litert`` uses them on every aarch64 core, ``tflite-runtime`` 2.14 on those with fp16 arithmetic alone; on
    x86 XNNPACK leaves them out (``xnn_is_chw_compatible_config``).
    """
    if board.architecture != "aarch64":
        return False
    if runtime is None:
        runtime = board.preferred_runtime.name if board.preferred_runtime else "ai-edge-litert"
    if runtime == "ai-edge-litert":
        return True
    return bool(board.clusters) and all("fp16" in cluster.isa for cluster in board.clusters)


def block_for(graph: Graph, board: Board, sparsity: float) -> int:
    """How many output channels are best pruned together for ``board``: two where the graph, pruned so, would run
    sparse there, else one, which costs less accuracy.
    """
    if not runs_sparse(board):
        return 1
    pruned = prune(graph, sparsity, block=PAIR)
    return PAIR if for_board(pruned, board, caller_flips=True).form == "sparse" else 1


def for_board(
    graph: Graph,
    board: Board,
    *,
    runtime: str | None = None,
    caller_flips: bool = False,
    allow_sparse: bool = True,
    seconds: Seconds | None = None,
    armlet: bool = False,
) -> Specialised:
    """The exact rewrite of ``graph`` for ``board`` and a runtime (the board's preferred one where None).

    A mirrored network wants its image flipped. With ``caller_flips`` the graph's metadata say so, and the caller flips
    it; otherwise the graph flips the image itself and takes the same image as before. Without ``allow_sparse`` the
    dense form is made, which is what can be quantised. ``seconds`` decides between the forms instead of an estimate of
    their instructions, since fewer instructions are not always faster. ``armlet``: the kernels of Armlet may run it.
    """
    made = _for_runtime(graph, board, runtime, caller_flips, allow_sparse, seconds)
    return _or_armlet(graph, made, seconds) if armlet and allow_sparse else made


def _or_armlet(graph: Graph, made: Specialised, seconds: Seconds | None) -> Specialised:
    """The form for the kernels of Armlet, where it costs less than that for the runtime's."""
    fused, results = _run(graph, [("fuse", fuse)])
    own, theirs = armlet_kernels.instructions(fused), made.instructions or instructions(made.graph)
    if own == math.inf:
        verdict = PassResult("armlet_kernels", False, "no layer has zeros enough for the kernels of Armlet")
        return replace(made, passes=(*made.passes, verdict))
    as_long = armlet_kernels.AS_LONG_AS[made.form]
    told = (
        f"about {own / 1e6:.3g} M instructions in kernels of Armlet, each as long as {as_long:g} of "
        f"{theirs / 1e6:.3g} M {made.form}"
    )
    own *= as_long
    if seconds is not None:
        own, theirs = seconds(fused, armlet=True), seconds(made.graph)
        told = f"predicted, not measured: {1e3 * own:.3g} ms in kernels of Armlet, {1e3 * theirs:.3g} ms {made.form}"
    if own >= MARGIN * theirs:
        return replace(made, passes=(*made.passes, PassResult("armlet_kernels", False, told)))
    return Specialised(fused, "armlet", (*results, PassResult("armlet_kernels", True, told)))


def _for_runtime(
    graph: Graph,
    board: Board,
    runtime: str | None,
    caller_flips: bool,
    allow_sparse: bool,
    seconds: Seconds | None,
) -> Specialised:
    """The dense or the sparse form, for the runtime's kernels."""
    if board.architecture == "host":
        fused, results = _run(graph, [("fuse", fuse)])
        return Specialised(fused, "dense", results)
    dense, dense_results = _run(
        graph,
        [
            ("fuse", fuse),
            ("settle_shuffles", settle_shuffles),
            ("part_shuffles", part_shuffles),
            ("widen", widen),
            ("flat_pads", flat_pads),
        ],
    )
    if not allow_sparse:
        return Specialised(dense, "dense", dense_results)
    if not runs_sparse(board, runtime):
        name = runtime or (board.preferred_runtime.name if board.preferred_runtime else "the runtime")
        why = f"{name} has no sparse kernels for the cores of {board.name}"
        return Specialised(dense, "dense", (*dense_results, PassResult("sparse_hint", False, why)))

    sparse, sparse_results, path, outside = _sparse_form(graph)
    if not path.sparse:
        why = _why_not(path, outside)
        return Specialised(dense, "dense", (*dense_results, PassResult("sparse_hint", False, why)))
    if not caller_flips and sparse.input_flips:
        sparse, more = _run(sparse, [("flip_inside", flip_inside)])
        sparse_results += more
        path = sparse_path(sparse)
    try:
        hinted = sparse_hint(sparse)
    except (
        ModelError
    ) as error:  # weights of zeros alone, for one, count as sparse and leave nothing to hint at
        return Specialised(dense, "dense", (*dense_results, PassResult("sparse_hint", False, str(error))))
    faster, verdict = _is_faster(dense, sparse, hinted, path, seconds)
    if not faster:
        return Specialised(dense, "dense", (*dense_results, PassResult("sparse_hint", False, verdict)))
    passes = (*sparse_results, PassResult("sparse_hint", True, verdict))
    return Specialised(hinted, "sparse", passes, instructions(sparse, set(path.operators)))


def _is_faster(
    dense: Graph, sparse: Graph, hinted: Graph, path: SparsePath, seconds: Seconds | None
) -> tuple[bool, str]:
    """Whether the sparse form costs less, and by what: predicted seconds where these decide, else instructions."""
    if seconds is not None:
        costs = seconds(dense), seconds(hinted)
        verdict = f"predicted, not measured: {1e3 * costs[1]:.3g} ms sparse, {1e3 * costs[0]:.3g} ms dense"
    else:
        costs = instructions(dense), instructions(sparse, set(path.operators))
        verdict = f"about {costs[1] / 1e6:.3g} M instructions sparse, {costs[0] / 1e6:.3g} M dense"
    return costs[1] < MARGIN * costs[0], verdict


def _run(
    graph: Graph, passes: list[tuple[str, Callable[[Graph], Graph]]]
) -> tuple[Graph, tuple[PassResult, ...]]:
    results = []
    for name, one in passes:
        before = graph
        try:
            graph = one(graph)
        except ModelError as error:
            results.append(PassResult(name, False, str(error)))
            continue
        changed = _form(graph) != _form(before)
        what = f"{len(before.operators)} -> {len(graph.operators)} operators" if changed else "nothing to do"
        results.append(PassResult(name, changed, what))
    return graph, tuple(results)


def _form(graph: Graph) -> list[tuple[object, ...]]:
    return [
        (op.kind, *(graph.tensors[t].shape for t in (*op.inputs, *op.outputs) if t >= 0))
        for op in graph.operators
    ]


def _sparse_form(graph: Graph) -> tuple[Graph, tuple[PassResult, ...], SparsePath, list[str]]:
    """The form, what each pass did, its cluster, and why operators stand outside of it."""
    graph, results = _run(
        graph,
        [
            ("fuse", fuse),
            ("global_pools_as_means", global_pools_as_means),
            (
                "pixel_convolutions_as_fully_connected",
                lambda g: fuse(pixel_convolutions_as_fully_connected(g)),
            ),
            ("fold_shuffles", fold_shuffles),
            ("average_pools_as_depthwise", average_pools_as_depthwise),
        ],
    )
    if pads_at_the_end(graph):
        graph, more = _run(graph, [("mirror", mirror)])
        results += more
    graph, more = _run(
        graph,
        [
            ("inner_means_as_depthwise", inner_means_as_depthwise),
            ("constants_with_four_axes", constants_with_four_axes),
            ("explicit_padding", explicit_padding),
        ],
    )
    results += more
    outside = left_outside(concatenations_as_sums(graph))
    graph, more = _run(
        graph,
        [
            ("enter_channels_first", _enter),
            ("concatenations_as_sums", concatenations_as_sums),
            ("flat_pads", flat_pads),
        ],
    )
    results += more
    path = sparse_path(graph)
    # A network without any zeros is not meant to run sparse.
    if path.fits and path.zeros and not path.sparse:
        graph, more = _run(graph, [("zero_branch", lambda g: zero_branch(g, path.missing_zeros))])
        results += more
    return graph, results, sparse_path(graph), outside


def _enter(graph: Graph) -> Graph:
    """Lets what the sparse path cannot make itself enter it, where nothing else stands in its way."""
    lowered = sparse_path(concatenations_as_sums(graph))
    if lowered.fits or not lowered.foreign:
        return graph
    names = [concatenations_as_sums(graph).tensors[value].name for value in lowered.foreign]
    for name in names:
        number = next(n for n, tensor in enumerate(graph.tensors) if tensor.name == name)
        graph = enter_channels_first(graph, number)
    return graph


def _why_not(path: SparsePath, outside: list[str]) -> str:
    if not path.fits:
        return "; ".join((outside or path.obstacles)[:4])
    share = path.zeros / path.parameters if path.parameters else 0.0
    return f"{100 * share:.0f} % of the 1x1 weights are zero, more than 67 % must be"
