"""Many boards on this machine: each a loopback SSH server of its own, with a home, an agent and a store of its own.

They are as if their cards had been written from one image, of a board that has run the agent: its files are hard links,
so that fifty boards take the room of one. Everything else is done to each of them as to any board.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from sdk.board.catalogue import load_board
from sdk.board.local import LocalBoard
from sdk.board.ssh.connection import connect
from sdk.deploy.session import make_ready
from sdk.deploy.target import Target


def make_image(folder: Path, runtime: str | None = None) -> Path:
    """The ``~/.armlet`` of a board that has run the agent, its bytecode compiled, and on which nothing is deployed."""
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        ready = make_ready(load_board("local"), connection, Target(runtime=runtime))
        [agent] = (board.home / ".armlet" / "agent").iterdir()
        python = board.home / ".bin" / "python3"
        subprocess.run([python, "-sS", "-m", "compileall", "-q", agent], check=True)
        assert ready.agent.status().releases == ()
        return board.home / ".armlet"


def write_card(image: Path, home: Path, *, has_agent: bool = True, link: bool = False) -> None:
    """Makes a board of an image that runs there, with the runtime alone where it has no agent.

    With ``link`` boards share their files, none of which may then be changed in place.
    """
    copy = os.link if link else shutil.copy2
    for part in ("env", "agent", "accepted") if has_agent else ("env",):
        shutil.copytree(image / part, home / ".armlet" / part, copy_function=copy)
    if has_agent:
        launcher = (image / "python").read_text().replace(str(image), str(home / ".armlet"))
        (home / ".armlet" / "python").write_text(launcher)
        (home / ".armlet" / "python").chmod(0o700)


class SimulatedFleet:
    """``count`` boards below ``folder``; a context manager. ``hosts`` are the lines of an inventory, to be changed."""

    def __init__(self, folder: Path, count: int, image: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._image = image
        self.names = [f"cam{number:02d}" for number in range(1, count + 1)]
        self.boards: dict[str, LocalBoard] = {}
        self.settings: dict[str, dict[str, object]] = {}

    def __enter__(self) -> SimulatedFleet:
        for name in self.names:
            board = LocalBoard(self.folder / name)
            self.boards[name] = self._stack.enter_context(board)
            if not (board.home / ".armlet").exists():
                (board.home / ".armlet").mkdir(mode=0o700)
                # Some cards are older than the agent: those boards are sent it, and try it.
                write_card(self._image, board.home, has_agent=len(self.boards) % 10 != 1, link=True)
            self.settings[name] = {
                "host": "127.0.0.1",
                "port": board.port,
                "user": board.user,
                "key": str(board.user_key),
                "known_hosts": str(self._known_hosts(name, board)),
                "groups": ["kitchen"] if int(name[3:]) % 5 == 0 else ["hall"],
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def inventory(self) -> Path:
        """Writes the inventory; always the same file, as a user would mend it."""
        lines = ["[defaults]", 'board = "local"']
        for name, settings in self.settings.items():
            lines.append(f"[boards.{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in settings.items()]
        path = self.folder / "boards.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _known_hosts(self, name: str, board: LocalBoard) -> Path:
        kind, data = board.known_hosts.read_text().split()[1:3]
        path = self.folder / f"{name}.known_hosts"
        path.write_text(f"[127.0.0.1]:{board.port} {kind} {data}\n")
        return path

    def current(self, name: str, model: str) -> str | None:
        """Which release runs there, out of the board's own store."""
        import json

        slot = self.boards[name].home / ".armlet" / "store" / "slots" / f"{model}.json"
        return json.loads(slot.read_text())["current"] if slot.exists() else None


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'
