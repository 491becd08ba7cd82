"""`--max-loss` and what `sdk compress` tells hold the metric of the model's task, over all outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.record.preprocess import PREPROCESS
from sdk.compress.recipes.check import Checker
from sdk.compress.recipes.task_check import TaskChecker
from sdk.data.scoring.answers import ClassScorer
from sdk.data.scoring.by_task import Metric
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
from tests.sdk.data.colour_network import COLOURS, SIZE, colour_map_network
from tests.sdk.graph.small_graphs import labelled_noise, small_network


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, (160, SIZE, SIZE))
    pixels = COLOURS[classes] + random.normal(0, 40, (160, SIZE, SIZE, 3))
    np.savez(tmp_path / "d.npz", x=np.clip(pixels, 0, 255).astype(np.uint8), y=classes)
    (tmp_path / "net.tflite").write_bytes(colour_map_network(PREPROCESS["tf"]))
    return tmp_path


def test_a_loss_of_mean_iou_is_kept(scenes: Path) -> None:
    made = sdk.compress_model(
        scenes / "net.tflite",
        scenes / "net.armlet",
        data=scenes / "d.npz",
        task="segmentation",
        preprocess="tf",
        effort="none",
        max_loss=8.0,
    )
    assert made.target_met
    assert made.metric == "mean IoU"
    assert "mean IoU" in made.statement
    assert made.lost is not None
    assert made.lost.value <= made.lost.high <= 8.0
    assert any(point["points_lost_at_most"] > 8.0 for point in made.curve)  # others were tried, and refused


def test_int8_is_held_against_the_original_in_the_metric_of_its_task(scenes: Path) -> None:
    made = sdk.compress_model(
        scenes / "net.tflite",
        scenes / "net.armlet",
        data=scenes / "d.npz",
        task="segmentation",
        preprocess="tf",
        int8=True,
    )
    assert made.accuracy is None
    assert "mean IoU" in made.statement
    assert "paired bootstrap" in made.statement


def test_classes_cost_the_same_by_either_checker(tmp_path: Path) -> None:
    graph: Graph = small_network()
    dataset: Dataset = labelled_noise(tmp_path / "d.npz", graph, 60)
    weight = next(iter(graph.weights()))
    other = graph.with_data({weight.tensor_index: weight.array * np.float32(0.2)})
    plain = Checker(graph, dataset)(other)
    tasked = TaskChecker(graph, dataset, Metric(lambda: ClassScorer(0), True, "top-1"))(other)
    assert tasked.accuracy_percent == plain.accuracy_percent
    assert (tasked.lost.value, tasked.lost.low, tasked.lost.high) == pytest.approx(
        (plain.lost.value, plain.lost.low, plain.lost.high)
    )
    assert 0 < tasked.agreement_percent < 100
