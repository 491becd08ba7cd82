"""A function is one that a person can hold in the head: at most ten parameters and sixty lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_PARAMETERS = 10
MAX_LINES = 60


def too_large(source: str) -> Iterator[str]:
    """The names of functions with too many parameters or lines, those in classes and functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = node.args
            parameters = len([*taken.posonlyargs, *taken.args, *taken.kwonlyargs])
            assert node.end_lineno is not None
            if parameters > MAX_PARAMETERS or node.end_lineno - node.lineno + 1 > MAX_LINES:
                yield node.name


def test_no_function_is_longer_than_a_person_can_hold():
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for package in ("sdk", "device_agent")
        for path in (ROOT / package).rglob("*.py")
        for name in too_large(path.read_text(encoding="utf-8"))
    }
    assert not found, sorted(found)


def test_parameters_and_lines_are_counted():
    assert list(too_large("def f(a, b, c, d, e, /, g, h, i, j, *, k, l): ...")) == ["f"]
    assert list(too_large("def f(a, b, c, d, e, /, g, h, i, j, *, k, **l): ...")) == []
    assert list(too_large("class C:\n async def f(self):\n" + "  pass\n" * 60)) == ["f"]
    assert list(too_large("def f():\n" + "  pass\n" * 59)) == []
