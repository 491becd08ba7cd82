"""The setup of a release after its health check: kernels are chosen, a quick start is made for those of
the runtime, and threads are chosen.

Neither may fail a deploy: where one does not work, the release runs without it, and the reason is reported.
"""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from device_agent.errors import AgentError, ArmletError
from device_agent.measuring import kernel_choice, threads
from device_agent.record.release import KernelChoice, KernelStarts, ThreadChoice
from device_agent.run.conditions import (
    pin_to_big_cores,
    read_available_memory,
    read_peak_memory,
    usable_cores,
)
from device_agent.run.fresh_process import call_child
from device_agent.run.installed import installed_runtime
from device_agent.run.kernels.delegate import CHOICE_VARIABLE, CHOICES, asked, find
from device_agent.store import quick_starts, scratch
from device_agent.store.store import board_store

if TYPE_CHECKING:
    from device_agent.record.release import Release
    from device_agent.run.loaded import LoadedModel
    from device_agent.run.runtime import Model
    from device_agent.store.quick_starts import QuickStart
    from device_agent.store.store import Store


#: A model whose inference takes longer is not prepared: the deploy would wait for it several times more.
MAX_INFERENCE_SECONDS = 10.0
#: A start that takes longer is not reported.
START_SECONDS = 60.0


def prepare(
    store: Store, release: Release, agent: LoadedModel, *, emulated: bool, inference_seconds: float = 0.0
) -> dict[str, Any]:
    """``agent`` is the release, loaded without a start and with the runtime's kernels, its inputs set.

    Answers ``threads``, ``kernels`` and ``start``, as JSON.
    """
    start: QuickStart | None = None
    kept: dict[str, Any] = {"kept": False, "reason": ""}
    if inference_seconds > MAX_INFERENCE_SECONDS:
        slow = f"an inference takes {inference_seconds:.0f} s, too long to run more of them in a deploy"
        return {
            "start": {**kept, "reason": slow},
            "threads": ThreadChoice(1, {}, slow).to_json(),
            "kernels": KernelChoice(reason=slow).to_json(),
        }
    kernels = _choose_kernels(agent, emulated)
    if kernels.kernels == "armlet" and not emulated:
        kernels = replace(kernels, starts=measure_starts(store, release))
    try:
        if kernels.kernels == "armlet":
            raise AgentError("the kernels of Armlet pack theirs at every start")
        start = agent.keep_start(store, release)
        kept = {
            "kept": True,
            "bytes": start.model.size + start.weights.size,
            "cold_seconds": start.cold_seconds,
            "warm_seconds": start.warm_seconds,
        }
    except (ArmletError, OSError, MemoryError) as error:
        kept["reason"] = str(error) or type(error).__name__
    if os.environ.get(scratch.VARIABLE):
        threads_chosen = ThreadChoice(1, {}, "not measured: who measures says how many")
    else:
        threads_chosen = _choose_threads(agent, start, kernels.kernels, emulated)
    return {"start": kept, "threads": threads_chosen.to_json(), "kernels": kernels.to_json()}


def _choose_kernels(agent: LoadedModel, emulated: bool) -> KernelChoice:
    """As asked for; by time where that is left to the agent. What is only to be measured runs as asked, too."""
    from device_agent.run.runtime import Model

    wanted = asked()
    if wanted == "runtime":
        return KernelChoice(reason="the runtime's were asked for")
    if find() is None:
        return KernelChoice(reason="there are no kernels of Armlet here")
    if wanted == "auto" and os.environ.get(scratch.VARIABLE):
        return KernelChoice(reason="the runtime's are measured where no others are asked for")
    if agent.model.is_stateful:
        return KernelChoice(reason="a model with a state of its own runs with the runtime's")
    needed, free = 2 * len(agent.model.tflite), read_available_memory()
    if free is not None and needed > free:
        return KernelChoice(reason="too little memory is free to try others")
    if wanted == "auto":
        pin_to_big_cores()
    chosen = kernel_choice.measure(
        agent.model, lambda: Model(bytes(agent.model.tflite), kernels="armlet"), times_count=not emulated
    )
    if wanted == "armlet" and not chosen.reason.startswith("not used"):
        return replace(chosen, kernels="armlet", reason=f"asked for; {chosen.reason}"[:300])
    return chosen


def measure_starts(store: Store, release: Release) -> KernelStarts | None:
    """Starts and memory with and without kernels of Armlet, in fresh processes; None where one fails, or memory is
    short. A deploy goes on without them."""
    peak, free = read_peak_memory(), read_available_memory()
    if peak is not None and free is not None and 2 * peak > free:
        return None
    try:
        arguments = ["--home", str(store.folder.parent), "load", release.id, "--release", "--cold"]
        alone, ours = (
            call_child(arguments, START_SECONDS, {CHOICE_VARIABLE: choice}) for choice in CHOICES[1:]
        )
        return KernelStarts(
            packed_bytes=ours["armlet_packed_bytes"],
            float_bytes=ours["armlet_float_bytes"],
            armlet_start_seconds=ours["start_seconds"],
            runtime_start_seconds=alone["start_seconds"],
            armlet_peak_bytes=ours["peak_memory_bytes"],
            runtime_peak_bytes=alone["peak_memory_bytes"],
        )
    except (ArmletError, OSError, MemoryError, KeyError):
        return None


def choose_kernels(options: Namespace) -> dict[str, Any]:
    """Chooses the kernels of a deployed release by times that were predicted for another board, where the deploy could
    not tell by its own; answers the choice. Raises StoreError where the name does not stand for that release, and
    AgentError where there is nothing to choose."""
    store = board_store()
    with store.locked():
        slot = store.slot(options.name)
        known = slot.kernels.get(options.release) if options.release in slot.releases else None
        if known is None or not known.undecided:
            raise AgentError(
                f"there are no kernels to choose for {options.name}",
                expected="a release whose deploy could not time them",
                found=options.release[:64] if known is None else known.reason,
            )
        chosen = kernel_choice.decide(
            known.undecided, options.runtime_seconds, options.armlet_seconds, options.predicted_for
        )
        store.remember_kernels(options.name, chosen.to_json(), options.release)
        if chosen.kernels == "armlet":  # which start without what was kept for the runtime's
            digest = store.release(options.release).package_sha256
            quick_starts.remove(store.starts / quick_starts.folder_name(digest, installed_runtime()))
    return chosen.to_json()


def _choose_threads(
    agent: LoadedModel, start: QuickStart | None, kernels: str, emulated: bool
) -> ThreadChoice:
    if emulated:
        return ThreadChoice(1, {}, "not measured: times of an emulated board say nothing")
    pin_to_big_cores()
    cores = usable_cores()
    # Without a start every candidate packs its weights into memory of its own.
    peak, free = read_peak_memory() or 0, read_available_memory()
    if start is None and free is not None:
        cores = max(1, min(cores, free // max(2 * peak, 1)))
    try:
        return threads.measure(_maker(agent, start, kernels), cores)
    except (ArmletError, MemoryError) as error:
        return ThreadChoice(1, {}, f"not measured: {error or type(error).__name__}")


def _maker(agent: LoadedModel, start: QuickStart | None, kernels: str) -> Callable[[int], Callable[[], None]]:
    def make(count: int) -> Callable[[], None]:
        from device_agent.run.quick_start_model import QuickStartModel
        from device_agent.run.runtime import Model

        model: Model = (
            Model(bytes(agent.model.tflite), threads=count, kernels=kernels)
            if start is None
            else QuickStartModel(start, threads=count)
        )
        for position in range(len(model.inputs)):
            model.set_input(agent.model.get_input(position), position)
        return model.invoke

    return make
