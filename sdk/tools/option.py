"""Options of a verb, each written once: as a field of the verb's request record.

    @dataclass(frozen=True, kw_only=True)
    class Compress:
        epochs: int = option(30, help="of training, at most (default: {default})", parse=positive)

The Python function takes the fields as keywords; :mod:`sdk.commands.options` makes the command's arguments of them.
Nothing heavy is imported here, because `sdk --help` reads the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

_KEY = "option"
_Request = TypeVar("_Request")


@dataclass(frozen=True)
class Option:
    """How a field is said on a command line.

    ``flags``: empty for ``--the-fields-name``. ``parse``: text -> value; raises ValueError or ArgumentTypeError.
    ``choices``: the words that are allowed, as a mapping where they stand for other values. ``default``: on the
    command line.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    choices: Sequence[str | int] | Mapping[str, Any] | None = None
    parse: Callable[[str], Any] | None = None
    group: str = ""
    default: Any = None
    required: bool = False


def option(
    default: Any = MISSING,
    *,
    help: str,
    flag: str | tuple[str, ...] = (),
    metavar: str | None = None,
    choices: Sequence[str | int] | Mapping[str, Any] | None = None,
    parse: Callable[[str], Any] | None = None,
    group: str = "",
    on_command_line: Any = MISSING,
) -> Any:
    """A field with that default; without one it must be given. ``{default}`` in ``help`` is the default in words.

    ``on_command_line``: the default there, where it is another than that of the Python function.
    """
    shown = default if on_command_line is MISSING else on_command_line
    said = Option(
        help=help.replace("{default}", _words(shown)),
        flags=(flag,) if isinstance(flag, str) else flag,
        metavar=metavar,
        choices=choices,
        parse=parse,
        group=group,
        default=None if shown is MISSING else shown,
        required=shown is MISSING,
    )
    return field(default=default, metadata={_KEY: said})


def options_of(request: type) -> dict[str, Option]:
    """Field -> how it is said, in order; fields that no command takes are not among them."""
    return {entry.name: entry.metadata[_KEY] for entry in fields(request) if _KEY in entry.metadata}


def build(request: type[_Request], given: Mapping[str, Any], *, function: str) -> _Request:
    """The record of keywords. Raises TypeError in the name of ``function``, naming what was probably meant."""
    known = {entry.name: entry for entry in fields(request)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{meant}")
    missing = [
        name
        for name, entry in known.items()
        if entry.default is MISSING and entry.default_factory is MISSING and name not in given
    ]
    if missing:
        raise TypeError(f"{function}() needs the keyword argument {missing[0]!r}")
    return request(**given)


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
