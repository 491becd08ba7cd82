"""Records as rich renderables that stay complete on 80 columns. Pure: makes them, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.inspection import Inspection
from sdk.report.record import Accuracy, ModelRecord, Report
from sdk.report.terminal_gap import against as against
from sdk.report.terminal_gap import calibration as calibration
from sdk.report.terminal_gap import evaluation as evaluation
from sdk.report.terminal_gap import gap
from sdk.report.terminal_gap import size_suite as size_suite
from sdk.report.terminal_gap import suite as suite
from sdk.report.terminal_releases import board_overview as board_overview
from sdk.report.terminal_releases import releases as releases
from sdk.report.terminal_releases import signed as signed
from sdk.report.terminal_releases import slot_changed as slot_changed
from sdk.report.terminal_releases import verified as verified
from sdk.report.units import bytes_text, count_text, percent_text, ratio_text, seconds_text


def _table(title: str | None, *columns: str, tight: bool = False) -> Table:
    """A table of one text column and numbers. A column named with ``<`` is text too, with ``~`` text that may wrap.

    ``tight`` puts one space between columns instead of two, for tables that need the room.
    """
    table = Table(title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    table.title = f"\n{title}" if title else None
    table.padding = (0, 0) if tight else (0, 1, 0, 0)
    for index, column in enumerate(columns):
        text = index == 0 or column[0] in "<~"
        table.add_column(
            column.lstrip("<~"),
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=column[0] != "~",
        )
    return table


def _facts(*pairs: tuple[str, str]) -> Table:
    """Label and value, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, value in pairs:
        table.add_row(label, value)
    return table


def shape_text(shape: Sequence[int]) -> str:
    """(1, 224, 224, 3) as 1x224x224x3."""
    return "x".join(map(str, shape))


# ------------------------------------------------------------------------------------------------ single steps


def converted(result: Any) -> RenderableType:
    """One line for a written ``.tflite``."""
    return Text(
        f"{result.output}: {bytes_text(result.tflite_bytes)}, {result.operators} operators, "
        f"{count_text(result.parameters)} parameters, {count_text(result.macs)} MACs, "
        f"{shape_text(result.input_shape)} -> {shape_text(result.output_shape)}"
    )


def packed(result: Any) -> RenderableType:
    """One line for a written package."""
    return Text(
        f"{result.output}: {bytes_text(result.package_bytes)} from {bytes_text(result.tflite_bytes)} "
        f"({ratio_text(result.ratio)} smaller), {result.sections} sections, in {seconds_text(result.seconds)}"
    )


def unpacked(result: Any) -> RenderableType:
    """One line for a decoded package."""
    return Text(
        f"{result.output}: {bytes_text(result.tflite_bytes)} in {seconds_text(result.seconds)} with the "
        f"{result.kernel} decoder; sha256 {result.tflite_sha256[:16]} is right"
    )


def compressed(result: Any) -> RenderableType:
    """Sizes by stage, and how the accuracy was checked."""
    accuracy = (
        _accuracy_line(result.accuracy) if result.accuracy else result.statement.removeprefix("accuracy was ")
    )
    parts: list[RenderableType] = []
    if len(result.curve) > 1:
        table = _table("Tried", "package", "top-1", "answers like the original's")
        for point in result.curve:
            shares = (point["accuracy_percent"], point["agreement_percent"])
            table.add_row(
                bytes_text(point["package_bytes"]), *("-" if s is None else f"{s:.2f} %" for s in shares)
            )
        parts.append(table)
    if result.passes:
        table = _table(f"For the board: {result.form}", "pass", "<done", "~what, or why not")
        for one in result.passes:
            table.add_row(one["name"], "yes" if one["applied"] else "no", one["reason"])
        parts.append(table)
    if not result.target_met:
        parts.append(Text("the target was not met; this is the nearest that was found", style="bold yellow"))
    return Group(
        Text(
            f"{result.output}: {bytes_text(result.package_bytes)} from {bytes_text(result.original_bytes)}, "
            f"{ratio_text(result.ratio)} smaller"
        ),
        _facts(("effort", _how(result)), ("accuracy", accuracy)),
        *parts,
        stages(result.inspection),
    )


def _how(result: Any) -> str:
    parts = [result.effort]
    if result.block > 1:
        parts.append(f"{result.block} output channels pruned together")
    if result.int8:
        parts.append("8-bit weights and values")
    return ", ".join(parts)


def _accuracy_line(accuracy: Accuracy) -> str:
    before, after = accuracy.original_correct, accuracy.compressed_correct
    return (
        f"{percent_text(accuracy.share(before))} -> {percent_text(accuracy.share(after))} "
        f"({before} -> {after} of {accuracy.samples}, {accuracy.data})"
    )


def fetched(results: Sequence[Any]) -> RenderableType:
    """One line a runtime."""
    return Group(
        *(
            Text(
                f"{r.runtime} {r.runtime_version} for {r.board} (Python {r.python}, {r.architecture}): "
                f"{bytes_text(r.archive_bytes)} ready to push"
            )
            for r in results
        )
    )


def board_status(status: Any) -> RenderableType:
    """Whether an emulated board runs, and where."""
    facts = {key: value for key, value in status.to_json().items() if value not in (None, "", [])}
    return _facts(*((key.replace("_", " "), str(value)) for key, value in facts.items()))


def probed(result: Any) -> RenderableType:
    """What a board is, which board of the catalogue, and what stands in the way."""
    facts, proposal = result.probe.facts, result.proposal
    cores = ", ".join(
        f"{len(group)} x {group[0].core or 'unknown core'}"
        + (f" at {group[0].max_hz / 1e9:g} GHz" if group[0].max_hz else "")
        + (f" ({' '.join(group[0].extensions)})" if group[0].extensions else "")
        for group in result.probe.clusters
    )
    known = [
        ("board", facts.model),
        ("chip", ", ".join(result.probe.compatible)),
        ("cores", cores),
        ("memory", bytes_text(facts.memory_bytes) if facts.memory_bytes else ""),
        ("free disk", bytes_text(facts.free_disk_bytes) if facts.free_disk_bytes else ""),
        ("system", f"{facts.os_name}, {facts.system}, {facts.wheel_architecture}"),
        ("python", ".".join(map(str, facts.python)) if facts.python else "none"),
        ("libc", " ".join([facts.libc, ".".join(map(str, facts.glibc or ()))]).strip()),
        ("temperature", ", ".join(f"{zone} {degrees:.0f} C" for zone, degrees in result.probe.temperatures)),
    ]
    lines = [Text(f"note: {warning}") for warning in proposal.warnings]
    if proposal.board is not None:
        lines.append(Text(f"in the catalogue: --board {proposal.board}"))
    else:
        lines.append(Text("not in the catalogue; `sdk board add NAME` writes this file:\n"))
        lines.append(Text(proposal.toml))
    return Group(_facts(*((name, text) for name, text in known if text)), *lines)


def deployed(result: Any) -> RenderableType:
    """What runs now, what was sent for it, and how the health check came out."""
    state = {
        "confirmed": "is what runs now",
        "unchanged": "ran already; nothing was sent",
        "trial": "waits on trial",
    }[result.state]
    difference = result.largest_difference
    check = "not needed" if difference is None else f"outputs within {difference:.2g} of the host's"
    return Group(
        Text(f"{result.name} {state} on {result.address}"),
        _facts(
            ("sent", f"{bytes_text(result.sent_bytes)} of {bytes_text(result.package_bytes)}"),
            (
                "runtime",
                f"{result.runtime} {result.runtime_version}, sent {bytes_text(result.provisioned_bytes)}",
            ),
            ("decoder", " or ".join(result.decode_kernels)),
            ("health check", check),
            ("release", result.release),
        ),
    )


# --------------------------------------------------------------------------------------------------- inspection


def stages(inspection: Inspection) -> Table:
    """The paper's table: what is left after pruning, weight sharing and coding."""
    table = _table(None, "stage", "bytes", "ratio")
    for stage, size in inspection.stages:
        table.add_row(stage, f"{size:,}", ratio_text(inspection.original_bytes / size))
    return table


def inspection(result: Inspection) -> RenderableType:
    """Every layer with its own section, then what else is in the file, then the totals by stage."""
    table = _table(
        None,
        "layer",
        "shape",
        "zeros",
        "centroids",
        "<layout",
        "bits",
        "before",
        "after",
        "ratio",
        tight=True,
    )
    for row in result.rows:
        table.add_row(
            short_name(row.name),
            shape_text(row.shape),
            percent_text(row.sparsity, 0),
            "-" if row.centroids is None else str(row.centroids),
            row.layout,
            f"{row.bits_per_weight:.2f}",
            bytes_text(row.original_bytes),
            bytes_text(row.coded_bytes),
            ratio_text(row.ratio).rstrip("x"),
        )
    table.add_section()
    table.add_row(
        "the rest",
        "",
        "",
        "",
        "",
        "",
        bytes_text(result.original_other_bytes),
        bytes_text(result.other_bytes),
        ratio_text(result.original_other_bytes / result.other_bytes).rstrip("x")
        if result.other_bytes
        else "",
    )
    name = result.name or "package"
    return Group(
        Text(
            f"{name}: {result.package_bytes:,} bytes, {ratio_text(result.ratio)} smaller than float32; "
            f"format {result.format_version}"
        ),
        Text(f"package sha256 {result.package_sha256}", style="dim"),
        Text(f"tflite  sha256 {result.tflite_sha256}", style="dim"),
        table,
        stages(result),
    )


def package_diff(result: Any) -> RenderableType:
    """What differs, and what a push would send."""
    changes = [c for c in result.changes if c.kind != "same"]
    same = len(result.changes) - len(changes)
    if result.same_model and not changes and not result.metadata_changed and not result.skeleton_changed:
        return Text("the same model, section by section; a push would send nothing")
    table = _table(None, "section", "<change", "<layout", "before", "after")
    for c in changes:
        layouts = dict.fromkeys(x for x in (c.layout_before, c.layout_after) if x)
        sizes = ("-" if size is None else bytes_text(size) for size in (c.size_before, c.size_after))
        table.add_row(str(c.index), c.kind, " -> ".join(layouts), *sizes)
    what = [
        name
        for name, changed in (("structure", result.skeleton_changed), ("metadata", result.metadata_changed))
        if changed
    ]
    return Group(
        *([table] if changes else []),
        Text(f"{same} sections are the same{', ' + ' and '.join(what) + ' differ' if what else ''}"),
        Text(f"a push would send {bytes_text(result.sent_size)} of {bytes_text(result.size_after)}"),
    )


def short_name(name: str, width: int = 14) -> str:
    """The end of a converter's long tensor name, which is where layers differ."""
    last = name.split(";")[0]
    return last if len(last) <= width else "…" + last[-(width - 1) :]


# -------------------------------------------------------------------------------------------------- catalogues


def zoo(networks: Sequence[Any]) -> RenderableType:
    """Networks with parameters and MACs."""
    table = _table(None, "network", "<paper", "input", "classes", "parameters", "MACs")
    options = Table.grid(padding=(0, 2))
    for n in networks:
        table.add_row(
            n.name,
            n.paper,
            shape_text(n.input_shape),
            str(n.classes),
            count_text(n.parameters),
            count_text(n.macs),
        )
        if n.options:
            options.add_row(n.name, " ".join(f"--{key} {value}" for key, value in n.options.items()))
    return Group(table, Text("Options, with what the table counts:", style="dim"), options)


def boards(known: Sequence[Any]) -> RenderableType:
    """The catalogue: cores, peaks, bandwidth."""
    table = _table(None, "board", "~what it is", "~cores", "GFLOP/s", "GB/s", "<runtime")
    for board in known:
        clusters = " + ".join(f"{len(c.cpus)}x {c.core.removeprefix('Cortex-')}" for c in board.clusters)
        peak = max((c.peak_fp32_gflops_per_core.value for c in board.clusters), default=None)
        bandwidth = board.memcpy_gigabytes_per_second
        table.add_row(
            board.name,
            board.title,
            clusters or "-",
            f"{peak:.1f}" if peak else "-",
            f"{bandwidth.value:.1f}" if bandwidth else "-",
            board.preferred_runtime.name if board.preferred_runtime else "-",
        )
    return Group(table, Text("GFLOP/s: float32 peak of the fastest core; GB/s: memcpy", style="dim"))


# ------------------------------------------------------------------------------------------------------- report


def report(result: Report) -> RenderableType:
    """Size, accuracy, latency and the gap between theory and measurement, then the conditions."""
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
        parts.append(_latencies(result.models))
        if result.comparisons:
            parts.append(_gap(result))
        parts.extend(gap(g) for g in result.gaps)
    parts.append(_conditions(result))
    parts.extend(Text(f"note: {note}", style="yellow") for note in result.notes)
    return Group(*parts)


def _sizes(result: Report) -> Table:
    table = _table(
        "Size", "model", "float32", "pruned", "clustered", "coded", "ratio", "zeros", "decode", tight=True
    )
    for m in result.models:
        sizes = dict(m.stages)
        table.add_row(
            short_name(m.name, 20),
            bytes_text(m.original_bytes),
            *(bytes_text(sizes[stage]) for stage in ("pruned", "clustered")),
            bytes_text(m.package_bytes),
            ratio_text(m.ratio),
            percent_text(m.sparsity, 0),
            "-" if result.emulated else seconds_text(m.measurement.decode_seconds),
        )
    return table


def _accuracies(models: Sequence[ModelRecord]) -> RenderableType:
    table = _table("Accuracy", "model", "original", "compressed", "on the board", "board = host")
    data = ""
    for m in models:
        if m.accuracy is None:
            continue
        a = m.accuracy
        data = f"{a.samples} samples: {a.data}"
        board = "-" if a.board_correct is None else percent_text(a.share(a.board_correct), 2)
        agrees = "-" if a.board_agrees is None else f"{a.board_agrees} of {a.samples}"
        table.add_row(
            short_name(m.name, 20),
            percent_text(a.share(a.original_correct), 2),
            percent_text(a.share(a.compressed_correct), 2),
            board,
            agrees,
        )
    return Group(table, Text(data, style="dim"))


def _work(models: Sequence[ModelRecord]) -> Table:
    table = _table("Work of one inference", "model", "MACs", "by weights that are not zero")
    for m in models:
        table.add_row(short_name(m.name, 20), count_text(m.macs), count_text(m.effective_macs))
    return table


def _instructions(models: Sequence[ModelRecord]) -> Table:
    """Counted under emulation, against the first model; and how many fewer its multiply-accumulates promise."""
    table = _table(
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
        table.add_row(short_name(m.name, 20), executed, fewer, promised, decoded)
    return table


def _latencies(models: Sequence[ModelRecord]) -> Table:
    table = _table("Latency of one inference", "model", "minimum", "median", "p90", "p99", "samples", "MACs")
    for m in models:
        t = m.measurement
        times = [seconds_text(s) for s in (t.minimum, t.median, t.p90, t.p99)]
        table.add_row(short_name(m.name, 20), *times, f"{len(t.samples_seconds):,}", count_text(m.macs))
    return table


def _gap(result: Report) -> RenderableType:
    table = _table(
        f"Against {result.comparisons[0].baseline}",
        "model",
        "in theory",
        "measured",
        "95 % interval",
        "realised",
    )
    for c in result.comparisons:
        theory, share = c.theoretical_speedup, c.share_realised
        table.add_row(
            c.candidate,
            "-" if theory is None else ratio_text(theory),
            ratio_text(c.measured_speedup),
            f"{c.measured_low:.2f} - {c.measured_high:.2f}",
            "-" if share is None else percent_text(share, 0),
        )
    return Group(
        table,
        Text(
            "in theory: ratio of MACs; measured: of medians; realised: measured / in theory",
            style="dim",
        ),
    )


def _conditions(result: Report) -> RenderableType:
    t = result.models[0].measurement
    samples = " + ".join(f"{len(m.measurement.samples_seconds):,}" for m in result.models)
    return Group(
        Text("\nConditions", style="bold"),
        _facts(
            ("machine", f"{t.machine}, Python {t.python_version}, numpy {t.numpy_version}"),
            ("runtime", f"{t.runtime} {t.runtime_version}, delegate {t.delegate}"),
            ("threads", f"{t.threads}, on CPUs {', '.join(map(str, t.cpus))}"),
            ("samples", f"{samples}, interleaved, after {len(t.warmup_seconds)} warm-ups"),
            ("decoder", f"{t.decode_kernel} kernel"),
            *(
                ("verdict", f"{m.name}: {'; '.join(m.measurement.problems) or 'trusted'}")
                for m in result.models
            ),
        ),
    )
