"""Models in a process of their own: named values, other shapes, and what becomes of a crash."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from sdk.errors import DataError, ModelError
from sdk.graph.on_host import host_model
from sdk.graph.on_host.evaluate import predict
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.writer import write_graph
from tests.device_agent.tiny_models import tiny_convolution
from tests.sdk.graph.recurrent_graphs import lstm, samples_of_steps


@pytest.fixture(scope="module")
def float_model():
    return tiny_convolution(np.array([[1, -2, 3], [0, 2, -1]], np.float32), np.array([1, -1], np.float32))


def test_inputs_and_outputs_have_names_and_shapes(float_model):
    with HostModel(float_model) as model:
        assert [info.shape for info in model.inputs] == [(1, 2, 2, 3)]
        outputs = model.run({model.inputs[0].name: np.ones((1, 2, 2, 3), np.float32)})
    assert {name: array.shape for name, array in outputs.items()} == {
        model.outputs[0].name: model.outputs[0].shape
    }


def test_reference_kernels_and_xnnpack_agree_on_a_small_model(float_model):
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) - 6
    answers = []
    for delegates in (True, False):
        with HostModel(float_model, delegates=delegates) as model:
            answers.append(next(iter(model.run([x]).values())))
    np.testing.assert_allclose(*answers, rtol=1e-6)


@pytest.mark.parametrize("array", [np.zeros((1, 2, 2, 4), np.float32), np.zeros((1, 2, 2, 3), np.uint8)])
def test_a_wrong_input_is_refused_and_the_model_goes_on(float_model, array):
    with HostModel(float_model) as model:
        with pytest.raises((ModelError, DataError)):
            model.run([array])
        model.run([np.zeros((1, 2, 2, 3), np.float32)])


def test_a_model_that_the_runtime_refuses_says_what_the_runtime_said():
    with pytest.raises(ModelError, match="refuses") as caught:
        HostModel(b"\x1c\0\0\0TFL3" + bytes(64))
    assert caught.value.found


def test_a_crash_of_the_runtime_is_one_error_that_names_the_signal(float_model):
    with HostModel(float_model) as model:
        os.kill(model._process.pid, signal.SIGSEGV)  # noqa: SLF001 - no small model crashes every runtime
        with pytest.raises(ModelError, match="crashes") as caught:
            model.run([np.zeros((1, 2, 2, 3), np.float32)])
        assert "SIGSEGV" in caught.value.found
        for ask in (
            lambda: model.run([np.zeros((1, 2, 2, 3), np.float32)]),
            lambda: model.replace(float_model),
        ):
            with pytest.raises(ModelError, match="asked again"):
                ask()


def test_a_model_that_does_not_end_is_stopped(float_model):
    with HostModel(float_model, run_seconds=0.3) as model:
        os.kill(model._process.pid, signal.SIGSTOP)  # noqa: SLF001 - no small model takes for ever
        begun = time.monotonic()
        with pytest.raises(ModelError, match="too long"):
            model.run([np.zeros((1, 2, 2, 3), np.float32)])
        assert time.monotonic() - begun < 10


def test_a_model_that_needs_too_much_memory_is_an_error(float_model, monkeypatch):
    monkeypatch.setattr(host_model, "LEAST_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(host_model, "MEMORY_SHARE", 0.0)
    with pytest.raises(ModelError):
        HostModel(float_model)


def test_no_process_is_left_behind(float_model):
    with HostModel(float_model) as model:
        process = model._process  # noqa: SLF001 - who else would know it
    assert process.poll() is not None


def test_cases_of_a_data_set_meet_a_recurrent_model_without_a_state(float_model):
    model, case = write_graph(lstm()), samples_of_steps(1)
    with HostModel(model) as open_model:
        assert open_model.keeps_state
        name = open_model.outputs[0].name
        first = open_model.run([case])[name]
        assert np.abs(open_model.run([case])[name] - first).max() > 1e-3  # one after the other
        np.testing.assert_array_equal(open_model.run([case], reset=True)[name], first)
    answers = predict(model, np.concatenate([case, case, case]))
    np.testing.assert_array_equal(answers, np.concatenate([first, first, first]))
    with HostModel(float_model) as open_model:
        assert not open_model.keeps_state
