"""Installed as pipx does it, a wheel in an environment of its own, far from any checkout, everything is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdk.deploy.provision import wheels
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import small_network

ROOT = Path(__file__).parents[3]
#: What stands beside the sources of a package, and is none of it.
NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@dataclass(frozen=True)
class Installation:
    """An environment into which the wheel was installed, and a folder to be in, which is not a checkout."""

    bin: Path
    work: Path

    def run(self, *command: str, status: int = 0) -> str:
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.work,
            env={**kept, "XDG_DATA_HOME": str(self.work / "data")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == status, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Without a network: what the wheel depends on is taken from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, wheel], check=True, cwd=folder)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # Comes after the environment's own packages; a checkout that is installed there by a .pth file stays out.
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(purelib) / "dependencies.pth").write_text("\n".join(sorted(here)) + "\n")
    (folder / "work").mkdir()
    return Installation(folder / "venv" / "bin", folder / "work")


def test_the_wheel_holds_every_file_of_both_packages(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in ("sdk", "device_agent")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }
    expected |= {f"sdk/_boards/{path.name}" for path in (ROOT / "boards").glob("*.toml")}
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == expected


def test_what_is_run_is_what_was_installed(installed: Installation) -> None:
    paths = installed.run(
        "python", "-c", "import sdk, device_agent; print(sdk.__file__, device_agent.__file__)"
    )
    assert str(ROOT) not in paths
    assert paths.count(str(installed.bin.parent)) == 2


def test_the_command_line_is_there(installed: Installation) -> None:
    assert installed.run("sdk", "--version").startswith("armlet ")
    assert "deploy" in installed.run("sdk", "--help")
    assert "usage: sdk demo" in installed.run("sdk", "demo", "--help")


def test_the_catalogue_of_boards_is_there(installed: Installation) -> None:
    listed = json.loads(installed.run("sdk", "boards", "--json"))
    names = {board["name"] for board in (listed["boards"] if isinstance(listed, dict) else listed)}
    assert names >= {path.stem for path in (ROOT / "boards").glob("*.toml")}


def test_the_networks_of_the_demo_are_there(installed: Installation) -> None:
    script = (
        "from importlib import resources\n"
        "for name in ('mobilenet_v1_digits', 'shufflenet_v1_digits'):\n"
        "    print(len((resources.files('sdk.models') / 'trained' / f'{name}.tflite').read_bytes()))\n"
    )
    sizes = [int(line) for line in installed.run("python", "-c", script).split()]
    assert len(sizes) == 2
    assert min(sizes) > 10_000


def test_the_decoder_and_the_c_library_build_from_what_was_installed(installed: Installation) -> None:
    built = json.loads(installed.run("sdk", "native", "-o", "c", "--target", "x86_64", "--json"))
    (library,) = built["libraries"]
    assert (installed.work / library["folder"] / "lib" / "libarmlet.so").exists()
    assert (installed.work / library["folder"] / "include" / "armlet.h").exists()


def test_a_model_is_packed_exported_and_deployed_from_there(
    installed: Installation, any_environment: wheels.Environment
) -> None:
    (installed.work / "small.armlet").write_bytes(
        pack(write_graph(small_network(0)), metadata={"name": "small"})
    )
    installed.run("sdk", "export", "small.armlet", "--format", "ansible", "-o", "role")
    assert (installed.work / "role" / "roles" / "armlet_release" / "tasks" / "main.yml").exists()
    deploy = ("sdk", "deploy", "--board", "local", "--runtime", any_environment.runtime, "small.armlet")
    deployed = json.loads(installed.run(*deploy, "--json"))
    assert deployed["state"] == "confirmed"
    assert "c" in deployed["decode_kernels"]
