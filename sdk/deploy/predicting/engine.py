"""Predicts the time of an inference on boards that are not connected.

The runtime runs on an emulated core that presents itself as the board's, so that it picks the same kernels as there. A
plugin of the emulator replays the second inference, instruction by instruction, through a model of the board's core,
caches and memory (sdk/board/emulation/replay). Nothing in that model was fitted to a latency.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import device_agent
from sdk.board import emulation
from sdk.board.description.records import Board, CoreCluster
from sdk.board.emulation.cores import Core, find_core
from sdk.board.emulation.plugin import run_replayed
from sdk.board.emulation.replay.machine import MAX_BOARDS, CoreFigure, TimedBoard, machine_text, timed_core
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.profiled import Event, Look, kernels_of, operators_of, read_events, read_looks
from sdk.deploy.provision.instructions import runtime_environment, unpacked
from sdk.errors import BoardError
from sdk.explain.speed.prediction import Assumption, CycleParts, PredictedOperator, Prediction
from sdk.graph.reader import read_subgraphs
from sdk.tools.progress import Progress, silent
from sdk.tools.system.programs import processors

MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
#: Runtimes whose profiler names the operators, through the C API (device_agent.measuring.litert_profiler).
PROFILED = ("ai-edge-litert",)
#: Of a network of fewer instructions the profiler takes a share that counts.
SMALL = 30_000_000
#: Marks of guest_inference.py: the third begins the first inference, which fills the caches; the next ones the second.
MARKS = (2, 3, 4)
#: A replay that understood less than this of what was executed is refused.
LEAST_UNDERSTOOD = 0.98


@dataclass(frozen=True)
class Target:
    """One board of a run: its description, the cluster whose core computes, and the same as the replay takes it."""

    board: Board
    cluster: CoreCluster
    timed: TimedBoard


@dataclass(frozen=True)
class Run:
    """One run of the emulator: boards with the same core, the core that the runtime sees, and what runs there.

    ``root`` is the userland, ``site`` the folder of the runtime. ``profiled``: its profiler tells the operators.
    """

    boards: Sequence[TimedBoard]
    emulated: Core
    root: Path
    site: Path
    runtime: str
    tflite: bytes
    delegate: Path | None
    profiled: bool


@dataclass(frozen=True)
class Replayed:
    """The results of a run of the emulator: the plugin's counts, the looks at the clock, and the profiler's events."""

    told: dict[str, Any]
    looks: tuple[Look, ...]
    events: tuple[Event, ...]


def predict_on(
    boards: Sequence[Board],
    tflite: bytes,
    *,
    runtime: str = "ai-edge-litert",
    version: str | None = None,
    core: str | None = None,
    delegate: Path | None = None,
    operators: bool = True,
    progress: Progress = silent,
) -> list[Prediction]:
    """One prediction for each board, in their order: one inference, one thread, on the fastest core of the board.

    ``core`` names another of the board's cores. ``delegate`` is the library of Armlet's kernels for aarch64, where
    these are to run; operators then have no names, nor without ``operators``, which takes half as long for a small
    network. Boards with the same core share one run of the emulator; several runs share the processors. Raises
    BoardError where a board's core, clock or memory is not described, a tool of the emulator is missing or the model
    does not run there, and ProvisionError where the runtime cannot be fetched.
    """
    targets = [target_of(board, core) for board in boards]
    dtype, groups = _dtype_of(tflite), same_kernels(targets)
    environment = runtime_environment("aarch64", runtime, version, progress=progress)
    site = unpacked(environment)
    names = (environment.runtime, environment.runtime_version, dtype)
    profiled = operators and environment.runtime in PROFILED and delegate is None
    runs = []
    for group in groups:
        emulated = find_core(targets[group[0]].timed.core.name)
        timed = [targets[place].timed for place in group]
        # Made one after the other, before what runs at once reads them.
        root = prefix("aarch64", emulated, progress=progress)
        runs.append(Run(timed, emulated, root, site, environment.runtime, tflite, delegate, profiled))
    found: dict[int, Prediction] = {}
    for which, replayed in _all_of(runs, progress):
        for number, place in enumerate(groups[which]):
            found[place] = prediction_of(targets[place], runs[which].emulated, replayed, number, names)
    return [found[place] for place in range(len(targets))]


def _all_of(runs: Sequence[Run], progress: Progress) -> Iterator[tuple[int, Replayed]]:
    """Each run's place and what it gave, as they end; as many at once as this process has processors. When one fails
    those that did not begin are dropped."""
    cores = ", ".join(dict.fromkeys(run.boards[0].core.title for run in runs))
    stage, total = f"replay an inference on {cores}", sum(len(run.boards) for run in runs)
    done = 0
    progress(stage, done, total)
    with ThreadPoolExecutor(max(1, min(len(runs), processors())), thread_name_prefix="replay") as pool:
        places = {pool.submit(replay, run): number for number, run in enumerate(runs)}
        try:
            for ended in as_completed(places):
                replayed, number = ended.result(), places[ended]
                done += len(runs[number].boards)
                progress(stage, done, total)
                yield number, replayed
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def target_of(board: Board, core: str | None = None) -> Target:
    """A board as the replay takes it. Raises BoardError where it lacks a core, a clock, or the memory's speed."""
    clusters = sorted(board.clusters, key=lambda c: -c.peak_fp32_gflops_per_core.value)
    if core is not None:
        clusters = [cluster for cluster in clusters if cluster.core.lower() == core.lower()]
    if not clusters or board.architecture != "aarch64":
        raise BoardError(
            "this board cannot be predicted",
            expected="a 64-bit board whose file describes its cores"
            if core is None
            else f"a board with {core}",
            found=board.name,
        )
    memory = board.memory_bytes_per_second
    if memory is None:
        raise BoardError(
            "this board cannot be predicted",
            expected="memcpy_gigabytes_per_second in its file",
            found=f"none in that of {board.name}",
        )
    cluster = clusters[0]
    described, latency = timed_core(cluster.core), board.memory_latency_nanoseconds
    if latency is not None:
        measured = CoreFigure(latency.value, latency.unit, latency.kind, latency.source)
        described = described.given(dram_latency=measured)
    timed = TimedBoard(board.name, described, cluster.clock_ghz.value * 1e9, memory)
    return Target(board, cluster, timed)


def same_kernels(targets: Sequence[Target]) -> list[list[int]]:
    """Places of boards that share a run: the runtime sees the same core."""
    groups: dict[str, list[int]] = {}
    for place, target in enumerate(targets):
        groups.setdefault(target.timed.core.name, []).append(place)
    return [
        places[i : i + MAX_BOARDS] for places in groups.values() for i in range(0, len(places), MAX_BOARDS)
    ]


def replay(run: Run) -> Replayed:
    """The plugin's result of the second inference of a model; without names of operators where the runtime's profiler
    does not take the model."""
    guests, site = Path(emulation.__file__).parent, str(run.site)
    with tempfile.TemporaryDirectory(prefix="armlet-predict-") as temporary:
        model = str(Path(temporary) / "model.tflite")
        Path(model).write_bytes(run.tflite)
        plain = [str(guests / "guest_inference.py"), site, MODULES[run.runtime], model, "2"]
        plain += [str(run.delegate)] if run.delegate is not None else []
        profiled = [
            str(guests / "guest_profile.py"),
            site,
            str(Path(device_agent.__file__).parent.parent),
            model,
        ]
        told = None
        if not run.profiled:
            written, said, messages = _run(run, plain)
        else:
            try:
                written, said, messages = _run(run, profiled)
            except BoardError:
                written, said, messages = _run(run, plain)
            else:
                told = _without_profiler(run, plain, read_result(written))
    if "XNNPACK delegate" not in messages and run.delegate is None:
        raise BoardError(
            "the runtime ran without XNNPACK, so its time says nothing of a board",
            expected='"XNNPACK delegate" among its messages',
            found=" ".join(messages.split())[-200:] or "no message",
        )
    return Replayed(told or read_result(written), read_looks(written), read_events(said))


def _without_profiler(run: Run, plain: Sequence[str], told: dict[str, Any]) -> dict[str, Any]:
    """The result of a small network without the runtime's profiler, which takes some 150,000 instructions of each
    inference; of a large one, and of one that does not run so, what the profiled run gave."""
    if told["instructions"] >= SMALL:
        return told
    try:
        return read_result(_run(run, plain)[0])
    except BoardError:
        return told


def _run(run: Run, arguments: Sequence[str]) -> tuple[str, str, str]:
    """A guest's run: what the plugin wrote, and what the program printed and said."""
    program = ["/usr/bin/python3", "-sS", *arguments]
    return run_replayed(
        "aarch64", run.emulated, run.root, program, boards=machine_text(run.boards), marks=MARKS
    )


def read_result(written: str) -> dict[str, Any]:
    """The line of JSON that the plugin wrote. Raises BoardError where it did not finish or understood too little."""
    lines = [line for line in written.splitlines() if line.startswith("{")]
    if len(lines) != 1 or not written.rstrip().endswith("end"):
        raise BoardError("the replay did not end", expected="one inference between two marks")
    told: dict[str, Any] = json.loads(lines[0])
    if told["unknown"] > (1.0 - LEAST_UNDERSTOOD) * told["instructions"]:
        raise BoardError(
            "too many instructions have no cost",
            expected=f"costs of {LEAST_UNDERSTOOD:.0%} of what is executed",
            found=f"{told['unknown']} of {told['instructions']} without, among them 0x{told['an_unknown']:08x}",
        )
    return told


def prediction_of(
    target: Target, emulated: Core, replayed: Replayed, number: int, names: tuple[str, str, str]
) -> Prediction:
    """The record of the run's board ``number`` from what the plugin counted. ``names``: runtime, its version, dtype."""
    counted = replayed.told["boards"][number]
    parts = CycleParts(*(float(counted[p]) for p in ("compute", "l1", "l2", "dram", "branch", "dispatch")))
    clock = target.timed.clock_hz
    operators = _within(parts.total, operators_of(replayed.looks, replayed.events, number))
    return Prediction(
        board=target.board.name,
        core=target.cluster.core,
        emulated_core=emulated.qemu,
        clock_hz=clock,
        runtime=names[0],
        runtime_version=names[1],
        dtype=names[2],
        cycles=parts.total,
        instructions=replayed.told["instructions"],
        parts=parts,
        dram_bytes=counted["dram_bytes"],
        dram_share=parts.dram / parts.total,
        memory_bytes_per_second=target.timed.memory_bytes_per_second,
        kernels=kernels_of(operators, parts.total),
        operators=operators,
        assumptions=assumptions_of(target),
    )


def _within(cycles: float, operators: tuple[PredictedOperator, ...]) -> tuple[PredictedOperator, ...]:
    """The operators, which together take no more than the whole: the profiler's look at the clock is in each of them,
    and many tiny ones would take longer than the inference."""
    spent = sum(operator.cycles for operator in operators)
    if spent <= cycles:
        return operators
    return tuple(replace(operator, cycles=operator.cycles * cycles / spent) for operator in operators)


def assumptions_of(target: Target) -> tuple[Assumption, ...]:
    """Every figure that went into the replay of a board."""
    clock, memory = target.cluster.clock_ghz, target.board.memcpy_gigabytes_per_second
    assert memory is not None  # target_of has seen it
    of_board = [
        Assumption("clock", clock.value, "GHz", clock.kind, clock.source),
        Assumption("memcpy", memory.value, "GB/s", memory.kind, memory.source),
    ]
    figures = target.timed.core.figures
    return (*of_board, *(Assumption(n, f.value, f.unit, f.kind, f.source) for n, f in figures.items()))


def _dtype_of(tflite: bytes) -> str:
    """The arithmetic of a model: int8 where most of its elements of weights are integers."""
    sizes: dict[str, int] = {}
    for graph in read_subgraphs(tflite):
        for tensor in graph.tensors:
            if tensor.data is not None:
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.data.size
    most = max(sizes, key=lambda name: sizes[name], default="FLOAT32")
    return {"INT8": "int8", "UINT8": "int8", "INT4": "int8"}.get(most, "float32")
