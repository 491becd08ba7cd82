"""Reads Ansible inventories: what ``ansible-inventory --list`` prints, from a file or from the program itself.

The program is run for everything that is not such a listing: INI, YAML, an executable, the configuration of a plugin, a
folder of these. It reads them as Ansible does, with its configuration, ``group_vars`` and ``host_vars``, and runs what
they run. A listing is read without it. Used are hosts, groups, and the variables

    ansible_host, ansible_port, ansible_user, ansible_ssh_private_key_file   (and their older names)
    armlet_board, armlet_runtime     which kind of board it is, and a runtime other than its file's

Hosts that are not reached by SSH are left out, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_agent.record.schema import parse_json
from sdk.deploy.fleet.ansible_program import MAX_BYTES, list_inventory
from sdk.deploy.fleet.hosts import FleetHost, Inventory, check_distinct, check_host
from sdk.errors import InventoryError
from sdk.tools.system.files import read_file

#: Groups within groups more than this deep are taken for a circle.
MAX_DEPTH = 64
#: As many warnings of Ansible's are passed on.
MAX_WARNINGS = 5

_BY_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
_OLDER = {
    "ansible_host": "ansible_ssh_host",
    "ansible_port": "ansible_ssh_port",
    "ansible_user": "ansible_ssh_user",
    "ansible_ssh_private_key_file": "ansible_private_key_file",
}
_NOT_USED = (
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_become",
)
#: What it says of a variable that stands in a vault, and of one that is not a template whatever it looks like.
_IN_A_VAULT, _PLAIN = "__ansible_vault", "__ansible_unsafe"


@dataclass
class _Group:
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Listing:
    """What a listing says, before variables are handed down."""

    origin: Path
    groups: dict[str, _Group] = field(default_factory=dict)
    host_vars: dict[str, dict[str, Any]] = field(default_factory=dict)

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())


def load_ansible(path: Path, board: str | None) -> Inventory:
    """One of Ansible's inventories; ``board`` is the type of boards that have no ``armlet_board``. Raises
    InventoryError or FileError."""
    warnings: tuple[str, ...] = ()
    if _is_listing(path):
        text = read_text(path, "an inventory: TOML, or one of Ansible's")
    else:
        text, warnings = list_inventory(path)
    listing = _parse(text, path)
    hosts, left_out, not_used = [], [], set()
    for name, groups, variables in _handed_down(listing):
        if str(variables.get("ansible_connection", "ssh")) not in _BY_SSH:
            left_out.append(name)
            continue
        not_used |= {key for key in _NOT_USED if key in variables}
        hosts.append(_host(name, groups, variables, path, board))
    notes = [f"Ansible warns: {warning}" for warning in warnings[:MAX_WARNINGS]]
    if left_out:
        notes.append(f"left out, not reached by SSH: {', '.join(left_out)}")
    if not_used:
        notes.append(
            f"not used: {', '.join(sorted(not_used))}; put options of ssh into ~/.ssh/config, and boards are "
            "reached with keys"
        )
    return Inventory(path, check_distinct(hosts, path), tuple(notes))


def read_text(path: Path, what: str) -> str:
    """The text of a file of at most MAX_BYTES. Raises FileError, or InventoryError where it is not UTF-8."""
    data = read_file(path, what, most=MAX_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InventoryError(f"{path} cannot be read", expected="UTF-8 text", found=str(error)) from None


def _is_listing(path: Path) -> bool:
    """Whether ``path`` holds what ``ansible-inventory --list`` prints, JSON. Neither a file nor a folder: a pipe from
    that program, or missing, which reading tells."""
    if path.is_dir():
        return False
    if path.suffix == ".json" or not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4096).lstrip().startswith(b"{")
    except OSError:
        return True


# -- handing variables down -----------------------------------------------------------------------------------------


def _handed_down(listing: _Listing) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Name, groups (outer ones first, without "all") and variables of each host, as Ansible merges them: those of
    outer groups first, of one depth by ansible_group_priority and name, then the host's own. Hosts come in the order
    that they have in Ansible."""
    parents: dict[str, list[str]] = {}
    for name, group in listing.groups.items():
        for child in group.children:
            if child not in listing.groups:
                raise InventoryError(
                    f"{listing.origin}: the group {name} has a child that is not there", found=child
                )
            parents.setdefault(child, []).append(name)
    depths: dict[str, int] = {}

    def depth(name: str, below: int = 0) -> int:
        if below > MAX_DEPTH:
            raise InventoryError(f"{listing.origin}: the group {name} is part of itself")
        if name not in depths:
            outer = [depth(p, below + 1) + 1 for p in parents.get(name, ())]
            depths[name] = 0 if name == "all" else max(outer, default=1)
        return depths[name]

    for name in listing.groups:
        depth(name)
    member_of: dict[str, set[str]] = {host: {"all"} & set(listing.groups) for host in listing.host_vars}
    for name, group in listing.groups.items():
        outer = {name}
        for _ in range(MAX_DEPTH):
            outer |= {p for g in outer for p in parents.get(g, ())}
        for host in group.hosts:
            member_of[host] |= outer

    def order(name: str) -> tuple[int, int, str]:
        priority = listing.groups[name].vars.get("ansible_group_priority", 1)
        return depths[name], priority if isinstance(priority, int) else 1, name

    for host in _in_order(listing):
        own = listing.host_vars[host]
        groups = sorted(member_of[host], key=order)
        merged: dict[str, Any] = {}
        for name in groups:
            merged.update(listing.groups[name].vars)
        merged.update(own)
        yield host, tuple(name for name in groups if name not in ("all", "ungrouped")), merged


def _in_order(listing: _Listing) -> list[str]:
    """All hosts: those of "all" first, then those of its children, then those of theirs; what is in no group, last."""
    found: dict[str, None] = {}
    level, seen = ["all"], {"all"}
    while level:
        groups = [listing.groups[name] for name in level if name in listing.groups]
        for group in groups:
            found.update(dict.fromkeys(group.hosts))
        level = [child for group in groups for child in group.children if child not in seen]
        seen.update(level)
    return list(found | dict.fromkeys(listing.host_vars))


def _host(
    name: str, groups: tuple[str, ...], variables: Mapping[str, Any], origin: Path, board: str | None
) -> FleetHost:
    where = f"{origin}: {name}"

    def text(key: str) -> str | None:
        value = variables.get(key, variables.get(_OLDER.get(key, key)))
        if value is None or value == "":
            return None
        if isinstance(value, (dict, list)) or "{{" in str(value):
            secret = isinstance(value, dict) and _IN_A_VAULT in value
            raise InventoryError(
                f"{where}: {key}",
                expected="a plain value: templates and vaults are Ansible's to open",
                found="a secret" if secret else str(value)[:80],
                hint="Set it plainly, or in ~/.ssh/config.",
            )
        return str(value)

    kind = text("armlet_board") or board
    if kind is None:
        raise InventoryError(
            f"{where}: which kind of board is it?",
            expected="armlet_board=NAME in the inventory, or --board NAME for all of them",
            found="neither",
            hint="`sdk boards` lists the names.",
        )
    port = text("ansible_port")
    if port is not None and not re.fullmatch(r"[0-9]{1,5}", port):
        raise InventoryError(f"{where}: ansible_port", expected="1 to 65535", found=port)
    key = text("ansible_ssh_private_key_file")
    known_hosts = re.search(
        r"UserKnownHostsFile[= ]([^\s\"']+)", str(variables.get("ansible_ssh_common_args", ""))
    )
    labels = {
        k: v
        for k, v in variables.items()
        if not k.startswith(("ansible_", "armlet_")) and isinstance(v, (str, int, float, bool))
    }
    host = FleetHost(
        name=name,
        board=kind,
        host=text("ansible_host") or name,
        port=None if port is None else int(port),
        user=text("ansible_user"),
        key=None if key is None else Path(key).expanduser(),
        known_hosts=None if known_hosts is None else Path(known_hosts[1]).expanduser(),
        runtime=text("armlet_runtime"),
        groups=groups,
        vars=labels,
    )
    return check_host(host, where)


# -- a listing ---------------------------------------------------------------------------------------------------------


def _parse(text: str, origin: Path) -> _Listing:
    expected = "what `ansible-inventory --list` writes"
    document = parse_json(text, what=str(origin), error=InventoryError, expected=expected, most=MAX_BYTES)
    document = _mapping(document, str(origin))
    listing = _Listing(origin)
    meta = _mapping(document.pop("_meta", None), f"{origin}: _meta")
    for name, body in document.items():
        body = {"hosts": body} if isinstance(body, list) else _mapping(body, f"{origin}: {name}")
        group = listing.group(name)
        group.vars.update(_variables(body.get("vars"), f"{origin}: {name}: vars"))
        for child in _names(body.get("children"), f"{origin}: {name}: children"):
            group.children.append(child)
            listing.group(child)
        for host in _names(body.get("hosts"), f"{origin}: {name}: hosts"):
            group.hosts.append(host)
            listing.host_vars.setdefault(host, {})
    variables = _mapping(meta.get("hostvars"), f"{origin}: _meta: hostvars")
    for host, own in variables.items():
        listing.host_vars.setdefault(host, {}).update(_variables(own, f"{origin}: {host}"))
    return listing


def _variables(value: Any, where: str) -> dict[str, Any]:
    """Variables by their names; what is marked as plain text is that text."""
    found = _mapping(value, where)
    return {k: v[_PLAIN] if isinstance(v, dict) and list(v) == [_PLAIN] else v for k, v in found.items()}


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InventoryError(where, expected="a mapping", found=type(value).__name__)
    return value


def _names(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InventoryError(where, expected="a list of names", found=repr(value)[:80])
    return value
