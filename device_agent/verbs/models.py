"""The verbs of the agent that run models: each takes parsed options and returns its answer."""

from __future__ import annotations

import base64
import io
import os
import random
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence

from device_agent.errors import AgentError
from device_agent.record.wire import finite
from device_agent.run.array_input import MAX_ARRAY_BYTES, json_line_from_stdin, read_array, read_rows
from device_agent.run.fresh_process import call_child
from device_agent.run.kernels.delegate import RUNTIME_ALONE
from device_agent.store.store import board_store

if TYPE_CHECKING:
    import numpy as np

    from device_agent.measuring.bench import ColdStart, LoadingPlan
    from device_agent.record.measurement import Measurement
    from device_agent.run.loaded import LoadedModel

#: No more models than this are timed in one call.
MAX_TIMED_MODELS = 4096
#: A fresh process may take this long to start, and to decode and run its models once.
CHILD_SECONDS = 600.0


def run(options: Namespace) -> dict[str, Any]:
    """Predicts for the inputs of an .npy file; answers one output (count, ...) float32 as .npy, and the seconds."""
    import numpy as np

    if options.all:
        return _run_all(options)
    agent = _load(options)
    inputs = read_array(options.inputs)
    start = time.perf_counter()
    outputs = _each_apart(agent, inputs, options.output)
    seconds = time.perf_counter() - start
    buffer = io.BytesIO()
    np.save(buffer, outputs, allow_pickle=False)
    answer: dict[str, Any] = {}
    if options.outputs == "-":
        answer["outputs_npy_base64"] = base64.b64encode(buffer.getbuffer()).decode("ascii")
    else:
        path = Path(options.outputs)
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(buffer.getbuffer())
        os.replace(temporary, path)
    return {
        **answer,
        "model": agent.name,
        "count": inferences(inputs, agent),
        "seconds": seconds,
        "outputs_shape": list(outputs.shape),
        "tflite_sha256": agent.tflite_sha256,
        "decode_seconds": agent.decode_seconds,
        "decode_kernel": agent.kernel,
        **_runtime_json(agent),
    }


def predict(options: Namespace) -> dict[str, Any]:
    """Answers what a model says of one image, an .npy file, as a program that embeds it gets it; and the seconds."""
    from device_agent.run.agent import Agent

    image = read_array(options.inputs)
    agent = Agent(
        options.model, threads=options.threads, kernel=options.kernel, top=options.top, reload="never"
    )
    with agent:
        start = time.perf_counter()
        found = agent.predict(image, threshold=options.threshold)
        seconds = time.perf_counter() - start
        if isinstance(found, list):
            raise AgentError("one image is taken", expected="no batch", found=f"{len(found)} of them")
        outputs = [list(output.shape) for output in found.outputs]
        said: dict[str, Any] = finite(found.to_json())
        return {**said, "task": found.task, "outputs": outputs, "model": agent.name, "seconds": seconds}


def _run_all(options: Namespace) -> dict[str, Any]:
    """Every output of every case, as .npy files one behind the other; cases follow one another in one model.

    With ``--apart`` a model with a state forgets the case before.
    """
    import numpy as np

    from device_agent.tensors.rows import write_row

    agent = _load(options)
    inputs = read_rows()
    cases = {len(array) if array.ndim else 0 for array in inputs}
    if len(cases) != 1 or not min(cases):
        raise AgentError("the inputs are not of as many cases each", found=str(sorted(cases))[:80])
    start = time.perf_counter()
    rows = []
    for i in range(min(cases)):
        if options.apart and i:
            agent.model.reset()
        rows.append(list(agent.model.run_all([array[i] for array in inputs]).values()))
    seconds = time.perf_counter() - start
    if any([a.shape for a in row] != [a.shape for a in rows[0]] for row in rows):
        raise AgentError("the shape of an output depends on the input", hint="Ask for one case at a time.")
    data = write_row([np.stack([row[i] for row in rows]) for i in range(len(rows[0]))])
    return {
        "outputs_npy_base64": base64.b64encode(data).decode("ascii"),
        "model": agent.name,
        "seconds": seconds,
        "tflite_sha256": agent.tflite_sha256,
        "decode_seconds": agent.decode_seconds,
        "decode_kernel": agent.kernel,
        **_runtime_json(agent),
    }


def _each_apart(agent: LoadedModel, inputs: np.ndarray, output: int) -> np.ndarray:
    """One output (n, ...) for inputs (n, ...), each a case of its own: a model with a state forgets the one before."""
    import numpy as np

    if not agent.model.is_stateful or inferences(inputs, agent) < 2:
        return agent.predict(inputs, output)
    found = []
    for row in inputs:
        agent.model.reset()
        found.append(agent.predict(row, output))
    return np.stack(found)


def inferences(inputs: np.ndarray, agent: LoadedModel) -> int:
    """How many inferences ``agent.predict(inputs)`` takes: n for inputs (n, ...), 1 for one without its leading 1."""
    shape = agent.model.inputs[0].shape
    return 1 if inputs.ndim < len(shape) else inputs.shape[0] // shape[0]


def _runtime_json(agent: LoadedModel) -> dict[str, Any]:
    model = agent.model
    armlet = model.armlet_operators()
    return {
        "threads": model.threads,
        "runtime": model.identity.name,
        "runtime_version": model.identity.version,
        "delegate": model.delegate,
        "armlet_operators": len(armlet),
        "armlet_packed_bytes": sum(operator.packed_bytes for operator in armlet),
        "armlet_float_bytes": sum(operator.float_bytes for operator in armlet),
    }


def bench(options: Namespace) -> dict[str, Any]:
    """Measures models in several loadings, as many inferences and seconds as asked for; answers a record per model."""
    from device_agent.measuring import bench as measuring
    from device_agent.measuring.loadings import BenchPlan, measure_loadings, plan_loadings
    from device_agent.run.conditions import pin_to_big_cores

    if options.min_samples < 1 or not options.max_seconds > 0.0 or not options.max_warmup_seconds >= 0.0:
        raise AgentError("there is nothing to measure", expected="1 sample or more, and more than 0 s")
    if options.precision is not None and not options.precision > 0.0:
        raise AgentError("nothing is as precise as that", expected="a share above 0, such as 0.01")
    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    options.threads = options.threads or len(cpus)
    cold_starts, start_seconds = ([], 0.0) if options.no_starts else _starts(options)
    # An emulated board shows that a model runs there, not how fast: once is enough.
    loadings = 1 if options.emulated else options.loadings
    plan = BenchPlan(
        options.min_samples, options.max_seconds, options.max_warmup_seconds, loadings, options.precision
    )
    if loadings == 1:
        _, of_each = plan_loadings(plan, len(options.models), 0.0)
        found = _measure_here(options, of_each, cpus, None)
    else:
        found = measure_loadings(
            _in_a_process(options, time.monotonic()), plan, len(options.models), start_seconds
        )
    if cold_starts:
        found = tuple(measuring.with_start(record, cold) for record, cold in zip(found, cold_starts))
    return {"measurements": [record.to_json() for record in found]}


def _starts(options: Namespace) -> tuple[list[ColdStart], float]:
    """The start of each model in fresh processes, and how many seconds a process with all of them takes to start."""
    begun = time.monotonic()
    cold_starts = [_cold_start(model, options) for model in options.models]
    # A process with all models starts as one with one does, but for the models themselves.
    count = sum(1 + (c.start == "warm") + (c.runtime_start_seconds is not None) for c in cold_starts)
    process = (time.monotonic() - begun) / count
    return cold_starts, process + sum(cold.start_seconds or 0.0 for cold in cold_starts[1:])


def _measure_here(
    options: Namespace, plan: LoadingPlan, cpus: Sequence[int], since: float | None
) -> tuple[Measurement, ...]:
    """One loading of each model, in this process; in a new random order, since where each lies depends on it."""
    from device_agent.measuring import bench as measuring

    inputs = read_array(options.inputs) if options.inputs else None
    agents = {}
    for position in random.sample(range(len(options.models)), len(options.models)):
        agents[position] = load_one(options.models[position], options)
        measuring.set_inputs(agents[position], inputs)
    return measuring.measure_loading(
        [agents[position] for position in range(len(options.models))],
        plan,
        cpus=cpus,
        emulated=options.emulated,
        since=since,
    )


def _in_a_process(options: Namespace, since: float) -> Callable[[LoadingPlan], Sequence[Measurement]]:
    """What measures one loading of each model in a fresh process, which keeps to the CPUs of this one."""
    from device_agent.record.measurement import Measurement
    from device_agent.record.schema import read

    def measure(plan: LoadingPlan) -> list[Measurement]:
        arguments = [
            "loading",
            *options.models,
            "--threads",
            str(options.threads),
            "--kernel",
            options.kernel,
        ]
        arguments += ["--inputs", options.inputs] if options.inputs else []
        for name, value in vars(plan).items():
            arguments += [f"--{name.replace('_', '-')}", repr(value)]
        limit = CHILD_SECONDS + 10.0 * len(options.models) * (plan.max_seconds + plan.max_warmup_seconds)
        reply = call_child([*arguments, "--since", repr(since)], limit)
        return [read(Measurement, record, error=AgentError) for record in reply["measurements"]]

    return measure


def loading(options: Namespace) -> dict[str, Any]:
    """Measures one loading of each model in this process; answers a record per model. What ``bench`` calls."""
    from device_agent.measuring.bench import LoadingPlan

    plan = LoadingPlan(options.samples, options.rounds, options.max_seconds, options.max_warmup_seconds)
    options.emulated = False
    records = _measure_here(options, plan, tuple(sorted(os.sched_getaffinity(0))), options.since)
    return {"measurements": [record.to_json() for record in records]}


def _cold_start(model: str, options: Namespace) -> ColdStart:
    from device_agent.measuring.bench import ColdStart

    arguments = ["load", model, "--threads", str(options.threads), "--kernel", options.kernel]
    reply = call_child(arguments, CHILD_SECONDS)
    warm = reply["start"] == "warm"
    cold = call_child([*arguments, "--cold"], CHILD_SECONDS) if warm else None
    alone: dict[str, Any] = {}
    if reply["armlet_operators"] and not options.emulated:
        alone = call_child([*arguments, "--cold"], CHILD_SECONDS, RUNTIME_ALONE)
    return ColdStart(
        # What a package takes to decode is asked for whether or not a start needs it.
        (cold or reply)["decode_seconds"],
        (cold or reply)["decode_kernel"],
        reply["init_seconds"],
        reply["first_seconds"],
        reply["peak_memory_bytes"],
        reply["start"],
        reply["start_seconds"],
        cold["start_seconds"] if cold else None,
        alone.get("start_seconds"),
        alone.get("peak_memory_bytes"),
    )


def load(options: Namespace) -> dict[str, Any]:
    """Loads a model and runs it once; answers what that took, in seconds and bytes."""
    from device_agent.measuring.bench import set_inputs
    from device_agent.run.conditions import read_peak_memory
    from device_agent.run.loaded import LoadedModel
    from device_agent.run.runtime import find_runtime

    base = None
    if options.base_memory:
        find_runtime()  # else it is imported while the model is loaded, and counts as a part of the start
        base = read_peak_memory()
    cpu = time.process_time()
    if options.release:
        store = board_store()
        how: dict[str, Any] = {"threads": options.threads, "kernel": options.kernel, "warm": not options.cold}
        agent = LoadedModel.of_release(store, store.release(options.model), **how)
    else:
        agent = load_one(options.model, options, warm=not options.cold)
    cpu = time.process_time() - cpu
    set_inputs(agent)
    start = time.perf_counter()
    agent.model.invoke()
    first_seconds = time.perf_counter() - start
    return {
        "model": agent.name,
        "tflite_sha256": agent.tflite_sha256,
        "decode_seconds": agent.decode_seconds,
        "decode_kernel": agent.kernel,
        "init_seconds": agent.model.init_seconds,
        "start": agent.start,
        "start_seconds": agent.start_seconds,
        "start_cpu_seconds": cpu,
        "first_seconds": first_seconds,
        "peak_memory_bytes": read_peak_memory(),
        "base_memory_bytes": base,
        **_runtime_json(agent),
    }


def profile(options: Namespace) -> dict[str, Any]:
    """Times the operators of models; answers one profile per model."""
    from device_agent.measuring import profiler
    from device_agent.run.conditions import pin_to_big_cores, read_available_memory

    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    plan = profiler.ProfilePlan(options.max_inferences, options.max_seconds)
    loaded = [load_one(model, options) for model in options.models]
    # The profiler is the runtime's and sees its kernels alone; those of Armlet have times of their own.
    agents = [agent for agent in loaded if not agent.model.armlet_operators()]
    # Together where two copies of all of them fit well into the memory, else one after the other.
    needed = 4 * sum(len(agent.model.tflite) for agent in agents)
    free = read_available_memory()
    groups = [agents] if free is not None and needed <= free / 2 else [[agent] for agent in agents]
    profiles: dict[int, Any] = {}  # by agent
    for group in groups:
        found = profiler.profile(group, plan, cpus=cpus, emulated=options.emulated) if group else []
        profiles.update(zip((id(agent) for agent in group), found))
    for agent in loaded:
        if id(agent) not in profiles:
            profiles[id(agent)] = profiler.profile_armlet(agent, plan, cpus=cpus, emulated=options.emulated)
    return {"profiles": [profiles[id(agent)].to_json() for agent in loaded]}


def time_models(options: Namespace) -> dict[str, Any]:
    """Times models that are not deployed, and between them the deployed one ``--beside``, where it is asked for.

    Standard input: a JSON list of their sizes, a line; then their bytes.
    """
    from device_agent.measuring import profiler
    from device_agent.measuring.bench import LoadingPlan
    from device_agent.run.conditions import pin_to_big_cores, read_frequency
    from device_agent.run.runtime import find_runtime

    sizes = json_line_from_stdin()
    if not isinstance(sizes, list) or len(sizes) > MAX_TIMED_MODELS or not all(type(n) is int for n in sizes):
        raise AgentError("`time` reads a list of sizes", expected=f"at most {MAX_TIMED_MODELS} whole numbers")
    if any(n < 0 for n in sizes) or sum(sizes) > MAX_ARRAY_BYTES:
        raise AgentError("the models are too large", expected=f"at most {MAX_ARRAY_BYTES} bytes in all")
    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    plan = LoadingPlan(
        options.min_samples, max_seconds=options.max_seconds, max_warmup_seconds=options.max_seconds
    )
    beside = None
    if options.beside is not None:
        options.kernel = "auto"
        seconds = options.max_seconds * len(sizes)
        beside = profiler.Beside(load_one(options.beside, options), seconds=seconds)
    times, clocks = [], []
    for number, size in enumerate(sizes):
        data = sys.stdin.buffer.read(size)
        if len(data) != size:
            raise AgentError("the models end early", expected=f"{size} bytes", found=f"{len(data)} bytes")
        times.append(profiler.time_model(data, plan, threads=options.threads))
        clocks.append(read_frequency(cpus))  # at once, while the core is still at work's clock
        if beside is not None:
            beside.catch_up((number + 1) / len(sizes))
    identity, _ = find_runtime()
    return {
        "times": times,
        "beside": None if beside is None else beside.times(),
        "threads": options.threads,
        "cpus": list(cpus),
        "frequency_hz": max((hertz for hertz in clocks if hertz is not None), default=None),
        "runtime": identity.name,
        "runtime_version": identity.version,
        "machine": os.uname().machine,
    }


def _load(options: Namespace) -> LoadedModel:
    return load_one(options.model, options)


def load_one(model: str, options: Namespace, *, warm: bool = True) -> LoadedModel:
    """A model in memory, with the threads and the decoder that a call asks for."""
    from device_agent.run.loaded import LoadedModel

    store = board_store()
    return LoadedModel.load(model, threads=options.threads, kernel=options.kernel, store=store, warm=warm)
