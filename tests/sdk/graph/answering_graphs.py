"""Graphs that always answer the same, in the form of a detector or of any other model."""

from __future__ import annotations

import math

import numpy as np

from sdk.graph.own_task import POST_PROCESS
from sdk.graph.records import Graph, Operator, Signature, Tensor


def saying(size: int, **outputs: np.ndarray) -> Graph:
    """A graph of an image (1, size, size, 3) whose outputs, by name, are these arrays, whatever the image is."""
    tensors = [
        Tensor("image", (1, size, size, 3), "FLOAT32"),
        Tensor("axes", (3,), "INT32", np.array([1, 2, 3], np.int32)),
        Tensor("mean", (1,), "FLOAT32"),
        Tensor("nothing", (1,), "FLOAT32", np.zeros(1, np.float32)),
        Tensor("zero", (1,), "FLOAT32"),
    ]
    operators = [
        Operator("MEAN", (0, 1), (2,), {"keepDims": False}, "ReducerOptions"),
        Operator("MUL", (2, 3), (4,), {"fusedActivationFunction": 0}, "MulOptions"),
    ]
    numbers = []
    for name, array in outputs.items():
        said = array.astype(np.float32)
        number = len(tensors)
        tensors += [
            Tensor(f"{name}/said", said.shape, "FLOAT32", said),
            Tensor(name, said.shape, "FLOAT32"),
        ]
        numbers.append(number + 1)
        operators.append(
            Operator("ADD", (4, number), (number + 1,), {"fusedActivationFunction": 0}, "AddOptions")
        )
    signature = Signature("serving_default", (("image", 0),), tuple(zip(outputs, numbers, strict=True)))
    return Graph(tuple(tensors), tuple(operators), (0,), tuple(numbers), signatures=(signature,))


def post_processing(
    graph: Graph, anchors: np.ndarray, *, boxes: int, order: tuple[int, ...] = (0, 1, 2, 3)
) -> Graph:
    """A detector that answers with ``boxes`` boxes, which TFLite's own operator chooses.

    ``graph`` answers with encodings (1, anchors, 4) and scores (1, anchors, 1 + classes); ``anchors`` (anchors, 4) are
    y, x, height, width.
    """
    from flatbuffers import flexbuffers

    count = len(graph.tensors)
    shapes = ((1, boxes, 4), (1, boxes), (1, boxes), (1,))
    tensors = (
        *graph.tensors,
        Tensor("anchors", anchors.shape, "FLOAT32", anchors.astype(np.float32)),
        *(Tensor(f"{POST_PROCESS}:{n}", shape, "FLOAT32") for n, shape in enumerate(shapes)),
    )
    options = flexbuffers.Dumps(
        {
            "max_detections": boxes,
            "max_classes_per_detection": 1,
            "num_classes": graph.tensors[graph.outputs[1]].shape[-1] - 1,
            "nms_score_threshold": 0.1,
            "nms_iou_threshold": 0.5,
            "y_scale": 10.0,
            "x_scale": 10.0,
            "h_scale": 5.0,
            "w_scale": 5.0,
            "use_regular_nms": False,
        }
    )
    made = tuple(range(count + 1, count + 5))
    operator = Operator(
        "CUSTOM",
        (*graph.outputs, count),
        made,
        custom_code=POST_PROCESS,
        custom_options=bytes(options),
    )
    return Graph(tensors, (*graph.operators, operator), graph.inputs, tuple(made[n] for n in order))


def cells(size: int) -> int:
    """Boxes of a YOLO without anchors for an image of size x size."""
    return sum(math.prod((size // stride,) * 2) for stride in (8, 16, 32))


def yolo_rows(size: int, *rows: list[float], anchors: int = 1) -> np.ndarray:
    """(1, boxes, values): these rows, behind others without any score."""
    values = np.zeros((1, anchors * cells(size), len(rows[0])), np.float32)
    values[0, -len(rows) :] = rows
    return values
