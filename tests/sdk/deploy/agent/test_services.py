"""`sdk deploy --service`: with a real systemd where one can be had, and what is said where there is none."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from sdk.cli import main
from sdk.commands.results import RemovedService
from sdk.deploy.agent import services as remote_service
from sdk.errors import RemoteError
from sdk.graph.writer import write_graph
from sdk.report.terminal import drawing as terminal
from tests.sdk.deploy.agent.real_systemd import UserManager
from tests.sdk.graph.small_graphs import small_network

ON_LOCAL = ("--board", "local")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_runtime) -> Path:
    """A model, and a local board of this test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network(size=16)))
    return path


@pytest.fixture
def manager(tmp_path: Path, model: Path):
    """systemd for the local board's user: who logs in there has its folder for a home."""
    home = tmp_path / "data" / "armlet" / "boards" / "local" / "home"
    home.mkdir(parents=True, exist_ok=True)
    for folder in (home, home.parent):
        folder.chmod(0o700)
    running = UserManager(home, tmp_path / "systemd.log")
    yield running
    running.close()


def sdk(manager: UserManager, *arguments: object, status: int = 0) -> dict:
    """The command in a process of its own, beside that systemd."""
    root = str(Path(__file__).resolve().parents[4])
    done = manager.run(
        *(sys.executable, "-m", "sdk.cli", *map(str, arguments), *ON_LOCAL, "--json"),
        check=False,
        environment={"PYTHONPATH": root},
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def healthy(manager: UserManager, seconds: float = 30.0) -> dict:
    """What the service says, when it says something."""
    end = time.monotonic() + seconds
    socket = f"/run/user/{os.getuid()}/armlet/net/serve.sock"
    while True:
        done = manager.run("curl", "-s", "--unix-socket", socket, "http://localhost/healthz", check=False)
        if done.returncode == 0 and json.loads(done.stdout)["ready"]:
            return json.loads(done.stdout)
        assert time.monotonic() < end, done.stderr
        time.sleep(0.2)


@pytest.mark.ssh
def test_a_service_runs_reloads_is_restarted_when_it_hangs_and_goes(manager: UserManager, model: Path):
    first = sdk(manager, "deploy", model, "--service")
    assert (first["state"], first["service"]["state"], first["service"]["changed"]) == (
        "confirmed",
        "active",
        True,
    )
    assert healthy(manager)["models"]["net"]["release"] == first["release"] == first["service"]["release"]

    again = sdk(manager, "deploy", model, "--service")
    assert (again["state"], again["service"]["changed"], again["service"]["restarted"]) == (
        "unchanged",
        False,
        False,
    )

    # A new release comes to the running process.
    pid = manager.run("systemctl", "--user", "show", "armlet@net", "--property=MainPID").stdout
    model.write_bytes(write_graph(small_network(1, size=16)))
    second = sdk(manager, "deploy", model)
    end = time.monotonic() + 20
    while healthy(manager)["models"]["net"]["release"] != second["release"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert manager.run("systemctl", "--user", "show", "armlet@net", "--property=MainPID").stdout == pid
    manager.run("systemctl", "--user", "reload", "armlet@net")
    assert "active" in manager.run("systemctl", "--user", "is-active", "armlet@net").stdout

    # One that hangs gives no signs of life, and is replaced.
    hurried = manager.run(
        "sh",
        "-c",
        "mkdir -p $XDG_RUNTIME_DIR/systemd/user/armlet@.service.d && "
        "printf '[Service]\\nWatchdogSec=3\\n' > $XDG_RUNTIME_DIR/systemd/user/armlet@.service.d/fast.conf && "
        "systemctl --user daemon-reload && systemctl --user restart armlet@net && "
        "sleep 5 && systemctl --user show armlet@net --property=NRestarts",
    )
    assert hurried.stdout.strip() == "NRestarts=0"  # a live one is let live
    manager.run("systemctl", "--user", "kill", "--signal=STOP", "armlet@net")
    end = time.monotonic() + 30
    while (
        "NRestarts=1"
        not in manager.run("systemctl", "--user", "show", "armlet@net", "--property=NRestarts").stdout
    ):
        assert time.monotonic() < end
        time.sleep(0.3)
    healthy(manager)

    assert sdk(manager, "service", "stop", "net")["state"] == "inactive"
    [stopped] = sdk(manager, "service", "status")["services"]
    assert (stopped["state"], stopped["result"], stopped["ready"]) == ("inactive", "success", None)
    started = sdk(manager, "service", "start", "net")
    assert (started["state"], started["ready"]) == ("active", True)
    assert sdk(manager, "service", "remove", "net") == {"name": "net", "removed": True}
    assert sdk(manager, "service", "status")["services"] == []
    assert sdk(manager, "service", "start", "net", status=2)["what"].endswith("net is not a service here")


@pytest.mark.ssh
def test_where_no_systemd_runs_the_model_is_deployed_and_the_rest_said_clearly(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert main(["deploy", str(model), *ON_LOCAL, "--service", "--json"]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["state"] == "confirmed"
    assert "no systemd that could run a service" in document["service"]["what"]
    assert "it is deployed, and is not a service" in printed.err
    assert "python -m device_agent serve" in printed.err
    assert main(["service", "status", *ON_LOCAL]) == 2
    assert "no systemd" in capsys.readouterr().err
    assert main(["deploy", str(model), *ON_LOCAL, "--service-options", "--port 8080"]) == 2
    assert "goes with --service" in capsys.readouterr().err


RIGHT = {
    "verb": "service",
    "name": "net",
    "unit": "armlet@net.service",
    "socket": "/run/user/1000/armlet/net/serve.sock",
    "state": "active",
    "detail": "running",
    "result": "success",
    "restarts": 0,
    "enabled": True,
    "health": {"live": True, "ready": True, "models": {"net": {"release": "a" * 64}}},
    "changed": True,
    "restarted": False,
    "linger": False,
    "advice": "say so",
}


class FakeAgent:
    def __init__(self, answer: dict) -> None:
        self.answer = answer

    def call(self, arguments, **options) -> dict:
        return self.answer


def test_what_a_board_says_of_a_service_is_shown():
    installed = remote_service.install_service(FakeAgent(RIGHT), "net", "--queue 4")  # type: ignore[arg-type]
    assert (installed.service.ready, installed.service.release) == (True, "a" * 64)
    assert json.dumps(installed.to_json())
    listed = remote_service.service_status(
        FakeAgent({"services": [RIGHT, {**RIGHT, "health": None}], "linger": True})
    )  # type: ignore[arg-type]
    assert [service.ready for service in listed.services] == [True, None]

    from rich.console import Console

    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    for shown in (
        terminal.services(listed),
        terminal.services(remote_service.Services((), False)),
        terminal.service(listed.services[0]),
        terminal.service_removed(RemovedService("net", True)),
        terminal.installed_service(installed),
    ):
        console.print(shown)
    text = console.export_text()
    for expected in (
        "armlet@net.service, installed, active",
        "say so",
        "aaaaaaaaaaaa",
        "nothing is served here",
    ):
        assert expected in text


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../net"},
        {"name": None},
        {"restarts": -1},
        {"restarts": "0"},
        {"enabled": "yes"},
        {"state": 1},
        {"changed": None},
        {"advice": 3},
    ],
)
def test_what_a_board_may_not_say_is_refused(change):
    from device_agent.errors import ArmletError

    with pytest.raises(ArmletError):
        remote_service.install_service(FakeAgent({**RIGHT, **change}), "net")  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        remote_service.service_status(FakeAgent({"services": "all", "linger": False}))  # type: ignore[arg-type]
