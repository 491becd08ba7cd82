"""Results are drawn by their type: what the table names is there."""

from __future__ import annotations

from importlib import import_module

import pytest

from sdk.commands.output import DRAWN_AS
from sdk.report.terminal import drawing


@pytest.mark.parametrize(("kind", "renderer"), DRAWN_AS.items())
def test_the_table_names_types_and_what_draws_them(kind: str, renderer: str):
    module, _, name = kind.rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, type)
    assert found.__module__ == module
    assert callable(getattr(drawing, renderer))
