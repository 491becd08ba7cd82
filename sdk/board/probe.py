"""Probes a board for its board file: one command over a connection, and pure functions of its output.

:mod:`sdk.board.facts` asks what provisioning has to know; this adds what theory and a reader of reports want: which
core each CPU is, its clocks and governor, the system on chip, temperatures. Only a shell is required.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk.board.facts import FACTS_SCRIPT, Facts, parse_facts, parse_sections
from sdk.errors import RemoteError

if TYPE_CHECKING:
    from sdk.board.ssh.command import Connection

PROBE_SECONDS = 30.0
MAX_PROBE_BYTES = 1 << 17

PROBE_SCRIPT = (
    FACTS_SCRIPT.replace("echo @end\n", "")
    + """\
echo @compatible; tr '\\0' '\\n' < /proc/device-tree/compatible 2>/dev/null
echo @frequencies; for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
  [ -r "$f/cpuinfo_max_freq" ] || continue
  n=${f%/cpufreq}; n=${n##*/cpu}
  echo "$n $(cat "$f/cpuinfo_min_freq") $(cat "$f/cpuinfo_max_freq") $(cat "$f/scaling_governor")"
done 2>/dev/null
echo @thermal; for z in /sys/class/thermal/thermal_zone[0-9]*; do
  [ -r "$z/temp" ] && echo "$(cat "$z/type") $(cat "$z/temp")"
done 2>/dev/null
echo @end
"""
)

#: Arm's part numbers (Main ID Register, bits 15:4), as Linux' arch/arm64/include/asm/cputype.h and the cores'
#: reference manuals give them.
ARM_PARTS = {
    0xC05: "Cortex-A5",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0E: "Cortex-A17",
    0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
}
ARM = 0x41

#: The kernel's name of a feature -> the board file's name of the extension.
EXTENSIONS = {"asimd": "neon", "neon": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm"}


@dataclass(frozen=True)
class Cpu:
    """One CPU by the kernel's number for it. ``core`` is None where it is not a core of Arm's that is known here."""

    number: int
    implementer: int | None
    part: int | None
    features: tuple[str, ...]
    min_hz: float | None = None
    max_hz: float | None = None
    governor: str | None = None

    @property
    def core(self) -> str | None:
        """The core's name, such as "Cortex-A72"."""
        return ARM_PARTS.get(self.part or 0) if self.implementer == ARM else None

    @property
    def extensions(self) -> tuple[str, ...]:
        """As a board file's ``isa`` lists them."""
        return tuple(dict.fromkeys(name for key, name in EXTENSIONS.items() if key in self.features))


@dataclass(frozen=True)
class Probe:
    """``compatible`` are the device tree's names of the board and its chip, the most exact first."""

    facts: Facts
    cpus: tuple[Cpu, ...]
    compatible: tuple[str, ...]
    #: Zone and degrees Celsius.
    temperatures: tuple[tuple[str, float], ...]

    @property
    def clusters(self) -> tuple[tuple[Cpu, ...], ...]:
        """CPUs of one core type and one highest clock together, the fastest clock first."""
        groups: dict[tuple[Any, ...], list[Cpu]] = {}
        for cpu in self.cpus:
            groups.setdefault((cpu.implementer, cpu.part, cpu.max_hz), []).append(cpu)
        return tuple(
            tuple(group)
            for group in sorted(groups.values(), key=lambda g: (-(g[0].max_hz or 0.0), g[0].number))
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; temperatures in degrees Celsius."""
        return {
            "facts": {**self.facts.__dict__, "wheel_architecture": self.facts.wheel_architecture},
            "compatible": list(self.compatible),
            "cpus": [
                {**cpu.__dict__, "core": cpu.core, "extensions": list(cpu.extensions)} for cpu in self.cpus
            ],
            "temperatures_celsius": dict(self.temperatures),
        }


def probe(connection: Connection) -> Probe:
    """One round trip. Raises RemoteError when the board does not answer like a machine with a shell."""
    done = connection.run(
        ["sh", "-c", PROBE_SCRIPT], timeout_seconds=PROBE_SECONDS, max_output_bytes=MAX_PROBE_BYTES
    )
    return parse_probe(done.stdout.decode("utf-8", "replace"))


def parse_probe(output: str) -> Probe:
    """The output of PROBE_SCRIPT as a record. Raises RemoteError when it is not that."""
    facts = parse_facts(output)
    sections = parse_sections(output)
    if "frequencies" not in sections:
        raise RemoteError("the board did not answer the whole question", found=repr(output[-80:]))
    frequencies = parse_frequencies(sections["frequencies"])
    cpus = []
    for number, implementer, part, features in parse_cpus(sections.get("cpu", "")):
        low, high, governor = frequencies.get(number, (None, None, None))
        cpus.append(Cpu(number, implementer, part, features, low, high, governor))
    names = re.findall(r"^([\w,.+-]{1,80})$", sections.get("compatible", ""), re.MULTILINE | re.ASCII)
    return Probe(facts, tuple(cpus), tuple(names[:16]), parse_thermal(sections.get("thermal", "")))


def parse_cpus(text: str) -> list[tuple[int, int | None, int | None, tuple[str, ...]]]:
    """Number, implementer, part and features of each CPU in ``/proc/cpuinfo``.

    Kernels before 3.19 gave features and part once, below the list of CPUs; they then hold for every CPU.
    """
    found = []
    blocks = re.split(r"\n\s*\n", text)
    common = {key: _field(text, key) for key in ("CPU implementer", "CPU part", "Features")}
    for block in blocks:
        for number in re.findall(r"^processor\s*:\s*(\d{1,4})\s*$", block, re.MULTILINE):
            fields = {key: _field(block, key) or common[key] for key in common}
            features = tuple(f for f in (fields["Features"] or "").split() if re.fullmatch(r"\w{1,32}", f))
            found.append((int(number), _hex(fields["CPU implementer"]), _hex(fields["CPU part"]), features))
    return found


def parse_frequencies(text: str) -> dict[int, tuple[float, float, str]]:
    """By CPU: lowest and highest clock in Hz and the governor, from lines of ``number kHz kHz governor``."""
    lines = re.findall(r"^(\d{1,4}) (\d{4,9}) (\d{4,9}) ([\w-]{1,32})$", text, re.MULTILINE | re.ASCII)
    return {int(n): (float(low) * 1e3, float(high) * 1e3, governor) for n, low, high, governor in lines}


def parse_thermal(text: str) -> tuple[tuple[str, float], ...]:
    """Zones and their temperatures in degrees Celsius, from lines of ``type millidegrees``."""
    lines = re.findall(r"^([\w.-]{1,40}) (-?\d{1,7})$", text, re.MULTILINE | re.ASCII)
    return tuple((zone, int(value) / 1000.0) for zone, value in lines[:32])


def _field(text: str, key: str) -> str | None:
    match = re.search(rf"^{re.escape(key)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def _hex(text: str | None) -> int | None:
    return int(text, 16) if text is not None and re.fullmatch(r"0x[0-9a-fA-F]{1,4}", text) else None
