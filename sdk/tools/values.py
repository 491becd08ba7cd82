"""Text of a command line -> values of options. Each raises ArgumentTypeError, which says what was expected.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TypeVar

_Number = TypeVar("_Number", int, float)

#: Unit -> seconds; the longer ones first where one is the end of another.
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def whole(text: str) -> int:
    """A whole number."""
    return _number(int, text, "a whole number")


def number(text: str) -> float:
    """A finite number."""
    value = _number(float, text, "a number")
    if not isfinite(value):
        raise ArgumentTypeError(f"expected a finite number, found {text!r}")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = _number(int, text, "a whole number of at least 1")
    if value < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return value


def count(text: str) -> int:
    """A whole number of at least 0."""
    value = _number(int, text, "a whole number of at least 0")
    if value < 0:
        raise ArgumentTypeError(f"expected a whole number of at least 0, found {text!r}")
    return value


def counts(text: str) -> tuple[int | str, ...]:
    """``1,all`` as (1, "all")."""
    try:
        return tuple(dict.fromkeys(part if part == "all" else positive(part) for part in text.split(",")))
    except ArgumentTypeError:
        raise ArgumentTypeError(f"expected numbers of threads such as 1,4,all, found {text!r}") from None


def shares(text: str) -> tuple[float, ...]:
    """``0.7,80%`` as (0.7, 0.8), each above 0 and below 1; ``none`` as ()."""
    if text == "none":
        return ()
    found = tuple(dict.fromkeys(share(part) for part in text.split(",")))
    if not all(0 < value < 1 for value in found):
        raise ArgumentTypeError(f"expected shares above 0 and below 1 such as 0.7,0.8, or none, found {text}")
    return found


def words(text: str) -> tuple[str, ...]:
    """``a,b`` as ("a", "b")."""
    return tuple(text.split(","))


def share(text: str) -> float:
    """``5%`` or ``0.05`` as 0.05; from 0 to 1."""
    expected = "a share such as 5% or 0.05"
    value = _number(float, text.removesuffix("%"), expected) / (100.0 if text.endswith("%") else 1.0)
    if not 0 <= value <= 1:
        meant = f"; did you mean {text}%?" if 1 < value <= 100 and not text.endswith("%") else ""
        raise ArgumentTypeError(f"expected {expected}, found {text!r}{meant}")
    return value


def price(text: str) -> float:
    """Nats per bit, from 0 to below 1."""
    value = _number(float, text, "nats per bit, such as 3e-8")
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"expected nats per bit, from 0 to below 1, found {text!r}")
    return value


def seconds(text: str) -> float:
    """Seconds, above 0 and below a day."""
    value = _number(float, text, "seconds")
    if not 0 < value < 86400:
        raise ArgumentTypeError(f"expected seconds above 0 and below a day, found {text!r}")
    return value


def byte_count(text: str) -> int:
    """``500KB`` as 500000 bytes; K, M and G are powers of 1000."""
    number = text.strip().upper().removesuffix("B").strip()
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(number[-1:], 1)
    try:
        size = int(float(number.rstrip("KMG")) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise ArgumentTypeError(f"expected a size such as 500KB or 1.8MB, found {text!r}")
    return size


def amount(text: str) -> int:
    """``250M`` as 250000000; K, M and G are powers of 1000."""
    number = text.strip().upper()
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(number[-1:], 1)
    try:
        found = int(float(number.rstrip("KMG")) * factor)
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise ArgumentTypeError(f"expected a number such as 250M or 1.2G, found {text!r}")
    return found


def duration(text: str) -> float:
    """``20ms`` as 0.02 seconds; us, ms, s, m and h, or no unit for seconds."""
    expected = "a time such as 20ms, 30s or 5m"
    value = _number(float, text, expected, UNITS)
    if not 0 < value < 86400:
        raise ArgumentTypeError(f"expected {expected}, above 0 and below a day, found {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """``480x640`` as (480, 640), height and width; ``224`` as (224, 224)."""
    sides = shape(text)
    if len(sides) > 2:
        raise ArgumentTypeError(f"expected a size such as 224 or 480x640, found {text!r}")
    return sides[0], sides[-1]


def input_shape(text: str) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
    """``224x224x3`` as (224, 224, 3); ``a=1x32,b=1x8`` as shapes by name."""
    if "=" not in text:
        return shape(text)
    shapes = {}
    for one in text.split(","):
        name, _, sizes = one.rpartition("=")
        if not name or name in shapes:
            raise ArgumentTypeError(
                f"expected a name and a shape for each input, as a=1x32,b=1x8, found {text!r}"
            )
        shapes[name] = shape(sizes)
    return shapes


def shape(text: str) -> tuple[int, ...]:
    """``224x224x3`` as (224, 224, 3), each at least 1."""
    try:
        sides = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        sides = ()
    if not sides or min(sides) < 1:
        raise ArgumentTypeError(f"expected sizes such as 224x224x3, found {text!r}")
    return sides


def _number(
    kind: Callable[[str], _Number], text: str, expected: str, units: Mapping[str, float] | None = None
) -> _Number:
    unit = next((unit for unit in units or {} if text.endswith(unit)), "")
    try:
        value = kind(text[: len(text) - len(unit)])
    except ValueError:
        raise ArgumentTypeError(f"expected {expected}, found {text!r}") from None
    return value * units[unit] if units and unit else value  # type: ignore[return-value]


def version(text: str) -> str:
    """A version such as ``2.14.0``: digits, then letters, digits, dots and pluses."""
    if not re.fullmatch(r"[0-9][A-Za-z0-9.+]{0,39}", text):
        raise ArgumentTypeError(f"expected a version such as 2.14.0, found {text[:40]!r}")
    return text
