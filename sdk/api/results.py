"""Results of the public functions of :mod:`sdk.api`: frozen records, each with ``to_json``. Sizes are bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from device_agent.record.intervals import Interval
from device_agent.record.usage import Usage
from sdk.compress.weights.left_alone import Reach
from sdk.deploy.agent.answers import Prepared, SlotAnswer
from sdk.explain.run import Accuracy
from sdk.package.inspection import NOT_SAID, Inspection
from sdk.tools.shown import Shown

#: Characters of what people call a release, where it stands beside its name.
LONGEST_TITLE = 32
#: Outputs with a lower signal-to-noise ratio count as changed.
LEAST_DECIBEL = 20.0
LEAST_SAME = 0.9  # of a classifier's answers


def _plain(record: Any) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(record).items()}


@dataclass(frozen=True)
class Converted(Shown):
    """A float ``.tflite`` was written."""

    source: str
    output: Path
    tflite_bytes: int
    operators: int
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    notes: tuple[str, ...] = ()  # what of the model's own metadata is not used, and why
    usage: Usage = NOT_SAID  # what the file says of how the model is used

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**_plain(self), "usage": self.usage.to_metadata()}


@dataclass(frozen=True)
class InstalledTool(Shown):
    """A converter has an environment of its own."""

    name: str
    folder: Path
    modules: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class Packed(Shown):
    """A package was written."""

    source: str
    output: Path
    tflite_bytes: int
    package_bytes: int
    sections: int
    seconds: float
    notes: tuple[str, ...] = ()  # what of the model's own metadata is not used, and why
    usage: Usage = NOT_SAID  # what the file says of how the model is used

    @property
    def ratio(self) -> float:
        """Size before over size after."""
        return self.tflite_bytes / self.package_bytes

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**_plain(self), "usage": self.usage.to_metadata(), "ratio": self.ratio}


@dataclass(frozen=True)
class ExportedRelease:
    """One release of an export; ``release`` is its id on every board."""

    name: str
    release: str
    package_sha256: str
    package_bytes: int


@dataclass(frozen=True)
class Exported(Shown):
    """Releases were written for another engine to carry: ``format`` is "oci" or "ansible"."""

    output: Path
    format: str
    files: int
    bytes: int
    releases: tuple[ExportedRelease, ...]
    sbom: Path | None = None  # the bill of materials, where one was asked for

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class UnpackedFile(Shown):
    """A package was decoded to the ``.tflite`` it was made from, and its checksum was right."""

    source: str
    output: Path
    package_bytes: int
    tflite_bytes: int
    tflite_sha256: str
    kernel: str
    seconds: float
    notes: tuple[str, ...] = ()  # that the name of the file does not fit what is in it

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class OutputsKept:
    """How far a compressed model's outputs are from the original's, on ``cases`` inputs that were made up.

    ``decibel``: the signal-to-noise ratio of the noisiest output; ``cosine``: the smallest of any case and output;
    ``same_answer``: the share of cases in which the largest score of a classifier stays the largest, 0 to 1, None where
    no output ranks classes.
    """

    cases: int
    decibel: float
    cosine: float
    same_answer: float | None = None

    @property
    def changed(self) -> bool:
        """Whether the outputs differ: their signal-to-noise ratio is below 20 dB, or one answer of ten is another."""
        return self.decibel < LEAST_DECIBEL or (
            self.same_answer is not None and self.same_answer < LEAST_SAME
        )

    def __str__(self) -> str:
        words = f"on {self.cases} made-up inputs the outputs keep {self.decibel:.1f} dB of the original's"
        words += f", cosine at least {self.cosine:.4f}"
        if self.same_answer is not None:
            words += f"; the largest value stays the largest in {100 * self.same_answer:.0f} %"
        return words


@dataclass(frozen=True)
class Compressed(Shown):
    """A model was compressed and packed; ``accuracy`` says how its accuracy was checked, or why it was not.

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
    lost: Interval | None = (
        None  # points, with 95 % confidence, on so many images that nothing was learned from
    )
    images: int = 0
    metric: str = "top-1"  # that accuracy is told in, and points are lost of
    why: str = ""  # this effort, where the user left it open
    curve: tuple[dict[str, Any], ...] = ()
    macs: tuple[int, int] = (0, 0)  # multiply-accumulates of the original, and of what is packed
    instructions: int | None = None  # of an inference on an emulated core, where they were asked for
    block: int = 1  # output channels of 1x1 convolutions that were pruned together
    int8: bool = False  # weights and values are 8-bit numbers
    form: str = ""  # "sparse", "dense" or "armlet" where the graph was put into the form for a board
    kernels: tuple[
        dict[str, Any], ...
    ] = ()  # of layers with zeros: their costs, and where they run on that board
    passes: tuple[dict[str, Any], ...] = ()  # name, applied, reason, of the passes that did that
    reach: Reach | None = (
        None  # the layers with weights, how many of them were worked on, and why not the others
    )
    outputs: OutputsKept | None = None  # without data: what became of the outputs; None: it was not measured
    preprocess: str = ""  # that pixels went through, and how it was found; empty without data
    preprocess_why: str = ""
    notes: tuple[str, ...] = ()  # what of metadata and data is not used, and why; how classes were told

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
            "why": self.why,
            "sparsity": self.sparsity,
            "clusters": self.clusters,
            "statement": self.statement,
            "target_met": self.target_met,
            "metric": self.metric,
            "points_lost": None if self.lost is None else {**asdict(self.lost), "images": self.images},
            "curve": list(self.curve),
            "macs": list(self.macs),
            "instructions": self.instructions,
            "block": self.block,
            "int8": self.int8,
            "form": self.form,
            "passes": list(self.passes),
            "kernels": list(self.kernels),
            "preprocess": self.preprocess,
            "preprocess_why": self.preprocess_why,
            "notes": list(self.notes),
            "reach": None if self.reach is None else asdict(self.reach),
            "outputs": None if self.outputs is None else asdict(self.outputs),
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
class Deployment(Shown):
    """How a deploy ended; what had to be sent for the model, and for runtime and agent."""

    board: str
    address: str
    name: str
    release: str
    state: str  # "confirmed", "unchanged" when the very same release ran already, or "trial"
    package_bytes: int
    sent_bytes: int
    provisioned_bytes: int
    largest_difference: float | None  # of the health check's outputs from the host's
    runtime: str
    runtime_version: str
    decode_kernels: tuple[str, ...]
    prepared: Prepared | None = None  # threads and quick start; None where the release ran already
    title: str | None = None  # what people call it, where that is not its name
    notes: tuple[str, ...] = ()  # runtimes that were tried before this one, and why they do not run it
    usage_notes: tuple[str, ...] = ()  # what of the model's own metadata is not used, and why

    @property
    def called(self) -> str:
        """The display name, followed by the board's name in brackets."""
        return called(self.name, self.title)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


def called(name: str, title: str | None) -> str:
    """A release as people know it: ``my model (my-model-76eeb051)``, or its name alone."""
    if not title or title == name:
        return name
    short = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 3] + "..."
    return f"{short} ({name})"


@dataclass(frozen=True)
class Event:
    """Something that happened to a name on a board. ``unix_seconds`` is the board's clock, which may be wrong."""

    #: "confirmed", "reverted", "rolled back", "refused" (its signature), "mended" (its quick start) or "lost".
    event: str
    release: str | None
    reason: str
    unix_seconds: float

    @property
    def when(self) -> str:
        """The time in UTC, to the minute; "?" where the board's clock said something impossible."""
        try:
            return datetime.fromtimestamp(self.unix_seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M")
        except (ValueError, OverflowError, OSError):
            return "?"


@dataclass(frozen=True)
class SlotStatus(Shown):
    """The releases of a name on a board: ids of releases, and the last events, oldest first."""

    name: str
    current: str | None
    previous: str | None
    trial: str | None
    package_sha256: str | None  # of the current release, as package_bytes; None where its manifest is damaged
    package_bytes: int | None
    history: tuple[Event, ...]
    older: tuple[str, ...] = ()  # kept since before ``previous``, newest first
    threads: int | None = None  # chosen by measurement for the current release; None where nothing was chosen
    title: str | None = (
        None  # what people call the current release, where a board cannot take that as its name
    )

    @property
    def called(self) -> str:
        """Its name, behind what people call it."""
        return called(self.name, self.title)

    @property
    def since(self) -> str | None:
        """Time since which the current release runs: its confirmation, or a rollback to it."""
        for event in reversed(self.history):
            if event.event == "rolled back" or (event.event == "confirmed" and event.release == self.current):
                return event.when
        return None

    @classmethod
    def from_answer(cls, answer: SlotAnswer) -> SlotStatus:
        """From what the agent said of a name."""
        return cls(
            name=answer.name,
            current=answer.current,
            previous=answer.previous,
            trial=answer.trial,
            package_sha256=answer.package_sha256,
            package_bytes=answer.package_bytes,
            history=tuple(Event(e.event, e.release, e.reason, e.unix_seconds) for e in answer.history),
            older=answer.older,
            threads=answer.chosen_threads,
            title=answer.title,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class BoardStatus(Shown):
    """The versions and releases on a board. Versions are None before the first deploy; runtime too if it fails."""

    board: str
    address: str
    agent_version: str | None
    python_version: str | None
    machine: str | None
    runtime: str | None
    runtime_version: str | None
    numpy_version: str | None
    requires_signatures: bool
    slots: tuple[SlotStatus, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class Diagnosis(Shown):
    """Checks of `sdk board doctor`, by kind, and its findings: (what, what was done about it or "") each."""

    board: str
    address: str
    checked: dict[str, int]
    found: tuple[tuple[str, str], ...]

    @property
    def healthy(self) -> bool:
        """True when nothing is left that only a person or a deploy can repair."""
        return all(mended for _, mended in self.found)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        found = [{"what": what, "mended": mended or None} for what, mended in self.found]
        return {**_plain(self), "found": found, "healthy": self.healthy}


@dataclass(frozen=True)
class Signed(Shown):
    """A signature that was written or verified, with its signer as ssh-keygen names them."""

    package: Path
    signature: Path
    signer: str
    name: str  # of the release that is signed
    number: int | None  # of that release: a board takes no smaller one

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return _plain(self)


@dataclass(frozen=True)
class ZooModel(Shown):
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
