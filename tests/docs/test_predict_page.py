"""docs/predict.md: its table is the one that intervals are taken from, its figures are the code's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from statistics import median

from benchmarks.predict import litert
from benchmarks.predict.boards import MOST_CYCLES_APART, compared, cycles_apart, read_boards
from benchmarks.predict.networks import NETWORKS
from benchmarks.predict.table import elsewhere
from benchmarks.predict.validation import KEPT, kept_validation
from sdk.api.measuring.predictions import read_validation
from sdk.board.emulation.replay.machine import timed_core, tomllib
from sdk.explain.run import PREDICTED
from sdk.explain.speed.predictions import MEMORY_DECIDES
from sdk.explain.speed.validation import LIKELY
from tests.docs.predict_table import PAGE, filled


def test_intervals_are_taken_from_the_kept_run_of_this_method() -> None:
    assert read_validation() == kept_validation(), "python -m tests.docs.predict_table"


def test_a_board_at_an_unknown_clock_is_in_no_figure_but_its_own() -> None:
    every = read_boards()
    unknown = {name for name, board in every.items() if not board.clock_known}
    assert unknown
    assert set(every) - unknown == set(compared(every)) == {cell.board for cell in read_validation().cells}
    table, record = read_validation(), json.loads(KEPT.read_text("utf-8"))
    errors = elsewhere(table, record, {name: every[name] for name in unknown})
    assert len(errors) == 8 * 7 * len(unknown)
    # Half as fast as was predicted, and yet one latency of theirs brings the others near.
    assert median(errors) < 0.12


def test_what_is_published_alone_says_which_boards_ran_at_another_clock() -> None:
    every = read_boards()
    apart = {name: cycles_apart(name, every) for name in every}
    slow = {name for name, times in apart.items() if times >= MOST_CYCLES_APART}
    assert slow == {"rk3588-2022-05", "rk3588-a55-2022-05"}
    # No choice of a limit decides it: the others are far from it.
    assert max(times for name, times in apart.items() if name not in slow) < 1.1
    assert min(apart[name] for name in slow) > 1.4
    # A board that is measured at half its clock is told, whichever it is, where others have its core.
    for name, board in every.items():
        half = replace(board, milliseconds={n: 3 * ms for n, ms in board.milliseconds.items()})
        alone = sum(other.core == board.core for other in every.values()) == 1
        assert alone or cycles_apart(name, {**every, name: half}) >= MOST_CYCLES_APART or apart[name] < 0.44


def test_its_table_is_that_of_the_package() -> None:
    page = PAGE.read_text("utf-8")
    assert filled(page) == page, "python -m tests.docs.predict_table"
    assert "| rpi4" in page


def test_litert_is_predicted_for_every_published_latency_and_no_bound_lies_above_what_was_measured() -> None:
    boards, record = litert.read_litert_boards(), json.loads(litert.KEPT.read_text("utf-8"))
    wanted = {
        litert.key_of(network, board, runtime)
        for board in boards.values()
        for runtime in litert.RUNTIMES
        for network in board.networks(runtime)
    }
    assert set(record["runs"]) == wanted
    cells, bounds = litert.cells_of(record, boards), litert.bounds_of(record, boards)
    assert (len(cells), len(bounds)) == (16, 10)
    seen = {(cell.board, cell.network) for cell in cells if not cell.is_test}
    assert seen == {("pixel2", "mobilenet_v1"), ("pixel2", "mobilenet_v2")}
    assert all(cell.peak < cell.predicted for cell in cells)
    assert all(one.bound <= one.published for one in bounds)


def test_every_figure_of_the_phones_has_a_source_and_their_cores_are_described() -> None:
    told = tomllib.loads((litert.FOLDER / "litert.toml").read_text("utf-8"))
    for entry in told.values():
        assert timed_core(entry["core"]).title == entry["core"]
        assert all(entry[f"{of}source"] for of in ("", "core_", "clock_", "memcpy_", "cache_"))


def test_its_figures_are_those_of_the_code() -> None:
    page = re.sub(r"\s+", " ", PAGE.read_text("utf-8"))
    assert PREDICTED in page
    assert f"{100 * MEMORY_DECIDES:.0f} % of the time or more waits for DRAM" in page
    assert "the {:.0f}th to the {:.0f}th percentile".format(*(100 * share for share in LIKELY)) in page


def test_int8_networks_hand_on_int8_where_those_of_ncnns_benchmark_do() -> None:
    whole, _ = NETWORKS["mobilenet_int8"]()
    squeezed, _ = NETWORKS["squeezenet_int8"]()
    assert [whole.count(f" 8={kind}\n") for kind in (101, 102, 2)] == [13, 13, 2]
    assert [squeezed.count(f" 8={kind}\n") for kind in (102, 2)] == [8, 18]
