"""Choosing, trimming and packing a runtime; nothing here downloads."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sdk.board.facts import Facts
from sdk.deploy.provision import downloading, locked, wheels
from sdk.deploy.provision.downloading import least_glibc, platform_tags
from sdk.deploy.provision.wheels import (
    RUNTIMES,
    cached_environment,
    choose_runtime,
    fetch_environment,
    pack_tree,
    trimmed_files,
)
from sdk.errors import ProvisionError

BOOKWORM = Facts(
    home="/home/pi",
    machine="aarch64",
    system="Linux 6.6",
    python=(3, 11, 2),
    python_implementation="cpython",
    pointer_bits=64,
    python_abi_flags="",
    glibc=(2, 36),
    libc="glibc",
    free_disk_bytes=None,
    memory_bytes=None,
    os_name="",
    model="",
    cores=4,
    cpu_features=(),
    max_clocks_hz=(),
)
BOOKWORM_32 = replace(BOOKWORM, pointer_bits=32, numpy_folder="/usr/lib/python3/dist-packages")
TRIXIE = replace(BOOKWORM, python=(3, 13, 5), glibc=(2, 41))


# -- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "name"),
    [(BOOKWORM, "tflite-runtime"), (TRIXIE, "ai-edge-litert"), (BOOKWORM_32, "tflite-runtime"),
     (replace(BOOKWORM, python=(3, 8, 10), machine="x86_64", glibc=(2, 31)), "tflite-runtime")],
)  # fmt: skip
def test_a_board_gets_the_runtime_that_has_wheels_for_it(facts, name):
    assert choose_runtime(facts).name == name


def test_the_order_of_the_boards_file_comes_first_where_it_fits():
    order = [("ai-edge-litert", "2.3.0"), ("tflite-runtime", "2.14.0")]
    assert choose_runtime(BOOKWORM, preferred=order).name == "ai-edge-litert"
    assert choose_runtime(BOOKWORM_32, preferred=order).name == "tflite-runtime"


def test_a_runtime_that_is_named_overrides_the_order():
    order = [("ai-edge-litert", "2.3.0"), ("tflite-runtime", "2.14.0")]
    assert choose_runtime(BOOKWORM, name="tflite-runtime", preferred=order).name == "tflite-runtime"
    assert choose_runtime(BOOKWORM, name="ai-edge-litert").version == RUNTIMES["ai-edge-litert"].version


def test_a_version_that_is_not_pinned_has_to_be_named():
    order = [("ai-edge-litert", "2.1.6"), ("tflite-runtime", "2.14.0")]
    with pytest.raises(ProvisionError, match="not among the wheels that Armlet pins") as caught:
        choose_runtime(BOOKWORM, preferred=order)
    assert "--runtime ai-edge-litert --runtime-version 2.1.6" in caught.value.hint
    assert caught.value.expected == "2.3.0"
    with pytest.raises(ProvisionError, match="not among"):
        choose_runtime(BOOKWORM, name="ai-edge-litert", preferred=order)
    chosen = choose_runtime(BOOKWORM, name="ai-edge-litert", version="2.1.6", preferred=order)
    assert (chosen.version, chosen.named, chosen.pinned) == ("2.1.6", True, False)
    assert choose_runtime(BOOKWORM, name="ai-edge-litert", version="2.3.0").pinned
    with pytest.raises(ProvisionError, match="of no runtime"):
        choose_runtime(BOOKWORM, version="2.1.6")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(BOOKWORM, python=None), "no python3"),
        (replace(BOOKWORM, python=(3, 7, 3)), "needs Python 3.8 to 3.11, found 3.7.3"),
        (replace(BOOKWORM, glibc=None, libc="musl"), "found musl"),
        (replace(BOOKWORM, machine="riscv64"), "found riscv64"),
        (replace(BOOKWORM, glibc=(2, 19)), "needs glibc 2.27, found 2.19"),
        (replace(BOOKWORM_32, python=(3, 13, 5)), "armv7l"),
        (replace(BOOKWORM_32, numpy_folder=None), "apt-get install python3-numpy"),
        (replace(TRIXIE, python_abi_flags="t"), "ordinary CPython"),
        (replace(BOOKWORM, python_implementation="pypy"), "pypy"),
    ],
)
def test_a_board_that_cannot_have_one_is_told_why(facts, reason):
    with pytest.raises(ProvisionError, match="no runtime has wheels") as caught:
        choose_runtime(facts)
    assert reason in caught.value.found
    with pytest.raises(ProvisionError):
        fetch_environment(RUNTIMES["tflite-runtime"], replace(facts, machine="riscv64"))


def test_a_name_that_is_no_runtime_is_refused():
    with pytest.raises(ProvisionError, match="not a runtime"):
        choose_runtime(BOOKWORM, name="onnxruntime")


# -- tags -------------------------------------------------------------------------------------------------------------


def test_platforms_reach_from_the_boards_glibc_down():
    tags = platform_tags("aarch64", (2, 19))
    assert tags == (
        "manylinux_2_19_aarch64",
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    )
    assert "manylinux1_x86_64" in platform_tags("x86_64", (2, 36))


@pytest.mark.parametrize(
    ("name", "glibc"),
    [
        ("tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_aarch64.whl", (2, 34)),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", (2, 27)),
        ("numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", (2, 17)),
        ("x-1-py3-none-any.whl", (2, 5)),
    ],
)
def test_a_wheel_says_which_glibc_it_needs(name, glibc):
    assert least_glibc(name) == glibc


# -- trimming and packing ---------------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(zipfile.ZipInfo(member), data)  # of no time of its own
    return path


def test_what_an_interpreter_does_not_need_is_left_out(tmp_path):
    path = wheel(
        tmp_path,
        "x-1-py3-none-any.whl",
        dict.fromkeys(
            [
                "ai_edge_litert/interpreter.py",
                "ai_edge_litert/libLiteRt.so",
                "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
                "ai_edge_litert/aot/core/apply_plugin.py",
                "ai_edge_litert/vendors/qualcomm/x.so",
                "numpy/__init__.py",
                "numpy/__init__.pyi",
                "numpy/linalg/tests/test_linalg.py",
                "numpy/_core/include/numpy/ndarrayobject.h",
                "numpy.libs/libopenblas.so",
                "numpy-2.4.6.dist-info/METADATA",
                "numpy-2.4.6.dist-info/RECORD",
                "numpy-2.4.6.dist-info/licenses/LICENSE.txt",
                "x.data/purelib/moved.py",
                "x.data/scripts/f2py",
            ],
            b"",
        ),
    )
    assert set(trimmed_files([path])) == {
        "ai_edge_litert/interpreter.py",
        "ai_edge_litert/libLiteRt.so",
        "numpy/__init__.py",
        "numpy.libs/libopenblas.so",
        "numpy-2.4.6.dist-info/METADATA",
        "numpy-2.4.6.dist-info/licenses/LICENSE.txt",
        "moved.py",
    }


def test_a_damaged_wheel_is_named_and_removed(tmp_path):
    path = tmp_path / "x-1-py3-none-any.whl"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ProvisionError, match="damaged"):
        trimmed_files([path])
    assert not path.exists()


def test_the_same_files_make_the_same_archive():
    files = {"b": (b"two", True), "a": (b"one", False)}
    one, two = pack_tree(files), pack_tree(dict(reversed(files.items())))
    assert one == two
    with tarfile.open(fileobj=io.BytesIO(one.archive)) as archive:
        assert [(m.name, m.mode, m.mtime, m.uid) for m in archive] == [("a", 0o600, 0, 0), ("b", 0o700, 0, 0)]
    assert one.unpacked_bytes == 6


@pytest.mark.parametrize(
    "files", [{"a": (b"onE", False), "b": (b"two", True)}, {"a": (b"one", True), "b": (b"two", True)},
              {"A": (b"one", False), "b": (b"two", True)}, {"a": (b"one", False)}],
)  # fmt: skip
def test_other_files_have_another_digest(files):
    assert pack_tree(files).digest != pack_tree({"a": (b"one", False), "b": (b"two", True)}).digest


# -- fetching, with a pip that the test plays --------------------------------------------------------------------------

RUNTIME_WHEEL = "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_aarch64.whl"
NUMPY_WHEEL = "numpy-1.26.4-cp311-cp311-manylinux_2_17_aarch64.whl"


class Pip:
    """Stands for ``pip download``: puts two small wheels where they are asked for; remembers how it was called."""

    def __init__(self, index: Path) -> None:
        self.index = index
        index.mkdir()
        self.files = [
            wheel(index, RUNTIME_WHEEL, {"tflite_runtime/x.py": b"x"}),
            wheel(index, NUMPY_WHEEL, {"numpy/__init__.py": b"y"}),
        ]
        self.calls: list[list[str]] = []
        self.asked_for = ""
        self.fails_with: str | None = None

    def __call__(self, command, **options):
        self.calls.append(command)
        if self.fails_with is not None:
            return subprocess.CompletedProcess(command, 1, "", self.fails_with)
        if "--requirement" in command:
            self.asked_for = Path(command[command.index("--requirement") + 1]).read_text()
        for file in self.files:
            shutil.copy(file, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """A package index with two wheels, which the lock has."""
    fake = Pip(tmp_path / "index")
    monkeypatch.setattr(downloading.subprocess, "run", fake)
    pinned = tuple(
        locked.LockedWheel(
            path.name, hashlib.sha256(path.read_bytes()).hexdigest(), *path.name.split("-")[:2], "MIT"
        )
        for path in fake.files
    )
    lock = locked.Lock(
        (locked.LockedEnvironment("tflite-runtime", "2.14.0", (3, 11), "aarch64", (2, 34), pinned),)
    )
    for module in (wheels, locked):
        monkeypatch.setattr(module, "shipped_lock", lambda: lock)
    return fake


def test_an_environment_is_fetched_once_and_then_found(tmp_path, pip):
    runtime = RUNTIMES["tflite-runtime"]
    assert cached_environment(runtime, BOOKWORM, cache=tmp_path) is None
    first = fetch_environment(runtime, BOOKWORM, cache=tmp_path)
    pip.fails_with = "no network"
    assert fetch_environment(runtime, BOOKWORM, cache=tmp_path) == first
    assert len(pip.calls) == 1
    assert (first.glibc, first.architecture, first.python) == ((2, 34), "aarch64", (3, 11))
    assert gzip.decompress(first.archive.read_bytes())
    assert first.archive.stat().st_size == first.archive_bytes


def test_pip_is_asked_for_wheels_of_the_board_by_their_hashes_and_runs_nothing_of_them(tmp_path, pip):
    fetch_environment(RUNTIMES["tflite-runtime"], BOOKWORM, cache=tmp_path)
    command = pip.calls[0]
    for option in ("--no-deps", "--only-binary=:all:", "--no-input", "--require-hashes"):
        assert option in command
    assert command[command.index("--python-version") + 1] == "3.11"
    assert "manylinux_2_34_aarch64" in command
    runtime, numpy = pip.asked_for.splitlines()
    assert runtime.startswith("tflite_runtime==2.14.0 --hash=sha256:")
    assert numpy.startswith("numpy==1.26.4 --hash=sha256:")


def test_another_wheel_than_the_locked_one_is_refused_though_pip_brings_it(tmp_path, pip):
    wheel(pip.index, NUMPY_WHEEL, {"numpy/__init__.py": b"import evil"})
    with pytest.raises(ProvisionError, match=r"numpy-.*whl is not the one that Armlet pins"):
        fetch_environment(RUNTIMES["tflite-runtime"], BOOKWORM, cache=tmp_path)
    assert not (tmp_path / "wheels" / NUMPY_WHEEL).exists()
    assert not list(tmp_path.glob("environments/*"))


def test_a_wheel_of_the_cache_that_was_changed_is_fetched_again(tmp_path, pip):
    first = fetch_environment(RUNTIMES["tflite-runtime"], BOOKWORM, cache=tmp_path)
    shutil.rmtree(tmp_path / "environments")
    (tmp_path / "wheels" / NUMPY_WHEEL).write_bytes(b"PK\x03\x04 not really")
    again = fetch_environment(RUNTIMES["tflite-runtime"], BOOKWORM, cache=tmp_path)
    assert again.digest == first.digest
    assert pip.asked_for.startswith("numpy")  # alone: the other one was whole


def test_what_was_packed_of_other_wheels_than_the_lock_has_now_is_not_used(tmp_path, pip, monkeypatch):
    runtime = RUNTIMES["tflite-runtime"]
    fetch_environment(runtime, BOOKWORM, cache=tmp_path)
    old = locked.shipped_lock().environments[0]
    newer = replace(old, wheels=(replace(old.wheels[0], sha256="0" * 64), old.wheels[1]))
    for module in (wheels, locked):
        monkeypatch.setattr(module, "shipped_lock", lambda: locked.Lock((newer,)))
    assert cached_environment(runtime, BOOKWORM, cache=tmp_path) is None


def test_a_version_that_was_named_is_fetched_without_hashes_and_one_that_was_not_is_refused(tmp_path, pip):
    runtime = replace(RUNTIMES["tflite-runtime"], version="2.13.0")
    with pytest.raises(ProvisionError, match="not among"):
        fetch_environment(runtime, BOOKWORM, cache=tmp_path)
    assert pip.calls == []
    named = replace(runtime, named=True)
    environment = fetch_environment(named, BOOKWORM, cache=tmp_path)
    assert "--require-hashes" not in pip.calls[0]
    assert pip.calls[0][-2:] == ["tflite-runtime==2.13.0", "numpy>=1.23.2,<2"]
    assert cached_environment(named, BOOKWORM, cache=tmp_path) == environment
    assert cached_environment(runtime, BOOKWORM, cache=tmp_path) is None


@pytest.mark.parametrize("damage", ["record", "archive", "nothing"])
def test_a_cache_that_is_not_whole_is_packed_anew(tmp_path, pip, damage):
    runtime = RUNTIMES["tflite-runtime"]
    environment = fetch_environment(runtime, BOOKWORM, cache=tmp_path)
    record = next((tmp_path / "environments").glob("*.json"))
    if damage == "record":
        record.write_text(json.dumps({"schema": "other"}))
    elif damage == "archive":
        environment.archive.write_bytes(b"short")
    assert fetch_environment(runtime, BOOKWORM, cache=tmp_path) == environment
    assert len(pip.calls) == 1  # the wheels are in the cache


def test_what_pip_says_is_passed_on(tmp_path, pip):
    pip.fails_with = (
        "WARNING: x\nERROR: Could not find a version that satisfies the requirement tflite-runtime==2.14.0"
    )
    with pytest.raises(ProvisionError, match=r"Could not find a version") as caught:
        fetch_environment(RUNTIMES["tflite-runtime"], BOOKWORM, cache=tmp_path)
    assert "sdk board fetch" in caught.value.hint
