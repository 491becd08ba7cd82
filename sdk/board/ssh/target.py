"""Where a board is and how to log in: the command line first, then ``~/.ssh/config``, then ssh's own defaults."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.board.ssh.config import USER_CONFIG, lookup
from sdk.errors import ConnectionFailed

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
#: ProxyJump through more machines than this is taken for a loop in the configuration.
MAX_JUMPS = 8


@dataclass(frozen=True)
class Target:
    """Everything that opening a connection needs to know."""

    hostname: str
    port: int
    user: str
    #: Private keys to offer, in order; () to offer what the agent and ~/.ssh have.
    keys: tuple[Path, ...]
    #: The identities whose keys an agent may offer; None: all that it has.
    agent_identities: tuple[Path, ...] | None
    #: The socket of another agent than ``$SSH_AUTH_SOCK``; "none" for no agent at all.
    agent: str | None
    look_for_keys: bool
    #: Files to look host keys up in; a new one is written to the first.
    known_hosts: tuple[Path, ...]
    #: The name that the host key is filed under, as in known_hosts.
    host_key_name: str
    jump: Target | None = None
    proxy_command: str | None = None

    @property
    def address(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        return f"{self.user}@{self.hostname}{port}"


def find_target(
    host: str,
    *,
    port: int | None = None,
    user: str | None = None,
    default_user: str | None = None,
    key: Path | str | None = None,
    known_hosts: Path | str | None = None,
    host_key_alias: str | None = None,
    config: Path | str | None = USER_CONFIG,
    _jumps: int = 0,
) -> Target:
    """What is None is looked up in ``config``; None for ``config`` reads no file. ``default_user``: as who to log in
    when nothing else says so."""
    if not host or host.startswith("-") or any(c.isspace() or not c.isprintable() for c in host):
        raise ConnectionFailed(
            "this is not the name of a host", expected="a name or an address", found=repr(host)
        )
    if _jumps > MAX_JUMPS:
        raise ConnectionFailed("ProxyJump goes in circles", expected=f"at most {MAX_JUMPS} jumps", found=host)
    options = lookup(host, config)
    hostname = options.get("hostname", host)
    found_port = port if port is not None else _port(options.get("port", "22"))
    if not 1 <= found_port <= 65535:
        raise ConnectionFailed("this is not a port", expected="1 to 65535", found=str(found_port))
    alias = host_key_alias or options.get("hostkeyalias")
    name = alias or (hostname if found_port == 22 else f"[{hostname}]:{found_port}")
    identities = _identities(key, options)
    only_these = key is not None or str(options.get("identitiesonly", "no")).lower() == "yes"
    return Target(
        hostname=hostname,
        port=found_port,
        user=user or options.get("user") or default_user or getpass.getuser(),
        # ssh skips those that are not there, too; an agent may still hold the key of one of which only .pub is here.
        keys=tuple(path for path in identities if path.is_file() and path.suffix != ".pub"),
        agent_identities=identities if only_these else None,
        agent=_agent(options),
        look_for_keys=not only_these,
        known_hosts=_known_hosts(known_hosts, options),
        host_key_name=name,
        jump=_jump(options, known_hosts, config, _jumps),
        proxy_command=_proxy_command(options),
    )


def _port(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConnectionFailed("this is not a port", expected="1 to 65535", found=repr(text)) from None


def _identities(key: Path | str | None, options: Mapping[str, Any]) -> tuple[Path, ...]:
    if key is not None:
        path = Path(key).expanduser()
        if not path.is_file():
            raise ConnectionFailed(
                f"there is no key {path}", expected="a private key file", hint="Check --key."
            )
        return (path,)
    return tuple(Path(name).expanduser() for name in options.get("identityfile", []))


def _agent(options: Mapping[str, Any]) -> str | None:
    named = str(options.get("identityagent", "SSH_AUTH_SOCK")).strip('"')
    if named.startswith("$"):
        return os.environ.get(named.strip("${}"), "none")
    return None if named == "SSH_AUTH_SOCK" else named


def _known_hosts(known_hosts: Path | str | None, options: Mapping[str, Any]) -> tuple[Path, ...]:
    if known_hosts is not None:
        return (Path(known_hosts).expanduser(),)
    named = str(options.get("userknownhostsfile", "~/.ssh/known_hosts")).split()
    return (*(Path(name).expanduser() for name in named), SYSTEM_KNOWN_HOSTS)


def _jump(
    options: Mapping[str, Any], known_hosts: Path | str | None, config: Path | str | None, jumps: int
) -> Target | None:
    through = str(options.get("proxyjump", "none"))
    if through.lower() == "none":
        return None
    # "a,b": reach b through a. The last one is next to the board; each looks up the rest in the configuration.
    *before, last = (hop.strip() for hop in through.split(","))
    user, host, port = _parse_hop(last)
    target = find_target(
        host,
        user=user or None,
        port=_port(port) if port else None,
        known_hosts=known_hosts,
        config=config,
        _jumps=jumps + 1,
    )
    if before:
        first = _jump({"proxyjump": ",".join(before)}, known_hosts, config, jumps + 1)
        return Target(**{**vars(target), "jump": first})
    return target


def _parse_hop(hop: str) -> tuple[str, str, str]:
    """User, host and port of ``[user@]host[:port]`` or ``ssh://[user@]host[:port]``; what is not there is ""."""
    user, _, address = hop.removeprefix("ssh://").rstrip("/").rpartition("@")
    match = re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([^:]*)(?::([^:]*))?", address)
    if match is None:  # more than one colon, and no brackets: an IPv6 address
        return user, address, ""
    return user, match[1] or match[3] or "", match[2] or match[4] or ""


def _proxy_command(options: Mapping[str, Any]) -> str | None:
    command = options.get("proxycommand")
    return None if command is None or str(command).lower() == "none" else os.path.expandvars(str(command))
