"""Under which conditions a run was measured, in words: the same for the terminal and the page. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from device_agent.record.intervals import Spread
from device_agent.record.measurement import Measurement
from sdk.explain.compare import Comparison, smallest_told
from sdk.explain.gap import ADDS_UP, Gap
from sdk.explain.macs import NOT_BY_ZERO
from sdk.explain.run import Report
from sdk.report.units import bytes_text, percent_text, ratio_text, threads_text

#: Of a value that the machine keeps to itself.
NOT_REPORTED = "not reported by this machine"


def facts_of_run(report: Report) -> list[tuple[str, str]]:
    """Label and text, one pair per line."""
    first = report.models[0].measurement
    runs = report.models[0].measurements  # one for every number of threads
    warm_ups = [len(m.measurement.warmup_seconds) for m in report.models]
    facts = [
        ("machine", f"{first.machine}, Python {first.python_version}, numpy {first.numpy_version}"),
        ("runtime", f"{first.runtime} {first.runtime_version}, delegate {first.delegate}"),
        *_kernels(report),
        ("threads", f"{', '.join(str(t.threads) for t in runs)}; on CPUs {', '.join(map(str, first.cpus))}"),
        (
            "samples",
            " + ".join(f"{len(m.measurement.samples_seconds):,}" for m in report.models)
            + f", {_turns([m.measurement for m in report.models])}, after {_range(warm_ups)} warm-ups",
        ),
        (
            "decoder",
            "none: the models were not packed"
            if first.decode_kernel == "none"
            else f"{first.decode_kernel} kernel",
        ),
    ]
    unchecked = [m.name for m in report.models if m.accuracy is None]
    if unchecked:
        facts.append(("accuracy", f"not checked on any image: {', '.join(unchecked)}"))
    if report.emulated:
        return facts
    facts += [
        ("spread", f"{m.name}: {spread_text(m.measurement.spread())}")
        for m in report.models
        if m.measurement.turns
    ]
    facts += _machine_facts(report)
    if report.peaks is not None:
        memory = report.peaks.memory_bytes_per_second
        figures = f"{report.peaks.flop_per_second / 1e9:.3g} GFLOP/s" + (
            f", {memory / 1e9:.3g} GB/s read and written" if memory else ""
        )
        facts.append(("board's peak", f"{figures} ({report.peaks.source})"))
    return facts


def _kernels(report: Report) -> list[tuple[str, str]]:
    """The models of which operators ran in kernels of Armlet, and their weights; nothing where none did."""
    ran = [(m.name, m.measurement) for m in report.models if m.measurement.armlet_operators]
    return [("kernels of Armlet", f"{name}: {_in_kernels(measured)}") for name, measured in ran]


def _in_kernels(measured: Measurement) -> str:
    count = measured.armlet_operators
    told = f"{count} operator{'s' if count != 1 else ''}"
    if not measured.armlet_packed_bytes:  # a record of before
        return told
    return (
        f"{told}, whose weights take {bytes_text(measured.armlet_packed_bytes)}, "
        f"{bytes_text(measured.armlet_float_bytes)} as floats"
    )


def _machine_facts(report: Report) -> list[tuple[str, str]]:
    """What the machine said of itself while models ran."""
    first, runs = report.models[0].measurement, report.models[0].measurements
    throttled = [t.throttled for t in runs if t.throttled is not None]
    return [
        ("governor", first.governor or NOT_REPORTED),
        (
            "clock",
            _course(
                runs[0].frequency_before_hz,
                [moment.frequency_hz for t in runs for moment in t.during],
                runs[-1].frequency_after_hz,
                1e-9,
                "GHz",
            ),
        ),
        (
            "temperature",
            _course(
                runs[0].temperature_before_celsius,
                [moment.temperature_celsius for t in runs for moment in t.during],
                runs[-1].temperature_after_celsius,
                1.0,
                "°C",
            ),
        ),
        ("throttled", ("yes" if any(throttled) else "no") if throttled else NOT_REPORTED),
        ("disturbed", _disturbed([t for m in report.models for t in m.measurements])),
    ]


def spread_text(spread: Spread) -> str:
    """By how much samples, turns and loadings of a model differ."""
    said = f"{percent_text(spread.within_turn)} within a turn, {percent_text(spread.between_turns)} between turns"
    if spread.between_loadings is None:
        return f"{said}; one loading, so what another would do is not known"
    return f"{said}, {percent_text(spread.between_loadings)} between loadings"


def work_text(work: str) -> str:
    """The count of theory, in words: "MACs", or "MACs not by zero"."""
    return "MACs not by zero" if work == NOT_BY_ZERO else work


def theory_text(comparisons: Sequence[Comparison]) -> str:
    """The legend of a table of comparisons, with the promise by the other count."""
    said = "measured: ratio of medians; realised: measured / in theory; in theory: ratio of "
    kinds = list(dict.fromkeys(c.work for c in comparisons))
    if kinds == [NOT_BY_ZERO]:
        said += f"{work_text(NOT_BY_ZERO)}, between versions of one network"
    elif NOT_BY_ZERO in kinds:
        said += f"MACs; between versions of one network of {work_text(NOT_BY_ZERO)}"
    else:
        said += "MACs"
    others = []
    for c in comparisons:
        other = c.macs_speedup if c.work == NOT_BY_ZERO else c.effective_speedup
        if other is not None and ratio_text(other) != ratio_text(c.theoretical_speedup or 0.0):
            kind = "all MACs" if c.work == NOT_BY_ZERO else work_text(NOT_BY_ZERO)
            others.append(f"{c.candidate} has {ratio_text(other)} by {kind}")
    return "; ".join([said, *dict.fromkeys(others)])


def told_texts(report: Report) -> list[str]:
    """The result of a self-test, and the comparisons without a difference: one sentence each."""
    said = []
    for first, again in zip(report.models[0].measurements, report.again, strict=False):
        smallest = smallest_told(first, again)
        said.append(
            f"self-test, {threads_text(first.threads)}: {report.models[0].name} against itself "
            f"{first.median / again.median:.3f}x; a difference below {percent_text(smallest)} cannot be told"
        )
    names: dict[int, list[str]] = {}
    for c in report.comparisons:
        if not c.is_conclusive:
            names.setdefault(c.threads, []).append(c.candidate)
    said += [
        f"no difference that can be told from {report.models[0].name}, {threads_text(threads)}: {', '.join(without)}"
        for threads, without in names.items()
    ]
    return said


def accounted_text(gap: Gap) -> str:
    """How near the parts come to the medians, and what to do where they are too far off."""
    said = (
        f"operators, dispatch and threads add up to {percent_text(gap.accounted, 0)} of its median, in the baseline to "
        f"{percent_text(gap.baseline_accounted, 0)}"
    )
    if gap.adds_up:
        return said
    why = "".join(f"; {doubt}" for doubt in gap.doubts)
    return f"disturbed by more than {percent_text(ADDS_UP, 0)}: {said}{why}; repeat on a quiet board"


#: More measurements with problems of one kind are counted, instead of named one by one.
NAMED = 3


def kind_of_problem(problem: str) -> str:
    """What comes before the details: "noisy" of "noisy: the 90th percentile is ..."."""
    return re.split(r"[:(]", problem, maxsplit=1)[0].strip()


def problems_of(reports: Sequence[Report]) -> list[str]:
    """The problems of these runs, with the models concerned: one sentence per problem, or per kind of problem."""
    found: dict[str, list[tuple[str, str]]] = {}
    measured = 0
    for report in reports:
        for model in report.models:
            for timed in model.measurements:
                measured += 1
                for problem in timed.problems:
                    found.setdefault(kind_of_problem(problem), []).append((problem, model.name))
    said = []
    for kind, cases in found.items():
        names: dict[str, list[str]] = {}
        for problem, name in cases:
            names.setdefault(problem, []).append(name)
        if len(names) > NAMED:
            problem, name = cases[0]
            said.append(f"{kind}: {len(cases)} of {measured} measurements, such as {name} ({problem})")
        else:
            said += [f"{', '.join(dict.fromkeys(where))}: {problem}" for problem, where in names.items()]
    return said


def _turns(measured: Sequence[Measurement]) -> str:
    """In how many turns and loadings they were taken."""
    if not all(m.turns for m in measured):
        return "interleaved, in one loading of each"
    turns, loadings = _range([len(m.turns) for m in measured]), _range([m.loadings for m in measured])
    return f"in {turns} turns of {loadings} loading{'s' if loadings != '1' else ''}, interleaved"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _course(
    before: float | None, during: Sequence[float | None], after: float | None, factor: float, unit: str
) -> str:
    """ "1.5 GHz before, 1.8 to 2.4 during, 1.8 after"."""
    known = [value for value in during if value is not None]
    if before is None and after is None and not known:
        return NOT_REPORTED
    parts = []
    for value, when in ((before, "before"), (None, "during"), (after, "after")):
        if when == "during" and known:
            low, high = f"{min(known) * factor:.3g}", f"{max(known) * factor:.3g}"
            parts.append(f"{low if low == high else f'{low} to {high}'} {unit} during")
        elif value is not None:
            parts.append(f"{value * factor:.3g} {unit} {when}")
    return ", ".join(parts)


def _disturbed(measured: Sequence[Measurement]) -> str:
    """How often other processes took the cores while samples were taken."""
    counts = [t.preemptions for t in measured if t.preemptions is not None]
    if not counts:
        return "not in the record"
    samples = sum(len(t.samples_seconds) for t in measured)
    return f"other processes took a core {sum(counts):,} times in {samples:,} samples"
