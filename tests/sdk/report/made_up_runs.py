"""Reports of runs that never were, for tests of what is made of reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from device_agent.record.intervals import Turn
from device_agent.record.measurement import Measurement, Moment
from device_agent.record.profile import KernelTime, Profile
from sdk.explain import breakdown, compare, gap, theory
from sdk.explain.run import Accuracy, ModelRecord, Report
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

LOADINGS = 10


def measurement(
    name: str, median: float, *, threads: int = 1, seed: int = 0, count: int = 400
) -> Measurement:
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.lognormal(0.0, 0.004, LOADINGS), count // LOADINGS)
    samples = median * levels * rng.lognormal(0.0, 0.03, count)
    return Measurement(
        model=name,
        tflite_sha256="0" * 64,
        package_sha256="1" * 64,
        samples_seconds=tuple(float(s) for s in samples),
        warmup_seconds=(median,) * 10,
        init_seconds=0.012,
        first_seconds=0.009,
        decode_seconds=0.003,
        decode_kernel="c",
        threads=threads,
        cpus=(0, 1, 2, 3),
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        delegate="xnnpack",
        numpy_version="2.4.6",
        python_version="3.13.5",
        machine="aarch64",
        emulated=False,
        started_unix_seconds=1.7e9,
        temperature_before_celsius=45.0,
        temperature_after_celsius=51.0,
        frequency_before_hz=1.8e9,
        frequency_after_hz=1.8e9,
        governor="performance",
        throttled=False,
        peak_memory_bytes=50_000_000,
        during=tuple(Moment(float(i), 1.8e9 - 1e7 * (i % 3), 45.0 + 0.3 * i) for i in range(20)),
        preemptions=2,
        turns=tuple(
            Turn(loading, number, loading + 0.1 * number, count // LOADINGS // 4)
            for loading in range(LOADINGS)
            for number in range(4)
        ),
    )


NAMES = {
    "CONV_2D": "Convolution (NHWC, F32) IGEMM",
    "DEPTHWISE_CONV_2D": "Convolution (NHWC, F32) DWConv",
    "MEAN": "Mean (ND) Reduce2",
    "FULLY_CONNECTED": "Fully Connected (NC, F32) GEMM",
}


def profile(name: str, graph: Graph, seconds: float) -> Profile:
    """Kernels that share ``seconds`` by their MACs, the others 5 microseconds each."""
    costs = theory.operator_costs(graph)
    macs = sum(cost.macs for cost in costs)
    kernels = tuple(
        KernelTime(NAMES.get(c.kind, c.kind), c.index, True, s := seconds * c.macs / macs + 5e-6, s)
        for c in costs
    )
    return Profile(
        name,
        "0" * 64,
        "runtime",
        kernels,
        inferences=50,
        outside_seconds=20e-6,
        profiled_seconds=seconds + 60e-6,
        unprofiled_seconds=seconds + 50e-6,
        call_seconds=0.0,
        resolution_seconds=1e-6,
        threads=1,
        cpus=(0, 1, 2, 3),
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        machine="aarch64",
        emulated=False,
    )


def model(name: str, channels: int, median: float, *, seed: int = 0) -> ModelRecord:
    graph = small_network(size=32, channels=channels)
    totals = theory.totals(theory.operator_costs(graph))
    size = len(write_graph(graph))
    return ModelRecord(
        name=name,
        original_bytes=size,
        package_bytes=size // 8,
        parameters=theory.parameters(graph),
        sparsity=0.0,
        macs=totals.macs,
        effective_macs=totals.effective_macs,
        measurement=measurement(name, median, seed=seed),
        accuracy=Accuracy("made-up digits", 1000, 985, 981, 981, 1000),
        original_sha256="2" * 64,
        stages=(("original", size), ("pruned", size // 3), ("clustered", size // 6), ("coded", size // 8)),
        parallel=(measurement(name, median * 0.6, threads=4, seed=seed + 10),),
        costs=theory.operator_costs(graph),
        profile=profile(name, graph, median * 0.9),
    )


def report(names: tuple[str, str] = ("wide", "narrow"), factor: float = 1.0, seed: int = 0) -> Report:
    """Two models on one and on four threads, profiled, with gaps. ``factor`` scales the second's times."""
    models = (model(names[0], 64, 4e-3, seed=seed), model(names[1], 16, factor * 1e-3, seed=seed + 1))
    subjects = [subject for m in models if (subject := m.subject()) is not None]
    peaks = breakdown.Peaks(4e9, "a test", memory_bytes_per_second=4e9, clock_hz=1.8e9)
    comparisons = []
    for position in range(2):
        pair = [compare.Contender(m.name, m, m.measurements[position]) for m in models]
        comparisons += compare.compare(pair[0], pair[1:])
    return Report(
        board="rpi4",
        board_title="Raspberry Pi 4 Model B",
        emulated=False,
        models=models,
        comparisons=tuple(comparisons),
        notes=("a note",),
        peaks=peaks,
        gaps=gap.explain(subjects[0], subjects[1], peaks),
    )


def emulated(of: Report) -> Report:
    """The same on an emulated board, as its record would say it."""
    models = tuple(
        replace(
            m,
            measurement=replace(m.measurement, emulated=True),
            profile=None,
            parallel=(),
            instructions=3 * m.macs // 5,
            decode_instructions_per_weight=9.5,
        )
        for m in of.models
    )
    return replace(of, emulated=True, models=models, gaps=(), peaks=None)
