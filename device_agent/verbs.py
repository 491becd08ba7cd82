"""The verbs of the agent: each takes parsed options and returns what is answered. See ``__main__`` for the list."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import platform
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, cast

import device_agent
from device_agent import signature
from device_agent.child import call_child
from device_agent.errors import AgentError, ArmletError, RuntimeUnavailable, SignatureError, StoreError
from device_agent.health import unfit
from device_agent.inputs import MAX_ARRAY_BYTES, json_line_from_stdin, read_array
from device_agent.installed import installed_runtime
from device_agent.release import MAX_BLOBS, Release, Slot
from device_agent.store import Store, default_home

if TYPE_CHECKING:
    import numpy as np

    from device_agent.loaded import LoadedModel

# numpy and the runtime are imported where they are needed: `missing` and `install` of what is there already
# answer before numpy would have been imported on a slow board.

#: No more models than this are timed in one call.
MAX_TIMED_MODELS = 4096


def _store() -> Store:
    return Store(default_home() / "store")


def status(options: Namespace) -> dict[str, Any]:
    store = _store()
    answer: dict[str, Any] = {
        "agent_version": device_agent.__version__,
        "python_version": platform.python_version(),
        "machine": os.uname().machine,
        "runtime": None,
        "runtime_version": None,
        "numpy_version": None,
        "requires_signatures": signature.policy_of(default_home()) is not None,
        "releases": [slot_json(store, store.slot_or_fresh(name)) for name in store.names()],
    }
    try:
        from device_agent.runtime import find_runtime

        identity, _ = find_runtime()
        answer.update(
            runtime=identity.name, runtime_version=identity.version, numpy_version=identity.numpy_version
        )
    except (RuntimeUnavailable, ImportError) as error:
        answer["runtime_problem"] = str(error)
    return answer


def slot_json(store: Store, slot: Slot) -> dict[str, Any]:
    """A slot with the size and digest of its current package; those are None where its manifest is damaged."""
    record = slot.to_json()
    record.pop("schema")
    try:
        current = store.release(slot.current) if slot.current else None
    except StoreError:
        current = None
    record["package_sha256"] = current.package_sha256 if current else None
    record["package_bytes"] = current.size if current else None
    return record


def missing(options: Namespace) -> dict[str, Any]:
    digests = json_line_from_stdin()
    if not isinstance(digests, list) or len(digests) > MAX_BLOBS:
        raise AgentError("`missing` reads a list of SHA-256", found=type(digests).__name__)
    store = _store()
    lacking = store.blobs.missing(digests)
    runs = proved = False
    if options.release and not lacking:
        with store.locked():
            runs = _runs_as_it_should(store, options.name, options.release)
            proved = runs and _was_checked_here(store, options.name, options.release)
            if proved:
                store.collect()  # a deploy that was cut after it confirmed has not done so
    return {
        "missing": list(lacking),
        "partial": store.blobs.partial(lacking),
        "current": proved,
        "recheck": runs and not proved,
    }


def _runs_as_it_should(store: Store, name: str, release_id: str) -> bool:
    """Whether a release is current, whole, and signed as this board wants it: then there is nothing to do."""
    slot = store.slot_or_fresh(name)
    if slot.current != release_id or slot.trial is not None or not store.has_release(release_id):
        return False
    release = store.release(release_id)
    try:
        require_signature(store, release)
    except SignatureError:
        return False  # `install` says so
    return not store.blobs.missing(release.blobs)


def _was_checked_here(store: Store, name: str, release_id: str) -> bool:
    """Whether a release passed its health check under the runtime that this process would use."""
    return store.slot_or_fresh(name).checked_under.get(release_id) == installed_runtime()


def install(options: Namespace) -> dict[str, Any]:
    """One lock around all of it, so that two deploys cannot mix; the old release answers the whole time.

    Standard input: the line {"release": manifest, "blobs": [[sha256, size, offset], ...]}, then the bytes of those
    blobs, each from its offset on (what `missing` said had arrived of it).
    """
    header = json_line_from_stdin()
    if not isinstance(header, dict) or not isinstance(header.get("blobs"), list):
        raise AgentError("`install` reads a release and a list of blobs", found=repr(header)[:80])
    release = Release.from_bytes(json.dumps(header.get("release")).encode())
    blobs = []
    for blob in header["blobs"]:
        if not isinstance(blob, list) or len(blob) != 3 or not all(type(n) is int for n in blob[1:]):
            raise AgentError("a blob is a SHA-256, a size and an offset", found=repr(blob)[:80])
        if not 0 <= blob[2] <= blob[1]:
            raise AgentError("a blob begins before its end", found=repr(blob)[:120])
        blobs.append((blob[0], blob[1], blob[2]))
    store = _store()
    answer: dict[str, Any] = {"name": release.name, "release": release.id, "check": None, "reason": ""}
    with store.locked():
        store.blobs.receive(cast(io.BufferedIOBase, sys.stdin.buffer), blobs)
        try:
            require_signature(store, release)
        except SignatureError as error:
            with contextlib.suppress(StoreError):  # a full disk must not hide the refusal
                store.refused(release.name, release.id, str(error))
            store.collect()  # what was sent for nothing
            raise
        runs = _runs_as_it_should(store, release.name, release.id)
        if runs and _was_checked_here(store, release.name, release.id):
            store.collect()
            return {**answer, "state": "unchanged"}
        slot = store.slot_or_fresh(release.name)
        store.add_release(release)
        store.begin_trial(release.id)
        answer["check"], answer["reason"] = _check_in_child(release.id, options.check_seconds)
        if answer["check"] is not None:
            answer["reason"] = unfit(
                answer["check"],
                old_seconds=slot.inference_seconds.get(slot.current or ""),
                max_seconds=options.max_inference_seconds,
                max_memory_bytes=options.max_memory_bytes,
            )
        if answer["reason"]:
            store.revert(release.name, answer["reason"])
            state = "reverted"
        elif options.keep_on_trial and not runs:
            store.passed(release.name, answer["check"]["inference_seconds"], installed_runtime())
            state = "trial"
        else:
            store.confirm(release.name, answer["check"]["inference_seconds"], installed_runtime())
            state = "unchanged" if runs else "confirmed"
        store.collect()
    return {**answer, "state": state}


def require_signature(store: Store, release: Release) -> None:
    """Raises SignatureError unless the package of a release is signed as this board wants it, if it does."""
    allowed_signers = signature.policy_of(default_home())
    if allowed_signers is None:
        return
    if release.signature_sha256 is None:
        raise SignatureError(
            "this board takes signed packages only",
            expected=f"a signature by a key of its {signature.ALLOWED_SIGNERS}",
            found="none",
            hint="`sdk sign PACKAGE` makes one; then deploy again.",
        )
    signature.verify(store.read_package(release), store.blobs.path(release.signature_sha256), allowed_signers)


def _check_in_child(release_id: str, limit_seconds: float) -> tuple[dict[str, Any] | None, str]:
    """The answer of the health check, or why it failed. In a child, since a runtime may crash or hang on a model."""
    try:
        reply = call_child(["check", release_id], limit_seconds)
    except ArmletError as error:
        return None, str(error)
    return reply, ""


def check(options: Namespace) -> dict[str, Any]:
    from device_agent import health

    store = _store()
    return health.check(store, store.release(options.release), threads=options.threads, kernel=options.kernel)


def confirm(options: Namespace) -> dict[str, Any]:
    store = _store()
    with store.locked():
        slot = store.slot(options.name)
        if slot.trial is not None:
            require_signature(store, store.release(slot.trial))
        return slot_json(store, store.confirm(options.name))


def rollback(options: Namespace) -> dict[str, Any]:
    store = _store()
    with store.locked():
        slot = store.slot(options.name)
        if options.only_from and slot.current != options.only_from:
            return {**slot_json(store, slot), "rolled_back": False}
        if slot.previous is not None:
            require_signature(store, store.release(slot.previous))
        slot = store.rollback(options.name, options.reason, or_to_nothing=options.or_to_nothing)
        return {**slot_json(store, slot), "rolled_back": True}


def forget(options: Namespace) -> dict[str, Any]:
    store = _store()
    with store.locked():
        for name in options.names:
            store.forget(name)
        return {"names": options.names, "freed_bytes": store.collect()}


def run(options: Namespace) -> dict[str, Any]:
    import numpy as np

    agent = _load(options)
    inputs = read_array(options.inputs)
    start = time.perf_counter()
    outputs = agent.predict(inputs)
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


def inferences(inputs: np.ndarray, agent: LoadedModel) -> int:
    """How many inferences ``agent.predict(inputs)`` takes."""
    shape = agent.model.inputs[0].shape
    return 1 if inputs.ndim < len(shape) else inputs.shape[0] // shape[0]


def _runtime_json(agent: LoadedModel) -> dict[str, Any]:
    model = agent.model
    return {
        "threads": model.threads,
        "runtime": model.identity.name,
        "runtime_version": model.identity.version,
        "delegate": model.delegate,
    }


def bench(options: Namespace) -> dict[str, Any]:
    from device_agent import bench as measuring
    from device_agent.conditions import pin_to_big_cores

    if options.min_samples < 1 or not options.max_seconds > 0.0 or not options.max_warmup_seconds >= 0.0:
        raise AgentError("there is nothing to measure", expected="1 sample or more, and more than 0 s")
    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    options.threads = options.threads or len(cpus)
    inputs = read_array(options.inputs) if options.inputs else None
    cold_starts = [_cold_start(model, options) for model in options.models]
    agents = []
    for model in options.models:
        agent = _load_one(model, options)
        measuring.set_inputs(agent, inputs)
        agents.append(agent)
    plan = measuring.Plan(options.min_samples, options.max_seconds, options.max_warmup_seconds)
    records = measuring.measure(agents, cold_starts, plan, cpus=cpus, emulated=options.emulated)
    return {"measurements": [record.to_json() for record in records]}


def _cold_start(model: str, options: Namespace) -> Any:
    from device_agent.bench import ColdStart

    arguments = ["load", model, "--threads", str(options.threads), "--kernel", options.kernel]
    reply = call_child(arguments, 600.0)
    return ColdStart(
        reply["decode_seconds"], reply["init_seconds"], reply["first_seconds"], reply["peak_memory_bytes"]
    )


def load(options: Namespace) -> dict[str, Any]:
    from device_agent.bench import set_inputs
    from device_agent.conditions import read_peak_memory

    agent = _load(options)
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
        "first_seconds": first_seconds,
        "peak_memory_bytes": read_peak_memory(),
        **_runtime_json(agent),
    }


def profile(options: Namespace) -> dict[str, Any]:
    from device_agent import profiler
    from device_agent.conditions import pin_to_big_cores

    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    plan = profiler.ProfilePlan(options.max_inferences, options.max_seconds)
    profiles = []
    for model in options.models:
        with _load_one(model, options) as agent:
            profiles.append(profiler.profile(agent, plan, cpus=cpus, emulated=options.emulated).to_json())
    return {"profiles": profiles}


def time_models(options: Namespace) -> dict[str, Any]:
    """Times models that are not deployed. Standard input: a JSON list of their sizes, a line; then their bytes."""
    from device_agent import profiler
    from device_agent.bench import Plan
    from device_agent.conditions import pin_to_big_cores
    from device_agent.runtime import find_runtime

    sizes = json_line_from_stdin()
    if not isinstance(sizes, list) or len(sizes) > MAX_TIMED_MODELS or not all(type(n) is int for n in sizes):
        raise AgentError("`time` reads a list of sizes", expected=f"at most {MAX_TIMED_MODELS} whole numbers")
    if any(n < 0 for n in sizes) or sum(sizes) > MAX_ARRAY_BYTES:
        raise AgentError("the models are too large", expected=f"at most {MAX_ARRAY_BYTES} bytes in all")
    cpus = tuple(sorted(os.sched_getaffinity(0))) if options.no_pinning else pin_to_big_cores()
    plan = Plan(options.min_samples, options.max_seconds, options.max_seconds)
    times = []
    for size in sizes:
        data = sys.stdin.buffer.read(size)
        if len(data) != size:
            raise AgentError("the models end early", expected=f"{size} bytes", found=f"{len(data)} bytes")
        times.append(profiler.time_model(data, plan, threads=options.threads))
    identity, _ = find_runtime()
    return {
        "times": times,
        "threads": options.threads,
        "cpus": list(cpus),
        "runtime": identity.name,
        "runtime_version": identity.version,
        "machine": os.uname().machine,
    }


def prune(options: Namespace) -> dict[str, Any]:
    from device_agent import trees

    return {"removed": trees.prune(default_home())}


def smoke(options: Namespace) -> dict[str, Any]:
    from device_agent.smoke import smoke_test

    return {**smoke_test(), "decode_kernels": _decode_kernels()}


def _decode_kernels() -> list[str]:
    from device_agent import kernel

    return list(kernel.kernels())


def _load(options: Namespace) -> LoadedModel:
    return _load_one(options.model, options)


def _load_one(model: str, options: Namespace) -> LoadedModel:
    from device_agent.loaded import LoadedModel

    return LoadedModel.load(model, threads=options.threads, kernel=options.kernel, store=_store())


VERBS: dict[str, Callable[[Namespace], dict[str, Any]]] = {
    "status": status,
    "missing": missing,
    "install": install,
    "confirm": confirm,
    "rollback": rollback,
    "forget": forget,
    "check": check,
    "run": run,
    "bench": bench,
    "load": load,
    "profile": profile,
    "time": time_models,
    "smoke": smoke,
    "prune": prune,
}
