"""An option is written once: the function's keywords, the command's arguments and the typed keywords are its."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

import pytest

import sdk
from sdk.api.board_requests import Tune
from sdk.api.compress_request import Compress
from sdk.commands.options import add_options, request
from sdk.compress.recipes.targets import Settings
from sdk.tools.option import build, option
from tests.sdk.api import make_keywords


@dataclass(frozen=True, kw_only=True)
class Toast:
    minutes: int = option(3, help="how long (default: {default})", parse=int, group="heat")
    level: float = option(0.5, help="of heat (default: {default})", parse=float, on_command_line=1.0)
    sides: tuple[int, ...] = option(
        (1, 2), help="of it (default: {default})", parse=lambda t: tuple(map(int, t))
    )
    butter: bool = option(True, help="none", flag="--no-butter")
    salted: bool = option(False, help="salt")
    cut: bool = option(True, help="how", choices={"yes": True, "no": False})
    bread: str = option(help="which one", choices=("rye", "wheat"))


def _parsed(*words: str) -> Toast:
    parser = argparse.ArgumentParser()
    add_options(parser, Toast)
    return request(Toast, parser.parse_args(words))


def test_a_record_is_what_the_command_line_says():
    assert _parsed("--bread", "rye") == Toast(bread="rye", level=1.0)
    words = [
        "--bread=wheat",
        "--minutes=4",
        "--level=0.25",
        "--sides=2",
        "--no-butter",
        "--salted",
        "--cut=no",
    ]
    assert _parsed(*words) == Toast(
        bread="wheat", minutes=4, level=0.25, sides=(2,), butter=False, salted=True, cut=False
    )


def test_the_help_says_the_defaults_and_the_groups():
    parser = argparse.ArgumentParser()
    add_options(parser, Toast)
    text = parser.format_help()
    assert "how long (default: 3)" in text
    assert "of heat (default: 1)" in text
    assert "of it (default: 1,2)" in text
    assert "\nheat:\n" in text
    assert "{yes,no}" in text


def test_an_option_without_a_default_must_be_given():
    with pytest.raises(SystemExit):
        _parsed()
    with pytest.raises(TypeError, match="needs the keyword argument 'bread'"):
        build(Toast, {}, function="toast")


def test_a_misspelt_keyword_names_the_one_that_was_meant():
    with pytest.raises(TypeError, match=r"compress_model\(\).*'sparsty'; did you mean 'sparsity'\?"):
        sdk.compress_model("a.tflite", "a.armlet", sparsty=0.7)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="it takes minutes, "):
        build(Toast, {"xyz": 1}, function="toast")


def test_the_typed_keywords_are_made_of_the_records():
    assert make_keywords.TARGET.read_text(encoding="utf-8") == make_keywords.source(), (
        "a record has changed: run `python -m tests.sdk.api.make_keywords`"
    )


def test_the_engine_has_the_defaults_of_the_request():
    asked, engine = Compress(), Settings()
    assert Tune(data="d", max_loss=1.0).epochs == engine.epochs
    same = {entry.name for entry in fields(Compress)} & {entry.name for entry in fields(Settings)} - {"block"}
    assert "epochs" in same
    assert {name: getattr(asked, name) for name in same} == {name: getattr(engine, name) for name in same}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("board_status", ("local",)),
        ("calibrate_board", ("local",)),
        ("confirm_model", ("local", "net")),
        ("deploy_model", ("local", "no-such-model.tflite")),
        ("install_service", ("local", "net")),
        ("require_signatures", ("local", "no-such-file")),
        ("rollback_model", ("local", "net")),
        ("run_suite", ("local", "shufflenet-paper")),
        ("service_status", ("local",)),
    ],
)
def test_a_misspelt_option_of_the_board_is_told_before_anything_is_done(function: str, arguments: tuple):
    with pytest.raises(TypeError, match=rf"^{function}\(\) .*'runtine'; did you mean 'runtime'\?"):
        getattr(sdk, function)(*arguments, runtine="ai-edge-litert")
