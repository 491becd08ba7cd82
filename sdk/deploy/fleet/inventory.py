"""The boards of a fleet: who they are and how to reach them, from a TOML file of ours or an Ansible inventory.

    [defaults]                       # for every board that does not say otherwise
    board = "rpi4"                   # a name of `sdk boards`
    user = "pi"

    [groups.kitchen]                 # for every board of that group
    user = "cook"

    [boards."cam[01:20]"]            # twenty boards: cam01 to cam20
    groups = ["kitchen"]
    host = "{name}.local"            # default: the name

``board``, ``user``, ``port``, ``key``, ``known_hosts``, ``runtime`` and ``vars`` may stand in each of the three; a
board's own win, then those of its last group. ``vars`` are labels of the user's that appear in results. Paths begin at
the file's folder. What an Ansible inventory says: :mod:`sdk.deploy.fleet.inventory_ansible`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Kind, Refused, shown
from device_agent.record.schema import limits, record
from sdk.board.catalogue import load_board
from sdk.errors import BoardError, InventoryError
from sdk.tools.system.files import read_file
from sdk.tools.toml_table import WordList, Words, read_toml, where

#: No inventory of ours is larger.
MAX_BYTES = 16 << 20
MAX_HOSTS = 10_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,252}")
RUNTIMES = ("tflite-runtime", "ai-edge-litert")
_HINTS = {
    "password": "boards are reached with SSH keys: `key`, or the SSH agent",
    "ansible_host": "in this file it is called `host`",
    "ansible_user": "in this file it is called `user`",
}


@dataclass(frozen=True)
class FleetHost:
    """One board of a fleet. None: as ssh and the board's file say. ``vars`` are the user's own labels."""

    name: str
    board: str
    host: str
    port: int | None = None
    user: str | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    runtime: str | None = None
    groups: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """How it is reached, as far as the inventory says: ``pi@cam01.local:2222``."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class Inventory:
    """The boards, in the order of the file. ``notes``: what the file says that is not used."""

    origin: Path
    hosts: tuple[FleetHost, ...]
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group for host in self.hosts for group in host.groups))

    def select(self, group: str | None = None) -> Inventory:
        """The boards of a group; all of them with None or "all". Raises InventoryError where that leaves none, or
        one board under two names, which would be deployed to twice at once."""
        hosts = self.hosts
        if group not in (None, "all"):
            hosts = tuple(host for host in hosts if group in host.groups)
            if not hosts:
                raise InventoryError(
                    f"{self.origin}: no board is in the group {group}",
                    expected=", ".join(self.groups) or "an inventory with groups",
                    found=str(group),
                )
        if not hosts:
            raise InventoryError(f"{self.origin} names no board", expected="at least one", found="none")
        seen: dict[tuple[str, int], str] = {}
        for host in hosts:
            first = seen.setdefault((host.host, host.port or 22), host.name)
            if first != host.name:
                raise InventoryError(
                    f"{self.origin}: {first} and {host.name} are the same board",
                    expected="another host or port for each",
                    found=host.address,
                    hint="Name one of them only, or choose a group that has one of them.",
                )
        return dataclasses.replace(self, hosts=hosts)


def load_inventory(path: Path, *, board: str | None = None) -> Inventory:
    """Reads an inventory: TOML by its suffix, else one of Ansible's forms. ``board`` is the type of boards for which
    the file names none. Raises InventoryError, BoardError or FileError."""
    from sdk.deploy.fleet import inventory_ansible

    if path.is_dir() or (path.is_file() and path.stat().st_size > MAX_BYTES):
        raise InventoryError(
            f"{path} is not an inventory that is read",
            expected=f"a file of at most {MAX_BYTES >> 20} MB",
            found="a folder" if path.is_dir() else f"{path.stat().st_size} bytes",
            hint=inventory_ansible.LIST_HINT,
        )
    data = read_file(path, "an inventory: TOML, or one of Ansible's")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InventoryError(f"{path} cannot be read", expected="UTF-8 text", found=str(error)) from None
    if path.suffix == ".toml":
        inventory = _parse_toml(text, path, board)
    else:
        inventory = inventory_ansible.parse(text, path, board)
    for name in dict.fromkeys(host.board for host in inventory.hosts):
        try:
            load_board(name)
        except BoardError as error:
            first = next(host.name for host in inventory.hosts if host.board == name)
            raise InventoryError(
                f"{path}: {first}: {error.what}", expected=error.expected, found=name, hint=error.hint
            ) from None
    return inventory


def check_host(host: FleetHost, where: str) -> FleetHost:
    """The host itself, if its name and port can be some. Raises InventoryError."""
    if not _NAME.fullmatch(host.name):
        raise InventoryError(
            f"{where}: this cannot be the name of a board",
            expected="letters, digits, dots, dashes and underscores",
            found=repr(host.name)[:80],
        )
    if host.port is not None and not 1 <= host.port <= 65535:
        raise InventoryError(f"{where}: port", expected="1 to 65535", found=str(host.port))
    return host


def check_distinct(hosts: Iterable[FleetHost], origin: Path) -> tuple[FleetHost, ...]:
    """All of them. Raises InventoryError for two of one name, or too many."""
    found = tuple(itertools.islice(hosts, MAX_HOSTS + 1))
    if len(found) > MAX_HOSTS:
        raise InventoryError(f"{origin} is too large", expected=f"at most {MAX_HOSTS} boards", found="more")
    names: set[str] = set()
    for host in found:
        if host.name in names:
            raise InventoryError(f"{origin}: {host.name} stands there twice", expected="each board once")
        names.add(host.name)
    return found


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
    """Both ends included; [] when these are no ends of a range."""
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
            raise Refused(self.expected, shown(value))
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
class _File:
    boards: Mapping[str, _Entry]
    defaults: _Settings = _Settings()
    groups: Mapping[str, _Settings] = field(default_factory=dict)


def _parse_toml(text: str, origin: Path, board: str | None) -> Inventory:
    file = read_toml(_File, text, str(origin), InventoryError, hints=_HINTS)
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
