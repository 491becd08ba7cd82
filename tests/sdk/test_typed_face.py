"""The public names are typed although they are looked up late: mypy refuses what would fail at run time."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import device_agent
import sdk

ROOT = Path(__file__).parents[2]


def typed_names(module: Path) -> dict[str, str]:
    """name -> module of the imports that type checkers see."""
    found: dict[str, str] = {}
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                found.update({alias.asname or alias.name: str(line.module) for alias in line.names})
    return found


def test_type_checkers_see_the_names_that_there_are_at_run_time():
    typed = typed_names(ROOT / "sdk" / "__init__.py")
    assert sorted(typed) == sorted(set(sdk.__all__) - {"__version__"})
    for name, module in typed.items():
        assert getattr(sdk, name) is getattr(import_module(module), name)
    assert dir(sdk) == sorted(sdk.__all__)
    assert set(typed_names(ROOT / "device_agent" / "__init__.py")) == set(device_agent.__all__) - {
        "__version__"
    }


def test_names_are_looked_up_in_one_place():
    """A second table would hide its names from type checkers, as `sdk.api` once did."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sdk").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for inner in [node, *(getattr(node, "orelse", []) if isinstance(node, ast.If) else [])]
        if isinstance(inner, ast.FunctionDef) and inner.name == "__getattr__"
    }
    assert found == {"sdk/__init__.py"}


@pytest.mark.parametrize("package", ["sdk", "device_agent"])
def test_both_packages_say_that_they_are_typed(package: str):
    assert (ROOT / package / "py.typed").is_file()


RIGHT = """\
import sdk
from device_agent import Agent
made = sdk.compress_model("m.tflite", "m.armlet", sparsity=0.7)
print(made.package_bytes)
report = sdk.bench_models("local", ["m.armlet"], samples=10)
print(report.models[0].measurement.median)
sdk.write_graph(sdk.read_graph(b""))
sdk.deploy_model("pi", "m.armlet", host="10.0.0.2", port=22, runtime="ai-edge-litert", keep_on_trial=True)
sdk.rollback_fleet("boards.toml", "m", to="abc", parallel=4)
Agent("name").close()
"""
#: Each with what mypy has to say of it.
WRONG = {
    'sdk.nope("m.tflite")': "attr-defined",
    'sdk.compress_model("m.tflite", "m.armlet", sparsty=0.7)': "call-arg",
    'sdk.compress_model("m.tflite", "m.armlet", sparsity="much")': "arg-type",
    'sdk.pack_model("m.tflite", "m.armlet", lables="l.txt")': "call-arg",
    'sdk.unpack_package("m.armlet", "m.tflite").nope': "attr-defined",
    "sdk.read_graph(3)": "arg-type",
    'sdk.board_status("pi", hots="10.0.0.2")': "call-arg",
    'sdk.deploy_model("pi", "m.armlet", port="22")': "arg-type",
    'sdk.deploy_model("pi", "m.armlet", keep_on_trail=True)': "call-arg",
    'sdk.deploy_fleet("boards.toml", "m.armlet", limits=3)': "arg-type",
    'sdk.fleet_status("boards.toml", paralel=4)': "call-arg",
    'sdk.write_zoo_model("lenet_5", "m.tflite", sead=1)': "call-arg",
    'sdk.start_service("pi", "m", runtime=3)': "arg-type",
}


def test_mypy_refuses_wrong_calls_and_passes_right_ones(tmp_path: Path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("import sdk\n" + "".join(f"{line}\n" for line in WRONG))
    mypy = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")]
    files = [str(tmp_path / "right.py"), str(tmp_path / "wrong.py")]
    done = subprocess.run(
        [*mypy, "--config-file", str(ROOT / "pyproject.toml"), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "right.py" not in done.stdout, done.stdout
    for number, (line, code) in enumerate(WRONG.items(), start=2):
        said = [told for told in done.stdout.splitlines() if f"wrong.py:{number}:" in told]
        assert any(code in told for told in said), (line, done.stdout, done.stderr)
