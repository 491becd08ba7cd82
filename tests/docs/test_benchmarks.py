"""The benchmarks: their README names each, and all of them take and leave their records in the same way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compression.__main__ import build_parser
from benchmarks.compression.cases import CASES
from benchmarks.record import benchmark, write_rows
from sdk.errors import ModelError
from tests.docs.documented import ROOT

FOLDER = ROOT / "benchmarks"
#: Runs one model where a benchmark sends it, and is none.
PARTS = {"benchmarks.peers.runs"}
#: These write into the documentation and have no record of their own.
PAGES = {"benchmarks.pages.paper_tables", "benchmarks.pages.readme_transcript"}


def scripts() -> dict[str, Path]:
    """Everything in the folder that is run, by what stands behind `python -m`."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__main__")] = path
    return {name: path for name, path in found.items() if name not in PARTS}


def test_the_readme_names_every_benchmark_and_no_other():
    named = re.findall(r"`python -m (\S+?)[ `]", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert len(named) == len(set(named))
    assert set(named) == set(scripts())


@pytest.mark.parametrize("name", sorted(set(scripts()) - PAGES))
def test_every_benchmark_takes_its_options_in_the_one_way(name):
    text = scripts()[name].read_text(encoding="utf-8")
    assert "from benchmarks.record import" in text
    assert 'add_argument("--json"' not in text
    assert "ArgumentParser(" not in text or name == "benchmarks.compression"


def test_a_benchmark_is_run_as_a_module_and_tells_its_options():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.start_up", "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MODEL.tflite" in done.stdout
    assert "-o FILE" in done.stdout


def test_every_kept_case_of_compression_is_in_the_table_with_its_settings():
    for path in (FOLDER / "results" / "compression").glob("*.json"):
        assert path.stem in CASES, f"{path.name} is the record of no case"
        record, settings = json.loads(path.read_text(encoding="utf-8")), CASES[path.stem].settings
        kept = {"price": 0.0, **record, **record.get("recipe", {})}  # a recipe leaves out a price of nothing
        for name in ("sparsity", "clusters", "epochs", "price", "shift", "network"):
            if name in settings:
                assert kept[name] == settings[name], f"{path.name}: {name}"


def test_the_cases_are_listed():
    told = build_parser().format_help()
    assert all(name in told for name in CASES)
    assert "LeNet-300-100 on MNIST, 96.6 % zero" in " ".join(told.split())


def test_a_case_sets_the_defaults_of_its_options_and_the_command_line_comes_before_it(tmp_path):
    arguments = build_parser().parse_args(
        ["lenet_5", "--data", "mnist.npz", "--sparsity", "0.5", "-o", str(tmp_path / "x")]
    )
    assert (arguments.network, arguments.epochs, arguments.price) == ("lenet_5", 28, 5e-6)
    assert (arguments.sparsity, arguments.data, arguments.output) == (0.5, Path("mnist.npz"), tmp_path / "x")


def measure(arguments):
    print("for people")
    return {"rounds": arguments.rounds}


def rounds(parser):
    parser.add_argument("--rounds", type=int, default=3)


def test_the_record_is_printed_and_kept(tmp_path, capsys):
    kept = tmp_path / "kept.json"
    benchmark("What?", measure, rounds, argv=["-o", str(kept)])
    assert json.loads(kept.read_text()) == {"rounds": 3}
    assert capsys.readouterr() == ("for people\n", "")
    assert benchmark("What?", measure, rounds, argv=["--json", "--rounds", "5"]) == {"rounds": 5}
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"rounds": 5}, "for people\n")


def test_rows_of_other_models_stay(tmp_path):
    kept = tmp_path / "kept.json"
    for rows in (
        [{"model": "a", "n": 1}, {"model": "b", "n": 1}],
        [{"model": "b", "n": 2}, {"model": "c", "n": 2}],
    ):
        write_rows(kept, {"conditions": {"turn": len(rows)}, "results": rows})
    assert {row["model"]: row["n"] for row in json.loads(kept.read_text())["results"]} == {
        "a": 1,
        "b": 2,
        "c": 2,
    }


def test_what_is_refused_is_one_line_and_status_2(capsys):
    def refuse(arguments):
        raise ModelError("no such model", expected="one", found="none")

    with pytest.raises(SystemExit) as ended:
        benchmark("What?", refuse, argv=[])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: no such model; expected one; found none\n"
