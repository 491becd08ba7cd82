"""The lock of wheels: what ships covers every runtime and board, and the command that renews it asks what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agent.record.schema import write
from sdk.board.catalogue import list_boards
from sdk.deploy.provision import locked, renewing
from sdk.deploy.provision.downloading import least_glibc
from sdk.deploy.provision.wheels import NUMPY_ARCHITECTURES, RUNTIMES
from sdk.errors import ProvisionError


def test_the_lock_has_wheels_with_hashes_for_every_runtime_python_and_processor() -> None:
    lock = locked.shipped_lock()
    for runtime in RUNTIMES.values():
        low, high = runtime.pythons
        for minor in range(low[1], high[1] + 1):
            for architecture in runtime.architectures:
                found = lock.of(runtime.name, runtime.version, (3, minor), architecture)
                assert found, f"{runtime.name} for Python 3.{minor} on {architecture}: run `make lock`"
                for environment in found:
                    names = [wheel.name for wheel in environment.wheels]
                    assert names == [
                        runtime.name,
                        *(["numpy"] if architecture in NUMPY_ARCHITECTURES else []),
                    ]
                    assert environment.glibc == max(least_glibc(wheel.file) for wheel in environment.wheels)
    assert all(wheel.licence != "unknown" for e in lock.environments for wheel in e.wheels)


def test_every_runtime_of_the_catalogue_is_pinned() -> None:
    for board in list_boards():
        for choice in board.runtimes:
            assert choice.version in locked.shipped_lock().versions(choice.name), board.name


def test_a_damaged_lock_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = locked.LOCK_FILE.read_text()
    for damaged in (text[:-20], text.replace('"sha256": "', '"sha256": "x'), "", '{"schema": "other"}'):
        with pytest.raises(ProvisionError):
            locked.parse_lock(damaged.encode())
    monkeypatch.setattr(locked, "LOCK_FILE", tmp_path / "wheels_lock.json")
    with pytest.raises(ProvisionError, match="no wheel is trusted"):
        locked.shipped_lock.__wrapped__()


def report(*files: str, licence: str = "Apache Software License") -> dict:
    """What `pip install --report` says of wheels."""
    return {
        "install": [
            {
                "download_info": {
                    "url": f"https://files.example/{file}",
                    "archive_info": {"hashes": {"sha256": "a" * 64}},
                },
                "metadata": {
                    "name": file.split("-")[0],
                    "version": file.split("-")[1],
                    "classifier": [f"License :: OSI Approved :: {licence}"],
                },
            }
            for file in files
        ]
    }


def index(wanted, python, architecture, glibc) -> dict:
    """A package index with one runtime for every board and a newer numpy for a newer C library."""
    if glibc < (2, 17):
        raise AssertionError("older than any wheel")
    name = wanted[0].partition("==")[0]
    numpy = (
        "numpy-2.4-cp-cp-manylinux_2_28_x.whl" if glibc >= (2, 28) else "numpy-2.2-cp-cp-manylinux_2_17_x.whl"
    )
    return report(f"{name}-1-cp-cp-manylinux_2_17_x.whl", *([numpy] if len(wanted) == 2 else []))


def test_a_renewed_lock_has_one_environment_for_each_c_library_that_matters() -> None:
    lock = renewing.renewed(index)
    assert [e.glibc for e in lock.of("ai-edge-litert", "2.3.0", (3, 12), "aarch64")] == [(2, 28), (2, 17)]
    assert [e.glibc for e in lock.of("tflite-runtime", "2.14.0", (3, 9), "armv7l")] == [(2, 17)]
    board = ("ai-edge-litert", "2.3.0", (3, 12), "aarch64")
    assert [lock.find(*board, glibc).wheels[1].version for glibc in ((2, 40), (2, 28), (2, 27))] == [
        "2.4",
        "2.4",
        "2.2",
    ]
    assert lock.find(*board, (2, 16)) is None
    assert locked.parse_lock(json.dumps(write(lock)).encode()) == lock
    assert lock.environments[0].wheels[0].licence == "Apache-2.0"


def test_a_runtime_that_is_gone_from_the_index_ends_a_renewal() -> None:
    def nothing(*asked) -> dict:
        raise ProvisionError("pip could not fetch it", found="ERROR: No matching distribution found for it")

    with pytest.raises(ProvisionError, match="has no wheels of"):
        renewing.renewed(nothing)

    def no_network(*asked) -> dict:
        raise ProvisionError("pip could not fetch it", found="ERROR: no network")

    with pytest.raises(ProvisionError, match="could not fetch"):
        renewing.renewed(no_network)


def test_a_renewal_writes_the_file_and_a_check_only_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(renewing, "LOCK_FILE", tmp_path / "lock.json")
    monkeypatch.setattr(renewing, "renewed", lambda: locked.shipped_lock())
    assert renewing.main(["--check"]) == 1
    assert not (tmp_path / "lock.json").exists()
    assert renewing.main([]) == 0
    assert (tmp_path / "lock.json").read_bytes() == locked.LOCK_FILE.read_bytes()
    assert renewing.main(["--check"]) == 0
    assert " wheels, changed" in capsys.readouterr().out
