"""Fixtures that the tests of both sides share."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from device_agent.package import kernel as decoder_kernel

# Hundreds of commands are started: what one of them compiles, the others find compiled. So are the tests themselves.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Looks for no garbage while thousands of tests are found, nor among them later: that took half of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(
            20_000, 20, 20
        )  # TensorFlow's many objects, which stay, were looked through again and again
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes for ``--numprocesses auto``: one more than there are processors, since a deploy waits now and then."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, 4) + 1


@pytest.fixture(scope="session")
def new_socket_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders for Unix sockets: the kernel takes 107 bytes of their paths, and TMPDIR may be longer."""
    with tempfile.TemporaryDirectory(prefix="armlet-", dir="/tmp") as name:
        yield lambda: Path(tempfile.mkdtemp(dir=name))


@pytest.fixture
def socket_folder(new_socket_folder: Callable[[], Path]) -> Path:
    """A folder of a short name."""
    return new_socket_folder()


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a process of tests keeps what it compiles to see that it can be."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def c_kernel() -> Iterator[Path]:
    """The C decoder for this machine, from the cache that deploys use, and in use while the tests run."""
    from sdk.deploy.provision import kernel

    path = kernel.build()
    decoder_kernel.use(str(path))
    yield path
    decoder_kernel.use(None)


@pytest.fixture(scope="session")
def c_delegate() -> Iterator[Path]:
    """The delegate for this machine, from the same cache, and in use while the tests run."""
    from device_agent.run.kernels import delegate
    from sdk.deploy.provision import kernel

    path = kernel.build_delegate()
    delegate.use(str(path))
    yield path
    delegate.use(None)


@pytest.fixture(params=["c", "numpy"])
def kernel(request: pytest.FixtureRequest, c_kernel: Path) -> str:
    """Every test that takes this runs on both decoders."""
    return str(request.param)
