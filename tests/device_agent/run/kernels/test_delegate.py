"""The delegate in both runtimes: what it claims, that outputs agree, and what is refused."""

from __future__ import annotations

import gc
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.errors import AgentError
from device_agent.run import runtime
from device_agent.run.kernels import delegate
from device_agent.run.runtime import Model, find_runtime
from device_agent.tensors.state import operators_of
from sdk.deploy.provision import wheels
from tests.device_agent.run.kernels.layers_with_zeros import classifier, sparse_matrix
from tests.sdk.board.machine import this_machine

pytestmark = pytest.mark.usefixtures("c_delegate")
REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def network() -> bytes:
    """Three layers with zeros enough, each too small for a cache to matter."""
    return classifier([sparse_matrix(n, k, 0.05, seed=n) for n, k in ((300, 784), (100, 300), (10, 100))])


def outputs(model: Model, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(model.inputs[0].shape).astype(np.float32)
    return model.run(x)


@pytest.mark.parametrize("threads", [1, 3])
def test_layers_with_zeros_run_in_the_delegate_and_agree(network: bytes, threads: int) -> None:
    plain, ours = Model(network), Model(network, threads=threads, kernels="armlet")
    assert [op.node for op in ours.armlet_operators()] == [0, 1, 2]
    assert plain.armlet_operators() == ()
    for seed in range(3):
        np.testing.assert_allclose(outputs(ours, seed), outputs(plain, seed), rtol=1e-5, atol=1e-5)
    first = ours.armlet_operators()[0]
    assert (first.weights, first.code, first.centroids) == (300 * 784, 9, 16)
    assert 0 < first.kept < 0.06 * first.weights
    assert first.packed_bytes < 0.2 * 4 * first.weights


def test_a_model_without_zeros_is_not_touched() -> None:
    model = Model(classifier([sparse_matrix(300, 784, 1.0, values=None)]), kernels="armlet")
    assert model.armlet_operators() == ()
    assert model.delegate == "xnnpack"


def test_who_runs_what_is_handed_over_is_said(network: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Model(network).delegate, Model(network, kernels="armlet").delegate) == ("xnnpack", "armlet")
    mixed = classifier([sparse_matrix(300, 784, 1.0, values=None), sparse_matrix(100, 300, 0.05)])
    model = Model(mixed, kernels="armlet")
    assert [op.node for op in model.armlet_operators()] == [1]
    assert model.delegate == "xnnpack"
    # The runtime without XNNPACK: a layer is left to its reference kernels.
    monkeypatch.setattr(runtime, "operators_of", lambda interpreter: operators_of(interpreter)[:3])
    assert Model(mixed, kernels="armlet").delegate == "none"


def test_models_that_end_in_a_cycle_end_before_their_delegates(
    network: bytes, tmp_path: Path, c_delegate
) -> None:
    """In a process of its own: the collector took them in the other order, and the process with them."""
    (tmp_path / "net.tflite").write_bytes(network)
    program = """
import gc, sys
from device_agent.run.kernels import delegate
from device_agent.run.runtime import Model
delegate.use(sys.argv[2])
data = open(sys.argv[1], "rb").read()
for _ in range(20):
    model = Model(data, kernels="armlet")
    assert model.armlet_operators()
    model.itself = model
    del model
    gc.collect()
print("whole")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "net.tflite"), str(c_delegate)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


def test_only_layers_that_gain_are_claimed() -> None:
    matrices = [sparse_matrix(300, 784, 0.9), sparse_matrix(100, 300, 0.05), sparse_matrix(10, 100, 0.9)]
    model, plain = Model(classifier(matrices), kernels="armlet"), Model(classifier(matrices))
    assert [op.node for op in model.armlet_operators()] == [1]
    np.testing.assert_allclose(outputs(model), outputs(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", [0, 1, 2, 3])
def test_activations_are_the_runtimes(activation: int) -> None:
    matrices = [sparse_matrix(40, 50, 0.05), sparse_matrix(30, 40, 0.05)]
    data = classifier(matrices, activation=activation, batch=3)
    ours, plain = Model(data, kernels="armlet"), Model(data)
    assert len(ours.armlet_operators()) == 2
    np.testing.assert_allclose(outputs(ours), outputs(plain), rtol=1e-5, atol=1e-5)


def test_operators_are_timed_when_that_is_asked_for(network: bytes) -> None:
    model = Model(network, kernels="armlet")
    model.invoke()
    assert [op.seconds for op in model.armlet_operators()] == [None] * 3
    model.time_armlet_operators()
    model.invoke()
    assert all(op.seconds is not None and 0.0 < op.seconds < 1.0 for op in model.armlet_operators())


def with_delegate(network: bytes) -> Any:
    """An interpreter of the runtime, with the delegate."""
    identity, interpreter_class = find_runtime()
    ours = delegate.Delegate(identity.name, identity.version, interpreter_class.__module__)
    interpreter = interpreter_class(model_content=network, experimental_delegates=[ours.handle])
    ours.outlive(interpreter)
    return interpreter


def test_a_batch_may_be_resized(network: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    answers = []
    for interpreter in (Interpreter(model_content=network), with_delegate(network)):
        for batch in (1, 5, 2):
            index = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(index, (batch, 784))
            interpreter.allocate_tensors()
            interpreter.set_tensor(index, np.random.default_rng(batch).random((batch, 784), np.float32))
            interpreter.invoke()
            answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    for plain, ours in zip(answers[:3], answers[3:], strict=True):
        assert plain.shape == ours.shape
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_an_input_that_does_not_fit_is_an_error_of_the_runtime(network: bytes) -> None:
    interpreter = with_delegate(network)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, 783))
    with pytest.raises((RuntimeError, ValueError)):
        interpreter.allocate_tensors()


def test_many_interpreters_at_once(network: bytes) -> None:
    expected = outputs(Model(network))
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            found = outputs(Model(network, threads=2, kernels="armlet"))
            if not np.allclose(found, expected, rtol=1e-5, atol=1e-5):
                wrong.append("differs")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_loading_again_and_again_takes_no_more_memory(network: bytes) -> None:
    def pages() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1])

    def load(times: int) -> None:
        for _ in range(times):
            Model(network, threads=2, kernels="armlet").invoke()

    load(20)
    before = pages()
    load(60)
    assert pages() - before < 60 * 300 * 784 * 4 // 4096 // 20  # one packed network would be more


@pytest.mark.parametrize(
    ("runtime", "version"), [("ai-edge-litert", "2.4.0"), ("tflite-runtime", "2.13.0"), ("other", "1")]
)
def test_an_unknown_runtime_is_refused(runtime: str, version: str) -> None:
    with pytest.raises(delegate.KernelsUnavailable, match="do not know this runtime.*found " + runtime):
        delegate.Delegate(runtime, version, "ai_edge_litert.interpreter")


def test_a_library_that_is_none_says_so(tmp_path: Path, network: bytes, c_delegate: Path) -> None:
    path = tmp_path / "broken.so"
    path.write_bytes(b"no library at all")
    try:
        for unusable in (path, tmp_path / "missing.so"):
            delegate.use(str(unusable))
            assert not delegate.are_there()
            with pytest.raises(delegate.KernelsUnavailable, match="do not load"):
                Model(network, kernels="armlet")
    finally:
        delegate.use(str(c_delegate))
    assert delegate.are_there()


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, network: bytes) -> None:
    monkeypatch.setattr(delegate, "VERSION", 1)
    with pytest.raises(AgentError, match="another version; expected 1; found 3"):
        Model(network, kernels="armlet")


def test_unknown_options_are_refused(c_delegate: Path) -> None:
    from ai_edge_litert.interpreter import load_delegate

    with pytest.raises(ValueError, match="an option is unknown"):
        load_delegate(str(c_delegate), {"claim": "nothing"})


def test_the_other_runtime_gives_the_same(network: bytes, tmp_path: Path, c_delegate: Path) -> None:
    known, here = wheels.RUNTIMES["tflite-runtime"], this_machine()
    environment = None if wheels.why_not(known, here) else wheels.cached_environment(known, here)
    if environment is None:
        pytest.skip("tflite-runtime for this Python is not in the cache")
    with tarfile.open(environment.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "model.tflite").write_bytes(network)
    code = """
import sys, numpy as np
from device_agent.run.runtime import Model
model = Model(open(sys.argv[1], "rb").read(), kernels="armlet", threads=2)
x = np.random.default_rng(0).standard_normal((1, 784)).astype(np.float32)
np.save(sys.argv[2], model.run(x))
print(model.identity.name, len(model.armlet_operators()))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path / "model.tflite"), str(tmp_path / "y.npy")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", delegate.VARIABLE: str(c_delegate)},
    )
    assert done.stdout.strip() == "tflite-runtime 3", done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), outputs(Model(network)), rtol=1e-5, atol=1e-5)
