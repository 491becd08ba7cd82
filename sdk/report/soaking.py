"""A soak in words: the same for the terminal and the page. Pure."""

from __future__ import annotations

from device_agent.record.soak import Soak
from sdk.explain.soaking.figures import can_tell_throttling, swaps, throttle
from sdk.explain.soaking.run import SoakReport
from sdk.report.units import percent_text


def minutes_text(seconds: float) -> str:
    """384.2 as "6 min 24 s", 12.34 as "12.3 s"."""
    if seconds < 60.0:
        return f"{seconds:.3g} s"
    hours, minutes, left = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min {left} s" if left else f"{minutes} min"


def joules_text(joules: float | None) -> str:
    """0.01234 as "12.3 mJ"; "-" where it is not known."""
    if joules is None:
        return "-"
    for factor, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")):
        if joules >= factor or unit == "µJ":
            return f"{joules / factor:.3g} {unit}"
    raise AssertionError("unreachable")


def soak_sentences(report: SoakReport) -> list[str]:
    """The results of a soak: throttling, whether it is steady, whether the ranking held; one sentence each."""
    soak, found = report.soak, report.figures
    fell = throttle(soak)
    if fell is not None:
        said = [f"throttled after {minutes_text(fell.seconds)}: {fell.why}"]
    elif can_tell_throttling(soak):
        said = [f"not throttled in {minutes_text(soak.seconds)}"]
    else:
        said = ["whether it was throttled is not reported by this machine"]
    moving = [one.model for one in found if not one.is_steady]
    if moving:
        said.append(f"not steady yet: {', '.join(moving)} still changed at the end: soak longer")
    for swap in swaps(found):
        said.append(
            f"the ranking turned: {swap.first_faster} was {percent_text(swap.first_by, 0)} faster in the first minute, "
            f"{swap.steady_faster} is {percent_text(swap.steady_by, 0)} faster in steady state"
        )
    if len(found) > 1 and not swaps(found):
        said.append("the ranking of the first minute holds in steady state")
    if soak.is_disturbed:
        taken = sum(turn.preemptions for turn in soak.turns)
        said.append(
            f"disturbed: other processes took a core {taken:,} times: stop what else runs there, and repeat"
        )
    if soak.power_source is None:
        said.append("no energy: power is not reported by this board")
    elif all(one.joules is None for one in found):
        said.append("no energy of an inference alone: the board drew no more than while it was idle")
    return said


def facts_of_soak(report: SoakReport) -> list[tuple[str, str]]:
    """Label and text, one pair per line."""
    soak = report.soak
    samples = sum(turn.samples for turn in soak.turns)
    facts = [
        ("machine", f"{soak.machine}, Python {soak.python_version}, numpy {soak.numpy_version}"),
        ("runtime", f"{soak.runtime} {soak.runtime_version}, delegate {soak.delegate}"),
        ("threads", f"{soak.threads}; on CPUs {', '.join(map(str, soak.cpus))}"),
        ("turns", f"{len(soak.turns):,}, {samples:,} inferences, in random order, one loading of each model"),
        ("governor", soak.governor or "not reported by this machine"),
        ("clock", _course(soak, "frequency_hz", soak.idle_hz, 1e-9, "GHz")),
        ("temperature", _course(soak, "temperature_celsius", soak.idle_celsius, 1.0, "°C")),
    ]
    if soak.power_source is not None:
        facts.append(("power", f"{_course(soak, 'watts', soak.idle_watts, 1.0, 'W')}; {soak.power_source}"))
    return facts


def _course(soak: Soak, field: str, idle: float | None, factor: float, unit: str) -> str:
    """ "45 °C idle, 52 at first, 84.1 at most, 82 at the end"."""
    told = [value for turn in soak.turns if (value := getattr(turn, field)) is not None]
    if not told:
        return "not reported by this machine"
    values = ((idle, "idle"), (told[0], "at first"), (max(told), "at most"), (told[-1], "at the end"))
    parts = [f"{value * factor:.3g} {unit} {when}" for value, when in values if value is not None]
    return ", ".join(parts)
