"""Operators that run in kernels of Armlet are timed one by one, inside whole inferences of either runtime."""

from __future__ import annotations

import pytest

from device_agent import __main__ as main_module
from device_agent.measuring.profiler import ProfilePlan, profile_armlet
from device_agent.record.measurement import Measurement
from device_agent.record.profile import Profile
from device_agent.run.kernels import delegate
from device_agent.run.loaded import LoadedModel
from device_agent.verbs import models as model_verbs
from tests.device_agent.run.kernels.layers_with_zeros import Images, classifier, sparse_matrix
from tests.golden.make_networks import FOLDER

pytestmark = pytest.mark.usefixtures("c_delegate")


def test_every_operator_of_a_chain_has_a_time_and_its_number_in_the_graph() -> None:
    images = Images(16, 16, 8)
    x = images.convolve(0, 32, 3, keep=0.1, block=4)
    x = images.convolve(x, 32, 3, depthwise=True, keep=1.0)
    x = images.convolve(images.relu(images.join(x, x)), 32, keep=0.1, block=4)
    data = images.model(x)
    with LoadedModel(data, kernels="armlet") as agent:
        assert agent.model.armlet_operators()
        found = profile_armlet(
            agent, ProfilePlan(max_inferences=5, max_seconds=0.2), cpus=(0,), emulated=False
        )
        assert all(op.seconds is not None for op in agent.model.armlet_operators())
    assert Profile.from_json(found.to_json()) == found
    assert found.method == "armlet"
    assert found.inferences >= 3
    assert {0, 1, 4} <= {kernel.node for kernel in found.kernels}
    assert [kernel.is_sparse for kernel in found.kernels if kernel.node in (0, 1, 4)] == [True, False, True]
    assert all(kernel.seconds > 0.0 for kernel in found.kernels if kernel.node in (0, 1, 4))
    assert found.kernel_seconds + found.outside_seconds == pytest.approx(found.profiled_seconds, rel=0.5)


def test_what_while_runs_is_no_operator_of_the_models_graph() -> None:
    with LoadedModel((FOLDER / "keras_lstm.armlet").read_bytes(), kernels="armlet") as agent:
        found = profile_armlet(
            agent, ProfilePlan(max_inferences=5, max_seconds=0.2), cpus=(0,), emulated=False
        )
        operators = agent.model.armlet_operators()
    assert [(op.node, op.code) for op in operators] == [(-1, 9), (-1, 9)]
    assert found.kernels == ()  # their time is a part of WHILE's
    assert found.outside_seconds == pytest.approx(found.profiled_seconds, rel=0.5)
    assert Profile.from_json(found.to_json()) == found


def test_a_measurement_tells_weights_start_and_memory_with_the_kernels_and_without(
    tmp_path, monkeypatch, c_delegate
) -> None:
    calls = []

    def call_child(arguments, seconds, environment=None):
        calls.append((arguments, environment))
        return real(arguments, seconds, environment)

    real = model_verbs.call_child
    monkeypatch.setattr(model_verbs, "call_child", call_child)
    monkeypatch.setenv(delegate.VARIABLE, str(c_delegate))
    monkeypatch.setenv(delegate.CHOICE_VARIABLE, "armlet")
    paths = []
    for name, keep in (("zeros", 0.05), ("full", 1.0)):
        paths.append(str(tmp_path / f"{name}.tflite"))
        data = classifier([sparse_matrix(200, 300, keep, values=None if keep == 1.0 else 16)])
        (tmp_path / f"{name}.tflite").write_bytes(data)
    answer, status = main_module.answer(
        ["bench", *paths, "--min-samples", "4", "--max-seconds", "0.1", "--loadings", "1"]
    )
    assert status == 0, answer
    zeros, full = (Measurement.from_json(record) for record in answer["measurements"])
    assert zeros.armlet_float_bytes == 4 * 200 * 300
    assert 0 < zeros.armlet_packed_bytes < 0.2 * zeros.armlet_float_bytes
    assert zeros.start_seconds > 0.0
    assert zeros.runtime_start_seconds > 0.0
    assert zeros.runtime_peak_memory_bytes > 1 << 20
    assert full.armlet_packed_bytes == full.armlet_float_bytes == 0
    assert full.runtime_start_seconds is full.runtime_peak_memory_bytes is None
    # One process more, for the one that has operators in these kernels.
    assert [(call[0][1], call[1]) for call in calls] == [
        (paths[0], None),
        (paths[0], delegate.RUNTIME_ALONE),
        (paths[1], None),
    ]
