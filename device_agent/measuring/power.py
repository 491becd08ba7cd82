"""Reads the power of a board: the rails that it can measure, and their sum.

As in :mod:`device_agent.run.conditions` a fact is a file, or the output of a command, and a pure function of its text.
Units: Linux ``hwmon/sysfs-interface.rst`` (millivolts, milliamperes, microwatts); NVIDIA's older driver ``ina3221x``
writes milliwatts; a Raspberry Pi 5 prints volts and amperes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict

#: Power monitors of Texas Instruments: the beginning of what their drivers call themselves.
MONITOR = "ina"
#: Rails that feed the others, so that these are in them: of a Jetson module and of its carrier board.
SUPPLIES = ("VDD_IN", "5V_IN", "POM_5V_IN", "VDD_MUX")
#: Channels that nothing is connected to, and the sum that the driver adds.
_NO_RAIL = ("", "NC", "sum of shunt voltages")
#: More than a board draws: a reading above is a fault of the monitor.
MOST_WATTS = 1000.0

Watts = Dict[str, float]


@dataclass(frozen=True)
class PowerMeter:
    """A way to read the power of this board: where from, in words, and what reads watts (None: it fails just now)."""

    source: str
    read: Callable[[], float | None]


def parse_pmic(text: str) -> Watts:
    """Watts of every rail whose volts and amperes `vcgencmd pmic_read_adc` prints (Raspberry Pi 5).

    ``VDD_CORE_A current(7)=0.75A`` and ``VDD_CORE_V volt(15)=0.72V`` are one rail. Numbers in brackets name inputs of
    the converter, not rails. No current is printed for the 5 V input, so none of the rails counts what USB and the
    converters take.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, unit, value in re.findall(
        r"^\s*(\w{1,32})_([AV])\s+(?:current|volt)\(\d+\)=(\d{1,4}(?:\.\d{1,12})?)[AV]\s*$", text, re.M
    ):
        found[unit][rail] = float(value)
    return {rail: amperes * found["V"][rail] for rail, amperes in found["A"].items() if rail in found["V"]}


def total_watts(rails: Watts) -> float | None:
    """Watts of all rails; the supplies alone where some of them are. None without any, or where it cannot be."""
    supplies = [watts for rail, watts in rails.items() if rail in SUPPLIES]
    watts = sum(supplies or rails.values())
    return watts if rails and 0.0 <= watts <= MOST_WATTS else None


def _number(path: Path) -> float | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError:
        return None
    return float(text) if re.fullmatch(r"-?\d{1,12}", text) else None


def _word(path: Path) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return re.sub(r"[^\w.+-]", " ", file.read(64)).strip()
    except OSError:
        return None


def _channel_watts(folder: Path, number: int) -> float | None:
    """Watts of a channel: as the driver multiplies them, else volts times amperes."""
    microwatts = _number(folder / f"power{number}_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts, milliamperes = (_number(folder / f"{kind}{number}_input") for kind in ("in", "curr"))
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6


def _hwmon_channels(root: Path) -> list[tuple[str, Path, int]]:
    """(rail, folder, number) of the channels of all power monitors that the kernel's own drivers show."""
    found = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = _word(folder / "name") or ""
        if not name.startswith(MONITOR):
            continue
        # INA3221 has three channels; the others have one, whose bus voltage is in1 and whose current is curr1.
        for number in (1, 2, 3):
            label = _word(folder / f"in{number}_label")
            if label in _NO_RAIL or _number(folder / f"in{number}_enable") == 0.0:
                continue
            if _channel_watts(folder, number) is not None:
                found.append((label or f"{name} {folder.name} channel {number}", folder, number))
    return found


def _tegra_channels(root: Path) -> list[tuple[str, Path]]:
    """(rail, file with milliwatts) of a Jetson with NVIDIA's older driver (JetPack 4)."""
    found = []
    for pattern in ("*/iio_device", "*/iio:device*"):
        for folder in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob(pattern)):
            for number in (0, 1, 2):
                path = folder / f"in_power{number}_input"
                label = _word(folder / f"rail_name_{number}")
                if label not in _NO_RAIL and _number(path) is not None:
                    found.append((label or path.name, path))
        if found:
            break
    return found


def _pmic_meter() -> PowerMeter | None:
    program = shutil.which("vcgencmd")
    if not program:
        return None

    def rails() -> Watts:
        try:
            done = subprocess.run(
                [str(program), "pmic_read_adc"], capture_output=True, text=True, timeout=2, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired):
            return {}
        return parse_pmic(done.stdout)

    found = rails()
    if total_watts(found) is None:
        return None
    return PowerMeter(f"the PMIC's {len(found)} rails (pmic_read_adc)", lambda: total_watts(rails()))


def _meter(driver: str, channels: list[tuple[str, Callable[[], float | None]]]) -> PowerMeter | None:
    """What reads these channels together; one that fails makes the whole reading fail."""
    names = [rail for rail, _ in channels]
    used = [(rail, read) for rail, read in channels if rail in SUPPLIES or not set(SUPPLIES) & set(names)]

    def read_all() -> float | None:
        watts = [read() for _, read in used]
        known = [value for value in watts if value is not None]
        total = sum(known)
        return total if known and len(known) == len(watts) and 0.0 <= total <= MOST_WATTS else None

    if read_all() is None:
        return None
    return PowerMeter(f"{' + '.join(rail for rail, _ in used)[:160]} ({driver})", read_all)


def find_meter(root: Path = Path("/")) -> PowerMeter | None:
    """How the power of this board can be read; None where it reports none.

    A power monitor that the kernel knows comes first, since it may see the whole board.
    """
    hwmon = _hwmon_channels(root)
    if hwmon:
        channels = [(rail, _reader(folder, number)) for rail, folder, number in hwmon]
        found = _meter("hwmon", channels)
        if found is not None:
            return found
    tegra = [(rail, _milliwatts(path)) for rail, path in _tegra_channels(root)]
    if tegra:
        found = _meter("ina3221x", tegra)
        if found is not None:
            return found
    return _pmic_meter() if root == Path("/") else None


def _reader(folder: Path, number: int) -> Callable[[], float | None]:
    return lambda: _channel_watts(folder, number)


def _milliwatts(path: Path) -> Callable[[], float | None]:
    def read() -> float | None:
        found = _number(path)
        return None if found is None else found / 1e3

    return read
