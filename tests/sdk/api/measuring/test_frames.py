"""A run as a data frame."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

import sdk
from sdk.errors import DataError
from tests.sdk.report import made_up_runs

pandas = pytest.importorskip("pandas")


def test_every_sample_has_its_loading_and_its_turn(tmp_path) -> None:
    run = made_up_runs.report()
    run = replace(run, again=run.models[0].measurements)
    sdk.write_run(run, tmp_path / "run.json")
    frame = sdk.samples_frame(tmp_path / "run.json")
    pandas.testing.assert_frame_equal(frame, sdk.samples_frame(run))
    assert list(frame.columns) == [
        *("model", "self_test", "threads", "loading", "turn", "turn_begun", "sample", "seconds")
    ]
    timed = run.models[1].parallel[0]
    own = frame[(frame.model == "narrow") & (frame.threads == 4)]
    np.testing.assert_array_equal(own.seconds, timed.samples_seconds)
    assert own.loading.nunique() == timed.loadings
    sizes = own.groupby(["loading", "turn"]).size()
    assert sizes.tolist() == [turn.samples for turn in timed.turns]
    assert len(frame[frame.self_test]) == sum(len(m.samples_seconds) for m in run.again)
    # The median of a report follows from it.
    turns = own.groupby(["loading", "turn"]).seconds.median()
    levels = turns.groupby("loading").median()
    assert np.exp(np.log(levels).mean()) == pytest.approx(timed.median)


def test_a_record_without_turns_is_one_turn() -> None:
    run = made_up_runs.report()
    models = tuple(replace(m, measurement=replace(m.measurement, turns=()), parallel=()) for m in run.models)
    frame = sdk.samples_frame(replace(run, models=models))
    assert set(frame.loading) == set(frame.turn) == {0}


def test_without_pandas_it_is_said_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"armlet\[frames\]"):
        sdk.samples_frame(made_up_runs.report())
