"""The result of `sdk predict`: models on boards that are not connected. Each time is predicted, not measured. Pure.

Beside each prediction of :mod:`sdk.explain.speed.prediction` stand theory's time (MACs over the board's peak), the
interval that the method's own error allows (:mod:`sdk.explain.speed.validation`), a measured time where there is one,
and a bound for several threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from device_agent.record.kinds import ValueRefused
from device_agent.record.named_kinds import Positive, Sentence, Sha256, Share, Size, Threads, UnixSeconds
from device_agent.record.profile import KernelTime, Profile
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.attribution import OperatorTime, attribute
from sdk.explain.breakdown import Peaks
from sdk.explain.macs import NOT_BY_ZERO, Counted, promised, yardstick
from sdk.explain.run import MAX_PAIRS, PREDICTED, PredictedTime
from sdk.explain.speed.prediction import PARTS, Prediction
from sdk.explain.speed.validation import Factors, NetworkKind, scaled_by
from sdk.explain.theory import CONVOLUTION_1X1, OperatorCost
from sdk.tools.shown import Shown

SCHEMA = "armlet.predictions/1"
#: From this share of the predicted cycles on, waiting for DRAM decides how fast the network is.
MEMORY_DECIDES = 0.3


@record(what="a measured model that scales predictions")
@dataclass(frozen=True)
class Scale:
    """One measured model of a board: ``factor`` is measured over predicted. ``source`` is the run that it comes from.

    ``more`` are the factors of other measured models of that board. ``in_common`` is the power to which one factor is
    taken over by models that were not measured (:meth:`Validation.in_common`), as far as it lies between the factors
    ``seen`` (:meth:`Validation.seen`). ``doubts`` are the run's own: why its measurement is not trusted, () where it
    is.
    """

    factor: Positive
    model: Sentence
    board: Sentence
    runtime: Sentence
    source: Sentence
    measured_seconds: Positive
    predicted_seconds: Positive
    measured_unix_seconds: UnixSeconds
    memory_decides: bool
    int8: bool
    doubts: tuple[Sentence, ...] = ()
    in_common: Share = 1.0
    more: tuple[Positive, ...] = ()
    seen: tuple[Positive, Positive] | None = None

    @property
    def taken_over(self) -> float:
        """By what predictions of other models are multiplied."""
        return scaled_by((self.factor, *self.more), self.in_common, self.seen)

    @property
    def kind(self) -> NetworkKind:
        """Of the measured network."""
        return NetworkKind(self.memory_decides, self.int8)


@record(what="a bound for several threads")
@dataclass(frozen=True)
class ThreadsBound:
    """The same inference split over ``threads`` cores without any loss: it is not faster than ``seconds``.

    ``memory_limits``: whether its bytes over the shared bandwidth, counted once, take longer than the share of one
    core.
    """

    threads: Threads
    seconds: Positive
    memory_limits: bool


@dataclass(frozen=True)
class Step:
    """One step from theory to the predicted time, in seconds; below 0 where the core does better than theory."""

    name: str
    seconds: float


@record(
    what="a model on a board",
    derived=("statement", "theory_seconds", "predicted_seconds", "low_seconds", "high_seconds"),
    order=(
        *("name", "board_title", "statement", "theory_seconds", "predicted_seconds", "low_seconds"),
        *("high_seconds", "measured_seconds", "bounds", "factors", "scale", "prediction", "original_bytes"),
        *("tflite_sha256", "original_sha256", "macs", "effective_macs", "peaks", "costs"),
    ),
)
@dataclass(frozen=True)
class PredictedModel:
    """One model on one board. ``measured_seconds`` is the median of a run of one thread, None where there is none."""

    name: Sentence
    board_title: Sentence
    prediction: Prediction
    factors: Factors
    original_bytes: Size
    tflite_sha256: Sha256
    original_sha256: Sentence
    macs: int
    effective_macs: int
    costs: tuple[OperatorCost, ...] = ()
    peaks: Peaks | None = None
    scale: Scale | None = None
    measured_seconds: Positive | None = None
    bounds: tuple[ThreadsBound, ...] = ()

    @property
    def statement(self) -> str:
        """The words that say what the times are."""
        return PREDICTED

    @property
    def board(self) -> str:
        """The board's name."""
        return self.prediction.board

    @property
    def predicted_seconds(self) -> float:
        """Of one inference on one thread, scaled where a model of the board was measured."""
        return self.prediction.seconds * (1.0 if self.scale is None else self.scale.taken_over)

    @property
    def low_seconds(self) -> float:
        """The lower end of where it likely is."""
        return self.predicted_seconds * self.factors.low

    @property
    def high_seconds(self) -> float:
        """The upper end."""
        return self.predicted_seconds * self.factors.high

    @property
    def theory_seconds(self) -> float | None:
        """MACs over the peak of one core; None where the peak is not known or nothing is multiplied.

        Where weights are stored for sparse kernels, which lets them be skipped, those of 1x1 convolutions that are zero
        do not count.
        """
        if self.peaks is None:
            return None
        skips = any(cost.kind == "DENSIFY" for cost in self.costs)
        seconds = 0.0
        for cost in self.costs:
            macs = cost.effective_macs if skips and cost.group == CONVOLUTION_1X1 else cost.macs
            seconds += 2.0 * macs / self.peaks.of(cost.dtype)
        return seconds or None

    @property
    def kind(self) -> NetworkKind:
        """The kind of network, on which the method's error depends."""
        return kind_of(self.prediction)

    @property
    def memory_decides(self) -> bool:
        """Whether waiting for DRAM is a large share of the time."""
        return self.kind.memory_decides

    def as_time(self) -> PredictedTime:
        """The time alone, for records of other things."""
        return PredictedTime(
            seconds=self.predicted_seconds,
            low_seconds=self.low_seconds,
            high_seconds=self.high_seconds,
            core=self.prediction.core,
            runtime=self.prediction.runtime,
            runtime_version=self.prediction.runtime_version,
            memory_decides=self.kind.memory_decides,
            int8=self.kind.int8,
            theory_seconds=self.theory_seconds,
        )

    def check_record(self) -> None:
        """Raises Refused for what no time follows from, and for more pairs than an alignment can look at."""
        if self.prediction.clock_hz <= 0.0:
            raise ValueRefused("a clock above 0", "0").at("prediction", "clock_hz")
        if len(self.costs) * len(self.prediction.operators) > MAX_PAIRS:
            found = f"{len(self.costs):,} times {len(self.prediction.operators):,}"
            raise ValueRefused(f"at most {MAX_PAIRS:,} pairs of an operator and a step", found).at("costs")

    def part_seconds(self) -> dict[str, float]:
        """The predicted seconds by what the core does or waits for; the names are those of :data:`PARTS`."""
        cycle = self.predicted_seconds / self.prediction.cycles
        return {name: cycle * getattr(self.prediction.parts, name) for name in PARTS}

    def steps(self) -> tuple[Step, ...]:
        """The waterfall: they add up to the predicted time. Begins with theory, where that is known."""
        parts = self.part_seconds()
        theory = self.theory_seconds
        if theory is None:
            return tuple(Step(name, seconds) for name, seconds in parts.items())
        beyond = Step("compute beyond theory", parts.pop("compute") - theory)
        return (Step("theory", theory), beyond, *(Step(name, seconds) for name, seconds in parts.items()))

    def operators(self) -> tuple[OperatorTime, ...]:
        """Each operator of the graph with its predicted seconds; () where the runtime told no marks."""
        if not self.prediction.operators or not self.costs:
            return ()
        return attribute(self.costs, self._profile())

    @property
    def operators_alone(self) -> bool:
        """Whether each operator was predicted as a model of its own: its name is then its kind."""
        kinds = {cost.index: cost.kind for cost in self.costs}
        return all(kinds.get(one.index) == one.name for one in self.prediction.operators)

    def outside_seconds(self) -> float:
        """Seconds of the inference outside of its operators; below 0 where they take longer alone."""
        return self.predicted_seconds - sum(time.seconds for time in self.operators())

    def counted(self) -> Counted:
        """Its work, as theory counts it."""
        return Counted(self.macs, self.effective_macs, self.original_sha256)

    def _profile(self) -> Profile:
        """The predicted operators in the form in which measured ones are attributed. It leaves this module nowhere."""
        cycle = self.predicted_seconds / self.prediction.cycles
        kernels = tuple(
            KernelTime(one.name, one.index, not one.name.isupper(), cycle * one.cycles, cycle * one.cycles)
            for one in self.prediction.operators
        )
        method = "isolated" if self.operators_alone else "runtime"
        outside = self.predicted_seconds - sum(kernel.seconds for kernel in kernels)
        return Profile(
            model=self.name,
            tflite_sha256=self.tflite_sha256,
            method=method,
            kernels=kernels,
            inferences=1,
            outside_seconds=outside,
            profiled_seconds=self.predicted_seconds,
            unprofiled_seconds=self.predicted_seconds,
            call_seconds=0.0,
            resolution_seconds=1e-9,
            threads=1,
            cpus=(0,),
            runtime=self.prediction.runtime,
            runtime_version=self.prediction.runtime_version,
            machine=self.prediction.core,
            emulated=True,
        )


@dataclass(frozen=True)
class PredictedRatio:
    """How many times faster a model is than the first one on the same board: in theory, and as predicted."""

    board: str
    baseline: str
    candidate: str
    not_by_zero: bool  # theory counts the MACs whose weight is not zero
    theoretical: float | None
    predicted: float


@record(
    SCHEMA,
    "predictions",
    DataError,
    derived=("statement",),
    order=(
        *("statement", "models", "validation", "cells", "median_error", "calibrated_error"),
        *("notes", "host", "command"),
    ),
)
@dataclass(frozen=True)
class Predictions(Shown):
    """Models on boards, model by model, each on each board. Only figures that are called measured are.

    ``validation`` says what the method was compared with, ``cells`` the number of those latencies, ``median_error`` its
    error there without a measurement of the board, ``calibrated_error`` with one.
    """

    models: tuple[PredictedModel, ...] = field(metadata=limits(least=1, most=4096))
    validation: Sentence
    cells: Size
    median_error: Share
    calibrated_error: Share
    notes: tuple[Sentence, ...] = ()
    host: Sentence = ""
    command: Sentence = ""

    @property
    def statement(self) -> str:
        """The words that say what the times are."""
        return PREDICTED

    def ratios(self) -> tuple[PredictedRatio, ...]:
        """Each model against the first one, on each board."""
        found = []
        first: dict[str, PredictedModel] = {}
        for one in self.models:
            base = first.setdefault(one.board, one)
            if base is one:
                continue
            work = yardstick(base.counted(), one.counted())
            found.append(
                PredictedRatio(
                    one.board,
                    base.name,
                    one.name,
                    work == NOT_BY_ZERO,
                    promised(work, base.counted(), one.counted()),
                    base.predicted_seconds / one.predicted_seconds,
                )
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; each time with the words that it is predicted."""
        return write(self)

    @classmethod
    def from_json(cls, found: Any) -> Predictions:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, found)


def kind_of(prediction: Prediction) -> NetworkKind:
    """The kind of network, on which the method's error depends."""
    return NetworkKind(prediction.dram_share >= MEMORY_DECIDES, prediction.dtype == "int8")


def bound(prediction: Prediction, threads: int, scale: Scale | None = None) -> ThreadsBound:
    """The least time of the inference on this many cores of the kind that it was predicted for.

    A core's own work and waits are divided among the cores without any loss; the bytes that cross the memory bus take
    the same time for any number of cores.
    """
    factor = 1.0 if scale is None else scale.taken_over
    moving = prediction.dram_bytes / prediction.memory_bytes_per_second
    return shared_by(threads, prediction.seconds * factor, moving)


def shared_by(threads: int, alone: float, moving: float) -> ThreadsBound:
    """The bound of an inference that takes ``alone`` seconds on one core, its bytes ``moving`` seconds on the bus."""
    shared = alone / threads
    return ThreadsBound(threads, max(shared, moving), moving > shared)
