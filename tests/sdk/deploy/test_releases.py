"""What a board has and what happened to it, as a person and a script see it; back to the release before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import sdk
from sdk.api.files.golden import golden_pair
from sdk.api.results import Event, SlotStatus
from sdk.board.catalogue import catalogue_folder
from sdk.cli import main
from sdk.errors import RemoteError
from sdk.graph.writer import write_graph
from sdk.package.release import Golden
from tests.sdk.graph.embedded.made_metadata import with_words
from tests.sdk.graph.small_graphs import small_network

ON_LOCAL = ("--board", "local")


@pytest.fixture
def models(without_runtime: list[Path], tmp_path: Path, with_runtime) -> list[Path]:
    """Three versions of one model, and a local board of this test's own that has a runtime."""
    with_runtime(tmp_path / "data")
    return without_runtime


@pytest.fixture
def without_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three versions of one model, and a local board of this test's own with nothing on it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    paths = []
    for number, channels in enumerate((8, 16, 24)):
        path = tmp_path / str(number) / "net.tflite"
        path.parent.mkdir()
        path.write_bytes(write_graph(small_network(size=16, channels=channels)))
        paths.append(path)
    return paths


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main([*map(str, arguments), *ON_LOCAL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments), *ON_LOCAL]) == 0
    return capsys.readouterr().out


def wrong_golden(package: bytes) -> Golden:
    """A golden pair that no board comes close to."""
    right = golden_pair(package)
    return replace(right, outputs=tuple(output + 10.0 for output in right.outputs), alternatives=())


@pytest.mark.ssh
def test_an_empty_board_says_so_and_is_sent_nothing(without_runtime, capsys):
    status = answer(capsys, "status")
    assert (status["agent_version"], status["slots"]) == (None, [])
    assert "nothing was ever deployed" in shown(capsys, "status")
    assert answer(capsys, "releases") == []
    assert main(["rollback", "net", *ON_LOCAL]) == 2
    assert "nothing was ever deployed" in capsys.readouterr().err
    assert not list(without_runtime[0].parents[1].glob("data/**/.armlet"))


@pytest.mark.ssh
def test_deploys_reverts_and_rollbacks_are_told_with_their_reasons(models, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    old, new, bad = models
    first = answer(capsys, "deploy", old)
    second = answer(capsys, "deploy", new)
    monkeypatch.setattr("sdk.api.boards.deploying.remembered_golden", wrong_golden)
    assert main(["deploy", *ON_LOCAL, str(bad)]) == 2
    assert "went back" in capsys.readouterr().err

    status = answer(capsys, "status")
    (slot,) = status["slots"]
    assert (slot["current"], slot["previous"], slot["trial"]) == (second["release"], first["release"], None)
    events = [event["event"] for event in slot["history"]]
    assert events[:2] == ["confirmed", "confirmed"]
    assert set(events[2:]) == {"reverted"}  # once on each runtime that this machine can have
    assert "golden outputs" in slot["history"][-1]["reason"]
    for text in (shown(capsys, "status"), shown(capsys, "releases", "net")):
        joined = " ".join(text.split())
        assert second["release"][:12] in joined
        assert "reverted" in joined
        assert "golden" in joined
        assert max(map(len, text.splitlines())) <= 80

    back = answer(capsys, "rollback", "net", "--reason", "worse at night")
    assert (back["current"], back["previous"]) == (first["release"], None)
    assert "worse at night" in " ".join(shown(capsys, "releases").split())
    assert main(["rollback", "net", *ON_LOCAL]) == 2
    assert "no earlier release" in capsys.readouterr().err
    assert main(["releases", "other", *ON_LOCAL]) == 2
    assert "nothing is deployed under the name other; found net" in capsys.readouterr().err


@pytest.mark.ssh
def test_as_many_releases_are_kept_as_the_command_line_or_the_boards_file_says(
    models, capsys, tmp_path, monkeypatch
):
    deployed = [answer(capsys, "deploy", model, "--keep", "3")["release"] for model in models]
    (slot,) = answer(capsys, "status")["slots"]
    assert [slot["current"], slot["previous"], *slot["older"]] == deployed[::-1]
    assert f"before {deployed[0][:12]}" in " ".join(shown(capsys, "releases").split())
    assert "2 to go back to" in shown(capsys, "status")

    assert main(["rollback", "net", "--to", "ffff", *ON_LOCAL]) == 2
    said = capsys.readouterr().err
    assert "begins with 'ffff'" in said
    assert deployed[0][:12] in said
    assert main(["rollback", "net", "--to", "; reboot", *ON_LOCAL]) == 2
    assert "names no release" in capsys.readouterr().err
    back = answer(capsys, "rollback", "net", "--to", deployed[0][:8])
    assert (back["current"], back["previous"], back["older"]) == (deployed[0], None, [])

    # Said by the board's file, of a deploy that changes nothing otherwise.
    for model in models[1:]:
        answer(capsys, "deploy", model)
    folder = tmp_path / "boards"
    folder.mkdir()
    monkeypatch.setenv("ARMLET_BOARDS", str(folder))
    (folder / "local.toml").write_text(
        "keep_releases = 2\n" + (catalogue_folder() / "local.toml").read_text()
    )
    assert answer(capsys, "deploy", models[2])["state"] == "unchanged"
    (slot,) = answer(capsys, "status")["slots"]
    assert [slot["current"], slot["previous"], *slot["older"]] == deployed[:0:-1]
    assert main(["deploy", *ON_LOCAL, str(models[0]), "--keep", "1"]) == 2
    assert "expected 2 to 64 releases" in capsys.readouterr().err


@pytest.mark.ssh
def test_a_release_waits_on_trial_until_it_is_confirmed(models, capsys):
    first = answer(capsys, "deploy", models[0])
    second = answer(capsys, "deploy", models[1], "--keep-on-trial")
    assert second["state"] == "trial"
    assert "on trial" in shown(capsys, "status")
    assert sdk.board_status("local").slots[0].current == first["release"]
    assert answer(capsys, "confirm", "net")["current"] == second["release"]
    with pytest.raises(RemoteError, match="nothing is on trial"):
        sdk.confirm_model("local", "net")
    assert sdk.rollback_model("local", "net").current == first["release"]


def test_a_clock_that_says_something_impossible_stops_no_status():
    event = Event("confirmed", "a" * 64, "", 1e12)
    assert event.when == "?"
    assert SlotStatus("net", "a" * 64, None, None, None, None, (event,)).since == "?"


@pytest.mark.ssh
def test_models_whose_names_a_board_cannot_take_are_two_and_can_be_recognised(models, tmp_path, capsys):
    first, second = tmp_path / "模型.tflite", tmp_path / "图像.tflite"
    first.write_bytes(models[0].read_bytes())
    second.write_bytes(models[1].read_bytes())
    names = [answer(capsys, "deploy", path)["name"] for path in (first, second)]
    named = answer(capsys, "deploy", second, "--name", "my cam (1)")["name"]
    assert len({*names, named}) == 3
    assert named.startswith("my-cam-1-")
    status = {slot["name"]: slot["title"] for slot in answer(capsys, "status")["slots"]}
    assert status == {names[0]: "模型", names[1]: "图像", named: "my cam (1)"}
    assert "模型" in shown(capsys, "status")
    assert "my cam (1)" in shown(capsys, "releases", "my cam (1)")
    answer(capsys, "deploy", models[2], "--name", "模型")
    assert answer(capsys, "rollback", "模型")["name"] == names[0]


@pytest.mark.ssh
def test_labels_that_do_not_fit_are_told_by_a_deploy_too(models, tmp_path, capsys):
    path = tmp_path / "labelled.tflite"
    path.write_bytes(write_graph(with_words(small_network(size=16), None, labels_txt="one\ntwo\n")))
    assert "2 labels are not used: it gives 10 scores" in answer(capsys, "deploy", path)["usage_notes"][0]
    assert "note: the model's own 2 labels" in shown(capsys, "deploy", path)


@pytest.mark.ssh
def test_measuring_changes_nothing(models, tmp_path, capsys):
    """After a rollback, a bench of the release that was left must not make it current, nor anything else differ."""
    for model in models[:2]:
        answer(capsys, "deploy", model)
    answer(capsys, "rollback", "net", "--reason", "worse at night")
    before = answer(capsys, "status")
    history = answer(capsys, "releases")
    store = tmp_path / "data/armlet/boards/local/home/.armlet/store"
    blobs = {path.name for path in (store / "blobs").iterdir()}
    report = answer(capsys, "bench", models[1], "--samples", 5, "--seconds", 0.2)
    assert report["models"][0]["name"] == "net"
    answer(capsys, "eval", models[1])
    answer(capsys, "eval", models[0])
    after = answer(capsys, "status")
    assert after["slots"] == before["slots"]
    assert answer(capsys, "releases") == history
    left = {path.name for path in (store / "blobs").iterdir()}
    assert left < blobs  # those of what was rolled back from go with the next cleaning
    assert not (store / "scratch").exists()
