"""Finds the task of a model by its operators, the shapes of its outputs and its metadata. Pure.

Nothing is guessed: where shapes fit two tasks, the task is not known, and the model answers with its outputs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from device_agent.record.task import CLASSES, DETECTIONS, KEYPOINTS, KINDS, LETTERBOX, RAW, SEGMENTATION, Task
from device_agent.record.usage import picture_shape
from sdk.errors import DataError
from sdk.graph.embedded.own_words import OwnWords
from sdk.graph.records import Graph

POST_PROCESS = "TFLite_Detection_PostProcess"
_PROBABILITIES = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
_SCORES_BY_NAME = re.compile(r"score|prob|class|logit|softmax|predict|label", re.IGNORECASE)
_MASK_BY_NAME = re.compile(r"seg|mask", re.IGNORECASE)
_HEATMAP_BY_NAME = re.compile(r"heat_?map", re.IGNORECASE)
#: Names that the tools of TFLite give to the outputs of post-processing, in its order.
_DETECTION_NAMES = (
    ("location", "locations", "boxes"),
    ("category", "categories", "classes"),
    ("score", "scores"),
    ("number of detections", "num_detections", "count"),
)
#: The tasks of a YOLO's exporter.
_EXPORTED = {
    "detect": DETECTIONS,
    "segment": DETECTIONS,
    "pose": KEYPOINTS,
    "classify": CLASSES,
    "obb": RAW,
}
_BODY_POINTS = 17
#: Bodies that MoveNet finds at most, with room.
_BODIES = 20
#: Values of each box of a YOLO that finds the points of one class; without labels they could be 52 classes.
_POSE_VALUES = 4 + 1 + 3 * _BODY_POINTS
#: Masks that a segmenting YOLO puts each thing's together of.
_MASKS = 32
#: Cells of a YOLO's grids for an image of 32 x 32; of a smaller one there could be a YOLO anywhere.
_FEWEST_CELLS = 16 + 4 + 1
#: Operators behind the one that makes an output what it is.
_PASSED_OVER = 4
#: Rows of the boxes of a detector that has dropped the double ones itself.
_FINAL_ROWS = 1000


@dataclass(frozen=True)
class OutputFacts:
    """An output: its name, shape without the leading 1, type, and the operator that writes it ("" where not known)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    made_by: str = ""

    @property
    def row(self) -> int:
        """How many values it is a row of; 0 for any other shape."""
        size = math.prod(self.shape)
        return size if self.shape and self.shape[-1] == size else 0

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers, as far as its type says."""
        return self.dtype in ("INT64", "INT32") or self.made_by in ("ARG_MAX", "ARG_MIN")


@dataclass(frozen=True)
class Clues:
    """The clues to a task: the image that goes in as (height, width), the outputs, the model's words, and labels."""

    image: tuple[int, int] | None
    outputs: tuple[OutputFacts, ...]
    words: OwnWords
    labels: int = 0
    post_processing: tuple[int, ...] = ()  # positions of its four outputs


def outputs_of(graph: Graph) -> tuple[OutputFacts, ...]:
    """The outputs of a graph, in its order."""
    makers = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    names = {number: name for sign in graph.signatures for name, number in sign.outputs}
    outputs = []
    for number in graph.outputs:
        tensor, maker = graph.tensors[number], makers.get(number)
        for _ in range(_PASSED_OVER):
            if maker is not None and maker.inputs and maker.kind in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
                maker = makers.get(maker.inputs[0])
        shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        outputs.append(
            OutputFacts(
                f"{names.get(number, '')} {tensor.name}".strip(),
                shape,
                tensor.dtype,
                maker.kind if maker else "",
            )
        )
    return tuple(outputs)


def ranking(graph: Graph) -> tuple[bool, ...]:
    """For each output whether it seems to rank classes, so that its largest value is the answer.

    It does where it is a row of probabilities, of a fully connected layer's values, or of what is named as scores are.
    A row of as many values as an input has is another sound or spectrum, unless they are shares of one.
    """
    inputs = {graph.tensors[number].elements for number in graph.inputs}
    return tuple(
        one.row > 1
        and (
            one.made_by in ("SOFTMAX", "LOG_SOFTMAX")
            or (
                one.row not in inputs
                and (
                    one.made_by in ("LOGISTIC", "FULLY_CONNECTED")
                    or _SCORES_BY_NAME.search(one.name) is not None
                )
            )
        )
        for one in outputs_of(graph)
    )


def clues_of(graph: Graph, words: OwnWords, labels: int) -> Clues:
    """The clues in a graph; ``labels``: how many there are."""
    found = [op for op in graph.operators if op.custom_code == POST_PROCESS]
    places: tuple[int, ...] = ()
    if len(found) == 1 and set(found[0].outputs[:4]) <= set(graph.outputs):
        places = tuple(graph.outputs.index(number) for number in found[0].outputs[:4])
    entry = picture_shape(graph.tensors[graph.inputs[0]].shape) if graph.inputs else ()
    image = (entry[0], entry[1]) if len(entry) == 3 and entry[2] in (1, 3, 4) else None
    return Clues(image, outputs_of(graph), words, labels, places if len(places) == 4 else ())


def own_task(clues: Clues) -> Task | None:
    """The task, where the model tells it and needs one; None where it is not known, or is one row of values."""
    if not clues.outputs:
        return None
    for find in (_post_processed, _exported, _mapped, _yolo, _posed, _classified):
        task = find(clues)
        if task is not None:
            return task
    return None


def own_fit(task: Task | None) -> str | None:
    """How images get into the input of such a model by default; None: as into a classifier's."""
    if task is None or task.kind in (CLASSES, RAW):
        return None
    return (
        LETTERBOX
        if "yolo" in task.form or task.form in ("final rows", "movenet", "movenet bodies")
        else "stretch"
    )


def told_task(text: str, clues: Clues) -> Task:
    """The task that ``KIND`` or ``KIND:OUTPUT`` names, in the form that the outputs have. Raises DataError.

    ``OUTPUT`` is the name of an output or its position from 0.
    """
    kind, colon, named = text.partition(":")
    if kind not in KINDS:
        raise DataError("unknown task", expected=f"one of {', '.join(KINDS)}", found=repr(text)[:80])
    if kind == RAW:
        return Task(RAW)
    positions = range(len(clues.outputs)) if not colon else [_position(named, clues)]
    own = own_task(clues)
    if own is not None and own.kind == kind and (not colon or own.outputs == tuple(positions)):
        return own
    forms = [found for position in positions if (found := _form(kind, position, clues)) is not None]
    if len(forms) == 1:
        return forms[0]
    shapes = ", ".join(f"{_shown(output.name)} {_text(output.shape)}" for output in clues.outputs)
    if len(forms) > 1:
        raise DataError(
            f"several outputs could hold {kind}",
            expected=f"--task {kind}:OUTPUT, with the name of one or its number from 0",
            found=shapes,
        )
    raise DataError(
        f"no output has the form of {kind}",
        expected=_EXPECTED[kind],
        found=shapes,
        hint="`--task raw` gives the outputs as they are.",
    )


_EXPECTED = {
    CLASSES: "one row of scores",
    DETECTIONS: f"the outputs of {POST_PROCESS}, a YOLO's (boxes, 5 + classes) or (4 + classes, boxes), or (boxes, 6)",
    SEGMENTATION: "(height, width, classes), or (height, width)",
    KEYPOINTS: "(height, width, points), (points, 2) or (points, 3)",
}


def _position(named: str, clues: Clues) -> int:
    found = [i for i, output in enumerate(clues.outputs) if named in output.name.split()]
    if not found and named.isdigit() and int(named) < len(clues.outputs):
        found = [int(named)]
    if len(found) != 1:
        raise DataError(
            "the model has no such output",
            expected=", ".join(_shown(output.name) for output in clues.outputs),
            found=named[:80],
        )
    return found[0]


def _shown(name: str) -> str:
    return name.split()[0] if name.split() else "(no name)"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _form(kind: str, position: int, clues: Clues) -> Task | None:
    """The output as one of a kind that somebody named: what shapes allow, without any further sign."""
    output = clues.outputs[position]
    shape = output.shape
    if kind == CLASSES:
        return Task(CLASSES, "row", (position,)) if output.row > 1 else None
    if kind == DETECTIONS:
        return _yolo_form(position, clues, clues.labels) or _final_rows(position, clues)
    if kind == SEGMENTATION:
        return _map_form(position, output)
    if len(shape) == 3 and shape[0] > 1 and shape[1] > 1:
        return Task(KEYPOINTS, "heatmaps", (position,))
    if len(shape) >= 2 and shape[-1] in (2, 3) and math.prod(shape[:-1]) > 1:
        form = "movenet" if shape[-2:] == (_BODY_POINTS, 3) else "points"
        return Task(KEYPOINTS, form, (position,))
    return None


def _map_form(position: int, output: OutputFacts) -> Task | None:
    shape = output.shape
    flat = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
    if len(flat) == 2 and min(flat) > 1:
        return Task(SEGMENTATION, "numbers" if output.whole else "mask", (position,))
    if len(shape) == 3 and min(shape) > 1:
        return Task(SEGMENTATION, "scores", (position,))
    return None


# -- what a model tells by itself ------------------------------------------------------------------------------------


def _post_processed(clues: Clues) -> Task | None:
    threshold = next(
        (t.threshold for t in (clues.words.metadata.outputs if clues.words.metadata else ()) if t.threshold),
        None,
    )
    if clues.post_processing:
        return Task(DETECTIONS, "post-process", clues.post_processing, threshold=threshold)
    named = [clues.words.output(i).name.lower() for i in range(len(clues.outputs))]
    places = [[i for i, name in enumerate(named) if name in names] for names in _DETECTION_NAMES]
    if all(len(found) == 1 for found in places):
        return Task(DETECTIONS, "post-process", tuple(found[0] for found in places), threshold=threshold)
    return None


def _exported(clues: Clues) -> Task | None:
    """By the notes of a YOLO's exporter; those of the first ones do not say the task."""
    notes = clues.words.notes
    if notes is None:
        return None
    kind, classes = _EXPORTED.get(notes.task or "detect"), len(notes.names)
    if kind == CLASSES and len(clues.outputs) == 1 and clues.outputs[0].row == classes:
        return Task(CLASSES, "row", (0,))
    if kind == RAW:
        return Task(RAW)
    for position, output in enumerate(clues.outputs):
        if kind == DETECTIONS:
            found = _yolo_form(position, clues, classes) or _final_rows(position, clues)
            if found is not None:
                return found
        if kind == KEYPOINTS and len(output.shape) == 2 and output.shape[0] < output.shape[1]:
            points, rest = divmod(output.shape[0] - 4 - classes, 3)
            if points > 0 and rest == 0:
                return Task(KEYPOINTS, "yolov8", (position,), classes=classes, points=points)
    return None


def _mapped(clues: Clues) -> Task | None:
    """A map of classes: of whole numbers, or one whose labels or names say so."""
    if clues.image is None or len(clues.outputs) != 1:
        return None
    output, said = clues.outputs[0], clues.words.output(0)
    task = _map_form(0, output)
    if task is None or _HEATMAP_BY_NAME.search(f"{output.name} {said.name}"):
        return None
    labelled = bool(clues.words.labels_of(0)) and output.shape[-1] in (clues.labels, 1)
    named = _MASK_BY_NAME.search(f"{output.name} {said.name} {said.description}") is not None
    scored = output.made_by == "SOFTMAX" and task.form == "scores"
    # Of each pixel one number may be a depth, three a colour, four a colour and how much of it.
    full = output.shape[:2] == clues.image and task.form == "scores" and output.shape[2] not in (3, 4)
    return task if output.whole or labelled or named or scored or full else None


def _yolo(clues: Clues) -> Task | None:
    """One output with as many boxes as a YOLO has for an image of this size, or two: boxes and scores."""
    if clues.image is None or len(clues.outputs) > 2:
        return None
    if len(clues.outputs) == 1:
        return _yolo_form(0, clues, clues.labels)
    shapes = [output.shape for output in clues.outputs]
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][0]:
        return None
    boxes = [i for i, shape in enumerate(shapes) if shape[1] == 4]
    counts = [count * anchors for count in _grids(clues.image) for anchors in (1, 3)]
    if len(boxes) != 1 or shapes[0][0] not in counts:
        return None
    classes = shapes[1 - boxes[0]][1]
    fits = clues.labels in (0, classes)
    return Task(DETECTIONS, "yolov4", (boxes[0], 1 - boxes[0]), classes=classes) if fits else None


def _yolo_form(position: int, clues: Clues, classes: int) -> Task | None:
    """The form of a YOLO's head, by the number of its boxes: three for each cell of its grids, or one."""
    shape = clues.outputs[position].shape
    if clues.image is None or len(shape) != 2:
        return None
    cells = _grids(clues.image)
    if shape[0] in [3 * count for count in cells] and shape[1] > 5 and classes in (0, shape[1] - 5):
        return Task(DETECTIONS, "yolov5", (position,), classes=shape[1] - 5)
    turned = shape[1] in cells
    boxes, values = (shape[1], shape[0]) if turned else shape
    # A segmenting YOLO has coefficients of masks behind the scores, and a second output.
    beyond = values - 4 - classes
    if (
        boxes not in cells
        or values <= 4
        or (classes and beyond != (0 if len(clues.outputs) == 1 else _MASKS))
    ):
        return None
    if not classes and values == _POSE_VALUES:
        return None
    if turned:
        return Task(DETECTIONS, "yolov8", (position,), classes=classes or values - 4)
    # With one box per cell and rows of boxes, an objectness may come first (YOLOX): labels must tell.
    return Task(DETECTIONS, "yolov8 rows", (position,), classes=classes) if values == 4 + classes else None


def _grids(image: tuple[int, int]) -> list[int]:
    """How many cells a YOLO's grids have together for such an image: of three strides, four or two."""
    counts = [
        sum((image[0] // stride) * (image[1] // stride) for stride in strides)
        for strides in ((8, 16, 32), (8, 16, 32, 64), (16, 32))
    ]
    return [count for count in counts if count >= _FEWEST_CELLS]


def _final_rows(position: int, clues: Clues) -> Task | None:
    shape = clues.outputs[position].shape
    if clues.image is not None and len(shape) == 2 and shape[1] == 6 and 0 < shape[0] <= _FINAL_ROWS:
        return Task(DETECTIONS, "final rows", (position,))
    return None


def _posed(clues: Clues) -> Task | None:
    """MoveNet's one body, or maps that are called heat maps."""
    if clues.image is None:
        return None
    if len(clues.outputs) > 1:
        return _posenet(clues)
    output = clues.outputs[0]
    if len(output.shape) == 2 and output.shape[1] == 3 * _BODY_POINTS + 5 and output.shape[0] <= _BODIES:
        return Task(KEYPOINTS, "movenet bodies", (0,))
    if output.shape[-2:] == (_BODY_POINTS, 3) and math.prod(output.shape[:-2]) == 1:
        return Task(KEYPOINTS, "movenet", (0,))
    if len(output.shape) == 3 and _HEATMAP_BY_NAME.search(f"{output.name} {clues.words.output(0).name}"):
        return Task(KEYPOINTS, "heatmaps", (0,))
    return None


def _posenet(clues: Clues) -> Task | None:
    """PoseNet's maps and offsets, by their names and shapes."""
    shapes = [output.shape for output in clues.outputs]
    maps = [i for i, output in enumerate(clues.outputs) if _HEATMAP_BY_NAME.search(output.name)]
    if len(maps) != 1 or len(shapes[maps[0]]) != 3:
        return None
    height, width, points = shapes[maps[0]]
    offsets = [i for i, shape in enumerate(shapes) if shape == (height, width, 2 * points)]
    return Task(KEYPOINTS, "posenet", (maps[0], offsets[0])) if len(offsets) == 1 else None


def _classified(clues: Clues) -> Task | None:
    """Of several outputs, the one row that labels, operators or names tell to be scores; of one it needs no task."""
    if len(clues.outputs) < 2:
        return None
    rows = [i for i, output in enumerate(clues.outputs) if output.row > 1 and not output.whole]
    for fits in (
        lambda i: clues.words.output(i).file_of("axis labels") is not None,
        lambda i: clues.labels > 1 and clues.outputs[i].row == clues.labels,
        lambda i: len(clues.outputs[i].shape) == 1 and clues.outputs[i].made_by in _PROBABILITIES,
        lambda i: len(clues.outputs[i].shape) == 1 and _SCORES_BY_NAME.search(clues.outputs[i].name),
    ):
        found = [i for i in rows if fits(i)]
        if len(found) == 1:
            return Task(CLASSES, "row", (found[0],))
        if found:
            rows = found
    return None
