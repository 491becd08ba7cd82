"""The verb ``soak`` of the agent: models that take turns for minutes or hours."""

from __future__ import annotations

import os
import platform
import select
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from device_agent.errors import AgentError
from device_agent.run.fresh_process import call_child
from device_agent.verbs.models import CHILD_SECONDS, load_one

if TYPE_CHECKING:
    from device_agent.measuring.power import PowerMeter
    from device_agent.measuring.soak import Soaked
    from device_agent.record.soak import SoakedModel
    from device_agent.run.loaded import LoadedModel


def soak(options: Namespace) -> dict[str, Any]:
    """Measures models in turns for a long time: latency against temperature, clock and power; answers one record."""
    from device_agent.measuring.bench import set_inputs
    from device_agent.measuring.power import find_meter
    from device_agent.measuring.soak import Reading, SoakPlan, watching
    from device_agent.measuring.soak import soak as take_turns
    from device_agent.run.array_input import read_array
    from device_agent.run.conditions import pin_to_big_cores, read_conditions

    if not 0.0 < options.seconds < 86_400.0:
        raise AgentError("a soak takes some time", expected="more than 0 s and less than a day")
    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    options.threads = options.threads or len(cpus)
    inputs = read_array(options.inputs) if options.inputs else None
    models = [_memory_of(model, options) for model in options.models]
    agents = [load_one(model, options) for model in options.models]
    for agent in agents:
        set_inputs(agent, inputs)
        agent.model.invoke()
    meter = find_meter()
    started = time.time()
    found = take_turns(
        [agent.model.invoke for agent in agents],
        SoakPlan.of(options.seconds, len(agents)),
        lambda: watching(lambda: Reading(read_conditions(cpus), meter.read() if meter else None)),
        # The connection broke, or somebody pressed Ctrl-C: the board shall not go on heating for half an hour.
        abandoned=_nobody_reads,
    )
    return {"soak": record_of(agents, models, found, cpus, started, meter).to_json()}


def _nobody_reads() -> bool:
    """True where the other end of standard output is closed."""
    poll = select.poll()
    poll.register(1, 0)  # only what is told unasked: an error, a hang-up
    try:
        return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))
    except OSError:
        return False


def _memory_of(model: str, options: Namespace) -> SoakedModel:
    """What a fresh process says of the memory that the model alone takes."""
    from device_agent.record.soak import SoakedModel

    arguments = ["load", model, "--threads", str(options.threads), "--kernel", options.kernel]
    arguments.append("--base-memory")
    reply = call_child(arguments, CHILD_SECONDS)
    return SoakedModel(
        name=reply["model"],
        tflite_sha256=reply["tflite_sha256"],
        package_sha256=None,
        peak_memory_bytes=reply["peak_memory_bytes"],
        base_memory_bytes=reply["base_memory_bytes"],
    )


def record_of(
    agents: list[LoadedModel],
    models: list[SoakedModel],
    found: Soaked,
    cpus: tuple[int, ...],
    started: float,
    meter: PowerMeter | None,
) -> Any:
    """The record of a soak, a :class:`device_agent.record.soak.Soak`."""
    from dataclasses import replace

    from device_agent.record.soak import Soak

    idle = [reading.conditions for reading in found.idle]
    watts = [reading.watts for reading in found.idle if reading.watts is not None]
    last = idle[-1] if idle else None
    first = agents[0].model
    return Soak(
        models=tuple(
            replace(model, package_sha256=agent.package_sha256) for model, agent in zip(models, agents)
        ),
        turns=found.turns,
        threads=first.threads,
        cpus=cpus,
        runtime=first.identity.name,
        runtime_version=first.identity.version,
        delegate=first.delegate,
        numpy_version=first.identity.numpy_version,
        python_version=platform.python_version(),
        machine=os.uname().machine,
        started_unix_seconds=started,
        idle_celsius=last.temperature_celsius if last else None,
        idle_hz=last.frequency_hz if last else None,
        idle_watts=sum(watts) / len(watts) if watts else None,
        power_source=meter.source if meter else None,
        governor=last.governor if last else None,
        tells_throttling=last is not None and last.throttled is not None,
    )
