"""Every result has one way to be drawn, found by its type."""

from __future__ import annotations

from importlib import import_module

import pytest

from sdk.commands.output import DRAWN_AS
from sdk.report.terminal import drawing


@pytest.mark.parametrize("kind", sorted(DRAWN_AS))
def test_the_type_of_a_result_and_what_draws_it_are_there(kind: str):
    module, _, name = kind.rpartition(".")
    assert isinstance(getattr(import_module(module), name), type)
    assert callable(getattr(drawing, DRAWN_AS[kind]))
