"""The boards of a fleet as records, with their addresses; no two are the same."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.board.ssh.names import is_host, is_user
from sdk.errors import InventoryError

MAX_HOSTS = 10_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,252}")


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
    here: bool = False  # a board on this machine, which needs no address: `local-...` or `virtual-...`

    @property
    def address(self) -> str:
        """How it is reached, as far as the inventory says: ``pi@cam01.local:2222``."""
        if self.here:
            return "this machine"
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
        """Every group that a board is in, in the order of the file."""
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
                    found=host.host if host.here else host.address,
                    hint="Name one of them only, or choose a group that has one of them.",
                )
        return dataclasses.replace(self, hosts=hosts)


def check_host(host: FleetHost, where: str) -> FleetHost:
    """The host itself, if its name, address, user and port can be some: the last three reach ssh. Raises
    InventoryError."""
    if not _NAME.fullmatch(host.name):
        raise InventoryError(
            f"{where}: this cannot be the name of a board",
            expected="letters, digits, dots, dashes and underscores",
            found=repr(host.name)[:80],
        )
    if not is_host(host.host):
        raise InventoryError(
            f"{where}: host", expected="the name or the address of a host", found=repr(host.host)[:80]
        )
    if host.user is not None and not is_user(host.user):
        raise InventoryError(f"{where}: user", expected="a login name such as pi", found=repr(host.user)[:80])
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
