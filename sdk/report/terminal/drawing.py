"""Records as rich renderables that stay complete on 80 columns. Pure: makes them, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_agent.record.intervals import Interval
from device_agent.record.usage import Usage
from device_agent.record.visible import visible
from sdk.explain.run import Accuracy
from sdk.package.inspection import Inspection
from sdk.report.terminal.boards import added_board as added_board
from sdk.report.terminal.boards import board_facts as board_facts
from sdk.report.terminal.boards import boards as boards
from sdk.report.terminal.boards import diagnosis as diagnosis
from sdk.report.terminal.boards import signature_policy as signature_policy
from sdk.report.terminal.boards import stopped_board as stopped_board
from sdk.report.terminal.data import data_report as data_report
from sdk.report.terminal.evaluated import agreed as agreed
from sdk.report.terminal.evaluated import evaluation as evaluation
from sdk.report.terminal.evaluated import layer_losses as layer_losses
from sdk.report.terminal.exports import exported as exported
from sdk.report.terminal.exports import native_libraries as native_libraries
from sdk.report.terminal.fleet import fleet_deployed as fleet_deployed
from sdk.report.terminal.fleet import fleet_overview as fleet_overview
from sdk.report.terminal.fleet import fleet_running as fleet_running
from sdk.report.terminal.fleet import fleet_went_back as fleet_went_back
from sdk.report.terminal.gap import against as against
from sdk.report.terminal.gap import calibration as calibration
from sdk.report.terminal.gap import size_suite as size_suite
from sdk.report.terminal.gap import suite as suite
from sdk.report.terminal.predicted import predicted as predicted
from sdk.report.terminal.predicted import predictions as predictions
from sdk.report.terminal.releases import board_overview as board_overview
from sdk.report.terminal.releases import releases as releases
from sdk.report.terminal.releases import signed as signed
from sdk.report.terminal.releases import slot_changed as slot_changed
from sdk.report.terminal.releases import verified as verified
from sdk.report.terminal.run import report as report
from sdk.report.terminal.services import installed_service
from sdk.report.terminal.services import service as service
from sdk.report.terminal.services import service_removed as service_removed
from sdk.report.terminal.services import services as services
from sdk.report.terminal.tables import facts as _facts
from sdk.report.terminal.tables import notes, shape_text, short_names
from sdk.report.terminal.tables import table as _table
from sdk.report.terminal.tuned import soaked as soaked
from sdk.report.terminal.tuned import tuned as tuned
from sdk.report.units import bytes_text, count_text, percent_text, ratio_text, seconds_text

# ------------------------------------------------------------------------------------------------ single steps


def converted(result: Any) -> RenderableType:
    """One line for a written ``.tflite``."""
    line = (
        f"{result.output}: {bytes_text(result.tflite_bytes)}, {result.operators} operators, "
        f"{count_text(result.parameters)} parameters, {count_text(result.macs)} MACs, "
        f"{shape_text(result.input_shape)} -> {shape_text(result.output_shape)}"
    )
    return Group(Text(line), *_used(result.usage), *notes(result.notes))


def packed(result: Any) -> RenderableType:
    """One line for a written package."""
    line = (
        f"{result.output}: {bytes_text(result.package_bytes)} from {bytes_text(result.tflite_bytes)} "
        f"({ratio_text(result.ratio)} smaller), {result.sections} sections, in {seconds_text(result.seconds)}"
    )
    return Group(Text(line), *_used(result.usage), *notes(result.notes))


def unpacked(result: Any) -> RenderableType:
    """One line for a decoded package."""
    line = (
        f"{result.output}: {bytes_text(result.tflite_bytes)} in {seconds_text(result.seconds)} with the "
        f"{result.kernel} decoder; sha256 {result.tflite_sha256[:16]} is right"
    )
    return Group(Text(line), *notes(result.notes))


def compressed(result: Any) -> RenderableType:
    """Sizes by stage, and how the accuracy was checked."""
    accuracy = result.statement.removeprefix("accuracy was ")
    if result.accuracy:
        accuracy = f"{_accuracy_line(result.accuracy)}; {_loss(result.lost)}"
    parts: list[RenderableType] = []
    if len(result.curve) > 1:
        parts.append(_tried(result))
    if result.passes:
        table = _table(f"For the board: {result.form}", "pass", "<done", "~what, or why not")
        for one in result.passes:
            table.add_row(one["name"], "yes" if one["applied"] else "no", one["reason"])
        parts.append(table)
    parts += _kernels(result.kernels)
    missed = (
        []
        if result.target_met
        else [
            Text(
                f"the target was missed: {result.output}, written beside, is the nearest that was found",
                style="bold yellow",
            )
        ]
    )
    return Group(
        Text(
            f"{result.output}: {bytes_text(result.package_bytes)} from {bytes_text(result.original_bytes)}, "
            f"{ratio_text(result.ratio)} smaller"
        ),
        _facts(("effort", _how(result)), ("accuracy", accuracy), *_work(result), *_reach(result.reach)),
        *_outputs(result.outputs),
        *parts,
        *notes(result.notes),
        stages(result.inspection),
        *missed,
    )


#: This many layers with zeros are shown, those that take most; the JSON has all.
_LAYERS = 12


def _kernels(layers: Any) -> list[RenderableType]:
    """What the layers with zeros take in each kind of kernel, and where they run."""
    if not layers:
        return []
    title = "Layers with zeros, M instructions estimated (Cortex-A72)"
    table = _table(title, "<layer", "<output", "zero", "dense", "sparse", "Armlet", "block", "<runs in")
    most = sorted(layers, key=lambda one: -one["dense"])[:_LAYERS]
    for one in (one for one in layers if any(one is other for other in most)):
        costs = (one["dense"], one["sparse"], one["armlet"])
        table.add_row(
            one["kind"],
            shape_text(one["output"]),
            percent_text(one["zeros"], 0),
            *("-" if cost is None else f"{cost:.2f}" for cost in costs),
            str(one["block"] or "-"),
            one["runs_in"],
        )
    places: dict[str, int] = {}
    for one in layers:
        places[one["runs_in"]] = places.get(one["runs_in"], 0) + 1
    told = ", ".join(f"{count} in {place}" for place, count in places.items())
    return [table, Text(f"layers with zeros: {told}")]


def _tried(result: Any) -> RenderableType:
    """Size, work and metric of all that was tried, the Pareto front marked."""
    heads = (
        "package",
        "multiply-accumulates",
        result.metric,
        "answers like the original's",
        "points lost at most",
    )
    table = _table("Tried; yes: no other is as small with as little work and loss", *heads, "front")
    for point in result.curve:
        shares = (point["accuracy_percent"], point["agreement_percent"])
        most = point["points_lost_at_most"]
        table.add_row(
            bytes_text(point["package_bytes"]),
            count_text(point["macs"]),
            *("-" if s is None else f"{s:.2f} %" for s in shares),
            "-" if most is None else f"{most:.2f}",
            "yes" if point["on_front"] else "-",
        )
    return table


def _work(result: Any) -> list[tuple[str, str]]:
    """The multiply-accumulates before and after, where whole channels went."""
    before, after = result.macs
    told = []
    if after < before:
        share = percent_text(1 - after / before, 0)
        told.append(f"{count_text(before)} -> {count_text(after)} multiply-accumulates, {share} fewer")
    if result.instructions is not None:
        told.append(f"{count_text(result.instructions)} instructions per inference on the emulated core")
    return [("work", "; ".join(told))] if told else []


def _outputs(outputs: Any) -> list[RenderableType]:
    """The change of the outputs without data; in red where they differ."""
    if outputs is None:
        return []
    if not outputs.changed:
        return [Text(str(outputs))]
    advice = (
        "the answers change. Ask for less (--sparsity, --clusters, --target-size), or give images: --data"
    )
    return [Text(f"{outputs}: {advice}", style="bold red")]


def _reach(reach: Any) -> list[tuple[str, str]]:
    """How many layers were worked on, and why not the others."""
    if reach is None:
        return []
    lines = [f"{reach.compressed} of {reach.layers} compressed", *reach.lines()]
    return [("layers", "\n".join(lines))]


def _how(result: Any) -> str:
    parts = [f"{result.effort} (chosen: {result.why})" if result.why else result.effort]
    if result.block > 1:
        parts.append(f"{result.block} output channels pruned together")
    if result.int8:
        parts.append("8-bit weights and values")
    return ", ".join(parts)


def _loss(lost: Interval) -> str:
    return f"{lost.value:.2f} points lost, at most {lost.high:.2f} with 95 % confidence"


def _accuracy_line(accuracy: Accuracy) -> str:
    before, after = accuracy.original_correct, accuracy.compressed_correct
    return (
        f"{percent_text(accuracy.share(before))} -> {percent_text(accuracy.share(after))} "
        f"({before} -> {after} of {accuracy.samples}, {accuracy.data})"
    )


def installed_tool(result: Any) -> RenderableType:
    """Where it is, and that it is not fetched again."""
    return Text(
        f"{result.name}: {', '.join(result.modules)} in {result.folder}; `sdk convert` works offline now"
    )


def fetched(result: Any) -> RenderableType:
    """One line a runtime."""
    return Group(
        *(
            Text(
                f"{r.runtime} {r.runtime_version} for {r.board} (Python {r.python}, {r.architecture}): "
                f"{bytes_text(r.archive_bytes)} ready to push"
            )
            for r in result.runtimes
        )
    )


def board_status(status: Any) -> RenderableType:
    """Whether an emulated board runs, where, and what to do next."""
    where = status.to_json()
    if not status.running:
        built = (
            "its userland is built"
            if status.userland_built
            else "its first start builds it, which takes a minute and the internet"
        )
        return Group(
            Text(f"{status.board} does not run; {built}", style="bold"),
            _facts(("folder", str(status.folder)), ("next", f"sdk board start {status.board}")),
        )
    return Group(
        Text(f"{status.board} runs", style="bold"),
        _facts(
            ("address", f"{where['user']}@{where['host']}, port {status.port}"),
            ("process", str(status.pid)),
            ("core", f"{status.cpu}, emulated: times taken there are not latencies"),
            ("folder", str(status.folder)),
            ("next", f"sdk deploy --board {status.board} MODEL"),
        ),
    )


def probed(result: Any) -> RenderableType:
    """Facts about a board, its name in the catalogue, and warnings."""
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
    """The release that runs now, the bytes sent for it, and the result of the health check."""
    state = {
        "confirmed": "is what runs now",
        "unchanged": "ran already"
        + ("" if result.sent_bytes or result.provisioned_bytes else "; nothing was sent"),
        "trial": "waits on trial",
    }[result.state]
    difference = result.largest_difference
    check = "not needed" if difference is None else f"outputs within {difference:.2g} of the host's"
    return Group(
        Text(f"{result.called} {state} on {result.address}"),
        _facts(
            ("sent", _sent(result)),
            (
                "runtime",
                f"{result.runtime} {result.runtime_version}, sent {bytes_text(result.provisioned_bytes)}",
            ),
            ("decoder", _DECODERS[result.decode_kernels[0]]),
            ("health check", check),
            *_prepared(result.prepared),
            *(("not used", visible(note)) for note in result.notes),
            ("release", result.release),
        ),
        *notes(result.usage_notes),
    )


#: Kernel of the decoder -> what to say of it.
_DECODERS = {"c": "compiled C", "numpy": "numpy; no C decoder runs on this board"}


def _sent(result: Any) -> str:
    """What went over the connection for the model. With the package go its golden pair and its manifest."""
    if not result.sent_bytes:
        return f"nothing: the board has all of the {bytes_text(result.package_bytes)} package"
    return f"{bytes_text(result.sent_bytes)}; the package is {bytes_text(result.package_bytes)}"


def deployed_as_service(result: Any) -> RenderableType:
    """The same, and where it is served, if it is."""
    done = deployed(result.deployment)
    return done if result.error else Group(done, installed_service(result.service))


def _prepared(prepared: Any) -> list[tuple[str, str]]:
    """How the release starts and with how many threads it runs, as the board found out."""
    if prepared is None:
        return []
    start = f"builds the model's weights again each time: {prepared.start_reason}"
    if prepared.start_seconds is not None and prepared.start_bytes is not None:
        start = (
            f"{seconds_text(prepared.start_seconds)} instead of {seconds_text(prepared.cold_start_seconds)}, "
            f"for {bytes_text(prepared.start_bytes)} of disk"
        )
    elif prepared.start_bytes is not None:
        start = f"from weights that are kept ready, {bytes_text(prepared.start_bytes)} of disk"
    lines = [("threads", f"{prepared.threads} ({prepared.threads_reason})"), ("start", start)]
    if prepared.kernels_reason:
        lines.insert(0, ("kernels", f"{prepared.kernels} ({prepared.kernels_reason})"))
    if prepared.kernels_starts is not None:
        lines.append(("with kernels", kernel_starts_text(prepared.kernels_starts)))
    return lines


def kernel_starts_text(starts: Any) -> str:
    """What a release takes with kernels of Armlet, beside the runtime alone."""
    told = (
        f"starts in {seconds_text(starts.armlet_start_seconds)} instead of "
        f"{seconds_text(starts.runtime_start_seconds)} (cold)"
    )
    if starts.armlet_peak_bytes is not None and starts.runtime_peak_bytes is not None:
        told += (
            f", takes {bytes_text(starts.armlet_peak_bytes)} of memory instead of "
            f"{bytes_text(starts.runtime_peak_bytes)}"
        )
    return f"{told}; weights {bytes_text(starts.packed_bytes)} instead of {bytes_text(starts.float_bytes)}"


# --------------------------------------------------------------------------------------------------- inspection


def stages(inspection: Inspection) -> Table:
    """The paper's table: what is left after pruning, weight sharing and coding."""
    table = _table(None, "stage", "bytes", "ratio")
    for stage, size in inspection.stages:
        table.add_row(stage, f"{size:,}", ratio_text(inspection.original_bytes / size))
    return table


def _used(usage: Usage) -> list[RenderableType]:
    """The preprocessing of an image, and the meaning of the answers, as far as a package names them."""
    pixels = [usage.preprocess.name] if usage.preprocess is not None else []
    pixels += [f"fitted by {usage.fit}"] if usage.fit else []
    few = ", ".join(usage.labels[:3]) + (", ..." if len(usage.labels) > 3 else "")
    facts = [
        ("task", usage.task.in_words() if usage.task is not None else ""),
        ("pixels", ", ".join(pixels)),
        ("labels", f"{len(usage.labels)}: {few}" if usage.labels else ""),
    ]
    known = [(name, text) for name, text in facts if text]
    return [_facts(*known)] if known else []


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
    names = short_names([row.name for row in result.rows])
    for name, row in zip(names, result.rows, strict=True):
        table.add_row(
            name,
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
        *_used(result.usage),
        table,
        stages(result),
    )


def package_diff(result: Any) -> RenderableType:
    """Differences, and the bytes that a push would send."""
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


# -------------------------------------------------------------------------------------------------- catalogues


def zoo(result: Any) -> RenderableType:
    """Networks with parameters and MACs."""
    return _networks(result.networks)


def zoo_network(result: Any) -> RenderableType:
    """One network with parameters and MACs."""
    return _networks([result])


def _networks(networks: Sequence[Any]) -> RenderableType:
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
