"""The conditions a measurement is taken under: temperature, clock, governor, throttling, memory, big cores.

A fact about the machine is a file and a pure function of its text. Where a file is not there (containers,
emulators, other kernels) the fact is None: unknown is not zero. ``root`` is "/" on a board and a recorded tree in
tests. Paths and units: Linux ``Documentation/ABI/testing/sysfs-class-thermal``, ``admin-guide/pm/cpufreq.rst``,
``proc(5)``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator

CPU = "sys/devices/system/cpu"

#: Names of thermal zones that measure the CPU, best first (``type`` of Raspberry Pi, Rockchip, Amlogic, x86...).
CPU_ZONES = ("cpu", "soc", "x86_pkg_temp", "package", "core", "bigcore", "thermal-fan-est", "acpitz")

#: Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd"): what holds now; this many bits higher,
#: what happened since boot.
THROTTLE_BITS = {0: "under-voltage", 1: "ARM frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16

#: Cores within this of the fastest are of its kind: boards bin the clusters of one kind to slightly different clocks.
ONE_KIND = 0.05


@dataclass(frozen=True)
class Conditions:
    """Readings at one moment; None where the machine does not report it."""

    temperature_celsius: float | None
    frequency_hz: float | None
    governor: str | None
    #: Reasons that hold now, () when the machine says there are none, None when it reports none.
    throttled: tuple[str, ...] | None
    #: Counts of thermal throttling since boot, where the kernel keeps one.
    throttle_count: int | None
    #: Reasons that held at any time since boot, as ``throttled``.
    throttled_since_boot: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Throttled:
    """The throttling of a Raspberry Pi, by its firmware: reasons that hold now, and that held since boot."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def parse_millidegrees(text: str) -> float | None:
    """``thermal_zone*/temp``: thousandths of a degree Celsius; some drivers write whole degrees."""
    if not re.fullmatch(r"\s*-?\d{1,9}\s*", text):
        return None
    value = float(text)
    celsius = value / 1000.0 if abs(value) >= 1000.0 else value
    return celsius if -60.0 <= celsius <= 200.0 else None


def parse_kilohertz(text: str) -> float | None:
    """``cpufreq/*_freq``: kHz. Returns Hz."""
    return float(text) * 1e3 if re.fullmatch(r"\s*[1-9]\d{1,9}\s*", text) else None


def parse_cpuinfo_megahertz(text: str) -> float | None:
    """The fastest ``cpu MHz`` line of an x86 ``/proc/cpuinfo`` in Hz; ARM kernels have none."""
    found = re.findall(r"^cpu MHz\s*:\s*(\d+(?:\.\d+)?)", text, re.MULTILINE)
    return max(float(megahertz) for megahertz in found) * 1e6 if found else None


def parse_throttled(text: str) -> Throttled | None:
    """``throttled=0x50005`` of vcgencmd, or the bare hex number of its sysfs file."""
    match = re.fullmatch(r"\s*(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\s*", text)
    if not match:
        return None
    bits = int(match.group(1), 16)
    return Throttled(
        tuple(reason for bit, reason in THROTTLE_BITS.items() if bits >> bit & 1),
        tuple(reason for bit, reason in THROTTLE_BITS.items() if bits >> bit + SINCE_BOOT & 1),
    )


def parse_status_kilobytes(text: str, field: str) -> int | None:
    """A line like ``VmHWM:     1234 kB`` of ``/proc/PID/status``, in bytes."""
    match = re.search(rf"^{re.escape(field)}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def choose_zone(zones: Iterable[tuple[str, float]]) -> float | None:
    """The CPU's temperature among (type, celsius) pairs; the hottest one when no type names the CPU."""
    known = list(zones)
    for name in CPU_ZONES:
        matching = [celsius for kind, celsius in known if name in kind.lower()]
        if matching:
            return max(matching)
    return max((celsius for _, celsius in known), default=None)


def _text(path: Path) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def read_temperature(root: Path = Path("/")) -> float | None:
    """Degrees Celsius of the CPU, or of the hottest sensor where none names the CPU; None without a sensor."""
    zones = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        celsius = parse_millidegrees(_text(zone / "temp"))
        if celsius is not None:
            zones.append((_text(zone / "type").strip(), celsius))
    if not zones:
        for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input")):
            celsius = parse_millidegrees(_text(sensor))
            if celsius is not None:
                zones.append((_text(sensor.parent / "name").strip(), celsius))
    return choose_zone(zones)


def read_frequency(cpus: Iterable[int] | None = None, root: Path = Path("/")) -> float | None:
    """The highest current clock, in Hz, among ``cpus`` (None: all)."""
    wanted = None if cpus is None else set(cpus)
    found = []
    for directory in (root / CPU).glob("cpu[0-9]*"):
        if wanted is None or int(directory.name[3:]) in wanted:
            hertz = parse_kilohertz(_text(directory / "cpufreq/scaling_cur_freq"))
            if hertz is not None:
                found.append(hertz)
    return max(found) if found else parse_cpuinfo_megahertz(_text(root / "proc/cpuinfo"))


def read_governor(root: Path = Path("/")) -> str | None:
    """The governor's name; several, joined by "+", where clusters differ."""
    names = {_text(path).strip() for path in (root / CPU).glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return "+".join(sorted(name for name in names if re.fullmatch(r"\w{1,32}", name))) or None


def read_throttled(root: Path = Path("/")) -> Throttled | None:
    """Reasons for a lowered clock that the firmware of a Raspberry Pi gives; None on other machines."""
    for path in (root / "sys/devices/platform").glob("soc*/*firmware/get_throttled"):
        found = parse_throttled(_text(path))
        if found is not None:
            return found
    vcgencmd = shutil.which("vcgencmd") if root == Path("/") else None
    if vcgencmd:
        try:
            answer = subprocess.run([vcgencmd, "get_throttled"], capture_output=True, text=True, timeout=2)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return parse_throttled(answer.stdout)
    return None


def read_throttle_count(root: Path = Path("/")) -> int | None:
    """How often the clocks of all CPUs were lowered since boot; None where the kernel does not count it."""
    texts = [_text(path) for path in (root / CPU).glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    counts = [int(text) for text in texts if re.fullmatch(r"\s*\d{1,18}\s*", text)]
    return sum(counts) if counts else None


def read_available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that programs can still take without swapping, as the kernel estimates them."""
    return parse_status_kilobytes(_text(root / "proc/meminfo"), "MemAvailable")


def read_peak_memory(root: Path = Path("/")) -> int | None:
    """Peak resident bytes of this process so far."""
    return parse_status_kilobytes(_text(root / "proc/self/status"), "VmHWM")


def read_resident_memory() -> int | None:
    """Resident bytes of this process now."""
    return parse_status_kilobytes(_text(Path("/proc/self/status")), "VmRSS")


def big_cores(root: Path = Path("/")) -> tuple[int, ...]:
    """The CPUs of the fastest kind, from ``cpu_capacity`` or the highest clock; () when all are alike or unknown.

    Capacity is the kernel's measure of an ARM core, 1024 for the fastest at its highest clock.
    """
    speeds: dict[int, int] = {}
    for directory in (root / CPU).glob("cpu[0-9]*"):
        text = _text(directory / "cpu_capacity") or _text(directory / "cpufreq/cpuinfo_max_freq")
        if re.fullmatch(r"\s*\d{1,10}\s*", text):
            speeds[int(directory.name[3:])] = int(text)
    fastest = max(speeds.values(), default=0)
    big = sorted(cpu for cpu, speed in speeds.items() if speed >= (1.0 - ONE_KIND) * fastest)
    return tuple(big) if len(big) < len(speeds) else ()


def pin_to_big_cores() -> tuple[int, ...]:
    """Keeps this process on the big cores where there are such and the kernel allows it; the CPUs it may now use."""
    allowed = os.sched_getaffinity(0)
    wanted = allowed.intersection(big_cores())
    if wanted:
        # A container may forbid it; the record says which CPUs were used all the same.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, wanted)
    return tuple(sorted(os.sched_getaffinity(0)))


def parse_cpu_quota(text: str) -> float | None:
    """cgroup v2 ``cpu.max``, "200000 100000": how many CPUs' time may be used; None for "max" and anything else."""
    match = re.fullmatch(r"\s*(\d{1,12})\s+(\d{1,12})\s*", text)
    return int(match.group(1)) / int(match.group(2)) if match and int(match.group(2)) else None


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' time that the cgroup of this process may use, itself or one above it; None where nothing limits it."""
    group = next(
        (line[3:] for line in _text(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "/"
    )
    folder = root / "sys/fs/cgroup"
    quotas = [parse_cpu_quota(_text(folder / "cpu.max"))]
    for part in group.strip("/").split("/"):
        folder = folder / part
        quotas.append(parse_cpu_quota(_text(folder / "cpu.max")))
    period, quota = (
        _text(root / f"sys/fs/cgroup/cpu/cpu.cfs_{which}_us").strip() for which in ("period", "quota")
    )
    quotas.append(parse_cpu_quota(f"{quota} {period}"))  # cgroup v1; -1 is not a limit
    return min((found for found in quotas if found is not None), default=None)


def usable_cores(root: Path = Path("/")) -> int:
    """How many threads can run at once: the CPUs that this process is kept to, the big ones, and its cgroup's share."""
    allowed = os.sched_getaffinity(0)
    cores = len(allowed.intersection(big_cores(root)) or allowed)
    quota = read_cpu_quota(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


@contextlib.contextmanager
def near_big_cores(root: Path = Path("/")) -> Iterator[None]:
    """Threads that are started inside stay on the big cores; the calling thread itself goes where it could before."""
    before = os.sched_getaffinity(0)
    wanted = before.intersection(big_cores(root))
    try:
        if wanted:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, wanted)
        yield
    finally:
        if wanted:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, before)


def read_conditions(cpus: Iterable[int] | None = None, root: Path = Path("/")) -> Conditions:
    """Temperature, clock, governor and throttling now; the clock is the highest among ``cpus`` (None: all)."""
    throttled = read_throttled(root)
    return Conditions(
        temperature_celsius=read_temperature(root),
        frequency_hz=read_frequency(cpus, root),
        governor=read_governor(root),
        throttled=throttled.now if throttled else None,
        throttle_count=read_throttle_count(root),
        throttled_since_boot=throttled.since_boot if throttled else None,
    )
