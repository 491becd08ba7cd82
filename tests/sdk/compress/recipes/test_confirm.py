"""A loss that is promised is kept on images that no attempt saw, and what too few images can carry is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_agent.record.intervals import Interval
from sdk.compress.recipes import confirm
from sdk.compress.recipes.attempts import Attempts, Point, Settings
from sdk.compress.recipes.check import Checked, points_lost
from sdk.compress.recipes.confirm import cliff
from sdk.compress.recipes.parts import carrying, checked_parts, least_limit, parts_of, unseen
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.recipes.targets import compress
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
from tests.sdk.graph.small_graphs import labelled_noise, small_network

LIMIT = 1.0


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network(channels=16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Dataset:
    return labelled_noise(tmp_path_factory.mktemp("data") / "noise.npz", graph, 300)


def test_every_image_that_nothing_was_learned_from_is_checked_on_once(dataset: Dataset) -> None:
    for samples in (100, 300):
        parts = parts_of(dataset, samples, None, compared=True)
        apart = (parts.learn, parts.choosing, parts.confirming)
        assert all(part is not None for part in apart)
        together = np.concatenate([part.indices for part in apart if part is not None])
        assert sorted(together) == sorted(dataset.indices)
    alone = parts_of(dataset, 100, None, compared=False)
    assert alone.choosing is not None
    assert len(alone.choosing) == 200
    assert alone.confirming is None


def test_images_of_their_own_are_all_checked_on(dataset: Dataset) -> None:
    learn, other = dataset.subset(range(100)), dataset.subset(range(100, 300))
    parts = parts_of(learn, 1000, other, compared=True)
    assert parts.hold_out == 0
    assert parts.learn is not None
    assert len(parts.learn) == 100
    assert parts.images == 100
    assert unseen(learn, learn) is None


def test_where_a_half_is_too_few_for_the_limit_all_are_one_part(dataset: Dataset) -> None:
    parts = checked_parts(dataset, compared=True)
    assert least_limit(150) > 2.0 > least_limit(300)
    assert carrying(parts, 5.0) is parts
    whole = carrying(parts, 2.0)
    assert whole.confirming is None
    assert whole.images == 300


def checked(rng: np.random.Generator, share: float, images: int) -> Checked:
    """A check of a network that loses a ``share`` of answers net: 3 % more come and go."""
    drawn = rng.random(images)
    lost = (drawn < share + 0.03).astype(float) - (drawn > 0.97)
    return Checked(None, 0.0, 0.0, points_lost(lost))


def made_up(rng: np.random.Generator, shares: dict[int, float], images: int) -> Attempts:
    """Attempts of packages of these sizes, checked on this many images to choose on."""
    attempts = Attempts.__new__(Attempts)
    attempts.wanted, attempts.curve, attempts.kept = Settings(max_loss=LIMIT), [], []
    attempts.parts = SimpleNamespace(choosing=range(images), confirming=range(images))  # type: ignore[assignment]
    for size, share in shares.items():
        lost = checked(rng, share, images).lost
        attempts.keep(size, Point(Recipe(), size, None, 0.0, 0.0, 0.0, lost))  # type: ignore[arg-type]
    return attempts


def taken(attempts: Attempts, rng: np.random.Generator, shares: dict[int, float], images: int) -> Any:
    """The size of the package that is taken, and whether it is confirmed."""

    def check(size: Any) -> Checked:
        return checked(rng, shares[size], images)

    (_, point), _, failed = confirm._sequence(attempts, check, LIMIT)  # type: ignore[arg-type]  # noqa: SLF001
    return point.package_bytes, failed is None


def test_a_limit_is_seldom_exceeded_however_many_attempts_are_near_it() -> None:
    rng = np.random.default_rng(0)
    shares = {1000 - 10 * n: 0.001 * n for n in range(14)}  # up to 1.3 points
    found = [taken(made_up(rng, shares, 4000), rng, shares, 4000) for _ in range(300)]
    promised = [size for size, met in found if met]
    assert len(promised) > 100
    assert sum(100 * shares[size] > LIMIT for size in promised) <= 0.05 * len(found)


def test_the_smallest_that_is_confirmed_is_taken() -> None:
    rng = np.random.default_rng(1)
    shares = {1000: 0.0, 900: 0.0005, 800: 0.001, 700: 0.05}
    found = [taken(made_up(rng, shares, 20_000), rng, shares, 20_000) for _ in range(20)]
    assert set(found) == {(800, True)}


def test_where_nothing_keeps_it_what_loses_least_is_nearest() -> None:
    rng = np.random.default_rng(2)
    shares = {1000: 0.03, 900: 0.05, 800: 0.08}
    assert taken(made_up(rng, shares, 5000), rng, shares, 5000) == (1000, False)


def test_what_too_few_images_carry_is_said(graph: Graph, dataset: Dataset, tmp_path: Path) -> None:
    result = compress(graph, check=dataset, settings=Settings(max_loss=0.5))
    assert not result.target_met
    assert len(result.curve) == 1
    assert "300 images carry no limit below" in result.statement
    assert result.images == 300
    wide = compress(graph, check=dataset, settings=Settings(max_loss=25.0))
    assert wide.target_met
    assert "confirmed on 150 images" in wide.statement
    assert "with 95 % confidence" in wide.statement
    assert wide.lost is not None
    assert wide.lost.high <= 25.0


def at(size: int, lost: float, effort: str = "calibrate", half: float = 1.0) -> Point:
    return Point(Recipe(effort=effort), size, lost=Interval(lost, lost - half, lost + half))


def test_the_last_size_before_the_fall_is_named_whatever_the_order() -> None:
    curve = [at(16_000, 32.0), at(29_000, 0.5), at(22_000, 11.0), at(60_000, 0.1)]
    assert cliff(curve) == (
        "the metric falls off below 29,000 bytes: 0.5 points are lost there, 11.0 at 22,000"
    )


def test_a_slope_a_chance_and_another_effort_are_no_cliff() -> None:
    assert cliff([at(40_000, 1.0), at(20_000, 5.0), at(10_000, 10.0)]) == ""
    assert cliff([at(29_000, 0.5, half=8.0), at(22_000, 11.0, half=8.0)]) == ""
    assert cliff([at(29_000, 0.5), at(22_000, 11.0, effort="train")]) == ""
    assert cliff([Point(Recipe(), 100), Point(Recipe(), 50)]) == ""
