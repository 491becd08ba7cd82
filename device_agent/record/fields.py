"""Checks of single fields of a record that came as JSON from somewhere that is not trusted. Pure.

A check takes a parsed JSON value and returns it in its type, or raises :class:`Refused` with what was expected.
:func:`check_record` applies a table of them, and turns the first refusal into one named error.
"""

from __future__ import annotations

import math
import re
from typing import Any, Callable, Mapping

from device_agent.errors import ArmletError

#: No single time may be longer than this many seconds (a day).
MAX_SECONDS = 86_400.0
#: No text field may be longer than this many characters.
MAX_TEXT = 256

Check = Callable[[Any], Any]


class Refused(Exception):
    """A value is not what its field takes; the text says what was expected."""


def check_record(
    record: Any, *, what: str, schema: str, checks: Mapping[str, Check], error: type[ArmletError]
) -> dict[str, Any]:
    """The values of ``record`` that ``checks`` names, each checked. ``what`` is the record's name with its article.

    Raises ``error`` that names the first field that is wrong. Unknown fields are refused too: a newer writer must
    say so with a new schema.
    """
    if not isinstance(record, Mapping):
        raise error(f"{what} is not an object", expected="a JSON object", found=kind_of(record))
    if record.get("schema") != schema:
        raise error(
            f"{what} has a schema that is not read here",
            expected=schema,
            found=repr(record.get("schema"))[:80],
        )
    unknown = sorted(str(name)[:40] for name in set(record) - set(checks) - {"schema"})
    if unknown:
        raise error(f"{what} has unknown fields", expected=schema, found=", ".join(unknown[:5]))
    values = {}
    for name, check in checks.items():
        if name not in record:
            raise error(f"{what} lacks a field", expected=name, found="nothing")
        try:
            values[name] = check(record[name])
        except Refused as refused:
            raise error(
                f"the field {name} of {what} is not acceptable",
                expected=str(refused),
                found=kind_of(record[name]),
            ) from None
    return values


def kind_of(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused("a number")
    # int() of a huge literal stays exact, so compare before float() could overflow.
    if not low <= value <= high or not math.isfinite(value):
        raise Refused(f"a number from {low:g} to {high:g}")
    return float(value)


def seconds(value: Any) -> float:
    return number(value, 0.0, MAX_SECONDS)


def integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused(f"a whole number from {low} to {high}")
    return value


def text(value: Any) -> str:
    # Printable, so that a terminal which shows it cannot be driven by escape sequences.
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise Refused(f"printable text of at most {MAX_TEXT} characters")
    return value


def sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise Refused("64 lower-case hexadecimal digits")
    return value


def one_of(*allowed: str) -> Any:
    def check(value: Any) -> str:
        if value not in allowed:
            raise Refused("one of " + ", ".join(allowed))
        return str(value)

    return check


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused("true or false")
    return value


def optional(check: Any) -> Any:
    return lambda value: None if value is None else check(value)


def list_of(check: Any, most: int) -> Any:
    def check_all(value: Any) -> tuple:
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise Refused(f"a list of at most {most}")
        return tuple(check(item) for item in value)

    return check_all
