"""What the public functions of :mod:`sdk.api` return: frozen records, each with ``to_json``. Sizes are bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdk.inspection import Inspection
from sdk.report.record import Accuracy


def _plain(record: Any) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(record).items()}


@dataclass(frozen=True)
class Converted:
    """A float ``.tflite`` was written."""

    source: str
    output: Path
    tflite_bytes: int
    operators: int
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class Packed:
    """A package was written."""

    source: str
    output: Path
    tflite_bytes: int
    package_bytes: int
    sections: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Size before over size after."""
        return self.tflite_bytes / self.package_bytes

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**_plain(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Unpacked:
    """A package was decoded to the ``.tflite`` it was made from, and its checksum was right."""

    source: str
    output: Path
    package_bytes: int
    tflite_bytes: int
    tflite_sha256: str
    kernel: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class Compressed:
    """A model was compressed and packed; how its accuracy was checked is in ``accuracy``, or in words.

    ``curve`` holds what a search tried: package bytes, accuracy and agreement in percent, recipe.
    """

    source: str
    output: Path
    original_bytes: int
    effort: str  # "none", "calibrate" or "train"
    sparsity: float  # as the recipe has it
    clusters: int
    inspection: Inspection
    accuracy: Accuracy | None
    statement: str = ""
    target_met: bool = True
    curve: tuple[dict[str, Any], ...] = ()

    @property
    def package_bytes(self) -> int:
        """Size of the file that was written."""
        return self.inspection.package_bytes

    @property
    def ratio(self) -> float:
        """float .tflite over package."""
        return self.original_bytes / self.package_bytes

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "output": str(self.output),
            "original_bytes": self.original_bytes,
            "package_bytes": self.package_bytes,
            "ratio": self.ratio,
            "effort": self.effort,
            "sparsity": self.sparsity,
            "clusters": self.clusters,
            "statement": self.statement,
            "target_met": self.target_met,
            "curve": list(self.curve),
            "accuracy": asdict(self.accuracy) if self.accuracy else None,
            "inspection": self.inspection.to_json(),
        }


@dataclass(frozen=True)
class Fetched:
    """A runtime for a board is in the cache."""

    board: str
    runtime: str
    runtime_version: str
    python: str
    architecture: str
    archive_bytes: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class Deployment:
    """How a deploy ended; what had to be sent for the model, and for runtime and agent."""

    board: str
    address: str
    name: str
    release: str
    state: str  # "confirmed", or "unchanged" when the very same release ran already
    package_bytes: int
    sent_bytes: int
    provisioned_bytes: int
    largest_difference: float | None  # of the health check's outputs from the host's
    runtime: str
    runtime_version: str
    decode_kernels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class ZooModel:
    """A network of the zoo at one size, counted without building it."""

    name: str
    title: str
    paper: str
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    classes: int
    options: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)
