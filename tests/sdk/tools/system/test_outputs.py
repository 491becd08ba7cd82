"""No command writes over what it reads, by whatever name, and a name that does not fit is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sdk.cli import main
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.tools.system.files import FileError
from sdk.tools.system.outputs import check_outputs, suffix_notes
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network(size=16)))
    return path


def by_another_name(path: Path, how: str) -> Path:
    other = path.with_name(f"{how}{path.suffix}")
    if how == "symbolic":
        other.symlink_to(path.name)
    elif how == "hard":
        os.link(path, other)
    elif how == "dots":
        return path.parent / "." / ".." / path.parent.name / path.name
    else:
        return path
    return other


@pytest.mark.parametrize("how", ["same", "symbolic", "hard", "dots"])
def test_an_input_is_never_the_output(model: Path, how: str) -> None:
    with pytest.raises(FileError, match="is read and would be replaced"):
        check_outputs([by_another_name(model, how)], [None, model])


def test_an_output_that_is_not_there_yet_is_compared_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FileError, match="two things"):
        check_outputs([tmp_path / "new", tmp_path / "link" / "new"], [])
    check_outputs([tmp_path / "new", None, tmp_path / "other"], [tmp_path / "missing"])


def test_a_file_of_a_folder_that_is_read_is_an_input_too(tmp_path: Path) -> None:
    (tmp_path / "images" / "cats").mkdir(parents=True)
    picture = tmp_path / "images" / "cats" / "1.png"
    picture.write_bytes(b"")
    with pytest.raises(FileError, match=r"a file of the input .*images"):
        check_outputs([picture], [tmp_path / "images"])
    check_outputs([tmp_path / "images" / "net.armlet"], [tmp_path / "images"])


def test_a_folder_that_is_not_there_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder"):
        check_outputs([tmp_path / "missing" / "net.armlet"], [])


@pytest.mark.parametrize("verb", ["convert", "compress", "pack"])
@pytest.mark.parametrize("how", ["same", "symbolic"])
def test_commands_leave_their_input_alone(model: Path, verb: str, how: str, capsys) -> None:
    before = model.read_bytes()
    output = by_another_name(model, how)
    assert main([verb, str(model), "-o", str(output)]) == 2
    assert "the input is kept as it is" in capsys.readouterr().err
    assert model.read_bytes() == before
    assert output.is_symlink() == (how == "symbolic")


def test_unpack_reports_and_data_leave_their_input_alone(model: Path, tmp_path: Path, capsys) -> None:
    package = tmp_path / "net.armlet"
    package.write_bytes(pack(model.read_bytes()))
    run = tmp_path / "run.json"
    run.write_text("{}")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\n")
    for arguments in (
        ["unpack", package, "-o", package],
        ["report", run, "--html", run],
        ["pack", model, "-o", labels, "--labels", labels],
        ["compress", model, "-o", tmp_path / "a.armlet", "--save-tflite", model],
        ["compress", model, "-o", tmp_path / "a.armlet", "--save-recipe", tmp_path / "a.armlet"],
        ["bench", "--board", "local", model, "-o", model],
    ):
        read = {path: path.read_bytes() for path in (package, run, labels, model)}
        assert main([*map(str, arguments)]) == 2, arguments
        assert {path: path.read_bytes() for path in read} == read
    assert not (tmp_path / "a.armlet").exists()
    capsys.readouterr()


def test_a_suffix_that_does_not_fit_is_warned_of_and_written(model: Path, tmp_path: Path, capsys) -> None:
    assert suffix_notes(tmp_path / "a.ARMLET", ".armlet") == suffix_notes(None, ".armlet") == ()
    for verb, name, kind in (
        ("pack", "a.tflite", "a package"),
        ("convert", "a.keras", "a .tflite"),
        ("compress", "a.tflite", "a package"),
    ):
        output = tmp_path / "out" / name
        output.parent.mkdir(exist_ok=True)
        assert main([verb, str(model), "-o", str(output), "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert [note for note in notes if kind in note and name in note], notes
        assert output.exists()
    package = tmp_path / "net.armlet"
    package.write_bytes(pack(model.read_bytes()))
    assert main(["unpack", str(package), "-o", str(tmp_path / "a.bin")]) == 0
    assert "a.bin holds a .tflite model" in " ".join(capsys.readouterr().out.split())
