"""How a model is used, as its package's metadata say: what is done to an image, and what the answers are called. Pure.

The metadata of a package, or the ``armlet.usage`` entry of a .tflite, hold

    "input":  {"preprocess": "tf", "flip": ["height", "width"], "shape": [224, 224, 3]}
    "labels": ["tench", "goldfish", ...]

of which every part may be missing: then nothing is known of it. ``preprocess`` is one of
:data:`device_agent.record.preprocess.PREPROCESS` or ``mean=...:scale=...``, in pixels 0 to 255; ``flip`` names the
axes along which the image is mirrored before it enters the graph (``sdk.compress.board_form.mirror``); ``shape``
is for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from device_agent.errors import DataError
from device_agent.record.fields import Refused, kind_of, list_of, text
from device_agent.record.preprocess import Preprocess

#: A model has at most this many labels.
MAX_LABELS = 1 << 16
#: What an image can be flipped along, as an axis counted from the end.
FLIP_AXES = {"height": -3, "width": -2}


@dataclass(frozen=True)
class Usage:
    """``preprocess`` None: not stated. ``labels`` by class number, empty where there are none."""

    preprocess: Preprocess | None = None
    flip: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Usage:
        """Checks what a package says; raises DataError."""
        stated = metadata.get("input", {})
        if not isinstance(stated, Mapping):
            raise DataError(
                "the metadata say something odd of the input", expected="an object", found=kind_of(stated)
            )
        name = stated.get("preprocess")
        if name is not None and not isinstance(name, str):
            raise DataError("unknown preprocessing", expected="text", found=kind_of(name))
        flip = stated.get("flip", [])
        if not isinstance(flip, (list, tuple)) or not all(axis in tuple(FLIP_AXES) for axis in flip):
            raise DataError(
                "unknown axes of a flip", expected=f"a list of {' and '.join(FLIP_AXES)}", found=kind_of(flip)
            )
        return cls(
            None if name is None else Preprocess.parse(name),
            tuple(dict.fromkeys(flip)),
            check_labels(metadata.get("labels", [])),
        )

    def to_metadata(self, shape: Sequence[int] | None = None) -> dict[str, Any]:
        """The same as metadata, without what is not known; ``shape`` is (height, width, channels)."""
        stated: dict[str, Any] = {}
        if self.preprocess is not None:
            stated["preprocess"] = self.preprocess.name
        if self.flip:
            stated["flip"] = list(self.flip)
        if stated and shape is not None:
            stated["shape"] = [int(n) for n in shape]
        metadata: dict[str, Any] = {"input": stated} if stated else {}
        if self.labels:
            metadata["labels"] = list(self.labels)
        return metadata


def check_labels(labels: Any) -> tuple[str, ...]:
    """The labels themselves, if they are some; raises DataError."""
    try:
        checked: tuple[str, ...] = list_of(text, MAX_LABELS)(labels)
    except Refused as refused:
        raise DataError("these are no labels", expected=str(refused), found=kind_of(labels)) from None
    return checked
