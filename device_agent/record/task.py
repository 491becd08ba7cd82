"""The task of a model and the form of its outputs, as its package's metadata say. Pure.

    "task": {"kind": "detections", "form": "yolov8", "outputs": [0], "classes": 80}

``outputs`` are positions of the model's outputs, in the order that the form names them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device_agent.record.kinds import Choice, Integer, Number, ValueRefused
from device_agent.record.schema import limits, record

CLASSES, DETECTIONS, SEGMENTATION, KEYPOINTS, RAW = KINDS = (
    "classes",
    "detections",
    "segmentation",
    "keypoints",
    "raw",
)
#: The forms of each kind; what their outputs hold is said where :mod:`device_agent.answers` reads them.
FORMS = {
    CLASSES: ("row",),
    DETECTIONS: ("post-process", "yolov4", "yolov5", "yolov8", "yolov8 rows", "final rows"),
    SEGMENTATION: ("scores", "numbers", "mask"),
    KEYPOINTS: ("movenet", "movenet bodies", "posenet", "heatmaps", "points", "yolov8"),
    RAW: ("",),
}
#: How many outputs a form reads, where that is not one.
_OUTPUTS = {"post-process": 4, "yolov4": 2, "posenet": 2, "": 0}
#: Positions of outputs end here.
MAX_OUTPUTS = 1024
#: How an image of another shape gets into a model's input: the middle of it, all of it squeezed, or all of it with
#: grey beside it.
CROP, STRETCH, LETTERBOX = FITS = ("crop", "stretch", "letterbox")

if TYPE_CHECKING:
    TaskKind = str
    TaskForm = str
    Position = int
    Few = int
    Score = float
else:
    TaskKind = Choice(KINDS)
    TaskForm = Choice(tuple(dict.fromkeys(form for forms in FORMS.values() for form in forms)))
    Position = Integer(0, MAX_OUTPUTS)
    Few = Integer(0, 1 << 16)
    Score = Number(-1e6, 1e6)


@record(may_lack=True, takes_unknown=True, left_out=("threshold",))
@dataclass(frozen=True)
class Task:
    """``classes``: how many class scores a detection has, 0 where the form says it. ``points``: how many.

    ``threshold``: the lowest score of an answer; None stands for that of :mod:`device_agent.answers`.
    """

    kind: TaskKind
    form: TaskForm = ""
    outputs: tuple[Position, ...] = field(default=(), metadata=limits(most=16))
    classes: Few = 0
    points: Few = 0
    threshold: Score | None = None

    def check_record(self) -> None:
        """Raises ValueRefused for a form that is not one of the kind, or needs other outputs."""
        if self.form not in FORMS[self.kind]:
            raise ValueRefused(" or ".join(FORMS[self.kind]) or "no form", self.form).at("form")
        wanted = _OUTPUTS.get(self.form, 1)
        if len(self.outputs) != wanted:
            raise ValueRefused(f"{wanted} of them", str(len(self.outputs))).at("outputs")

    def in_words(self) -> str:
        """The kind, and the form or the output where there are several: "detections (yolov8)"."""
        if self.kind == CLASSES:
            return f"{self.kind} (output {self.outputs[0]})" if self.outputs[0] else self.kind
        return f"{self.kind} ({self.form})" if self.form else self.kind
