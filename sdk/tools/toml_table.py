"""The user's TOML files, read strictly as records: what is unknown, missing or of another type is one clear error.

The schema of a file is a dataclass with annotations (:mod:`device_agent.record.schema`). An error says which file,
which table and key, what was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from device_agent.record.kinds import Many, Number, Text, ValueRefused
from device_agent.record.schema import record_kind
from device_agent.record.visible import visible
from sdk.errors import ArmletError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

T = TypeVar("T")

if TYPE_CHECKING:
    Words = str
    WordList = tuple[str, ...]
    Above0 = float
else:
    #: What a person writes: at least one character that is not blank, several lines if need be.
    Words = Text(4096, 1, words="a text", lines=True)
    WordList = Many(Words, words="a list of texts")
    Above0 = Number(0.0, low_excluded=True)


def read_toml(
    cls: type[T],
    text: str,
    origin: str,
    error: type[ArmletError],
    *,
    hints: Mapping[str, str] | None = None,
) -> T:
    """The record that a TOML file holds; errors call the file ``origin``. Raises ``error``.

    ``hints``: what to say about keys that people write in the wrong place.
    """
    return read_table(cls, parse_toml(text, origin, error), origin, error, hints=hints)


def parse_toml(text: str, origin: str, error: type[ArmletError]) -> dict[str, Any]:
    """The top table of a TOML file. Raises ``error``."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:  # of numbers and nesting without end, too
        found = str(wrong)[:200]
        raise error(f"{origin} is not TOML", expected="a TOML file", found=found) from None


def read_table(
    cls: type[T],
    table: Mapping[str, Any],
    origin: str,
    error: type[ArmletError],
    *,
    hints: Mapping[str, str] | None = None,
) -> T:
    """The record that one table holds, as :func:`read_toml`."""
    try:
        return cast(T, record_kind(cls).read(table))
    except ValueRefused as refused:
        raise told(refused, origin, error, hints or {}) from None


def told(
    refused: ValueRefused, origin: str, error: type[ArmletError], hints: Mapping[str, str]
) -> ArmletError:
    """What the author of a file is told: where it is, as ``boards.toml: clusters 1: clock_ghz``."""
    expected = refused.expected
    if refused.problem == "object" or expected.startswith("an object"):
        expected = "a table"
    found = refused.found.replace("an object of", "a table of")
    hint = hints.get(str(refused.path[-1])) if refused.problem == "unknown" and refused.path else None
    return error(where(origin, refused.path), expected=expected, found=found, hint=hint)


def where(origin: str, path: Sequence[str | int]) -> str:
    """``boards.toml: clusters 1: clock_ghz``: tables of a list are counted from 1."""
    text = origin
    for place in path:
        text += f" {place + 1}" if isinstance(place, int) else f": {visible(place, most=80)}"
    return text
