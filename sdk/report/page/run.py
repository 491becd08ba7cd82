"""A report as one HTML file that needs nothing else: no network, no other files. Pure: returns text.

Every figure in a table stands with its raw value beside it (``data-field``, ``data-value``), so that a program can
read the page and a test can hold it against the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from device_agent.record.measurement import Measurement
from sdk.data.meaning.shares import wilson
from sdk.explain.attribution import OperatorTime
from sdk.explain.breakdown import Peaks, dispatch_seconds, roofline_seconds
from sdk.explain.gap import Gap
from sdk.explain.run import ModelRecord, PredictedTime, Report
from sdk.explain.theory import GROUPS
from sdk.report.conditions import (
    accounted_text,
    facts_of_run,
    kind_of_problem,
    problems_of,
    theory_text,
    told_texts,
)
from sdk.report.page import bars, charts, curves, shapes
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.page.template import TEMPLATE
from sdk.report.terminal.tables import init_text
from sdk.report.units import (
    bytes_text,
    count_text,
    moment_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
    threads_text,
)

HEADS = (
    *("#", "operator", "group", "output", "MACs", "time", "share", "roofline", "GFLOP/s", "FLOP/byte"),
    "kernels",
)


def render(report: Report) -> str:
    """The page of a report."""
    subjects = [(m, s) for m in report.models if (s := m.subject()) is not None]
    profiled = [(m, s.operators()) for m, s in subjects]
    return fill(
        TEMPLATE,
        title=f"{', '.join(m.name for m in report.models)} on {report.board}",
        report=report,
        about=_about(report),
        problems=problems_of([report]),
        # An emulator's clock means nothing, so nothing of it is shown where a reader would take it for a latency.
        times=not report.emulated,
        answer_heads=_answer_heads(report),
        answer_rows=[_answer_row(m, report) for m in report.models],
        medians=Markup(bars.medians(report.models)),
        model_rows=[_model_row(m) for m in report.models],
        time_rows=[_time_row(m, t) for m in report.models for t in m.measurements],
        start_rows=[_start_row(m) for m in report.models],
        kernel_rows=[
            _kernel_row(m) for m in report.models if m.measurement.runtime_start_seconds is not None
        ],
        work_rows=[_work_row(m, report.models[0]) for m in report.models if m.instructions is not None],
        predicted_rows=[_predicted_row(m, m.predicted) for m in report.models if m.predicted is not None],
        comparison_rows=[_comparison_row(c) for c in report.comparisons],
        told=told_texts(report),
        theory=theory_text(report.comparisons),
        causes=_causes(report),
        gaps=[_gap(g) for g in report.gaps],
        course=_plot(lambda width: curves.course(report.models[0], width)) if not report.emulated else "",
        distributions=_plot(lambda width: charts.distributions(report.models, width)),
        operators=[_operators(m, times, report.peaks) for m, times in profiled],
        roofline=_roofline(report, profiled),
        names=[(m.name, f"series-{number % 8}") for number, (m, _) in enumerate(profiled)],
        heads=HEADS,
        groups=Markup(bars.groups([(m.name, s.operators(), dispatch_seconds(s)) for m, s in subjects]))
        if subjects
        else "",
        key=_key(t for _, times in profiled for t in times),
        sizes=Markup(bars.sizes(report.models)),
        accuracy_plot=_plot(lambda width: charts.accuracy_against_size(report.models, width)),
        accuracy_rows=[_accuracy_row(m) for m in report.models if m.accuracy is not None],
        facts=_facts(report),
        notes=[
            note for note in report.notes if not any(g.sparsity and g.sparsity in note for g in report.gaps)
        ],
    )


def _plot(draw: Callable[[int], str]) -> Markup:
    return Markup(shapes.responsive(draw))


def _roofline(report: Report, profiled: Sequence[tuple[ModelRecord, tuple[OperatorTime, ...]]]) -> Markup:
    """One for all models; "" without the board's peaks."""
    if report.peaks is None:
        return Markup("")
    peaks, named = report.peaks, [(m.name, times) for m, times in profiled]
    return _plot(lambda width: charts.roofline(named, peaks, width))


def _about(report: Report) -> list[tuple[str, str]]:
    """When, where and how: what somebody who finds the page asks first."""
    first = report.models[0].measurement
    when = moment_text(first.started_unix_seconds)
    threads = " and ".join(threads_text(t.threads) for t in report.models[0].measurements)
    told = [
        ("when", when),
        ("board", f"{report.board}: {report.board_title}"),
        ("runtime", f"{first.runtime} {first.runtime_version}, {threads}"),
        ("host", report.host),
        ("command", report.command),
    ]
    return [(name, text) for name, text in told if text]


def _causes(report: Report) -> list[tuple[str, list[str]]]:
    """Where time went, each cause once, with the models that it holds for."""
    found: dict[str, list[str]] = {}
    for gap in report.gaps:
        for cause in (*gap.causes, *([gap.sparsity] if gap.sparsity else [])):
            found.setdefault(cause, []).append(f"{gap.candidate}, {threads_text(gap.threads)}")
    by_model: dict[str, list[str]] = {}
    for cause, where in found.items():
        by_model.setdefault("; ".join(dict.fromkeys(where)), []).append(cause)
    return list(by_model.items())


def _answer_heads(report: Report) -> list[str]:
    timed = [f"{what}, {threads_text(n)}" for n in _thread_counts(report) for what in ("median", "p90")]
    return ["model", "package", "accuracy", "95 % interval", *timed, "verdict"]


def _thread_counts(report: Report) -> list[int]:
    """On how many threads any of the models was measured; none where times mean nothing."""
    measured = [] if report.emulated else [t.threads for m in report.models for t in m.measurements]
    return list(dict.fromkeys(measured))


def _answer_row(m: ModelRecord, report: Report) -> dict[str, Any]:
    """A model in one line: its size, its accuracy with the interval, its times, and whether to believe them."""
    accuracy, interval = Cell("accuracy", "", "not checked"), Cell("accuracy_low", "", "-")
    if (a := m.accuracy) is not None:
        low, high = wilson(a.reached, a.samples)
        accuracy = Cell("accuracy", repr(a.share(a.reached)), percent_text(a.share(a.reached), 2))
        interval = Cell("accuracy_low", repr(low), f"{100 * low:.1f} to {100 * high:.1f} %")
    timed = {t.threads: t for t in m.measurements}
    doubts = dict.fromkeys(kind_of_problem(problem) for t in m.measurements for problem in t.problems)
    verdict = "emulated" if report.emulated else ", ".join(doubts) or "trusted"
    return {
        "name": m.name,
        "cells": [
            Cell("size", m.package_bytes, bytes_text(m.package_bytes)),
            accuracy,
            interval,
            *(
                _seconds(f"{name}_of", getattr(timed[count], name) if count in timed else None)
                for count in _thread_counts(report)
                for name in ("median", "p90")
            ),
            Cell("verdict", verdict, verdict),
        ],
    }


def _seconds(field: str, seconds: float | None) -> Cell:
    return Cell(
        field, "" if seconds is None else repr(seconds), "-" if seconds is None else seconds_text(seconds)
    )


def _bytes(field: str, count: int | None) -> Cell:
    return Cell(field, count or "", "-" if count is None else bytes_text(count))


def _signed_seconds(field: str, seconds: float) -> Cell:
    return Cell(field, repr(seconds), ("−" if seconds < 0 else "") + seconds_text(abs(seconds)))


def _ratio(field: str, ratio: float | None) -> Cell:
    return Cell(field, "" if ratio is None else repr(ratio), "-" if ratio is None else ratio_text(ratio))


def _share(field: str, share: float | None, digits: int = 0) -> Cell:
    text = "-" if share is None else percent_text(share, digits)
    return Cell(field, "" if share is None else repr(share), text)


def _time_row(m: ModelRecord, t: Measurement) -> dict[str, Any]:
    minimum, median, p90, p99 = (
        _seconds(name, getattr(t, name)) for name in ("minimum", "median", "p90", "p99")
    )
    low, high = t.median_interval()
    samples = len(t.samples_seconds)
    return {
        "name": m.name,
        "cells": [
            Cell("threads", t.threads, str(t.threads)),
            *(minimum, median, Cell("median_low", repr(low), seconds_range_text(low, high)), p90, p99),
            Cell("samples_taken", samples, f"{samples:,}"),
        ],
    }


def _predicted_row(m: ModelRecord, p: PredictedTime) -> dict[str, Any]:
    timed = next((t.median for t in m.measurements if t.threads == 1), None)
    ratio = None if timed is None else timed / p.seconds
    return {
        "name": m.name,
        "cells": [
            _seconds("theory_seconds", p.theory_seconds),
            _seconds("predicted_seconds", p.seconds),
            Cell("predicted_low", repr(p.low_seconds), seconds_range_text(p.low_seconds, p.high_seconds)),
            _seconds("measured_seconds", timed),
            _ratio("measured_over_predicted", ratio),
        ],
    }


def _model_row(m: ModelRecord) -> dict[str, Any]:
    return {
        "name": m.name,
        "cells": [
            Cell("original_bytes", m.original_bytes, bytes_text(m.original_bytes)),
            Cell("package_bytes", m.package_bytes, bytes_text(m.package_bytes)),
            _ratio("ratio", m.ratio),
            _share("sparsity", m.sparsity),
            Cell("macs", m.macs, count_text(m.macs)),
            Cell("effective_macs", m.effective_macs, count_text(m.effective_macs)),
        ],
    }


def _work_row(m: ModelRecord, first: ModelRecord) -> dict[str, Any]:
    fewer = first.instructions / m.instructions if first.instructions and m.instructions else None
    a_weight = m.decode_instructions_per_weight
    return {
        "name": m.name,
        "cells": [
            Cell("instructions", m.instructions, count_text(m.instructions or 0)),
            _ratio("fewer_instructions", fewer),
            Cell(
                "decode_instructions_per_weight",
                "" if a_weight is None else repr(a_weight),
                "-" if a_weight is None else f"{a_weight:.1f}",
            ),
        ],
    }


def _start_row(m: ModelRecord) -> dict[str, Any]:
    t = m.measurement
    return {
        "name": m.name,
        "cells": [
            _seconds("decode_seconds", t.decode_seconds if t.decode_kernel != "none" else None),
            Cell("init_seconds", repr(t.init_seconds), init_text(t)),
            _seconds("start_seconds", t.start_seconds),
            _seconds("cold_start_seconds", t.cold_start_seconds),
            _seconds("first_seconds", t.first_seconds),
            _bytes("peak_memory_bytes", t.peak_memory_bytes),
            Cell("decode_kernel", t.decode_kernel, t.decode_kernel),
        ],
    }


def _kernel_row(m: ModelRecord) -> dict[str, Any]:
    """Starts and memory with operators in kernels of Armlet, and in the runtime alone."""
    t = m.measurement
    return {
        "name": m.name,
        "cells": [
            _bytes("armlet_packed_bytes", t.armlet_packed_bytes),
            _bytes("armlet_float_bytes", t.armlet_float_bytes),
            _seconds("start_seconds", t.start_seconds),
            _seconds("runtime_start_seconds", t.runtime_start_seconds),
            _bytes("peak_memory_bytes", t.peak_memory_bytes),
            _bytes("runtime_peak_memory_bytes", t.runtime_peak_memory_bytes),
        ],
    }


def _comparison_row(c: Any) -> dict[str, Any]:
    return {
        "name": c.candidate,
        "cells": [
            Cell("baseline", c.baseline, c.baseline),
            Cell("threads", c.threads, str(c.threads)),
            _ratio("theoretical_speedup", c.theoretical_speedup),
            _ratio("measured_speedup", c.measured_speedup),
            Cell("measured_low", repr(c.measured_low), f"{c.measured_low:.2f} to {c.measured_high:.2f}"),
            _share("share_realised", c.share_realised),
        ],
    }


def _gap(g: Gap) -> dict[str, Any]:
    methods = {
        "runtime": "timed inside whole inferences by the runtime's profiler",
        "isolated": "timed one by one, each as a model of its own",
        "armlet": "timed inside whole inferences by Armlet's delegate; what the runtime does beside it is outside",
    }
    return {
        "gap": g,
        "threads": threads_text(g.threads),
        "waterfall": Markup(bars.waterfall(g)),
        "accounted": f"{(text := accounted_text(g))[0].upper()}{text[1:]}.",
        "peak": f"{g.peak_flop_per_second / 1e9:.3g} GFLOP/s",
        "method": methods[g.method],
        "rows": [
            {
                "name": p.name,
                "cells": [
                    _signed_seconds("candidate_seconds", p.candidate_seconds),
                    _signed_seconds("baseline_seconds", p.baseline_seconds),
                    _signed_seconds("seconds", p.seconds),
                ],
            }
            for p in g.parts
        ],
    }


def _operators(m: ModelRecord, times: tuple[OperatorTime, ...], peaks: Peaks | None) -> dict[str, Any]:
    whole = sum(t.seconds for t in times) or 1.0
    subject = m.subject()
    least = roofline_seconds(subject, peaks) if subject is not None else {}
    rows = []
    for t in times:
        c, rate = t.cost, t.achieved_flop_per_second
        kernels = " + ".join(t.kernels) or "fused, or done beforehand"
        rows.append(
            [
                Cell("index", c.index, str(c.index)),
                Cell("kind", c.kind, c.kind, left=True),
                Cell("group", c.group, c.group, left=True),
                Cell("output_shape", shape := "x".join(map(str, c.output_shape)), shape.removeprefix("1x")),
                Cell("macs", c.macs, count_text(c.macs) if c.macs else "-"),
                _seconds("seconds", t.seconds),
                _share("share", t.seconds / whole, 1),
                _seconds("roofline_seconds", least.get(c.index) or None),
                Cell("rate", repr(rate or 0.0), f"{rate / 1e9:.3g}" if rate else "-"),
                Cell("intensity", repr(c.arithmetic_intensity), f"{c.arithmetic_intensity:.3g}"),
                Cell("kernels", kernels, kernels, left=True, wrap=True),
            ]
        )
    return {"name": m.name, "rows": rows}


def _key(times: Iterable[OperatorTime]) -> list[tuple[str, str]]:
    present = {t.cost.group for t in times}
    return [
        *((g, bars.group_class(g)) for g in GROUPS if g in present),
        ("dispatch and overlap", "outside"),
    ]


def _accuracy_row(m: ModelRecord) -> dict[str, Any]:
    a = m.accuracy
    assert a is not None
    counts = (
        ("original_correct", a.original_correct),
        ("compressed_correct", a.compressed_correct),
        ("board_correct", a.board_correct),
    )
    cells = [
        Cell(name, "" if n is None else n, "-" if n is None else percent_text(a.share(n), 2))
        for name, n in counts
    ]
    agrees = a.board_agrees
    cells.append(
        Cell("board_agrees", "" if agrees is None else agrees, "-" if agrees is None else str(agrees))
    )
    cells.append(Cell("samples", a.samples, str(a.samples)))
    return {"name": m.name, "cells": cells}


def _facts(report: Report) -> list[tuple[str, str]]:
    return [
        ("board", f"{report.board}: {report.board_title}"),
        *facts_of_run(report),
        *((f"package of {m.name}", m.measurement.package_sha256 or "none") for m in report.models),
    ]
