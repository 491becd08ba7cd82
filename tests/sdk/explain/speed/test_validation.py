"""An interval states the method's own error, as the table has it, and is never narrower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.predict.table import covered
from sdk.api.measuring.predictions import read_validation
from sdk.explain.speed.validation import NetworkKind, Validation, ValidationCell, scaled_by

PLAIN = NetworkKind(memory_decides=False, int8=False)
MEMORY = NetworkKind(memory_decides=True, int8=False)


def cell(factor: float, **changed: object) -> ValidationCell:
    """A network that took ``factor`` times what was predicted."""
    plain = ValidationCell("net", "board", "Cortex-A72", "ncnn", "float32", 0.01, 0.01 * factor, True, False)
    return replace(plain, **changed)  # type: ignore[arg-type]


def test_eight_of_ten_cells_lie_in_their_interval() -> None:
    table = read_validation()
    inside = [
        found.low <= one.factor <= found.high
        for one in table.cells
        for found in [table.likely(one.core, one.kind)]
    ]
    assert np.mean(inside) >= 0.8
    # A table without the board, as for one that nobody has seen.
    for measured in (False, True):
        assert np.mean(covered(table, measured=measured)) >= 0.78
    # A board that is not in the table, and cells of a table that errs to one side: the prediction itself is inside.
    assert table.likely("Cortex-X9", PLAIN).low <= 1.0 <= table.likely("Cortex-X9", PLAIN).high
    late = Validation("made up", tuple(cell(1.2 + 0.01 * n) for n in range(10)))
    assert late.likely("Cortex-A72", PLAIN).low == 1.0
    assert late.likely("Cortex-A72", PLAIN).high > 1.25


def test_an_interval_is_as_wide_as_that_of_its_own_core_and_kind() -> None:
    cells = [cell(1.0 + 0.01 * n) for n in range(20)]
    cells += [cell(2.0, core="Cortex-A53", board="other"), cell(2.1, core="Cortex-A53", board="other")]
    cells += [cell(2.2, core="Cortex-A53", board="other")]
    table = Validation("made up", tuple(cells))
    assert table.likely("Cortex-A53", PLAIN).high > 2.0 > table.likely("Cortex-A72", PLAIN).high
    slow = Validation("made up", (*cells[:20], *(cell(3.0, memory_decides=True) for _ in range(3))))
    assert slow.likely("Cortex-A72", MEMORY).high == 3.0
    assert slow.likely("Cortex-A72", PLAIN).high < 3.0
    unseen = Validation("made up", (*cells[:20], *(cell(1.6, looked_at=False) for _ in range(3))))
    assert unseen.likely("Cortex-A72", PLAIN).high == pytest.approx(1.6)


def test_one_measured_model_takes_off_what_the_cells_of_a_board_have_in_common() -> None:
    boards = {"fast": 0.8, "slow": 1.3, "other": 1.0}
    cells = [cell(off * (1 + 0.01 * n), board=board) for board, off in boards.items() for n in range(5)]
    table = Validation("made up", tuple(cells))
    without, with_one = table.likely("Cortex-A72", PLAIN), table.likely("Cortex-A72", PLAIN, PLAIN)
    assert without.high > 1.3
    assert 0.95 < with_one.low < 1.0 < with_one.high < 1.05
    assert with_one.median_error < 0.03 < without.median_error
    # Pair by pair: each other cell of the board was the measured one once.
    assert with_one.cells == 15
    # Nothing of that kind was measured: the pairs of all kinds are all that is known.
    assert table.likely("Cortex-A72", MEMORY, MEMORY).high == with_one.high


def test_of_a_measured_factor_others_take_over_what_networks_of_other_boards_have_in_common() -> None:
    def boards(*factors: tuple[float, float]) -> tuple[ValidationCell, ...]:
        return tuple(cell(factor, board=str(n)) for n, pair in enumerate(factors) for factor in pair)

    alike = Validation("made up", boards((0.8, 0.8), (1.3, 1.3), (1.1, 1.1)))
    assert alike.in_common() == pytest.approx(1.0)
    # Of each pair one network errs twice as much as the other, as logarithms.
    half = Validation("made up", boards((1.2**2, 1.2), (1.1, 1.1**2), (0.9**2, 0.9)))
    assert 0.3 < half.in_common() < 1.0
    # What networks of a board have nothing of in common is not taken over, and no power turns it round.
    apart = Validation("made up", boards((0.8, 1.25), (1.25, 0.8), (1.1, 0.9)))
    assert apart.in_common() == 0.0
    assert all(factor == cell.factor for cell, _, factor in apart.with_one_measured())
    # The board itself does not count, so that it is judged as one that nobody has seen.
    odd = Validation("made up", (*alike.cells, *(cell(f, board="odd") for f in (0.2, 5.0))))
    assert odd.in_common("odd") == alike.in_common()
    left = [factor for own, _, factor in odd.with_one_measured() if own.board == "odd"]
    assert left == pytest.approx([0.2 / 5.0, 5.0 / 0.2])
    assert Validation("made up", (cell(1.2), cell(0.9, board="other"))).in_common() == 1.0


def test_of_several_measured_models_more_is_taken_over_than_of_one() -> None:
    assert scaled_by([1.5], 0.6) == pytest.approx(1.5**0.6)
    assert scaled_by([1.5, 1.5], 0.6) == pytest.approx(1.5**0.75)
    assert 1.5**0.9 < scaled_by([1.5] * 10, 0.6) < 1.5
    assert scaled_by([2.0, 0.5], 0.6) == pytest.approx(1.0)
    assert scaled_by([1.2, 1.5], 1.0) == pytest.approx((1.2 * 1.5) ** 0.5)
    assert scaled_by([1.2, 1.5], 0.0) == 1.0


def test_what_lies_beyond_every_latency_of_the_table_is_taken_over_whole() -> None:
    table = Validation("made up", (cell(0.8), cell(1.4, board="slow"), cell(1.1, board="other")))
    assert table.seen() == (0.8, 1.4)
    assert table.seen("slow") == (0.8, 1.1)
    assert Validation("made up", (cell(1.2), cell(1.4), cell(1.3))).seen() == (1.0, 1.4)
    for inside in (0.8, 1.0, 1.2, 1.4):
        assert scaled_by([inside], 0.6, table.seen()) == pytest.approx(inside**0.6)
    # Twice as slow as the slowest of the table, and as the fastest of it: it runs at another clock.
    assert scaled_by([2.8], 0.6, table.seen()) == pytest.approx(2.0 * 1.4**0.6)
    assert scaled_by([0.4], 0.6, table.seen()) == pytest.approx(0.5 * 0.8**0.6)
    assert scaled_by([2.8, 2.8], 0.6, table.seen()) == pytest.approx(2.0 * 1.4**0.75)
    # A board that nobody has seen is judged by what others show.
    three = (cell(1.2, board="a"), cell(1.0, board="a"), cell(2.4), cell(2.4))
    left = [
        factor for own, _, factor in Validation("made up", three).with_one_measured() if own.board == "board"
    ]
    power = Validation("made up", three).in_common("board")
    assert left == pytest.approx([1.2 / 1.2**power] * 2)


def test_one_measurement_taken_over_in_part_is_better_on_the_table_than_taken_over_whole() -> None:
    pairs = read_validation().with_one_measured()
    errors = [
        np.median([abs(1 / left - 1) for left in factors])
        for factors in (
            [factor for _, _, factor in pairs],
            [own.factor / other.factor for own, other, _ in pairs],
            [own.factor for own, _, _ in pairs],
        )
    ]
    assert errors[0] < min(errors[1:])
    assert read_validation().error_with_one_measured() == errors[0] <= 0.07
    assert Validation("made up", (cell(1.2), cell(0.9, board="b"))).error_with_one_measured() == 0.0


def test_the_table_is_read_from_the_package() -> None:
    table = read_validation()
    assert Validation.from_json(table.to_json()) == table
    assert table.likely("Cortex-A72", PLAIN).cells == len(table.cells) > 10
    plain = [table.likely("Cortex-A72", PLAIN, measured) for measured in (None, PLAIN)]
    assert plain[1].high / plain[1].low < plain[0].high / plain[0].low
