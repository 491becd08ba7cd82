"""The kinds of values in records. A kind reads a parsed JSON or TOML value, and writes it back. Pure.

Every kind has limits: a number its range, a text its length and no control characters, a list its number of items. A
value beyond its limits raises :class:`ValueRefused`, with the path that leads to it.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from device_agent.record.visible import visible

#: Whole numbers end below this, floats somewhere below what a double can hold.
MAX_COUNT = (1 << 62) - 1
MAX_NUMBER = 1e18
#: Characters of a text, and items of a list or table, where a record does not say otherwise.
MAX_TEXT = 256
MAX_ITEMS = 65_536

_SHOWN = 60


class ValueRefused(Exception):
    """A value is not what its place takes: what was ``expected`` and ``found`` there.

    ``path`` leads there: names of fields and numbers of items. ``problem`` is "wrong", "missing", "unknown", "object"
    (where the value is none), "schema", "version", or "derived" (a figure that does not follow from the others).
    """

    def __init__(self, expected: str, found: str, problem: str = "wrong") -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found
        self.problem = problem
        self.path: list[str | int] = []

    def at(self, *places: str | int) -> ValueRefused:
        """The same, seen from one level further out."""
        self.path[:0] = places
        return self


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _SHOWN
        self.maxlevel = self.maxdict = self.maxlist = self.maxtuple = 3

    def repr_int(self, number: int, level: int) -> str:
        # Python itself refuses to print more than 4,300 digits.
        return repr(number) if number.bit_length() < 200 else f"a number of {number.bit_length()} bits"


def shown(value: Any) -> str:
    """A value for a message: as much of it as fits, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)) and len(value) > 3:
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)}"
    text = _Shown().repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


@dataclass(frozen=True)
class Kind:
    """Takes any value as it is."""

    @property
    def expected(self) -> str:
        """In words, for messages."""
        return "a value"

    def read(self, value: Any) -> Any:
        """The value in its type. Raises :class:`ValueRefused`."""
        return value

    def write(self, value: Any) -> Any:
        """What :meth:`read` reads, JSON-ready."""
        return value

    def read_many(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Each of them."""
        read, done = self.read, []
        try:
            for value in values:
                done.append(read(value))
        except ValueRefused as refused:
            raise refused.at(len(done)) from None
        return tuple(done)

    def limited(self, **limits: Any) -> Kind:
        """The same kind with other limits."""
        return dataclasses.replace(self, **limits)


@dataclass(frozen=True)
class Number(Kind):
    """A float from ``low`` to ``high``, or above ``low`` where ``low_excluded``; a whole number counts as one."""

    low: float = -MAX_NUMBER
    high: float = MAX_NUMBER
    low_excluded: bool = False
    high_excluded: bool = False
    words: str = ""

    @property
    def expected(self) -> str:
        if self.words:
            return self.words
        if self.low_excluded:
            return f"a number above {self.low:g}" + (
                f" and below {self.high:g}" if self.high_excluded else ""
            )
        return f"a number from {self.low:g} to {self.high:g}"

    def read(self, value: Any) -> float:
        # An int is compared before it becomes a float, which may overflow. A bool is an int in Python.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self._holds(value):
            raise ValueRefused(self.expected, shown(value))
        return float(value)

    def _holds(self, value: float) -> bool:
        """Not true of nan."""
        above = self.low < value if self.low_excluded else self.low <= value
        return above and (value < self.high if self.high_excluded else value <= self.high)

    def read_many(self, values: Sequence[Any]) -> tuple[float, ...]:
        # A million samples are looked at as a whole. Least and greatest mean nothing among nan, which a sum shows.
        are_numbers = set(map(type, values)) == {float} and math.isfinite(sum(values))
        if are_numbers and self._holds(min(values)) and self._holds(max(values)):
            return tuple(values)
        return super().read_many(values)


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number from ``low`` to ``high``; 3.0 is none, nor is true."""

    low: int = 0
    high: int = MAX_COUNT
    words: str = ""

    @property
    def expected(self) -> str:
        if self.words:
            return self.words
        if self.high == MAX_COUNT:
            return f"a whole number from {self.low}"
        return f"a whole number from {self.low} to {self.high}"

    def read(self, value: Any) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueRefused(self.expected, shown(value))
        return value


@dataclass(frozen=True)
class Boolean(Kind):
    """true or false; neither "false" nor 0."""

    @property
    def expected(self) -> str:
        return "true or false"

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueRefused(self.expected, shown(value))
        return value


@dataclass(frozen=True)
class Text(Kind):
    """Printable text of ``least`` to ``most`` characters, so that a terminal that shows it cannot be driven by it.

    ``pattern``: the whole text must match it. ``lines``: the text may have several. ``any_characters``: for text that
    is compared or opened, and passes another gate before it is shown.
    """

    most: int = MAX_TEXT
    least: int = 0
    pattern: str = ""
    words: str = ""
    lines: bool = False
    any_characters: bool = False

    @property
    def expected(self) -> str:
        return self.words or f"printable text of at most {self.most} characters"

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            raise ValueRefused(self.expected, shown(value))
        plain = value.replace("\n", "").replace("\t", "") if self.lines else value
        matches = not self.pattern or re.fullmatch(self.pattern, value)
        harmless = plain.isprintable() or self.any_characters
        if not matches or not harmless or len(value.strip()) < self.least:
            raise ValueRefused(self.expected, shown(value))
        return value

    def limited(self, **limits: Any) -> Kind:
        """``choices``: one of them, nothing else."""
        return Choice(tuple(limits["choices"])) if "choices" in limits else super().limited(**limits)


@dataclass(frozen=True)
class Words(Kind):
    """Text of strangers, for people to read: cut to ``most`` characters, control characters as escapes."""

    most: int = MAX_TEXT

    @property
    def expected(self) -> str:
        return "a text"

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueRefused(self.expected, shown(value))
        return visible(value, most=self.most)


@dataclass(frozen=True)
class Choice(Kind):
    """One of these texts."""

    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.choices)

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueRefused(self.expected, shown(value))
        return value


@dataclass(frozen=True)
class Maybe(Kind):
    """None, or what ``inner`` takes."""

    inner: Kind

    @property
    def expected(self) -> str:
        return self.inner.expected

    def read(self, value: Any) -> Any:
        return None if value is None else self.inner.read(value)

    def write(self, value: Any) -> Any:
        return None if value is None else self.inner.write(value)

    def limited(self, **limits: Any) -> Kind:
        return Maybe(self.inner.limited(**limits))


@dataclass(frozen=True)
class Many(Kind):
    """A list of ``least`` to ``most`` values of one kind; a tuple here."""

    inner: Kind
    least: int = 0
    most: int = MAX_ITEMS
    words: str = ""

    @property
    def expected(self) -> str:
        return self.words or f"a list of {f'{self.least} to' if self.least else 'at most'} {self.most}"

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not self.least <= len(value) <= self.most:
            raise ValueRefused(self.expected, shown(value))
        return self.inner.read_many(value)

    def write(self, value: Any) -> list[Any]:
        return list(value) if isinstance(self.inner, _PLAIN) else [self.inner.write(item) for item in value]


@dataclass(frozen=True)
class TextOfCount(Kind):
    """A whole number as the key of an object, where JSON has texts."""

    @property
    def expected(self) -> str:
        return "a whole number as text"

    def read(self, value: Any) -> int:
        return int(Text(9, 1, "[0-9]+", self.expected).read(value))

    def write(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True)
class Fixed(Kind):
    """A list with one value of each kind, in their order; a tuple here."""

    inner: tuple[Kind, ...]

    @property
    def expected(self) -> str:
        return f"a list of {len(self.inner)}: " + ", ".join(kind.expected for kind in self.inner)

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(self.inner):
            raise ValueRefused(self.expected, shown(value))
        done: list[Any] = []
        try:
            for kind, item in zip(self.inner, value):
                done.append(kind.read(item))
        except ValueRefused as refused:
            raise refused.at(len(done)) from None
        return tuple(done)

    def write(self, value: Any) -> list[Any]:
        return [kind.write(item) for kind, item in zip(self.inner, value)]


@dataclass(frozen=True)
class Named(Kind):
    """An object with these keys, a tuple here: ``{"stage": "pruned", "bytes": 7}`` is ("pruned", 7)."""

    inner: tuple[tuple[str, Kind], ...]

    @property
    def expected(self) -> str:
        return "an object of " + " and ".join(name for name, _ in self.inner)

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, Mapping) or set(value) != {name for name, _ in self.inner}:
            raise ValueRefused(self.expected, shown(value))
        done = []
        for name, kind in self.inner:
            try:
                done.append(kind.read(value[name]))
            except ValueRefused as refused:
                raise refused.at(name) from None
        return tuple(done)

    def write(self, value: Any) -> dict[str, Any]:
        return {name: kind.write(item) for (name, kind), item in zip(self.inner, value)}


@dataclass(frozen=True)
class TableKind(Kind):
    """An object whose keys are data. A dict here, or a tuple of (key, value) where ``as_pairs``."""

    key: Kind
    inner: Kind
    most: int = MAX_ITEMS
    as_pairs: bool = False

    @property
    def expected(self) -> str:
        return "an object" if self.most == MAX_ITEMS else f"an object of at most {self.most}"

    def read(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or len(value) > self.most:
            raise ValueRefused(self.expected, shown(value))
        done = {}
        for key, item in value.items():
            try:
                done[self.key.read(key)] = self.inner.read(item)
            except ValueRefused as refused:
                raise refused.at(str(key)) from None
        return tuple(done.items()) if self.as_pairs else done

    def write(self, value: Any) -> dict[str, Any]:
        return {self.key.write(key): self.inner.write(item) for key, item in dict(value).items()}


#: Kinds that write a value as it is.
_PLAIN = (Number, Integer, Boolean, Text, Words, Choice)
