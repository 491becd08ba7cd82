"""The generated classes and names of schema.fbs, the flatbuffer schema of ``.tflite`` files."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sdk.errors import ModelError

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16  # bytes; schema.fbs, `force_align: 16` on Buffer.data; XNNPACK reads weights in place
MAX_MODEL_BYTES = 2**31 - 1  # flatbuffers use signed 32-bit offsets


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
