"""`sdk board doctor` finds damage of every kind on a board, mends what can be mended, and says the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import sdk
from device_agent import bootstrap
from sdk.cli import main
from sdk.deploy.provision import wheels
from sdk.graph.writer import write_graph
from tests.sdk.board.machine import this_machine
from tests.sdk.graph.small_graphs import small_network

pytestmark = pytest.mark.ssh


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_runtime) -> Path:
    """The agent's folder of a local board of this test's own, with one model."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data", "ai-edge-litert")
    model = tmp_path / "net.tflite"
    model.write_bytes(write_graph(small_network(size=16)))
    sdk.deploy_model("local", model, runtime="ai-edge-litert")
    return tmp_path / "data/armlet/boards/local/home/.armlet"


def doctor(capsys: pytest.CaptureFixture[str], status: int = 0) -> dict:
    found = main(["board", "doctor", "--board", "local", "--runtime", "ai-edge-litert", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert found == status, document
    return document


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_board_on_which_nothing_is_wrong_says_so(home: Path, capsys) -> None:
    document = doctor(capsys)
    assert document["found"] == []
    assert document["checked"]["environments and agents"] == 2
    assert {kind: document["checked"][kind] for kind in ("names", "releases")} == {"names": 1, "releases": 1}
    assert main(["board", "doctor", "--board", "local"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_damaged_environments_agents_starts_and_launchers_are_mended(home: Path, capsys) -> None:
    [environment] = (home / "env").iterdir()
    [agent] = (home / "agent").iterdir()
    (environment / "numpy" / "__init__.py").write_bytes(b"")
    flip(agent / "device_agent" / "errors.py")
    weights = sorted((home / "store" / "starts").glob("*/weights.xnnpack"))
    for path in weights:
        flip(path, len(path.read_bytes()) // 3)
    (home / "python").write_bytes(b"")
    document = doctor(capsys)
    assert document["healthy"]
    said = " ".join(one["what"] for one in document["found"])
    assert said.count("was damaged") == 2 + len(weights)
    assert "python was lost or damaged" in said
    assert (environment / "numpy" / "__init__.py").stat().st_size > 0
    assert doctor(capsys)["found"] == []


def test_damaged_parts_and_slots_are_named_with_what_to_do(home: Path, tmp_path: Path, capsys) -> None:
    blob = max((home / "store" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    flip(blob)
    document = doctor(capsys, status=1)
    assert not document["healthy"]
    assert "what runs of net: 1 of" in document["found"][0]["what"]
    assert "Deploy it again" in document["found"][0]["what"]
    sdk.deploy_model("local", tmp_path / "net.tflite", runtime="ai-edge-litert")
    assert doctor(capsys)["found"] == []
    (home / "store" / "slots" / "net.json").write_bytes(b"")
    (home / "signatures_required").write_bytes(b"")
    said = [one["what"] for one in doctor(capsys, status=1)["found"]]
    assert any("Deploy net again" in what for what in said)
    assert any("lost its list of allowed signers" in what for what in said)


def test_a_deploy_checks_every_byte_of_the_start_of_what_runs(home: Path, tmp_path: Path, capsys) -> None:
    starts = home / "store" / "starts"
    weights = sorted(starts.glob("*/weights.xnnpack"))
    if not weights:
        pytest.skip("no quick start was made here")
    stat, damaged = weights[0].stat(), weights[0].read_bytes()
    flip(weights[0], len(damaged) // 3)
    damaged = weights[0].read_bytes()
    os.utime(weights[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sdk.deploy_model("local", tmp_path / "net.tflite", runtime="ai-edge-litert").state == "unchanged"
    assert not weights[0].exists() or weights[0].read_bytes() != damaged
    assert main(["status", "--board", "local"]) == 0
    assert "its quick start was damaged on the disk" in " ".join(capsys.readouterr().out.split())


def test_a_bit_flipped_in_the_hosts_cache_is_found_before_a_board_is_blamed(
    tmp_path: Path, monkeypatch
) -> None:
    tree = wheels.pack_tree({"numpy.py": (b"x = 1\n", False)})
    archive = tmp_path / "environments" / "it.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(tree.archive)
    environment = wheels.Environment(
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        python=(3, 11),
        architecture="x86_64",
        glibc=(2, 17),
        wheels=(),
        digest=tree.digest,
        archive=archive,
        archive_sha256=tree.archive_sha256,
        archive_bytes=len(tree.archive),
        unpacked_bytes=6,
    )
    asked: list[Path] = []

    def fetch(runtime, facts, *, cache, progress):
        asked.append(cache)
        archive.write_bytes(tree.archive)
        return environment

    monkeypatch.setattr(wheels, "fetch_environment", fetch)
    runtime = wheels.RUNTIMES["ai-edge-litert"]
    assert wheels.whole_environment(runtime, this_machine(), environment) is environment
    assert asked == []
    flip(archive, 40)
    assert wheels.whole_environment(runtime, this_machine(), environment).archive.read_bytes() == tree.archive
    assert asked == [tmp_path]


def test_a_tree_on_a_board_has_the_digest_that_the_host_gave_it(tmp_path: Path) -> None:
    files = {"a/b.py": (b"1", False), "run": (b"#!", True), "a.py": (b"2", False)}
    for path, (data, executable) in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
        (tmp_path / path).chmod(0o700 if executable else 0o600)
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "b.pyc").write_bytes(b"")
    assert bootstrap.tree_digest(str(tmp_path)) == wheels.pack_tree(files).digest
