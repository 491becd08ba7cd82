"""Whether a model runs faster with the kernels of Armlet than with the runtime's alone, by measurement on this board.

A release is measured when it is activated (``device_agent.verbs.release_setup``) and the choice is kept in its slot.
On an emulated board the host predicts both times and tells them. Kernels that are not clearly faster, do not load or do
not agree with the runtime are not used.
"""

from __future__ import annotations

import time
from typing import Callable

import numpy as np

from device_agent.errors import AgentError, ArmletError
from device_agent.record.release import KernelChoice
from device_agent.run.runtime import Model

#: The kernels of Armlet must take less than this share of the runtime's time: they start up more slowly.
CLEARLY_FASTER = 0.95
#: Rounds in which both run, in turns; no further one begins after this many seconds.
MAX_ROUNDS = 15
MAX_SECONDS = 2.0
#: Outputs may differ by this share of the largest value: float sums in another order, over many layers.
MAX_DIFFERENCE = 1e-3


def require_same_answers(plain: Model, ours: Model) -> None:
    """Runs both on the inputs of the first; raises AgentError where their outputs differ by more than rounding."""
    for position in range(len(plain.inputs)):
        ours.set_input(plain.get_input(position), position)
    plain.invoke()
    ours.invoke()
    for position, info in enumerate(plain.outputs):
        expected, found = plain.get_output(position), ours.get_output(position)
        if expected.shape != found.shape or expected.dtype != found.dtype:
            raise AgentError("an output has another shape", found=f"output {info.name}: {found.shape}")
        if expected.dtype.kind != "f":
            continue  # of whole numbers one may turn where two scores are as good as equal
        largest = float(np.max(np.abs(expected), initial=0.0))
        difference = float(np.max(np.abs(expected - found), initial=0.0))
        if not difference <= MAX_DIFFERENCE * max(largest, 1e-6):
            raise AgentError(
                "the kernels of Armlet give other answers than the runtime",
                expected=f"a difference of at most {MAX_DIFFERENCE * largest:.3g}",
                found=f"{difference:.3g} in output {info.name}",
            )


def measure(
    plain: Model,
    make: Callable[[], Model],
    *,
    times_count: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> KernelChoice:
    """The faster of the runtime alone (``plain``, its inputs set) and of what ``make`` gives.

    Without ``times_count`` (an emulated board) nothing is timed, and the runtime stays until :func:`decide` is told
    predicted times. Never raises ArmletError: the reason says what is wrong.
    """
    try:
        ours = make()
        operators = len(ours.armlet_operators())
        if not operators:
            return KernelChoice(reason="no layer has zeros enough for the kernels of Armlet")
        require_same_answers(plain, ours)
    except (ArmletError, MemoryError) as error:
        return KernelChoice(reason=f"not used: {error or type(error).__name__}"[:300])
    if not times_count:
        return KernelChoice(
            reason="not measured: times of an emulated board say nothing", undecided=operators
        )
    samples: tuple[list[float], list[float]] = ([], [])
    begun = clock()
    for number in range(MAX_ROUNDS):
        if number and clock() - begun > MAX_SECONDS:
            break
        for model, taken in zip((plain, ours), samples):
            start = clock()
            model.invoke()
            taken.append(clock() - start)
    return decide(operators, float(np.median(samples[0])), float(np.median(samples[1])))


def decide(operators: int, theirs: float, own: float, predicted_for: str = "") -> KernelChoice:
    """The clearly faster of the runtime alone, which takes ``theirs`` seconds, and of these operators in the kernels
    of Armlet, with which it takes ``own``; ``predicted_for``: the board that these seconds are predicted for."""
    faster = own < CLEARLY_FASTER * theirs
    told = f"{own * 1e3:.3g} ms instead of {theirs * 1e3:.3g} ms"
    return KernelChoice(
        "armlet" if faster else "runtime",
        operators if faster else 0,
        theirs,
        own,
        f"{operators} operators in kernels of Armlet: {told}"
        + (f", predicted for {predicted_for}" if predicted_for else ""),
        predicted_for,
    )
