"""Releases that others carry: exported, brought to a board by copying, by skopeo or by Ansible, and answering there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdk.api.boards.exporting import export_releases
from sdk.api.files.golden import golden_pair
from sdk.board.ssh.command import Completed
from sdk.cli import main
from sdk.deploy import exporting
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.provisioning import provision
from sdk.errors import ArmletError, ModelError
from sdk.graph.writer import write_graph
from sdk.package import oci_layout as oci
from sdk.package.pack import pack
from sdk.package.release import prepare
from tests.sdk.conftest import ReadyBoard, start_sshd
from tests.sdk.graph.small_graphs import host_outputs, images, small_network


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, any_environment) -> Iterator[ReadyBoard]:
    """A board behind a real sshd that has an agent and a runtime."""
    with start_sshd(tmp_path_factory.mktemp("board")) as server, server.connect() as opened:
        yield ReadyBoard(server, opened, provision(opened, runtime=any_environment.runtime))


@pytest.fixture
def agent(board: ReadyBoard) -> RemoteAgent:
    """Its agent, with an empty store."""
    shutil.rmtree(board.server.home / ".armlet" / "store", ignore_errors=True)
    return RemoteAgent(board.connection, board.provisioned.command)


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    path = tmp_path / "small.armlet"
    path.write_bytes(pack(write_graph(small_network(0)), metadata={"name": "small"}))
    return path


def import_on(board: ReadyBoard, path: Path, *options: str) -> tuple[Completed, dict]:
    """What the agent says to what was carried to ``path``."""
    command = [
        "sh",
        "-c",
        '"$HOME/.armlet/python" -m device_agent import "$@"',
        "armlet",
        str(path),
        *options,
    ]
    done = board.connection.run(command, timeout_seconds=120)
    return done, json.loads(done.stdout)


def expect_answers(agent: RemoteAgent, name: str, model: bytes) -> None:
    inputs = images(3)
    outputs = agent.run(name, inputs).outputs
    np.testing.assert_allclose(outputs, host_outputs(model, inputs), atol=1e-4)


# ------------------------------------------------------------------------------------------------ the OCI layout


def test_a_layout_is_one_of_the_specification(packaged: Path, tmp_path: Path) -> None:
    exported = export_releases([packaged], tmp_path / "release", "oci")
    assert json.loads((tmp_path / "release" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "release" / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "small"}

    def blob(descriptor: dict) -> bytes:
        algorithm, _, digest = descriptor["digest"].partition(":")
        data = (tmp_path / "release" / "blobs" / algorithm / digest).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (descriptor["size"], digest)
        return data

    manifest = json.loads(blob(entry))
    assert manifest["artifactType"] == manifest["config"]["mediaType"] == oci.ARTIFACT_TYPE
    assert manifest["config"]["digest"] == f"sha256:{exported.releases[0].release}"
    record = json.loads(blob(manifest["config"]))
    parts = [layer for layer in manifest["layers"] if layer["mediaType"] == oci.PART_TYPE]
    assert [[part["digest"][7:], part["size"]] for part in parts] == record["parts"]
    assert b"".join(blob(part) for part in parts) == packaged.read_bytes()
    assert [layer["mediaType"] for layer in manifest["layers"][len(parts) :]] == [oci.GOLDEN_TYPE] * 2
    files = [path for path in (tmp_path / "release").rglob("*") if path.is_file()]
    assert (exported.files, exported.bytes) == (len(files), sum(path.stat().st_size for path in files))


def test_an_export_is_what_a_deploy_would_send_and_the_same_every_time(
    packaged: Path, tmp_path: Path
) -> None:
    data = packaged.read_bytes()
    release = prepare(data, "small", golden=golden_pair(data))
    for name in ("first.tar", "second.tar"):
        exported = export_releases([packaged], tmp_path / name, "oci")
        assert exported.releases[0].release == release.id
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


@pytest.mark.parametrize("carrier", ["folder", "tar", "skopeo", "skopeo from a tar"])
@pytest.mark.ssh
def test_what_was_carried_answers_on_the_board(
    carrier: str, packaged: Path, board: ReadyBoard, agent: RemoteAgent, tmp_path: Path
) -> None:
    tar = carrier.endswith("tar")
    exported = export_releases([packaged], tmp_path / ("release.tar" if tar else "release"), "oci")
    carried = board.server.home / f"carried-{carrier.replace(' ', '-')}"
    if carrier.startswith("skopeo"):
        skopeo = shutil.which("skopeo")
        if skopeo is None:
            pytest.skip("needs skopeo")
        source = f"{'oci-archive' if tar else 'oci'}:{exported.output}:small"
        # Through what a registry keeps, and back.
        subprocess.run([skopeo, "copy", "-q", source, f"dir:{tmp_path / 'kept'}"], check=True)
        subprocess.run([skopeo, "copy", "-q", f"dir:{tmp_path / 'kept'}", f"oci:{carried}:v1"], check=True)
    elif tar:
        shutil.copyfile(exported.output, carried)
    else:
        shutil.copytree(exported.output, carried)
    done, answer = import_on(board, carried)
    assert done.status == 0, answer
    (imported,) = answer["releases"]
    assert (imported["name"], imported["state"]) == ("small", "confirmed")
    assert imported["release"] == exported.releases[0].release
    assert imported["check"]["largest_difference"] is not None  # the golden pair came along
    expect_answers(agent, "small", write_graph(small_network(0)))
    # Once more there is nothing to do, nor for a deploy of the same package.
    assert import_on(board, carried)[1]["releases"][0]["state"] == "unchanged"
    data = packaged.read_bytes()
    assert agent.deploy(data, "small", golden=golden_pair(data)).state == "unchanged"


@pytest.mark.ssh
def test_several_releases_travel_together_and_one_may_be_picked(
    board: ReadyBoard, agent: RemoteAgent, tmp_path: Path
) -> None:
    sources = []
    for seed, name in enumerate(("door", "gate")):
        sources.append(tmp_path / f"{name}.armlet")
        sources[-1].write_bytes(pack(write_graph(small_network(seed)), metadata={"name": name}))
    assert main(["export", *map(str, sources), "--format", "oci", "-o", str(tmp_path / "both.tar")]) == 0
    shutil.copyfile(tmp_path / "both.tar", board.server.home / "both.tar")
    _, answer = import_on(board, board.server.home / "both.tar", "gate")
    assert [imported["name"] for imported in answer["releases"]] == ["gate"]
    expect_answers(agent, "gate", write_graph(small_network(1)))
    _, answer = import_on(board, board.server.home / "both.tar", "--keep-on-trial")
    assert [imported["state"] for imported in answer["releases"]] == ["trial", "unchanged"]
    done, answer = import_on(board, board.server.home / "both.tar", "roof")
    assert done.status == 2
    assert "door, gate" in answer["expected"]


@pytest.mark.ssh
def test_a_release_whose_answers_are_wrong_leaves_the_old_one_running(
    packaged: Path, board: ReadyBoard, agent: RemoteAgent, tmp_path: Path
) -> None:
    data = packaged.read_bytes()
    agent.deploy(data, "small", golden=golden_pair(data))
    other = pack(write_graph(small_network(1)), metadata={"name": "small"})
    golden = golden_pair(other)
    off = replace(golden, outputs=tuple(output + 1 for output in golden.outputs), alternatives=())
    wrong = prepare(other, "small", golden=off)
    exporting.export([wrong], tmp_path / "wrong.tar", "oci")
    done, answer = import_on(board, tmp_path / "wrong.tar")
    assert done.status == 2
    assert "went back" in answer["what"]
    expect_answers(agent, "small", write_graph(small_network(0)))
    (slot,) = agent.status().releases
    assert [event.event for event in slot.history] == ["confirmed", "reverted"]


def test_an_export_overwrites_nothing(packaged: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there.tar").write_text("mine")
    for name, kind in (("there", "oci"), ("there", "ansible"), ("there.tar", "oci")):
        with pytest.raises(ArmletError, match="there already"):
            export_releases([packaged], tmp_path / name, kind)
    assert (tmp_path / "there.tar").read_text() == "mine"
    with pytest.raises(ArmletError, match="no-such-folder"):
        export_releases([packaged], tmp_path / "no-such-folder" / "x", "oci")
    with pytest.raises(ArmletError, match="format"):
        export_releases([packaged], tmp_path / "x", "floppy")
    assert {path.name for path in tmp_path.iterdir()} == {"there", "there.tar", "small.armlet"}


def test_two_releases_of_one_name_are_refused(packaged: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="same name"):
        export_releases([packaged, packaged], tmp_path / "both", "oci")
    assert not (tmp_path / "both").exists()


# ------------------------------------------------------------------------------------------------ Ansible


class Ansible:
    """ansible-playbook on an exported role, for one board behind sshd."""

    def __init__(self, folder: Path, board: ReadyBoard, remote: Path) -> None:
        program = Path(sys.executable).with_name("ansible-playbook")
        if not program.exists():
            pytest.skip("needs ansible-core")
        self.program = program
        self.folder, self.remote = folder, remote
        login = board.server.login
        (folder / "hosts.ini").write_text(
            f"[kitchen]\noven ansible_host={login['host']} ansible_port={login['port']} "
            f"ansible_ssh_private_key_file='{login['key']}' "
            + r"""ansible_ssh_common_args="-F none -o 'UserKnownHostsFile=\"{known_hosts}\"'" """.format(
                **login
            )
            + "\n"
        )

    def run(self, playbook: Path, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            [self.program, "-i", self.folder / "hosts.ini", playbook, *options],
            capture_output=True,
            text=True,
            timeout=300,
            env={
                **os.environ,
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_REMOTE_TMP": str(self.remote),  # ansible copies through no folder with a space
                "ANSIBLE_SSH_TRANSFER_METHOD": "piped",  # the server of the tests has no SFTP
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "LC_ALL": "C.UTF-8",
            },
        )
        return done.returncode, done.stdout + done.stderr


@pytest.mark.ssh
def test_ansible_brings_a_release_once_and_keeps_the_old_one_where_the_new_one_fails(
    packaged: Path, board: ReadyBoard, agent: RemoteAgent, tmp_path: Path, socket_folder: Path
) -> None:
    ansible = Ansible(tmp_path, board, remote=socket_folder)
    export_releases([packaged], tmp_path / "release", "ansible")
    playbook = tmp_path / "release" / "playbook.yml"
    assert ansible.run(playbook, "--syntax-check")[0] == 0
    yaml = pytest.importorskip("yaml")  # it comes with Ansible
    for path in (tmp_path / "release").rglob("*.yml"):
        assert yaml.safe_load(path.read_text())

    status, said = ansible.run(playbook, "--check")
    assert status == 0, said
    assert agent.status().releases == ()

    status, said = ansible.run(playbook)
    assert status == 0, said
    assert "changed=0" not in said
    expect_answers(agent, "small", write_graph(small_network(0)))
    status, said = ansible.run(playbook)
    assert status == 0, said
    assert "changed=0" in said

    # A limit that no board keeps sends a good release back.
    other = tmp_path / "other.armlet"
    other.write_bytes(pack(write_graph(small_network(1)), metadata={"name": "small"}))
    export_releases([other], tmp_path / "other", "ansible")
    limit = ("-e", '{"armlet_import_options": ["--max-inference-seconds=0.000000001"]}')
    status, said = ansible.run(tmp_path / "other" / "playbook.yml", *limit)
    assert status != 0
    assert "went back" in said
    expect_answers(agent, "small", write_graph(small_network(0)))


@pytest.mark.ssh
def test_ansible_says_what_to_do_about_a_board_without_an_agent(
    packaged: Path, board: ReadyBoard, tmp_path: Path, socket_folder: Path
) -> None:
    ansible = Ansible(tmp_path, board, remote=socket_folder)
    export_releases([packaged], tmp_path / "release", "ansible")
    status, said = ansible.run(tmp_path / "release" / "playbook.yml", "-e", "armlet_agent=/nowhere/python")
    assert status != 0
    assert "no working agent" in said
    assert "sdk deploy" in said
