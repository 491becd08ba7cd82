"""Every result has one way to be drawn, found by its type."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from sdk.report.terminal import drawing
from sdk.report.terminal.dispatch import DRAWN_AS
from sdk.tools.shown import Shown
from tests.sdk.report import made_up_runs


@pytest.mark.parametrize("kind", sorted(DRAWN_AS))
def test_the_type_of_a_result_and_what_draws_it_are_there(kind: str):
    module, _, name = kind.rpartition(".")
    assert isinstance(getattr(import_module(module), name), type)
    assert callable(getattr(drawing, DRAWN_AS[kind]))


def test_a_notebook_shows_what_the_terminal_does():
    shown = made_up_runs.report()._repr_html_()
    assert "Latency of one inference" in shown
    assert shown.startswith("<pre")
    for kind in DRAWN_AS:
        module, _, name = kind.rpartition(".")
        if not module.startswith("sdk.commands"):
            assert issubclass(getattr(import_module(module), name), Shown), kind


def test_names_of_strangers_are_no_markup_in_a_notebook():
    run = made_up_runs.report()
    hostile = replace(run, models=tuple(replace(m, name="<img src=x>[bold]") for m in run.models), gaps=())
    shown = hostile._repr_html_()
    assert "<img" not in shown
    assert "[bold]" in shown
