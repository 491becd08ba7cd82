"""Opens a socket to a board and logs in, with one clear error for each way in which that can fail."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.board.ssh.agent import open_agent
from sdk.board.ssh.known_hosts import REVOKED, KnownKeys, known_keys
from sdk.board.ssh.passwords import certified_key, log_in_without_a_key
from sdk.board.ssh.target import SshTarget
from sdk.board.ssh.transport import transport_class
from sdk.errors import ConnectionFailed

if TYPE_CHECKING:
    import paramiko

#: A link that is silent for this long although something was sent is taken for dead.
DEAD_LINK_SECONDS = 20
KEEPALIVE_SECONDS = 5


def open_socket(target: SshTarget, timeout_seconds: float) -> Any:
    """A TCP connection, or the streams of the configured ProxyCommand. Raises ConnectionFailed."""
    if target.proxy_command:
        import paramiko

        return paramiko.ProxyCommand(target.proxy_command)
    try:
        sock = socket.create_connection((target.hostname, target.port), timeout=timeout_seconds)
    except socket.gaierror as error:
        raise ConnectionFailed(
            f"the name {target.hostname} cannot be resolved",
            found=error.strerror,
            hint="Check --host, or use the board's address.",
        ) from None
    except TimeoutError:
        raise ConnectionFailed(
            f"{target.hostname} port {target.port} does not answer",
            expected=f"a connection within {timeout_seconds:g} s",
            found="silence",
            hint="Is the board on, on this network, and the port right?",
        ) from None
    except OSError as error:
        refused = error.errno == errno.ECONNREFUSED
        raise ConnectionFailed(
            f"cannot reach {target.hostname} port {target.port}",
            expected="an SSH server",
            found=(error.strerror or str(error)).lower(),
            hint="Is sshd running there, on this port?" if refused else "Check --host and the network.",
        ) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if user_timeout is not None:
        sock.setsockopt(socket.IPPROTO_TCP, user_timeout, DEAD_LINK_SECONDS * 1000)
    return sock


def log_in(
    target: SshTarget, sock: Any, accept_new_host_key: bool, timeout_seconds: float
) -> paramiko.SSHClient:
    """Host key, then ours; ``sock`` is closed when either is refused. Raises ConnectionFailed."""
    import paramiko

    client = paramiko.SSHClient()
    known = known_keys(target.host_key_name, target.known_hosts)
    # The client is given no keys of its own, so that every host's is put to the policy: paramiko believes one key of a
    # kind and no second, as there are two while a host changes to another.
    client.set_missing_host_key_policy(_HostKeyPolicy(target, known, accept_new_host_key))
    try:
        _exchange_keys(client, target, sock, timeout_seconds, known)
    except BaseException:
        client.close()
        sock.close()
        raise
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(KEEPALIVE_SECONDS)
    return client


def _exchange_keys(
    client: paramiko.SSHClient, target: SshTarget, sock: Any, timeout_seconds: float, known: KnownKeys
) -> None:
    import paramiko

    if target.agent != "none":
        # Not paramiko's own, which offers everything that the one agent of the environment has, or nothing.
        client._agent = open_agent(target.agent, target.agent_identities)  # noqa: SLF001
    certified = certified_key(target, client._agent)  # noqa: SLF001
    try:
        client.connect(
            # With the socket given, this only names the host to the policy.
            target.host_key_name,
            port=22,
            username=target.user,
            pkey=certified,
            key_filename=[str(path) for path in target.keys] or None,
            sock=sock,
            timeout=timeout_seconds,
            banner_timeout=timeout_seconds,
            auth_timeout=timeout_seconds,
            allow_agent=target.agent != "none",
            look_for_keys=target.look_for_keys,
            password=None,
            transport_factory=transport_class({key.get_name() for key in known.keys}),
        )
    except paramiko.PasswordRequiredException:
        raise ConnectionFailed(
            f"the key for {target.address} is locked with a passphrase",
            expected="an unlocked key",
            hint="Unlock it once with ssh-add.",
        ) from None
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        transport = client.get_transport()
        if transport is not None and not transport.is_authenticated() and _is_about_keys(error):
            log_in_without_a_key(target, transport, error)
            return
        raise _connecting_failed(target, error) from error


def _is_about_keys(error: Exception) -> bool:
    """Whether a server that talks to us knows us by none of our keys, or took leave while they were offered."""
    import paramiko

    said = str(error)
    return (
        isinstance(error, paramiko.AuthenticationException)
        or "No existing session" in said
        or "No authentication methods available" in said
    )


def _connecting_failed(target: SshTarget, error: Exception) -> ConnectionFailed:
    if isinstance(error, FileNotFoundError) and error.filename:
        return ConnectionFailed(f"there is no key {error.filename}", hint="Check --key.")
    said = str(error) or type(error).__name__
    if "private key file" in said and target.keys:
        named = ", ".join(str(path) for path in target.keys)
        return ConnectionFailed(
            f"{named} is not a private key", expected="an OpenSSH private key", found=said
        )
    if "banner" in said.lower() or "protocol version" in said.lower():
        return ConnectionFailed(
            f"what answers at {target.hostname} port {target.port} is not an SSH server", found=said
        )
    return ConnectionFailed(f"cannot log in to {target.address}", found=said)


def _fingerprint(key: paramiko.PKey) -> str:
    """As ssh prints it: ``ssh-ed25519 SHA256:...``."""
    return f"{key.get_name()} {key.fingerprint}"


class _HostKeyPolicy:
    """Whether the key that a host shows is believed; paramiko asks before it logs in."""

    def __init__(self, target: SshTarget, known: KnownKeys, accept: bool) -> None:
        self._target = target
        self._known = known
        self._accept = accept

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        target = self._target
        files = " or ".join(map(str, target.known_hosts)) or "a file of known hosts, of which there is none"
        if key.get_base64() in self._known.revoked:
            raise ConnectionFailed(
                f"the host key of {target.address} is revoked",
                expected=f"no line {REVOKED} for it in {files}",
                found=_fingerprint(key),
            )
        if key in self._known.keys:
            return
        if self._known.keys:
            raise ConnectionFailed(
                f"the host key of {target.address} has changed: this may be another machine, or somebody in between",
                expected=" or ".join(map(_fingerprint, self._known.keys)),
                found=_fingerprint(key),
                hint="If you know why (a new SD card), remove the old key: "
                f"ssh-keygen -f {shlex.quote(str(self._known.file))} -R {shlex.quote(target.host_key_name)}",
            )
        if not self._accept:
            raise ConnectionFailed(
                f"the host key of {target.address} is not known yet",
                expected=f"an entry for {target.host_key_name} in {target.new_known_hosts or files}",
                found=_fingerprint(key),
                hint="If this fingerprint is the board's (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), "
                "accept it with --accept-new-host-key.",
            )
        if target.new_known_hosts is not None:
            _write_down(key, target.host_key_name, target.new_known_hosts)


def _write_down(key: paramiko.PKey, name: str, file: Path) -> None:
    """Adds the key that a host is known by from now on to a file that only its owner may read."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as opened:
        opened.write(f"{name} {key.get_name()} {key.get_base64()}\n")
