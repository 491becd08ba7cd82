"""Turns the facts of a board into a proposal: a board of the catalogue, or a new board file. Pure.

Each figure of the file comes from the board (cores, clocks, extensions) or from another board of the catalogue with the
same cores (operations per cycle), and says so. Others are left out: ``sdk board calibrate`` measures memory bandwidth,
and cores that nobody measured get no peak.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sdk.board.description.records import Board, CoreCluster, RuntimeChoice
from sdk.board.probe import Cpu, Probe

#: The device tree's name of a board (Linux, Documentation/devicetree/bindings/arm) -> the catalogue's. Where another
#: revision of a board has another clock, what is proposed says so.
COMPATIBLE = {
    "beagle,am625-beagleplay": "beagleplay",
    "fsl,imx8mp-evk": "imx8mp",
    "google,imx8mq-phanbell": "coral-dev",
    "hardkernel,odroid-n2-plus": "odroid-n2plus",
    "khadas,vim3": "khadas-vim3",
    "nvidia,p3450-0000": "jetson-nano",
    "nvidia,p3768-0000+p3767-0003": "orin-nano",
    "nvidia,p3768-0000+p3767-0003-super": "orin-nano",
    "nvidia,p3768-0000+p3767-0005": "orin-nano",
    "nvidia,p3768-0000+p3767-0005-super": "orin-nano",
    "radxa,rock-5b": "rock5b",
    "raspberrypi,3-model-b": "rpi3",
    "raspberrypi,3-model-b-plus": "rpi3",
    "raspberrypi,4-model-b": "rpi4",
    "raspberrypi,400": "rpi4",
    "raspberrypi,5-model-b": "rpi5",
    "raspberrypi,model-zero-2-w": "rpi-zero2w",
    "xunlong,orangepi-5": "orangepi5",
}

#: A clock that is further off than this share of the catalogue's is worth a word.
CLOCK_TOLERANCE = 0.02


@dataclass(frozen=True)
class Proposal:
    """``board`` is the name in the catalogue, or None. ``warnings`` are what a user should know before deploying;
    ``toml`` is a file of the board's own, for a board that is not in the catalogue or differs from it."""

    board: str | None
    warnings: tuple[str, ...]
    toml: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"board": self.board, "warnings": list(self.warnings), "toml": self.toml}


def propose(
    probe: Probe,
    boards: Sequence[Board],
    runtimes: Sequence[RuntimeChoice] = (),
    *,
    board: Board | None = None,
) -> Proposal:
    """``boards`` is the catalogue; ``runtimes`` those that have wheels for the board, in order of preference.

    ``board`` is the one that the user names; by default the one that the device tree names.
    """
    board = board or find_board(probe, boards)
    warnings = [
        *_system_warnings(probe, runtimes),
        *(_differences(probe, board) if board is not None else ()),
    ]
    return Proposal(
        board.name if board is not None else None, tuple(warnings), board_file(probe, boards, runtimes)
    )


def find_board(probe: Probe, boards: Iterable[Board]) -> Board | None:
    """The board of the catalogue that the device tree names. Several have the same chip: cores alone say nothing."""
    by_name = {board.name: board for board in boards}
    for name in probe.compatible:
        if name in COMPATIBLE:
            return by_name.get(COMPATIBLE[name])
    return None


def _system_warnings(probe: Probe, runtimes: Sequence[RuntimeChoice]) -> Iterable[str]:
    facts = probe.facts
    if facts.machine == "aarch64" and facts.pointer_bits == 32:
        yield "a 32-bit system on a 64-bit processor: no runtime for it has XNNPACK; a 64-bit image is far faster"
    if facts.python is None:
        yield "there is no python3 on it, which the agent needs"
    elif not runtimes:
        yield f"no runtime has wheels for Python {_dotted(facts.python[:2])} on {facts.wheel_architecture}"
    governors = sorted({cpu.governor for cpu in probe.cpus if cpu.governor not in (None, "performance")})
    if governors:
        names = ", ".join(map(str, governors))
        yield f"the clock follows the load (governor {names}): latencies vary more than they must"
    hot = [f"{zone} {degrees:.0f} C" for zone, degrees in probe.temperatures if degrees >= 75.0]
    if hot:
        yield f"hot already: {', '.join(hot)}"


def _differences(probe: Probe, board: Board) -> Iterable[str]:
    """Where the board is not what the catalogue says of its kind."""
    known = {cpu: cluster for cluster in board.clusters for cpu in cluster.cpus}
    found = {cpu.number: cpu for cpu in probe.cpus}
    if known and found and set(known) != set(found):
        yield f"CPUs {_ranges(found)} run, the file of {board.name} has {_ranges(known)}"
    for group in probe.clusters:
        cluster = known.get(group[0].number)
        if cluster is None:
            continue
        core, highest, expected = group[0].core, group[0].max_hz, cluster.clock_ghz.value
        if core is not None and core != cluster.core:
            yield f"CPU {group[0].number} is a {core}, the file of {board.name} has {cluster.core}"
        if highest is not None and abs(highest / 1e9 - expected) > CLOCK_TOLERANCE * expected:
            yield f"{cluster.core} at up to {highest / 1e9:g} GHz, the file of {board.name} has {expected:g} GHz"


# -- a new file -----------------------------------------------------------------------------------------------------


def board_file(probe: Probe, boards: Iterable[Board], runtimes: Sequence[RuntimeChoice] = ()) -> str:
    """TOML text that :func:`sdk.board.description.board_file.parse_board` reads."""
    facts = probe.facts
    title = facts.model or (probe.compatible[0] if probe.compatible else f"{facts.machine} board")
    lines = [
        f"# {title}, as `sdk board probe` found it",
        "",
        f"title = {_text(title)}",
        f"architecture = {_text('armv7l' if facts.wheel_architecture == 'armv7l' else facts.machine)}",
        'transport = "ssh"',
    ]
    clusters, notes = [], []
    known = {cluster.core: (board.name, cluster) for board in boards for cluster in board.clusters}
    for group in probe.clusters:
        core = group[0].core
        if core in known and group[0].max_hz is not None:
            clusters += _cluster(group, *known[core])
        else:
            notes.append(
                f"CPUs {_ranges(cpu.number for cpu in group)} ({core or 'unknown core'}): no known peak, so no roofline"
            )
    if notes:
        lines += [f"notes = [{', '.join(_text(note) for note in notes)}]"]
    lines += ["", "[system]", f"os = {_text(facts.os_name or facts.system)}"]
    lines += [
        f"python_versions = [{_text(_dotted(facts.python[:2])) if facts.python else ''}]",
        'source = "asked on the board"',
    ]
    for runtime in runtimes:
        lines += ["", "[[runtimes]]", f"name = {_text(runtime.name)}", f"version = {_text(runtime.version)}"]
        lines.append(f"source = {_text(runtime.source)}")
    return "\n".join([*lines, *clusters]) + "\n"


def _cluster(group: Sequence[Cpu], board: str, like: CoreCluster) -> list[str]:
    """A table of clusters: what the board says, and what the same core does per cycle on a board of the catalogue."""
    clock = (group[0].max_hz or 0.0) / 1e9
    derived = '"clock_ghz x {}"'

    def figure(key: str, value: float, kind: str, source: str) -> str:
        return f'{key} = {{ value = {value:g}, kind = "{kind}", source = {source} }}'

    def borrowed(key: str, value: float, kind: str, source: str) -> str:
        return figure(
            key, value, kind if kind != "measured" else "published", _text(f"as of {board}: {source}")
        )

    fp32, int8 = like.fp32_flop_per_cycle, like.int8_op_per_cycle
    return [
        "",
        "[[clusters]]",
        f"core = {_text(like.core)}",
        f"cpus = [{', '.join(str(cpu.number) for cpu in group)}]",
        f"isa = [{', '.join(_text(name) for name in group[0].extensions)}]",
        'source = "/proc/cpuinfo of the board"',
        figure("clock_ghz", clock, "published", '"cpufreq of the board"'),
        borrowed("fp32_flop_per_cycle", fp32.value, fp32.kind, fp32.source),
        borrowed("int8_op_per_cycle", int8.value, int8.kind, int8.source),
        figure(
            "peak_fp32_gflops_per_core", clock * fp32.value, "derived", derived.format("fp32_flop_per_cycle")
        ),
        figure("peak_int8_gops_per_core", clock * int8.value, "derived", derived.format("int8_op_per_cycle")),
    ]


def _text(value: str) -> str:
    """A basic string of TOML; its escapes are JSON's, and it forbids one character more."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))


def _ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 4 -> "0-2, 4"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
