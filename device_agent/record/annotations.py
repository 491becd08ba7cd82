"""From a field's annotation to the kind of its value: ``tuple[Seconds, ...] | None`` is parsed, never evaluated.

Python 3.8 cannot evaluate what newer ones write in annotations, so only the names in them are looked up, in the module
that holds the record. There a name stands for a kind (:mod:`device_agent.record.kinds`), for int, float, bool, str
or Any, or for another record.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections import ChainMap
from typing import Any, Callable, Mapping

from device_agent.record.kinds import (
    Boolean,
    Choice,
    Fixed,
    Integer,
    Kind,
    Many,
    Maybe,
    Number,
    TableKind,
    Text,
)

_BUILT_IN: Mapping[str, Kind] = {
    "int": Integer(),
    "float": Number(),
    "bool": Boolean(),
    "str": Text(),
    "Any": Kind(),
    "object": Kind(),
}


def kinds_of(cls: type, of_record: Callable[[type], Kind]) -> dict[str, Kind]:
    """The kind of every field of a dataclass, by name. ``of_record`` makes that of a record within.

    Raises TypeError for an annotation that no record can have, which is a mistake of the program.
    """
    names = ChainMap(*(vars(inspect.getmodule(base)) for base in cls.__mro__))
    parser = _Parser(names, of_record)
    kinds = {}
    for field in dataclasses.fields(cls):
        try:
            kind = parser.kind(ast.parse(str(field.type), mode="eval").body)
        except (TypeError, SyntaxError) as error:
            raise TypeError(f"{cls.__name__}.{field.name}: {error}") from None
        limits = field.metadata.get("limits")
        kinds[field.name] = kind.limited(**limits) if limits else kind
    return kinds


class _Parser:
    def __init__(self, names: Mapping[str, Any], of_record: Callable[[type], Kind]) -> None:
        self._names = names
        self._of_record = of_record

    def kind(self, node: Any) -> Kind:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [node.left, node.right]
            others = [side for side in sides if not (isinstance(side, ast.Constant) and side.value is None)]
            if len(others) == 1:
                return Maybe(self.kind(others[0]))
            raise TypeError("only unions with None are read")
        if isinstance(node, ast.Subscript):
            return self._subscript(_name(node.value), _arguments(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.kind(ast.parse(node.value, mode="eval").body)
        return self._named(_name(node))

    def _subscript(self, name: str, arguments: list[Any]) -> Kind:
        if name == "Literal":
            return Choice(tuple(ast.literal_eval(argument) for argument in arguments))
        if name in ("Mapping", "dict"):
            return TableKind(self.kind(arguments[0]), self.kind(arguments[1]))
        if name == "Sequence" or (name == "tuple" and _is_ellipsis(arguments[-1])):
            return Many(self.kind(arguments[0]))
        if name == "tuple":
            return Fixed(tuple(self.kind(argument) for argument in arguments))
        raise TypeError(f"{name}[...] is not read")

    def _named(self, name: str) -> Kind:
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        found: Any = self._names
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
        if isinstance(found, Kind):
            return found
        if dataclasses.is_dataclass(found) and isinstance(found, type):
            return self._of_record(found)
        raise TypeError(f"{name} is not a kind, not a record, or not imported at run time")


def _name(node: Any) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    raise TypeError(f"{ast.dump(node)[:60]} is not read")


def _arguments(node: ast.Subscript) -> list[Any]:
    inside: Any = node.slice
    if type(inside).__name__ == "Index":  # before Python 3.9
        inside = inside.value
    return list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]


def _is_ellipsis(node: Any) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...
