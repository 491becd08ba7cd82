"""The C decoder is built for every target, from the cache the second time, and links to nothing."""

from __future__ import annotations

import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import pytest

from device_agent.package.kernel import Kernel
from sdk.deploy.provision import kernel
from sdk.tools.system.locks import lock

# e_machine of the ELF header
MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40}


@pytest.mark.parametrize("machine", sorted(kernel.TARGETS))
def test_the_kernel_is_a_shared_library_for_the_machine(machine: str, kernel_folder: Path) -> None:
    library = kernel.build(machine, folder=kernel_folder).read_bytes()
    assert library[:4] == b"\x7fELF"
    assert struct.unpack_from("<HH", library, 16) == (3, MACHINES[machine])
    assert b"armlet_decode" in library
    # No library is needed: the dynamic section would name it.
    assert b".so." not in library
    assert len(library) < 100_000


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])  # for armv7l zig first makes a library of its own
def test_the_delegate_is_a_shared_library_for_the_machine(machine: str, kernel_folder: Path) -> None:
    library = kernel.build_delegate(machine, folder=kernel_folder).read_bytes()
    assert struct.unpack_from("<HH", library, 16) == (3, MACHINES[machine])
    assert b"tflite_plugin_create_delegate" in library
    assert b".so." not in library
    assert len(library) < 200_000


def test_every_machine_of_a_table_has_a_test() -> None:
    assert set(MACHINES) == set(kernel.TARGETS) == set(kernel.DELEGATE_TARGETS)


def test_this_machines_kernel_loads(c_kernel: Path) -> None:
    assert Kernel(str(c_kernel)).path == str(c_kernel)


def test_the_second_build_is_the_first(kernel_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kernel.build("aarch64", folder=kernel_folder)
    monkeypatch.setattr(kernel, "run_zig", None)
    assert kernel.build("arm64", folder=kernel_folder) == first


def test_of_two_processes_one_compiles(
    kernel_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = kernel.build("aarch64", folder=kernel_folder)
    monkeypatch.setattr(kernel, "run_zig", None)
    with (tmp_path / "building").open("wb") as other, ThreadPoolExecutor(1) as pool:
        lock(other.fileno())
        waiting = pool.submit(kernel.build, "aarch64", folder=tmp_path)
        with pytest.raises(NotYet):
            waiting.result(0.2)
        for path in (compiled, compiled.with_suffix(".sha256")):
            shutil.copy(path, tmp_path)
        other.close()
        assert waiting.result(10) == tmp_path / compiled.name


def test_another_source_is_another_file(
    kernel_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "huffman.c"
    source.write_text(kernel.source_path().read_text() + "\n/* changed */\n")
    before = kernel.build(folder=kernel_folder)
    monkeypatch.setattr(kernel, "source_path", lambda: source)
    assert kernel.build(folder=kernel_folder) != before


def test_an_unknown_processor_is_named(tmp_path: Path) -> None:
    with pytest.raises(kernel.KernelBuildError, match="riscv64"):
        kernel.build("riscv64", folder=tmp_path)


def test_a_source_that_does_not_compile_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "huffman.c"
    source.write_text("int f(void) { return missing; }\n")
    monkeypatch.setattr(kernel, "source_path", lambda: source)
    with pytest.raises(kernel.KernelBuildError, match="missing"):
        kernel.build(folder=tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_the_cache_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert kernel.cache_folder() == Path("/somewhere/armlet/kernels")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert kernel.cache_folder() == Path("/home/user/.cache/armlet/kernels")
