"""Errors of failed converters: the line with the cause, and the whole text kept in a file."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from pathlib import Path

from device_agent.record.visible import first_of, visible
from sdk.errors import ModelError
from sdk.tools.system.files import FileError, write_file
from sdk.tools.system.folders import cache_folder

#: Of a cause this many characters are shown, and of operators this many.
MOST_CHARACTERS = 300
MOST_OPERATORS = 8
KEPT_BYTES = 1 << 22
#: How converters name an operator that they cannot convert.
_OPERATORS = (
    re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op"),
    re.compile(r"failed to legalize operation '([\w.]+)'"),
    re.compile(r"No op converter|no lowering (?:found|registered) for:? ?<?\"?([\w.:]+)", re.IGNORECASE),
    re.compile(r"Lowering not found: ([\w.:]+)"),
    re.compile(r"No conversion function for operator '?([\w.:]+)"),
    re.compile(r"op_type: ?([A-Z]\w+)"),
)
_LISTED = re.compile(r"(?:TF Select|Select TensorFlow|Custom) ops: ([\w, .]+)")
_ERROR_LINE = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Exit))(?:: (.*))?$")
#: Prefixes of a cause that say nothing.
_PLACE = re.compile(r"^(?:<unknown>:\d+: )?(?:loc\(.*?\)+: )?error: ", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def conversion_failed(name: str, what: str, error: BaseException, *, hint: str) -> ModelError:
    """The error for a person; the whole text with its traceback is kept beside, and the error says where."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return told(name, what, str(error) or type(error).__name__, text, hint=hint)


def told(name: str, what: str, said: str, text: str, *, hint: str) -> ModelError:
    """As :func:`conversion_failed`, of what a converter said: ``said`` holds the cause, ``text`` is kept."""
    found = cause_of(said)
    kept = keep(name, text)
    where = f" The whole text is in {kept}." if kept is not None else ""
    return ModelError(what, found=found, hint=f"{hint}{where}".strip())


def cause_of(said: str) -> str:
    """The operators that a converter refuses, or else its first line that tells a cause, in one visible line."""
    said = _COLOURS.sub("", said)
    operators = Counter(name for pattern in _OPERATORS for name in pattern.findall(said) if name)
    for line in _LISTED.findall(said):
        operators.update(dict.fromkeys((name.strip() for name in line.split(",") if name.strip()), 0))
    if operators:
        named = [name for name, _ in operators.most_common()]
        shown = first_of((visible(name, most=60) for name in named), MOST_OPERATORS)
        return f"{'operator' if len(named) == 1 else 'operators'} {shown}, which TFLite does not have"
    return visible(_telling_line(said), most=MOST_CHARACTERS)


def _telling_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if _PLACE.match(line)]
    if errors:
        return _PLACE.sub("", errors[0])
    raised = [line for line in lines if _ERROR_LINE.match(line)]
    if raised and "Traceback (most recent call last):" in said:
        kind, text = _ERROR_LINE.match(raised[-1]).groups()  # type: ignore[union-attr]
        return text or kind
    plain = [line for line in lines if not line.startswith(("Traceback", "File ", "^", "~"))]
    return plain[0] if plain else "no reason given"


def keep(name: str, text: str) -> Path | None:
    """Keeps the whole text of a failure and returns its path: one file per model; None where it cannot be written."""
    stem = re.sub(r"[^\w.-]+", "_", Path(name).name)[:80] or "model"
    path = cache_folder("conversions", f"{stem}.txt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode("utf-8", "backslashreplace")[:KEPT_BYTES])
    except (OSError, FileError):
        return None
    return path
