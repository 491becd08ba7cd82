"""The command line helps: help where nothing is asked, one line for a mistake, the daily options first."""

from __future__ import annotations

import json

import pytest

from sdk.cli import SUBJECTS, build_parser, main
from sdk.commands.parser import UsageError


def test_the_command_alone_shows_what_there_is(capsys):
    for words in ([], ["board"], ["service"]):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args(words)
        assert ended.value.code == 0
        assert "usage: sdk" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what", "meant"),
    [
        (["deplyo", "x"], "there is no command 'deplyo'", "Did you mean deploy?"),
        (["board", "prob"], "there is no command 'prob'", "Did you mean probe?"),
        (["deploy", "--bord", "rpi4", "m.tflite"], "there is no option --bord", "Did you mean --board?"),
        (
            ["compress", "--sparstiy=0.7", "m.tflite"],
            "there is no option --sparstiy",
            "Did you mean --sparsity?",
        ),
        (["boards", "rpi4", "rpi5"], "'rpi5' is one argument too many", "`sdk boards --help`"),
        (
            ["compress", "m", "-o", "x", "--sparsity", "70"],
            "found '70'; did you mean 70%?",
            "`sdk compress --help`",
        ),
        (
            ["bench", "m", "--samples", "many"],
            "a whole number of at least 1, found 'many'",
            "`sdk bench --help`",
        ),
        (
            ["compress", "m", "-o", "x", "--max-loss", "nan"],
            "expected a finite number",
            "`sdk compress --help`",
        ),
        (["deploy"], "the following arguments are required: model", "`sdk deploy --help`"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_meant(words: list[str], what: str, meant: str, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert what in told.err
    assert meant in told.err


def test_a_mistake_is_json_where_that_is_asked_for(capsys):
    assert main(["deploy", "--json", "--bord", "x"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == "UsageError"
    assert "--board" in error["hint"]


@pytest.mark.parametrize("text", ["70%", "0.7"])
def test_a_share_is_a_percentage_or_a_fraction(text: str):
    words = ["compress", "m.tflite", "-o", "x.armlet", "--sparsity", text]
    assert build_parser().parse_args(words).sparsity == pytest.approx(0.7)


def test_help_shows_the_daily_options_and_help_all_every_one(capsys):
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["compress", flag])
        shown[flag] = capsys.readouterr().out
    assert "--data" in shown["--help"]
    assert "--low-rank" not in shown["--help"]
    assert "sdk compress --help-all" in shown["--help"]
    assert "--low-rank" in shown["--help-all"]
    assert "--data" in shown["--help-all"]


def test_every_command_stands_under_one_heading():
    named = [name for names in SUBJECTS.values() for name in names]
    assert len(named) == len(set(named))
    text = build_parser().format_help()
    for name in named:
        assert f"\n  {name} " in text
    with pytest.raises(UsageError) as wrong:
        build_parser().parse_args(["no-such-command-anywhere"])
    assert "Did you mean" not in str(wrong.value)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_both_commands(shell: str, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "sdk" in script
    assert "armlet" in script


def test_a_board_shows_the_sources_of_its_figures(capsys):
    assert main(["boards", "rpi4"]) == 0
    shown = capsys.readouterr().out
    assert "Cortex-A72" in shown
    assert "raspberrypi.com" in shown
    assert main(["board", "list", "rpi4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "rpi4"
