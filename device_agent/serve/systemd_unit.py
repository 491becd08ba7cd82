"""A deployed model as a service of systemd's user instance: install, look, stop, remove.

    ~/.config/systemd/user/armlet@.service      the template, one for all models: armlet@mobilenet is one of them
    ~/.armlet/serve/<name>.env                  what its `serve` is called with beyond name and socket
    $XDG_RUNTIME_DIR/armlet/<name>/serve.sock   where it listens

systemd restarts a service that dies or hangs (its watchdog is fed only while every worker gives signs of life), and
gives up when that happens again and again. Everything here may be called twice.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Sequence

from device_agent.errors import AgentError, ArmletError
from device_agent.record.release import check_name
from device_agent.record.schema import parse_json
from device_agent.serve.options import parse
from device_agent.store.durable import named_errors, write_durably
from device_agent.store.store import Store, default_home

TEMPLATE = "armlet@.service"
#: A start ends when the model is loaded and its socket is open.
START_SECONDS = 180
#: Two lives of a watchdog that is fed every third of this.
WATCHDOG_SECONDS = 60
#: More than `serve` takes to finish what it accepted.
STOP_SECONDS = 45
SYSTEMCTL_SECONDS = START_SECONDS + 30.0

#: One option of `serve`, harmless in a unit's environment file.
_OPTION = re.compile(r"[A-Za-z0-9._/:=@,+-]{1,200}")
_SHOWN = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "MainPID", "UnitFileState")

_UNIT = """\
# Written by `sdk deploy --service`; it is written again there. Options of one model: {environment}
[Unit]
Description=Armlet serves the model %i
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
Environment=ARMLET_SERVE_OPTIONS=
# The python3 of a login, whose runtime this is; a user's instance of systemd may find another one in its PATH.
Environment="ARMLET_PYTHON={python}"
EnvironmentFile=-{environment}
ExecStart={launcher} -m device_agent serve --name %i --socket %t/armlet/%i/serve.sock $ARMLET_SERVE_OPTIONS
ExecReload=/bin/kill -HUP $MAINPID
RuntimeDirectory=armlet/%i
RuntimeDirectoryMode=0700
WatchdogSec={watchdog}
TimeoutStartSec={start}
TimeoutStopSec={stop}
Restart=on-failure
RestartSec=2
KillMode=mixed
# What a user's instance can hold a service to without privileges. (Namespaces, as ProtectSystem= wants them, it cannot
# make everywhere.)
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=default.target
"""


class NoServiceManager(AgentError):
    """systemd's user instance does not run for this user."""


def unit_text(home: Path) -> str:
    """The template for an agent's folder."""
    return _UNIT.format(
        launcher=f'"{_escaped(str(home))}/python"',
        environment=f"{_escaped(str(home))}/serve/%i.env",
        python=_escaped(sys.executable),
        watchdog=WATCHDOG_SECONDS,
        start=START_SECONDS,
        stop=STOP_SECONDS,
    )


def _escaped(path: str) -> str:
    """A path as units want it, without meaning for "%". Raises AgentError for what systemd takes in no path."""
    if not path.isprintable() or set(path) & set("\"\\'"):
        raise AgentError("systemd does not take the path of this folder", found=repr(path)[:200])
    return path.replace("%", "%%")


def service(options: Namespace) -> dict[str, Any]:
    """The verb. Raises AgentError, NoServiceManager where there is no systemd to talk to."""
    if options.name is None and options.action != "status":
        raise AgentError(f"{options.action} which service?", expected="the name of a model")
    action = {"install": install, "start": start, "stop": stop, "remove": remove, "status": status}
    return action[options.action](options)


def install(options: Namespace) -> dict[str, Any]:
    """Makes a deployed model a service that runs now and after every start of the board."""
    name = check_name(options.name)
    home = default_home()
    Store(home / "store").current(name)  # raises StoreError where nothing is deployed under that name
    _require_manager()
    launcher = home / "python"
    if not os.access(launcher, os.X_OK):
        raise AgentError("the agent was not put here by `sdk deploy`", expected=f"a launcher at {launcher}")
    environment = (
        f'ARMLET_SERVE_OPTIONS="{" ".join(_checked(name, options.options))}"\n'  # before anything is done
    )
    changed = _replace(_units() / TEMPLATE, unit_text(home))
    if options.options is not None:
        changed |= _replace(home / "serve" / f"{name}.env", environment)
    unit = _unit(name)
    if changed:
        _systemctl("daemon-reload")
    before = _show(unit)
    outdated = before["ActiveState"] == "active" and (changed or not _runs_this_agent(before["MainPID"]))
    _systemctl("enable", unit)
    if before["ActiveState"] == "failed":
        _systemctl("reset-failed", unit)
    if outdated or before["ActiveState"] != "active":
        _begin(unit, "restart" if outdated else "start")
    linger = _linger()
    return {
        **_described(name),
        "changed": changed,
        "restarted": outdated,
        "linger": linger,
        "advice": None if linger else _linger_advice(),
    }


def start(options: Namespace) -> dict[str, Any]:
    """Starts an installed service that was stopped."""
    unit = _installed(options.name)
    _systemctl("reset-failed", unit, may_fail=True)
    _begin(unit, "start")
    return _described(options.name)


def stop(options: Namespace) -> dict[str, Any]:
    """Ends it, until the board starts again; what it had accepted is answered first."""
    _systemctl("stop", _installed(options.name))
    return _described(options.name)


def remove(options: Namespace) -> dict[str, Any]:
    """Ends it for good; the model stays deployed. One that is not there is no error."""
    name = check_name(options.name)
    _require_manager()
    unit = _unit(name)
    was_there = name in _names()
    if was_there or _show(unit)["ActiveState"] not in ("inactive", ""):
        _systemctl("stop", unit)
        _systemctl("disable", unit, may_fail=True)  # not where somebody has removed the template
        _systemctl("reset-failed", unit, may_fail=True)
    with named_errors("remove a service"):
        _unlink(_units() / "default.target.wants" / unit)
        _unlink(default_home() / "serve" / f"{name}.env")
        if not _names():
            _unlink(_units() / TEMPLATE)
    _systemctl("daemon-reload")
    return {"name": name, "removed": was_there, "services": list(_names())}


def status(options: Namespace) -> dict[str, Any]:
    """How one service is, or all of them."""
    _require_manager()
    if options.name is not None:
        _installed(options.name)
    names = _names() if options.name is None else (options.name,)
    return {"services": [_described(name) for name in names], "linger": _linger()}


# -- one service ------------------------------------------------------------------------------------------------


def _described(name: str) -> dict[str, Any]:
    shown = _show(_unit(name))
    path = _socket(name)
    return {
        "name": name,
        "unit": _unit(name),
        "socket": str(path),
        "state": shown["ActiveState"],
        "detail": shown["SubState"],
        "result": shown["Result"],
        "restarts": int(shown["NRestarts"]) if shown["NRestarts"].isdigit() else None,
        "enabled": shown["UnitFileState"] == "enabled",
        "health": _health(path) if shown["ActiveState"] == "active" else None,
    }


def _begin(unit: str, how: str) -> None:
    if _systemctl(how, unit, may_fail=True) is None:
        shown = _show(unit)
        raise AgentError(
            f"{unit} does not start",
            expected="a service that says it is ready",
            found=f"{shown['ActiveState']} ({shown['Result']})",
            hint=f"On the board, `journalctl --user -u {unit}` says why.",
        )


def _installed(name: str) -> str:
    _require_manager()
    if check_name(name) not in _names():
        raise AgentError(
            f"{name} is not a service here",
            found=", ".join(_names()) or "no services",
            hint="`sdk deploy --service` makes it one.",
        )
    return _unit(name)


def _unit(name: str) -> str:
    return f"armlet@{name}.service"


def _names() -> tuple[str, ...]:
    """Of the services that start with the board."""
    links = (_units() / "default.target.wants").glob("armlet@*.service")
    names = (link.name[len("armlet@") : -len(".service")] for link in links)
    return tuple(sorted(name for name in names if name))


def _socket(name: str) -> Path:
    return _runtime_folder() / "armlet" / name / "serve.sock"


def _health(path: Path) -> dict[str, Any] | None:
    """What it says itself; None where it does not answer."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("localhost", timeout=5)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(str(path))
        connection.request("GET", "/healthz")
        found = parse_json(connection.getresponse().read(1 << 20))
    except (OSError, ArmletError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None


def _checked(name: str, text: str | None) -> list[str]:
    """The options that `serve` is to get; raises AgentError where it would not take them."""
    from device_agent.serve.supervisor import check_options

    words = (text or "").split()
    for word in words:
        if not _OPTION.fullmatch(word):
            raise AgentError(
                "an option of the service is not acceptable",
                expected="letters, digits and ._/:=@,+-",
                found=repr(word)[:80],
            )
    check_options(parse(["--name", name, "--socket", "serve.sock", *words]))
    return words


def _runs_this_agent(pid: str) -> bool:
    """Whether a process has the packages that this one has: another deploy may have brought newer ones."""
    try:
        with open(f"/proc/{int(pid)}/environ", "rb") as file:
            variables = dict(pair.partition(b"=")[::2] for pair in file.read().split(b"\0"))
    except (OSError, ValueError):
        return False
    return _ours(os.fsdecode(variables.get(b"PYTHONPATH", b""))) == _ours(os.environ.get("PYTHONPATH", ""))


def _ours(python_path: str) -> list[str]:
    """Of the folders of packages those that a deploy brought."""
    return [folder for folder in python_path.split(":") if folder.startswith(f"{default_home()}/")]


# -- systemd ----------------------------------------------------------------------------------------------------


def _runtime_folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def _units() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(config) / "systemd" / "user"


def _require_manager() -> None:
    said = _systemctl("show", "--property=UnitPath", may_fail=True)
    if said is not None and str(_units()) in _listed(said.partition("=")[2]):
        return
    raise NoServiceManager(
        "there is no systemd that could run a service for this user",
        expected=f"`systemctl --user` to answer, and to read units from {_units()}",
        found="no answer" if said is None else "one that reads them elsewhere",
        hint="Containers and virtual boards have none. There, start it yourself: "
        "~/.armlet/python -m device_agent serve --name NAME --socket PATH",
    )


def _listed(text: str) -> list[str]:
    """The folders of a list as `systemctl show` prints it: one with a space in its name is in quotes."""
    try:
        return shlex.split(text)
    except ValueError:  # an older systemctl quotes nothing
        return text.split()


def _show(unit: str) -> dict[str, str]:
    text = _systemctl("show", unit, "--property", ",".join(_SHOWN), may_fail=True) or ""
    shown = dict.fromkeys(_SHOWN, "")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in shown:
            shown[key] = value
    return shown


def _systemctl(*arguments: str, may_fail: bool = False) -> str | None:
    """What `systemctl --user` says; None where it fails and may."""
    return _run(["systemctl", "--user", "--no-pager", *arguments], may_fail)


def _run(command: Sequence[str], may_fail: bool) -> str | None:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(_runtime_folder()), "LC_ALL": "C"}
    # The agent's own packages are nothing to systemctl's children.
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=SYSTEMCTL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if may_fail:
            return None
        raise AgentError(f"`{' '.join(command[:4])}` did not work", found=str(error)[:200]) from None
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "replace")
    if may_fail:
        return None
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    raise AgentError(
        f"`{' '.join(command)}` did not work"[:200], found=said[:300] or f"exit status {done.returncode}"
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _linger() -> bool:
    """Whether this user's services run while nobody is logged in."""
    said = _run(["loginctl", "show-user", _user(), "--property=Linger"], may_fail=True)
    return (said or "").strip() == "Linger=yes" or Path("/var/lib/systemd/linger", _user()).exists()


def _linger_advice() -> str:
    return (
        f"It ends when {_user()} logs out, and starts at the next login. "
        f"To have it run from the start of the board: sudo loginctl enable-linger {_user()}"
    )


# -- files ------------------------------------------------------------------------------------------------------


def _replace(path: Path, text: str) -> bool:
    """Writes a file unless it says so already; whether it had to."""
    with named_errors("write a service"):
        try:
            if path.read_text(encoding="utf-8") == text:
                return False
        except (FileNotFoundError, UnicodeDecodeError):
            pass
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, text.encode())
    return True


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
