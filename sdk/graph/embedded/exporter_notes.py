"""Notes of a YOLO's exporter in the zip behind a ``.tflite``: one file with a dict, as JSON or as Python.

YOLOv5 calls it ``meta.txt``, later exporters ``temp_meta.txt`` and ``metadata.json``. It names
the classes and the task.
"""

from __future__ import annotations

import ast
import itertools
import json
from dataclasses import dataclass
from typing import Any

from sdk.graph.embedded.attached import AttachedFiles

MAX_BYTES = 1 << 20
_MAX_DEPTH = 8
_MAX_SPACE = 64  # before the dict
#: Files that are looked into.
_MAX_FILES = 4
_BROKEN = (ValueError, SyntaxError, RecursionError, MemoryError, TypeError)


@dataclass(frozen=True)
class ExporterNotes:
    """``names`` of the classes in their order; ``task`` in the exporter's word, such as "detect"; "" where not said."""

    names: tuple[str, ...] = ()
    task: str = ""


def read_notes(attached: AttachedFiles) -> ExporterNotes | None:
    """The notes among the attached files; None where there are none."""
    likely = (
        content
        for name, content in attached.files
        if "meta" in name.rpartition("/")[2].lower() and content[:_MAX_SPACE].lstrip()[:1] == b"{"
    )
    for content in itertools.islice(likely, _MAX_FILES):
        said = _dict_of(content)
        names = _names(said.get("names"))
        if names:
            task = said.get("task")
            return ExporterNotes(names, task if isinstance(task, str) else "")
    return None


def _dict_of(content: bytes) -> dict[Any, Any]:
    if len(content) > MAX_BYTES or _depth(content) > _MAX_DEPTH:
        return {}
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return {}
    for read in (
        json.loads,
        ast.literal_eval,
    ):  # literal_eval takes nothing but literals, and these are not deep
        try:
            found = read(text)
        except _BROKEN:
            continue
        return found if isinstance(found, dict) else {}
    return {}


def _depth(content: bytes) -> int:
    """How deep brackets stand in one another, at most; those in texts count as well."""
    depth = deepest = 0
    for byte in content:
        if byte in b"([{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b")]}":
            depth -= 1
    return deepest


def _names(value: Any) -> tuple[str, ...]:
    """Of a list, or of a dict whose keys are the numbers from 0, as numbers or as texts."""
    if isinstance(value, dict):
        try:
            numbered = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return ()
        value = [numbered.get(number) for number in range(len(numbered))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)
