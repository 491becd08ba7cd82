"""Reads one board file: TOML text -> :class:`~sdk.boards.Board`. Pure; docs/add-a-board.md explains the schema.

Every figure is a table with ``value``, ``kind`` and ``source`` (and ``low`` and ``high`` where sources differ); its
unit is the end of its key. Nothing is guessed and nothing is ignored: an unknown key, a number without a source or a
value of the wrong type is one :class:`~sdk.errors.BoardError` that names the file, the key, what was expected and what
was found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sdk.boards import (
    ARCHITECTURES,
    DTYPES,
    KINDS,
    TRANSPORTS,
    Board,
    CoreCluster,
    Figure,
    PublishedLatency,
    RuntimeChoice,
)
from sdk.errors import BoardError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PYTHON = re.compile(r"3\.[0-9]+")
_ADDRESS_KEYS = frozenset(
    {"host", "hostname", "address", "ip", "port", "password", "key", "identity", "token"}
)


def parse_board(text: str, *, name: str, origin: str) -> Board:
    """The board that the TOML ``text`` describes. ``origin`` is what errors call the file. Raises BoardError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{origin} is not TOML", expected="a TOML file", found=str(error)) from None
    return _board(_Table(raw, origin), name)


class _Table:
    """A TOML table that is read key by key; :meth:`finish` refuses whatever was not asked for."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw = dict(raw)
        self._known: set[str] = set()
        self.where = where

    def wrong(self, key: str, expected: str, found: object, hint: str | None = None) -> BoardError:
        return BoardError(f"{self.where}: {key}", expected=expected, found=_show(found), hint=hint)

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

    def table(self, key: str) -> _Table:
        value = self.take(key, "a table")
        if not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return _Table(value, f"{self.where}: {key}")

    def tables(self, key: str) -> Iterator[_Table]:
        value = self.take(key, f"a list of tables, [[{key}]]") if self.has(key) else []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, f"a list of tables, [[{key}]]", value)
        for number, item in enumerate(value, start=1):
            yield _Table(item, f"{self.where}: {key} {number}")

    def names(self) -> tuple[str, ...]:
        return tuple(self._raw)

    def finish(self) -> None:
        for key, value in self._raw.items():
            if key in self._known:
                continue
            hint = None
            if key in _ADDRESS_KEYS:
                hint = (
                    "a board file holds no addresses and no credentials: use --host, --port, or ~/.ssh/config"
                )
            raise self.wrong(key, f"only {', '.join(sorted(self._known))}", value, hint)


def _show(value: object) -> str:
    text = value if value == "nothing" else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _board(table: _Table, name: str) -> Board:
    title = table.text("title")
    architecture = table.text("architecture", ARCHITECTURES)
    transport = table.text("transport", TRANSPORTS)
    emulated = table.flag("emulated")
    qemu_cpu = table.optional_text("qemu_cpu")
    if emulated != (qemu_cpu is not None):
        raise table.wrong("qemu_cpu", "a CPU model exactly where emulated = true", qemu_cpu)
    system: dict[str, Any] = {}
    if table.has("system"):
        inner = table.table("system")
        system = {
            "os": inner.text("os"),
            "user": inner.optional_text("user"),
            "python_versions": inner.texts("python_versions", _PYTHON),
        }
        inner.text("source")
        inner.finish()
    memcpy = "memcpy_gigabytes_per_second"
    board = Board(
        name=name,
        title=title,
        architecture=architecture,
        transport=transport,
        emulated=emulated,
        qemu_cpu=qemu_cpu,
        **system,
        runtimes=tuple(_runtime(item) for item in table.tables("runtimes")),
        clusters=tuple(_cluster(item) for item in table.tables("clusters")),
        memcpy_gigabytes_per_second=_figure(table, memcpy, "GB/s") if table.has(memcpy) else None,
        published=tuple(entry for item in table.tables("published") for entry in _published(item)),
        notes=table.texts("notes"),
        origin=table.where,
    )
    table.finish()
    cpus = [cpu for cluster in board.clusters for cpu in cluster.cpus]
    if len(set(cpus)) != len(cpus):
        raise table.wrong("clusters", "every CPU number in one cluster only", cpus)
    return board


def _figure(parent: _Table, key: str, unit: str) -> Figure:
    table = parent.table(key)
    value = table.number("value")
    low = table.number("low") if table.has("low") else None
    high = table.number("high") if table.has("high") else None
    figure = Figure(value, unit, table.text("kind", KINDS), table.text("source"), low, high)
    table.finish()
    if (low is None) != (high is None) or (low is not None and high is not None and not low <= value <= high):
        raise table.wrong("low, high", "both or neither, with low <= value <= high", (low, value, high))
    return figure


def _cluster(table: _Table) -> CoreCluster:
    cpus = table.take("cpus", "a list of CPU numbers")
    if not isinstance(cpus, list) or not cpus or not all(type(cpu) is int and cpu >= 0 for cpu in cpus):
        raise table.wrong("cpus", "a list of CPU numbers", cpus)
    cluster = CoreCluster(
        core=table.text("core"),
        cpus=tuple(cpus),
        isa=table.texts("isa"),
        source=table.text("source"),
        clock_ghz=_figure(table, "clock_ghz", "GHz"),
        fp32_flop_per_cycle=_figure(table, "fp32_flop_per_cycle", "FLOP/cycle"),
        int8_op_per_cycle=_figure(table, "int8_op_per_cycle", "OP/cycle"),
        peak_fp32_gflops_per_core=_figure(table, "peak_fp32_gflops_per_core", "GFLOP/s"),
        peak_int8_gops_per_core=_figure(table, "peak_int8_gops_per_core", "GOP/s"),
    )
    table.finish()
    return cluster


def _runtime(table: _Table) -> RuntimeChoice:
    choice = RuntimeChoice(table.text("name"), table.text("version"), table.text("source"))
    table.finish()
    return choice


def _published(table: _Table) -> Iterator[PublishedLatency]:
    framework, dtype, source = table.text("framework"), table.text("dtype", DTYPES), table.text("source")
    threads = table.count("threads") if table.has("threads") else None
    macs, latencies = table.table("million_macs"), table.table("latency_milliseconds")
    table.finish()
    for network in latencies.names():
        yield PublishedLatency(
            network, macs.number(network), framework, dtype, threads, latencies.number(network), source
        )
    macs.finish()
