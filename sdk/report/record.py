"""What a run found out: one immutable record, written by the pipeline, read by terminal, JSON and HTML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from device_agent.measure import Measurement
from sdk.compare import Comparison
from sdk.errors import DataError

SCHEMA = "armlet.report/1"


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

    @property
    def ratio(self) -> float:
        """float .tflite over package."""
        return self.original_bytes / self.package_bytes


@dataclass(frozen=True)
class Report:
    """A run on one board. The first model is the baseline that the others are compared with."""

    board: str
    board_title: str
    emulated: bool
    models: tuple[ModelRecord, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader must know before believing a number

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
        }

    @classmethod
    def from_json(cls, record: Any) -> Report:
        """Reads what :meth:`to_json` wrote. Raises :class:`DataError` when it is not such a record."""
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            found = record.get("schema") if isinstance(record, dict) else type(record).__name__
            raise DataError("this is not a report of a run", expected=SCHEMA, found=str(found))
        try:
            return cls(
                board=record["board"],
                board_title=record["board_title"],
                emulated=record["emulated"],
                models=tuple(_model_from_json(m) for m in record["models"]),
                comparisons=tuple(Comparison.from_json(c) for c in record["comparisons"]),
                notes=tuple(record["notes"]),
            )
        except (KeyError, TypeError) as error:
            raise DataError("this report is broken", expected=SCHEMA, found=str(error)) from error


def _model_to_json(model: ModelRecord) -> dict[str, Any]:
    document = {key: getattr(model, key) for key in _PLAIN_FIELDS}
    document["ratio"] = model.ratio
    document["stages"] = [{"stage": stage, "bytes": size} for stage, size in model.stages]
    document["accuracy"] = asdict(model.accuracy) if model.accuracy else None
    document["measurement"] = model.measurement.to_json()
    return document


def _model_from_json(document: dict[str, Any]) -> ModelRecord:
    accuracy = document["accuracy"]
    return ModelRecord(
        **{key: document[key] for key in _PLAIN_FIELDS},
        accuracy=Accuracy(**accuracy) if accuracy else None,
        measurement=Measurement.from_json(document["measurement"]),
        stages=tuple((s["stage"], s["bytes"]) for s in document["stages"]),
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
