"""The record of a soak: models that took turns for minutes or hours, and what the board said meanwhile. Pure.

Made on the board (``device_agent.measuring.soak``); what follows from it (steady state, time to throttle, energy) is
computed where it is read. Times are seconds, clocks hertz, temperatures degrees Celsius, power watts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Number, ValueRefused
from device_agent.record.measurement import (
    DELEGATES,
    MAX_CPUS,
    MAX_REASONS,
    SAMPLES_A_PREEMPTION,
    MeasurementError,
)
from device_agent.record.named_kinds import (
    Celsius,
    Count,
    Cpu,
    Hertz,
    Seconds,
    Sha256,
    Size,
    Threads,
    UnixSeconds,
)
from device_agent.record.schema import limits, read, record, write

SCHEMA = "armlet.soak/1"
#: Turns of all models together; a longer soak has longer turns.
MAX_TURNS = 16_384
MAX_MODELS = 64

if TYPE_CHECKING:
    Watts = float
    MeanSeconds = float
else:
    Watts = Number(0.0, 1e4)
    MeanSeconds = Number(0.0, 86_400.0, low_excluded=True)


@dataclass(frozen=True)
class SoakedModel:
    """A model of a soak, and the memory of a fresh process that runs it alone: the most it ever had, and the most that
    it had before the model was there (Python, numpy and the runtime); None where the machine does not report it."""

    name: str
    tflite_sha256: Sha256
    package_sha256: Sha256 | None
    peak_memory_bytes: Count | None = None
    base_memory_bytes: Count | None = None


@dataclass(frozen=True)
class SoakTurn:
    """One turn of a model: inferences one behind the other, and the machine meanwhile (None: not reported)."""

    #: Of the model, from 0.
    model: Count
    #: After the beginning of the soak, when the turn began.
    seconds: Seconds
    #: How many inferences, and one of them: the median, the mean of all (the pauses between them included).
    samples: Size
    median_seconds: MeanSeconds
    mean_seconds: MeanSeconds
    frequency_hz: Hertz | None = None
    temperature_celsius: Celsius | None = None
    #: What the board drew, in the mean.
    watts: Watts | None = None
    #: Why the clock was lowered, as the machine says; () where it was not, or no reason is reported.
    throttled: tuple[str, ...] = field(default=(), metadata=limits(most=MAX_REASONS))
    #: How often the kernel gave the model's core to another process.
    preemptions: Count = 0


@record(SCHEMA, "a soak", MeasurementError)
@dataclass(frozen=True)
class Soak:
    """Models that took turns on one number of threads, in a new random order for each round."""

    models: tuple[SoakedModel, ...] = field(metadata=limits(least=1, most=MAX_MODELS))
    turns: tuple[SoakTurn, ...] = field(metadata=limits(least=1, most=MAX_TURNS))
    threads: Threads
    cpus: tuple[Cpu, ...] = field(metadata=limits(most=MAX_CPUS))
    runtime: str
    runtime_version: str
    delegate: str = field(metadata=limits(choices=DELEGATES))
    numpy_version: str
    python_version: str
    #: ``uname -m``.
    machine: str
    started_unix_seconds: UnixSeconds
    #: Before the first turn, while no model ran.
    idle_celsius: Celsius | None = None
    idle_hz: Hertz | None = None
    idle_watts: Watts | None = None
    #: Where watts are from, in words; None where the board reports no power.
    power_source: str | None = None
    governor: str | None = None
    #: Whether this machine says when it is throttled.
    tells_throttling: bool = False

    def check_record(self) -> None:
        """Raises ValueRefused for a turn of a model that is not there, a model without one, or turns out of order."""
        for number, turn in enumerate(self.turns):
            if turn.model >= len(self.models):
                raise ValueRefused(f"one of {len(self.models)} models", str(turn.model)).at(
                    "turns", number, "model"
                )
        without = set(range(len(self.models))) - {turn.model for turn in self.turns}
        if without:
            raise ValueRefused("a turn of every model", f"none of {self.models[min(without)].name}").at(
                "turns"
            )
        begun = [turn.seconds for turn in self.turns]
        if begun != sorted(begun):
            raise ValueRefused("turns in the order of time", "others").at("turns")

    @property
    def is_disturbed(self) -> bool:
        """True where other processes took the cores so often that speeds may be theirs."""
        samples = sum(turn.samples for turn in self.turns)
        return sum(turn.preemptions for turn in self.turns) * SAMPLES_A_PREEMPTION > samples

    def of_model(self, number: int) -> tuple[SoakTurn, ...]:
        """The turns of one model, in the order of time."""
        return tuple(turn for turn in self.turns if turn.model == number)

    @property
    def seconds(self) -> float:
        """From the first turn to the end of the last."""
        last = self.turns[-1]
        return last.seconds + last.samples * last.mean_seconds

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        return write(self)

    @classmethod
    def from_json(cls, value: Any) -> Soak:
        """The record of a parsed JSON value from anywhere. Raises MeasurementError that names what is wrong."""
        return read(cls, value)
