"""The options of a host in ssh's configuration, read by ``ssh -G``.

So ``Include``, ``Match``, comments, quotes and defaults are this machine's own; ``Match exec`` runs its command, as it
does there. The files are the user's (``$HOME/.ssh/config``) and the system's. ssh takes the home folder from the list
of users and not from ``$HOME``, so relative names and ``~`` in an ``Include`` mean that folder. Where there is neither
the program nor a file of the user's, ssh's defaults hold; an unreadable file is an error.
"""

from __future__ import annotations

import getpass
import glob
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sdk.errors import ConnectionFailed
from sdk.tools.system.programs import Printed, ProgramFailed, run_program

USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
#: The identities that ssh uses where none is named.
USUAL_IDENTITIES = tuple(
    f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk")
)
#: ``Match exec`` may ask the network; ssh would wait for it, too.
LIMIT_SECONDS = 30.0
#: What ssh prints of one host is some 8 KB.
MAX_BYTES = 1 << 20
MAX_LINES = 10_000

#: An identity that nobody has. ssh lists its own usual ones where no identity is named, and named ones after this.
_FIRST_IDENTITY = "armlet-no-identity"
#: As ssh_config(5): what stands for something in the value of an option.
_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}")


@dataclass(frozen=True)
class HostOptions:
    """The options of one host in ssh's configuration, ready for use: ``~``, tokens and variables are replaced."""

    hostname: str
    port: int
    #: As whom to log in; None: nothing says so.
    user: str | None
    host_key_alias: str | None = None
    #: The identities that are named, in order; None: none is, and ssh's usual ones are meant.
    identities: tuple[Path, ...] | None = None
    identities_only: bool = False
    certificates: tuple[Path, ...] = ()
    #: The socket of another agent than ``$SSH_AUTH_SOCK``; "none": no agent at all.
    agent: str | None = None
    user_known_hosts: tuple[Path, ...] = ()
    global_known_hosts: tuple[Path, ...] = ()
    proxy_jump: str | None = None
    proxy_command: str | None = None


def look_up(
    host: str,
    config: Path | str | None,
    *,
    port: int | None = None,
    user: str | None = None,
    default_user: str | None = None,
    system: Path = SYSTEM_CONFIG,
) -> HostOptions:
    """The options of a host. ``config``: None reads no file, and a file other than the usual one is the only one that
    is read, as with ``ssh -F``. ``port`` and ``user`` come before what the files say, ``default_user`` after it.
    Raises ConnectionFailed."""
    defaults = HostOptions(
        host,
        22 if port is None else port,
        user or default_user,
        user_known_hosts=tuple(Path(name).expanduser() for name in USER_KNOWN_HOSTS),
        global_known_hosts=tuple(map(Path, GLOBAL_KNOWN_HOSTS)),
    )
    if config is None:
        return defaults
    path = Path(config).expanduser()
    ssh = shutil.which("ssh")
    if ssh is None:
        if path.is_file():
            raise ConnectionFailed(
                f"{path} cannot be read",
                expected="the program ssh, which reads it",
                found="no ssh on the PATH",
                hint="Install OpenSSH's client.",
            )
        return defaults
    files = [path, system] if str(config) == USER_CONFIG else [path]
    with _one_file(files, default_user) as file:
        command = [ssh, "-G", "-T", "-F", str(file), "-o", f"IdentityFile={_FIRST_IDENTITY}"]
        command += [] if port is None else ["-p", str(port)]
        command += [] if user is None else ["-l", user]
        printed = _run([*command, "--", host], path)
        if "No user exists for uid" in printed.errors and not path.is_file():
            return defaults  # as in a container: this ssh works for nobody, and there is nothing to be missed
        if printed.status != 0:
            raise ConnectionFailed(f"{path} cannot be read", found=_said(printed, file))
    options = _options(printed.output, path)
    return _checked(host, options, path, defaults)


@contextmanager
def _one_file(files: list[Path], default_user: str | None) -> Iterator[Path]:
    """A file that includes those that are there, in their order: of each option, ssh takes the first value."""
    lines = []
    for file in files:
        if re.search(r'["\\\n]', str(file)):
            raise ConnectionFailed(f"{str(file)!r} cannot be read", expected="a name without quotes")
        lines.append(f'Include "{glob.escape(str(file.absolute()))}"\n')
    if default_user is not None:
        if re.fullmatch(r"[^\s\"'\\#-][^\s\"'\\#]*", default_user) is None:
            raise ConnectionFailed("this is not the name of a user", found=repr(default_user)[:80])
        lines.append(f"User {default_user}\n")
    with tempfile.NamedTemporaryFile(prefix="armlet-ssh-") as opened:
        opened.write(os.fsencode("".join(lines)))
        opened.flush()
        yield Path(opened.name)


def _run(command: list[str], path: Path) -> Printed:
    try:
        return run_program(command, limit_seconds=LIMIT_SECONDS, max_bytes=MAX_BYTES)
    except ProgramFailed as error:
        raise ConnectionFailed(
            f"{path} cannot be read", expected="what `ssh -G` prints", found=str(error)
        ) from None


def _said(printed: Printed, ours: Path) -> str:
    """Why ssh refused, in one line and without our own file's name."""
    lines = [line.strip() for line in printed.errors.splitlines()]
    told = [line for line in lines if line and str(ours) not in line and ": terminating, " not in line]
    return "; ".join(told)[:300] or f"exit status {printed.status}"


def _options(output: str, path: Path) -> dict[str, list[str]]:
    """The values of each option that ssh printed, by its name in lower case."""
    lines = output.splitlines()
    if len(lines) > MAX_LINES:
        raise ConnectionFailed(
            f"{path} cannot be read", expected=f"at most {MAX_LINES} options", found=str(len(lines))
        )
    found: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.strip().partition(" ")
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def _checked(host: str, options: Mapping[str, list[str]], path: Path, defaults: HostOptions) -> HostOptions:
    def one(name: str) -> str | None:
        value = options.get(name, [""])[0]
        return None if value == "" or value.lower() == "none" else value

    hostname, port, user = (options.get(name, [""])[0] for name in ("hostname", "port", "user"))
    if not hostname or not user or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ConnectionFailed(
            f"{path} cannot be read",
            expected="hostname, port and user among what `ssh -G` prints",
            found=f"{hostname}, {port}, {user}"[:120],
        )
    found = replace(
        defaults, hostname=hostname, port=int(port), user=user, host_key_alias=one("hostkeyalias")
    )
    jump = one("proxyjump")
    tokens = _tokens(host, found, jump)
    agent = options.get("identityagent", [""])[0].strip('"')
    named = [name for name in options.get("identityfile", []) if name != _FIRST_IDENTITY]
    command = one("proxycommand")
    return replace(
        found,
        identities=tuple(_path(name, tokens) for name in named if name.lower() != "none") if named else None,
        certificates=tuple(
            _path(name, tokens) for name in options.get("certificatefile", []) if name.lower() != "none"
        ),
        identities_only=(one("identitiesonly") or "no").lower() in ("yes", "true"),
        agent=_agent(agent, tokens),
        user_known_hosts=_files(options, "userknownhostsfile", defaults.user_known_hosts),
        global_known_hosts=_files(options, "globalknownhostsfile", defaults.global_known_hosts),
        proxy_jump=None if jump is None else _replaced(jump, tokens),
        # The rest of the variables is the shell's, which replaces those that are set.
        proxy_command=None if command is None else os.path.expandvars(_replaced(command, tokens)),
    )


def _agent(named: str, tokens: Mapping[str, str]) -> str | None:
    if named in ("", "SSH_AUTH_SOCK"):
        return None
    if named.lower() == "none":
        return "none"
    if named.startswith("$") and not named.startswith("${"):
        return os.environ.get(named[1:], "none")
    return str(_path(named, tokens))


def _files(options: Mapping[str, list[str]], name: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
    """A list of files. ssh has replaced tokens, and ``~`` by the home of its list of users, for which ours stands."""
    value = options.get(name, [""])[0]
    if value == "":
        return default
    if value.lower() == "none":
        return ()
    # ssh prints the names one after the other, without quotes: a blank within a name is not before a slash.
    names = re.split(r" +(?=[/~])", value) if value[0] in "/~" else value.split()
    return tuple(Path(_in_our_home(file)).expanduser() for file in names)


def _in_our_home(file: str) -> str:
    listed = _home_of_the_list()
    return f"~{file.removeprefix(listed)}" if listed and file.startswith(f"{listed}/") else file


def _home_of_the_list() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
    except ModuleNotFoundError:  # no POSIX: there is no list of users
        return os.path.expanduser("~").rstrip("/\\")
    except KeyError:
        return ""


def _user_number() -> str:
    """Of who runs the command; 0, as ssh on Windows has it, where users have none."""
    return str(os.getuid()) if hasattr(os, "getuid") else "0"


def _path(name: str, tokens: Mapping[str, str]) -> Path:
    return Path(_replaced(name, tokens, os.environ)).expanduser()


def _tokens(host: str, options: HostOptions, jump: str | None) -> dict[str, str]:
    """What ssh_config(5) lists under TOKENS, without what is only known once there is a connection."""
    here = socket.gethostname()
    user = options.user or ""
    port, through = str(options.port), jump or ""
    whole = f"{here}{options.hostname}{port}{user}{through}"
    try:
        import pwd

        local_user = pwd.getpwuid(os.getuid()).pw_name
    except ModuleNotFoundError:  # no POSIX
        local_user = getpass.getuser()
    except KeyError:
        local_user = _user_number()
    return {
        "%": "%",
        "C": hashlib.sha1(whole.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest(),
        "L": here.partition(".")[0],
        "d": str(Path.home()),
        "h": options.hostname,
        "i": _user_number(),
        "j": through,
        "k": options.host_key_alias or host,
        "l": here,
        "n": host,
        "p": port,
        "r": user,
        "u": local_user,
    }


def _replaced(value: str, tokens: Mapping[str, str], variables: Mapping[str, str] | None = None) -> str:
    """The value without its tokens, nor its ``${VARIABLES}`` where ``variables`` are given; ConnectionFailed for an
    unknown one."""

    def replacement(match: re.Match[str]) -> str:
        name = match[2]
        if name is not None and variables is None:
            return match[0]
        known = tokens.get(match[1]) if name is None else (variables or {}).get(name)
        if known is None:
            raise ConnectionFailed(
                "the ssh configuration has a value that cannot be used",
                expected="a token of ssh_config(5)" if name is None else "a variable that is set",
                found=f"{match[0]} in {value[:120]}",
            )
        return known

    return _TOKEN.sub(replacement, value)
