"""Making a board ready over real SSH: sent once, proved to work, and what ran before survives what does not."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sdk.board.ssh.command import Completed
from sdk.board.ssh.files import Files
from sdk.deploy.provision import provisioning
from sdk.deploy.provision.provisioning import agent_tree, provision, read_facts
from sdk.deploy.provision.wheels import RUNTIMES, Environment
from sdk.deploy.session import accepted_agent
from sdk.errors import ProvisionError, RemoteError

pytestmark = pytest.mark.ssh


@pytest.fixture
def connection(bare):
    with bare.connect() as opened:
        yield opened


def fake_environment(folder: Path, like: Environment, files: dict[str, bytes]) -> Environment:
    """An environment of ``files`` in a cache in ``folder``, which passes for ``like``."""
    from sdk.deploy.provision.wheels import pack_tree

    tree = pack_tree({path: (data, False) for path, data in files.items()})
    archive = folder / f"{tree.digest}.tar.gz"
    archive.write_bytes(tree.archive)
    return replace(
        like,
        digest=tree.digest,
        archive=archive,
        archive_sha256=tree.archive_sha256,
        archive_bytes=len(tree.archive),
        unpacked_bytes=tree.unpacked_bytes,
    )


def test_facts_are_those_of_the_login(server):
    with server.connect() as connection:
        facts = read_facts(connection)
    assert facts.home == str(server.home)
    assert facts.python is not None


def test_both_runtimes_are_pushed_tested_and_not_pushed_again(connection, environment):
    check_that_it_is_pushed_once(connection, environment)


def test_the_same_behind_openssh(openssh_server, environment):
    shutil.rmtree(openssh_server.home / ".armlet", ignore_errors=True)
    with openssh_server.connect() as connection:
        check_that_it_is_pushed_once(connection, environment)


def check_that_it_is_pushed_once(connection, environment):
    stages: list[str] = []
    first = provision(
        connection, runtime=environment.runtime, progress=lambda stage, *_: stages.append(stage)
    )
    assert (first.runtime, first.runtime_version) == (environment.runtime, environment.runtime_version)
    assert first.delegate == "xnnpack"
    assert "numpy" in first.decode_kernels
    assert first.sent_bytes > environment.archive_bytes
    assert {"push the runtime", "push the agent", "smoke test"} <= set(stages)

    stages.clear()
    second = provision(
        connection, runtime=environment.runtime, progress=lambda stage, *_: stages.append(stage)
    )
    assert second == replace(first, sent_bytes=0, facts=second.facts)
    assert stages == ["look at the board"]


def test_everything_on_the_board_is_private(ready_local):
    root = ready_local.server.home / ".armlet"
    for folder, folders, files in os.walk(root):
        for path in [Path(folder), *(Path(folder) / name for name in files)]:
            assert path.stat().st_mode & 0o077 == 0, path
        folders[:] = [
            name for name in folders if name != "__pycache__"
        ]  # Python's own, inside a private folder


def test_the_agent_answers_with_the_environment_and_nothing_else(ready_local):
    # Were the interpreter's own packages seen, a test could pass with what the board does not have.
    *before, _, _ = ready_local.provisioned.command
    code = "import sys, numpy; print(numpy.__file__); print(any('site-packages' in p for p in sys.path))"
    done = ready_local.connection.run([*before, "-c", code])
    path, packages = done.stdout.decode().splitlines()
    assert "/.armlet/env/" in path
    assert packages == "False"


def test_the_launcher_runs_python_with_the_agent(ready_local):
    launcher = str(ready_local.server.home / ".armlet" / "python")
    code = "from device_agent import Agent; import device_agent; print(device_agent.__file__)"
    done = ready_local.connection.run([launcher, "-c", code])
    assert done.status == 0, done.stderr
    assert b"/.armlet/agent/" in done.stdout


def test_the_c_decoder_is_put_beside_the_agent_and_used(bare, connection, any_environment, c_kernel):
    told: list[str] = []

    def build(architecture: str) -> bytes:
        told.append(architecture)
        return c_kernel.read_bytes()

    ready = provision(connection, runtime=any_environment.runtime, kernel=build)
    assert told == [ready.facts.wheel_architecture]
    assert ready.decode_kernels == ("c", "numpy")
    assert list((bare.home / ".armlet" / "agent").glob("*/device_agent/package/_huffman.so"))


def test_a_decoder_for_another_processor_leaves_decoding_to_numpy(bare, connection, any_environment):
    ready = provision(connection, runtime=any_environment.runtime, kernel=b"\x7fELF of another machine")
    assert ready.decode_kernels == ("numpy",)


def test_the_agents_tree_holds_its_modules_and_no_tests(c_kernel):
    assert agent_tree().digest != agent_tree(c_kernel.read_bytes()).digest
    assert agent_tree().archive == agent_tree().archive


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_runtime_that_fails_its_smoke_test_is_not_used_and_the_old_one_still_is(
    bare, connection, any_environment, tmp_path, monkeypatch
):
    good = provision(connection, runtime=any_environment.runtime)
    launcher = (bare.home / ".armlet" / "python").read_bytes()
    broken = fake_environment(
        tmp_path,
        any_environment,
        {"tflite_runtime/__init__.py": b"raise ImportError('built for another glibc')"},
    )
    monkeypatch.setattr(provisioning, "fetch_environment", lambda *a, **o: broken)
    with pytest.raises(ProvisionError, match="does not work on the board"):
        provision(connection, runtime=any_environment.runtime)
    assert (bare.home / ".armlet" / "python").read_bytes() == launcher
    monkeypatch.undo()
    again = provision(connection, runtime=any_environment.runtime)
    assert (again.command, again.sent_bytes) == (good.command, 0)


def test_a_damaged_archive_is_refused_by_the_board(bare, connection, any_environment, tmp_path, monkeypatch):
    damaged = fake_environment(tmp_path, any_environment, {"a.py": bytes(100_000)})
    data = bytearray(damaged.archive.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.archive.write_bytes(bytes(data))
    monkeypatch.setattr(provisioning, "fetch_environment", lambda *a, **o: damaged)
    monkeypatch.setattr(provisioning, "whole_environment", lambda *a, **o: damaged)  # the host would see it
    with pytest.raises(ProvisionError, match="could not unpack"):
        provision(connection, runtime=any_environment.runtime)
    assert list((bare.home / ".armlet" / "env").iterdir()) == []


def test_a_board_without_room_is_told_before_anything_is_sent(bare, connection, any_environment):
    facts = replace(read_facts(connection), free_disk_bytes=50 << 20)
    with pytest.raises(ProvisionError, match="too full"):
        provision(connection, facts=facts, runtime=any_environment.runtime)
    assert not (bare.home / ".armlet").exists()


def test_a_board_without_python_is_told_so(connection):
    facts = replace(read_facts(connection), python=None)
    with pytest.raises(ProvisionError, match="no runtime has wheels") as caught:
        provision(connection, facts=facts)
    assert "no python3" in caught.value.found


def test_a_transfer_that_is_cut_leaves_nothing_and_the_next_one_succeeds(bare, any_environment, monkeypatch):
    with bare.connect() as cut:
        facts = read_facts(cut)

        def hang_up(count: int) -> None:
            if count > 2 << 20:
                cut.close()

        original = cut.run
        monkeypatch.setattr(
            cut, "run", lambda argv, **options: original(argv, **{**options, "sent": hang_up})
        )
        with pytest.raises(Exception, match="was lost"):
            provision(cut, facts=facts, runtime=any_environment.runtime)
    env = bare.home / ".armlet" / "env"
    assert not env.exists() or all(path.name.startswith(".unpacking-") for path in env.iterdir())
    with bare.connect() as second:
        assert provision(second, runtime=any_environment.runtime).sent_bytes > 0


# -- a board that lies ------------------------------------------------------------------------------------------------


class LyingBoard:
    """A fake connection: facts and unpacking as they should be, and a smoke test that answers what it likes."""

    address = "pi@board"

    def __init__(self, facts: str, smoke: bytes, status: int = 0) -> None:
        self.facts, self.smoke, self.status = facts, smoke, status
        self.files: dict[str, bytes] = {}

    def run(self, argv, *, stdin=b"", timeout_seconds=60.0, max_output_bytes=0, sent=None) -> Completed:
        if argv[0] == "sh":
            return Completed(tuple(argv), 0, self.facts.encode(), b"")
        if argv[-1] == "smoke":
            return Completed(tuple(argv), self.status, self.smoke, b"")
        return Completed(tuple(argv), 0, b"", b"")  # every tree is there already

    def put(self, source, remote, *, mode=0o600, sent=None) -> None:
        self.files[remote] = source

    def get(self, remote, *, max_bytes):
        return self.files.get(remote)


RPI4 = """\
@home
/home/pi
@machine
aarch64
@python
3.11.2 cpython 64 -
@libc
glibc 2.36
@end
"""

GOOD = {"runtime": "tflite-runtime", "runtime_version": "2.14.0", "numpy_version": "1.26.4", "delegate": "xnnpack",
        "decode_kernels": ["c", "numpy"]}  # fmt: skip


@pytest.fixture
def lying(tmp_path, monkeypatch):
    environment = Environment(
        "tflite-runtime", "2.14.0", (3, 11), "aarch64", (2, 34), (), "d" * 64, tmp_path / "x", "a" * 64, 1, 1
    )
    (tmp_path / "x").write_bytes(b"x")
    monkeypatch.setattr(provisioning, "fetch_environment", lambda *a, **o: environment)
    return lambda smoke, status=0: LyingBoard(RPI4, smoke, status)


def test_a_board_that_answers_well_is_believed(lying):
    ready = provision(lying(json.dumps(GOOD).encode()), runtime="tflite-runtime")
    assert ready.decode_kernels == ("c", "numpy")


@pytest.mark.parametrize(
    "smoke",
    [b"", b"[]", b"null", b"\xff\xfe", b"[" * 9000, json.dumps({**GOOD, "decode_kernels": ["gpu"]}).encode(),
     json.dumps({**GOOD, "decode_kernels": "numpy"}).encode(),
     json.dumps({**GOOD, "decode_kernels": [["numpy"]]}).encode(),
     json.dumps({**GOOD, "delegate": {}}).encode(), json.dumps({**GOOD, "runtime": "other"}).encode()],
)  # fmt: skip
def test_a_board_that_answers_something_else_is_not(lying, smoke):
    with pytest.raises(RemoteError):
        provision(lying(smoke), runtime="tflite-runtime")


def test_what_a_failing_board_says_is_shown_without_its_escapes(lying):
    answer = {"what": "\x1b]0;pwned\x07 no", "found": "y" * 5000, "hint": None}
    with pytest.raises(ProvisionError) as caught:
        provision(lying(json.dumps(answer).encode(), status=2), runtime="tflite-runtime")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_every_runtime_that_a_boards_file_names_is_known():
    from sdk.board.catalogue import list_boards

    assert {runtime.name for board in list_boards() for runtime in board.runtimes} <= set(RUNTIMES)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\0" * 300])
def test_a_proof_that_cannot_be_read_counts_as_none(bare, connection, any_environment, content):
    first = provision(connection, runtime=any_environment.runtime)
    [accepted] = (bare.home / ".armlet" / "accepted").iterdir()
    whole = accepted.read_bytes()
    accepted.write_bytes(content)
    again = provision(connection, runtime=any_environment.runtime)
    assert (again.sent_bytes, again.decode_kernels) == (0, first.decode_kernels)
    assert json.loads(accepted.read_bytes()) == json.loads(whole)


def test_a_launcher_of_no_bytes_is_no_agent(bare, connection, any_environment):
    provision(connection, runtime=any_environment.runtime)
    assert accepted_agent(connection) is not None
    (bare.home / ".armlet" / "python").write_bytes(b"")
    assert accepted_agent(connection) is None


def test_files_that_are_put_are_synced_before_and_after_they_get_their_name(
    bare, connection, tmp_path, monkeypatch
):
    """By what the shell calls, in order; a `sync` that takes no names syncs everything."""
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "log"
    for name, refuses in (("sync", True), ("mv", False)):
        own = shutil.which(name)
        refusal = f'[ $# -gt 0 ] && {{ echo "{name} $*" >> "{log}"; exit 1; }}\n' if refuses else ""
        (tools / name).write_text(f'#!/bin/sh\n{refusal}echo "{name} $*" >> "{log}"\nexec {own} "$@"\n')
        (tools / name).chmod(0o755)
    target = f"{tmp_path}/put/file"
    path = f"PATH={tools}:/usr/local/bin:/usr/bin:/bin"
    files = Files(lambda argv, **more: connection.run(["env", path, *argv], **more))
    files.put(io.BytesIO(b"content"), 7, target, 0o600, None)
    assert Path(target).read_bytes() == b"content"
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["sync", "sync", "mv", "sync", "sync"]
    assert f" {target}" in lines[0]
    assert lines[3].endswith(f" {Path(target).parent}")
