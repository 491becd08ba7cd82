"""Weights that no calibration solves, such as a table of embeddings, get small beside those that are solved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.package import reader as package
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph

pytestmark = pytest.mark.tensorflow
WORDS, LENGTH, WIDTH, CLASSES = 500, 8, 16, 6
_TABLE, _WEIGHT = 1, 5


def text_classifier() -> Graph:
    """Numbers of words, their vectors, the mean of these, and a layer of scores."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return random.normal(0, 1, shape).astype(np.float32)

    tensors = (
        Tensor("words", (1, LENGTH), "INT32"),
        Tensor("table", (WORDS, WIDTH), "FLOAT32", noise(WORDS, WIDTH)),
        Tensor("vectors", (1, LENGTH, WIDTH), "FLOAT32"),
        Tensor("axis", (1,), "INT32", np.array([1], np.int32)),
        Tensor("mean", (1, WIDTH), "FLOAT32"),
        Tensor("weight", (CLASSES, WIDTH), "FLOAT32", noise(CLASSES, WIDTH)),
        Tensor("bias", (CLASSES,), "FLOAT32", noise(CLASSES)),
        Tensor("scores", (1, CLASSES), "FLOAT32"),
    )
    operators = (
        Operator("GATHER", (_TABLE, 0), (2,), {"axis": 0, "batchDims": 0}, "GatherOptions"),
        Operator("MEAN", (2, 3), (4,), {"keepDims": False}, "ReducerOptions"),
        Operator("FULLY_CONNECTED", (4, 5, 6), (7,), {"fusedActivationFunction": 0}, "FullyConnectedOptions"),
    )
    return Graph(tensors, operators, (0,), (7,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text")
    (path / "net.tflite").write_bytes(write_graph(text_classifier()))
    np.savez(
        path / "words.npz", x=np.random.default_rng(1).integers(0, WORDS, (240, LENGTH)).astype(np.int32)
    )
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> sdk.Compressed:
    return sdk.compress_model(
        folder / "net.tflite",
        folder / "net.armlet",
        data=folder / "words.npz",
        save_recipe=folder / "recipe.toml",
    )


def test_a_text_classifier_is_solved_and_its_table_gets_small(made: sdk.Compressed, folder: Path) -> None:
    assert made.effort == "calibrate"
    assert (made.reach.layers, made.reach.compressed) == (2, 2)
    assert made.package_bytes < made.original_bytes / 3
    before, after = text_classifier(), read_graph(package.unpack((folder / "net.armlet").read_bytes()).tflite)
    table = next(tensor for tensor in after.tensors if tensor.shape == (WORDS, WIDTH))
    assert len(np.unique(table.data)) < WORDS
    fresh = np.random.default_rng(2).integers(0, WORDS, (200, LENGTH)).astype(np.int32)
    scores = [Executor(graph)(fresh).numpy() for graph in (before, after)]
    assert np.mean(scores[0].argmax(axis=1) == scores[1].argmax(axis=1)) > 0.9


def test_its_recipe_leads_to_the_same_bytes(made: sdk.Compressed, folder: Path) -> None:
    again = sdk.compress_model(
        folder / "net.tflite",
        folder / "again.armlet",
        data=folder / "words.npz",
        recipe=folder / "recipe.toml",
    )
    assert Path(again.output).read_bytes() == (folder / "net.armlet").read_bytes()
    assert again.reach.compressed == made.reach.compressed == 2
