"""Run, put and get on a board; the only module that knows SSH.

:class:`sdk.board.ssh.command.Connection` is all that other rooms see, so that a fake can stand in. :func:`connect`
opens the real one.

Host keys are checked as ssh does with ``StrictHostKeyChecking yes``: an unknown key is refused with its fingerprint
unless ``accept_new_host_key`` says otherwise (then it is written down), a changed or revoked one always.
``~/.ssh/config`` and the system's give HostName, Port, User, IdentityFile, CertificateFile, IdentitiesOnly,
IdentityAgent, ProxyJump, ProxyCommand, HostKeyAlias, UserKnownHostsFile and GlobalKnownHostsFile, as ``ssh -G`` reads
them.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from sdk.board.ssh.command import MAX_OUTPUT_BYTES, Completed
from sdk.board.ssh.files import Files
from sdk.board.ssh.login import log_in, open_socket
from sdk.board.ssh.shell import answer_of, as_one_line
from sdk.board.ssh.target import SshTarget, find_target
from sdk.errors import ConnectionFailed, RemoteError

if TYPE_CHECKING:
    import paramiko

# Without a handler, logging would print paramiko's tracebacks beside the one line that says what happened.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_SECONDS = 10.0
#: A server needs a moment to notice that a session has ended, before it allows the next.
SESSION_SECONDS = 10.0
#: A login shell may print this much of its own, beside the answer of a command.
MAX_NOISE_BYTES = 1 << 16
#: A source of input (a pipe that nobody writes to) may hold its reader longer than the command runs; not for ever.
SENDER_SECONDS = 1.0
#: What OpenSSH's servers take in one packet, less what paramiko leaves for its head.
PACKET_BYTES = (1 << 15) - 64
#: Input is read in blocks of this size.
WRITE_BYTES = 32 * PACKET_BYTES


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

    With ``key`` only that key is offered. ``default_user``: the login name when nothing else gives one. Raises
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
    """The real :class:`Connection`. One SSH session, kept until closed; a context manager."""

    def __init__(
        self,
        target: SshTarget,
        *,
        accept_new_host_key: bool = False,
        timeout_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self._target = target
        self._jump: SshConnection | None = None
        self._files = Files(self.run)
        #: Commands that run on this connection now, and what tells that one has ended.
        self._running, self._ended = 0, threading.Condition()
        #: paramiko keeps the reason of a refusal for whichever thread looks first: one asks at a time.
        self._opening = threading.Lock()
        if target.jump is not None:
            self._jump = SshConnection(
                target.jump, accept_new_host_key=accept_new_host_key, timeout_seconds=timeout_seconds
            )
        try:
            sock = (
                self._jump.forward(target, timeout_seconds)
                if self._jump
                else open_socket(target, timeout_seconds)
            )
            self._client = log_in(target, sock, accept_new_host_key, timeout_seconds)
        except BaseException:
            if self._jump is not None:
                self._jump.close()
            raise

    @property
    def address(self) -> str:
        """``user@host``, with ``:port`` where that is not 22."""
        return self._target.address

    def __enter__(self) -> SshConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and that to the jump host."""
        self._client.close()
        if self._jump is not None:
            self._jump.close()

    def forward(self, target: SshTarget, timeout_seconds: float) -> paramiko.Channel:
        """A channel from here on to another machine, to be used as the socket of a connection to it."""
        with self._dropped_is_named(f"reach {target.hostname} port {target.port}"):
            address = (target.hostname, target.port)
            return self._transport.open_channel(
                "direct-tcpip", address, ("127.0.0.1", 0), timeout=timeout_seconds
            )

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
        """As :meth:`sdk.board.ssh.command.Connection.run`. Raises RemoteError."""
        with self._dropped_is_named(f"run `{argv[0]}`"):
            channel = self._open_session()
            try:
                return self._run_on(channel, argv, stdin, timeout_seconds, max_output_bytes, sent)
            finally:
                channel.close()
                with self._ended:
                    self._running -= 1
                    self._ended.notify_all()

    def _open_session(self) -> paramiko.Channel:
        """A channel for one command. A server that allows no other one now (MaxSessions) is asked again when one of
        our commands has ended, or when it may have noticed that the one before did. Raises RemoteError."""
        import paramiko

        until = time.monotonic() + SESSION_SECONDS
        while True:
            try:
                with self._opening:
                    channel = self._transport.open_session(timeout=CONNECT_SECONDS)
            except paramiko.ChannelException as error:
                with self._ended:
                    if self._running:
                        self._ended.wait()
                        until = time.monotonic() + SESSION_SECONDS
                        continue
                if time.monotonic() > until:
                    raise RemoteError(
                        f"{self.address} does not let this user run a command",
                        expected="one session at least (MaxSessions of its sshd)",
                        found=str(error.text),
                    ) from None
                time.sleep(0.05)
                continue
            with self._ended:
                self._running += 1
            return channel

    def _run_on(
        self,
        channel: paramiko.Channel,
        argv: Sequence[str],
        stdin: bytes | Path | BinaryIO,
        timeout_seconds: float,
        max_output_bytes: int,
        sent: Callable[[int], None] | None,
    ) -> Completed:
        expired, mark = threading.Event(), f"armlet{secrets.token_hex(8)}"

        def expire() -> None:
            expired.set()
            channel.close()  # wakes every reader and writer below

        timer = threading.Timer(timeout_seconds, expire)
        timer.daemon = True
        out, err = _Capped(max_output_bytes + MAX_NOISE_BYTES), _Capped(max_output_bytes + MAX_NOISE_BYTES)
        sender = _Sender(stdin, sent)
        threads = [
            threading.Thread(target=sender.send, args=(channel,), daemon=True),
            threading.Thread(target=err.drain, args=(channel, channel.recv_stderr), daemon=True),
        ]
        timer.start()
        try:
            channel.exec_command(as_one_line(argv, mark))
            for thread in threads:
                thread.start()
            out.drain(channel, channel.recv)
            threads[1].join()
            channel.status_event.wait()
        finally:
            timer.cancel()
            channel.close()  # a sender to a command that has ended stops
            if threads[0].ident is not None:
                threads[0].join(SENDER_SECONDS)
        if expired.is_set():
            raise RemoteError(
                f"`{argv[0]}` on {self.address} took too long",
                expected=f"an end within {timeout_seconds:g} s",
                found=_tail(_said(err, mark)) or "no end",
            )
        if sender.error is not None:
            raise RemoteError(f"the input of `{argv[0]}` could not be read", found=str(sender.error))
        said, errors = answer_of(out.data, mark), _said(err, mark)
        if out.overflowed or err.overflowed or max(len(said or b""), len(errors)) > max_output_bytes:
            raise RemoteError(
                f"`{argv[0]}` on {self.address} printed too much",
                expected=f"at most {max_output_bytes} bytes",
                found="more",
            )
        status = self._status(channel, argv, errors)
        if said is None:
            raise RemoteError(
                f"the login shell of {self.address} does not run commands",
                expected="one that passes them on to sh, as bash, zsh, tcsh and fish do",
                found=_tail(bytes(out.data) + b" " + errors) or f"exit status {status}",
            )
        return Completed(tuple(argv), status, said, errors)

    def _status(self, channel: paramiko.Channel, argv: Sequence[str], errors: bytes) -> int:
        """The exit status. Raises ConnectionFailed or RemoteError where none came."""
        status = channel.exit_status
        if status == -1:  # no exit status came: the connection went away, or the command died of a signal
            if not self._transport.is_active():
                raise ConnectionFailed(
                    f"the connection to {self.address} was lost",
                    expected=f"the answer of `{argv[0]}`",
                    found="the end of the connection",
                    hint="Run the command again: the board has what it had before.",
                )
            raise RemoteError(
                f"`{argv[0]}` on {self.address} was killed",
                expected="an exit status",
                found=_tail(errors) or "none",
                hint="If the board ran out of memory, its kernel log (dmesg) says so.",
            )
        return int(status)

    def put(
        self,
        source: bytes | Path | BinaryIO,
        remote: str,
        *,
        mode: int = 0o600,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """As :meth:`sdk.board.ssh.command.Connection.put`. Raises RemoteError."""
        with _as_stream(source) as stream:
            self._files.put(stream, _size(stream), remote, mode, sent)

    def get(self, remote: str, *, max_bytes: int) -> bytes | None:
        """As :meth:`sdk.board.ssh.command.Connection.get`. Raises RemoteError."""
        return self._files.get(remote, max_bytes)

    def remove(self, remote: str) -> None:
        """As :meth:`sdk.board.ssh.command.Connection.remove`. Raises RemoteError."""
        self._files.remove(remote)

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise ConnectionFailed(
                f"the connection to {self.address} was lost", hint="Run the command again."
            )
        return transport

    @contextlib.contextmanager
    def _dropped_is_named(self, doing: str) -> Iterator[None]:
        """What paramiko and sockets raise becomes one named error."""
        import paramiko

        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport = self._client.get_transport()
            if transport is not None and transport.is_active():
                said = str(error) or type(error).__name__
                raise RemoteError(f"{self.address} could not {doing}", found=said) from error
            raise ConnectionFailed(
                f"the connection to {self.address} was lost",
                expected=f"to {doing}",
                found=str(error) or type(error).__name__,
                hint="Run the command again: the board has what it had before.",
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


def _said(stream: _Capped, mark: str) -> bytes:
    """What a command said on a stream; all that was said there, where it did not begin."""
    said = answer_of(stream.data, mark)
    return bytes(stream.data) if said is None else said


def _tail(data: bytes) -> str:
    return Completed((), 0, b"", data).stderr_tail()


class _Sender:
    """Sends a command its standard input; ``error`` is what went wrong with our source, if anything did."""

    def __init__(self, source: bytes | Path | BinaryIO, sent: Callable[[int], None] | None) -> None:
        self.error: Exception | None = None
        self._source = source
        self._sent = sent

    def send(self, channel: paramiko.Channel) -> None:
        # A command that ends without reading all of its input closes the channel under us: not our error,
        # its exit status tells what happened. (EOFError is how paramiko says that the connection has gone.)
        with contextlib.suppress(OSError, EOFError):
            for block in self._blocks():
                # A packet at a time: sendall() would copy the rest of the block for every packet.
                for start in range(0, len(block), PACKET_BYTES):
                    channel.sendall(block[start : start + PACKET_BYTES])
            channel.shutdown_write()

    def _blocks(self) -> Iterator[bytes]:
        count = 0
        try:
            with _as_stream(self._source) as stream:
                while block := stream.read(WRITE_BYTES):
                    yield block
                    count += len(block)
                    if self._sent is not None:
                        self._sent(count)
        except Exception as error:  # the command gets the end of its input, and run() raises
            self.error = error


def _size(stream: BinaryIO) -> int:
    """Bytes from where a stream stands to its end."""
    begun = stream.tell()
    size = stream.seek(0, 2) - begun
    stream.seek(begun)
    return size


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
