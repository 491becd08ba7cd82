"""The interface over both TFLite runtimes."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from device_agent.errors import AgentError, ArmletError, DataError, RuntimeUnavailable
from device_agent.run import runtime
from device_agent.run.runtime import Model
from sdk.deploy.provision import wheels
from tests.sdk.board.machine import this_machine


def test_a_float_model_computes_what_numpy_computes(float_model, expected):
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) - 6
    model = Model(float_model)
    np.testing.assert_array_equal(model.run(x), expected(x))


def test_details_of_inputs_and_outputs_are_told(float_model):
    model = Model(float_model, threads=2)
    assert (model.inputs[0].shape, model.inputs[0].dtype) == ((1, 2, 2, 3), np.float32)
    assert (model.outputs[0].shape, model.outputs[0].is_quantized) == ((1, 2, 2, 2), False)
    assert model.threads == 2
    assert model.identity.name in ("ai-edge-litert", "tflite-runtime")
    assert model.identity.numpy_version == np.__version__
    assert model.delegate == "xnnpack"
    assert model.init_seconds > 0


def test_an_integer_model_takes_real_values_and_quantizes_them(int8_model, expected):
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) - 6
    model = Model(int8_model)
    raw = model.run(x)
    assert raw.dtype == np.int8
    # The output's scale is 2, so half a step, 1, is the most that rounding can lose.
    np.testing.assert_allclose(model.outputs[0].dequantize(raw), expected(x), atol=1.0)


def test_an_integer_model_takes_its_own_integers_unchanged(int8_model):
    model = Model(int8_model)
    x = np.full((1, 2, 2, 3), 3, np.int8)
    np.testing.assert_array_equal(model.run(x), model.run(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((1, 2, 2, 4), np.float32), "shape"),
        (np.zeros((2, 2, 3), np.float32), "shape"),
        (np.zeros((1, 2, 2, 3), np.int32), "type"),
        (np.zeros((1, 2, 2, 3), np.complex64), "type"),
    ],
)
def test_a_wrong_input_is_refused_with_what_was_expected(float_model, array, what):
    with pytest.raises(ArmletError, match=what) as caught:
        Model(float_model).run(array)
    assert caught.value.expected
    assert caught.value.found


def test_a_wrong_number_of_inputs_is_refused(float_model):
    with pytest.raises(DataError, match="number of inputs"):
        Model(float_model).run()


@pytest.mark.parametrize("data", [b"", b"TFL3", b"PK\x03\x04" + bytes(100)])
def test_bytes_that_are_no_model_are_refused(data):
    with pytest.raises(AgentError, match="not a TFLite model"):
        Model(data)


def test_a_damaged_model_is_refused_by_name(float_model):
    with pytest.raises(AgentError, match="refused the model"):
        Model(float_model[:8] + bytes(len(float_model) - 8))


def test_no_thread_is_too_few(float_model):
    with pytest.raises(AgentError, match="threads"):
        Model(float_model, threads=0)


def test_where_no_runtime_is_installed_each_import_is_told(float_model, monkeypatch):
    monkeypatch.setattr(runtime, "MODULES", (("no_such_runtime", "no-such"), ("nor_this_one", "nor-this")))
    with pytest.raises(RuntimeUnavailable) as caught:
        Model(float_model)
    assert "no-such" in str(caught.value)
    assert "nor-this" in str(caught.value)


def test_tflite_runtime_under_numpy_2_says_what_to_do(tmp_path):
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("this Python has numpy 1")
    known, here = wheels.RUNTIMES["tflite-runtime"], this_machine()
    environment = None if wheels.why_not(known, here) else wheels.cached_environment(known, here)
    if environment is None:
        pytest.skip(
            "tflite-runtime for this Python is not in the cache: run `sdk board fetch local --all-runtimes`"
        )
    with tarfile.open(environment.archive) as archive:
        for member in archive:
            if member.name.startswith("tflite_runtime"):
                target = tmp_path / member.name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    code = """
from device_agent.run import runtime
from device_agent.verbs import smoke
runtime.MODULES = (("tflite_runtime", "tflite-runtime"),)
try:
    smoke.smoke_test()
except runtime.RuntimeUnavailable as error:
    print(error)
"""
    # The interpreter's own extensions abort with a message of their own on standard error; ours is on the other.
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])},
    )
    assert "cannot work with this numpy; expected numpy below 2; found numpy 2" in done.stdout, done.stderr


def test_the_runtime_that_a_deploy_brought_comes_before_one_of_the_system(tmp_path):
    """The launcher puts the environment that was tested first on the path; the system may have the other runtime."""
    for folder, module in (("system", "ai_edge_litert"), ("brought", "tflite_runtime")):
        package = tmp_path / folder / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "interpreter.py").write_text("class Interpreter: pass\n")
        (tmp_path / folder / f"{module}-1.0.dist-info").mkdir()
    code = "from device_agent.run import installed; print(installed.installed_runtime())"
    code += "\nfrom device_agent.run.runtime import find_runtime; print(find_runtime()[0].name)"

    def first(*folders: str) -> list[str]:
        path = os.pathsep.join([*(str(tmp_path / folder) for folder in folders), os.getcwd()])
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        return done.stdout.split("\n")[:2]

    assert first("brought", "system") == ["tflite-runtime 1.0", "tflite-runtime"]
    assert first("system", "brought") == ["ai-edge-litert 1.0", "ai-edge-litert"]
