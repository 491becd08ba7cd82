"""A detector that ends in TFLite's own post-processing is solved on images, and judged by the boxes that it chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdk
from device_agent.package import reader as package
from device_agent.record.task import DETECTIONS, Task
from sdk.api.checking.chosen import by_what_is_chosen
from sdk.api.checking.held_against import HeldAgainst
from sdk.compress.recipes.task_check import TaskChecker
from sdk.data.loading import load_dataset
from sdk.data.scoring.by_task import Metric
from sdk.data.scoring.detected import BoxScorer
from sdk.errors import UnsupportedOperator
from sdk.graph.before_choice import before_choice, behind_choice
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.answering_graphs import post_processing

pytestmark = pytest.mark.tensorflow

SIZE, CELLS, CLASSES = 32, 64, 2
TASK = Task(DETECTIONS, "post-process", (0, 1, 2, 3))


def detector() -> Graph:
    """Fresh weights that find boxes of two classes in the 64 cells of an image."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    encodings = layers.Reshape((CELLS, 4))(layers.Conv2D(4, 1)(x))
    scores = layers.Conv2D(1 + CLASSES, 1, kernel_initializer=keras.initializers.RandomNormal(0, 1.0))(x)
    scores = layers.Activation("sigmoid")(layers.Reshape((CELLS, 1 + CLASSES))(scores))
    graph = read_graph(from_keras(keras.Model(image, [encodings, scores])))
    middles = (np.arange(8) + 0.5) / 8
    anchors = [(y, x, 0.2, 0.2) for y in middles for x in middles]
    return post_processing(graph, np.array(anchors), boxes=10)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return detector()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (120, 8, 8, 3))
    np.savez(tmp_path / "d.npz", x=coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8))
    return tmp_path / "d.npz"


def chosen_by(model: bytes, *arrays: np.ndarray) -> list[np.ndarray]:
    with HostModel(model) as host:
        return list(host.run_real(arrays).values())


def test_a_graph_is_its_values_and_the_choice_behind_them(graph: Graph) -> None:
    image = np.random.default_rng(1).random((1, SIZE, SIZE, 3), np.float32)
    whole = chosen_by(write_graph(graph), image)
    values = chosen_by(write_graph(before_choice(graph)), image)
    assert [value.shape for value in values] == [(1, CELLS, 4), (1, CELLS, 1 + CLASSES)]
    again = chosen_by(write_graph(behind_choice(graph)), *values)
    assert whole[3][0] > 0
    for one, two in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_tensorflow_answers_with_what_is_chosen_by_where_it_cannot_choose(graph: Graph) -> None:
    executor = Executor(graph)
    executor.check()
    assert executor.outputs == before_choice(graph).outputs
    plain = before_choice(graph)
    assert Executor(plain).outputs == plain.outputs


def test_a_choice_that_layers_read_from_is_refused(graph: Graph) -> None:
    """What is chosen has no gradient, and what lies behind it cannot be computed."""
    scores = graph.outputs[2]
    number = len(graph.tensors)
    doubled = replace(
        graph,
        tensors=(*graph.tensors, Tensor("doubled", graph.tensors[scores].shape, "FLOAT32")),
        operators=(
            *graph.operators,
            Operator("ADD", (scores, scores), (number,), {"fusedActivationFunction": 0}, "AddOptions"),
        ),
        outputs=(*graph.outputs[:2], number, graph.outputs[3]),
    )
    with pytest.raises(UnsupportedOperator, match="operator TFLite_Detection_PostProcess cannot be run"):
        Executor(doubled)


def test_boxes_cost_the_same_in_tensorflow_and_in_the_runtime(graph: Graph, photos: Path) -> None:
    dataset = load_dataset(photos, input_shape=(SIZE, SIZE, 3), preprocess="tf")
    metric = Metric(lambda: BoxScorer(TASK, (SIZE, SIZE), "stretch"), False, "mAP@0.5:0.95")
    weight = list(graph.weights())[1]
    rough = np.round(weight.array * 8) / 8
    other = graph.with_data({weight.tensor_index: rough.astype(np.float32)})
    with by_what_is_chosen(metric, graph) as chosen:
        assert chosen is not None
        found = TaskChecker(graph, dataset, chosen)(other)
    right = HeldAgainst(write_graph(graph), dataset, metric).change(write_graph(other))
    assert 1 < right.points_lost < 90
    assert found.lost is not None
    assert found.lost.value == pytest.approx(right.points_lost, abs=0.5)  # scores differ in their last bits
    with by_what_is_chosen(metric, before_choice(graph)) as same:
        assert same is metric


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        ({"effort": "none"}, "none"),
        ({"max_loss": 60.0}, "calibrate"),
        ({"int8": True, "effort": "calibrate"}, "calibrate"),
    ],
    ids=str,
)
def test_such_a_detector_is_solved_on_images_and_its_anchors_stay_as_they_are(
    graph: Graph, photos: Path, tmp_path: Path, asked: dict[str, Any], effort: str
) -> None:
    """No value that attempts are judged by depends on anchors, and all boxes do."""
    (tmp_path / "net.tflite").write_bytes(write_graph(graph))
    given = {} if asked.get("effort") == "none" else {"data": photos, "preprocess": "tf"}
    made = sdk.compress_model(tmp_path / "net.tflite", tmp_path / "net.armlet", **given, **asked)
    kept = read_graph(package.unpack(made.output.read_bytes()).tflite)
    assert made.effort == effort
    assert made.target_met
    assert (made.metric == "mAP@0.5:0.95") == (effort == "calibrate")
    (anchors,) = [tensor.data for tensor in kept.tensors if tensor.shape == (CELLS, 4)]
    (before,) = [tensor.data for tensor in graph.tensors if tensor.name == "anchors"]
    np.testing.assert_array_equal(anchors, before)
    assert made.reach is not None
    assert "1 layer: read where the answers are chosen (anchors)" in made.reach.lines()
