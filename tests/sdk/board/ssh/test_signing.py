"""Signatures by real ssh-keygen: made on the host, verified on the board before anything is tried."""

from __future__ import annotations

import calendar
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.package import signature
from sdk.api.files.golden import golden_pair
from sdk.cli import main
from sdk.deploy.agent.limits import CheckLimits
from sdk.deploy.session import accepted_agent, open_connection
from sdk.deploy.target import Target
from sdk.errors import RemoteError, SignatureError
from sdk.graph.writer import write_graph
from sdk.package.release import PreparedRelease, prepare
from sdk.package.signed import parse_signed
from tests.sdk.graph.small_graphs import small_network

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "net.armlet", channels=8)


def write_package(path: Path, channels: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    model = path.with_suffix(".tflite")
    model.write_bytes(write_graph(small_network(size=16, channels=channels)))
    sdk.pack_model(model, path)
    return path


def allow(folder: Path, *keys: Path, options: str = "") -> Path:
    path = folder / "allowed_signers"
    lines = [f"{key.name}@example.com {options} {key.with_suffix('.pub').read_text()}" for key in keys]
    path.write_text("".join(lines))
    return path


@pytest.fixture
def me(new_key: Callable[[str], Path]) -> Path:
    return new_key("me")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_runtime) -> Path:
    """The agent's folder of a local board of this test's own that has a runtime."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    return tmp_path / "data" / "armlet" / "boards" / "local" / "home" / ".armlet"


# -- on the host ------------------------------------------------------------------------------------------------------


def test_a_signature_names_its_signer_and_is_what_ssh_keygen_verifies(package, me, tmp_path, capsys):
    allowed = allow(tmp_path, me)
    assert main(["sign", str(package), "--key", str(me)]) == 0
    assert "SHA256:" in capsys.readouterr().out
    assert main(["verify", str(package), "--allowed-signers", str(allowed)]) == 0
    assert "signed by me@example.com" in " ".join(capsys.readouterr().out.split())
    by_hand = ["ssh-keygen", "-Y", "verify", "-n", "armlet", "-I", "me@example.com", "-f", str(allowed)]
    document = json.loads(Path(f"{package}.sig").read_text())
    manifest = json.dumps(document["manifest"], sort_keys=True, separators=(",", ":")).encode()
    (tmp_path / "signature").write_text(document["signature"])
    subprocess.run([*by_hand, "-s", tmp_path / "signature"], input=manifest, check=True, capture_output=True)


def test_signing_again_replaces_the_signature(package, me, new_key, tmp_path):
    sdk.sign_package(package, new_key("somebody"))
    sdk.sign_package(package, me)
    assert sdk.verify_package(package, allow(tmp_path, me)).signer == "me@example.com"


def rewritten(path: Path, **changes: object) -> None:
    """The file of a signature with fields of its manifest changed."""
    document = json.loads(path.read_text())
    document["manifest"].update(changes)
    path.write_text(json.dumps(document))


LOOSE = [{"kind": "values", "largest": 1e300, "rms": 1e300}]
CHANGES = {
    "name": {"name": "other"},
    "number": {"number": 1},
    "downgrade": {"downgrade": True},
    "tolerance": {"golden_limits": LOOSE},
    "golden pair": {"golden_inputs_sha256": None, "golden_outputs_sha256": None},
}


@pytest.mark.parametrize(
    "what", ["package", "another key", "another purpose", "old form", "no signature", *CHANGES, "expired"]
)
def test_a_signature_that_is_wrong_is_refused_in_one_line(package, me, new_key, tmp_path, capsys, what):
    allowed = allow(tmp_path, me)
    signature = sdk.sign_package(package, me).signature
    words = "is not of this release"
    if what == "package":
        package.write_bytes(package.read_bytes() + b"\0")
        words = "of another package"
    elif what == "another key":
        signature = sdk.sign_package(package, new_key("mallory")).signature
        words = "not by an allowed signer"
    elif what in ("another purpose", "old form"):
        subject = tmp_path / "subject"
        document = json.loads(signature.read_text())
        subject.write_bytes(package.read_bytes() if what == "old form" else manifest_of(document))
        purpose = "armlet" if what == "old form" else "git"
        by_hand = ["ssh-keygen", "-q", "-Y", "sign", "-n", purpose, "-f", str(me), str(subject)]
        subprocess.run(by_hand, check=True, capture_output=True)
        made = Path(f"{subject}.sig").read_text()
        signature.write_text(made if what == "old form" else json.dumps({**document, "signature": made}))
        if what == "old form":
            words = "signs the package alone, as Armlet did before"
    elif what == "no signature":
        signature.write_text("hello")
        words = "is not JSON"
    elif what == "expired":
        allowed = allow(tmp_path, me, options='valid-before="20200101"')
        words = "not by an allowed signer"
    else:
        rewritten(signature, **CHANGES[what])
    assert main(["verify", str(package), "--allowed-signers", str(allowed)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err or (what == "expired" and "is not of this release" in captured.err)
    if what != "no signature":
        assert "sdk sign" in captured.err or what in ("another key", "expired")


def manifest_of(document: dict) -> bytes:
    return json.dumps(document["manifest"], sort_keys=True, separators=(",", ":")).encode()


def test_a_clock_of_1970_makes_no_expired_key_valid(package, me, tmp_path, monkeypatch):
    sdk.sign_package(package, me)
    built = time.strftime("%Y%m%d", (*signature.BUILT, 0, 0, 0))
    monkeypatch.setattr(signature.time, "time", lambda: 0.0)
    expired = allow(tmp_path, me, options='valid-before="20200101"')
    with pytest.raises(SignatureError, match=r"not by an allowed signer|not of this release"):
        sdk.verify_package(package, expired)
    assert sdk.verify_package(package, allow(tmp_path, me)).signer == "me@example.com"
    later = allow(tmp_path, me, options=f'valid-after="{int(built[:4]) + 1}0101"')
    with pytest.raises(SignatureError, match=r"not by an allowed signer|not of this release"):
        sdk.verify_package(package, later)


def test_the_date_that_no_clock_may_be_before_is_no_later_than_now():
    assert calendar.timegm(signature.BUILT) <= time.time()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "me@example.com\n", "ssh-ed25519 AAAA\n"])
def test_a_file_that_names_no_signer_is_refused(package, me, tmp_path, text):
    sdk.sign_package(package, me)
    (tmp_path / "allowed_signers").write_text(text)
    with pytest.raises(SignatureError, match="does not say who may sign"):
        sdk.verify_package(package, tmp_path / "allowed_signers")


def test_a_key_that_is_not_there_and_none_at_all_are_told(package, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SignatureError, match="no key at"):
        sdk.sign_package(package, tmp_path / "absent")
    with pytest.raises(SignatureError, match="no key to sign with") as caught:
        sdk.sign_package(package)
    assert "ssh-keygen -t ed25519" in str(caught.value)


def test_a_usual_key_is_found_and_one_with_a_passphrase_asks_as_ssh_does(package, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    key = tmp_path / ".ssh" / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(key)], check=True)
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho $ANSWER\n")
    ask.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("ANSWER", "wrong")
    with pytest.raises(SignatureError, match="does not sign"):
        sdk.sign_package(package)
    assert not Path(f"{package}.sig").exists()
    monkeypatch.setenv("ANSWER", "open sesame")
    sdk.sign_package(package)
    assert sdk.verify_package(package, allow(tmp_path, key)).signer == "id_ed25519@example.com"


def test_a_key_that_only_the_agent_holds_signs(package, me, tmp_path, socket_folder, monkeypatch):
    if shutil.which("ssh-agent") is None:
        pytest.skip("there is no ssh-agent")
    socket = str(socket_folder / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
            for _ in range(100):
                if os.path.exists(socket):
                    break
                time.sleep(0.05)
            add = ["ssh-add", "-q", str(me)]
            assert any(subprocess.run(add, check=False).returncode == 0 for _ in range(20))
            allowed = allow(tmp_path, me)
            me.unlink()
            for key in (None, me.with_suffix(".pub")):
                sdk.sign_package(package, key)
                assert sdk.verify_package(package, allowed).signer == "me@example.com"
                Path(f"{package}.sig").unlink()
        finally:
            agent.terminate()


# -- on the board -----------------------------------------------------------------------------------------------------


@pytest.mark.ssh
def test_a_board_that_wants_signatures_takes_signed_packages_and_no_others(
    board, package, me, new_key, tmp_path, capsys
):
    unsigned = sdk.deploy_model("local", package)
    allowed = allow(tmp_path, me)
    arguments = ["board", "require-signatures", "--board", "local", "--allowed-signers", str(allowed)]
    assert main(arguments) == 0
    assert sdk.board_status("local").requires_signatures
    assert (board / "allowed_signers").stat().st_mode & 0o777 == 0o600
    capsys.readouterr()

    # The very release that runs is refused too: it is not signed.
    assert main(["deploy", "--board", "local", str(package)]) == 2
    error = capsys.readouterr().err
    assert "this board takes signed releases only" in error
    assert "sdk sign" in error
    assert error.count("\n") == 1

    sdk.sign_package(package, new_key("mallory"))
    with pytest.raises(RemoteError, match=r"not by an allowed signer|lost its list of allowed signers"):
        sdk.deploy_model("local", package)

    # Both refusals are told later, too, and what runs is what ran.
    (slot,) = sdk.board_status("local").slots
    assert (slot.current, slot.trial) == (unsigned.release, None)
    assert [event.event for event in slot.history] == ["confirmed", "refused", "refused"]
    assert "signed releases only" in slot.history[1].reason
    assert "not by an allowed signer" in slot.history[2].reason
    assert slot.history[2].release not in (None, unsigned.release)
    for command in ("releases", "status"):
        assert main([command, "--board", "local"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "refused" in shown
        assert "not by an allowed signer" in shown

    sdk.sign_package(package, me)
    signed = sdk.deploy_model("local", package)
    assert signed.state == "confirmed"
    assert 0 < signed.sent_bytes < 4096
    assert sdk.deploy_model("local", package).state == "unchanged"

    # The release before is not signed, so there is no way back to it while the policy stands.
    with pytest.raises(RemoteError, match="signed releases only"):
        sdk.rollback_model("local", "net")
    (slot,) = sdk.board_status("local").slots
    assert (slot.current, slot.previous) == (signed.release, unsigned.release)
    assert main(["board", "require-signatures", "--board", "local", "--off"]) == 0
    assert sdk.rollback_model("local", "net").current == unsigned.release


@pytest.mark.ssh
def test_a_package_that_was_changed_on_the_way_is_refused_and_leaves_nothing(board, package, me, tmp_path):
    sdk.sign_package(package, me)
    sdk.deploy_model("local", package)
    sdk.require_signatures("local", allow(tmp_path, me))
    before = sorted(path.name for path in (board / "store").rglob("*"))
    other = write_package(tmp_path / "other" / "net.armlet", channels=16)
    shutil.copy(f"{package}.sig", f"{other}.sig")
    # The host sees it; and the board, were the host made not to look.
    with pytest.raises(SignatureError, match="of another package"):
        sdk.deploy_model("local", other)
    forged = prepare(other.read_bytes(), "net", golden=golden_pair(other.read_bytes()))
    right = parse_signed(Path(f"{package}.sig").read_bytes(), "it").signature
    digest = hashlib.sha256(right).hexdigest()
    with open_connection("local", Target()) as (_, connection):
        agent = accepted_agent(connection)
        for changes in ({}, {"name": "other"}, {"golden_limits": None, "golden_tolerance": 1e300}):
            record = dataclasses.replace(forged.record, signature_sha256=digest, number=1 << 40, **changes)
            release = PreparedRelease(record.id, record, {**forged.blobs, digest: right})
            with pytest.raises(RemoteError, match="signature is not of this release"):
                agent.install(release)
        agent.forget(["other"])
        assert agent.run("net", np.zeros((1, 16, 16, 3), np.float32)).count == 1
    assert sorted(path.name for path in (board / "store").rglob("*")) == before


@pytest.mark.ssh
def test_a_board_takes_no_older_release_than_it_confirmed_but_by_a_signature(board, package, me, tmp_path):
    older = write_package(tmp_path / "older" / "net.armlet", channels=16)
    sdk.sign_package(older, me, number=1)
    sdk.sign_package(package, me, number=2)
    sdk.deploy_model("local", older)
    sdk.require_signatures("local", allow(tmp_path, me))
    assert sdk.deploy_model("local", package).state == "confirmed"
    with pytest.raises(RemoteError, match=r"older than one that this board has confirmed.*2 or more.*1"):
        sdk.deploy_model("local", older)
    # Going back there is the board's own matter; the number stays, so that what is sent cannot go back.
    assert sdk.rollback_model("local", "net").current is not None
    newest = sdk.sign_package(package, me)
    assert (newest.number or 0) > 1_700_000_000
    assert sdk.deploy_model("local", package).state == "confirmed"
    sdk.sign_package(older, me, number=1, allow_downgrade=True)
    assert sdk.deploy_model("local", older).state == "confirmed"
    with pytest.raises(SignatureError, match="signed for another name than other"):
        sdk.deploy_model("local", older, name="other")
    sdk.sign_package(older, me, name="other")
    assert sdk.deploy_model("local", older).name == "other"


@pytest.mark.ssh
def test_a_limit_that_was_signed_holds_whatever_who_deploys_asks_for(board, package, me, tmp_path, capsys):
    assert main(["sign", str(package), "--key", str(me), "--max-latency", "0.000001ms"]) == 0
    signed = parse_signed(package.with_name("net.armlet.sig").read_bytes(), "it")
    assert signed.manifest.max_inference_seconds == 1e-9
    with pytest.raises(RemoteError, match=r"an inference took .*; expected at most 1e-09 s"):
        sdk.deploy_model("local", package, limits=CheckLimits(inference_seconds=60.0))
    sdk.sign_package(package, me, limits=CheckLimits(inference_seconds=60.0, memory_bytes=1 << 40))
    with pytest.raises(RemoteError, match="expected at most 1e-09 s"):
        sdk.deploy_model("local", package, limits=CheckLimits(inference_seconds=1e-9))
    assert sdk.deploy_model("local", package).state == "confirmed"


@pytest.mark.ssh
@pytest.mark.parametrize("lost", ["gone", "empty"])
def test_a_board_that_lost_who_may_sign_takes_nothing(board, package, me, tmp_path, lost):
    sdk.sign_package(package, me)
    sdk.deploy_model("local", package)
    sdk.require_signatures("local", allow(tmp_path, me))
    policy = board / "allowed_signers"
    if lost == "gone":
        policy.unlink()
    else:
        policy.write_bytes(b"")
    other = write_package(tmp_path / "other" / "net.armlet", channels=16)
    with pytest.raises(RemoteError, match=r"lost its list of allowed signers.*require-signatures"):
        sdk.deploy_model("local", other)
    assert sdk.board_status("local").requires_signatures
    sdk.require_signatures("local", None)
    assert sdk.deploy_model("local", other).state == "confirmed"


@pytest.mark.ssh
def test_without_ssh_keygen_a_board_that_wants_signatures_takes_nothing(
    board, package, me, tmp_path, monkeypatch
):
    sdk.sign_package(package, me)
    sdk.deploy_model("local", package)
    sdk.require_signatures("local", allow(tmp_path, me))
    Path(f"{package}.sig").unlink()
    other = write_package(tmp_path / "other" / "net.armlet", channels=16)
    sdk.sign_package(other, me)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "sh",
        "env",
        "uname",
        "df",
        "cat",
        "ldd",
        "getconf",
        "test",
        "awk",
        "sed",
        "ls",
        "head",
        "tail",
    ):
        if (path := shutil.which(name)) is not None:
            (tools / name).symlink_to(path)
    monkeypatch.setattr("sdk.board.ssh.signing.shutil.which", lambda name: None)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(RemoteError, match="signatures cannot be verified here") as caught:
        sdk.deploy_model("local", other)
    assert "openssh-client" in str(caught.value)
    with pytest.raises(RemoteError, match="could not verify a signature"):
        sdk.require_signatures("local", allow(tmp_path, me))


@pytest.mark.ssh
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe nonsense", None], ids=["empty", "nonsense", "unreadable"]
)
def test_a_policy_that_says_nothing_lets_nobody_in(board, package, me, content):
    sdk.sign_package(package, me)
    board.mkdir(parents=True, exist_ok=True, mode=0o700)
    board.parents[1].chmod(0o700)
    if content is None:
        (board / "allowed_signers").mkdir()
    else:
        (board / "allowed_signers").write_bytes(content)
    with pytest.raises(RemoteError, match=r"not by an allowed signer|lost its list of allowed signers"):
        sdk.deploy_model("local", package)
