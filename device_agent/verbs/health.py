"""The health check of a release on trial: it decodes, loads, gives the golden outputs, is not absurdly slow, and fits.

:func:`check` runs in a process of its own, and :func:`unfit` judges what it found.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Mapping

from device_agent.errors import AgentError
from device_agent.run.array_input import parse_golden

if TYPE_CHECKING:
    import numpy as np

    from device_agent.record.release import Release
    from device_agent.run.loaded import LoadedModel
    from device_agent.store.store import Store

#: A release may be this many times as slow as the one that runs: what is worse is a mistake (a model without
#: its kernels, a wrong input size) rather than a choice.
MAX_SLOWDOWN = 10.0
#: Below this nothing counts as slow: a clock that was low, or another program, explains it.
HARMLESS_SECONDS = 0.1
#: Inferences that are timed, the fastest counts; no further one begins after this many seconds.
TIMED_INFERENCES = 5
TIMED_SECONDS = 1.0


def check(
    store: Store,
    release: Release,
    *,
    threads: int,
    kernel: str,
    passed: Callable[[dict[str, Any], LoadedModel], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Decodes, loads and runs a release. Raises AgentError when the golden outputs do not come out.

    ``passed`` is called with the findings and the model, and its answer is added to the findings.
    """
    from device_agent.measuring.bench import set_inputs
    from device_agent.run.conditions import read_available_memory, read_peak_memory
    from device_agent.run.loaded import LoadedModel

    _offer_to_be_killed_first()
    available = read_available_memory()
    agent = LoadedModel.of_release(
        store, release, threads=threads, kernel=kernel, kernels="runtime", warm=False
    )
    start = time.perf_counter()
    difference = _golden_difference(store, release, agent)
    if difference is None:
        set_inputs(agent)
    fastest = _fastest_seconds(agent)
    found = {
        "release": release.id,
        "seconds": time.perf_counter() - start,
        "largest_difference": difference,
        "inference_seconds": fastest,
        "peak_memory_bytes": read_peak_memory(),
        "available_memory_bytes": available,
        "decode_seconds": agent.decode_seconds,
        "decode_kernel": agent.kernel,
        "init_seconds": agent.model.init_seconds,
        "delegate": agent.model.delegate,
    }
    return found if passed is None else {**found, **passed(found, agent)}


def unfit(
    found: Mapping[str, Any],
    *,
    old_seconds: float | None = None,
    max_seconds: float | None = None,
    max_memory_bytes: int | None = None,
) -> str:
    """Why a release that gives the right outputs may not run all the same; "" when it may.

    ``found`` is what :func:`check` answered; ``old_seconds`` is the time of one inference of the current release when
    that was checked. Without ``max_memory_bytes`` the limit is what was free when the check began.
    """
    seconds, memory = found["inference_seconds"], found["peak_memory_bytes"]
    if max_seconds is not None and seconds > max_seconds:
        return f"an inference took {seconds:.3g} s; expected at most {max_seconds:.3g} s"
    if old_seconds is not None and seconds > max(MAX_SLOWDOWN * old_seconds, HARMLESS_SECONDS):
        return (
            f"an inference took {seconds:.3g} s; expected at most {MAX_SLOWDOWN:g} times the {old_seconds:.3g} s "
            "of the release before"
        )
    limit = found["available_memory_bytes"] if max_memory_bytes is None else max_memory_bytes
    if limit is not None and memory is not None and memory > limit:
        what = "free on the board" if max_memory_bytes is None else "allowed"
        return f"running it took {memory >> 20} MB of memory; expected at most the {limit >> 20} MB {what}"
    return ""


def _golden_difference(store: Store, release: Release, agent: LoadedModel) -> float | None:
    """The largest difference from the golden outputs; None where the release has none."""
    if not (release.golden_inputs_sha256 and release.golden_outputs_sha256):
        return None
    from device_agent.tensors import golden

    inputs = parse_golden(store.blobs.read(release.golden_inputs_sha256), agent.model.inputs)
    expected = parse_golden(store.blobs.read(release.golden_outputs_sha256), agent.model.outputs)
    if release.golden_limits is None:
        return _difference_of_one_output(agent, inputs[0], expected[0], release.golden_tolerance)
    model = agent.model
    cases = {len(array) if array.ndim else 0 for array in (*inputs, *expected)}
    answers, left = divmod(len(expected), len(model.outputs))
    if len(cases) != 1 or not min(cases) or not answers or left:
        raise AgentError(
            "the golden arrays do not belong together",
            expected=f"as many cases in each, of {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            found=f"{len(inputs)} inputs and {len(expected)} outputs of {sorted(cases)} cases",
        )
    found = []
    for case in range(min(cases)):  # one after the other: a model with a state sees them in this order
        outputs = model.run_all([array[case] for array in inputs])
        found.append([outputs[info.name] for info in model.outputs])
    rows = [expected[i * len(model.outputs) :][: len(model.outputs)] for i in range(answers)]
    wanted = [[[array[case] for array in row] for case in range(min(cases))] for row in rows]
    return golden.require_close(model.outputs, wanted, found, release.golden_limits)


def _difference_of_one_output(
    agent: LoadedModel, inputs: np.ndarray, expected: np.ndarray, tolerance: float
) -> float:
    """As releases were checked that have one tolerance for their first output."""
    import numpy as np

    outputs = agent.predict(inputs)
    if outputs.shape != expected.shape:
        raise AgentError(
            "the golden outputs have another shape", expected=str(expected.shape), found=str(outputs.shape)
        )
    difference = float(np.max(np.abs(outputs.astype(np.float64) - expected), initial=0.0))
    if not difference <= tolerance:
        raise AgentError(
            "the golden outputs do not come out",
            expected=f"a difference of at most {tolerance:g}",
            found=f"{difference:g}",
        )
    return difference


def _fastest_seconds(agent: LoadedModel) -> float:
    fastest = float("inf")
    begun = time.perf_counter()
    for _ in range(TIMED_INFERENCES):
        start = time.perf_counter()
        agent.model.invoke()
        fastest = min(fastest, time.perf_counter() - start)
        if time.perf_counter() - begun > TIMED_SECONDS:
            break
    return fastest


def _offer_to_be_killed_first() -> None:
    """Where memory runs out, the kernel shall kill the check and not the application that runs the old release."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # no such file, or not ours to write: the check is no less right
