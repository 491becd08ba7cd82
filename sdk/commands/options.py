"""A command's arguments, made of the request record of its verb (:mod:`sdk.tools.option`), and back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TypeVar

from sdk.tools.option import Option, options_of

_Request = TypeVar("_Request")


def add_options(parser: argparse.ArgumentParser, request: type) -> dict[str, Any]:
    """An argument for every option of the record, in the groups that it names. Returns these."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, said in options_of(request).items():
        within: Any = parser
        if said.group:
            if said.group not in groups:
                groups[said.group] = parser.add_argument_group(said.group)
            within = groups[said.group]
        _add(within, name, said)
    return groups


def request(kind: type[_Request], namespace: argparse.Namespace, **more: Any) -> _Request:
    """The record of what was parsed; ``more`` replaces or completes it."""
    given = {}
    for name, said in options_of(kind).items():
        value = getattr(namespace, name)
        given[name] = said.choices[value] if isinstance(said.choices, Mapping) else value
    return kind(**{**given, **more})


def _add(within: Any, name: str, said: Option) -> None:
    flags = said.flags or ("--" + name.replace("_", "-"),)
    if isinstance(said.default, bool) and not isinstance(said.choices, Mapping):
        action = "store_false" if said.default else "store_true"
        within.add_argument(*flags, dest=name, action=action, help=said.help)
        return
    choices, default = said.choices, said.default
    if isinstance(choices, Mapping):
        (default,) = [word for word, value in choices.items() if value == said.default]
        choices = tuple(choices)
    arguments: dict[str, Any] = {"type": said.parse, "choices": choices, "metavar": said.metavar}
    within.add_argument(
        *flags,
        dest=name,
        default=default,
        required=said.required,
        help=said.help,
        **{key: value for key, value in arguments.items() if value is not None},
    )
