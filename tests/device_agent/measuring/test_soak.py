"""Soaks of a simulated board: it heats up as models run, lowers its clock when it is hot, and draws more then idle."""

from __future__ import annotations

import contextlib
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.errors import AgentError
from device_agent.measuring.power import find_meter
from device_agent.measuring.soak import Reading, SoakPlan, soak, watching
from device_agent.record.measurement import MeasurementError
from device_agent.record.schema import write
from device_agent.record.soak import MAX_TURNS, Soak, SoakedModel, SoakTurn
from device_agent.run.conditions import CPU, Conditions, read_conditions

FAST, HOT = 2.4e9, 1.5e9
#: Seconds of the simulation between two readings: fewer than a turn has.
READ_EVERY = 2.2


class WarmingBoard:
    """A board of one thermal mass: 25 °C around it, 12 K per watt, this many seconds to warm up; hot above 80 °C.

    What it says stands in files as Linux has them, written when its clock moves.
    """

    def __init__(self, root: Path, *, seconds: float = 100.0, idle: float = 2.0) -> None:
        self.root, self.time_constant, self.idle_watts = root, seconds, idle
        self.now = 0.0
        self.celsius = 25.0 + 12.0 * idle
        self.hot = False
        self.readings: list[Reading] = []
        self.next_reading = READ_EVERY
        for name, text in (
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("sys/class/hwmon/hwmon0/name", "ina219"),
            (f"{CPU}/cpu0/cpufreq/scaling_governor", "ondemand"),
        ):
            self.put(name, text)
        self.tell(idle, 1.5e9)
        meter = find_meter(root)
        assert meter is not None
        self.meter = meter

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def tell(self, watts: float, hertz: float) -> None:
        self.put("sys/class/thermal/thermal_zone0/temp", str(round(1000 * self.celsius)))
        self.put("sys/class/hwmon/hwmon0/power1_input", str(round(1e6 * watts)))
        self.put(f"{CPU}/cpu0/cpufreq/scaling_cur_freq", str(round(hertz / 1e3)))
        throttled = "4" if self.hot else "0"
        self.put("sys/devices/platform/soc/soc:firmware/get_throttled", throttled)

    def spend(self, seconds: float, watts: float, hertz: float) -> None:
        self.now += seconds
        target = 25.0 + 12.0 * watts
        self.celsius = target + (self.celsius - target) * math.exp(-seconds / self.time_constant)
        self.hot = self.celsius > (78.0 if self.hot else 80.0)
        if self.now >= self.next_reading:
            self.next_reading = self.now + READ_EVERY
            self.tell(watts, hertz)
            self.readings.append(Reading(read_conditions([0], self.root), self.meter.read()))

    def model(self, gigacycles: float, stalls: float, watts: float):
        """An inference of this many cycles and this many seconds of waiting for memory, which no clock shortens."""

        def invoke() -> None:
            hertz = HOT if self.hot else FAST
            drawn = self.idle_watts + watts * (hertz / FAST) ** 2
            self.spend(gigacycles * 1e9 / hertz + stalls, drawn, hertz)

        return invoke

    @contextlib.contextmanager
    def watch(self):
        def since():
            taken, self.readings = self.readings, []
            return taken

        yield since

    def sleep(self, seconds: float) -> None:
        for _ in range(int(seconds / READ_EVERY)):
            self.spend(READ_EVERY, self.idle_watts, 1.5e9)

    def soak(self, *models, seconds: float, **more):
        return soak(
            models,
            SoakPlan(seconds, 5.0, 0.02 * seconds),
            self.watch,
            clock=lambda: round(1e9 * self.now),
            sleep=self.sleep,
            shuffle=random.Random(1).shuffle,
            **more,
        )


def record(turns, idle=None, names=("a", "b")) -> Soak:
    """A record of turns, as the verb makes it."""
    models = tuple(SoakedModel(name, "0" * 64, None, 50_000_000, 30_000_000) for name in names)
    last = idle[-1] if idle else None
    return Soak(
        models=models,
        turns=tuple(turns),
        threads=4,
        cpus=(0, 1, 2, 3),
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        delegate="xnnpack",
        numpy_version="2.4.6",
        python_version="3.13.5",
        machine="aarch64",
        started_unix_seconds=1.7e9,
        idle_watts=last.watts if last else None,
        idle_celsius=last.conditions.temperature_celsius if last else None,
        power_source="ina219 hwmon0 channel 1 (hwmon)" if last else None,
        tells_throttling=last is not None,
    )


def test_turns_hold_what_the_board_said_while_they_ran(tmp_path):
    board = WarmingBoard(tmp_path)
    found = board.soak(board.model(0.12, 0.0, 4.0), seconds=400.0)
    assert {reading.watts for reading in found.idle} == {2.0}
    first, last = found.turns[0], found.turns[-1]
    assert first.watts == pytest.approx(6.0)
    assert first.frequency_hz == FAST
    assert first.median_seconds == pytest.approx(0.12e9 / FAST, rel=1e-6)
    assert first.temperature_celsius == pytest.approx(49.0, abs=2.0)
    assert last.temperature_celsius > 75.0
    assert any(turn.throttled == ("throttled",) for turn in found.turns)
    assert found.turns[-1].seconds + 5.0 == pytest.approx(400.0, abs=6.0)
    assert Soak.from_json(write(record(found.turns, found.idle, ("a",)))).turns == found.turns


def test_models_take_turns_in_a_new_order_each_round(tmp_path):
    board = WarmingBoard(tmp_path)
    found = board.soak(*(board.model(0.24, 0.0, 1.0) for _ in range(3)), seconds=200.0)
    order = [turn.model for turn in found.turns]
    rounds = [tuple(order[i : i + 3]) for i in range(0, len(order) - 2, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in rounds)
    assert len(set(rounds)) > 2


def test_a_soak_that_nobody_waits_for_ends(tmp_path):
    board = WarmingBoard(tmp_path)
    with pytest.raises(AgentError, match="the host that asked for this soak is gone"):
        board.soak(board.model(0.24, 0.0, 1.0), seconds=3600.0, abandoned=lambda: board.now > 80.0)
    assert 80.0 < board.now < 90.0


@pytest.mark.parametrize(("seconds", "models"), [(2.0, 1), (60.0, 2), (1800.0, 3), (86_000.0, 5)])
def test_every_plan_has_turns_enough_and_no_more_than_a_record_holds(seconds, models):
    plan = SoakPlan.of(seconds, models)
    turns = seconds / plan.turn_seconds
    assert 8 * models <= turns <= MAX_TURNS / 1.9
    assert plan.idle_seconds <= 0.05 * seconds


def test_the_machine_is_read_beside_the_models_until_the_soak_ends():
    said = Reading(Conditions(40.0, 1e9, None, (), None), 3.0)
    counted = []

    def read() -> Reading:
        counted.append(1)
        return said

    with watching(read, every=0.001) as since:
        while len(counted) < 5:
            pass
        assert set(since()) == {said}
    after = len(counted)
    assert len(counted) == after


@pytest.mark.parametrize(
    ("turns", "word"),
    [
        ([SoakTurn(2, 0.0, 1, 0.1, 0.1)], "one of 2 models"),
        ([SoakTurn(0, 0.0, 1, 0.1, 0.1)], "a turn of every model"),
        ([SoakTurn(0, 2.0, 1, 0.1, 0.1), SoakTurn(1, 1.0, 1, 0.1, 0.1)], "in the order of time"),
    ],
)
def test_a_record_that_does_not_hold_together_is_refused(turns, word):
    with pytest.raises(MeasurementError, match=word):
        Soak.from_json(write(record(turns)))


def test_the_board_notices_that_nobody_waits_any_more():
    """As when the connection broke, or somebody pressed Ctrl-C: standard output has no other end."""
    code = (
        "import sys, time\n"
        "from device_agent.verbs.soaking import _nobody_reads\n"
        "while not _nobody_reads():\n"
        "    time.sleep(0.01)\n"
        "print('noticed', file=sys.stderr)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.stdout.close()
    assert process.wait(10.0) == 0
    assert process.stderr.read() == b"noticed\n"
    process.stderr.close()
