"""One real prediction: the runtime's machine code on an emulated core, the whole and each operator alone."""

from __future__ import annotations

import pytest

from sdk.api.board_requests import PredictTime
from sdk.api.measuring.predictions import predict_times
from sdk.explain.speed.predictions import PredictedModel
from sdk.graph.writer import write_graph
from tests.sdk.board.emulated import need_counting, need_runtime
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> PredictedModel:
    need_counting()
    need_runtime("ai-edge-litert")
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    path.write_bytes(write_graph(small_network(size=64, channels=32)))
    (one,) = predict_times(["rpi4"], [path], PredictTime()).models
    return one


def test_a_time_is_above_theory_and_its_parts_add_up(found: PredictedModel) -> None:
    assert found.prediction.core == "Cortex-A72"
    assert found.prediction.runtime == "ai-edge-litert"
    assert found.theory_seconds is not None
    assert found.theory_seconds < found.predicted_seconds < 5 * found.theory_seconds
    assert sum(step.seconds for step in found.steps()) == pytest.approx(found.predicted_seconds)


def test_operators_come_near_to_the_whole(found: PredictedModel) -> None:
    times = {time.cost.name: time.seconds for time in found.operators()}
    assert not found.operators_alone  # the runtime told them
    # By their MACs: 1x1, then 3x3, then depthwise, then the rest.
    assert times["pointwise"] > times["stem"] > times["depthwise"] > times["scores"]
    assert abs(found.outside_seconds()) < 0.3 * found.predicted_seconds
