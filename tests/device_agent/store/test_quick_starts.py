"""Quick starts: right or not used, never stale, never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from device_agent import __main__ as main_module
from device_agent.errors import AgentError
from device_agent.run.installed import installed_runtime
from device_agent.run.loaded import LoadedModel
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store
from tests.device_agent.store.deploying import deploy, package

pytest.importorskip("ai_edge_litert", reason="tflite-runtime has no cache of packed weights in a file")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "store")


@pytest.fixture
def data() -> bytes:
    return package(size=32)


@pytest.fixture(autouse=True)
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network starts in less time than a start from files takes."""
    monkeypatch.setattr("device_agent.run.quick_start_making.WORTH", 1e9)

    def in_this_process(arguments: list[str], limit: float) -> dict:
        reply, status = main_module.answer(arguments)
        assert status == 0, reply
        return reply

    monkeypatch.setattr("device_agent.run.loaded.call_child", in_this_process)


def kept(store: Store, data: bytes, name: str = "net") -> tuple[Path, LoadedModel]:
    """Deploys, makes the start; its folder, and the model as it was loaded without it."""
    release = deploy(store, data, name)
    cold = LoadedModel.of_release(store, release, warm=False)
    cold.model.set_input(image())
    return cold.keep_start(store, release).folder, cold


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 32, 32, 3), np.float32)


def find(store: Store, name: str = "net") -> starts.QuickStart | None:
    return starts.find(store.starts, store.current(name).package_sha256, installed_runtime())


def test_a_model_that_starts_from_files_gives_the_very_same_answers(store, data):
    _, cold = kept(store, data)
    warm = LoadedModel.load("net", store=store, threads=2)
    assert (cold.start, warm.start) == ("cold", "warm")
    assert (warm.tflite_sha256, warm.package_sha256, warm.usage()) == (
        cold.tflite_sha256,
        cold.package_sha256,
        cold.usage(),
    )
    assert warm.model.inputs == cold.model.inputs
    assert warm.model.outputs == cold.model.outputs
    for seed in range(3):
        np.testing.assert_array_equal(warm.predict(image(seed)), cold.predict(image(seed)))
    assert bytes(warm.model.tflite) == cold.model.tflite


def test_an_int8_model_starts_from_files_too(store, int8_model):
    release = deploy(store, int8_model)
    cold = LoadedModel.of_release(store, release, warm=False)
    assert cold.keep_start(store, release).packed is False
    warm = LoadedModel.load("net", store=store)
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    assert (warm.start, warm.package_sha256) == ("warm", None)
    np.testing.assert_array_equal(warm.predict(x), cold.predict(x))


def test_files_are_for_their_owner_alone_and_the_name_says_what_they_are_of(store, data):
    folder, cold = kept(store, data)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "model.tflite": 0o600,
        "weights.xnnpack": 0o600,
        "start.json": 0o600,
    }
    digest, rest = folder.name.split("-", 1)
    assert digest == cold.package_sha256
    assert rest == f"{installed_runtime().replace(' ', '-')}-{starts.cpu_identity()}"
    assert find(store) is not None


@pytest.mark.parametrize("file", ["model.tflite", "weights.xnnpack", "start.json"])
@pytest.mark.parametrize("how", ["truncated", "overwritten", "emptied", "removed"])
def test_a_damaged_start_is_passed_over_and_made_anew(store, data, file, how):
    folder, cold = kept(store, data)
    path = folder / file
    before = path.stat()
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(
            {
                "truncated": content[:half],
                "emptied": b"",
                "overwritten": content[:half] + b"\xa5" * (len(content) - half),
            }[how]
        )
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk would do it
    assert find(store) is None
    loaded = LoadedModel.load("net", store=store)
    assert loaded.start == "cold"
    np.testing.assert_array_equal(loaded.predict(image()), cold.predict(image()))
    again = LoadedModel.load("net", store=store)
    assert again.start == "warm"
    np.testing.assert_array_equal(again.predict(image()), cold.predict(image()))
    assert find(store) is not None


@pytest.mark.parametrize("what", ["runtime", "core"])
def test_a_start_made_under_another_runtime_or_core_is_not_used(store, data, monkeypatch, what):
    kept(store, data)
    if what == "runtime":
        monkeypatch.setattr("device_agent.run.loaded.installed_runtime", lambda: "ai-edge-litert 9.9.9")
    else:
        monkeypatch.setattr(starts, "cpu_identity", lambda: "0123456789ab")
    assert LoadedModel.load("net", store=store).start == "cold"


def test_another_release_does_not_take_the_start_of_the_one_before(store, data):
    kept(store, data)
    other = package(seed=1, size=32)
    deploy(store, other)
    loaded = LoadedModel.load("net", store=store)
    assert loaded.start == "cold"
    np.testing.assert_array_equal(loaded.predict(image()), LoadedModel(other).predict(image()))


def test_a_start_goes_with_its_release_and_its_bytes_are_counted(store, data):
    folder, _ = kept(store, data)
    size = sum(path.stat().st_size for path in folder.iterdir())
    (store.starts / ".0123.tmp").mkdir()
    with store.locked():
        assert store.collect() == 0
    assert folder.is_dir()
    assert [path.name for path in store.starts.iterdir()] == [folder.name]
    with store.locked():
        store.forget("net")
        assert store.collect() > size
    assert not list(store.starts.iterdir())


def test_a_start_is_not_kept_where_it_saves_too_little(store, data, monkeypatch):
    monkeypatch.setattr("device_agent.run.quick_start_making.WORTH", 0.0)
    with pytest.raises(AgentError, match="save too little"):
        kept(store, data)
    assert not list(store.starts.iterdir())


def test_a_start_that_cannot_be_mended_is_done_without(store, data, monkeypatch):
    folder, cold = kept(store, data)
    (folder / "weights.xnnpack").write_bytes(b"")

    def crashes(arguments: list[str], limit: float) -> dict:
        raise AgentError("`mend` crashed", found="signal 11")

    monkeypatch.setattr("device_agent.run.loaded.call_child", crashes)
    loaded = LoadedModel.load("net", store=store)
    assert loaded.start == "cold"
    np.testing.assert_array_equal(loaded.predict(image()), cold.predict(image()))


def test_a_disk_too_small_for_packed_weights_is_found_out_before_xnnpack_writes(store, data, monkeypatch):
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(
        "device_agent.run.quick_start_model.QuickStartModel.pack",
        lambda *_: pytest.fail("XNNPACK was asked to write"),
    )
    with pytest.raises(OSError, match="No space left"):
        kept(store, data)
    assert not list(store.starts.iterdir())


def test_a_full_disk_leaves_nothing_behind(store, data, monkeypatch):
    monkeypatch.setattr("device_agent.run.quick_start_making.FREE_SHARE", 1.0)
    with pytest.raises(AgentError, match="too little of the disk"):
        kept(store, data)
    assert not list(store.starts.iterdir())


def test_a_decoder_that_is_asked_for_is_used(store, data):
    kept(store, data)
    loaded = LoadedModel.load("net", store=store, kernel="numpy")
    assert (loaded.start, loaded.kernel) == ("cold", "numpy")


def test_cores_are_told_apart_by_make_and_instruction_set(tmp_path):
    def identity(text: str) -> str:
        root = tmp_path / str(abs(hash(text)))
        (root / "proc").mkdir(parents=True, exist_ok=True)
        (root / "proc/cpuinfo").write_text(text)
        return starts.cpu_identity(root)

    core = "processor : {}\nBogoMIPS : {}\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd08\n\n"
    four = "".join(core.format(n, 108.0 + n) for n in range(4))
    assert identity(four) == identity(core.format(0, 54.0))
    assert identity(four) != identity(four.replace("0xd08", "0xd0b"))
    assert identity(four) != identity(four.replace("fp asimd", "fp asimd asimddp"))
