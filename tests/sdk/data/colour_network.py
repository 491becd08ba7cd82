"""A small network whose right answers and preprocessing are known by construction."""

from __future__ import annotations

import numpy as np

from device_agent.record.preprocess import Preprocess
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph

COLOURS = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (190, 190, 60)], np.float32)
SIZE = 8


def colour_network(made_for: Preprocess, first: list[tuple[str, np.ndarray]] | None = None) -> bytes:
    """A .tflite that names the nearest of four colours, of images that went through ``made_for``.

    ``first``: element-wise operators and their constants between the input and the rest, which undo nothing.
    """
    x = Tensor("x", (1, SIZE, SIZE, 3), "FLOAT32")
    tensors, operators, current = [x], [], 0

    def add(kind: str, constants: list[Tensor], shape: tuple[int, ...], **options: object) -> None:
        nonlocal current
        numbers = []
        for constant in constants:
            tensors.append(constant)
            numbers.append(len(tensors) - 1)
        tensors.append(Tensor(f"t{len(tensors)}", shape, "FLOAT32"))
        options_type = str(options.pop("options_type", "NONE"))
        operators.append(Operator(kind, (current, *numbers), (len(tensors) - 1,), options, options_type))
        current = len(tensors) - 1

    for kind, value in first or []:
        name = {"MUL": "MulOptions", "ADD": "AddOptions", "SUB": "SubOptions"}[kind]
        constant = Tensor(f"c{len(tensors)}", value.shape, "FLOAT32", value.astype(np.float32))
        add(kind, [constant], x.shape, options_type=name)
    axes = Tensor("axes", (2,), "INT32", np.array([1, 2], np.int32))
    add("MEAN", [axes], (1, 3), options_type="ReducerOptions", keep_dims=False)
    # -|v - c|^2 but for |v|^2, which is the same for every class: 2 c.v - |c|^2
    centres = made_for(COLOURS)
    scale = 8.0 / max(float(np.square(centres - centres.mean(axis=0)).sum(axis=1).mean()), 1e-9)
    weights = Tensor("w", (4, 3), "FLOAT32", (2 * scale * centres).astype(np.float32))
    biases = Tensor("b", (4,), "FLOAT32", (-scale * np.square(centres).sum(axis=1)).astype(np.float32))
    add("FULLY_CONNECTED", [weights, biases], (1, 4), options_type="FullyConnectedOptions")
    return write_graph(Graph(tuple(tensors), tuple(operators), (0,), (current,)))


def colour_map_network(made_for: Preprocess) -> bytes:
    """A .tflite that names the nearest of four colours for each pixel, (1, SIZE, SIZE, 4) scores."""
    centres = made_for(COLOURS)
    weights = (2 * centres[:, None, None]).astype(np.float32)
    tensors = (
        Tensor("x", (1, SIZE, SIZE, 3), "FLOAT32"),
        Tensor("w", weights.shape, "FLOAT32", weights),
        Tensor("b", (4,), "FLOAT32", (-np.square(centres).sum(axis=1)).astype(np.float32)),
        Tensor("mask", (1, SIZE, SIZE, 4), "FLOAT32"),
    )
    options = {"padding": 0, "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    convolution = Operator("CONV_2D", (0, 1, 2), (3,), options, "Conv2DOptions", version=1)
    return write_graph(Graph(tensors, (convolution,), (0,), (3,)))


def mean_colour_network() -> bytes:
    """A .tflite that answers with the mean of each channel, (1, 3)."""
    tensors = (
        Tensor("x", (1, SIZE, SIZE, 3), "FLOAT32"),
        Tensor("axes", (2,), "INT32", np.array([1, 2], np.int32)),
        Tensor("means", (1, 3), "FLOAT32"),
    )
    mean = Operator("MEAN", (0, 1), (2,), {"keepDims": False}, "ReducerOptions")
    return write_graph(Graph(tensors, (mean,), (0,), (2,)))
