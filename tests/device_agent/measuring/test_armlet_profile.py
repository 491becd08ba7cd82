"""Operators that run in kernels of Armlet are timed one by one, inside whole inferences of either runtime."""

from __future__ import annotations

import pytest

from device_agent.measuring.profiler import ProfilePlan, profile_armlet
from device_agent.record.profile import Profile
from device_agent.run.loaded import LoadedModel
from tests.device_agent.run.kernels.layers_with_zeros import Images

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
