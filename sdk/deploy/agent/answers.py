"""Checks of what an agent answers: a board's bytes are hostile until every field has its type and its limits.

Each function takes the answer to a verb (an object of JSON) and a key, and gives the checked value. Raises RemoteError.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.record.release import NAME
from sdk.errors import RemoteError
from sdk.tools.printable import printable_text

MAX_TEXT = 300
#: A board keeps no more releases of a name (device_agent.record.release).
MAX_RELEASES = 64


def printable(value: Any) -> str:
    """A board's words: short, and unable to drive a terminal."""
    return printable_text(value, MAX_TEXT)


def no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def not_acceptable(verb: str, key: str, value: Any) -> RemoteError:
    return RemoteError(
        f"the agent's answer to `{verb}` is not acceptable", found=f"{key}: {printable(value)!r}"
    )


def arrived_bytes(blob: bytes, said: Any) -> int:
    """How much of a blob the board has: [bytes, sha256], where these are the very bytes that the blob begins with."""
    if (
        not isinstance(said, list)
        or len(said) != 2
        or type(said[0]) is not int
        or not 0 < said[0] <= len(blob)
    ):
        return 0
    return said[0] if hashlib.sha256(blob[: said[0]]).hexdigest() == said[1] else 0


def number_of(answer: dict[str, Any], verb: str, key: str) -> float:
    value = answer.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1e12:
        raise not_acceptable(verb, key, value)
    return float(value)


def optional_number_of(answer: dict[str, Any], verb: str, key: str) -> float | None:
    return None if answer.get(key) is None else number_of(answer, verb, key)


def optional_size_of(answer: dict[str, Any], verb: str, key: str) -> int | None:
    value = optional_number_of(answer, verb, key)
    return None if value is None else int(value)


def sha256_of(answer: dict[str, Any], verb: str, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise not_acceptable(verb, key, value)
    return value


def one_of(answer: dict[str, Any], verb: str, key: str, allowed: tuple[str, ...]) -> str:
    value = answer.get(key)
    if value not in allowed:
        raise not_acceptable(verb, key, value)
    return str(value)


@dataclass(frozen=True)
class Prepared:
    """What the board did for a release beyond its health check.

    ``threads`` it is run with, and why so many; ``start_bytes`` of disk that make it start in ``start_seconds``
    instead of ``cold_start_seconds`` (from the release's files to a ready interpreter), or why there are none.
    """

    threads: int
    threads_reason: str
    start_bytes: int | None
    start_seconds: float | None
    cold_start_seconds: float | None
    start_reason: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def prepared_of(check: dict[str, Any], verb: str) -> Prepared | None:
    """What a health check answers under ``prepared``; None where the board prepared nothing."""
    prepared = check.get("prepared")
    if prepared is None:
        return None
    if not isinstance(prepared, dict):
        raise not_acceptable(verb, "prepared", prepared)
    threads, start = prepared.get("threads"), prepared.get("start")
    if not isinstance(threads, dict) or not isinstance(start, dict):
        raise not_acceptable(verb, "prepared", prepared)
    count = optional_size_of(threads, verb, "threads")
    if not count:
        raise not_acceptable(verb, "threads", count)
    return Prepared(
        threads=count,
        threads_reason=printable(threads.get("reason")),
        start_bytes=optional_size_of(start, verb, "bytes"),
        start_seconds=optional_number_of(start, verb, "warm_seconds"),
        cold_start_seconds=optional_number_of(start, verb, "cold_seconds"),
        start_reason=printable(start.get("reason") or ""),
    )


def slot_of(record: Any, verb: str) -> dict[str, Any]:
    if not isinstance(record, dict) or not NAME.fullmatch(str(record.get("name"))):
        raise not_acceptable(verb, "slot", record)
    ids = {
        key: None if record.get(key) is None else sha256_of(record, verb, key)
        for key in ("current", "previous", "trial", "package_sha256")
    }
    older = record.get("older", [])
    if not isinstance(older, list) or len(older) > MAX_RELEASES:
        raise not_acceptable(verb, "older", older)
    history = record.get("history")
    if not isinstance(history, list) or not all(isinstance(event, dict) for event in history):
        raise not_acceptable(verb, "history", history)
    return {
        "name": record["name"],
        **ids,
        "older": tuple(sha256_of({"older": release}, verb, "older") for release in older),
        "package_bytes": optional_size_of(record, verb, "package_bytes"),
        "threads": _threads_of(record, verb),
        "history": [
            {
                "event": printable(event.get("event")),
                "release": None if event.get("release") is None else sha256_of(event, verb, "release"),
                "reason": printable(event.get("reason")),
                "unix_seconds": _clock_of(event, verb),
            }
            for event in history
        ],
    }


def _threads_of(record: dict[str, Any], verb: str) -> int | None:
    """The threads that were chosen for the current release of a slot; None where nothing was chosen."""
    known = record.get("threads") or {}
    if not isinstance(known, dict):
        raise not_acceptable(verb, "threads", known)
    choice = known.get(record.get("current"))
    if choice is None:
        return None
    if not isinstance(choice, dict):
        raise not_acceptable(verb, "threads", choice)
    return optional_size_of(choice, verb, "threads")


def _clock_of(event: dict[str, Any], verb: str) -> float:
    """What the board's clock said, right or wrong; one that was never set must not hide what happened."""
    said = event.get("unix_seconds")
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not -1e15 <= said <= 1e15:
        raise not_acceptable(verb, "unix_seconds", said)
    return float(said)


def outputs_of(answer: dict[str, Any], count: int) -> np.ndarray:
    try:
        data = base64.b64decode(answer["outputs_npy_base64"], validate=True)
        # Not np.load, which takes a zip or a pickle for an array, too.
        outputs = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (KeyError, TypeError, ValueError, EOFError, OSError, OverflowError, MemoryError) as error:
        raise RemoteError(
            "the agent's outputs cannot be read", expected="an .npy array", found=str(error)[:100]
        ) from None
    if outputs.dtype != np.float32 or outputs.shape[:1] != (count,):
        raise RemoteError(
            "the agent's outputs are something else",
            expected=f"{count} float32 rows",
            found=f"{outputs.dtype} {outputs.shape}"[:80],
        )
    return outputs
