"""How far a compression is, and what is left of it, is told by what its stages really take."""

from __future__ import annotations

import pytest

from sdk.compress.recipes.attempts import Settings
from sdk.compress.recipes.budget import shares, spent, stages
from sdk.compress.recipes.overall_progress import STEPS, Journey
from sdk.tools.progress import WHOLE


def reported(settings: Settings, lessons: int, checked: int) -> list[tuple[str, float]]:
    """(stage, share of the whole that is over) at the end of every stage of a training."""
    told: list[tuple[str, int, int]] = []
    names = stages("train", settings)
    journey = Journey(lambda *step: told.append(step), names, None, shares("train", lessons, checked))
    for name in names:
        journey(name, 1, 1)
    whole = [done / STEPS for stage, done, _ in told if stage == WHOLE]
    return list(zip(names, whole, strict=True))


@pytest.mark.parametrize(("epochs", "checked"), [(12, 5000), (1, 5000), (30, 400)])
def test_a_short_training_beside_a_long_check_takes_its_share_of_the_bar(epochs: int, checked: int) -> None:
    lessons = 2000 * epochs
    over = reported(Settings(effort="train"), lessons, checked)
    assert [name for name, _ in over] == ["check", "train", "pack", "check"]
    everything = lessons + 2 * checked
    assert over[0][1] == pytest.approx(checked / everything, abs=0.02)
    assert over[1][1] == pytest.approx((lessons + checked) / everything, abs=0.02)
    assert over[-1][1] == 1.0


@pytest.mark.parametrize("effort", ["calibrate", "train"])
def test_a_long_distillation_takes_its_share_of_the_bar(effort: str) -> None:
    settings = Settings(effort=effort, channels=0.25, distill_epochs=50)
    names = stages(effort, settings)
    assert names[:5] == ["check", "channels", "sensitivity", "solve", "distil"]
    told: list[float] = []
    durations = shares(effort, 1000 * (effort == "train"), 200, settings.distill_epochs)
    journey = Journey(
        lambda stage, done, _: told.append(done / STEPS) if stage == WHOLE else None, names, None, durations
    )
    for name in names[:4]:
        journey(name, 1, 1)
    solved = told[-1]
    journey("distil", 1, 2)
    half = told[-1]
    journey("distil", 2, 2)
    assert told[-1] - half == pytest.approx(half - solved, abs=0.01)
    assert 0.2 < solved < half < told[-1] < 1
    assert told[-1] - solved > 0.4
    assert "distil" not in stages(effort, Settings(effort=effort, channels=0.25))


def test_the_bar_does_not_jump_over_channels_where_a_share_that_fits_is_looked_for() -> None:
    names = stages("calibrate", Settings(fits=lambda graph: True, distill_epochs=50))
    told: list[float] = []
    journey = Journey(
        lambda stage, done, _: told.append(done / STEPS) if stage == WHOLE else None,
        names,
        None,
        shares("calibrate", 0, 200, 50),
    )
    for name in ("check", *("channels", "sensitivity", "channels") * 2):
        journey(name, 1, 1)
    assert told[-1] < 0.1
    journey("solve", 1, 1)
    journey("distil", 1, 1)
    assert 0.8 < told[-1] < 0.95


def test_other_efforts_keep_the_shares_that_their_stages_were_measured_to_have() -> None:
    assert shares("calibrate", 0, 5000) == shares("none", 0, 10)
    assert shares("calibrate", 0, 5000)["calibrate"] > 10 * shares("calibrate", 0, 5000)["check"]


def test_a_search_until_the_time_is_over_tells_how_much_of_it_is() -> None:
    left = iter([100.0, 75.0, 0.0])
    over = spent(Settings(seconds_left=lambda: next(left), study=object()))
    assert over is not None
    assert [over(), over()] == [0.25, 1.0]
    assert spent(Settings(seconds_left=lambda: 1.0)) is None
