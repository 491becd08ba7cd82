"""Boards without hardware: a Debian userland for ARM under QEMU's user mode, behind a real OpenSSH server.

Real ARM machine code runs there, with the wheels and kernels that a Raspberry Pi gets, and a real OpenSSH answers. Only
its clock means nothing. The server listens on 127.0.0.1, lets in one key, and shows one board:

    $XDG_DATA_HOME/armlet/boards/virtual-arm64/     (0700; ~/.local/share when the variable is not set)
        home/           the login user's home folder on the board; all else there is read only, or gone at the end
        ssh/            host key, user key, known_hosts
        system/         /proc/cpuinfo and /sys as the core of the board's file has them
        sshd_config, passwd, state.json, log
    $XDG_CACHE_HOME/armlet/userlands/               the userland itself (sdk.board.emulation.userland)

Starting needs root: for chroot, for namespaces, and to tell the kernel what runs ARM programs. The board's own
processes run as a user who owns nothing else on this machine. They live in a process namespace and their mounts in a
mount namespace, so that nothing is left behind, whether the board is stopped or killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from device_agent.record.schema import parse_json, read, write
from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.board.emulation import binfmt, tools, userland
from sdk.board.emulation.cores import find_core, system_files
from sdk.board.emulation.processes import Running, alive, children, start_ticks
from sdk.errors import BoardError, DataError
from sdk.tools.progress import Progress
from sdk.tools.shown import Shown
from sdk.tools.system.folders import data_folder
from sdk.tools.system.locks import lock

HOST = "127.0.0.1"
USER = userland.USER
START_SECONDS = 30.0
STOP_SECONDS = 10.0
SHARED_MEMORY_BYTES = 256 << 20
PORT_TRIES = 3
PRIVILEGED = (
    "Namespaces and binfmt_misc need a privileged container (docker run --privileged), or no container."
)

_INIT = Path(__file__).parent / "emulation" / "board_init.sh"

SSHD_CONFIG = """\
ListenAddress {host}:{port}
HostKey /run/armlet/host_key
AuthorizedKeysFile /run/armlet/authorized_keys
PidFile none
UsePAM no
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers {user}
AcceptEnv none
SetEnv {environment}
ChrootDirectory /run/armlet/root
Subsystem sftp internal-sftp
AllowTcpForwarding local
AllowAgentForwarding no
X11Forwarding no
PermitUserRC no
PrintMotd no
UseDNS no
MaxSessions 64
MaxStartups 100
"""


@dataclass(frozen=True)
class Status(Shown):
    """The state of a virtual board. ``port`` and ``pid`` are None while it does not run."""

    board: str
    running: bool
    folder: Path
    cpu: str
    port: int | None = None
    pid: int | None = None
    #: False: the next start has to build it, which takes half a minute and the network.
    userland_built: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.__dict__, "folder": str(self.folder), "host": HOST, "user": USER, "emulated": True}


def start(name: str = "virtual-arm64", *, progress: Progress | None = None) -> Status:
    """Starts the board, if it does not run. It goes on running when this process ends."""
    return VirtualBoard(name).start(progress)


def stop(name: str = "virtual-arm64") -> bool:
    """Stops the board and every process on it; False where it did not run. What was deployed stays."""
    return VirtualBoard(name).stop()


def status(name: str = "virtual-arm64") -> Status:
    """Whether it runs, and where."""
    return VirtualBoard(name).status()


def login(name: str = "virtual-arm64") -> dict[str, Any]:
    """The arguments of :func:`sdk.board.ssh.connection.connect` for a board that runs; BoardError where it does not."""
    return VirtualBoard(name).login()


class VirtualBoard:
    """One emulated board. As a context manager it stops at the end, if it was not running before."""

    def __init__(
        self,
        board: Board | str = "virtual-arm64",
        folder: Path | str | None = None,
    ) -> None:
        self.board = load_board(board) if isinstance(board, str) else board
        if self.board.transport != "virtual" or self.board.qemu_cpu is None:
            raise BoardError(
                f"{self.board.name} is not a virtual board",
                expected='a board file with transport = "virtual" and a qemu_cpu',
                found=f"transport {self.board.transport!r}",
            )
        self.core = find_core(self.board.qemu_cpu)
        self.machine = self.board.architecture
        self.folder = Path(folder) if folder is not None else data_folder("boards", self.board.name)
        self.home = self.folder / "home"
        self.host_key_alias = f"armlet-{self.board.name}"
        self._ssh = self.folder / "ssh"
        self._started_here = False

    @property
    def user_key(self) -> Path:
        """The private key that the server lets in."""
        return self._ssh / "user_key"

    @property
    def known_hosts(self) -> Path:
        """The file with the server's own key."""
        return self._ssh / "known_hosts"

    def login(self) -> dict[str, Any]:
        """The arguments of :func:`sdk.board.ssh.connection.connect` that reach this board. BoardError where it
        does not run."""
        state = self._state()
        if state is None:
            raise BoardError(
                f"the board {self.board.name} does not run",
                hint=f"Start it: sdk board start {self.board.name}",
            )
        return {
            "host": HOST,
            "port": state.port,
            "user": USER,
            "key": self.user_key,
            "known_hosts": self.known_hosts,
            "host_key_alias": self.host_key_alias,
            "config": None,
        }

    def status(self) -> Status:
        """Whether the board runs, and where."""
        state = self._state()
        return Status(
            board=self.board.name,
            running=state is not None,
            folder=self.folder,
            cpu=self.core.name,
            port=None if state is None else state.port,
            pid=None if state is None else state.pid,
            userland_built=userland.archive_path(self.machine).exists(),
        )

    # -- start and stop -----------------------------------------------------------------------------------------

    def start(self, progress: Progress | None = None) -> Status:
        """Starts the board, if it does not run. Raises BoardError: not root, a program missing, no userland, or
        the reason that its server gave."""
        if self._state() is not None:
            return self.status()
        self._require_root()
        tools.require("sshd", "ssh-keygen", "tar", "unshare")
        qemu = tools.static_qemu(self.machine)
        root = userland.root_folder(self.machine, progress=progress)
        with self._locked():
            if self._state() is None:
                if progress is not None:
                    progress("start the board", 0, 0)
                try:
                    self._prepare()
                except OSError as error:
                    raise BoardError(
                        f"the board {self.board.name} cannot be set up",
                        expected=f"a folder of our own at {self.folder}, and the right to give it away",
                        found=str(error),
                        hint=PRIVILEGED,
                    ) from None
                self._launch(root, qemu)
                self._started_here = True
        return self.status()

    def stop(self) -> bool:
        """Stops the board and every process on it; False where it did not run."""
        if not self._state_path.exists():
            return False
        self._require_root()
        with self._locked():
            state = self._state()
            if state is None:  # killed: the kernel has taken away all but the rule
                binfmt.unregister(self._binfmt_name)
                self._state_path.unlink(missing_ok=True)
                return False
            # The first process of the namespace takes all others of it along. Its parent, which the state names, ends
            # after it, so that its end says that all is gone.
            first = children(state.pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                for pid in first if number == signal.SIGTERM else (*first, state.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                if _wait_for(lambda: not alive(state), STOP_SECONDS):
                    break
            binfmt.unregister(self._binfmt_name)
            self._state_path.unlink(missing_ok=True)
            self._started_here = False
        return True

    def __enter__(self) -> VirtualBoard:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started_here:
            self.stop()

    def _require_root(self) -> None:
        if os.geteuid() != 0:
            raise BoardError(
                f"the board {self.board.name} needs root to start and to stop; deploying to it does not",
                expected="root, for chroot, namespaces and binfmt_misc",
                found=f"user {os.geteuid()}",
                hint="sudo --preserve-env=HOME,XDG_CACHE_HOME,XDG_DATA_HOME "
                f'"$(command -v sdk)" board start {self.board.name}',
            )

    def _prepare(self) -> None:
        """Everything of the board's own, written again except keys and home."""
        userland.make_folder(self.folder)
        self.folder.chmod(0o700)
        for folder in (self._ssh, self.home):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.home, userland.USER_ID, userland.USER_ID)
        for key in ("host_key", "user_key"):
            self._make_key(self._ssh / key)
        public = (self._ssh / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"{self.host_key_alias} {public[0]} {public[1]}\n")
        for path in (self._ssh, *self._ssh.iterdir()):
            userland.give_to_user(path)
        shutil.rmtree(self.folder / "system", ignore_errors=True)
        for name, text in system_files(self.core).items():
            path = self.folder / "system" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for path in (self.folder / "system").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o444)
        accounts = Path("/etc/passwd").read_text().rstrip("\n") + "\n"
        (self.folder / "passwd").write_text(accounts + userland.account())
        (self.folder / "passwd").chmod(0o644)

    def _make_key(self, path: Path) -> None:
        if path.exists() and path.with_suffix(".pub").exists():
            return
        path.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.host_key_alias, "-f", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise BoardError("no key could be made for the virtual board", found=done.stderr.strip()[:200])

    def _launch(self, root: Path, qemu: str) -> None:
        last = ""
        for _ in range(PORT_TRIES):
            port = _free_port()
            (self.folder / "sshd_config").write_text(
                SSHD_CONFIG.format(host=HOST, port=port, user=USER, environment=f"QEMU_CPU={self.core.qemu}")
            )
            log = self.folder / "log"
            pid = self._spawn(root, qemu, log)
            state = Running(pid, start_ticks(pid), port)
            self._write_state(state)
            if _wait_for(lambda port=port, state=state: _greets(port) or not alive(state), START_SECONDS):
                if alive(state):
                    return
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            binfmt.unregister(self._binfmt_name)
            self._state_path.unlink(missing_ok=True)
            last = log.read_text(errors="replace").strip()
            if "already in use" not in last:
                break
        raise BoardError(
            f"the board {self.board.name} does not start",
            expected=f"an SSH server on {HOST} within {START_SECONDS:.0f} s",
            found=" / ".join(last.splitlines()[-3:])[-300:] or "no message",
            hint=PRIVILEGED if "ermission denied" in last or "not permitted" in last else None,
        )

    def _spawn(self, root: Path, qemu: str, log: Path) -> int:
        """Starts the board's first process, out of this one's session; gives the number of its parent."""
        unshare = tools.which("unshare") or "unshare"
        arguments = [unshare, "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--", "/bin/sh"]
        arguments += [str(_INIT), str(self.folder), str(root), USER, str(SHARED_MEMORY_BYTES)]
        arguments += [self._binfmt_name, binfmt.rule(self._binfmt_name, self.machine, qemu)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        return os.posix_spawn(
            unshare,
            arguments,
            {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    @property
    def _binfmt_name(self) -> str:
        """One name a folder, so that a board that stops does not take the rule away from another that runs."""
        return f"armlet-{self.machine}-{userland.short_digest(str(self.folder.resolve()))}"

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.json"

    def _state(self) -> Running | None:
        """What the last start wrote, if that board still runs: a machine that was switched off leaves it behind."""
        try:
            state = read(Running, parse_json(self._state_path.read_bytes()))
        except (OSError, DataError):
            return None
        return state if alive(state) else None

    def _write_state(self, state: Running) -> None:
        temporary = self._state_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(write(state)))
        temporary.chmod(0o644)
        temporary.replace(self._state_path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        userland.make_folder(self.folder)
        with open(self.folder / "lock", "w") as file:
            lock(file.fileno())
            yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _greets(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2.0) as connection:
        return connection.recv(8).startswith(b"SSH-2.0")
    return False


def _wait_for(condition: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
