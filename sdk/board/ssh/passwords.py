"""Logins without a key: a certificate, a password from the terminal, or advice what to do."""

from __future__ import annotations

import getpass
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.board.ssh.target import SshTarget
from sdk.errors import ConnectionFailed
from sdk.tools.system.progress_bar import paused

if TYPE_CHECKING:
    import paramiko

PASSWORDS = {"password", "keyboard-interactive"}
#: As ssh asks (NumberOfPasswordPrompts).
MOST_PROMPTS = 3


def certified_key(target: SshTarget, agent: Any) -> paramiko.PKey | None:
    """The first of our keys that a configured certificate (CertificateFile) is for, with it; None where there is none.

    ``agent``: what :func:`sdk.board.ssh.agent.open_agent` opened, or None.
    """
    import paramiko
    from paramiko.pkey import PublicBlob

    for path in target.certificates:
        try:
            certificate = PublicBlob.from_file(str(path))
        except (OSError, ValueError) as error:
            raise ConnectionFailed(
                f"the certificate {path} cannot be read",
                expected="what ssh-keygen -s writes",
                found=str(error),
            ) from None
        held = [key for key in (_private_key(name) for name in target.keys) if key is not None]
        for key in [*held, *(agent.get_keys() if agent is not None else ())]:
            if key.get_name() + "-cert-v01@openssh.com" == certificate.key_type and _is_for(certificate, key):
                if isinstance(key, paramiko.AgentKey):
                    key.public_blob = certificate
                else:
                    key.load_certificate(str(path))
                return key
    return None


def _private_key(path: Path) -> paramiko.PKey | None:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key_file(str(path))
        except (paramiko.SSHException, OSError, ValueError):
            continue
    return None


def _is_for(certificate: Any, key: paramiko.PKey) -> bool:
    """Whether a certificate holds the public half of a key: its fields stand in it one behind the other."""
    import paramiko

    public = paramiko.Message(key.asbytes())
    public.get_text()  # the kind
    return public.get_remainder() in certificate.key_blob


def log_in_without_a_key(target: SshTarget, transport: Any, error: Exception) -> None:
    """Logs in with a password that is asked for on the terminal. Raises ConnectionFailed that says what would help.

    ``error`` is how the attempt with keys ended; ``transport`` comes from
    :func:`sdk.board.ssh.transport.transport_class`.
    """
    if not transport.is_active():
        raise ConnectionFailed(
            f"{target.address} closed the connection after {transport.keys_offered} keys, before the right one",
            expected="the right key among the first (MaxAuthTries of its sshd)",
            found="the end of the connection",
            hint="Name the key with --key, or with IdentityFile and IdentitiesOnly in ~/.ssh/config.",
        ) from None
    allowed = _allowed(target, transport)
    if transport.is_authenticated():
        return  # a server that lets everybody in
    if allowed & PASSWORDS and _somebody_is_there():
        _ask(target, transport)
        return
    who = shlex.quote(f"{target.user}@{target.hostname}")
    if allowed and "publickey" not in allowed:
        raise ConnectionFailed(
            f"{target.address} takes no keys, only a password",
            expected="a terminal to ask for it on, or a server that takes keys",
            found=f"a server that allows {', '.join(sorted(allowed))}",
            hint="Run this in a terminal. For good: PubkeyAuthentication yes in its sshd_config, then ssh-copy-id.",
        ) from None
    hint = f"Try: ssh-copy-id -p {target.port} {who}"
    if not transport.keys_offered:
        raise ConnectionFailed(
            f"there is no key to log in to {target.address} with",
            expected="a key in ~/.ssh, an SSH agent (of a security key: ssh-add), or --key",
            found="none",
            hint=f"Make one with ssh-keygen, then: ssh-copy-id -p {target.port} {who}",
        ) from None
    offered = ", ".join(str(path) for path in target.keys) or "the keys of the SSH agent and ~/.ssh"
    raise ConnectionFailed(
        f"{target.address} refuses the key",
        expected=f"{offered} among its authorized keys",
        found=str(error).rstrip("."),
        hint=hint,
    ) from None


def _allowed(target: SshTarget, transport: Any) -> set[str]:
    """How the server lets people log in, as it says when nothing is offered."""
    import paramiko

    try:
        transport.auth_none(target.user)
    except paramiko.BadAuthenticationType as answer:
        return set(answer.allowed_types)
    except (paramiko.SSHException, EOFError, OSError):
        pass
    return set()


def _somebody_is_there() -> bool:
    """Whether a person can be asked: on a terminal, and not for one of many boards at once."""
    return (
        threading.current_thread() is threading.main_thread() and sys.stdin.isatty() and sys.stderr.isatty()
    )


def _ask(target: SshTarget, transport: Any) -> None:
    import paramiko

    for _ in range(MOST_PROMPTS):
        try:
            with paused():
                password = getpass.getpass(f"{target.address}'s password: ")
            if not transport.auth_password(target.user, password):
                return
        except EOFError:
            break
        except paramiko.AuthenticationException:
            if transport.is_active():
                continue
        except paramiko.SSHException as error:
            raise ConnectionFailed(f"cannot log in to {target.address}", found=str(error)) from None
        break
    raise ConnectionFailed(
        f"{target.address} refuses the password",
        expected="the password of the user on the board",
        hint="Check --user.",
    ) from None
