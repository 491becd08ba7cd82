"""What is not installed is named by its extra, in one line; what needs no TensorFlow works without it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sdk.graph.writer import write_graph
from sdk.tools.extras import EXTRA_OF
from tests.sdk.conftest import Server
from tests.sdk.graph.small_graphs import small_network

ROOT = Path(__file__).resolve().parents[3]
#: Takes modules away before the command runs.
WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
GONE = set(sys.argv.pop(1).split(","))
import os, socket
for name in [name for name in GONE if "." in name]:
    module, _, attribute = name.partition(".")
    delattr(sys.modules[module], attribute)
sys.meta_path.insert(0, Gone())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in GONE else real(name, package)
from sdk.cli import main
sys.exit(main())
"""
DEPLOY_LACKS = [*sorted(name for name, extra in EXTRA_OF.items() if extra != "deploy"), "keras", "optuna"]


def sdk(folder: Path, gone: Sequence[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(gone), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("extras")
    (place / "m.tflite").write_bytes(write_graph(small_network()))
    return place


@pytest.mark.parametrize(
    "words",
    [
        "boards",
        "pack m.tflite -o p.armlet",
        "inspect m.tflite",
        "deploy --board local m.tflite",
        "bench --board local m.tflite",
        "compress m.tflite -o c.armlet",
        "convert m.tflite -o d.tflite",
        "zoo",
        "demo",
        "status --board local",
        "data check .",
        "completion bash",
        "tune --board local m.tflite --data . --max-loss 1",
    ],
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_with_nothing_but_the_package_each_command_names_its_extra(
    folder: Path, words: str, form: str
) -> None:
    if form and words.split()[0] in ("boards", "pack", "zoo"):
        return  # which need nothing then
    done = sdk(folder, [*EXTRA_OF, "keras"], *words.split(), *form.split())
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "pip install 'armlet[" in done.stderr
    assert not (folder / "p.armlet").exists()


@pytest.mark.parametrize(
    "words",
    ["pack m.tflite -o m.armlet", "inspect m.armlet", "deploy --board local m.armlet", "boards rpi4"],
)
def test_a_tflite_is_packed_and_deployed_without_tensorflow(folder: Path, words: str) -> None:
    done = sdk(folder, DEPLOY_LACKS, *words.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words", ["zoo mobilenet_v1 -o z.tflite", "compress m.tflite -o c.armlet --data m.npz --effort train"]
)
def test_what_needs_tensorflow_says_so(folder: Path, words: str) -> None:
    import numpy as np

    np.savez(folder / "m.npz", x=np.zeros((40, 8, 8, 3), np.uint8))
    done = sdk(folder, DEPLOY_LACKS, *words.split(), *(["--preprocess", "01"] if "compress" in words else []))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "armlet[host]" in done.stderr


#: What Python on Windows does not have.
POSIX = [
    "fcntl",
    "pwd",
    "resource",
    "grp",
    "termios",
    "os.getuid",
    "os.geteuid",
    "os.killpg",
    "socket.AF_UNIX",
]


@pytest.mark.parametrize("words", ["boards", "pack m.tflite -o w.armlet", "inspect w.armlet", "--help"])
def test_a_laptop_without_posix_modules_starts(folder: Path, words: str) -> None:
    done = sdk(folder, POSIX, *words.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.ssh
def test_a_laptop_without_posix_modules_deploys(folder: Path, openssh_server: Server) -> None:
    """To a real sshd; the board has what it has. The second deploy waits for no lock that the first one left."""
    config = folder / "home" / ".ssh" / "config"
    config.parent.mkdir(parents=True, mode=0o700)
    login = openssh_server.login
    config.write_text(
        f'Host pi\n HostName 127.0.0.1\n Port {login["port"]}\n IdentityFile "{login["key"]}"\n'
        f' UserKnownHostsFile "{login["known_hosts"]}"\n'
    )
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    user = getpass.getuser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USERNAME", user)  # which Windows sets
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("XDG_CACHE_HOME", cache)
        for words, says in (
            ("deploy m.tflite", "is what runs now"),
            ("deploy m.tflite", "m"),
            ("status", "m"),
            ("bench m.tflite --samples 8 --seconds 0.1 --threads 1", "Latency"),
        ):
            done = sdk(folder, POSIX, *words.split(), "--board", "rpi4", "--host", "pi")
            assert done.returncode == 0, done.stderr
            assert says in done.stdout
