"""What a person and a script see of every command: answers on stdout, one clear line and status 2 for bad input."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from sdk.cli import build_parser, main
from sdk.commands.parser import Parser
from sdk.graph.on_host.evaluate import predict
from sdk.graph.writer import write_graph
from sdk.models import digits
from sdk.models.demo import demo_models
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(write_graph(small_network(size=16, channels=32)))
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """The JSON document that a command prints; it must succeed and print nothing else on stdout."""
    assert main([str(a) for a in arguments] + ["--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that must fail with status 2."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_pack_and_unpack_give_the_same_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    package, back = tmp_path / "small.armlet", tmp_path / "back.tflite"
    packed = answer(capsys, "pack", model, "-o", package)
    assert packed["package_bytes"] == package.stat().st_size
    for kernel in ("numpy", "auto"):
        unpacked = answer(capsys, "unpack", package, "-o", back, "--kernel", kernel)
        assert back.read_bytes() == model.read_bytes()
        assert unpacked["tflite_bytes"] == model.stat().st_size


def test_convert_writes_a_graph_that_answers_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    converted = answer(capsys, "convert", model, "-o", tmp_path / "c.tflite")
    assert converted["input_shape"] == [1, 16, 16, 3]
    assert converted["operators"] == 5
    # 3x3 stem + depthwise + 1x1 + classifier, by hand
    assert converted["macs"] == 64 * 9 * 3 * 32 + 64 * 9 * 32 + 64 * 32 * 64 + 64 * 10


def test_compress_then_inspect_shows_the_sparsity_that_was_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    package = tmp_path / "small.armlet"
    compressed = answer(capsys, "compress", model, "-o", package, "--sparsity", "0.8", "--clusters", "8")
    assert compressed["accuracy"] is None
    assert compressed["package_bytes"] == package.stat().st_size < model.stat().st_size / 2
    inspected = answer(capsys, "inspect", package)
    layers = {layer["name"]: layer for layer in inspected["layers"]}
    assert layers["pointwise"]["sparsity"] == pytest.approx(0.8, abs=0.001)
    assert 2 <= layers["pointwise"]["centroids"] <= 8
    assert inspected["stages"][-1]["bytes"] == package.stat().st_size
    assert sum(layer["coded_bytes"] for layer in inspected["layers"]) + inspected["other_bytes"] == (
        package.stat().st_size
    )


def test_compress_for_a_board_says_what_each_pass_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = next(m for m in demo_models() if m.name == "mobilenet_v1")
    arguments = [
        "compress",
        network.path,
        "-o",
        tmp_path / "m.armlet",
        "--sparsity",
        "0.9",
        "--clusters",
        "32",
    ]
    plain = answer(capsys, *arguments)
    assert plain["form"] == ""
    for_pi = answer(
        capsys, *arguments, "--for", "rpi4", "--block", "1", "--save-tflite", tmp_path / "m.tflite"
    )
    assert for_pi["form"] == "sparse"
    assert {p["name"] for p in for_pi["passes"] if p["applied"]} >= {"sparse_hint"}
    images = digits.load_splits()["test"].inputs()[:8]
    answer(
        capsys,
        "compress",
        network.path,
        "-o",
        tmp_path / "p.armlet",
        "--sparsity",
        "0.9",
        "--clusters",
        "32",
        "--save-tflite",
        tmp_path / "p.tflite",
    )
    both = [predict((tmp_path / name).read_bytes(), images) for name in ("m.tflite", "p.tflite")]
    np.testing.assert_allclose(*both, atol=1e-5)
    assert "rpi4" in refusal(capsys, *arguments, "--for", "rpi44")


def test_diff_says_what_a_push_would_send(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    graph = small_network(size=16, channels=32)
    head = list(graph.weights())[-1]
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(write_graph(graph.with_data({head.tensor_index: head.array + 1})))
    for path in (model, changed):
        answer(capsys, "pack", path, "-o", path.with_suffix(".armlet"))
    old, new = model.with_suffix(".armlet"), changed.with_suffix(".armlet")
    difference = answer(capsys, "diff", old, new)
    assert [c["kind"] for c in difference["changes"]].count("changed") >= 1
    assert 0 < difference["sent_size"] < new.stat().st_size
    assert difference["sent_size"] + difference["kept_size"] == new.stat().st_size
    assert answer(capsys, "diff", old, old)["sent_size"] == 0
    assert main(["diff", str(old), str(old)]) == 0
    assert "would send nothing" in " ".join(capsys.readouterr().out.split())


def test_compress_with_data_says_what_it_did_to_the_accuracy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.integers(0, 256, (40, 16, 16, 3), np.uint8), y=rng.integers(0, 10, 40))
    compressed = answer(
        capsys,
        "compress",
        model,
        "-o",
        tmp_path / "c.armlet",
        "--data",
        data,
        "--effort",
        "none",
        "--preprocess",
        "tf",
    )
    assert compressed["accuracy"]["samples"] == 40
    assert main(["compress", str(model), "-o", str(tmp_path / "c.armlet")]) == 0
    assert "not checked" in capsys.readouterr().out


def test_tables_stay_within_80_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    package = tmp_path / "small.armlet"
    for arguments in (["compress", model, "-o", package], ["inspect", package], ["zoo"], ["boards"]):
        assert main([str(a) for a in arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80
        assert not any("…" in line and "─" in line for line in lines)


def test_the_zoo_lists_and_describes_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    listed = answer(capsys, "zoo")
    assert {"mobilenet_v1", "shufflenet_v1", "alexnet", "lenet_5"} <= {n["name"] for n in listed}
    half = answer(capsys, "zoo", "mobilenet_v1", "--width", "0.5", "--size", "160", "--classes", "10")
    assert half["input_shape"] == [160, 160, 3]
    wide = answer(capsys, "zoo", "squeezenet", "--version", "1.1", "--size", "240x320")
    assert wide["input_shape"] == [240, 320, 3]
    assert "no network resnet" in refusal(capsys, "zoo", "resnet")
    assert "width" in refusal(capsys, "zoo", "mobilenet_v1", "--width", "-1")


@pytest.mark.tensorflow
def test_the_zoo_writes_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    described = answer(capsys, "zoo", "mobilenet_v1", "--width", "0.25", "--size", "64")
    written = answer(capsys, "zoo", "mobilenet_v1", "--width", "0.25", "--size", "64", "-o", path)
    assert path.stat().st_size == written["tflite_bytes"]
    assert written["macs"] == described["macs"]
    assert written["parameters"] == described["parameters"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "absent.keras", "-o", "x"], "no model at absent.keras; expected a .keras"),
        (["inspect", "absent.armlet"], "no file absent.armlet; expected a .armlet package"),
        (["unpack", __file__, "-o", "x"], "expected"),
        (["deploy", "--board", "rpi44", "{model}"], "rpi4"),
        (["bench", "--board", "rpi4", "{model}"], "expected --host"),
        (["deploy", "--board", "rpi4", "--host", "127.0.0.1", "--port", "1", "{model}"], "127.0.0.1 port 1"),
        (["compress", "{model}", "-o", "x", "--sparsity", "1"], "expected 0 <= sparsity < 1; found 1"),
        (
            ["compress", "{model}", "-o", "x", "--clusters", "1"],
            "expected 2 to 256, or 0 for no limit; found 1",
        ),
        (["pack", "{model}", "-o", "/no/such/folder/x"], "cannot be written"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refusal(capsys, *[a.format(model=model) for a in arguments])
    assert not (tmp_path / "x").exists()


def test_an_error_is_json_too_when_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "absent.armlet", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["found"] == "no such file"
    assert captured.err.startswith("error: ")


def test_every_command_has_an_example_in_its_help() -> None:
    leaves = list(commands_below())
    assert ["convert"] in leaves
    assert ["board", "start"] in leaves
    for words in leaves:
        assert "example:\n  sdk " in help_of(*words), words


@functools.cache
def the_parser() -> Parser:
    """Of every command; it takes a tenth of a second to build."""
    return build_parser()


def help_of(*words: str, flag: str = "--help") -> str:
    """What `sdk WORDS --help` prints."""
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as ended:
        the_parser().parse_args([*words, flag])
    assert ended.value.code == 0
    return said.getvalue()


def commands_below(*words: str) -> Iterator[list[str]]:
    """The words of every command, groups such as `board` taken apart."""
    text = help_of(*words)
    if not re.search(r"COMMAND\s+\.\.\.", text):
        yield list(words)
        return
    for name in re.findall(r"^  ([a-z][a-z-]*)(?:  |$)", text, re.M):
        yield from commands_below(*words, name)
