"""Help texts and parsers that the options of several verbs share.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence

PathLike = str | os.PathLike[str]
#: One shape, or shapes by the name of the input.
InputShape = Sequence[int] | Mapping[str, Sequence[int]]
#: Of options that several verbs have: what a model expects, and its classes.
PREPROCESS = "preprocessing of pixels: tf, torch, 01, raw, caffe or mean=...:scale=...; :bgr for blue first"
FOUND = "from the model, else from the images"
LABELS = "names of the classes: one label per line, or numbered, CSV, JSON, YAML, pbtxt"
TASK = (
    "meaning of the outputs: classes, detections, segmentation, keypoints or raw, with :OUTPUT behind it where "
    "several outputs fit (default: found from the model, if possible)"
)
FIT = (
    "how a picture of another shape is fitted: crop (the middle), stretch (all of it, squeezed) or letterbox "
    "(all of it, grey beside it) (default: as its task wants)"
)
FITS = ("crop", "stretch", "letterbox")


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """``224x224,480x640`` as ((224, 224), (480, 640)): height and width of each."""
    from sdk.explain.suites import parse_size

    try:
        return tuple(dict.fromkeys(parse_size(part) for part in text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"expected sizes such as 224x224,480x640, found {text!r}") from None


def kept_releases(text: str) -> int:
    """How many releases of a name a board keeps: what runs, and at least one to go back to."""
    from sdk.board.description.records import MAX_KEEP, MIN_KEEP

    if not text.isdecimal() or not MIN_KEEP <= int(text) <= MAX_KEEP:
        raise ArgumentTypeError(f"expected {MIN_KEEP} to {MAX_KEEP} releases, found {text!r}")
    return int(text)
