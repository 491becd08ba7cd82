"""The emulated board: what can be checked anywhere, and the real one where root, QEMU and OpenSSH are there."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sdk.api.boards.deploying import deploy_model
from sdk.api.measuring.bench import bench_models
from sdk.api.measuring.tune import tune_model
from sdk.board import virtual as virtual_board
from sdk.board.catalogue import load_board
from sdk.board.emulation import binfmt, processes, tools, userland
from sdk.board.emulation.userland import UserlandRecipe
from sdk.board.ssh.connection import SshConnection, connect
from sdk.board.virtual import VirtualBoard
from sdk.compress.board_form.specialise import for_board
from sdk.compress.weights.prune import prune
from sdk.deploy.provision import instructions
from sdk.deploy.session import open_session
from sdk.deploy.target import Target
from sdk.errors import BoardError, ConnectionFailed
from sdk.explain.run import Report
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.report.terminal import drawing as terminal
from tests.sdk.board.emulated import need_counting, need_runtime, need_virtual_board
from tests.sdk.compress.layered_graphs import prune_pointwise, small_mobilenet, squeezed_mobilenet
from tests.sdk.graph.small_graphs import interpret, small_network

BINFMT = "/proc/sys/fs/binfmt_misc"

# -- what needs nothing ---------------------------------------------------------------------------------------------


def test_a_board_that_is_not_virtual_is_refused(tmp_path: Path):
    with pytest.raises(BoardError, match="rpi4 is not a virtual board"):
        VirtualBoard("rpi4", tmp_path)


def test_without_root_it_says_what_for_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        BoardError, match=r"needs root to start and to stop.*sudo .*board start virtual-arm64"
    ):
        VirtualBoard(folder=tmp_path / "board").start()
    assert not (tmp_path / "board").exists()


def test_missing_programs_are_named_with_the_line_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(tools, "which", lambda tool: None if tool == "sshd" else f"/bin/{tool}")
    with pytest.raises(BoardError, match="sudo apt-get install openssh-server"):
        VirtualBoard(folder=tmp_path / "board").start()


def test_a_statically_linked_qemu_will_do_under_either_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    python = Path(sys.executable).resolve()
    assert tools.is_dynamic(python)
    data = bytearray(python.read_bytes())
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for number in range(count):
        if struct.unpack_from("<I", data, offset + size * number)[0] == 3:  # PT_INTERP
            struct.pack_into("<I", data, offset + size * number, 0)  # PT_NULL
    static = tmp_path / "qemu-aarch64"
    static.write_bytes(data)
    assert not tools.is_dynamic(static)
    programs = {"qemu-aarch64": str(static)}
    monkeypatch.setattr(tools, "which", programs.get)
    assert tools.static_qemu("aarch64") == str(static)
    programs["qemu-aarch64"] = str(python)
    with pytest.raises(BoardError, match="qemu-user-static"):
        tools.static_qemu("aarch64")
    programs["qemu-aarch64-static"] = "/opt/qemu-aarch64-static"
    assert tools.static_qemu("aarch64") == "/opt/qemu-aarch64-static"


def test_a_board_that_does_not_run_has_no_login_and_is_not_stopped(tmp_path: Path):
    board = VirtualBoard(folder=tmp_path)
    assert not board.status().running
    assert board.stop() is False
    with pytest.raises(BoardError, match=r"does not run.*sdk board start virtual-arm64"):
        board.login()


@pytest.mark.parametrize(
    "left_behind",
    [
        "",
        "{",
        "[]",
        '{"pid": 1}',
        '{"pid": OURS, "started": 1, "port": 22}',  # its number is another process now
        json.dumps({"pid": 2**22 + 1, "started": 1, "port": 22}),
    ],
)
def test_state_that_a_power_cut_left_behind_is_no_running_board(
    tmp_path: Path, left_behind: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "state.json").write_text(left_behind.replace("OURS", str(os.getpid())))
    board = VirtualBoard(folder=tmp_path)
    assert not board.status().running
    unregistered: list[str] = []
    monkeypatch.setattr(binfmt, "unregister", unregistered.append)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(userland, "give_to_user", lambda path: None)
    assert board.stop() is False
    assert not (tmp_path / "state.json").exists()
    assert len(unregistered) == 1


def test_the_kernel_is_told_what_debian_tells_it():
    """The rule of Debian's qemu-user-static for AArch64, but for its name and QEMU's path."""
    rule = binfmt.rule("x", "aarch64", "/usr/bin/qemu-aarch64-static")
    magic = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    assert rule == f":x:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:PF"


def test_two_boards_register_qemu_under_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names: set[str] = set()
    monkeypatch.setattr(binfmt, "unregister", names.add)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(userland, "give_to_user", lambda path: None)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
        VirtualBoard(folder=tmp_path / name).stop()
    assert len(names) == 2


# -- building the userland, with a stand-in for mmdebstrap ----------------------------------------------------------


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in mmdebstrap's place; tests write it."""
    script = tmp_path / "bin" / "mmdebstrap"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "KEYRING", script)
    return script


def test_a_userland_is_built_once_and_kept(tmp_path: Path, mmdebstrap: Path):
    mmdebstrap.write_text(
        f"""#!/bin/sh
echo run >>"{tmp_path}/runs"
echo "I: extracting archives..." >&2
for last; do :; done
tar -czf "$last" -C "{tmp_path}" bin
"""
    )
    stages: list[str] = []
    cache = tmp_path / "cache"
    paths = [
        userland.archive("aarch64", cache=cache, progress=lambda s, d, n: stages.append(s)) for _ in range(2)
    ]
    assert paths[0] == paths[1] == userland.archive_path("aarch64", cache)
    assert tarfile.is_tarfile(paths[0])
    assert (tmp_path / "runs").read_text() == "run\n"
    assert "build Debian bookworm arm64: extracting archives" in stages
    assert [path.suffix for path in cache.iterdir() if path != paths[0]] == [".lock"]


def test_two_processes_that_want_it_at_once_build_it_once(tmp_path: Path, mmdebstrap: Path):
    mmdebstrap.write_text(
        f"""#!/bin/sh
echo run >>"{tmp_path}/runs"
sleep 0.3
for last; do :; done
tar -czf "$last" -C "{tmp_path}" bin
"""
    )
    threads = [
        threading.Thread(target=userland.archive, args=("aarch64",), kwargs={"cache": tmp_path / "cache"})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_build_that_fails_gives_its_reason_and_leaves_nothing(tmp_path: Path, mmdebstrap: Path):
    mmdebstrap.write_text(
        '#!/bin/sh\nfor last; do :; done\necho half >"$last"\n'
        "echo 'I: running apt-get update...' >&2\necho 'E: Temporary failure resolving' >&2\nexit 25\n"
    )
    with pytest.raises(BoardError, match=r"could not make a Debian bookworm.*Temporary failure resolving"):
        userland.archive("aarch64", cache=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_damaged_archive_is_removed_so_that_the_next_run_builds_it(tmp_path: Path):
    path = userland.archive_path("aarch64", tmp_path)
    path.write_bytes(b"not a tar")
    with pytest.raises(BoardError, match="damaged"):
        userland.root_folder("aarch64", cache=tmp_path)
    assert not path.exists()
    assert not list(tmp_path.glob("*/root*"))


def test_another_recipe_is_another_userland():
    recipes = (UserlandRecipe("arm64"), UserlandRecipe("armhf"), UserlandRecipe("arm64", packages=("dash",)))
    assert len({recipe.digest for recipe in recipes}) == 3


def test_an_architecture_without_a_userland_is_refused():
    with pytest.raises(BoardError, match=r"aarch64 or armv7l.*riscv64"):
        userland.archive_path("riscv64")


# -- the real one ---------------------------------------------------------------------------------------------------


def namespace_of(board: VirtualBoard) -> str:
    """The process namespace that a running board lives in, by the kernel's name for it."""
    (first,) = processes.children(board.status().pid)
    return os.readlink(f"/proc/{first}/ns/pid")


def processes_in(namespace: str) -> list[str]:
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if os.readlink(link) == namespace:
                found.append(link.parts[2])
        except OSError:
            continue
    return found


def mounts_of(folder: Path) -> list[str]:
    """Mounts that this process sees on or of ``folder``, and those that boards make."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line or line.split(" - ")[1].split()[1] == "armlet"]


def rules() -> set[str]:
    """What the kernel's binfmt_misc holds; mounted for the look alone where it is not."""
    script = "[ -e $0/register ] || mount -t binfmt_misc binfmt_misc $0; ls $0"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, BINFMT], capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    need_virtual_board()
    data = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(data))  # where the commands look for it
        with VirtualBoard() as started:
            assert started.folder == data / "armlet" / "boards" / "virtual-arm64"
            yield started


@pytest.fixture
def connection(board: VirtualBoard) -> Iterator[SshConnection]:
    with connect(**board.login()) as opened:
        yield opened


def says(connection: SshConnection, script: str) -> str:
    return connection.run(["sh", "-c", script]).stdout.decode().strip()


@pytest.mark.ssh
def test_programs_there_are_arm_programs_of_the_core_in_the_board_file(connection: SshConnection):
    assert says(connection, "uname -m") == "aarch64"
    assert "CPU part\t: 0xd08" in says(connection, "cat /proc/cpuinfo")
    assert says(connection, "echo $QEMU_CPU") == load_board("virtual-arm64").qemu_cpu == "cortex-a72"
    assert says(connection, "python3 -c 'import platform; print(platform.machine())'") == "aarch64"
    assert says(connection, "od -An -tx1 -j18 -N2 /bin/bash") == "b7 00"  # e_machine: EM_AARCH64
    assert says(connection, "ls /sys/devices/system/cpu | grep -v cpu") == "possible\npresent"
    identity = "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1"
    assert says(connection, f"cat {identity}") == "0x00000000410fd083"
    assert says(connection, "echo $0; nproc >/dev/null && echo yes") == "sh\nyes"


@pytest.mark.ssh
def test_who_logs_in_owns_a_home_and_nothing_else(connection: SshConnection, board: VirtualBoard):
    assert says(connection, "id -un; cd; pwd") == "armlet\n/home/armlet"
    assert says(connection, "touch /usr/x /etc/x /x /sys/x 2>&1 | grep -c 'Read-only\\|denied'") == "4"
    assert "root" not in says(connection, "find / -xdev -writable -type f -user root 2>/dev/null")
    connection.put(b"some bytes", "notes/a.bin")
    assert (board.home / "notes" / "a.bin").read_bytes() == b"some bytes"
    assert connection.get("notes/a.bin", max_bytes=100) == b"some bytes"
    assert (board.folder.stat().st_mode & 0o777, board.user_key.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.ssh
def test_a_key_that_it_does_not_know_is_refused(board: VirtualBoard, tmp_path: Path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    with pytest.raises(ConnectionFailed):
        connect(**{**board.login(), "key": tmp_path / "other"})


@pytest.mark.ssh
def test_starting_it_again_changes_nothing(board: VirtualBoard):
    before = board.status()
    assert board.start() == before
    assert before.running
    assert VirtualBoard().status() == before


@pytest.mark.ssh
def test_its_processes_see_none_of_this_machines(connection: SshConnection):
    assert str(os.getpid()) not in says(connection, "ls /proc").split()
    assert len(says(connection, "ls -d /proc/[0-9]*").split()) < 20


@pytest.mark.ssh
@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_a_deploy_there_predicts_what_the_host_predicts(board: VirtualBoard, tmp_path: Path, runtime: str):
    need_runtime(runtime)
    tflite = write_graph(small_network(size=16, channels=32))
    name = f"small-{runtime}"
    (tmp_path / "small.armlet").write_bytes(pack(tflite, metadata={"name": name}))
    deployed = deploy_model("virtual-arm64", tmp_path / "small.armlet", runtime=runtime)
    assert (deployed.runtime, deployed.state) == (runtime, "confirmed")
    assert deployed.decode_kernels[0] == "c"
    images = np.random.default_rng(1).normal(0, 1, (3, 16, 16, 3)).astype(np.float32)
    with open_session("virtual-arm64", Target(runtime=runtime)) as session:
        assert session.provisioned.sent_bytes == 0
        assert session.provisioned.facts.machine == "aarch64"
        run = session.agent.run(name, images)
    expected = np.concatenate([interpret(tflite, image[None]) for image in images])
    np.testing.assert_allclose(run.outputs, expected, rtol=1e-5, atol=1e-5)
    assert (run.outputs.argmax(1) == expected.argmax(1)).all()
    again = deploy_model("virtual-arm64", tmp_path / "small.armlet", runtime=runtime)
    assert again.sent_bytes == again.provisioned_bytes == 0


@pytest.mark.ssh
def test_squeeze_and_excitation_runs_sparse_there_and_answers_as_on_the_host(
    board: VirtualBoard, tmp_path: Path
):
    need_counting()
    need_runtime("ai-edge-litert")
    pruned = prune_pointwise(squeezed_mobilenet(64), 0.8)
    made = for_board(pruned, load_board("virtual-arm64"))
    assert made.form == "sparse"
    dense, sparse = (instructions.count_inference(write_graph(g)).instructions for g in (pruned, made.graph))
    assert sparse < 0.9 * dense
    (tmp_path / "squeezed.tflite").write_bytes(write_graph(made.graph))
    deploy_model("virtual-arm64", tmp_path / "squeezed.tflite", runtime="ai-edge-litert")
    image = np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    with open_session("virtual-arm64", Target(runtime="ai-edge-litert")) as session:
        there = session.agent.run("squeezed", image).outputs
    expected = interpret(write_graph(pruned), image)
    np.testing.assert_allclose(there, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.ssh
def test_a_32_bit_board_gets_its_own_runtime_and_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    need_virtual_board("armv7l")
    need_runtime("tflite-runtime", "armv7l")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    tflite = write_graph(small_network(size=16, channels=32))
    (tmp_path / "small.armlet").write_bytes(pack(tflite, metadata={"name": "small"}))
    with VirtualBoard("virtual-armhf"):
        deployed = deploy_model("virtual-armhf", tmp_path / "small.armlet")
        assert (deployed.runtime, deployed.state) == ("tflite-runtime", "confirmed")
        assert deployed.decode_kernels[0] == "c"
        with open_session("virtual-armhf", Target()) as session:
            assert session.provisioned.facts.wheel_architecture == "armv7l"
            image = np.random.default_rng(1).normal(0, 1, (1, 16, 16, 3)).astype(np.float32)
            run = session.agent.run("small", image)
    np.testing.assert_allclose(run.outputs, interpret(tflite, image), rtol=1e-5, atol=1e-5)


@pytest.mark.ssh
def test_a_measurement_there_is_labelled_emulated(board: VirtualBoard, tmp_path: Path):
    need_runtime("ai-edge-litert")
    (tmp_path / "small.tflite").write_bytes(write_graph(small_network(size=16, channels=32)))
    report = bench_models("virtual-arm64", [tmp_path / "small.tflite"], samples=16, seconds=1.0)
    assert report.emulated
    assert report.models[0].measurement.emulated
    assert report.models[0].measurement.machine == "aarch64"
    model = report.models[0]
    assert model.macs / 4 < model.instructions < 20 * model.macs  # a small network is mostly overhead
    assert any("not time" in note for note in report.notes)
    assert Report.from_json(report.to_json()).models[0].instructions == model.instructions
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal.report(report))
    text = console.export_text()
    assert "Instructions of one inference" in text
    assert "Latency of one inference" not in text


@pytest.fixture
def own_board(tmp_path: Path) -> Iterator[VirtualBoard]:
    """A board that a test may kill."""
    need_virtual_board()
    board = VirtualBoard(folder=tmp_path / "board")
    yield board
    board.stop()


@pytest.mark.alone  # it looks at all rules of the kernel
@pytest.mark.ssh
def test_stopped_or_killed_it_leaves_no_process_no_mount_and_no_rule(own_board: VirtualBoard):
    board, key, before = own_board, b"", rules()
    for how in (signal.SIGTERM, signal.SIGKILL):
        status = board.start()
        namespace = namespace_of(board)
        ours = rules() - before
        assert len(ours) == 1
        assert mounts_of(board.folder) == []
        with connect(**board.login()) as connection:
            key = key or board.user_key.read_bytes()
            # A child that outlives the login: what a killed benchmark might leave.
            says(connection, "touch stays; setsid sleep 300 >/dev/null 2>&1 </dev/null &")
            assert len(processes_in(namespace)) > 2
            if how == signal.SIGKILL:
                assert status.pid is not None
                os.kill(status.pid, how)
                # Nobody waits for this one, so the kernel is given a moment.
                end = time.monotonic() + 10
                while processes_in(namespace) and time.monotonic() < end:
                    time.sleep(0.05)
            else:
                assert board.stop() is True
        assert not board.status().running
        assert processes_in(namespace) == []
        assert (board.home / "stays").exists()
    assert board.stop() is False  # it was killed; what only we can take away goes now
    assert not ours & rules()
    assert board.start().running  # after a kill as after a stop, with the same keys
    assert board.user_key.read_bytes() == key
    assert board.stop() is True
    assert board.stop() is False
    assert not ours & rules()
    assert mounts_of(board.folder) == []


@pytest.mark.alone  # it looks at all rules of the kernel
@pytest.mark.ssh
def test_a_server_that_does_not_start_says_why_and_leaves_nothing(
    own_board: VirtualBoard, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        virtual_board, "SSHD_CONFIG", virtual_board.SSHD_CONFIG + "NoSuchOption {environment}\n"
    )
    before = rules()
    with pytest.raises(BoardError, match=r"does not start.*NoSuchOption"):
        own_board.start()
    assert not own_board.status().running
    assert rules() <= before


@pytest.mark.ssh
@pytest.mark.tensorflow
def test_tuning_there_ranks_by_predicted_time_and_zeros_win(board: VirtualBoard, tmp_path: Path):
    need_counting()
    for runtime in ("ai-edge-litert", "tflite-runtime"):
        need_runtime(runtime)
    model, data = tmp_path / "net.tflite", tmp_path / "data.npz"
    model.write_bytes(write_graph(small_mobilenet(64)))
    coarse = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3))
    np.savez(data, x=coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))
    tuned = tune_model(
        "virtual-arm64",
        model,
        data,
        preprocess="tf",
        max_loss=100.0,
        sparsities=(0.9,),
        channels=(),
        effort="none",
    )
    assert tuned.emulated
    assert "rpi4, predicted, not measured" in tuned.ranked_by
    assert {c.threads for c in tuned.candidates} == {1}
    found = {(c.variant, c.runtime): c.instructions for c in tuned.candidates}
    assert {v for v, _ in found} == {"float", "float, 90 % zero", "float16", "int8", "dynamic int8"}
    assert {r for _, r in found} == {"ai-edge-litert", "tflite-runtime"}
    assert tuned.winner.variant == "float, 90 % zero"
    cost = {(c.variant, c.runtime): c.cost for c in tuned.candidates}
    assert cost["float, 90 % zero", "ai-edge-litert"] < cost["float", "ai-edge-litert"]
    # tflite-runtime does not skip zeros on this core, and the table shows it.
    assert found["float, 90 % zero", "tflite-runtime"] > 1.2 * found["float, 90 % zero", "ai-edge-litert"]
    with open_session("virtual-arm64", Target()) as session:
        assert [r.name for r in session.agent.status().releases].count("net") == 1
        # What the agent there answers is the original's answer for the image as it is: it flips for the mirrored net.
        image = np.random.default_rng(2).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
        there = session.agent.run("net", image).outputs
    pruned = prune(read_graph(model.read_bytes()), 0.9, block=2)
    np.testing.assert_allclose(there, interpret(write_graph(pruned), image), atol=1e-4)
