"""Records of the store: releases, which never change, and slots, which say what a name stands for.

Bytes to checked records and back, no files. Every limit that a record has to keep is here; host and agent share them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Mapping, TypeVar

from device_agent.errors import ArmletError, StoreError
from device_agent.record.kinds import Kind, Text, ValueRefused, Words, shown
from device_agent.record.named_kinds import Count, CountKey, Seconds, Sha256, Threads
from device_agent.record.schema import canonical, limits, parse_json, read, record, write

RELEASE_SCHEMA = "armlet.release/1"
SLOT_SCHEMA = "armlet.slot/1"

#: A name of a slot: a file name on any system, and harmless in any shell; a dash at its beginning makes an option.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
#: What ends so is the path of a file wherever a model is named, and never the name of a release.
MODEL_SUFFIXES = (".armlet", ".tflite")

#: No package on a board is larger than this many bytes (the package format has limits of its own).
MAX_PACKAGE_BYTES = 1 << 30
#: A package has at most this many parts.
MAX_PARTS = 4096
#: Parts, the golden pair and the signature.
MAX_BLOBS = MAX_PARTS + 3
#: A manifest or a slot has at most this many bytes.
MAX_JSON_BYTES = 1 << 20
#: Events that a slot remembers.
MAX_HISTORY = 32
#: Characters of an environment (device_agent.run.installed), and how many a release is remembered to have passed in.
MAX_ENVIRONMENT = 300
MAX_ENVIRONMENTS = 4
#: Releases that a slot keeps, the current one included, unless it is told otherwise. Below two there would be no way
#: back, and above this many no deploy would end: each is looked at before anything is removed.
KEEP = 2
MAX_KEEP = 64

#: The number of a signed release is at most this: every reader of JSON holds it exactly.
MAX_NUMBER = (1 << 53) - 1

#: A model has at most this many outputs with golden answers.
MAX_OUTPUTS = 1024

#: What an output holds, which decides how it is compared with the golden one.
VALUES = "values"
CLASSES = "classes"
BOXES = "boxes"
BOX_CLASSES = "classes of boxes"
BOX_SCORES = "scores of boxes"
BOX_COUNT = "number of boxes"
#: The outputs of TFLite_Detection_PostProcess, in its order.
DETECTIONS = (BOXES, BOX_CLASSES, BOX_SCORES, BOX_COUNT)
OUTPUT_KINDS = (VALUES, CLASSES, *DETECTIONS)

T = TypeVar("T")

_NAME_WORDS = "1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit"


@dataclass(frozen=True)
class _EnvironmentList(Kind):
    """A slot that an older agent wrote has one text: a runtime alone, which is not an environment of today."""

    @property
    def expected(self) -> str:
        return "a list of environments"

    def read(self, value: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, (list, tuple)):
            raise ValueRefused(self.expected, shown(value))
        return Words(MAX_ENVIRONMENT).read_many(texts[-MAX_ENVIRONMENTS:])

    def write(self, value: Any) -> list[str]:
        return list(value)


if TYPE_CHECKING:
    ReleaseName = str
    Environments = tuple[str, ...]
    Reason = str
    Title = str
else:
    ReleaseName = Text(64, 1, NAME.pattern, _NAME_WORDS)
    Environments = _EnvironmentList()
    Reason = Words(300)
    Title = Words()


@record(what="the limit of an output")
@dataclass(frozen=True)
class OutputLimit:
    """How far one output may be from the golden one.

    ``kind`` "values": the ``largest`` difference and its ``rms``, in real values. "classes": the ``largest`` share of
    elements that differ. "scores of boxes": as values, of the sorted scores. "boxes": the ``largest`` share of boxes
    without a partner. The other two kinds of detections need no limit.
    """

    kind: str = field(metadata=limits(choices=OUTPUT_KINDS))
    largest: float = field(metadata=limits(low=0.0, high=1e300))
    rms: float = field(default=0.0, metadata=limits(low=0.0, high=1e300))


@record(
    RELEASE_SCHEMA,
    "the manifest of a release",
    StoreError,
    left_out=(
        "signature_sha256",
        "title",
        "golden_limits",
        "number",
        "downgrade",
        "max_inference_seconds",
        "max_memory_bytes",
    ),
)
@dataclass(frozen=True)
class Release:
    """A manifest: the package, the parts it is joined from, and the golden pair that its health check runs."""

    name: ReleaseName
    package_sha256: Sha256
    #: (sha256, bytes) of each part, in order.
    parts: tuple[tuple[Sha256, int], ...] = field(metadata=limits(least=1, most=MAX_PARTS))
    #: Blobs holding .npy arrays made on the host, one behind the other: of every input, and of every output, of shape
    #: (cases, ...). The outputs may be followed by other answers that are as right, as many arrays each. None: the
    #: health check only runs the model.
    golden_inputs_sha256: Sha256 | None = None
    golden_outputs_sha256: Sha256 | None = None
    #: Of releases without limits: the largest difference of the first output that the health check accepts.
    golden_tolerance: float = field(default=0.0, metadata=limits(low=0.0, high=1e300))
    #: Blob holding a signature of this manifest without the signature (device_agent.package.signature).
    signature_sha256: Sha256 | None = None
    #: What people call it, where that cannot be ``name``.
    title: Title | None = None
    #: How far each output may be from the golden one.
    golden_limits: tuple[OutputLimit, ...] | None = field(
        default=None, metadata=limits(least=1, most=MAX_OUTPUTS)
    )
    #: Of releases that are signed: a board takes no smaller one under this name than it has confirmed before, unless
    #: ``downgrade`` is true.
    number: int | None = field(default=None, metadata=limits(low=1, high=MAX_NUMBER))
    downgrade: bool | None = None
    #: What it may need on a board: who deploys may ask for less, and not for more.
    max_inference_seconds: Seconds | None = None
    max_memory_bytes: Count | None = None

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that are signed: the whole manifest without the signature."""
        return canonical(replace(self, signature_sha256=None))

    @property
    def id(self) -> str:
        """SHA-256 of the manifest, in hexadecimal digits."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the package."""
        return sum(size for _, size in self.parts)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every blob that this release needs, each once."""
        others = (self.golden_inputs_sha256, self.golden_outputs_sha256, self.signature_sha256)
        digests = [digest for digest, _ in self.parts] + [digest for digest in others if digest]
        return tuple(dict.fromkeys(digests))

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same release always has the same bytes, and so the same id."""
        return canonical(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Release:
        """Checks everything a manifest says; raises StoreError."""
        what = "the manifest of a release"
        return read(cls, parse_json(data, what=what, error=StoreError, most=MAX_JSON_BYTES))

    def check_record(self) -> None:
        """Raises Refused for what no single field tells."""
        if self.size > MAX_PACKAGE_BYTES:
            raise ValueRefused(
                f"parts of at most {MAX_PACKAGE_BYTES} bytes together", f"{self.size} bytes"
            ).at("parts")
        if (self.golden_inputs_sha256 is None) != (self.golden_outputs_sha256 is None):
            raise ValueRefused("golden inputs and outputs, or neither", "one of them").at(
                "golden_outputs_sha256"
            )


@record(what="a choice of threads", error=StoreError, may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class ThreadChoice:
    """``samples_seconds`` of one inference by number of threads; empty where nothing was measured, as reason says."""

    threads: Threads
    samples_seconds: Mapping[CountKey, tuple[float, ...]] = field(default_factory=dict)
    reason: Reason = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)


@record(what="starts with and without kernels", error=StoreError, takes_unknown=True)
@dataclass(frozen=True)
class KernelStarts:
    """What a release takes with kernels of Armlet ("armlet") and in the runtime alone, each in a fresh process.

    ``packed_bytes``: the weights of its operators in these kernels, as they hold them; ``float_bytes``: as floats.
    Seconds from the package to a ready interpreter; ``peak_bytes`` of memory, Python included, None where the machine
    does not report it.
    """

    packed_bytes: Count
    float_bytes: Count
    armlet_start_seconds: Seconds
    runtime_start_seconds: Seconds
    armlet_peak_bytes: Count | None
    runtime_peak_bytes: Count | None


@record(what="a choice of kernels", error=StoreError, may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class KernelChoice:
    """The kernels that run a release: the "runtime" alone, or "armlet" (:mod:`device_agent.run.kernels`).

    ``operators`` run in those kernels. Seconds are medians of one inference on one thread, timed in turns, or predicted
    for the board ``predicted_for`` where that has a name; None where nothing was timed. ``undecided`` operators could
    run in the kernels of Armlet where times say nothing: a prediction is to decide. ``reason`` says in words why these
    kernels were chosen. ``starts`` only where those of Armlet were, on a board with times of its own.
    """

    kernels: str = field(default="runtime", metadata=limits(choices=("runtime", "armlet")))
    operators: Count = 0
    runtime_seconds: Seconds | None = None
    armlet_seconds: Seconds | None = None
    reason: Reason = ""
    predicted_for: Reason = ""
    undecided: Count = 0
    starts: KernelStarts | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)


@record(
    SLOT_SCHEMA,
    "a slot",
    StoreError,
    may_lack=("older", "keep", "inference_seconds", "checked_under", "threads", "kernels", "number"),
)
@dataclass(frozen=True)
class Slot:
    """The releases of a name: their ids, and the last events, oldest first."""

    name: ReleaseName
    current: Sha256 | None = None
    previous: Sha256 | None = None
    trial: Sha256 | None = None
    #: Those before ``previous``, newest first. ``keep``: how many releases stay, ``current`` and ``previous`` included.
    older: tuple[Sha256, ...] = ()
    keep: int = field(default=KEEP, metadata=limits(low=KEEP, high=MAX_KEEP))
    #: What an inference took when a release was checked, for those that the slot names.
    inference_seconds: Mapping[Sha256, float] = field(default_factory=dict)
    #: The environments (device_agent.run.installed) in which a release passed its health check, the last one last, for
    #: those that the slot names.
    checked_under: Mapping[Sha256, Environments] = field(default_factory=dict)
    #: The threads that a release is run with, as :mod:`device_agent.measuring.threads` chose them.
    threads: Mapping[Sha256, ThreadChoice] = field(default_factory=dict)
    #: The kernels that a release is run with, as :mod:`device_agent.measuring.kernel_choice` chose them.
    kernels: Mapping[Sha256, KernelChoice] = field(default_factory=dict)
    #: The number of the release that was confirmed last among those that are signed; 0 before the first.
    number: int = field(default=0, metadata=limits(low=0, high=MAX_NUMBER))
    #: Each a dict: event ("confirmed", "reverted", "rolled back", "refused", "mended" or "lost"), release, reason,
    #: unix_seconds.
    history: tuple[Mapping[str, Any], ...] = ()

    def after(
        self, event: str, release: str | None, reason: str = "", *, unix_seconds: float, **pointers: Any
    ) -> Slot:
        """The slot after an event at that moment, with some of current, previous and trial replaced."""
        entry = {
            "event": event,
            "release": release,
            "reason": reason[:300],
            "unix_seconds": round(unix_seconds, 3),
        }
        return replace(self, history=(*self.history, entry)[-MAX_HISTORY:], **pointers)

    def checked(self, release: str, seconds: float | None, environment: str | None) -> Slot:
        """The slot, knowing what an inference of a release took, and in which environment it passed its check."""
        known, under = dict(self.inference_seconds), dict(self.checked_under)
        if seconds is not None:
            known[release] = seconds
        if environment is not None:
            environment = environment[:MAX_ENVIRONMENT]
            others = [one for one in under.get(release, ()) if one != environment]
            under[release] = (*others, environment)[-MAX_ENVIRONMENTS:]
        return replace(self, inference_seconds=known, checked_under=under)

    @property
    def before(self) -> tuple[str, ...]:
        """The releases that a rollback can reach, newest first."""
        return (self.previous, *self.older) if self.previous is not None else ()

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release that the slot names."""
        return tuple(r for r in (self.current, *self.before, self.trial) if r is not None)

    def threads_of(self, release: str) -> int:
        """The threads that a release is best run with; 1 where that was not measured."""
        choice = self.threads.get(release)
        return 1 if choice is None else choice.threads

    def kernels_of(self, release: str) -> str:
        """The best kernels of a release, "runtime" or "armlet"; "runtime" where that was not measured."""
        choice = self.kernels.get(release)
        return "runtime" if choice is None else choice.kernels

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without what is known of releases that the slot does not name any more."""
        named = self.releases
        known = replace(
            self,
            inference_seconds=_of(named, self.inference_seconds),
            checked_under=_of(named, self.checked_under),
            threads=_of(named, self.threads),
            kernels=_of(named, self.kernels),
        )
        return write(known)

    def to_bytes(self) -> bytes:
        """The slot as its file holds it."""
        return json.dumps(self.to_json(), sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Slot:
        """Checks everything a slot says; raises StoreError."""
        what = f"the slot {name}"
        return read(cls, parse_json(data, what=what, error=StoreError, most=MAX_JSON_BYTES), what=what)


def _of(releases: tuple[str, ...], known: Mapping[str, T]) -> dict[str, T]:
    return {release: value for release, value in known.items() if release in releases}


def check_name(name: Any, error: type[ArmletError] = StoreError) -> str:
    """The name itself, if it may name a release and its slot. Raises ``error``."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise error("this cannot be the name of a release", expected=_NAME_WORDS, found=repr(name)[:80])
    return name


def check_digest(value: Any) -> str:
    """The SHA-256 itself, if it is one. Raises StoreError."""
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise StoreError("this is not a SHA-256", expected="64 hexadecimal digits", found=repr(value)[:80])
    return value


def check_keep(value: Any) -> int:
    """A number of releases to keep, if it can be one."""
    if type(value) is not int or not KEEP <= value <= MAX_KEEP:
        raise StoreError(
            "this many releases cannot be kept", expected=f"{KEEP} to {MAX_KEEP}", found=repr(value)[:40]
        )
    return value
