"""How many threads a model is best run with on this board, by measurement: big cores only, no more than there are.

A release is measured when it is activated (``device_agent.verbs.release_setup``) and the choice is kept in its
slot, with the samples.
"""

from __future__ import annotations

import time
from typing import Callable, Mapping, Sequence

import numpy as np

from device_agent.errors import ArmletError
from device_agent.record.release import ThreadChoice

#: Candidates that are less than this apart are a tie, and the one with fewer threads is taken: the others' cores are
#: left to somebody else.
TIE = 0.05
#: Rounds in which every candidate runs once; no further one begins after this many seconds.
MAX_ROUNDS = 15
MAX_SECONDS = 1.0
MAX_CANDIDATES = 8
#: A number of threads has at most this many samples in a record.
MAX_SAMPLES = 64


def candidates(cores: int) -> tuple[int, ...]:
    """Numbers of threads to try on this many cores: all up to 4, then even ones."""
    return tuple(n for n in range(1, cores + 1) if n <= 4 or n % 2 == 0)[:MAX_CANDIDATES]


def choose(samples: Mapping[int, Sequence[float]]) -> int:
    """The fewest threads whose median is within :data:`TIE` of the best median."""
    medians = {n: float(np.median(taken)) for n, taken in samples.items() if len(taken)}
    best = min(medians.values())
    return min(n for n, median in medians.items() if median <= best * (1.0 + TIE))


def measure(
    make: Callable[[int], Callable[[], None]],
    cores: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> ThreadChoice:
    """Times one inference on 1 to ``cores`` threads, in turn; ``make(n)`` gives what runs one on n threads.

    The first inference of each is not a sample. More threads than the runtime can be had with are left out.
    """
    if cores < 2:
        return ThreadChoice(1, {}, "one core to run on")
    invokes: dict[int, Callable[[], None]] = {}
    begun = clock()
    for n in candidates(cores):
        try:
            invokes[n] = make(n)
        except (ArmletError, MemoryError):
            if n == 1:
                raise
            break
        invokes[n]()
    samples: dict[int, list[float]] = {n: [] for n in invokes}
    for number in range(MAX_ROUNDS):
        if number and clock() - begun > MAX_SECONDS:
            break
        for n, invoke in invokes.items():
            start = clock()
            invoke()
            samples[n].append(clock() - start)
    chosen = choose(samples)
    medians = ", ".join(f"{n}: {np.median(taken) * 1e3:.3g} ms" for n, taken in samples.items())
    kept = {n: tuple(round(s, 7) for s in taken) for n, taken in samples.items()}
    return ThreadChoice(chosen, kept, f"medians by threads {medians}")
