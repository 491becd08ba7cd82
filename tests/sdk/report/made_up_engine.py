"""An engine that makes predictions up, so that tests of what is said of them need no emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdk.board.description.records import Board
from sdk.explain import theory
from sdk.explain.speed.prediction import Assumption, CycleParts, PredictedOperator, Prediction
from sdk.explain.speed.validation import Validation, ValidationCell
from sdk.graph.reader import read_graph
from tests.sdk.report.made_up_runs import NAMES


def engine(*, dram: float = 0.05, slower: float = 1.0, marks: bool = True) -> Callable[..., list[Prediction]]:
    """``dram``: the share of the cycles that waits for memory; ``slower`` than four MACs a cycle by so much."""

    def predict(boards: Sequence[Board], tflite: bytes, **asked: object) -> list[Prediction]:
        return [one_of(board, tflite, dram, slower, marks, **asked) for board in boards]

    return predict


def validation() -> Validation:
    """A table in which boards err by what is theirs, and networks that memory decides by more."""
    return Validation(
        "made up",
        tuple(
            ValidationCell(
                "net",
                f"board {off}",
                core,
                "ncnn",
                "float32",
                0.01,
                0.01 * off * factor,
                number % 2 == 0,
                memory,
            )
            for core in ("Cortex-A72", "Cortex-A76")
            for off in (0.9, 1.1, 1.3)
            for memory, factors in ((False, (1.0, 1.02, 1.05)), (True, (0.6, 1.8, 2.0)))
            for number, factor in enumerate(factors)
        ),
    )


def one_of(
    board: Board, tflite: bytes, dram: float, slower: float, marks: bool, **asked: object
) -> Prediction:
    cluster = max(board.clusters, key=lambda cluster: cluster.peak_fp32_gflops_per_core.value)
    costs = theory.operator_costs(read_graph(tflite))
    cycles = [slower * (cost.macs / 4 + 3_000) for cost in costs]
    whole = sum(cycles) + 2_000
    rest = whole * (1 - dram)
    return Prediction(
        board=board.name,
        core=cluster.core,
        emulated_core=cluster.core.lower(),
        clock_hz=cluster.clock_ghz.value * 1e9,
        runtime=str(asked["runtime"]),
        runtime_version=str(asked.get("version") or "2.3.0"),
        dtype="float32",
        cycles=whole,
        instructions=int(2 * whole),
        parts=CycleParts(0.7 * rest, 0.1 * rest, 0.1 * rest, dram * whole, 0.02 * rest, 0.08 * rest),
        dram_bytes=sum(cost.weight_bytes for cost in costs),
        dram_share=dram,
        memory_bytes_per_second=board.memory_bytes_per_second or 1e9,
        kernels=(("xnn_f32_gemm_minmax_ukernel_6x8__neonfma", 0.8), ("xnn_f32_dwconv_9p4c", 0.15)),
        operators=tuple(
            PredictedOperator(cost.index, NAMES.get(cost.kind, cost.kind), own, int(2 * own))
            for cost, own in zip(costs, cycles, strict=True)
        )
        if marks
        else (),
        assumptions=(Assumption("issue queues", 32.0, "entries", "estimated", "no source found"),),
    )
