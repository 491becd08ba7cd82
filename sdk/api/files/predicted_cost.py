"""The cost of a form of a graph on a board, in predicted seconds or counted instructions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from sdk.board.description.records import Board
from sdk.compress.board_form import armlet_kernels, specialise
from sdk.compress.board_form.cost import instructions
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.weights.blocks import FOUR
from sdk.compress.weights.prune import prune
from sdk.deploy.predicting.engine import predict_on
from sdk.deploy.provision.instructions import count_inference
from sdk.deploy.provision.kernel import build_delegate
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import Progress

#: Fours must take less than this share of the time of what was made to be proposed.
WORTH_A_NOTE = 0.85
USUAL_CORE = "cortex-a72"  # of a Raspberry Pi 4


def predicted_seconds(board: Board, progress: Progress) -> specialise.Seconds:
    """A function that predicts the seconds of one inference of a graph, on one thread of the board with the runtime
    that its file prefers, in the kernels of Armlet where asked. What it raises, :func:`predict_on` says."""
    preferred = board.preferred_runtime
    predict = partial(predict_on, operators=False)
    if preferred is not None:
        predict = partial(predict, runtime=preferred.name, version=preferred.version)

    known: dict[tuple[str, bool], float] = {}

    def seconds(graph: Graph, /, *, armlet: bool = False) -> float:
        data = write_graph(graph)
        key = hashlib.sha256(data).hexdigest(), armlet
        if key not in known:
            delegate = build_delegate("aarch64") if armlet else None
            (prediction,) = predict([board], data, delegate=delegate, progress=progress)
            known[key] = prediction.seconds
        return known[key]

    return seconds


def where_layers_run(graph: Graph, special: specialise.Specialised | None) -> tuple[dict[str, Any], ...]:
    """Of each layer with zeros in a compressed float graph: estimated M instructions in the runtime's kernels, dense
    and sparse, and in Armlet's, and where it runs in the form for its board; () without a board."""
    if special is None:
        return ()
    shown = fuse(graph) if special.form == "sparse" else special.graph
    rows = []
    for one in armlet_kernels.layer_costs(shown):
        if one.zeros == 0.0:
            continue
        where = "Armlet" if one.claimed and special.form != "sparse" else "runtime"
        if special.form == "sparse" and one.sparse is not None:
            where = "runtime, sparse"
        rows.append({**asdict(one), "runs_in": where})
    return tuple(rows)


def fours_would_pay(graph: Graph, special: specialise.Specialised | None, recipe: Recipe) -> tuple[str, ...]:
    """A note that proposes ``--block 4`` where the graph, pruned as much in fours, would take clearly less time in the
    kernels of Armlet than what was made; () where it would not, or where the runtime's sparse kernels run."""
    if special is None or special.form == "sparse" or recipe.block >= FOUR or recipe.sparsity <= 0.0:
        return ()
    if recipe.int8 or recipe.dynamic:
        return ()
    fours = fuse(prune(graph, recipe.sparsity, scope=recipe.scope, block=FOUR))
    single, own = (armlet_kernels.instructions(one) for one in (special.graph, fours))
    dense, as_long = instructions(special.graph), armlet_kernels.AS_LONG_AS["dense"]
    if as_long * own >= WORTH_A_NOTE * min(dense, as_long * single):
        return ()
    now = f"{single / 1e6:.3g} M there" if as_long * single < dense else f"{dense / 1e6:.3g} M, all dense,"
    return (
        f"--block 4 at the same sparsity would take about {own / 1e6:.3g} M instructions in kernels of Armlet; this "
        f"takes {now} (estimated, Cortex-A72). Fours cost more accuracy than single weights or pairs",
    )


def counted_instructions(board: Board | None, progress: Progress) -> Callable[[Graph], int]:
    """A function that counts the instructions of one inference of a graph on the board's fastest core, emulated, on one
    thread; on a Cortex-A72 without a board. What it raises, :func:`count_inference` says."""
    core = USUAL_CORE
    if board is not None and board.qemu_cpu is not None:
        core = board.qemu_cpu
    elif board is not None and board.clusters:
        core = max(board.clusters, key=lambda c: c.peak_fp32_gflops_per_core.value).core.lower()

    def count(graph: Graph) -> int:
        return count_inference(write_graph(graph), cpu=core, progress=progress).instructions

    return count
