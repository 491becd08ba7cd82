"""Reads one board file: TOML text -> :class:`~sdk.board.description.records.Board`. Pure;
docs/add-a-board.md explains the schema.

Every figure is a table with ``value``, ``kind`` and ``source`` (and ``low`` and ``high`` where sources differ); its
unit is the end of its key. Nothing is guessed and nothing is ignored: an unknown key, a number without a source or a
value of the wrong type is one :class:`~sdk.errors.BoardError` that names the file, the key, what was expected and what
was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sdk.board.description.records import (
    ARCHITECTURES,
    DTYPES,
    KINDS,
    MAX_KEEP,
    MIN_KEEP,
    TRANSPORTS,
    Board,
    CoreCluster,
    Figure,
    PublishedLatency,
    RuntimeChoice,
)
from sdk.errors import BoardError
from sdk.tools.toml_table import TomlTable, read_table

_PYTHON = re.compile(r"3\.[0-9]+")
_HINTS = dict.fromkeys(
    ("host", "hostname", "address", "ip", "port", "password", "key", "identity", "token"),
    "a board file holds no addresses and no credentials: use --host, --port, or ~/.ssh/config",
)


def parse_board(text: str, *, name: str, origin: str) -> Board:
    """The board that the TOML ``text`` describes. ``origin`` is what errors call the file. Raises BoardError."""
    return _board(read_table(text, origin, BoardError, hints=_HINTS), name)


def _board(table: TomlTable, name: str) -> Board:
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
        keep_releases=_keep_releases(table),
        origin=table.where,
    )
    table.finish()
    cpus = [cpu for cluster in board.clusters for cpu in cluster.cpus]
    if len(set(cpus)) != len(cpus):
        raise table.wrong("clusters", "every CPU number in one cluster only", cpus)
    return board


def _keep_releases(table: TomlTable) -> int | None:
    if not table.has("keep_releases"):
        return None
    keep = table.count("keep_releases")
    if not MIN_KEEP <= keep <= MAX_KEEP:
        raise table.wrong("keep_releases", f"{MIN_KEEP} to {MAX_KEEP}", keep)
    return keep


def _figure(parent: TomlTable, key: str, unit: str) -> Figure:
    table = parent.table(key)
    value = table.number("value")
    low = table.number("low") if table.has("low") else None
    high = table.number("high") if table.has("high") else None
    figure = Figure(value, unit, table.text("kind", KINDS), table.text("source"), low, high)
    table.finish()
    if (low is None) != (high is None) or (low is not None and high is not None and not low <= value <= high):
        raise table.wrong("low, high", "both or neither, with low <= value <= high", (low, value, high))
    return figure


def _cluster(table: TomlTable) -> CoreCluster:
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


def _runtime(table: TomlTable) -> RuntimeChoice:
    choice = RuntimeChoice(table.text("name"), table.text("version"), table.text("source"))
    table.finish()
    return choice


def _published(table: TomlTable) -> Iterator[PublishedLatency]:
    framework, dtype, source = table.text("framework"), table.text("dtype", DTYPES), table.text("source")
    threads = table.count("threads") if table.has("threads") else None
    macs, latencies = table.table("million_macs"), table.table("latency_milliseconds")
    table.finish()
    for network in latencies.names():
        yield PublishedLatency(
            network, macs.number(network), framework, dtype, threads, latencies.number(network), source
        )
    macs.finish()
