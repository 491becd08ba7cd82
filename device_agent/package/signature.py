"""Signatures of packages: made and verified by ``ssh-keygen -Y``, so that neither side needs a crypto library.

A board takes signed packages only when the agent's folder holds a file ``allowed_signers`` (its format is in
ssh-keygen(1), "ALLOWED SIGNERS"): who may sign, with which keys. A file that is empty, or cannot be read, lets
nobody in.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Sequence

from device_agent.errors import SignatureError
from device_agent.record.visible import visible

#: What the signatures are for; one made for anything else (a git commit, a mail) is not accepted.
NAMESPACE = "armlet"
ALLOWED_SIGNERS = "allowed_signers"
#: An RSA signature of 16,384 bits, in armour, has 8 KB.
MAX_SIGNATURE_BYTES = 1 << 14
SSH_KEYGEN_SECONDS = 60.0


def policy_of(home: Path) -> Path | None:
    """The file that says who may sign for this board; None where signatures are not asked for."""
    path = home / ALLOWED_SIGNERS
    return path if os.path.lexists(path) else None


def verify(package: bytes, signature: Path, allowed_signers: Path) -> str:
    """Who signed: the first name that ``allowed_signers`` gives the key. Raises SignatureError.

    ``signature`` is a file as ``ssh-keygen -Y sign -n armlet`` writes it.
    """
    if signature.stat().st_size > MAX_SIGNATURE_BYTES:
        raise SignatureError("a signature is too large", expected=f"at most {MAX_SIGNATURE_BYTES} bytes")
    found = _ssh_keygen(["find-principals", "-s", str(signature), "-f", str(allowed_signers)], b"")
    names = [line for line in found.stdout.decode("utf-8", "replace").splitlines() if line]
    if found.returncode != 0 or not names:
        raise SignatureError(
            "the signature is by nobody who may sign",
            expected=f"a key of {allowed_signers.name}",
            found=_said(found),
        )
    options = ["-n", NAMESPACE, "-s", str(signature), "-f", str(allowed_signers)]
    for name in names:
        verified = _ssh_keygen(["verify", "-I", name, *options], package)
        if verified.returncode == 0:
            return visible(name)
    raise SignatureError(
        "the signature is not of this package",
        expected=f"these bytes, signed for {NAMESPACE!r} by a key that is valid now",
        found=_said(verified),
        hint="The package was changed after it was signed, or signed for something else: sign it again.",
    )


def is_of(package: bytes, signature: Path) -> bool:
    """Whether a signature is of these bytes, whoever made it."""
    checked = _ssh_keygen(["check-novalidate", "-n", NAMESPACE, "-s", str(signature)], package)
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
