"""The record of a run: immutable, written by the pipeline, read by terminal, JSON and HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Many, Named, Text, ValueRefused
from device_agent.record.measurement import Measurement
from device_agent.record.named_kinds import Positive, Sentence, Share, Size
from device_agent.record.profile import Profile
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.breakdown import Peaks, Subject
from sdk.explain.compare import Comparison
from sdk.explain.gap import Gap
from sdk.explain.theory import OperatorCost
from sdk.tools.shown import Shown

SCHEMA = "armlet.report/2"
#: What records of earlier schemas lack; they are still read.
EARLIER: dict[str, dict[str, Any]] = {"armlet.report/1": {"again": []}}

#: What stands beside each predicted time, in every form of output.
PREDICTED = "predicted, not measured"

#: Aligning operators with kernels looks at every pair. The largest network of the zoo has 50,000.
MAX_PAIRS = 1 << 24

if TYPE_CHECKING:
    Stages = tuple[tuple[str, int], ...]
else:
    Stages = Many(Named((("stage", Text()), ("bytes", Size))), most=16)


@record(what="the accuracy of a model", may_lack=("board_correct", "board_agrees"))
@dataclass(frozen=True)
class Accuracy:
    """Right answers on the same held-out samples: before compression, after it, and after it on the board."""

    data: Sentence  # which samples, in words
    samples: Size
    original_correct: int  # the model as it came, on the host
    compressed_correct: int  # the compressed model, on the host
    board_correct: int | None = None  # the compressed model, decoded and run by the agent
    board_agrees: int | None = None  # samples for which board and host name the same class

    @property
    def reached(self) -> int:
        """Right answers of the compressed model: on the board where they were counted there, else on the host."""
        return self.compressed_correct if self.board_correct is None else self.board_correct

    def share(self, correct: int) -> float:
        """``correct`` as a share of the samples."""
        return correct / self.samples

    def check_record(self) -> None:
        """Raises Refused for more right answers than samples."""
        for name in ("original_correct", "compressed_correct", "board_correct", "board_agrees"):
            if (getattr(self, name) or 0) > self.samples:
                raise ValueRefused(f"at most {self.samples}, the samples", str(getattr(self, name))).at(name)

    @property
    def points_lost(self) -> float:
        """Percentage points between the model as it came and the compressed one, on the host."""
        return 100.0 * (self.original_correct - self.compressed_correct) / self.samples


@record(what="a predicted time", derived=("statement",))
@dataclass(frozen=True)
class PredictedTime:
    """Seconds of one inference on one thread, predicted and not measured; it is likely between ``low_seconds`` and
    ``high_seconds``. ``theory_seconds`` are its MACs over the peak of one core. ``memory_decides``: waiting for DRAM is
    a large share of it.
    """

    seconds: Positive
    low_seconds: Positive
    high_seconds: Positive
    core: Sentence
    runtime: Sentence
    runtime_version: Sentence
    memory_decides: bool
    int8: bool
    theory_seconds: Positive | None = None

    @property
    def statement(self) -> str:
        """The words that say what the times are."""
        return PREDICTED


@record(
    what="a model of a run",
    derived=("ratio",),
    # which runs of earlier versions do not have
    may_lack=("instructions", "decode_instructions_per_weight", "predicted"),
    left_out=("predicted",),
    order=(
        *("name", "original_bytes", "package_bytes", "parameters", "sparsity", "macs", "effective_macs"),
        *("original_sha256", "ratio", "stages", "accuracy", "measurement", "parallel", "costs", "profile"),
        *("instructions", "decode_instructions_per_weight", "predicted"),
    ),
)
@dataclass(frozen=True)
class ModelRecord:
    """One model of a run: what became of its bytes, and what the board measured."""

    name: str
    original_bytes: Size  # the float .tflite
    package_bytes: Size  # the .armlet that was pushed
    parameters: int
    sparsity: Share  # share of zero weights over the whole model
    macs: int
    effective_macs: int  # multiply-accumulates by weights that are not zero
    measurement: Measurement
    accuracy: Accuracy | None = None
    original_sha256: str = ""
    stages: Stages = ()  # bytes of the model: original, pruned, clustered, coded
    parallel: tuple[Measurement, ...] = ()  # the same on other numbers of threads
    costs: tuple[OperatorCost, ...] = ()  # theory, operator by operator
    profile: Profile | None = None  # measured, kernel by kernel, on as many threads as ``measurement``
    #: Executed for one inference on one thread; counted where a clock means nothing.
    instructions: Size | None = None
    #: By the C decoder, counted in the same way.
    decode_instructions_per_weight: float | None = field(default=None, metadata=limits(low=0.0))
    #: Of the same board, beside what was measured; see `sdk predict`.
    predicted: PredictedTime | None = None

    @property
    def ratio(self) -> float:
        """float .tflite over package."""
        return self.original_bytes / self.package_bytes

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """On every number of threads."""
        return (self.measurement, *self.parallel)

    def check_record(self) -> None:
        """Raises Refused when no report can be made of what stands here side by side."""
        if self.profile is None:
            return
        if not self.costs:
            raise ValueRefused("costs beside a profile", "none").at("costs")
        if len(self.costs) * len(self.profile.kernels) > MAX_PAIRS:
            found = f"{len(self.costs):,} times {len(self.profile.kernels):,}"
            raise ValueRefused(f"at most {MAX_PAIRS:,} pairs of an operator and a kernel", found).at(
                "profile", "kernels"
            )

    def subject(self) -> Subject | None:
        """The input of a gap; None without a profile."""
        if self.profile is None:
            return None
        return Subject(
            self.name,
            self.costs,
            self.profile,
            self.measurement,
            self.parallel,
            original=self.original_sha256,
            network_macs=self.macs,
        )


@record(SCHEMA, "a report of a run", DataError, earlier=EARLIER, may_lack=("host", "command"))
@dataclass(frozen=True)
class Report(Shown):
    """A run on one board. The first model is the baseline that the others are compared with."""

    board: str
    board_title: Sentence
    emulated: bool
    models: tuple[ModelRecord, ...] = field(metadata=limits(least=1, most=4096))
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[Sentence, ...] = ()  # what a reader must know before believing a number
    peaks: Peaks | None = None  # what the gaps hold the operators against
    gaps: tuple[Gap, ...] = ()  # where the promised speed-ups went
    #: A self-test: the first model once more, interleaved with itself, on each number of threads.
    again: tuple[Measurement, ...] = ()
    host: Sentence = ""  # the machine that the command ran on
    command: Sentence = ""  # what made the run, as a person would type it

    def check_record(self) -> None:
        """Raises ValueRefused for a self-test that cannot be compared with the first model."""
        tested = [timed.threads for timed in self.again]
        threads = [timed.threads for timed in self.models[0].measurements]
        if tested and tested != threads:
            raise ValueRefused(f"a self-test on {threads} threads", str(tested)).at("again")
        both = (*self.again, *self.models[0].measurements) if self.again else ()
        if any(timed.minimum <= 0.0 for timed in both):
            raise ValueRefused("samples above 0 seconds beside a self-test", "0").at("again")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; everything that the report holds, raw samples included."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Report:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)
