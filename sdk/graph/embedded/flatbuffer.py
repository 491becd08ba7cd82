"""Checked reads of a flatbuffer that nobody vouches for: integers, tables, vectors and texts, each inside the bytes.

A walk follows only what it asks for. Every offset is checked, and every list and text has a limit, so that hostile
bytes take neither time nor memory.
"""

from __future__ import annotations

import math
import struct

_MAX_ITEMS = 1 << 20  # of a vector of tables; beyond any real model, below anything slow


class BrokenFlatbuffer(Exception):
    """The bytes are not a flatbuffer that this walk understands."""


class Flatbuffer:
    """Bytes, and what stands in them at checked positions. Every method raises :class:`BrokenFlatbuffer`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, layout: str, position: int) -> int:
        """The integer of that :mod:`struct` layout."""
        if not 0 <= position <= len(self.data) - struct.calcsize(layout):
            raise BrokenFlatbuffer
        return int(struct.unpack_from(layout, self.data, position)[0])

    def number(self, position: int) -> float:
        """The float32 at that position, which is finite."""
        if not 0 <= position <= len(self.data) - 4:
            raise BrokenFlatbuffer
        found = float(struct.unpack_from("<f", self.data, position)[0])
        if not math.isfinite(found):
            raise BrokenFlatbuffer
        return found

    def field(self, table: int, number: int) -> int | None:
        """Position of a table's field, or None where it is absent."""
        vtable = table - self.read("<i", table)
        if 4 + 2 * number + 2 > self.read("<H", vtable):
            return None
        offset = self.read("<H", vtable + 4 + 2 * number)
        return table + offset if offset else None

    def follow(self, position: int) -> int:
        """Where the offset at that position leads."""
        return position + self.read("<I", position)

    def table(self, table: int, number: int) -> int | None:
        """Position of the table in a field, or None where it is absent."""
        field = self.field(table, number)
        return None if field is None else self.follow(field)

    def vector(self, table: int, number: int) -> tuple[int, int]:
        """(position of the first item, items); (0, 0) where the field is absent."""
        field = self.field(table, number)
        if field is None:
            return 0, 0
        start = self.follow(field)
        return start + 4, self.read("<I", start)

    def tables(self, table: int, number: int, most: int = _MAX_ITEMS) -> list[int]:
        """Positions of the tables in a vector; one of more than ``most`` is broken."""
        start, count = self.vector(table, number)
        if count > most:
            raise BrokenFlatbuffer
        return [self.follow(start + 4 * index) for index in range(count)]

    def scalar(self, table: int, number: int, layout: str) -> int:
        """The integer in a field; 0 where it is absent."""
        field = self.field(table, number)
        return 0 if field is None else self.read(layout, field)

    def bytes_of(self, table: int, number: int, most: int) -> bytes:
        """The bytes of a vector or text; empty where it is absent, broken where there are more than ``most``."""
        start, count = self.vector(table, number)
        if count > most or start + count > len(self.data):
            raise BrokenFlatbuffer
        return bytes(self.data[start : start + count])

    def text(self, table: int, number: int, most: int) -> str:
        """The text in a field, "" where it is absent; what is not UTF-8 in it is replaced."""
        return self.bytes_of(table, number, most).decode("utf-8", "replace")

    def floats(self, table: int, number: int, most: int) -> tuple[float, ...]:
        """The float32 numbers of a vector, all of them finite."""
        start, count = self.vector(table, number)
        if count > most or start + 4 * count > len(self.data):
            raise BrokenFlatbuffer
        found = struct.unpack_from(f"<{count}f", self.data, start)
        if not all(map(math.isfinite, found)):
            raise BrokenFlatbuffer
        return found
