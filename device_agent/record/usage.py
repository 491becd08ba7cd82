"""How a model is used, as its package's metadata say: what is done to an image, and what the answers are called. Pure.

The metadata of a package, or the ``armlet.usage`` entry of a .tflite, hold

    "input":  {"preprocess": "tf", "flip": ["height", "width"], "shape": [224, 224, 3]}
    "labels": ["tench", "goldfish", ...]
    "task": {"kind": "classes", ...}                          (device_agent.record.task)

and any part may be missing: then nothing is known about it. ``preprocess`` is one of
:data:`device_agent.record.preprocess.PREPROCESS` or ``mean=...:scale=...``, in pixels 0 to 255; ``flip`` names the axes
along which the image is mirrored before it enters the graph (``sdk.compress.board_form.mirror``); ``fit``, one of
:data:`device_agent.record.task.FITS`, is how an image of another shape is brought to the input's ("crop" where nothing
is said); ``shape``, and ``layout`` where the channels come first, are for people: :func:`channels_come_first` tells it
from the input itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from device_agent.errors import DataError
from device_agent.record.kinds import Choice, Many, Text, ValueRefused
from device_agent.record.named_kinds import Sentence
from device_agent.record.preprocess import Preprocess
from device_agent.record.schema import as_error, read, record, write
from device_agent.record.task import FITS, Task

#: A model has at most this many labels.
MAX_LABELS = 1 << 16
#: What an image can be flipped along, as an axis counted from the end.
FLIP_AXES = {"height": -3, "width": -2}

#: How many channels an image has.
_CHANNELS = (1, 3, 4)

_LABELS = Many(Text(), most=MAX_LABELS)

if TYPE_CHECKING:
    Labels = tuple[str, ...]
    Flips = tuple[str, ...]
    Fit = str
else:
    Labels = _LABELS
    Fit = Choice(FITS)
    Flips = Many(Choice(tuple(FLIP_AXES)), words=f"a list of {' and '.join(FLIP_AXES)}")


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _Input:
    preprocess: Sentence | None = None
    flip: Flips = ()
    fit: Fit | None = None


@record(what="the metadata of the model", error=DataError, may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _Metadata:
    """What metadata say of the use, among other things."""

    input: _Input = _Input()
    labels: Labels = ()
    task: Task | None = None


@dataclass(frozen=True)
class Usage:
    """``preprocess``, ``task`` and ``fit`` None: not stated. ``labels`` by class number, empty where there are none."""

    preprocess: Preprocess | None = None
    flip: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    task: Task | None = None
    fit: str | None = None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Usage:
        """Checks what a package says; raises DataError."""
        said = read(_Metadata, metadata)
        name = said.input.preprocess
        return cls(
            None if name is None else Preprocess.parse(name),
            tuple(dict.fromkeys(said.input.flip)),
            said.labels,
            said.task,
            said.input.fit,
        )

    def to_metadata(self, shape: Sequence[int] | None = None) -> dict[str, Any]:
        """The same as metadata, without what is not known; ``shape`` is the whole shape of the input."""
        stated: dict[str, Any] = {}
        if self.preprocess is not None:
            stated["preprocess"] = self.preprocess.name
        if self.flip:
            stated["flip"] = list(self.flip)
        if self.fit is not None:
            stated["fit"] = self.fit
        if stated and shape is not None:
            stated["shape"] = list(picture_shape(shape))
            if channels_come_first(shape):
                stated["layout"] = "channels first"
        metadata: dict[str, Any] = {"input": stated} if stated else {}
        if self.labels:
            metadata["labels"] = list(self.labels)
        if self.task is not None:
            metadata["task"] = write(self.task)
        return metadata


def channels_come_first(shape: Sequence[int]) -> bool:
    """Whether an input of this whole shape is an image with its channels in front: (1, 3, height, width)."""
    if len(shape) != 4:
        return False
    _, channels, height, width = shape
    return channels in _CHANNELS and min(height, width) > max(_CHANNELS)


def picture_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """One sample of an input of this whole shape, as a person has it: (height, width, channels) of an image."""
    one = tuple(int(n) for n in shape[1:])
    return (*one[1:], one[0]) if channels_come_first(shape) else one


def check_labels(labels: Any) -> tuple[str, ...]:
    """The labels themselves, if they are some; raises DataError."""
    try:
        checked: tuple[str, ...] = _LABELS.read(labels)
    except ValueRefused as refused:
        raise as_error(refused, "the list of labels", DataError) from None
    return checked
