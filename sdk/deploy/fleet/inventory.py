"""The boards of a fleet: who they are and how to reach them, from our own TOML file or an Ansible inventory.

    [defaults]                       # for every board that does not say otherwise
    board = "rpi4"                   # a name of `sdk boards`
    user = "pi"

    [groups.kitchen]                 # for every board of that group
    user = "cook"

    [boards."cam[01:20]"]            # twenty boards: cam01 to cam20
    groups = ["kitchen"]
    host = "{name}.local"            # default: the name

``board``, ``user``, ``port``, ``key``, ``known_hosts``, ``runtime`` and ``vars`` may stand in each of the three; a
board's own values win, then those of its last group. ``vars`` are the user's labels, which appear in results. Paths are
relative to the file's folder. For Ansible inventories see :mod:`sdk.deploy.fleet.inventory_ansible`.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Kind, ValueRefused, shown
from device_agent.record.schema import limits, record
from sdk.board.catalogue import load_board
from sdk.deploy.fleet.hosts import MAX_HOSTS, FleetHost, Inventory, check_distinct, check_host
from sdk.deploy.fleet.inventory_ansible import load_ansible, read_text
from sdk.errors import BoardError, InventoryError
from sdk.tools.toml_table import WordList, Words, read_toml, where

RUNTIMES = ("tflite-runtime", "ai-edge-litert")
_HINTS = {
    "password": "boards are reached with SSH keys: `key`, or the SSH agent",
    "ansible_host": "in this file it is called `host`",
    "ansible_user": "in this file it is called `user`",
}


def load_inventory(path: Path, *, board: str | None = None) -> Inventory:
    """Reads an inventory: TOML by its suffix, else one of Ansible's. ``board`` is the type of boards for which it
    names none. Raises InventoryError, BoardError or FileError."""
    inventory = _load_toml(path, board) if path.suffix == ".toml" else load_ansible(path, board)
    transports: dict[str, str] = {}
    for name in dict.fromkeys(host.board for host in inventory.hosts):
        try:
            transports[name] = load_board(name).transport
        except BoardError as error:
            first = next(host.name for host in inventory.hosts if host.board == name)
            raise InventoryError(
                f"{path}: {first}: {error.what}", expected=error.expected, found=name, hint=error.hint
            ) from None
    hosts = tuple(_on_this_machine(host, transports[host.board]) for host in inventory.hosts)
    return dataclasses.replace(inventory, hosts=hosts)


def _on_this_machine(host: FleetHost, transport: str) -> FleetHost:
    """The host. A board ``local`` without an address gets a home by its own name; an emulated one is the only one."""
    if transport == "ssh" or host.host != host.name or host.port is not None:
        return host
    own = host.board
    if own == "local":
        own = host.name if host.name.startswith("local-") else f"local-{host.name}"
        try:
            load_board(own)
        except BoardError:
            raise InventoryError(
                f"{host.name} cannot be a board on this machine",
                expected="a name of small letters, digits and dashes",
                found=host.name,
            ) from None
    return dataclasses.replace(host, board=own, host=own, here=True)


def expand_range(pattern: str, where: str) -> list[str]:
    """``cam[01:20].lan`` as its twenty names, as Ansible counts: both ends, leading zeros, letters, ``[0:10:5]``."""
    match = re.fullmatch(r"([^\[\]]*)\[([^\[\]:]+):([^\[\]:]+)(?::(\d+))?\](.*)", pattern)
    if match is None:
        if "[" in pattern or "]" in pattern:
            raise InventoryError(f"{where}: {pattern}", expected="a range such as cam[01:20]", found=pattern)
        return [pattern]
    head, first, last, step, tail = match.groups()
    values = _between(first, last, int(step or 1))
    if not values:
        raise InventoryError(
            f"{where}: {pattern}",
            expected="a range such as cam[01:20] or cam[a:f]",
            found=f"[{first}:{last}]",
        )
    rest = expand_range(tail, where)
    if len(values) * len(rest) > MAX_HOSTS:
        raise InventoryError(f"{where}: {pattern}", expected=f"at most {MAX_HOSTS} boards", found="more")
    return [f"{head}{value}{end}" for value in values for end in rest]


def _between(first: str, last: str, step: int) -> list[str]:
    """Both ends included; [] when these are not ends of a range."""
    if step < 1:
        return []
    if first.isascii() and first.isdigit() and last.isascii() and last.isdigit():
        if int(last) - int(first) > MAX_HOSTS:
            return []
        width = len(first) if first.startswith("0") else 0
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1, step)]
    letters = string.ascii_letters
    if len(first) == len(last) == 1 and first in letters and last in letters:
        return list(letters[letters.index(first) : letters.index(last) + 1 : step])
    return []


# -- our own file ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Label(Kind):
    """What the user says of a board: it is shown, and nothing else."""

    @property
    def expected(self) -> str:
        return "a text, a number, true or false"

    def read(self, value: Any) -> Any:
        if not isinstance(value, (str, int, float, bool)):
            raise ValueRefused(self.expected, shown(value))
        return value


if TYPE_CHECKING:
    Label = str | int | float | bool
else:
    Label = _Label()


@record(may_lack=True)
@dataclass(frozen=True)
class _Settings:
    """What boards, groups and defaults may all say."""

    board: Words | None = None
    user: Words | None = None
    port: int | None = field(default=None, metadata=limits(low=1, words="a whole number above 0"))
    key: Words | None = None
    known_hosts: Words | None = None
    runtime: str | None = field(default=None, metadata=limits(choices=RUNTIMES))
    vars: Mapping[str, Label] = field(default_factory=dict)

    def over(self, other: _Settings) -> _Settings:
        """These, and what ``other`` says where these say nothing."""
        own = {name: value for name, value in self.said().items() if value is not None}
        return _Settings(**{**other.said(), **own, "vars": {**other.vars, **self.vars}})

    def said(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(_Settings)}


@record(may_lack=True)
@dataclass(frozen=True)
class _Entry(_Settings):
    """One board, or those of a range."""

    groups: WordList = ()
    host: Words = "{name}"


@record(may_lack=True)
@dataclass(frozen=True)
class _InventoryFile:
    boards: Mapping[str, _Entry]
    defaults: _Settings = _Settings()
    groups: Mapping[str, _Settings] = field(default_factory=dict)


def _load_toml(origin: Path, board: str | None) -> Inventory:
    text = read_text(origin, "an inventory: TOML, or one of Ansible's")
    file = read_toml(_InventoryFile, text, str(origin), InventoryError, hints=_HINTS)
    defaults = file.defaults.over(_Settings(board=board))
    hosts: list[FleetHost] = []
    for pattern, entry in file.boards.items():
        settings = defaults
        for group in entry.groups:
            settings = file.groups.get(group, _Settings()).over(settings)
        hosts += _hosts(entry, pattern, entry.over(settings), origin)
    return Inventory(origin, check_distinct(hosts, origin))


def _hosts(entry: _Entry, pattern: str, settings: _Settings, origin: Path) -> list[FleetHost]:
    place = where(str(origin), ("boards", pattern))
    if settings.board is None:
        expected = "which kind of board it is, a name of `sdk boards`"
        raise InventoryError(f"{place}: board", expected=expected, found="nothing")
    said = settings.said()
    for name in ("key", "known_hosts"):
        if said[name] is not None:
            said[name] = origin.parent / Path(said[name]).expanduser()
    return [
        check_host(
            FleetHost(name=name, host=entry.host.replace("{name}", name), groups=entry.groups, **said), place
        )
        for name in expand_range(pattern, str(origin))
    ]
