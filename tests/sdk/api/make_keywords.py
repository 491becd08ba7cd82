"""Writes sdk/api/keywords.py from the request records: ``python -m tests.sdk.api.make_keywords``.

A record's fields become a TypedDict, because type checkers know ``**options`` of a function in that form alone. Fields
that must be given are left out: the function names them itself.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from inspect import getsource
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
TARGET = ROOT / "sdk" / "api" / "keywords.py"
#: Where the records are.
MODULES = (
    "sdk.deploy.target",
    "sdk.api.file_requests",
    "sdk.api.compress_request",
    "sdk.api.board_requests",
    "sdk.api.release_requests",
)
HEAD = '''"""The fields of the request records as keywords, so that type checkers refuse a misspelt one.

Made by ``python -m tests.sdk.api.make_keywords``; a test holds this file to the records. Do not edit it.
"""

from __future__ import annotations

'''


def records() -> Iterator[type]:
    """The records of :data:`MODULES`, in order."""
    for name in MODULES:
        for kind in vars(import_module(name)).values():
            if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == name:
                yield kind


def source() -> str:
    """What the file has to be."""
    imports: dict[str, set[str]] = {"typing": {"TypedDict"}}
    classes = []
    for kind in records():
        lines = [f"class {kind.__name__}Options(TypedDict, total=False):"]
        lines += [f'    """Of :class:`{kind.__module__}.{kind.__name__}`."""', ""]
        for entry in fields(kind):
            if entry.default is MISSING and entry.default_factory is MISSING:
                continue
            lines.append(f"    {entry.name}: {entry.type}")
            for name in _names(str(entry.type)):
                imports.setdefault(_home(name, _declared_by(kind, entry.name)), set()).add(name)
        if lines[-1]:
            classes.append("\n".join(lines) + "\n")
    said = [f"from {home} import {', '.join(sorted(names))}\n" for home, names in sorted(imports.items())]
    standard = [line for line in said if not line.startswith("from sdk.")]
    ours = [line for line in said if line.startswith("from sdk.")]
    return HEAD + "".join([*standard, "\n", *ours]) + "".join(f"\n\n{text}" for text in classes)


def _names(annotation: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(annotation)):
        if isinstance(node, ast.Name) and not hasattr(builtins, node.id):
            yield node.id


def _declared_by(kind: type, field: str) -> type:
    return next(base for base in kind.__mro__ if field in vars(base).get("__annotations__", {}))


def _home(name: str, kind: type) -> str:
    """The module that the record's own module has the name from."""
    module: Any = import_module(kind.__module__)
    for node in ast.walk(ast.parse(getsource(module))):
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return str(node.module)
    return kind.__module__


if __name__ == "__main__":
    TARGET.write_text(source(), encoding="utf-8")
