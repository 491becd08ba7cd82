"""Reads Ansible inventories: INI, YAML, and the JSON that ``ansible-inventory --list`` writes.

Of what they say this is used: hosts with ranges, groups with children and variables, and the variables

    ansible_host, ansible_port, ansible_user, ansible_ssh_private_key_file   (and their older names)
    armlet_board, armlet_runtime     which kind of board it is, and a runtime other than its file's

``group_vars`` and ``host_vars`` beside the file are read, too. Hosts that are not reached by SSH are left out, with a
note. Plugins and scripts are not run: ``ansible-inventory --list`` knows them, and its output is read. The
specification: Ansible's "How to build your inventory", and the pages of the plugins ``ansible.builtin.ini``,
``ansible.builtin.yaml`` and ``ansible.builtin.host_group_vars``.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.deploy.fleet.inventory import FleetHost, Inventory, check_distinct, check_host, expand_range
from sdk.deploy.fleet.inventory_vars import Secret, VariablesBeside, load_yaml
from sdk.errors import InventoryError

LIST_HINT = "`ansible-inventory -i INVENTORY --list > hosts.json` writes what is read here."
#: Groups within groups more than this deep are taken for a circle.
MAX_DEPTH = 64

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


@dataclass
class _Group:
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Parsed:
    """What a file says, before variables are handed down."""

    origin: Path
    groups: dict[str, _Group] = field(default_factory=dict)
    host_vars: dict[str, dict[str, Any]] = field(default_factory=dict)

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())

    def add_host(self, group: str, pattern: str, variables: Mapping[str, Any]) -> None:
        for name in expand_range(pattern, str(self.origin)):
            self.host_vars.setdefault(name, {}).update(variables)
            members = self.group(group).hosts
            if name not in members:
                members.append(name)


def parse(text: str, origin: Path, board: str | None) -> Inventory:
    """The inventory in one of Ansible's forms; ``board`` is the type of boards that have no ``armlet_board``."""
    form = _form(text, origin)
    parsed = {"json": _parse_json, "yaml": _parse_yaml, "ini": _parse_ini}[form](text, origin)
    beside = VariablesBeside(None)
    if form != "json":  # Ansible has read them already
        parsed.group("all")
        beside = VariablesBeside(origin.parent)
    notes, hosts, left_out, not_used = [], [], [], set()
    for name, groups, variables in _handed_down(parsed, beside):
        if str(variables.get("ansible_connection", "ssh")) not in _BY_SSH:
            left_out.append(name)
            continue
        not_used |= {key for key in _NOT_USED if key in variables}
        hosts.append(_host(name, groups, variables, origin, board))
    if left_out:
        notes.append(f"left out, not reached by SSH: {', '.join(left_out)}")
    if not_used:
        notes.append(
            f"not used: {', '.join(sorted(not_used))}; options of ssh belong into ~/.ssh/config, and boards are "
            "reached with keys"
        )
    return Inventory(origin, check_distinct(hosts, origin), tuple(notes))


def _form(text: str, origin: Path) -> str:
    if origin.suffix == ".json" or text.lstrip().startswith("{"):
        return "json"
    if origin.suffix in (".yml", ".yaml"):
        return "yaml"
    if text.startswith("#!"):
        raise InventoryError(
            f"{origin} is a program, and is not run",
            expected="an inventory file",
            found=text.splitlines()[0],
            hint=LIST_HINT,
        )
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return "yaml" if first == "---" or re.fullmatch(r"[\w.-]+:", first) else "ini"


# -- handing variables down -----------------------------------------------------------------------------------------


def _handed_down(
    parsed: _Parsed, beside: VariablesBeside
) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Name, groups (outer ones first, without "all") and variables of each host, as Ansible merges them: those of
    outer groups first, of one depth by ansible_group_priority and name, then those of group_vars in the same order, the
    host's own, and those of host_vars."""
    parents: dict[str, list[str]] = {}
    for name, group in parsed.groups.items():
        for child in group.children:
            if child not in parsed.groups:
                raise InventoryError(
                    f"{parsed.origin}: the group {name} has a child that is not there", found=child
                )
            parents.setdefault(child, []).append(name)
    depths: dict[str, int] = {}

    def depth(name: str, below: int = 0) -> int:
        if below > MAX_DEPTH:
            raise InventoryError(f"{parsed.origin}: the group {name} is part of itself")
        if name not in depths:
            outer = [depth(p, below + 1) + 1 for p in parents.get(name, ())]
            depths[name] = 0 if name == "all" else max(outer, default=1)
        return depths[name]

    for name in parsed.groups:
        depth(name)
    member_of: dict[str, set[str]] = {host: {"all"} & set(parsed.groups) for host in parsed.host_vars}
    for name, group in parsed.groups.items():
        outer = {name}
        for _ in range(MAX_DEPTH):
            outer |= {p for g in outer for p in parents.get(g, ())}
        for host in group.hosts:
            member_of[host] |= outer

    def order(name: str) -> tuple[int, int, str]:
        priority = parsed.groups[name].vars.get("ansible_group_priority", 1)
        return depths[name], priority if isinstance(priority, int) else 1, name

    for host, own in parsed.host_vars.items():
        groups = sorted(member_of[host], key=order)
        merged: dict[str, Any] = {}
        for name in groups:
            merged.update(parsed.groups[name].vars)
        for name in groups:
            merged.update(beside.of_group(name))
        merged.update(own)
        merged.update(beside.of_host(host))
        yield host, tuple(name for name in groups if name not in ("all", "ungrouped")), merged


def _host(
    name: str, groups: tuple[str, ...], variables: Mapping[str, Any], origin: Path, board: str | None
) -> FleetHost:
    where = f"{origin}: {name}"

    def text(key: str) -> str | None:
        value = variables.get(key, variables.get(_OLDER.get(key, key)))
        if value is None or value == "":
            return None
        if isinstance(value, (dict, list, Secret)) or "{{" in str(value):
            raise InventoryError(
                f"{where}: {key}",
                expected="a plain value: templates and vaults are Ansible's to open",
                found="a secret" if isinstance(value, Secret) else str(value)[:80],
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


# -- INI ------------------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")


def _parse_ini(text: str, origin: Path) -> _Parsed:
    parsed = _Parsed(origin)
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        where = f"{origin}, line {number}"
        if line.startswith("["):
            section = _SECTION.fullmatch(line)
            if section is not None and (section[2] or "hosts") in ("hosts", "children", "vars"):
                group, kind = section[1], section[2] or "hosts"
                parsed.group(group)
                continue
            if section is not None or kind != "hosts":
                raise InventoryError(
                    where, expected="[group], [group:children] or [group:vars]", found=line[:60]
                )
        if kind == "vars":
            key, sign, value = line.partition("=")
            if not sign or not key.strip():
                raise InventoryError(where, expected="key=value", found=line[:60])
            parsed.group(group).vars[key.strip()] = _value(value.strip())
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InventoryError(where, expected="quotes in pairs", found=str(error)) from None
        if not words:
            continue
        if kind == "children":
            parsed.group(group).children.append(words[0])
            parsed.group(words[0])
        else:
            _ini_host(parsed, group, words, where)
    return parsed


def _ini_host(parsed: _Parsed, group: str, words: list[str], where: str) -> None:
    variables: dict[str, Any] = {}
    for word in words[1:]:
        key, sign, value = word.partition("=")
        if not sign:
            raise InventoryError(where, expected="key=value after the host", found=word[:60])
        variables[key] = _value(value)
    pattern = words[0]
    # name:port, but not an IPv6 address and not the colon within a range
    match = re.fullmatch(r"(.*[^:\]]|.*\]):(\d{1,5})", pattern)
    if match and match[1].count(":") == len(re.findall(r"\[[^\]]*?:", match[1])):
        pattern = match[1]
        variables.setdefault("ansible_port", int(match[2]))
    parsed.add_host(group, pattern, variables)


def _value(text: str) -> Any:
    """As Ansible reads a value in an INI file: a Python literal where it is one, else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    # 007 or 1_000 is no number that somebody meant.
    return (
        value
        if not isinstance(value, (int, float)) or isinstance(value, bool) or str(value) == text
        else text
    )


# -- YAML and JSON --------------------------------------------------------------------------------------------------


def _parse_yaml(text: str, origin: Path) -> _Parsed:
    document = load_yaml(text, origin, "an Ansible inventory")
    parsed = _Parsed(origin)
    for name, body in _mapping(document, str(origin)).items():
        _yaml_group(parsed, str(name), body, 0)
    return parsed


def _yaml_group(parsed: _Parsed, name: str, body: Any, depth: int) -> None:
    where = f"{parsed.origin}: {name}"
    if depth > MAX_DEPTH:
        raise InventoryError(f"{where}: groups within groups", expected=f"at most {MAX_DEPTH} deep")
    group = parsed.group(name)
    body = _mapping(body, where)
    unknown = [key for key in body if key not in ("hosts", "vars", "children")]
    if unknown:
        raise InventoryError(
            where, expected="hosts, vars and children", found=", ".join(map(str, unknown))[:80]
        )
    group.vars.update(_mapping(body.get("vars"), f"{where}: vars"))
    hosts = body.get("hosts")
    for pattern, variables in _mapping({hosts: None} if isinstance(hosts, str) else hosts, where).items():
        parsed.add_host(name, str(pattern), _mapping(variables, f"{where}: {pattern}"))
    for child, inner in _mapping(body.get("children"), f"{where}: children").items():
        group.children.append(str(child))
        _yaml_group(parsed, str(child), inner, depth + 1)


def _parse_json(text: str, origin: Path) -> _Parsed:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InventoryError(
            f"{origin} is not JSON", expected="what `ansible-inventory --list` writes", found=str(error)
        ) from None
    document = _mapping(document, str(origin))
    parsed = _Parsed(origin)
    meta = _mapping(document.pop("_meta", None), f"{origin}: _meta")
    for name, body in document.items():
        body = {"hosts": body} if isinstance(body, list) else _mapping(body, f"{origin}: {name}")
        group = parsed.group(name)
        group.vars.update(_mapping(body.get("vars"), f"{origin}: {name}: vars"))
        for child in _names(body.get("children"), f"{origin}: {name}: children"):
            group.children.append(child)
            parsed.group(child)
        for host in _names(body.get("hosts"), f"{origin}: {name}: hosts"):
            group.hosts.append(host)
            parsed.host_vars.setdefault(host, {})
    variables = _mapping(meta.get("hostvars"), f"{origin}: _meta: hostvars")
    for host, own in variables.items():
        parsed.host_vars.setdefault(host, {}).update(_mapping(own, f"{origin}: {host}"))
    return parsed


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
