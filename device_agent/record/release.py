"""What the store writes down: releases, which never change, and slots, which say what a name stands for.

Bytes to checked records and back, no files. Every limit that a record has to keep is here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any, Mapping

from device_agent.errors import StoreError

RELEASE_SCHEMA = "armlet.release/1"
SLOT_SCHEMA = "armlet.slot/1"

#: A name of a slot: a file name on any system, and harmless in any shell.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")

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
#: More threads than this no release is run with.
MAX_THREADS = 1024


@dataclass(frozen=True)
class Release:
    """A manifest: the package, the parts it is joined from, and the golden pair that its health check runs."""

    name: str
    package_sha256: str
    #: (sha256, bytes) of each part, in order.
    parts: tuple[tuple[str, int], ...]
    #: Blobs holding .npy arrays made on the host; None: the health check only runs the model.
    golden_inputs_sha256: str | None = None
    golden_outputs_sha256: str | None = None
    #: Largest difference of an output that the health check accepts.
    golden_tolerance: float = 0.0
    #: Blob holding a signature of the package (device_agent.package.signature).
    signature_sha256: str | None = None

    @property
    def id(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def size(self) -> int:
        return sum(size for _, size in self.parts)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every blob that this release needs, each once."""
        others = (self.golden_inputs_sha256, self.golden_outputs_sha256, self.signature_sha256)
        digests = [digest for digest, _ in self.parts] + [digest for digest in others if digest]
        return tuple(dict.fromkeys(digests))

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same release always has the same bytes, hence the same id."""
        record = {
            "schema": RELEASE_SCHEMA,
            "name": self.name,
            "package_sha256": self.package_sha256,
            "parts": [list(part) for part in self.parts],
            "golden_inputs_sha256": self.golden_inputs_sha256,
            "golden_outputs_sha256": self.golden_outputs_sha256,
            "golden_tolerance": self.golden_tolerance,
        }
        if self.signature_sha256 is not None:
            record["signature_sha256"] = self.signature_sha256
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Release:
        """Checks everything a manifest says; raises StoreError."""
        record = parse_json(data, RELEASE_SCHEMA, "manifest of a release")
        try:
            parts = tuple((check_digest(digest), check_size(size)) for digest, size in record["parts"])
            golden = [record["golden_inputs_sha256"], record["golden_outputs_sha256"]]
            release = cls(
                name=check_name(record["name"]),
                package_sha256=check_digest(record["package_sha256"]),
                parts=parts,
                golden_inputs_sha256=None if golden[0] is None else check_digest(golden[0]),
                golden_outputs_sha256=None if golden[1] is None else check_digest(golden[1]),
                golden_tolerance=float(record["golden_tolerance"]),
                signature_sha256=None
                if record.get("signature_sha256") is None
                else check_digest(record["signature_sha256"]),
            )
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise StoreError("the manifest of a release is wrong", found=repr(error)[:200]) from None
        if not 1 <= len(parts) <= MAX_PARTS or release.size > MAX_PACKAGE_BYTES:
            raise StoreError(
                "a release is too large",
                expected=f"1 to {MAX_PARTS} parts, {MAX_PACKAGE_BYTES} bytes at most",
                found=f"{len(parts)} parts, {release.size} bytes",
            )
        if (golden[0] is None) != (golden[1] is None) or not 0.0 <= release.golden_tolerance < float("inf"):
            raise StoreError(
                "the golden pair of a release is wrong", expected="inputs, outputs and a tolerance"
            )
        return release


@dataclass(frozen=True)
class Slot:
    """What a name stands for: ids of releases, and the last events, oldest first."""

    name: str
    current: str | None = None
    previous: str | None = None
    trial: str | None = None
    #: Those before ``previous``, newest first. ``keep``: how many releases stay, ``current`` and ``previous`` included.
    older: tuple[str, ...] = ()
    keep: int = KEEP
    #: What an inference took when a release was checked, for those that the slot names.
    inference_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    #: The environments (device_agent.run.installed) in which a release passed its health check, the last one last, for
    #: those that the slot names.
    checked_under: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    #: The threads that a release is run with, as :mod:`device_agent.measuring.threads` chose them: ``threads``,
    #: ``samples_seconds`` by number of threads, ``reason``.
    threads: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    #: Each a dict: event ("confirmed", "reverted", "rolled back", "refused" or "lost"), release, reason, unix_seconds.
    history: tuple[Mapping[str, Any], ...] = ()

    def after(self, event: str, release: str | None, reason: str = "", **pointers: Any) -> Slot:
        """The slot after an event at this moment, with some of current, previous and trial set anew."""
        entry = {
            "event": event,
            "release": release,
            "reason": reason[:300],
            "unix_seconds": round(time.time(), 3),
        }
        return dataclasses.replace(self, history=(*self.history, entry)[-MAX_HISTORY:], **pointers)

    def checked(self, release: str, seconds: float | None, environment: str | None) -> Slot:
        """The slot, knowing what an inference of a release took, and in which environment it passed its check."""
        known, under = dict(self.inference_seconds), dict(self.checked_under)
        if seconds is not None:
            known[release] = seconds
        if environment is not None:
            environment = environment[:MAX_ENVIRONMENT]
            others = [one for one in under.get(release, ()) if one != environment]
            under[release] = (*others, environment)[-MAX_ENVIRONMENTS:]
        return dataclasses.replace(self, inference_seconds=known, checked_under=under)

    @property
    def before(self) -> tuple[str, ...]:
        """What can be gone back to, newest first."""
        return (self.previous, *self.older) if self.previous is not None else ()

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release that the slot names."""
        return tuple(r for r in (self.current, *self.before, self.trial) if r is not None)

    def threads_of(self, release: str) -> int:
        """The threads that a release is best run with; 1 where that was not measured."""
        return int(self.threads.get(release, {}).get("threads", 1))

    def to_json(self) -> dict[str, Any]:
        named = self.releases
        return {
            "schema": SLOT_SCHEMA,
            "name": self.name,
            "current": self.current,
            "previous": self.previous,
            "trial": self.trial,
            "older": list(self.older),
            "keep": self.keep,
            "inference_seconds": {r: s for r, s in self.inference_seconds.items() if r in named},
            "checked_under": {r: list(passed) for r, passed in self.checked_under.items() if r in named},
            "threads": {r: dict(choice) for r, choice in self.threads.items() if r in named},
            "history": [dict(event) for event in self.history],
        }

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Slot:
        """Checks everything a slot says; raises StoreError."""
        record = parse_json(data, SLOT_SCHEMA, f"slot {name}")
        try:
            pointers = {
                key: None if record[key] is None else check_digest(record[key])
                for key in ("current", "previous", "trial")
            }
            return cls(
                name=name,
                older=tuple(check_digest(release) for release in record.get("older", ())),
                keep=check_keep(record.get("keep", KEEP)),
                history=tuple(dict(event) for event in record["history"]),
                threads={
                    check_digest(release): check_threads(choice)
                    for release, choice in record.get("threads", {}).items()
                },
                inference_seconds={
                    check_digest(release): float(seconds)
                    for release, seconds in record.get("inference_seconds", {}).items()
                },
                checked_under={
                    check_digest(release): _environments(passed)
                    for release, passed in record.get("checked_under", {}).items()
                },
                **pointers,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the slot {name} is damaged", found=repr(error)[:200]) from None


def check_name(name: Any) -> str:
    """The name itself, if it may name a slot."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise StoreError(
            "this cannot be the name of a release",
            expected="1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
            found=repr(name)[:80],
        )
    return name


def parse_json(data: bytes, schema: str, what: str) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (RecursionError, ValueError) as error:
        raise StoreError(f"the {what} is not JSON", found=str(error)[:200]) from None
    if not isinstance(record, dict) or record.get("schema") != schema:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise StoreError(f"the {what} has another schema", expected=schema, found=repr(found)[:80])
    return record


def check_digest(value: Any) -> str:
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


def _environments(passed: Any) -> tuple[str, ...]:
    """A slot that an older agent wrote has one text: a runtime alone, which is no environment of today."""
    texts = [passed] if isinstance(passed, str) else list(passed)
    return tuple(str(text)[:MAX_ENVIRONMENT] for text in texts[-MAX_ENVIRONMENTS:])


def check_threads(value: Any) -> dict[str, Any]:
    """A choice of threads, if it is one: :meth:`device_agent.measuring.threads.ThreadChoice.to_json`."""
    choice = dict(value)
    count, samples = choice.get("threads"), choice.get("samples_seconds", {})
    if type(count) is not int or not 1 <= count <= MAX_THREADS:
        raise ValueError(f"{count!r} is not a number of threads")
    return {
        "threads": count,
        "samples_seconds": {str(int(n)): [float(s) for s in taken] for n, taken in samples.items()},
        "reason": str(choice.get("reason", ""))[:300],
    }


def check_size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a size")
    return value
