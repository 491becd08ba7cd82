"""A public function says what it does; one that takes or returns arrays says their shapes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Where a function is told by the help text of its command instead.
COMMANDS = "sdk/commands/"

#: What an axis is called. A new name comes here, so that one thing keeps one name.
AXES = {"n", "count", "size", "k", "bytes", "symbols", "levels", "resamples", "units", "classes"}
AXES |= {"height", "width", "h", "w", "channels", "out", "in", "groups", "rows", "columns"}
#: One axis: a number, a name, "...", or a sum, product or quotient of these.
_AXIS = re.compile(r"(?:\.\.\.|\w+(?: ?[-+*/] ?\w+)*)")
_LIST = re.compile(r"\(([^()]*,[^()]*)\)")
_IN_WORDS = re.compile(r"\b(?:any|the same) shape\b|\bthe shape of\b")
_ARRAY = re.compile(r"\b(?:ndarray|NDArray|Array)\b")

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def names_a_shape(docstring: str) -> bool:
    """Whether there is a shape such as (n, height, width, 3), or words that stand for one."""
    return bool(_IN_WORDS.search(docstring)) or any(
        _is_shape(found.group(1)) for found in _LIST.finditer(" ".join(docstring.split()))
    )


def _is_shape(listed: str) -> bool:
    axes = [axis.strip() for axis in listed.split(",")]
    if axes[-1] == "":  # (n,)
        axes.pop()
    return all(
        _AXIS.fullmatch(axis) and all(word.isdigit() or word in AXES for word in re.findall(r"\w+", axis))
        for axis in axes
    )


def has_arrays(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether an annotation of its arguments or of its result names an array of numpy's."""
    taken = function.args
    every = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
    annotations = [function.returns, *(argument.annotation for argument in every if argument is not None)]
    return any(_ARRAY.search(ast.unparse(found)) for found in annotations if found is not None)


@dataclass(frozen=True)
class Public:
    """A public class or function; ``owner`` is the class that a method is of."""

    place: str
    name: str
    node: _Definition
    owner: ast.ClassDef | None


def public(place: str, module: ast.Module) -> Iterator[Public]:
    """What a module defines without an underscore, in classes too and in the branches of an ``if``."""

    def within(parent: ast.AST, owner: ast.ClassDef | None, before: str) -> Iterator[Public]:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, _Definition) and not node.name.startswith("_"):
                yield Public(place, before + node.name, node, owner)
                if isinstance(node, ast.ClassDef):
                    yield from within(node, node, f"{before}{node.name}.")
            elif isinstance(node, ast.If | ast.Try):
                yield from within(node, owner, before)

    yield from within(module, None, "")


def undocumented(found: list[Public], bases: dict[str, ast.ClassDef]) -> Iterator[str]:
    """What has no docstring, neither its own nor that of the method that it overrides."""
    for one in found:
        if ast.get_docstring(one.node) is None and not _inherits(one.node.name, one.owner, bases):
            yield f"{one.place}:{one.name}"


def _inherits(method: str, owner: ast.ClassDef | None, bases: dict[str, ast.ClassDef]) -> bool:
    for base in owner.bases if owner is not None else ():
        above = bases.get(ast.unparse(base).partition("[")[0])
        if above is None:
            continue
        for node in above.body:
            if isinstance(node, _Definition) and node.name == method and ast.get_docstring(node):
                return True
        if _inherits(method, above, bases):
            return True
    return False


def shapeless(found: list[Public]) -> Iterator[str]:
    """Functions with arrays whose docstring names no shape."""
    for one in found:
        if not isinstance(one.node, ast.ClassDef) and has_arrays(one.node):
            told = ast.get_docstring(one.node)
            if told is not None and not names_a_shape(told):
                yield f"{one.place}:{one.name}"


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    """Every module of the project, parsed."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for package in ("sdk", "device_agent")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@pytest.fixture(scope="module")
def everything(modules: dict[str, ast.Module]) -> list[Public]:
    return [one for place, module in modules.items() for one in public(place, module)]


def test_every_public_function_and_class_says_what_it_does(
    modules: dict[str, ast.Module], everything: list[Public]
):
    shown = [one for one in everything if not one.place.startswith(COMMANDS)]
    nodes = (node for module in modules.values() for node in ast.walk(module))
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    assert list(undocumented(shown, classes)) == []


def test_every_public_function_with_arrays_names_their_shapes(everything: list[Public]):
    with_arrays = [
        one for one in everything if not isinstance(one.node, ast.ClassDef) and has_arrays(one.node)
    ]
    assert len(with_arrays) > 100  # they are found at all
    assert list(shapeless(everything)) == []


def test_every_module_says_what_is_in_it(modules: dict[str, ast.Module]):
    silent = [
        place
        for place, module in modules.items()
        if (ROOT / place).stat().st_size and not ast.get_docstring(module)
    ]
    assert silent == []


@pytest.mark.parametrize(
    "told",
    [
        "Images (n, height, width, 3), float32.",
        "One per row, (n,).",
        "Like (bytes + 1,) int64.",
        "A weight (out, h, w, in / groups).",
        "Scores (n, ...) of a batch.",
        "Real values of any shape.",
        "float32 of the same shape.",
    ],
)
def test_a_shape_is_seen(told: str):
    assert names_a_shape(told)


@pytest.mark.parametrize(
    "told",
    [
        "The array.",
        "By package-merge (Larmore and Hirschberg, 1990).",
        "Layers (1x1, other convolutions but the first).",
        "A pair (token, extra bits).",
        "From -1 to 1 (see below).",
        "What is shaped so; the shape is checked.",
    ],
)
def test_other_parentheses_are_no_shape(told: str):
    assert not names_a_shape(told)


def test_what_is_missing_is_found():
    source = '''
class Base:
    """A base."""

    def told(self): "Says it."
    def not_told(self): pass

class Below(Base):
    """Below it."""

    def told(self): pass
    def not_told(self): pass
    def _private(self): pass

def plain(x: "np.ndarray") -> int:
    """The sum."""

def shaped(x: "np.ndarray") -> int:
    """The sum of x (n,)."""
'''
    found = list(public("m.py", ast.parse(source)))
    classes = {one.node.name: one.node for one in found if isinstance(one.node, ast.ClassDef)}
    assert list(undocumented(found, classes)) == ["m.py:Base.not_told", "m.py:Below.not_told"]
    assert list(shapeless(found)) == ["m.py:plain"]
