"""Fixtures that the tests of both sides share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.package import kernel as decoder_kernel


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run of the tests keeps the C decoders that it builds."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def c_kernel(kernel_folder: Path) -> Iterator[Path]:
    """The C decoder for this machine, built, and in use while the tests run."""
    from sdk.deploy.provision import kernel

    path = kernel.build(folder=kernel_folder)
    decoder_kernel.use(str(path))
    yield path
    decoder_kernel.use(None)


@pytest.fixture(params=["c", "numpy"])
def kernel(request: pytest.FixtureRequest, c_kernel: Path) -> str:
    """Every test that takes this runs on both decoders."""
    return str(request.param)
