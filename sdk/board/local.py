"""The board called ``local``: this machine, behind a loopback SSH server of its own.

Newcomers without hardware deploy to it: every step is that of a real board (key exchange, host key, public key, exec,
an environment of its own); only the processor is this machine's. The server lives as long as the ``with`` statement,
listens on 127.0.0.1 on a port that the kernel picks, lets in one key that it made itself, and serves one private
folder:

    $XDG_DATA_HOME/armlet/boards/local/     (0700; ~/.local/share when the variable is not set)
        home/       the board's home folder: $HOME of its processes
        home/.bin   first on PATH; python3 there is the interpreter that runs this process, without its venv
        ssh/        host key, user key, known_hosts

It is not a sandbox: a process that is started through it may do what its user may.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sdk.errors import BoardError
from sdk.tools.system.folders import data_folder

if TYPE_CHECKING:
    import paramiko

# Without a handler, logging would print paramiko's tracebacks when a client goes away.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: The name that the host key is filed under; the port is another one each time.
HOST_KEY_ALIAS = "armlet-local"

#: Variables of this process that a login on the same machine would have too, or that its libraries need to run well.
PASSED_ON = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
PASSED_ON_PREFIXES = ("OPENBLAS_", "OMP_")

BLOCK_BYTES = 1 << 16
#: How long a client may take for key exchange and login.
LOGIN_SECONDS = 20.0


def default_folder(name: str = "local") -> Path:
    """The folder with home and keys of the board ``local``, or of one named ``local-...``."""
    return data_folder("boards", name)


class LocalBoard:
    """``with LocalBoard() as board: connect(**board.login())``."""

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.home = self.folder / "home"
        self.user = getpass.getuser()
        self.host = "127.0.0.1"
        self.port = 0
        self._ssh = self.folder / "ssh"
        self._listener: socket.socket | None = None
        self._transports: list[paramiko.Transport] = []
        self._lock = threading.Lock()

    @property
    def user_key(self) -> Path:
        """The private key that the server lets in."""
        return self._ssh / "user_key"

    @property
    def known_hosts(self) -> Path:
        """The file with the server's own key."""
        return self._ssh / "known_hosts"

    def login(self) -> dict[str, Any]:
        """The arguments of :func:`sdk.board.ssh.connection.connect` that reach this board."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "key": self.user_key,
            "known_hosts": self.known_hosts,
            "host_key_alias": HOST_KEY_ALIAS,
            "config": None,
        }

    # -- start and stop -----------------------------------------------------------------------------------------

    def __enter__(self) -> LocalBoard:
        try:
            self._prepare()
        except OSError as error:
            raise BoardError(
                "the local board cannot be set up",
                expected=f"a folder of our own at {self.folder}",
                found=str(error),
            ) from None
        listener = socket.create_server((self.host, 0))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="local-board", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes every connection; processes that run on one are killed with it."""
        if self._listener is not None:
            # Closing alone does not wake the thread that accepts.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            transports, self._transports = self._transports, []
        for transport in transports:
            transport.close()

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid() or self.folder.stat().st_mode & 0o077:
            raise PermissionError(
                f"{self.folder} is not private to {self.user}; run: chmod 700 {self.folder}"
            )
        for folder in (self.home, self.home / ".bin", self._ssh):
            folder.mkdir(mode=0o700, exist_ok=True)
        link = self.home / ".bin" / "python3"
        interpreter = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        if not link.is_symlink() or os.readlink(link) != interpreter:
            temporary = link.with_name(f".python3.{os.getpid()}.{threading.get_ident()}")
            temporary.symlink_to(interpreter)
            temporary.replace(link)
        self._host_key = _load_or_make_key(self._ssh / "host_key")
        self._allowed = _load_or_make_key(self.user_key)
        entry = f"{HOST_KEY_ALIAS} {self._host_key.get_name()} {self._host_key.get_base64()}\n"
        if not self.known_hosts.exists() or self.known_hosts.read_text() != entry:
            _write_private(self.known_hosts, entry.encode())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # stopped
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        import paramiko

        from sdk.board.local_server import BoardServer, BoardTransport

        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = BoardTransport(sock)
        transport.daemon = True
        transport.add_server_key(self._host_key)
        transport.banner_timeout = transport.auth_timeout = LOGIN_SECONDS
        with self._lock:
            self._transports.append(transport)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=BoardServer(self, self.user, self._allowed))

    # -- processes ----------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment of a login, without the variables of the user who started the command."""
        passed = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
        }
        path = os.pathsep.join([str(self.home / ".bin"), os.environ.get("PATH", os.defpath)])
        return {**passed, "PATH": path, "HOME": str(self.home), "USER": self.user, "SHELL": "/bin/sh"}

    def execute(self, channel: paramiko.Channel, command: str, begun: threading.Event) -> None:
        """Runs ``command`` as sshd does, through the shell, until it ends or the channel is closed.

        ``begun`` is set when the client knows that the command begins: only then may it hear of the end.
        """
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=self.environment(),
            start_new_session=True,  # so that all it starts can be killed with it
        )
        if not (process.stdin and process.stdout and process.stderr):
            raise AssertionError("all three streams are pipes")
        pumps = [
            threading.Thread(target=_pump_in, args=(channel, process.stdin), daemon=True),
            threading.Thread(target=_pump_out, args=(process.stdout, channel.sendall), daemon=True),
            threading.Thread(target=_pump_out, args=(process.stderr, channel.sendall_stderr), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        while True:
            try:
                status = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if channel.closed or not channel.get_transport().is_active():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        for pump in pumps[1:]:
            # Whatever it left running in the background may hold the pipes open; ssh waits for those, too.
            pump.join()
        begun.wait(LOGIN_SECONDS)
        with contextlib.suppress(OSError, EOFError):
            channel.send_exit_status(status if status >= 0 else 128 - status)
            channel.close()


def _pump_in(channel: paramiko.Channel, stdin: Any) -> None:
    with contextlib.suppress(OSError), stdin:
        while block := channel.recv(BLOCK_BYTES):
            stdin.write(block)
            stdin.flush()


def _pump_out(stream: Any, send: Any) -> None:
    with stream:
        while block := stream.read1(BLOCK_BYTES):
            try:
                send(block)
            except (OSError, EOFError):
                return  # nobody listens any more


# -- keys -----------------------------------------------------------------------------------------------------------


def _load_or_make_key(path: Path) -> paramiko.PKey:
    import paramiko

    if path.exists():
        with contextlib.suppress(paramiko.SSHException, ValueError):
            return paramiko.Ed25519Key.from_private_key_file(str(path))
        path.unlink()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    mine = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    _write_private(mine, data)
    # Of two commands that start at once for the first time, one makes the key and both use it.
    with contextlib.suppress(FileExistsError):
        os.link(mine, path)
    mine.unlink()
    return paramiko.Ed25519Key.from_private_key_file(str(path))


def _write_private(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)
