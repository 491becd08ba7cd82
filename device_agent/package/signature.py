"""Signatures of releases: made and verified by ``ssh-keygen -Y``, so that neither side needs a crypto library.

What is signed is the manifest of a release: its name, its package and golden pair by their digests, how far an answer
may be off, and a number that only rises (``Release.signed_bytes``). python-tuf's rules are the model: no release under
another name, none of mixed parts, none that is older than one that was confirmed.

A board takes signed releases only when the agent's folder holds a file ``allowed_signers`` (its format is in
ssh-keygen(1), "ALLOWED SIGNERS"): who may sign, with which keys. A file that is empty, or cannot be read, lets
nobody in.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Sequence

from device_agent.errors import SignatureError
from device_agent.record.visible import visible

#: What the signatures are for; one made for anything else (a git commit, a mail) is not accepted.
NAMESPACE = "armlet"
ALLOWED_SIGNERS = "allowed_signers"
#: Beside it: signatures are asked for, whatever became of the other file.
REQUIRED = "signatures_required"
#: When this agent was made, in UTC: no clock that says less is believed. A test sees that it is not too old.
BUILT = (2026, 11, 28, 0, 0, 0)
#: An RSA signature of 16,384 bits, in armour, has 8 KB.
MAX_SIGNATURE_BYTES = 1 << 14
SSH_KEYGEN_SECONDS = 60.0


def policy_of(home: Path) -> Path | None:
    """The file that says who may sign for this board; None where signatures are not asked for.

    Either of two files asks for them, so that a board which has lost one refuses everything rather than nothing.
    """
    path = home / ALLOWED_SIGNERS
    return path if os.path.lexists(path) or os.path.lexists(home / REQUIRED) else None


def require_policy(allowed_signers: Path) -> None:
    """Raises SignatureError where the file that says who may sign is not there, empty or not to be read."""
    try:
        with open(allowed_signers, "rb") as file:
            if file.read(1 << 20).strip():
                return
        found = "an empty file"
    except OSError as error:
        found = error.strerror or str(error)
    raise SignatureError(
        "this board takes signed releases only, and has lost its list of allowed signers",
        expected=f"{allowed_signers}, with names and keys",
        found=found,
        hint="`sdk board require-signatures --allowed-signers FILE` sets it again.",
    )


def verify(signed: bytes, signature: Path, allowed_signers: Path) -> str:
    """The signer of these bytes: the first name that ``allowed_signers`` gives the key. Raises SignatureError.

    ``signature`` is a file as ``ssh-keygen -Y sign -n armlet`` writes it.
    """
    if signature.stat().st_size > MAX_SIGNATURE_BYTES:
        raise SignatureError("a signature is too large", expected=f"at most {MAX_SIGNATURE_BYTES} bytes")
    when = _verify_time()
    files = ["-s", str(signature), "-f", str(allowed_signers)]
    found = _ssh_keygen(["find-principals", *when, *files], b"")
    names = [line for line in found.stdout.decode("utf-8", "replace").splitlines() if line]
    if found.returncode != 0 or not names:
        raise SignatureError(
            "the signature is not by an allowed signer",
            expected=f"a key of {allowed_signers.name}",
            found=_said(found),
        )
    for name in names:
        verified = _ssh_keygen(["verify", *when, "-I", name, "-n", NAMESPACE, *files], signed)
        if verified.returncode == 0:
            return visible(name)
    raise SignatureError(
        "the signature is not of this release",
        expected=f"its manifest, signed for {NAMESPACE!r} by a key that is valid now",
        found=_said(verified),
        hint="It was changed after it was signed, or signed by an Armlet that signed packages alone, or for something "
        "else: sign it again (`sdk sign PACKAGE`).",
    )


def _verify_time() -> list[str]:
    """The option that sets the time of the check, where the clock says less than when this agent was made: a board
    without a clock of its own starts in 1970, when every key was valid still."""
    import calendar

    built = calendar.timegm(BUILT)
    if time.time() >= built:
        return []
    return [f"-Overify-time={time.strftime('%Y%m%d%H%M%S', time.localtime(built))}"]


def is_of(signed: bytes, signature: Path) -> bool:
    """Whether a signature is of these bytes, by any signer."""
    checked = _ssh_keygen(["check-novalidate", "-n", NAMESPACE, "-s", str(signature)], signed)
    return checked.returncode == 0


def _ssh_keygen(arguments: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", *arguments],
            input=stdin,
            capture_output=True,
            timeout=SSH_KEYGEN_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise SignatureError(
            "signatures cannot be verified here",
            expected="ssh-keygen of OpenSSH 8.2 or newer",
            found="none",
            hint="On Debian and its kin: sudo apt-get install openssh-client",
        ) from None
    except subprocess.TimeoutExpired:
        raise SignatureError(
            "ssh-keygen did not finish", expected=f"within {SSH_KEYGEN_SECONDS:g} s"
        ) from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What ssh-keygen said, in one printable line."""
    text = " ".join((done.stderr or done.stdout).decode("utf-8", "replace").split())
    return visible(text, most=200) or f"exit status {done.returncode}"
