"""The report of a run on 80 columns: everything that the record holds but single samples. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_agent.record.measurement import Measurement
from sdk.explain.breakdown import Peaks, Subject, roofline_seconds
from sdk.explain.run import PREDICTED, ModelRecord, Report
from sdk.explain.theory import GROUPS
from sdk.report.conditions import facts_of_run, theory_text, told_texts
from sdk.report.terminal.gap import gap
from sdk.report.terminal.tables import facts, init_text, short_name, table
from sdk.report.units import (
    bytes_text,
    count_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
    threads_text,
)


def report(result: Report, *, operators: bool = False) -> RenderableType:
    """Size, accuracy, latency and the gap between theory and measurement, then the conditions.

    With ``operators`` there is a table of every single operator, too, which is long.
    """
    parts: list[RenderableType] = [Text(f"Board {result.board}: {result.board_title}", style="bold")]
    parts.append(_sizes(result))
    if any(m.accuracy for m in result.models):
        parts.append(_accuracies(result.models))
    if result.emulated:
        # Its clock means nothing, so no time of it is shown where a reader would take it for a latency.
        parts.append(
            Text("emulated: the times of this run are not latencies, and are not shown", style="bold red")
        )
        parts.append(_work(result.models))
        if any(m.instructions for m in result.models):
            parts.append(_instructions(result.models))
    else:
        parts += [_latencies(result.models), _work_and_start(result.models)]
        if any(m.measurement.runtime_start_seconds is not None for m in result.models):
            parts.append(_with_kernels(result.models))
        if result.comparisons:
            parts.append(_comparisons(result))
        parts += [Text(said) for said in told_texts(result)]
        if any(m.predicted for m in result.models):
            parts.append(_predicted(result.models))
        parts.extend(gap(g) for g in result.gaps)
        subjects = [subject for m in result.models if (subject := m.subject()) is not None]
        parts += [_groups(subject, result.peaks) for subject in subjects]
        if operators:
            parts += [_operators(subject, result.peaks) for subject in subjects]
    parts.append(_conditions(result))
    parts.extend(Text(f"note: {note}", style="yellow") for note in result.notes)
    return Group(*parts)


def _sizes(result: Report) -> Table:
    made = table(
        "Size", "model", "float32", "pruned", "clustered", "coded", "ratio", "zeros", "decode", tight=True
    )
    for m in result.models:
        sizes = dict(m.stages)
        made.add_row(
            short_name(m.name, 20),
            bytes_text(m.original_bytes),
            *(bytes_text(sizes[s]) if s in sizes else "-" for s in ("pruned", "clustered")),
            bytes_text(m.package_bytes),
            ratio_text(m.ratio),
            percent_text(m.sparsity, 0),
            "-"
            if result.emulated or m.measurement.decode_kernel == "none"
            else seconds_text(m.measurement.decode_seconds),
        )
    return made


def _accuracies(models: Sequence[ModelRecord]) -> RenderableType:
    made = table("Accuracy", "model", "original", "compressed", "on the board", "board = host")
    data = ""
    for m in models:
        if m.accuracy is None:
            continue
        a = m.accuracy
        data = f"{a.samples} samples: {a.data}"
        board = "-" if a.board_correct is None else percent_text(a.share(a.board_correct), 2)
        agrees = "-" if a.board_agrees is None else f"{a.board_agrees} of {a.samples}"
        made.add_row(
            short_name(m.name, 20),
            percent_text(a.share(a.original_correct), 2),
            percent_text(a.share(a.compressed_correct), 2),
            board,
            agrees,
        )
    return Group(made, Text(data, style="dim"))


def _work(models: Sequence[ModelRecord]) -> Table:
    made = table("Work of one inference", "model", "MACs", "by weights that are not zero")
    for m in models:
        made.add_row(short_name(m.name, 20), count_text(m.macs), count_text(m.effective_macs))
    return made


def _instructions(models: Sequence[ModelRecord]) -> Table:
    """Counted under emulation, against the first model; and how many fewer its multiply-accumulates promise."""
    made = table(
        "Instructions of one inference", "model", "executed", "fewer", "MACs say", "a decoded weight"
    )
    first = models[0]
    for m in models:
        a_weight = m.decode_instructions_per_weight
        executed, fewer = "-", "-"
        if m.instructions and first.instructions:
            executed, fewer = count_text(m.instructions), ratio_text(first.instructions / m.instructions)
        promised = ratio_text(first.macs / m.macs) if m.macs else "-"
        decoded = "-" if a_weight is None else f"{a_weight:.1f}"
        made.add_row(short_name(m.name, 20), executed, fewer, promised, decoded)
    return made


def _counts(models: Sequence[ModelRecord]) -> list[int]:
    """The numbers of threads that were measured, in their order."""
    return list(dict.fromkeys(t.threads for m in models for t in m.measurements))


def _latencies(models: Sequence[ModelRecord]) -> RenderableType:
    """A table for every number of threads."""
    return Group(*(_latency(models, threads) for threads in _counts(models)))


def _latency(models: Sequence[ModelRecord], threads: int) -> Table:
    made = table(
        f"Latency of one inference, {threads_text(threads)}",
        *("model", "minimum", "median", "95 % interval", "p90", "p99", "samples"),
        tight=True,
    )
    for m in models:
        for t in m.measurements:
            if t.threads == threads:
                made.add_row(
                    short_name(m.name, 20),
                    seconds_text(t.minimum),
                    seconds_text(t.median),
                    seconds_range_text(*t.median_interval()),
                    seconds_text(t.p90),
                    seconds_text(t.p99),
                    f"{len(t.samples_seconds):,}",
                )
    return made


def _predicted(models: Sequence[ModelRecord]) -> RenderableType:
    """Theory, prediction and measurement on one thread, each in a column of its own."""
    made = table(
        "Predicted beside measured, 1 thread",
        *("model", "theory", "predicted", "likely", "measured", "measured/predicted"),
        tight=True,
    )
    for m in models:
        if (p := m.predicted) is None:
            continue
        timed = next((t for t in m.measurements if t.threads == 1), None)
        made.add_row(
            short_name(m.name, 20),
            "-" if p.theory_seconds is None else seconds_text(p.theory_seconds),
            seconds_text(p.seconds),
            seconds_range_text(p.low_seconds, p.high_seconds),
            "-" if timed is None else seconds_text(timed.median),
            "-" if timed is None else f"{timed.median / p.seconds:.2f}",
        )
    return Group(
        made, Text(f"predicted: {PREDICTED}; likely: what the method's own error allows", style="dim")
    )


def _work_and_start(models: Sequence[ModelRecord]) -> Table:
    made = table(
        "Work, and the start of a process",
        *("model", "MACs", "not by zero", "initialise", "first", "peak memory"),
        tight=True,
    )
    for m in models:
        t = m.measurement
        made.add_row(
            short_name(m.name, 20),
            count_text(m.macs),
            count_text(m.effective_macs),
            init_text(t),
            seconds_text(t.first_seconds),
            "-" if t.peak_memory_bytes is None else bytes_text(t.peak_memory_bytes),
        )
    return made


def _with_kernels(models: Sequence[ModelRecord]) -> Table:
    """Starts and memory of models with operators in kernels of Armlet, and of the same in the runtime alone."""
    made = table(
        "Kernels of Armlet beside the runtime alone",
        *("model", "weights", "as floats", "start", "runtime's", "peak memory", "runtime's"),
        tight=True,
    )
    for m in models:
        t = m.measurement
        if t.runtime_start_seconds is None:
            continue
        peaks = (t.peak_memory_bytes, t.runtime_peak_memory_bytes)
        made.add_row(
            short_name(m.name, 20),
            bytes_text(t.armlet_packed_bytes),
            bytes_text(t.armlet_float_bytes),
            "-" if t.start_seconds is None else seconds_text(t.start_seconds),
            seconds_text(t.runtime_start_seconds),
            *("-" if peak is None else bytes_text(peak) for peak in peaks),
        )
    return made


def _comparisons(result: Report) -> RenderableType:
    made = table(
        f"Against {result.comparisons[0].baseline}",
        *("model", "threads", "in theory", "measured", "95 % interval", "realised"),
        tight=True,
    )
    for c in result.comparisons:
        theory, share = c.theoretical_speedup, c.share_realised
        made.add_row(
            short_name(c.candidate, 20),
            str(c.threads),
            "-" if theory is None else ratio_text(theory),
            ratio_text(c.measured_speedup),
            f"{c.measured_low:.2f} - {c.measured_high:.2f}",
            "-" if share is None else percent_text(share, 0),
        )
    return Group(
        made,
        Text(theory_text(result.comparisons), style="dim"),
    )


def _groups(subject: Subject, peaks: Peaks | None) -> Table:
    """Measured time and the roofline's, by group of operators."""
    made = table(
        f"Operators of {subject.name}, {threads_text(subject.profile.threads)}",
        *("group", "number", "MACs", "time", "share", "roofline", "GFLOP/s"),
        tight=True,
    )
    times = subject.operators()
    whole = sum(t.seconds for t in times) or 1.0
    least = roofline_seconds(subject, peaks)
    for group in GROUPS:
        members = [t for t in times if t.cost.group == group]
        if not members:
            continue
        macs, seconds = sum(t.cost.macs for t in members), sum(t.seconds for t in members)
        made.add_row(
            group,
            str(len(members)),
            count_text(macs) if macs else "-",
            seconds_text(seconds),
            percent_text(seconds / whole, 0),
            _least_text(sum(least[t.cost.index] for t in members)) if least else "-",
            f"{2 * macs / seconds / 1e9:.3g}" if macs and seconds else "-",
        )
    made.add_row(
        "together",
        str(len(times)),
        count_text(subject.macs),
        seconds_text(whole),
        "100 %",
        seconds_text(sum(least.values())) if least else "-",
        f"{2 * subject.macs / whole / 1e9:.3g}",
    )
    return made


def _least_text(seconds: float) -> str:
    """A roofline time; 0 where nothing is multiplied and no bandwidth is known."""
    return seconds_text(seconds) if seconds else "-"


def _operators(subject: Subject, peaks: Peaks | None) -> Table:
    made = table(
        f"Every operator of {subject.name}, {threads_text(subject.profile.threads)}",
        *("#", "<operator", "output", "MACs", "time", "roofline", "~kernels"),
        tight=True,
    )
    least = roofline_seconds(subject, peaks)
    for t in subject.operators():
        made.add_row(
            str(t.cost.index),
            t.cost.kind.lower(),
            "x".join(map(str, t.cost.output_shape[1:])),
            count_text(t.cost.macs) if t.cost.macs else "-",
            seconds_text(t.seconds),
            _least_text(least[t.cost.index]) if least else "-",
            " + ".join(dict.fromkeys(t.kernels)) or "fused",
        )
    return made


def _conditions(result: Report) -> RenderableType:
    measured = [(m.name, t) for m in result.models for t in m.measurements]
    several = len(_counts(result.models)) > 1
    return Group(
        Text("\nConditions", style="bold"),
        facts(
            *facts_of_run(result),
            *(("verdict", _verdict(name, t, several)) for name, t in measured),
        ),
    )


def _verdict(name: str, timed: Measurement, several: bool) -> str:
    where = f"{name}, {threads_text(timed.threads)}" if several else name
    return f"{where}: {'; '.join(timed.problems) or 'trusted'}"
