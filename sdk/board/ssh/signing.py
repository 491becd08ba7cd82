"""Signs with the user's SSH key, and verifies signatures as a board does. ssh-keygen does the work.

The signature of ``net.armlet`` is in ``net.armlet.sig`` beside it (:mod:`sdk.package.signed`). Keys in the SSH agent,
on security keys and behind a passphrase work as they do for ssh: ssh-keygen itself asks for what it needs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from device_agent.package import signature as board_side
from device_agent.record.visible import visible
from sdk.errors import SignatureError
from sdk.tools.system.files import read_file

#: Of the signature by an Ed25519 key: what a package of a size that is asked for leaves room for.
SIGNATURE_BYTES = 320
#: Where ssh looks for keys when none is named, in its order of preference for signing.
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa")
MAX_ALLOWED_SIGNERS_BYTES = 1 << 20


def signature_path(package: Path) -> Path:
    """The path of a package's signature."""
    return package.with_name(package.name + ".sig")


def sign(data: bytes, key: Path | None = None) -> tuple[bytes, str]:
    """The signature of some bytes as ssh-keygen writes it, and the fingerprint of the key.

    ``key`` is a private key, or a public one whose private half the SSH agent holds; None takes the first of ssh's
    usual ones. Raises SignatureError when it cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        key = _find_key(Path(folder)) if key is None else key.expanduser()
        if not key.exists():
            raise SignatureError(
                f"no key at {key}", expected="a private key, or the .pub of one in the SSH agent"
            )
        # A file: ssh-keygen needs its standard input to ask for a passphrase.
        copy = Path(folder) / "manifest"
        copy.write_bytes(data)
        command = ["-q", "-Y", "sign", "-n", board_side.NAMESPACE, "-f", str(key), str(copy)]
        done = _run("ssh-keygen", *command, talks=sys.stderr.isatty())
        signed = signature_path(copy)
        if done.returncode != 0 or not signed.exists():
            raise SignatureError(f"the key {key} does not sign", found=_said(done))
        signature = signed.read_bytes()
        shown = _run("ssh-keygen", "-l", "-f", str(key))
    words = shown.stdout.split()
    return signature, words[1] if shown.returncode == 0 and len(words) > 1 else str(key)


def verify(signed: bytes, signature: bytes, allowed_signers: Path) -> str:
    """The signer of some bytes, as ``allowed_signers`` names them. Raises SignatureError, as a board does."""
    read_allowed_signers(allowed_signers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        return board_side.verify(signed, path, allowed_signers)


def is_of(signed: bytes, signature: bytes) -> bool:
    """Whether a signature is of these bytes, by any signer; True without ssh-keygen: the board decides."""
    if shutil.which("ssh-keygen") is None:
        return True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        return board_side.is_of(signed, path)


def read_allowed_signers(path: Path) -> bytes:
    """The bytes of a file of allowed signers, which must name somebody: an empty one would let nobody sign."""
    data = read_file(path, "a file of allowed signers, see ssh-keygen(1)")
    lines = [line.split() for line in data.decode("utf-8", "replace").splitlines()]
    entries = [words for words in lines if words and not words[0].startswith("#")]
    if not entries or any(len(words) < 3 for words in entries) or len(data) > MAX_ALLOWED_SIGNERS_BYTES:
        wrong = next((" ".join(words) for words in entries if len(words) < 3), "no line")
        raise SignatureError(
            f"{path} does not say who may sign",
            expected="lines of a name and a public key, such as `me@example.com ssh-ed25519 AAAA...`",
            found=wrong[:80],
        )
    return data


def _find_key(folder: Path) -> Path:
    """The first of ssh's usual keys; else the first that the agent holds, as a public key in ``folder``."""
    for name in DEFAULT_KEYS:
        for candidate in (Path.home() / ".ssh" / name, Path.home() / ".ssh" / f"{name}.pub"):
            if candidate.exists():
                return candidate
    if shutil.which("ssh-add") is not None:
        listed = _run("ssh-add", "-L")
        keys = [line for line in listed.stdout.splitlines() if len(line.split()) >= 2]
        if listed.returncode == 0 and keys:
            path = folder / "agent.pub"
            path.write_text(keys[0] + "\n")
            return path
    raise SignatureError(
        "there is no key to sign with",
        expected=f"~/.ssh/{DEFAULT_KEYS[0]}, another of ssh's usual keys, or one in the SSH agent",
        found="none",
        hint="Name one with --key, or make one: ssh-keygen -t ed25519",
    )


def _run(*command: str, talks: bool = False) -> subprocess.CompletedProcess[str]:
    """``talks``: its standard error is the user's, who may be asked to touch a key."""
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=None if talks else subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise SignatureError(
            f"{command[0]} is needed to sign", found="none", hint="Install OpenSSH's client."
        ) from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    text = " ".join((done.stderr or "").split())
    return visible(text)[-200:] or f"exit status {done.returncode}"
