"""How a request says to read a model's file; of several models, each option reaches those that it suits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from sdk.api.file_requests import Opening, PackedOnTheWay
from sdk.api.values import PathLike
from sdk.errors import ModelError
from sdk.graph.on_host.sources.kinds import kind_of
from sdk.graph.on_host.sources.magic import PACKAGE

_Value = TypeVar("_Value")


def reading(said: Opening) -> dict[str, Any]:
    """The keywords of ``tflite_bytes`` and ``convert`` that a request says."""
    return {entry.name: getattr(said, entry.name) for entry in fields(Opening)}


def openings(sources: Sequence[PathLike], said: Opening) -> list[PackedOnTheWay]:
    """For each source the part of ``said`` that suits it: packages take no shape, SavedModels a signature, Keras files
    code. What suits none goes to the first source, which is refused with the reason."""
    kinds = [_kind(Path(source)) for source in sources]
    shapes = _for_those([kind != "package" for kind in kinds], said.input_shape)
    signatures = _for_those([kind == "saved_model" for kind in kinds], said.signature)
    codes = _for_those([kind.startswith("keras") for kind in kinds], said.custom_objects)
    return [
        PackedOnTheWay(input_shape=shape, signature=signature, custom_objects=code or ())
        for shape, signature, code in zip(shapes, signatures, codes, strict=True)
    ]


def _for_those(suits: Sequence[bool], value: _Value) -> list[_Value | None]:
    if not any(suits):
        suits = [True, *([False] * (len(suits) - 1))]
    return [value if one else None for one in suits]


def _kind(path: Path) -> str:
    try:
        kind = kind_of(path)
    except ModelError:  # what reads it says so, with more words
        return ""
    return "package" if kind is PACKAGE else kind.reader
