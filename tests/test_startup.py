"""The command line starts at once: what a command does not need, it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each of these takes from a tenth of a second to several seconds to import.
HEAVY = ("tensorflow", "keras", "paramiko", "sklearn", "ai_edge_litert", "PIL")

# Checked through what was imported, not through a clock: this holds on a slow and on a busy machine alike.
RUN = """
import json, runpy, sys
sys.argv = ["sdk", *sys.argv[1:]]
status = 0
try:
    runpy.run_module("sdk.cli", run_name="__main__")
except SystemExit as end:
    status = end.code or 0
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"status": status, "loaded": loaded}), file=sys.stderr)
"""


def run(tmp_path: Path, *arguments: str) -> tuple[str, int, set[str]]:
    """What the command printed, its exit status and the packages it had imported by then."""
    result = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "ARMLET_BOARDS": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stderr.splitlines()[-1])
    return result.stdout, report["status"], set(report["loaded"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("convert", "--help"),
        ("compress", "--help"),
        ("deploy", "--help"),
        ("bench", "--help"),
        ("demo", "--help"),
        ("boards", "--json"),
        ("boards",),
    ],
    ids=" ".join,
)
def test_a_command_that_computes_nothing_imports_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]):
    printed, status, loaded = run(tmp_path, *arguments)
    assert status == 0
    assert printed.strip()
    assert not loaded & set(HEAVY)


def test_help_needs_neither_numpy_nor_rich(tmp_path: Path):
    _, _, loaded = run(tmp_path, "--help")
    assert "argparse" in loaded
    assert not loaded & {"numpy", "rich"}


def test_importing_the_packages_imports_nothing_heavy(tmp_path: Path):
    code = "import json, sys, sdk, device_agent; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {name.partition(".")[0] for name in json.loads(result.stdout)} & {*HEAVY, "numpy", "rich"}


def test_a_verb_that_computes_nothing_imports_no_numpy(tmp_path: Path):
    code = """\
import sys
from device_agent.__main__ import main
for verb in (["missing", "--name", "net", "--release", "0" * 64], ["prune"], ["discard"]):
    main(verb)
assert "numpy" not in sys.modules
"""
    environment = {**os.environ, "ARMLET_HOME": str(tmp_path / "home"), "ARMLET_SCRATCH": "0123456789abcdef"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, input="[]\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["verb"] for line in done.stdout.splitlines()] == ["missing", "prune", "discard"]


def test_a_command_imports_tensorflow_without_what_it_does_not_need():
    code = """\
import gc, sys
from sdk.tools.system.quiet import leave_out_forms_of_data, quiet_tensorflow
leave_out_forms_of_data()
with quiet_tensorflow():
    assert {"tensorflow", "keras"} <= set(sys.modules)
assert not {"pandas", "scipy", "sklearn"} & set(sys.modules)
assert gc.isenabled()
import keras, sklearn.datasets  # what a user's layers may import
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_program_ends_with_the_status_of_its_command(tmp_path: Path):
    for arguments, status in ((["boards"], 0), (["inspect", str(tmp_path / "missing.armlet")], 2)):
        code = f"import sys; sys.argv[1:] = {arguments!r}; from sdk.cli import program; program()"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert bool(done.stdout) == (status == 0)
