"""A model as a service of systemd: what is written, what systemctl is told, and what is said where there is none.

systemctl here is a stand-in that keeps a note of every call; tests/sdk/deploy/agent/test_services.py talks to the
real one.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from device_agent.errors import AgentError, ArmletError, StoreError
from device_agent.serve import systemd_unit as service
from device_agent.store.store import Store
from tests.device_agent.store.deploying import deploy, package

SYSTEMCTL = """\
#!{python}
import json, os, pathlib, shlex, sys
folder = pathlib.Path({folder!r})
words = [word for word in sys.argv[1:] if word not in ("--user", "--no-pager")]
with open(folder / "calls", "a") as file:
    file.write(" ".join(words) + "\\n")
state = json.loads((folder / "state").read_text())
wants = folder / "config/systemd/user/default.target.wants"
if words == ["show", "--property=UnitPath"]:
    if state["manager"] is None:
        sys.exit("Failed to connect to bus")
    print("UnitPath=/run/other " + shlex.quote(state["manager"]))
elif words[0] == "show":
    print("LoadState=loaded\\nActiveState=" + state["active"] + "\\nSubState=x\\nResult=" + state["result"])
    print("NRestarts=0\\nMainPID=" + str(state["pid"]) + "\\nUnitFileState=enabled")
elif words[0] in ("start", "restart"):
    if state["broken"]:
        state.update(active="failed", result="exit-code")
    else:
        state.update(active="active", result="success")
elif words[0] == "stop":
    state.update(active="inactive")
elif words[0] == "enable":
    wants.mkdir(parents=True, exist_ok=True)
    (wants / words[1]).touch()
elif words[0] == "disable":
    (wants / words[1]).unlink()
(folder / "state").write_text(json.dumps(state))
sys.exit(1 if words[0] in ("start", "restart") and state["broken"] else 0)
"""


class Systemd:
    """What the stand-in was told, and how it is to behave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "config" / "systemd" / "user"
        program = folder / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(SYSTEMCTL.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.set(manager=str(self.units), active="inactive", result="success", pid=0, broken=False)

    def set(self, **changes) -> None:
        path = self.folder / "state"
        state = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**state, **changes}))

    def calls(self) -> list[str]:
        """Since the last time, without the questions."""
        path = self.folder / "calls"
        told = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return [call for call in told if not call.startswith("show")]


@pytest.fixture
def systemd(tmp_path, home, monkeypatch) -> Systemd:
    deploy(Store(home / "store"), package())
    (home / "python").write_text("#!/bin/sh\n")
    (home / "python").chmod(0o700)
    fake = Systemd(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return fake


def call(action: str, name: str | None = "net", options: str | None = None) -> dict:
    return service.service(Namespace(action=action, name=name, options=options))


def test_a_deployed_model_becomes_a_service_and_nothing_changes_the_second_time(systemd, home):
    answer = call("install", options="--port 8080 --queue 4")
    assert (answer["state"], answer["changed"], answer["restarted"]) == ("active", True, False)
    assert "enable-linger" in answer["advice"]
    assert systemd.calls() == ["daemon-reload", "enable armlet@net.service", "start armlet@net.service"]
    environment = home / "serve" / "net.env"
    assert environment.read_text() == 'ARMLET_SERVE_OPTIONS="--port 8080 --queue 4"\n'
    unit = systemd.units / "armlet@.service"
    assert f'ExecStart="{home}/python" -m device_agent serve --name %i' in unit.read_text()
    assert f'Environment="ARMLET_PYTHON={sys.executable}"' in unit.read_text()
    assert stat.S_IMODE(unit.stat().st_mode) == 0o600

    systemd.set(pid=os.getpid())  # which has the packages that this process has
    again = call("install")
    assert (again["changed"], again["restarted"]) == (False, False)
    assert systemd.calls() == ["enable armlet@net.service"]
    assert environment.read_text() == 'ARMLET_SERVE_OPTIONS="--port 8080 --queue 4"\n'

    assert call("install", options="--queue 8")["restarted"] is True
    assert systemd.calls()[-1] == "restart armlet@net.service"


def test_a_service_that_runs_an_older_agent_is_restarted(systemd, home, monkeypatch):
    call("install")
    monkeypatch.setenv("PYTHONPATH", f"/usr/lib/x:{home}/agent/new:{home}/env/new")
    old = {**os.environ, "PYTHONPATH": f"{home}/agent/old:{home}/env/new"}
    with subprocess.Popen(["sleep", "60"], env=old) as process:
        systemd.set(pid=process.pid)
        systemd.calls()
        answer = call("install")
        process.kill()
    new = {**os.environ, "PYTHONPATH": f"{home}/agent/new:{home}/env/new:/usr/lib/y"}
    with subprocess.Popen(["sleep", "60"], env=new) as process:
        systemd.set(pid=process.pid)
        assert call("install")["restarted"] is False
        process.kill()
    assert (answer["changed"], answer["restarted"]) == (False, True)
    enable = "enable armlet@net.service"
    assert systemd.calls() == [enable, "restart armlet@net.service", enable]


def test_a_service_that_gave_up_is_begun_anew(systemd):
    systemd.set(active="failed")
    assert call("install")["state"] == "active"
    assert "reset-failed armlet@net.service" in systemd.calls()


def test_a_service_that_does_not_start_is_an_error_that_says_where_to_look(systemd):
    systemd.set(broken=True)
    with pytest.raises(AgentError, match=r"does not start.*found failed \(exit-code\).*journalctl --user"):
        call("install")


def test_it_is_stopped_started_and_removed_with_all_that_was_written(systemd, home):
    call("install", options="--queue 4")
    assert call("stop")["state"] == "inactive"
    assert call("start")["state"] == "active"
    listed = call("status", None)
    assert [(s["name"], s["state"], s["health"]) for s in listed["services"]] == [("net", "active", None)]
    assert call("remove") == {"name": "net", "removed": True, "services": []}
    assert not (systemd.units / "armlet@.service").exists()
    assert not (home / "serve" / "net.env").exists()
    systemd.calls()
    assert call("remove")["removed"] is False
    assert systemd.calls() == ["daemon-reload"]
    assert call("status", None)["services"] == []
    with pytest.raises(AgentError, match="net is not a service here"):
        call("stop")


def test_the_template_stays_while_another_model_needs_it(systemd, home):
    deploy(Store(home / "store"), package(1), "other")
    call("install")
    call("install", "other")
    assert call("remove")["services"] == ["other"]
    assert (systemd.units / "armlet@.service").exists()


@pytest.mark.parametrize("manager", [None, "/another/home/.config/systemd/user"])
def test_where_no_systemd_runs_nothing_is_written(systemd, home, manager):
    systemd.set(manager=manager)
    for action in ("install", "status", "stop", "remove"):
        with pytest.raises(service.NoServiceManager, match=r"no systemd that could run.*device_agent serve"):
            call(action)
    assert not systemd.units.exists()
    assert not (home / "serve").exists()


def test_without_systemctl_it_is_the_same(systemd, monkeypatch, tmp_path):
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(service.NoServiceManager):
        call("install")


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("other", None, "nothing is deployed under the name other"),
        ("../net", None, "name"),
        (None, None, "which service"),
        ("net", "--port 8080; reboot", "not acceptable"),
        ("net", '--port "8080"', "not acceptable"),
        ("net", "--prot 8080", "called wrongly"),
        ("net", "--port 99999", "not a port"),
        ("net", "--queue -1", "too small"),
    ],
)
def test_what_makes_no_service_is_refused_before_anything_is_written(systemd, home, name, options, what):
    with pytest.raises(ArmletError, match=what):
        call("install", name, options)
    assert systemd.calls() == []
    assert not systemd.units.exists()
    assert not (home / "serve").exists()


def test_a_board_whose_agent_came_another_way_has_no_launcher(systemd, home):
    (home / "python").unlink()
    with pytest.raises(AgentError, match="not put here by `sdk deploy`"):
        call("install")
    shutil.rmtree(home / "store")
    with pytest.raises(StoreError):
        call("install")


@pytest.mark.parametrize("folder", ["plain", "with space and 100% $HOME"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, folder):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    home = tmp_path / folder
    home.mkdir()
    (home / "python").write_text("#!/bin/sh\n")
    (home / "python").chmod(0o700)
    unit = tmp_path / "armlet@net.service"
    unit.write_text(service.unit_text(home))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    about_us = [line for line in done.stderr.splitlines() if "armlet" in line]
    assert (done.returncode, about_us) == (0, []), done.stderr


@pytest.mark.parametrize("folder", ["line\nbreak", 'quote"', "back\\slash"])
def test_a_folder_that_no_unit_can_name_is_refused(tmp_path, folder):
    with pytest.raises(AgentError, match="does not take the path"):
        service.unit_text(tmp_path / folder)
