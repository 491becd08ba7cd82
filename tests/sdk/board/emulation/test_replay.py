"""The timing model on loops whose time is known: ports, latencies, forwarding, caches, bandwidth, branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sdk.board.emulation.replay.forms import group_of, read_groups
from sdk.board.emulation.replay.machine import (
    TimedBoard,
    cost_table,
    machine_text,
    read_cores,
    timed_core,
)
from sdk.board.emulation.userland import cache_folder
from sdk.errors import BoardError
from tests.sdk.board.emulation.replay_loops import (
    ADD_CHAIN,
    B_NE,
    LDR_CHASE,
    LDR_Q,
    STR_Q,
    SUBS,
    Op,
    board,
    core,
    fmla,
    replay,
)

Cycles = Callable[..., float]
ITERATIONS = 1000


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the library is compiled, once for all runs of the tests."""
    pytest.importorskip("ziglang", reason="no compiler")
    return cache_folder().parent / "plugins"


@pytest.fixture(scope="module")
def cycles(folder: Path) -> Cycles:
    """Cycles of one iteration of a loop on a board."""

    def per_iteration(of: TimedBoard, loop: Sequence[Op]) -> float:
        told = replay(machine_text([of]), loop, folder, iterations=ITERATIONS)
        return float(told["boards"][0]["cycles"]) / ITERATIONS

    return per_iteration


@pytest.fixture(scope="module")
def counted(folder: Path) -> Callable[..., dict[str, Any]]:
    """All that is counted of a loop on a board."""

    def of_board(of: TimedBoard, loop: Sequence[Op], **how: int) -> dict[str, Any]:
        told: dict[str, Any] = replay(machine_text([of]), loop, folder, iterations=ITERATIONS, **how)[
            "boards"
        ][0]
        return told

    return of_board


@pytest.mark.parametrize(
    ("name", "latency"), [("Cortex-A57", 4), ("Cortex-A72", 3), ("Cortex-A76", 2), ("Cortex-A55", 4)]
)
def test_additions_to_one_register_wait_for_each_other_and_no_longer(cycles: Cycles, name: str, latency: int):
    assert cycles(board(name), [fmla(0)]) == pytest.approx(latency, abs=0.05)


@pytest.mark.parametrize(
    ("name", "a_cycle"), [("Cortex-A53", 1), ("Cortex-A55", 1), ("Cortex-A72", 1), ("Cortex-A76", 2)]
)
def test_independent_multiply_accumulates_reach_the_peak_of_the_core(cycles: Cycles, name: str, a_cycle: int):
    assert 16 / cycles(board(name), [fmla(i) for i in range(16)]) == pytest.approx(a_cycle, rel=0.02)


def test_a_chain_of_additions_takes_a_cycle_each_on_every_core(cycles: Cycles):
    for name in read_cores():
        assert cycles(board(name), [Op(ADD_CHAIN)] * 4) == pytest.approx(4, abs=0.05), name


def test_a_pointer_chase_takes_the_latency_of_the_level_that_holds_it(
    cycles: Cycles, counted: Callable[..., Any]
):
    easy = board(core())
    assert cycles(easy, [Op(LDR_CHASE, 0x10000, 0, 8)]) == pytest.approx(4, abs=0.1)  # L1
    # 97 lines apart: no prefetcher, never the same line; memory's 100 cycles behind the 4 of the load
    chased = counted(easy, [Op(LDR_CHASE, 0x10000, 64 * 97, 8)])
    assert chased["cycles"] / ITERATIONS == pytest.approx(104, rel=0.03)
    assert chased["dram"] > 0.95 * chased["cycles"]
    assert chased["dram_bytes"] == 64 * ITERATIONS


def test_a_loop_over_what_l2_holds_takes_its_latency(folder: Path):
    # 64 lines of one set of L1 (4 ways), all of them in L2: every load misses L1 and hits L2
    easy = machine_text([board(core())])
    loop = [Op(LDR_CHASE, 0x100000 + 8192 * i, 0, 8) for i in range(8)]
    told = replay(easy, loop, folder, iterations=500)["boards"][0]
    assert told["cycles"] / 500 / 8 == pytest.approx(24, rel=0.05)
    assert told["dram_bytes"] == 0
    assert told["l2"] > 0.9 * told["cycles"]


def test_streaming_loads_are_bound_by_the_bus_with_a_prefetcher_and_by_misses_without(cycles: Cycles):
    stream = [Op(LDR_Q, 0x100000, 16)]
    alone = cycles(board(core()), stream) * 4  # a line: four misses at a time, 100 cycles each
    assert alone == pytest.approx(100 / 4, rel=0.1)
    ahead = core(streams=4, l1_ahead=4, l2_ahead=16)
    assert cycles(board(ahead), stream) * 4 == pytest.approx(64 / 8, rel=0.1)  # 64 bytes at 8 bytes a cycle
    assert cycles(board(ahead, gigabytes=4), stream) * 4 == pytest.approx(64 / 4, rel=0.1)


def test_lines_written_whole_are_not_read_and_lines_written_in_turns_are(counted: Callable[..., Any]):
    whole = [Op(STR_Q, 0x100000 + 16 * i, 64) for i in range(4)]
    in_turns = [Op(STR_Q, 0x100000 + (i << 24) + 64 * 13 * i, 16) for i in range(8)]
    for loop, streaming, lines in (
        (whole, 0, 2 * ITERATIONS),  # read, and written back
        (whole, 3, ITERATIONS),
        (in_turns, 3, 2 * 8 * ITERATIONS // 4),  # now and then a stream begins, and one line in part ends it
    ):
        easy = board(core(streaming=streaming, misses=16, l2_kilobytes=32))
        assert counted(easy, loop, warm=3000)["dram_bytes"] / 64 == pytest.approx(lines, rel=0.08), (
            streaming,
            lines,
        )


def test_stores_that_miss_fill_their_buffer_and_then_the_core_waits(cycles: Cycles):
    far = [Op(STR_Q, 0x100000, 64 * 97)]
    bus = 2 * 64 / 8  # a line comes and another goes, 8 bytes a cycle
    assert cycles(board(core(misses=4)), far) < bus + 1
    assert cycles(board(core(misses=4, stores=4)), far) == pytest.approx(100 / 4, rel=0.1)


def test_l3_holds_what_has_left_l2_and_nothing_twice(counted: Callable[..., dict[str, Any]]):
    # 24 kB read again and again: neither L2 nor L3 holds them alone, both together do
    again = [Op(LDR_Q, 0x100000 + 64 * i, 0) for i in range(24 * 16)]
    caches = {"l1_kilobytes": 4, "l2_kilobytes": 16, "l3_ways": 16, "l3_latency": 40, "l3_cycles": 2}
    both = counted(board(core(**caches, l3_kilobytes=16)), again, warm=20)
    alone = counted(board(core(**{**caches, "l3_ways": 0}, l3_kilobytes=0)), again, warm=20)
    assert both["dram_bytes"] == 0
    assert alone["dram_bytes"] > 0


def test_without_an_l2_of_its_own_a_core_waits_for_the_cache_that_all_share(cycles: Cycles):
    one_set = [Op(LDR_CHASE, 0x100000 + 8192 * i, 0, 8) for i in range(8)]  # of 4 ways of the first cache
    shared = core(l2_kilobytes=0, l3_kilobytes=512, l3_ways=16, l3_latency=40, l3_cycles=2)
    assert cycles(board(shared), one_set) / 8 == pytest.approx(44, rel=0.05)


@pytest.mark.parametrize(("costs", "held"), [("neoverse-n1", 16), ("cortex-a57", 8)])
def test_what_waits_for_two_pipes_has_the_room_of_both(cycles: Cycles, costs: str, held: int):
    # 8 places at a pipe: 16 operations of one pipe each, 8 of two (Cortex-A57 splits 128 bits). A load that misses is
    # seen by the core only where all that waits for the one before it found a place.
    far = Op(LDR_Q, 0x100000, 64 * 97)
    use = Op(0x4E20D41E)  # fadd v30.4s, v0.4s, v0.4s

    def of(waiting: int) -> float:
        wide = core(costs, queue=8, reorder=512, dispatch=16, decode=16, misses=8)
        return cycles(board(wide, gigabytes=64), [far, *[use] * waiting])

    assert of(held - 1) < 0.7 * of(held + 2)


def test_pages_in_no_order_share_no_set_unless_the_first_cache_is_found_by_addresses(cycles: Cycles):
    one_set = [Op(LDR_CHASE, 0x100000 + 8192 * i, 0, 8) for i in range(8)]  # of 4 ways
    in_order, scattered, virtual = (
        cycles(board(core(scattered=scattered, physical_l1=physical)), one_set) / 8
        for scattered, physical in ((0, 1), (1, 1), (1, 0))
    )
    assert in_order == pytest.approx(24, rel=0.05)
    assert scattered < 0.9 * in_order
    assert virtual == pytest.approx(in_order, rel=0.02)


def test_the_reorder_buffer_bounds_how_many_misses_overlap(cycles: Cycles):
    far = [Op(LDR_Q, 0x100000 + (i << 24), 64 * 97) for i in range(4)]
    work = [Op(ADD_CHAIN)] * 28
    wide = cycles(board(core(misses=16, reorder=512)), [*far, *work])
    narrow = cycles(board(core(misses=16, reorder=8)), [*far, *work])
    assert narrow > 2 * wide


def test_results_in_flight_bound_how_many_misses_overlap_and_wide_ones_take_twice_the_room(cycles: Cycles):
    ldr_d = 0xFD400000
    far = [(i << 24) + 0x100000 for i in range(8)]

    def of(load: int, results: int) -> float:
        wide = core("cortex-a72", misses=16, reorder=512, results=results)
        return cycles(board(wide, gigabytes=64), [Op(load, place, 64 * 97) for place in far])

    assert of(LDR_Q, 4) == pytest.approx(2 * 100, rel=0.1)  # four of the eight at a time
    assert of(ldr_d, 4) == pytest.approx(100, rel=0.1)
    assert of(LDR_Q, 0) < 0.6 * of(LDR_Q, 4)


@pytest.mark.parametrize(
    ("opcode", "a_cycle"),
    [
        (0x4EBF87C0, 1.5),  # add v0.4s, v30.4s, v31.4s: 128 bits take two of three places of dispatch
        (0x0E212BE0, 2.0),  # xtn v0.8b, v31.8h
        (0x0E3FC3C0, 1.0),  # smull v0.8h, v30.8b, v31.8b
        (0x4E9F3BC0, 1.5),  # zip1 v0.4s, v30.4s, v31.4s
        (0x4E21DBC0, 0.5),  # scvtf v0.4s, v30.4s
        (0x0F08A7C0, 1.0),  # sshll v0.8h, v30.8b, #0
        (0x4E3FF7C0, 1.5),  # fmax v0.4s, v30.4s, v31.4s
        (0x4EBF9FC0, 0.5),  # mul v0.4s, v30.4s, v31.4s
        (0x4D60C000, 0.6),  # ld2r { v0.16b, v1.16b }, [x0]
        (0x4C408000, 0.37),  # ld2 { v0.16b, v1.16b }, [x0]
        (0x4C002800, 1 / 12),  # st1 { v0.4s, v1.4s, v2.4s, v3.4s }, [x0]
    ],
)
def test_cortex_a72_issues_as_often_as_was_measured(cycles: Cycles, opcode: int, a_cycle: float):
    # github.com/ocxtal/insn_bench_aarch64, results/nxp_lx2160a_a72.md
    kind = (opcode >> 24) & 0x3F
    loop = [Op(opcode | i, 0x10000) if kind in (0x0C, 0x0D) else Op(opcode | i) for i in range(12)]
    assert len(loop) / cycles(board("Cortex-A72"), loop) == pytest.approx(a_cycle, rel=0.03)


def test_cortex_a73_loads_twice_a_cycle_unless_it_is_128_bits(cycles: Cycles):
    # decoding two a cycle, the loop itself included
    assert cycles(board("Cortex-A73"), [Op(0xFD400000, 0x10000, 0, 8)] * 12) == pytest.approx(6, rel=0.03)
    assert cycles(board("Cortex-A73"), [Op(LDR_Q, 0x10000)] * 12) == pytest.approx(12, rel=0.03)
    assert cycles(board("Cortex-A72"), [Op(0xFD400000, 0x10000, 0, 8)] * 12) == pytest.approx(12, rel=0.03)


@pytest.mark.parametrize(
    ("name", "bytes_a_cycle"), [("Cortex-A57", 8), ("Cortex-A72", 8), ("Cortex-A73", 5.5)]
)
def test_a_core_reads_its_second_cache_as_fast_as_was_measured(folder: Path, name: str, bytes_a_cycle: float):
    loads = [Op(LDR_Q | i % 16, 0x100000 + 16 * i) for i in range(1 << 13)]  # 128 kB again and again
    told = replay(machine_text([board(name)]), loads, folder, iterations=4, warm=2)["boards"][0]
    assert 16 * len(loads) * 4 / told["cycles"] == pytest.approx(bytes_a_cycle, rel=0.05)


def test_an_in_order_core_waits_where_one_out_of_order_goes_on(cycles: Cycles):
    use = Op(0x4E20D400)  # fadd v0.4s, v0.4s, v0.4s: needs the load
    loop = [Op(LDR_Q, 0x10000), use, *[fmla(i) for i in range(8, 12)]]
    in_order = cycles(board(core(in_order=True, decode=2, dispatch=2)), loop)
    assert in_order > cycles(board(core(decode=2, dispatch=4)), loop)


def test_a_loop_is_predicted_and_what_alternates_by_chance_is_not(folder: Path):
    told = replay(machine_text([board(core())]), [Op(SUBS), Op(B_NE)], folder)
    assert told["boards"][0]["mispredictions"] <= 2
    assert told["branches"] == 1000


def test_parts_add_up_to_the_cycles(counted: Callable[..., dict[str, Any]]):
    for name in read_cores():
        told = counted(
            board(name), [Op(LDR_Q, 0x100000, 64), *[fmla(i) for i in range(4)], Op(SUBS), Op(B_NE)]
        )
        parts = sum(told[p] for p in ("compute", "l1", "l2", "dram", "branch", "dispatch"))
        assert parts == pytest.approx(told["cycles"], abs=2), name


def test_the_same_twice_and_the_same_beside_other_boards(folder: Path):
    loop = [Op(LDR_Q, 0x100000, 48), fmla(1), fmla(2), Op(SUBS), Op(B_NE)]
    a72, a53 = board("Cortex-A72", name="a"), board("Cortex-A53", name="b")
    alone = replay(machine_text([a72]), loop, folder)["boards"][0]
    assert replay(machine_text([a72]), loop, folder)["boards"][0] == alone
    assert replay(machine_text([a72, a53]), loop, folder)["boards"][0] == alone


# -- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({c.costs for c in read_cores().values()}))
def test_every_form_of_every_table_has_a_price_and_ports_that_exist(name: str):
    table = cost_table(name)
    groups = {group.name: group for group in read_groups()}
    assert sum(len(forms) for forms in table.forms.values()) > 4000
    for group, forms in table.forms.items():
        assert max(forms) < groups[group].forms, group
        assert max(forms.values()) < len(table.prices), group
    for micro, latency, adding, _, ports in table.prices:
        assert 1 <= micro <= 32
        assert adding <= latency <= 60
        assert {unit for units, _ in ports for unit in units} <= set(table.units)


def test_an_opcode_belongs_to_one_group_and_its_form_spreads_back():
    groups = read_groups()
    for opcode, name in (
        (0x4E22CC20, "same_fmla"), (0x4F829020, "lane"), (0x4F821020, "lane_fmla"), (0x3DC00441, "ldr_v_imm"),
        (0xACC10420, "ldp_v_back"), (0x4CDFA000, "ld1x2_post"), (0xD65F03C0, "br"), (0x4F82E020, "lane_dot"),
        (0x0E400C20, "half_fmla"), (0x8B030041, "addsub_plain"), (0xF9800000, "prfm_imm"),
    ):  # fmt: skip
        place = group_of(opcode, groups)
        assert place is not None
        assert groups[place].name == name, hex(opcode)
        form = groups[place].form_of(opcode)
        assert groups[place].spread(form) == opcode & (groups[place].mask | groups[place].key)


def test_every_core_has_every_figure_with_its_unit_and_source():
    names = set(timed_core("Cortex-A72").figures)
    for described in read_cores().values():
        assert set(described.figures) == names, described.title
        for figure in described.figures.values():
            assert figure.kind in ("published", "measured", "estimated")
            assert figure.unit
            assert figure.source


# -- what is refused -----------------------------------------------------------------------------------------------


def test_an_unknown_core_is_refused_with_those_that_are_known():
    with pytest.raises(BoardError, match=r"Cortex-A72.*Cortex-M4"):
        timed_core("Cortex-M4")
    with pytest.raises(BoardError, match="lacks its value"):
        read_cores('[x]\ntitle = "X"\ncosts = "cortex-a57"\nin_order = false\ndecode = { value = 2 }')
    with pytest.raises(BoardError, match="damaged"):
        cost_table("made-up", "units A\ncost 0: one 2 3")
    with pytest.raises(BoardError, match="too many boards"):
        machine_text([board("Cortex-A72")] * 17)
    with pytest.raises(BoardError, match="no clock"):
        machine_text([board("Cortex-A72", gigahertz=0)])


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "board x decode=-1",
        "board x decode=1e300",
        "board x reorder=100000",
        "board x colour=3",
        "group x",
        "group x 0 0 0 r:Q@0",
        "group x 0 0 0 r:V@0*99",
        "price 1 1 1 0 1*1",
        "forms 99999 0",
        "board " + "x" * 500,
        "",
    ],
)
def test_a_machine_that_is_not_one_is_refused(folder: Path, line: str):
    with pytest.raises(ValueError, match="not understood"):
        replay(line, [fmla(0)], folder)


def test_any_opcode_is_replayed_and_what_has_no_price_is_counted(folder: Path):
    told = replay(machine_text([board("Cortex-A72")]), [Op(0xFFFFFFFF), Op(0), Op(0x4E22CC20)], folder)
    assert told["unknown"] == 2 * 1000
