"""Run, put and get on a board; the only module that knows SSH.

:class:`Connection` is all that other stages see, so that a fake can stand in. :func:`connect` opens the real one.

Host keys are checked as ssh does with ``StrictHostKeyChecking yes``: an unknown key is refused with its fingerprint
unless ``accept_new_host_key`` says otherwise (then it is written down), a changed one always. ``~/.ssh/config`` gives
HostName, Port, User, IdentityFile, IdentitiesOnly, ProxyJump, ProxyCommand, HostKeyAlias and UserKnownHostsFile.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
import secrets
import shlex
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from sdk.errors import ConnectionFailed, RemoteError
from sdk.ssh_target import Target, find_target

if TYPE_CHECKING:
    import paramiko

# Without a handler, logging would print paramiko's tracebacks beside the one line that says what happened.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_SECONDS = 10.0
#: A link that is silent for this long although something was sent is taken for dead.
DEAD_LINK_SECONDS = 20
KEEPALIVE_SECONDS = 5
#: What one command may answer on each of its two streams.
MAX_OUTPUT_BYTES = 16 << 20
#: Writes of 1 MB, not waiting for each answer: 113-122 MB/s on loopback, where 32 KB at a time gave 1 MB/s.
WRITE_BYTES = 1 << 20
READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    def stderr_tail(self, characters: int = 400) -> str:
        """The end of what it said on standard error, in one printable line."""
        text = " ".join(self.stderr.decode("utf-8", "replace").split())
        return "".join(c if c.isprintable() else "?" for c in text)[-characters:]


class Connection(Protocol):
    """One open way to one board. Paths are the board's, absolute or relative to the login folder."""

    @property
    def address(self) -> str:
        """What a person would recognise the board by, e.g. ``pi@raspberrypi.local``."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Path | BinaryIO = b"",
        timeout_seconds: float = 60.0,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        sent: Callable[[int], None] | None = None,
    ) -> Completed:
        """Runs a command, every argument quoted; ``sent`` is told how many bytes of ``stdin`` are on their way."""

    def put(
        self,
        source: bytes | Path | BinaryIO,
        remote: str,
        *,
        mode: int = 0o600,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Writes a file under a temporary name, then renames it over ``remote``; folders on the way are made."""

    def get(self, remote: str, *, max_bytes: int) -> bytes | None:
        """A file's bytes; None when there is none; RemoteError when it is larger than ``max_bytes``."""

    def remove(self, remote: str) -> None:
        """Removes a file, if it is there."""

    def close(self) -> None: ...


def connect(
    host: str,
    *,
    port: int | None = None,
    user: str | None = None,
    default_user: str | None = None,
    key: Path | str | None = None,
    known_hosts: Path | str | None = None,
    accept_new_host_key: bool = False,
    host_key_alias: str | None = None,
    config: Path | str | None = "~/.ssh/config",
    timeout_seconds: float = CONNECT_SECONDS,
) -> SshConnection:
    """Opens a connection to a board; what is None comes from ``config``, else ssh's own defaults.

    With ``key`` only that key is offered. ``default_user``: as who to log in when nothing else says so. Raises
    ConnectionFailed, with one clear line for each reason.
    """
    target = find_target(
        host,
        port=port,
        user=user,
        default_user=default_user,
        key=key,
        known_hosts=known_hosts,
        host_key_alias=host_key_alias,
        config=config,
    )
    return SshConnection(target, accept_new_host_key=accept_new_host_key, timeout_seconds=timeout_seconds)


class SshConnection:
    """The real :class:`Connection`. One SSH session and one SFTP channel, kept until closed; a context manager."""

    def __init__(
        self, target: Target, *, accept_new_host_key: bool = False, timeout_seconds: float = CONNECT_SECONDS
    ) -> None:
        self._target = target
        self._jump: SshConnection | None = None
        self._sftp_client: paramiko.SFTPClient | None = None
        if target.jump is not None:
            self._jump = SshConnection(
                target.jump, accept_new_host_key=accept_new_host_key, timeout_seconds=timeout_seconds
            )
        try:
            sock = self._open_socket(timeout_seconds)
            self._client = _authenticate(target, sock, accept_new_host_key, timeout_seconds)
        except BaseException:
            if self._jump is not None:
                self._jump.close()
            raise

    @property
    def address(self) -> str:
        return self._target.address

    def __enter__(self) -> SshConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()
        if self._jump is not None:
            self._jump.close()

    # -- opening ------------------------------------------------------------------------------------------------

    def _open_socket(self, timeout_seconds: float) -> Any:
        target = self._target
        if self._jump is not None:
            with self._jump._dropped_is_named("reach the board through it"):
                return self._jump._transport.open_channel(
                    "direct-tcpip", (target.hostname, target.port), ("127.0.0.1", 0), timeout=timeout_seconds
                )
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

    # -- the protocol -------------------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Path | BinaryIO = b"",
        timeout_seconds: float = 60.0,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        sent: Callable[[int], None] | None = None,
    ) -> Completed:
        what = f"`{argv[0]}`"
        with self._dropped_is_named(f"run {what}"):
            channel = self._transport.open_session(timeout=CONNECT_SECONDS)
            with contextlib.closing(channel):
                return self._run_on(channel, argv, stdin, timeout_seconds, max_output_bytes, sent)

    def _run_on(
        self,
        channel: paramiko.Channel,
        argv: Sequence[str],
        stdin: bytes | Path | BinaryIO,
        timeout_seconds: float,
        max_output_bytes: int,
        sent: Callable[[int], None] | None,
    ) -> Completed:
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            channel.close()  # wakes every reader and writer below

        timer = threading.Timer(timeout_seconds, expire)
        timer.daemon = True
        out, err = _Capped(max_output_bytes), _Capped(max_output_bytes)
        threads = [
            threading.Thread(target=_send_all, args=(channel, stdin, sent), daemon=True),
            threading.Thread(target=err.drain, args=(channel, channel.recv_stderr), daemon=True),
        ]
        timer.start()
        try:
            channel.exec_command(shlex.join(argv))
            for thread in threads:
                thread.start()
            out.drain(channel, channel.recv)
            threads[1].join()
            channel.status_event.wait()
        finally:
            timer.cancel()
        if expired.is_set():
            raise RemoteError(
                f"`{argv[0]}` on {self.address} took too long",
                expected=f"an end within {timeout_seconds:g} s",
                found=_tail(err.data) or "no end",
            )
        for stream in (out, err):
            if stream.overflowed:
                raise RemoteError(
                    f"`{argv[0]}` on {self.address} said too much",
                    expected=f"at most {max_output_bytes} bytes",
                    found="more",
                )
        status = channel.exit_status
        if status == -1:  # no exit status came: the connection went away, or the command died of a signal
            if not self._transport.is_active():
                raise ConnectionFailed(
                    f"the connection to {self.address} was lost",
                    expected=f"the answer of `{argv[0]}`",
                    found="the end of the connection",
                    hint="Run the command again: what was there before still is.",
                )
            raise RemoteError(
                f"`{argv[0]}` on {self.address} was killed",
                expected="an exit status",
                found=_tail(err.data) or "none",
                hint="If the board ran out of memory, its kernel log (dmesg) says so.",
            )
        return Completed(tuple(argv), status, bytes(out.data), bytes(err.data))

    def put(
        self,
        source: bytes | Path | BinaryIO,
        remote: str,
        *,
        mode: int = 0o600,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        with self._dropped_is_named(f"write {remote}"), _as_stream(source) as stream:
            sftp = self._sftp()
            temporary = f"{remote}.{secrets.token_hex(4)}.part"
            try:
                written = self._write(sftp, stream, temporary, mode, sent)
                arrived = sftp.stat(temporary).st_size
                if arrived != written:
                    raise RemoteError(
                        f"{remote} did not arrive whole",
                        expected=f"{written} bytes",
                        found=f"{arrived} bytes",
                    )
                sftp.posix_rename(temporary, remote)
            except BaseException:
                with contextlib.suppress(Exception):
                    sftp.remove(temporary)
                raise

    def _write(
        self,
        sftp: paramiko.SFTPClient,
        stream: BinaryIO,
        remote: str,
        mode: int,
        sent: Callable[[int], None] | None,
    ) -> int:
        try:
            file = sftp.open(remote, "wb")
        except FileNotFoundError:
            _make_folders(sftp, posixpath.dirname(remote))
            file = sftp.open(remote, "wb")
        written = 0
        with file:
            file.chmod(mode)
            file.set_pipelined(True)
            while block := stream.read(WRITE_BYTES):
                file.write(block)
                written += len(block)
                if sent is not None:
                    sent(written)
        return written

    def get(self, remote: str, *, max_bytes: int) -> bytes | None:
        with self._dropped_is_named(f"read {remote}"):
            try:
                file = self._sftp().open(remote, "rb")
            except FileNotFoundError:
                return None
            with file:
                size = file.stat().st_size
                if size is not None and size <= max_bytes:
                    file.prefetch(size)
                    # By blocks: one large read joins its pieces anew for each, 40 times slower at 40 MB.
                    data = bytearray()
                    while len(data) <= max_bytes and (block := file.read(READ_BYTES)):
                        data += block
                    if len(data) <= max_bytes:
                        return bytes(data)
                raise RemoteError(
                    f"{remote} on {self.address} is too large",
                    expected=f"at most {max_bytes} bytes",
                    found=f"{size} bytes",
                )

    def remove(self, remote: str) -> None:
        with self._dropped_is_named(f"remove {remote}"), contextlib.suppress(FileNotFoundError):
            self._sftp().remove(remote)

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise ConnectionFailed(
                f"the connection to {self.address} was lost", hint="Run the command again."
            )
        return transport

    def _sftp(self) -> paramiko.SFTPClient:
        if self._sftp_client is None:
            import paramiko

            try:
                self._sftp_client = paramiko.SFTPClient.from_transport(self._transport)
            except paramiko.SSHException as error:
                raise ConnectionFailed(
                    f"{self.address} has no SFTP",
                    expected="the sftp subsystem of its SSH server",
                    found=str(error),
                    hint="Install openssh-sftp-server there.",
                ) from None
        assert self._sftp_client is not None
        return self._sftp_client

    @contextlib.contextmanager
    def _dropped_is_named(self, doing: str) -> Iterator[None]:
        """What paramiko and sockets raise becomes one named error."""
        import paramiko

        try:
            yield
        except PermissionError as error:
            raise RemoteError(f"{self.address} does not allow to {doing}", found=str(error)) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport = self._client.get_transport()
            if transport is not None and transport.is_active():
                said = str(error) or type(error).__name__
                raise RemoteError(f"{self.address} could not {doing}", found=said) from error
            raise ConnectionFailed(
                f"the connection to {self.address} was lost",
                expected=f"to {doing}",
                found=str(error) or type(error).__name__,
                hint="Run the command again: what was there before still is.",
            ) from error


class _Capped:
    """Collects a stream up to a size; one byte more closes the channel."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.overflowed = False
        self._limit = limit

    def drain(self, channel: paramiko.Channel, receive: Callable[[int], bytes]) -> None:
        with contextlib.suppress(OSError):
            while block := receive(1 << 16):
                if len(self.data) + len(block) > self._limit:
                    self.overflowed = True
                    channel.close()
                    return
                self.data += block


def _tail(data: bytes | bytearray) -> str:
    return Completed((), 0, b"", bytes(data)).stderr_tail()


def _send_all(
    channel: paramiko.Channel, source: bytes | Path | BinaryIO, sent: Callable[[int], None] | None
) -> None:
    # A command that ends without reading all of its input closes the channel under us: not an error of ours,
    # its exit status tells what happened.
    with contextlib.suppress(OSError), _as_stream(source) as stream:
        count = 0
        while block := stream.read(WRITE_BYTES):
            channel.sendall(block)
            count += len(block)
            if sent is not None:
                sent(count)
        channel.shutdown_write()


@contextlib.contextmanager
def _as_stream(source: bytes | Path | BinaryIO) -> Iterator[BinaryIO]:
    import io

    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        with open(source, "rb") as file:
            yield file
    else:
        yield source


def _make_folders(sftp: paramiko.SFTPClient, folder: str) -> None:
    if not folder or folder == "/":
        return
    try:
        if stat.S_ISDIR(sftp.stat(folder).st_mode or 0):
            return
    except FileNotFoundError:
        _make_folders(sftp, posixpath.dirname(folder))
    sftp.mkdir(folder, 0o700)


# -- keys ---------------------------------------------------------------------------------------------------------


def _authenticate(
    target: Target, sock: Any, accept_new_host_key: bool, timeout_seconds: float
) -> paramiko.SSHClient:
    import paramiko

    client = paramiko.SSHClient()
    for path in target.known_hosts:
        with contextlib.suppress(OSError):
            client.load_system_host_keys(str(path))
    client.set_missing_host_key_policy(_HostKeyPolicy(target, accept_new_host_key))
    try:
        _log_in(client, target, sock, timeout_seconds)
    except BaseException:
        client.close()
        sock.close()
        raise
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(KEEPALIVE_SECONDS)
    return client


def _log_in(client: paramiko.SSHClient, target: Target, sock: Any, timeout_seconds: float) -> None:
    import paramiko

    try:
        client.connect(
            # With the socket given, this only names the entry of known_hosts that is looked up.
            target.host_key_name,
            port=22,
            username=target.user,
            key_filename=[str(path) for path in target.keys] or None,
            sock=sock,
            timeout=timeout_seconds,
            banner_timeout=timeout_seconds,
            auth_timeout=timeout_seconds,
            allow_agent=target.use_agent,
            look_for_keys=target.look_for_keys,
            password=None,
        )
    except paramiko.BadHostKeyException as error:
        raise ConnectionFailed(
            f"the host key of {target.address} has changed: this may be another machine, or somebody in between",
            expected=_fingerprint(error.expected_key),
            found=_fingerprint(error.key),
            hint="If you know why (a new SD card), remove the old key: "
            f"ssh-keygen -f {shlex.quote(str(target.known_hosts[0]))} -R {shlex.quote(target.host_key_name)}",
        ) from None
    except paramiko.PasswordRequiredException:
        raise ConnectionFailed(
            f"the key for {target.address} is locked with a passphrase",
            expected="an unlocked key",
            hint="Unlock it once with ssh-add.",
        ) from None
    except paramiko.AuthenticationException as error:
        offered = ", ".join(str(path) for path in target.keys) or "the keys of the SSH agent and ~/.ssh"
        raise ConnectionFailed(
            f"{target.address} refuses our key",
            expected=f"{offered} among its authorized keys",
            found=str(error).rstrip("."),
            hint=f"Try: ssh-copy-id -p {target.port} {shlex.quote(target.user + '@' + target.hostname)}",
        ) from None
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        raise _connecting_failed(target, error) from error


def _connecting_failed(target: Target, error: Exception) -> ConnectionFailed:
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
    if "No authentication methods available" in said:
        return ConnectionFailed(
            f"there is no key to log in to {target.address} with",
            expected="a key in ~/.ssh, an SSH agent, or --key",
            found="none",
            hint="Make one with ssh-keygen, then ssh-copy-id.",
        )
    return ConnectionFailed(f"cannot log in to {target.address}", found=said)


def _fingerprint(key: paramiko.PKey) -> str:
    """As ssh prints it: ``ssh-ed25519 SHA256:...``."""
    return f"{key.get_name()} {key.fingerprint}"


class _HostKeyPolicy:
    """What happens to a host whose key is in no known_hosts file."""

    def __init__(self, target: Target, accept: bool) -> None:
        self._target = target
        self._accept = accept

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        target = self._target
        if not self._accept:
            raise ConnectionFailed(
                f"the host key of {target.address} is not known yet",
                expected=f"an entry for {target.host_key_name} in {target.known_hosts[0]}",
                found=_fingerprint(key),
                hint="If this fingerprint is the board's (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), "
                "accept it with --accept-new-host-key.",
            )
        path = target.known_hosts[0]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="ascii"
        ) as file:
            file.write(f"{target.host_key_name} {key.get_name()} {key.get_base64()}\n")
