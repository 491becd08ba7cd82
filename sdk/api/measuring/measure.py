"""Functions that measure on a board: latency against theory, where the gap went, and what the board itself can do."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from device_agent.record.measurement import Measurement
from device_agent.record.profile import KernelTime, Profile
from device_agent.record.schema import MAX_JSON_BYTES, parse_json
from device_agent.record.visible import visible
from sdk.api.board_requests import Bench, Calibrate
from sdk.api.files.packing import inspect_decoded
from sdk.board.catalogue import user_folder
from sdk.board.description.records import Board
from sdk.deploy.agent.profiles import RUNTIMES_WITH_PROFILER, profile_models, time_models
from sdk.deploy.agent.remote_agent import ALL_THREADS
from sdk.deploy.provision import instructions
from sdk.deploy.session import Session, open_session
from sdk.errors import BoardError, DataError, ModelError, ProvisionError, RemoteError
from sdk.explain import breakdown, compare, gap, theory
from sdk.explain.run import Accuracy, ModelRecord, Report
from sdk.explain.speed.calibration import Calibration, best_rates, experiments
from sdk.graph import isolate
from sdk.graph.reader import read_subgraphs
from sdk.graph.records import Graph
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file, write_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import CalibrateOptions

#: All isolated operators of one model together get about this long, and a profile this; less where less than
#: USUAL_SECONDS of measurement were asked for.
ISOLATED_SECONDS = 12.0
PROFILE_SECONDS = 5.0
USUAL_SECONDS = Bench().seconds
ISOLATED_SAMPLES = 200
#: Of what an emulated board is timed for: one inference is enough to see that a model runs there, and how.
EMULATED_SECONDS = 0.1


@dataclass(frozen=True)
class OpenModel:
    """A deployed package (or ``.tflite``) with everything that is known of it."""

    name: str
    package: bytes
    tflite: bytes
    metadata: Mapping[str, Any]
    graph: Graph
    costs: tuple[theory.OperatorCost, ...]
    stages: tuple[tuple[str, int], ...] = ()


def measure(
    session: Session,
    packages: Sequence[tuple[str, bytes]],
    request: Bench,
    *,
    accuracies: Mapping[str, Accuracy] | None = None,
    progress: Progress = silent,
) -> Report:
    """Measures deployed packages or ``.tflite`` models (name, bytes) and puts theory beside: the report of a run.

    With several numbers of ``threads`` everything is measured on each; "all" stands for the number of cores to measure
    on. With ``profile`` the operators are measured too, on the first number of threads, and the report says where a
    promised speed-up went. Times of an emulated board mean nothing: there only pruned models are profiled, to see
    whether sparse kernels run. Raises BoardError for a self-test there.
    """
    if session.board.emulated and request.self_test:
        raise BoardError(
            "an emulated board has no times to test",
            expected="a board that is not emulated, or no --self-test",
            found=session.board.name,
        )
    models = [open_model(name, data) for name, data in packages]
    runs, again = _timed(session, [model.name for model in models], request, progress)
    profiles: dict[str, Profile] = {}
    remarks: list[str] = []
    if request.profile:
        measured = {m.model: m for m in runs[0]}
        worth = [m for m in models if _is_worth_profiling(session, m)]
        try:
            taken = profile_deployed(
                session,
                worth,
                [measured[m.name] for m in worth],
                share=min(1.0, request.seconds / USUAL_SECONDS),
                progress=progress,
            )
            profiles = {model.name: found for model, found in zip(worth, taken, strict=True)}
        except (RemoteError, ModelError) as error:  # the measurement stands all the same
            remarks.append(f"operators were not timed: {error}")
    records = [
        _record(model, [run[i] for run in runs], profiles.get(model.name), (accuracies or {}).get(model.name))
        for i, model in enumerate(models)
    ]
    counting: list[str] = []
    if session.board.emulated:
        records, counting = _count_instructions(session, models, records, progress)
    peaks, gaps = _gaps(session.board, records)
    return Report(
        board=session.board.name,
        board_title=session.board.title,
        emulated=session.board.emulated,
        models=tuple(records),
        comparisons=compare_all(records, again),
        notes=(*_notes(records), *_not_counted(records), *remarks, *counting),
        peaks=peaks,
        gaps=gaps,
        again=again,
    )


def _timed(
    session: Session, names: Sequence[str], request: Bench, progress: Progress
) -> tuple[list[tuple[Measurement, ...]], tuple[Measurement, ...]]:
    """The measurements of the models on each number of threads; with a self-test the first model's once more."""
    threads, samples, seconds = request.threads, request.samples, request.seconds
    counts = [threads] if isinstance(threads, (int, str)) else threads
    if session.board.emulated:
        # An inference shows that the model runs there; more of them, or threads, would be time that nobody is shown.
        counts, samples, seconds = counts[:1], 1, min(seconds, EMULATED_SECONDS)
    runs: list[tuple[Measurement, ...]] = []
    again: list[Measurement] = []
    for wanted in counts:
        count = wanted if isinstance(wanted, int) else _all_threads(runs)
        if count not in [run[0].threads for run in runs]:
            run = session.agent.bench(
                [*names, names[0]] if request.self_test else names,
                threads=count,
                kernel=session.kernel,
                min_samples=samples,
                max_seconds=seconds,
                precision=request.precision,
                emulated=session.board.emulated,
                progress=progress,
            )
            runs.append(run[: len(names)])
            again += run[len(names) :]
    return runs, tuple(again)


def _all_threads(runs: Sequence[Sequence[Measurement]]) -> int:
    """How many threads are all: the CPUs of an earlier run; before the first, the agent is asked to choose."""
    return len(runs[0][0].cpus) if runs else ALL_THREADS


def _count_instructions(
    session: Session, models: Sequence[OpenModel], records: Sequence[ModelRecord], progress: Progress
) -> tuple[list[ModelRecord], list[str]]:
    """The records with what the emulated core executed, and notes; where nothing can count, a note says why."""
    cpu = session.board.qemu_cpu or ""
    counted = []
    try:
        for model, record in zip(models, records, strict=True):
            count = instructions.count_inference(
                model.tflite,
                runtime=session.provisioned.runtime,
                version=session.provisioned.runtime_version,
                cpu=cpu,
                progress=progress,
            )
            a_weight = None
            if model.package.startswith(MAGIC) and "c" in session.provisioned.decode_kernels:
                decoding = instructions.count_decoding(model.package, cpu=cpu, progress=progress)
                a_weight = decoding.instructions_per_weight
            counted.append(
                replace(record, instructions=count.instructions, decode_instructions_per_weight=a_weight)
            )
    except (BoardError, ProvisionError) as error:
        return list(records), [f"instructions were not counted: {error}"]
    return counted, [f"instructions are those of an emulated {cpu}, one thread: work done, not time"]


def _is_worth_profiling(session: Session, model: OpenModel) -> bool:
    """Every model on a board with a clock; where there is none, what has zeros and a runtime that names its kernels."""
    macs, effective = (sum(getattr(c, name) for c in model.costs) for name in ("macs", "effective_macs"))
    pruned = effective <= (1.0 - gap.PRUNED_SHARE) * macs
    return not session.board.emulated or (pruned and session.provisioned.runtime in RUNTIMES_WITH_PROFILER)


def open_model(name: str, package: bytes) -> OpenModel:
    """A model with its graph and costs; without them if its file is not understood."""
    metadata: Mapping[str, Any] = {}
    stages: tuple[tuple[str, int], ...] = ()
    tflite = package
    graph = Graph((), (), (), ())
    costs: tuple[theory.OperatorCost, ...] = ()
    if package.startswith(MAGIC):
        decoded = package_format.unpack(package)
        tflite, metadata = decoded.tflite, decoded.package.metadata
    with contextlib.suppress(ModelError):
        graph = read_subgraphs(tflite)[0]
        costs = theory.operator_costs(graph)
        if package.startswith(MAGIC):
            stages = inspect_decoded(decoded).stages
    return OpenModel(name, package, tflite, metadata, graph, costs, stages)


def _record(
    model: OpenModel, runs: Sequence[Measurement], profile: Profile | None, accuracy: Accuracy | None
) -> ModelRecord:
    totals = theory.totals(model.costs)
    provenance = model.metadata.get("provenance", {})
    zeros = sum(w.array.size - int(np.count_nonzero(w.array)) for w in model.graph.weights())
    return ModelRecord(
        name=model.name,
        original_bytes=provenance.get("original_bytes", len(model.tflite)),
        package_bytes=len(model.package),
        parameters=theory.parameters(model.graph),
        sparsity=zeros / max(1, sum(w.array.size for w in model.graph.weights())),
        # What the network computes, not what the form for its board does: folded groups are zeros that are multiplied.
        macs=int(provenance.get("original_macs", totals.macs)),
        effective_macs=totals.effective_macs,
        measurement=runs[0],
        accuracy=accuracy,
        original_sha256=provenance.get("original_sha256", runs[0].tflite_sha256),
        stages=model.stages,
        parallel=tuple(runs[1:]),
        costs=model.costs,
        profile=profile,
    )


def compare_all(
    records: Sequence[ModelRecord], again: Sequence[Measurement] = ()
) -> tuple[compare.Comparison, ...]:
    """Everything against the first model, on each number of threads; ``again`` is what a self-test measured."""
    found: list[compare.Comparison] = []
    for position in range(len(records[0].measurements)):
        contenders = [
            compare.Contender(record.name, record, record.measurements[position], record.original_sha256)
            for record in records
        ]
        floor = 0.0
        if again:
            floor = compare.smallest_told(contenders[0].measurement, again[position])
        found += compare.compare(contenders[0], contenders[1:], smallest_told=floor)
    return tuple(found)


def _gaps(board: Board, records: Sequence[ModelRecord]) -> tuple[breakdown.Peaks | None, tuple[gap.Gap, ...]]:
    """What the board can do, and the gap of every model against the first, where there are profiles."""
    subjects = [
        subject for record in records if (subject := record.subject()) is not None and record.effective_macs
    ]
    if board.emulated or len(subjects) < len(records):
        return None, ()
    peaks = known_peaks(board, subjects[0].profile.threads)
    if peaks is None:
        try:
            peaks = breakdown.best_seen(subjects)
        except (
            DataError
        ):  # models so small that the clock cannot tell: a report without gaps is still a report
            return None, ()
    like = [candidate for candidate in subjects[1:] if gap.are_comparable(subjects[0], candidate)]
    return peaks, tuple(g for candidate in like for g in gap.explain(subjects[0], candidate, peaks))


def known_peaks(board: Board, threads: int) -> breakdown.Peaks | None:
    """The user's own calibration of a board, else what its file says, else None."""
    calibration = load_calibration(board.name, threads)
    if calibration is not None:
        return calibration.peaks()
    peak = board.peak_operations_per_second(threads)
    if peak is None:
        return None
    fastest = max(board.clusters, key=lambda cluster: cluster.peak_fp32_gflops_per_core.value)
    return breakdown.Peaks(
        peak,
        f"the file of board {board.name}: {fastest.peak_fp32_gflops_per_core.kind}",
        int8_per_second=board.peak_operations_per_second(threads, "int8"),
        memory_bytes_per_second=board.memory_bytes_per_second,
        clock_hz=fastest.clock_ghz.value * 1e9,
    )


def _notes(records: Sequence[ModelRecord]) -> tuple[str, ...]:
    notes = []
    for record in records:
        subject = record.subject()
        if subject is not None and (verdict := gap.sparsity_verdict(subject)):
            notes.append(f"{record.name}: {verdict}")
    if not notes and any(r.sparsity > 0.05 for r in records):
        notes.append(
            "zeros make these packages smaller; whether they make them faster depends on the runtime's sparse "
            "kernels, which need a network prepared for them"
        )
    return tuple(notes)


def _not_counted(records: Sequence[ModelRecord]) -> list[str]:
    """Which share of the work theory does not know, of models that have such work."""
    notes = []
    for record in records:
        unknown = [cost for cost in record.costs if not cost.counted]
        if not record.costs:
            notes.append(
                f"{record.name}: its operators cannot be read from its file, so there is no theory for it"
            )
        elif unknown:
            kinds = ", ".join(sorted({visible(cost.kind, most=40) for cost in unknown}))
            notes.append(
                f"{record.name}: the MACs of {len(unknown)} of {len(record.costs)} operators are not known ({kinds}); "
                "theory leaves them out"
            )
    return notes


# -- profiles -------------------------------------------------------------------------------------------------------


def profile_deployed(
    session: Session,
    models: Sequence[OpenModel],
    measured: Sequence[Measurement],
    *,
    share: float = 1.0,
    progress: Progress = silent,
) -> list[Profile]:
    """Profiles of deployed models, on as many threads as they were ``measured`` with: by the delegate of those that
    run in kernels of Armlet, by the runtime's profiler where it has one, else operator by operator.

    ``share``: of the time that is usually taken.
    """
    armlet = [m.model for m in measured if m.armlet_operators]
    if armlet and len(armlet) < len(models):
        halves = [
            [(one, m) for one, m in zip(models, measured, strict=True) if (m.model in armlet) == ours]
            for ours in (True, False)
        ]
        found = {
            profile.model: profile
            for half in halves
            for profile in profile_deployed(session, *zip(*half, strict=True), share=share, progress=progress)
        }
        return [found[model.name] for model in models]
    if not models:
        return []
    if armlet or session.provisioned.runtime in RUNTIMES_WITH_PROFILER:
        progress("profile", 0, 0)
        try:
            return list(
                profile_models(
                    session.agent,
                    [model.name for model in models],
                    threads=measured[0].threads,
                    kernel=session.kernel,
                    max_seconds=EMULATED_SECONDS if session.board.emulated else share * PROFILE_SECONDS,
                    emulated=session.board.emulated,
                )
            )
        except RemoteError:
            # A version without that profiler, or a model that it does not take. One by one they may still be timed;
            # the profile says how it was taken.
            if session.board.emulated or armlet:
                raise
    return [
        _profile_isolated(session, model, m, share * ISOLATED_SECONDS, progress)
        for model, m in zip(models, measured, strict=True)
    ]


def _profile_isolated(
    session: Session, model: OpenModel, measured: Measurement, seconds: float, progress: Progress
) -> Profile:
    isolated = isolate.isolate(model.graph)
    parts = [isolate.null_model(), *isolated.models]
    progress(f"time the operators of {model.name}", 0, 0)
    timed = time_models(
        session.agent,
        parts,
        threads=measured.threads,
        min_samples=ISOLATED_SAMPLES,
        max_seconds=seconds / len(parts),
        beside=model.name,
    )
    call, *alone = timed.times
    assert timed.beside is not None
    whole_seconds = timed.beside.seconds
    kernels = []
    for index, position in isolated.of.items():
        time_alone = alone[position]
        kernels.append(
            KernelTime(
                name=model.graph.operators[index].kind,
                node=index,
                delegated=True,
                seconds=max(0.0, time_alone.seconds - call.seconds),
                minimum_seconds=max(0.0, time_alone.minimum_seconds - call.minimum_seconds),
            )
        )
    return Profile(
        model=model.name,
        tflite_sha256=measured.tflite_sha256,
        method="isolated",
        kernels=tuple(kernels),
        inferences=min(t.samples for t in alone) if alone else call.samples,
        outside_seconds=whole_seconds - sum(kernel.seconds for kernel in kernels),
        profiled_seconds=whole_seconds,
        unprofiled_seconds=whole_seconds,
        call_seconds=call.seconds,
        resolution_seconds=1e-9,
        threads=measured.threads,
        cpus=timed.cpus,
        runtime=timed.runtime,
        runtime_version=timed.runtime_version,
        machine=timed.machine,
        emulated=session.board.emulated,
    )


# -- calibration ----------------------------------------------------------------------------------------------------


def calibrate_board(
    board: str, *, progress: Progress = silent, **options: Unpack[CalibrateOptions]
) -> Calibration:
    """Measures what a board can do through its runtime, and keeps it for later reports on this board.

    ``options``: see :class:`sdk.api.board_requests.Calibrate`. Raises TypeError for others.
    """
    request = build(Calibrate, options, function="calibrate_board")
    threads = request.threads
    planned = experiments()
    with open_session(board, request, progress) as session:
        progress("calibrate", 0, 0)
        timed = time_models(
            session.agent, [e.model for e in planned], threads=threads, min_samples=200, max_seconds=1.0
        )
        rates = best_rates(planned, [t.minimum_seconds for t in timed.times])
        calibration = Calibration(
            board=session.board.name,
            threads=threads,
            flop_per_second=rates["float32"],
            int8_per_second=rates["int8"],
            memory_bytes_per_second=rates["memory"],
            call_seconds=rates["call"],
            runtime=timed.runtime,
            runtime_version=timed.runtime_version,
            machine=timed.machine,
            measured_unix_seconds=time.time(),
            frequency_hz=timed.frequency_hz,
        )
    path = calibration_path(board, threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(calibration.to_json(), indent=2).encode() + b"\n")
    return calibration


def calibration_path(board: str, threads: int) -> Path:
    """Where the user's calibration of a board is kept: beside the user's own board files."""
    return user_folder() / f"{re.sub(r'[^a-z0-9-]', '-', board)}.{threads}-threads.calibration.json"


def load_calibration(board: str, threads: int) -> Calibration | None:
    """The user's calibration of a board on that many threads; None where there is none."""
    path = calibration_path(board, threads)
    if not path.is_file():
        return None
    hint = f"Remove it, or run `sdk board calibrate {board}` again."
    data = read_file(path, "a calibration", most=MAX_JSON_BYTES)
    return Calibration.from_json(parse_json(data, what=str(path), error=DataError, hint=hint))
