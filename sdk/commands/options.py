"""A command's arguments, made of the request record of its verb (:mod:`sdk.tools.option`), and back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from sdk.commands.parser import mark_rare
from sdk.tools.option import Option, flags_of, options_of, parts_of

_Request = TypeVar("_Request")


def add_options(parser: argparse.ArgumentParser, *records: type) -> dict[str, Any]:
    """An argument for every option of the records, in the groups that these name. Returns the groups.

    An option that two records share is one argument.
    """
    groups: dict[str, Any] = {}
    seen: dict[str, Option] = {}
    for name, said in [found for record in records for found in options_of(record).items()]:
        if name in seen:
            if seen[name] != said:
                raise TypeError(f"two options are called {name}, and differ")
            continue
        seen[name] = said
        within: Any = parser
        if said.group:
            if said.group not in groups:
                groups[said.group] = parser.add_argument_group(said.group)
            within = groups[said.group]
        _add(within, name, said)
    return groups


def keywords(kind: type, namespace: argparse.Namespace) -> dict[str, Any]:
    """Field -> value of what was parsed. Options that the command does not take, or leaves open, are not there."""
    given: dict[str, Any] = {}
    for entry in fields(kind):
        said = options_of(kind).get(entry.name)
        if entry.name in parts_of(kind):
            given[entry.name] = request(parts_of(kind)[entry.name], namespace)
        elif said is not None and hasattr(namespace, entry.name):
            value = getattr(namespace, entry.name)
            if value is None and entry.default not in (None, MISSING):
                continue
            given[entry.name] = said.choices[value] if isinstance(said.choices, Mapping) else value
    return given


def request(kind: type[_Request], namespace: argparse.Namespace, **more: Any) -> _Request:
    """The record of what was parsed; ``more`` replaces or completes it."""
    return kind(**{**keywords(kind, namespace), **more})


def _add(within: Any, name: str, said: Option) -> None:
    flags = flags_of(name, said)
    if isinstance(said.default, bool) and not isinstance(said.choices, Mapping):
        action = "store_false" if said.default else "store_true"
        argument = within.add_argument(*flags, dest=name, action=action, help=said.help)
        if said.rare:
            mark_rare(argument)
        return
    choices, default = said.choices, said.default
    if isinstance(choices, Mapping):
        (default,) = [word for word, value in choices.items() if value == said.default]
        choices = tuple(choices)
    arguments: dict[str, Any] = {"type": said.parse, "choices": choices, "metavar": said.metavar}
    argument = within.add_argument(
        *flags,
        dest=name,
        default=default,
        required=said.required,
        help=said.help,
        **{key: value for key, value in arguments.items() if value is not None},
    )
    if said.rare:
        mark_rare(argument)
