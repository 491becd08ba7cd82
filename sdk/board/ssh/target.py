"""The address of a board and its login: the command line first, then ``~/.ssh/config``, then ssh's own defaults."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass, replace
from pathlib import Path

from sdk.board.ssh.agent import is_security_key
from sdk.board.ssh.config import USER_CONFIG, USUAL_IDENTITIES, HostOptions, look_up
from sdk.board.ssh.names import is_host, is_user
from sdk.errors import ConnectionFailed

#: ProxyJump through more machines than this is taken for a loop in the configuration.
MAX_JUMPS = 8


@dataclass(frozen=True)
class SshTarget:
    """Everything that opening a connection needs to know."""

    hostname: str
    port: int
    user: str
    #: Private keys to offer, in order; () to offer what the agent and ~/.ssh have.
    keys: tuple[Path, ...]
    #: Certificates of our keys, wherever these are.
    certificates: tuple[Path, ...]
    #: The identities whose keys an agent may offer; None: all that it has.
    agent_identities: tuple[Path, ...] | None
    #: The socket of another agent than ``$SSH_AUTH_SOCK``; "none" for no agent at all.
    agent: str | None
    look_for_keys: bool
    #: Files to look host keys up in.
    known_hosts: tuple[Path, ...]
    #: The file that a new host key is written to; None: to none.
    new_known_hosts: Path | None
    #: The name that the host key is filed under, as in known_hosts.
    host_key_name: str
    jump: SshTarget | None = None
    proxy_command: str | None = None

    @property
    def address(self) -> str:
        """``user@host``, with ``:port`` where that is not 22."""
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
) -> SshTarget:
    """Looks up what is None in ``config``; None for ``config`` reads no file. ``default_user``: the login name
    if nothing else gives one. Raises ConnectionFailed."""
    _check_host(host)
    if _jumps > MAX_JUMPS:
        raise ConnectionFailed("ProxyJump goes in circles", expected=f"at most {MAX_JUMPS} jumps", found=host)
    if port is not None:
        _check_port(port)
    for name in (user, default_user):
        _check_user(name)
    options = look_up(host, config, port=port, user=user, default_user=default_user)
    _check_host(options.hostname)
    _check_port(options.port)
    alias = host_key_alias or options.host_key_alias
    at_port = options.hostname if options.port == 22 else f"[{options.hostname}]:{options.port}"
    named = _identities(key, options)
    only_these = key is not None or options.identities_only
    own = options.user_known_hosts if known_hosts is None else (Path(known_hosts).expanduser(),)
    return SshTarget(
        hostname=options.hostname,
        port=options.port,
        user=options.user or getpass.getuser(),
        # ssh skips those that are not there, too; an agent may still hold the key of one of which only .pub is here.
        keys=tuple(
            path
            for path in named or ()
            if path.is_file() and path.suffix != ".pub" and not is_security_key(path)
        ),
        certificates=tuple(path for path in options.certificates if path.is_file()),
        agent_identities=(_usual_identities() if named is None else named) if only_these else None,
        agent=options.agent,
        look_for_keys=named is None or (not only_these and named != ()),
        known_hosts=own if known_hosts is not None else (*own, *options.global_known_hosts),
        new_known_hosts=own[0] if own else None,
        host_key_name=alias or at_port,
        jump=_jump(options.proxy_jump, known_hosts, config, _jumps),
        proxy_command=options.proxy_command,
    )


def _check_host(host: str) -> None:
    if not is_host(host):
        raise ConnectionFailed(
            "this is not the name of a host",
            expected="a name or an address",
            found=repr(host)[:300],
            hint="Give the user with --user." if re.fullmatch(r"[\w.-]+@[\w.:-]+", host) else None,
        )


def _check_user(user: str | None) -> None:
    """Of who asks or what describes a board; ssh's own configuration may say anything."""
    if user is not None and not is_user(user):
        raise ConnectionFailed(
            "this is not the name of a user", expected="a login name such as pi", found=repr(user)[:300]
        )


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConnectionFailed("this is not a port", expected="1 to 65535", found=str(port))


def _identities(key: Path | str | None, options: HostOptions) -> tuple[Path, ...] | None:
    """The identities that are named; None: none is, () says that there shall be none."""
    if key is None:
        return options.identities
    path = Path(key).expanduser()
    if not path.is_file():
        raise ConnectionFailed(f"there is no key {path}", expected="a private key file", hint="Check --key.")
    return (path,)


def _usual_identities() -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in USUAL_IDENTITIES)


def _jump(
    through: str | None, known_hosts: Path | str | None, config: Path | str | None, jumps: int
) -> SshTarget | None:
    if through is None:
        return None
    # "a,b": reach b through a. The last one is next to the board; each looks up the rest in the configuration.
    *before, last = (hop.strip() for hop in through.split(","))
    user, host, port = _parse_hop(last)
    target = find_target(
        host,
        user=user or None,
        port=int(port) if port else None,
        known_hosts=known_hosts,
        config=config,
        _jumps=jumps + 1,
    )
    if before:
        return replace(target, jump=_jump(",".join(before), known_hosts, config, jumps + 1))
    return target


def _parse_hop(hop: str) -> tuple[str, str, str]:
    """User, host and port of ``[user@]host[:port]``, as ssh prints it; what is not there is "". An address of IPv6
    stands in brackets."""
    user, _, address = hop.rpartition("@")
    match = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+))(?::([0-9]{1,5}))?", address)
    if match is None:
        raise ConnectionFailed("ProxyJump", expected="[user@]host[:port]", found=repr(hop)[:300])
    return user, match[1] or match[2], match[3] or ""
