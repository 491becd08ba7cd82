"""Theory, prediction and bound of a model on a board: figures that follow from each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdk.api.board_requests import PredictTime
from sdk.api.measuring.measure import open_model
from sdk.api.measuring.predictions import predict_one
from sdk.board.catalogue import load_board
from sdk.errors import DataError
from sdk.explain.speed.predictions import PredictedModel, Predictions, Scale, bound
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report.made_up_engine import engine


def one(**made_up: object) -> PredictedModel:
    model = open_model("net", write_graph(small_network(size=64)))
    (found,) = predict_one([load_board("rpi4")], model, PredictTime(), engine=engine(**made_up))  # type: ignore[arg-type]
    return found


SCALE = Scale(1.5, "other", "rpi4", "ai-edge-litert 2.3.0", "run.json", 0.03, 0.02, 1.7e9, False, False)


def test_the_waterfall_begins_with_theory_and_adds_up_to_the_prediction() -> None:
    found = one()
    steps = found.steps()
    assert steps[0].seconds == found.theory_seconds == pytest.approx(2 * found.macs / 14.4e9)
    assert sum(step.seconds for step in steps) == pytest.approx(found.predicted_seconds)
    assert sum(found.part_seconds().values()) == pytest.approx(found.predicted_seconds)
    without = replace(found, peaks=None)
    assert without.theory_seconds is None
    assert sum(step.seconds for step in without.steps()) == pytest.approx(found.predicted_seconds)


def test_theory_counts_no_zeros_that_sparse_kernels_may_skip() -> None:
    found = one()
    pointwise = found.costs[2]
    half = replace(pointwise, effective_macs=pointwise.macs // 2)
    dense = replace(found, costs=(*found.costs[:2], half, *found.costs[3:]))
    densify = replace(found.costs[3], kind="DENSIFY", index=9)
    sparse = replace(dense, costs=(*dense.costs, densify))
    assert dense.theory_seconds == found.theory_seconds
    assert sparse.theory_seconds == pytest.approx(2 * (found.macs - pointwise.macs / 2) / 14.4e9)


def test_each_operator_has_its_predicted_time_and_the_rest_lies_outside() -> None:
    found = one()
    times = found.operators()
    assert [time.cost.kind for time in times] == [cost.kind for cost in found.costs]
    assert all(time.seconds > 0 and time.kernels for time in times)
    inside = sum(time.seconds for time in times)
    assert inside + found.outside_seconds() == pytest.approx(found.predicted_seconds)
    assert one(marks=False).operators() == ()


def test_a_measured_model_scales_the_time_its_parts_and_its_interval() -> None:
    plain = one()
    scaled = replace(plain, scale=SCALE)
    assert scaled.predicted_seconds == pytest.approx(1.5 * plain.predicted_seconds)
    assert scaled.high_seconds == pytest.approx(scaled.predicted_seconds * plain.factors.high)
    for time, before in zip(scaled.operators(), plain.operators(), strict=True):
        assert time.seconds == pytest.approx(1.5 * before.seconds)


def test_a_bound_divides_the_work_of_the_cores_and_counts_the_shared_memory_once() -> None:
    prediction = one().prediction
    by_cores = bound(prediction, 4)
    assert (by_cores.seconds, by_cores.memory_limits) == (pytest.approx(prediction.seconds / 4), False)
    busy = replace(prediction, dram_bytes=int(0.5 * prediction.seconds * prediction.memory_bytes_per_second))
    by_memory = bound(busy, 4)
    assert by_memory.seconds == pytest.approx(0.5 * prediction.seconds, rel=1e-3)
    assert by_memory.memory_limits
    assert not bound(busy, 2).memory_limits or bound(busy, 2).seconds >= busy.seconds / 2


def test_the_first_model_is_what_others_are_held_against_on_each_board() -> None:
    first = one()
    slow = replace(one(slower=2.0), name="slow")
    (ratio,) = Predictions((first, slow), "a table", 45, 0.1, 0.05).ratios()
    assert (ratio.baseline, ratio.candidate) == ("net", "slow")
    assert ratio.theoretical == 1.0
    assert ratio.predicted == pytest.approx(0.5, rel=0.05)


def test_a_record_that_calls_itself_measured_is_refused() -> None:
    document = Predictions((one(),), "a table", 45, 0.1, 0.05).to_json()
    assert Predictions.from_json(document).to_json() == document
    for damaged in (
        {**document, "statement": "measured"},
        {**document, "models": [{**document["models"][0], "statement": "trusted"}]},
    ):
        with pytest.raises(DataError, match="statement"):
            Predictions.from_json(damaged)
    narrow = {**document["models"][0], "low_seconds": document["models"][0]["predicted_seconds"]}
    with pytest.raises(DataError, match="low_seconds"):
        Predictions.from_json({**document, "models": [narrow]})
