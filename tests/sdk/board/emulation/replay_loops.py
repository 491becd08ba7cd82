"""Loops of a few opcodes, replayed natively through made-up cores whose times a person can work out."""

from __future__ import annotations

import ctypes
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.board.emulation.plugin import FLAGS, REPLAY, compiled
from sdk.board.emulation.replay.machine import CoreFigure, TimedBoard, TimedCore, timed_core

#: fmla v0.4s, v1.4s, v2.4s; v0 to v15 by way of :func:`fmla`.
FMLA = 0x4E22CC20
LDR_Q = 0x3DC00000  # ldr q0, [x0]
STR_Q = 0x3D800000  # str q0, [x0]
LDR_CHASE = 0xF9400000  # ldr x0, [x0]
ADD_CHAIN = 0x8B010000  # add x0, x0, x1
SUBS = 0xF1000442  # subs x2, x2, #1
B_NE = 0x54FFFFC1  # b.ne back


@dataclass(frozen=True)
class Op:
    """One instruction of a loop; a load or a store goes ``step`` bytes further in each iteration."""

    opcode: int
    address: int = 0
    step: int = 0
    size: int = 16


def fmla(accumulator: int) -> Op:
    """fmla v<accumulator>.4s, v30.4s, v31.4s."""
    return Op(0x4E3FCFC0 | accumulator)


def core(costs: str = "cortex-a57", *, in_order: bool = False, **figures: float) -> TimedCore:
    """A core whose every figure is easy to compute with."""
    easy: dict[str, float] = {
        "decode": 4, "dispatch": 16, "reorder": 128, "results": 0, "queue": 16, "mispredict": 10,
        "l1_kilobytes": 32, "l1_ways": 4,
        "l2_kilobytes": 512, "l2_ways": 8, "l2_latency": 20, "l2_cycles": 4, "l2_down": 4,
        "l3_kilobytes": 0, "l3_ways": 0, "l3_latency": 0, "l3_cycles": 0, "misses": 4, "streams": 0,
        "l1_ahead": 0, "l2_ahead": 0, "cross_pages": 1,
        "streaming": 0, "stores": 0, "scattered": 0, "physical_l1": 1,
        "tlb": 4096, "l2_tlb": 65536, "l2_tlb_latency": 0, "walk": 0, "dram_latency": 100,
    }  # fmt: skip
    values = {name: CoreFigure(value, "", "given", "made up") for name, value in {**easy, **figures}.items()}
    return TimedCore("easy", "Easy", costs, in_order, values)


def board(
    of: TimedCore | str, *, gigahertz: float = 1.0, gigabytes: float = 8.0, name: str = "easy"
) -> TimedBoard:
    """A board at 1 GHz, so that a nanosecond is a cycle."""
    return TimedBoard(name, timed_core(of) if isinstance(of, str) else of, gigahertz * 1e9, gigabytes * 1e9)


@functools.cache
def library(folder: Path) -> ctypes.CDLL:
    """The replay as a library of this machine."""
    source = REPLAY.with_name("replay.c")
    return ctypes.CDLL(str(compiled(source, (*FLAGS, "-DNATIVE"), folder)))


def replay(
    machine: str, loop: Sequence[Op], folder: Path, *, iterations: int = 1000, warm: int = 200
) -> dict[str, Any]:
    """What the replay says of the loop; raises ValueError with its message where it refuses the machine."""
    count = len(loop)
    answer = ctypes.create_string_buffer(1 << 16)
    failed = library(folder).replay_loop(
        machine.encode(),
        (ctypes.c_uint32 * count)(*(op.opcode for op in loop)),
        (ctypes.c_uint64 * count)(*(op.address for op in loop)),
        (ctypes.c_int64 * count)(*(op.step for op in loop)),
        (ctypes.c_uint32 * count)(*(op.size for op in loop)),
        count,
        ctypes.c_uint64(iterations),
        ctypes.c_uint64(warm),
        answer,
        len(answer),
    )
    if failed:
        raise ValueError(answer.value.decode())
    told: dict[str, Any] = json.loads(answer.value)
    return told
