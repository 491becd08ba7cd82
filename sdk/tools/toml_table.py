"""Tables of the user's TOML files, read strictly: what is not known, or of the wrong type, is one clear error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sdk.errors import ArmletError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def read_table(
    text: str, origin: str, error: type[ArmletError], *, hints: Mapping[str, str] | None = None
) -> TomlTable:
    """The top of a TOML file, which errors call ``origin``. Raises ``error``.

    ``hints``: what to say of keys that people write where they do not belong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise error(f"{origin} is not TOML", expected="a TOML file", found=str(wrong)) from None
    return TomlTable(raw, origin, error, hints or {})


class TomlTable:
    """A table that is read key by key; :meth:`finish` refuses whatever was not asked for."""

    def __init__(
        self, raw: Mapping[str, Any], where: str, error: type[ArmletError], hints: Mapping[str, str]
    ) -> None:
        self._raw = dict(raw)
        self._known: set[str] = set()
        self._error = error
        self._hints = hints
        self.where = where

    def wrong(self, key: str, expected: str, found: object, hint: str | None = None) -> ArmletError:
        return self._error(f"{self.where}: {key}", expected=expected, found=_show(found), hint=hint)

    def has(self, key: str) -> bool:
        self._known.add(key)
        return key in self._raw

    def take(self, key: str, expected: str) -> Any:
        if not self.has(key):
            raise self.wrong(key, expected, "nothing")
        return self._raw[key]

    def text(self, key: str, choices: tuple[str, ...] = ()) -> str:
        expected = f"one of {', '.join(choices)}" if choices else "a text"
        value = self.take(key, expected)
        if not isinstance(value, str) or not value.strip() or (choices and value not in choices):
            raise self.wrong(key, expected, value)
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def texts(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        value = self.take(key, "a list of texts") if self.has(key) else []
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self.wrong(key, "a list of texts", value)
        for item in value:
            if pattern and not pattern.fullmatch(item):
                raise self.wrong(key, f"texts like {pattern.pattern}", item)
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.take(key, "true or false") if self.has(key) else False
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def number(self, key: str) -> float:
        value = self.take(key, "a number above 0")
        # bool is an int in Python; nan and inf are floats in TOML.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise self.wrong(key, "a number above 0", value)
        return float(value)

    def count(self, key: str) -> int:
        value = self.take(key, "a whole number above 0")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "a whole number above 0", value)
        return value

    def table(self, key: str) -> TomlTable:
        value = self.take(key, "a table")
        if not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return TomlTable(value, f"{self.where}: {key}", self._error, self._hints)

    def tables(self, key: str) -> Iterator[TomlTable]:
        value = self.take(key, f"a list of tables, [[{key}]]") if self.has(key) else []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, f"a list of tables, [[{key}]]", value)
        for number, item in enumerate(value, start=1):
            yield TomlTable(item, f"{self.where}: {key} {number}", self._error, self._hints)

    def names(self) -> tuple[str, ...]:
        return tuple(self._raw)

    def finish(self) -> None:
        for key, value in self._raw.items():
            if key not in self._known:
                known = ", ".join(sorted(self._known))
                raise self.wrong(key, f"only {known}", value, self._hints.get(key))


def _show(value: object) -> str:
    text = value if value == "nothing" else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
