"""The generated classes and names of schema.fbs, the flatbuffer schema of ``.tflite`` files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sdk.errors import ModelError

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16  # bytes; schema.fbs, `force_align: 16` on Buffer.data; XNNPACK reads weights in place
MAX_MODEL_BYTES = 2**31 - 1  # flatbuffers use signed 32-bit offsets


#: Items of vectors and characters of texts that a walk may still look at; None: nobody counts.
_left: ContextVar[list[int] | None] = ContextVar("left", default=None)


#: What a table counts as, since it takes as long to read; each has at least twelve bytes of its own in a sound file.
TABLE_ITEMS = 16


class WalkedTooFar(ValueError):
    """A walk over a flatbuffer looked at more than was allowed."""


@contextlib.contextmanager
def walking(items: int) -> Iterator[None]:
    """Inside it a flatbuffer is walked no further than this many items of vectors and characters of texts; a table
    counts as 16.

    Tables may share what they point to: a thousand tensors and one shape of a thousand dimensions are a million numbers
    in a few thousand bytes. Raises WalkedTooFar in the walk.
    """
    token = _left.set([items])
    try:
        yield
    finally:
        _left.reset(token)


def _counted(method: Callable[..., Any], size_of: Callable[[Any], int]) -> Callable[..., Any]:
    """A method of a flatbuffer's table whose answers count."""

    def counting(table: Any, offset: int) -> Any:
        found = method(table, offset)
        left = _left.get()
        if left is not None:
            left[0] -= size_of(found)
            if left[0] < 0:
                raise WalkedTooFar("it says the same thing too often")
        return found

    return counting


@lru_cache(maxsize=1)
def schema_classes() -> Any:
    """The generated classes of schema.fbs; they need numpy and flatbuffers and come with the runtime wheel."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ModelError(
            "the TFLite schema is not installed",
            expected="the package ai-edge-litert on the host",
            found=str(error),
            hint="Install it with: pip install 'armlet[deploy]'.",
        ) from error
    import flatbuffers.table

    table: Any = flatbuffers.table.Table  # what every generated class reads through
    table.VectorLen = _counted(table.VectorLen, int)
    table.String = _counted(table.String, len)
    table.Indirect = _counted(table.Indirect, lambda place: TABLE_ITEMS)
    return schema_py_generated


@lru_cache(maxsize=8)
def enum_names(enum: str) -> dict[int, str]:
    """Number -> name of an enum of the schema."""
    values = vars(getattr(schema_classes(), enum))
    return {value: key for key, value in values.items() if isinstance(value, int) and not key.startswith("_")}


@lru_cache(maxsize=8)
def enum_values(enum: str) -> dict[str, int]:
    """Name -> number of an enum of the schema."""
    return {name: value for value, name in enum_names(enum).items()}
