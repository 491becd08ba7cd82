"""What a run found out: one immutable record, written by the pipeline, read by terminal, JSON and HTML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from device_agent.errors import ArmletError
from device_agent.record.measurement import Measurement
from device_agent.record.profile import Profile
from sdk.errors import DataError
from sdk.explain.breakdown import Peaks, Subject
from sdk.explain.compare import Comparison
from sdk.explain.gap import Gap
from sdk.explain.theory import OperatorCost

SCHEMA = "armlet.report/1"

#: Aligning operators with kernels looks at every pair. The largest network of the zoo has 50,000.
MAX_PAIRS = 1 << 24


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 1 << 62


def _is_text(value: Any) -> bool:
    # Printable, so that a terminal which shows it cannot be driven by escape sequences.
    return isinstance(value, str) and value.isprintable()


def _is_number(value: Any, least: float) -> bool:
    return type(value) in (int, float) and least <= value < 1e18


@dataclass(frozen=True)
class Accuracy:
    """Right answers on the same held-out samples: before compression, after it, and after it on the board."""

    data: str  # which samples, in words
    samples: int
    original_correct: int  # the model as it came, on the host
    compressed_correct: int  # the compressed model, on the host
    board_correct: int | None = None  # the compressed model, decoded and run by the agent
    board_agrees: int | None = None  # samples for which board and host name the same class

    def share(self, correct: int) -> float:
        """``correct`` as a share of the samples."""
        return correct / self.samples

    @property
    def points_lost(self) -> float:
        """Percentage points between the model as it came and the compressed one, on the host."""
        return 100.0 * (self.original_correct - self.compressed_correct) / self.samples


@dataclass(frozen=True)
class ModelRecord:
    """One model of a run: what became of its bytes, and what the board measured."""

    name: str
    original_bytes: int  # the float .tflite
    package_bytes: int  # the .armlet that was pushed
    parameters: int
    sparsity: float  # share of zero weights over the whole model
    macs: int
    effective_macs: int  # multiply-accumulates by weights that are not zero
    measurement: Measurement
    accuracy: Accuracy | None = None
    original_sha256: str = ""
    stages: tuple[tuple[str, int], ...] = ()  # bytes of the model: original, pruned, clustered, coded
    parallel: tuple[Measurement, ...] = ()  # the same on other numbers of threads
    costs: tuple[OperatorCost, ...] = ()  # theory, operator by operator
    profile: Profile | None = None  # measured, kernel by kernel, on as many threads as ``measurement``
    instructions: int | None = (
        None  # executed for one inference on one thread; counted where a clock means nothing
    )
    decode_instructions_per_weight: float | None = None  # by the C decoder, counted in the same way

    @property
    def ratio(self) -> float:
        """float .tflite over package."""
        return self.original_bytes / self.package_bytes

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """On every number of threads."""
        return (self.measurement, *self.parallel)

    def check(self) -> None:
        """Raises ValueError when a report cannot be made of this; measurements and profile check themselves."""
        counts = (self.parameters, self.macs, self.effective_macs)
        sizes = (self.original_bytes, self.package_bytes, *(size for _, size in self.stages))
        if not all(_is_count(n, 0) for n in counts) or not all(_is_count(n, 1) for n in sizes):
            raise ValueError("sizes and counts that are whole numbers")
        if not _is_number(self.sparsity, 0.0) or not all(_is_text(stage) for stage, _ in self.stages):
            raise ValueError("a sparsity, and stages with names")
        if self.instructions is not None and not _is_count(self.instructions, 1):
            raise ValueError("instructions in whole numbers")
        if self.decode_instructions_per_weight is not None and not _is_number(
            self.decode_instructions_per_weight, 0.0
        ):
            raise ValueError("instructions a weight")
        if self.profile is not None and not self.costs:
            raise ValueError("costs beside a profile")
        if self.profile is not None and len(self.costs) * len(self.profile.kernels) > MAX_PAIRS:
            raise ValueError(f"at most {MAX_PAIRS:,} pairs of an operator and a kernel")
        for cost in self.costs:
            figures = (cost.index, cost.macs, cost.effective_macs, cost.weight_bytes, cost.activation_bytes)
            texts = (cost.kind, cost.name, cost.group, cost.dtype)
            if not all(_is_count(n, 0) for n in figures) or not all(_is_text(t) for t in texts):
                raise ValueError("costs in whole numbers, with names")
        if (a := self.accuracy) is not None:
            correct = (a.original_correct, a.compressed_correct, a.board_correct, a.board_agrees)
            if not _is_count(a.samples, 1) or not all(n is None or _is_count(n, 0) for n in correct):
                raise ValueError("right answers among samples")
            if a.original_correct is None or a.compressed_correct is None or not _is_text(a.data):
                raise ValueError("right answers before and after compression")

    def subject(self) -> Subject | None:
        """What a gap is computed from; None without a profile."""
        if self.profile is None:
            return None
        return Subject(self.name, self.costs, self.profile, self.measurement, self.parallel)


@dataclass(frozen=True)
class Report:
    """A run on one board. The first model is the baseline that the others are compared with."""

    board: str
    board_title: str
    emulated: bool
    models: tuple[ModelRecord, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader must know before believing a number
    peaks: Peaks | None = None  # what the gaps hold the operators against
    gaps: tuple[Gap, ...] = ()  # where the promised speed-ups went

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; everything that the report holds, raw samples included."""
        return {
            "schema": SCHEMA,
            "board": self.board,
            "board_title": self.board_title,
            "emulated": self.emulated,
            "models": [_model_to_json(m) for m in self.models],
            "comparisons": [c.to_json() for c in self.comparisons],
            "notes": list(self.notes),
            "peaks": asdict(self.peaks) if self.peaks else None,
            "gaps": [g.to_json() for g in self.gaps],
        }

    @classmethod
    def from_json(cls, record: Any) -> Report:
        """Reads what :meth:`to_json` wrote. Raises :class:`DataError` when it is not such a record."""
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            found = record.get("schema") if isinstance(record, dict) else type(record).__name__
            other_version = str(found).partition("/")[0] == SCHEMA.partition("/")[0]
            raise DataError(
                "this report is of a version that is not read here"
                if other_version
                else "this is not a report of a run",
                expected=SCHEMA,
                found=str(found)[:80],
                hint="Read it with the version of armlet that wrote it, or measure again."
                if other_version
                else None,
            )
        try:
            return cls(
                board=record["board"],
                board_title=record["board_title"],
                emulated=record["emulated"],
                models=tuple(_model_from_json(m) for m in record["models"]),
                comparisons=tuple(Comparison.from_json(c) for c in record["comparisons"]),
                notes=tuple(record["notes"]),
                peaks=Peaks(**record["peaks"]) if record["peaks"] else None,
                gaps=tuple(Gap.from_json(g) for g in record["gaps"]),
            )._checked()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise DataError("this report is broken", expected=SCHEMA, found=what[:200]) from error
        except ArmletError as error:
            raise DataError(error.what, expected=error.expected, found=error.found) from error

    def _checked(self) -> Report:
        """This report, when it is one that a page can be made of; its parts have checked themselves."""
        texts = [self.board, self.board_title, *self.notes, *(m.name for m in self.models)]
        if not self.models or type(self.emulated) is not bool or not all(_is_text(t) for t in texts):
            raise ValueError("a board, models and notes with names that are text")
        for model in self.models:
            model.check()
        if self.peaks is not None:
            rates = (
                self.peaks.flop_per_second,
                self.peaks.int8_per_second,
                self.peaks.memory_bytes_per_second,
                self.peaks.clock_hz,
            )
            if (
                rates[0] is None
                or not all(r is None or _is_number(r, 1.0) for r in rates)
                or not _is_text(self.peaks.source)
            ):
                raise ValueError("peaks of at least 1 a second, and who says so")
        return self


def _model_to_json(model: ModelRecord) -> dict[str, Any]:
    document = {key: getattr(model, key) for key in _PLAIN_FIELDS}
    document["ratio"] = model.ratio
    document["stages"] = [{"stage": stage, "bytes": size} for stage, size in model.stages]
    document["accuracy"] = asdict(model.accuracy) if model.accuracy else None
    document["measurement"] = model.measurement.to_json()
    document["parallel"] = [m.to_json() for m in model.parallel]
    document["costs"] = [c.to_json() for c in model.costs]
    document["profile"] = model.profile.to_json() if model.profile else None
    # Not in every run, and not in runs of earlier versions.
    document["instructions"] = model.instructions
    document["decode_instructions_per_weight"] = model.decode_instructions_per_weight
    return document


def _model_from_json(document: dict[str, Any]) -> ModelRecord:
    accuracy = document["accuracy"]
    return ModelRecord(
        **{key: document[key] for key in _PLAIN_FIELDS},
        accuracy=Accuracy(**accuracy) if accuracy else None,
        measurement=Measurement.from_json(document["measurement"]),
        stages=tuple((s["stage"], s["bytes"]) for s in document["stages"]),
        parallel=tuple(Measurement.from_json(m) for m in document["parallel"]),
        costs=tuple(
            OperatorCost(**{**c, "output_shape": tuple(c["output_shape"])}) for c in document["costs"]
        ),
        profile=Profile.from_json(document["profile"]) if document["profile"] else None,
        instructions=document.get("instructions"),
        decode_instructions_per_weight=document.get("decode_instructions_per_weight"),
    )


_PLAIN_FIELDS = (
    "name",
    "original_bytes",
    "package_bytes",
    "parameters",
    "sparsity",
    "macs",
    "effective_macs",
    "original_sha256",
)
