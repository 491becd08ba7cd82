"""Options of a verb, each written once: as a field of the verb's request record.

    @dataclass(frozen=True, kw_only=True)
    class Compress:
        epochs: int = option(30, help="epochs of training, at most (default: {default})", parse=positive)

The Python function takes the fields as keywords; :mod:`sdk.commands.options` makes the command's arguments of them.
Type checkers know the keywords from :mod:`sdk.api.keywords`, which is made of the records.
Nothing heavy is imported here, because `sdk --help` reads the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, TypeVar

_KEY = "option"
_PART = "part"
_Request = TypeVar("_Request")


@dataclass(frozen=True)
class Option:
    """How a field is said on a command line.

    ``flags``: empty for ``--the-fields-name``. ``parse``: text -> value; raises ValueError or ArgumentTypeError.
    ``choices``: the words that are allowed, as a mapping where they stand for other values. ``default``: on the
    command line. ``rare``: the daily help leaves it out.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    choices: Sequence[str | int] | Mapping[str, Any] | None = None
    parse: Callable[[str], Any] | None = None
    group: str = ""
    default: Any = None
    required: bool = False
    rare: bool = False


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
    rare: bool = False,
) -> Any:
    """A field with that default; without one it must be given. ``{default}`` in ``help`` is the default in words.

    ``on_command_line``: the default of the command line, where it is not that of the Python function. None lets the
    command tell whether the option was given; if it was not, the default of the Python function holds.
    """
    shown = default if on_command_line is MISSING else on_command_line
    said = Option(
        help=help.replace("{default}", _words(default if shown is None else shown)),
        flags=(flag,) if isinstance(flag, str) else flag,
        metavar=metavar,
        choices=choices,
        parse=parse,
        group=group,
        default=None if shown is MISSING else shown,
        required=shown is MISSING,
        rare=rare,
    )
    return field(default=default, metadata={_KEY: said})


def same(request: type, name: str, **changes: Any) -> Any:
    """An option of another record once more, with other words where ``changes`` (fields of Option) say so."""
    (found,) = [entry for entry in fields(request) if entry.name == name]
    return field(default=found.default, metadata={_KEY: replace(found.metadata[_KEY], **changes)})


def part(request: type) -> Any:
    """A field that is a record of options itself, without any given by default; a command line takes its options."""
    return field(default=request(), metadata={_PART: request})


def options_of(request: type) -> dict[str, Option]:
    """Field -> how it is said, in order, those of parts in their place; what no command takes is not among them."""
    found: dict[str, Option] = {}
    for entry in fields(request):
        if _KEY in entry.metadata:
            found[entry.name] = entry.metadata[_KEY]
        elif _PART in entry.metadata:
            found.update(options_of(entry.metadata[_PART]))
    return found


def parts_of(request: type) -> dict[str, type]:
    """Field -> the record of options that it holds, of those made with :func:`part`."""
    return {entry.name: entry.metadata[_PART] for entry in fields(request) if _PART in entry.metadata}


def flags_of(name: str, said: Option) -> tuple[str, ...]:
    """The flags of an option, such as ("--max-loss",)."""
    return said.flags or ("--" + name.replace("_", "-"),)


def build(request: type[_Request], given: Mapping[str, Any], *, function: str) -> _Request:
    """The record of keywords. Raises TypeError in the name of ``function``, naming what was probably meant."""
    known = {entry.name: entry for entry in fields(request)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise TypeError(
                f"{function}() got an unexpected keyword argument {name!r}; {_meant(request, name)}"
            )
    missing = [
        name
        for name, entry in known.items()
        if entry.default is MISSING and entry.default_factory is MISSING and name not in given
    ]
    if missing:
        raise TypeError(f"{function}() needs the keyword argument {missing[0]!r}")
    return request(**given)


def _meant(request: type, name: str) -> str:
    """The keyword that was probably meant, also one of a part or one that the command line says otherwise."""
    from difflib import get_close_matches

    meant = {entry.name: repr(entry.name) for entry in fields(request)}
    for holder, kind in [("", request), *parts_of(request).items()]:
        for entry in fields(kind):
            as_said = repr(entry.name) if not holder else f"{holder}={kind.__name__}({entry.name}=...)"
            meant.setdefault(entry.name, as_said)
            for flag in entry.metadata[_KEY].flags if _KEY in entry.metadata else ():
                if flag.startswith("--"):
                    meant.setdefault(flag.lstrip("-").replace("-", "_"), as_said)
    close = get_close_matches(name, meant, n=1)
    if close:
        return f"did you mean {meant[close[0]]}?"
    return f"it takes {', '.join(entry.name for entry in fields(request))}"


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("%", "%%")
