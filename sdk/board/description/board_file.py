"""Reads one board file: TOML text -> :class:`~sdk.board.description.records.Board`. Pure;
docs/add-a-board.md explains the schema.

Every figure is a table with ``value``, ``kind`` and ``source`` (and ``low`` and ``high`` where sources differ); its
unit is the end of its key. Nothing is guessed or ignored: an unknown key, a number without a source or a value of the
wrong type is one :class:`~sdk.errors.BoardError` that names the file, the key, what was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from device_agent.record.kinds import Text, ValueRefused, shown
from device_agent.record.schema import limits, record
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
from sdk.tools.toml_table import Above0, WordList, Words, read_toml

_HINTS = dict.fromkeys(
    ("host", "hostname", "address", "ip", "port", "password", "key", "identity", "token"),
    "a board file holds no addresses and no credentials: use --host, --port, or ~/.ssh/config",
)


def parse_board(text: str, *, name: str, origin: str) -> Board:
    """The board that the TOML ``text`` describes. ``origin`` is what errors call the file. Raises BoardError."""
    return read_toml(_File, text, origin, BoardError, hints=_HINTS).board(name, origin)


def _list_of(key: str) -> Mapping[str, Any]:
    return limits(words=f"a list of tables, [[{key}]]")


@record(may_lack=True)
@dataclass(frozen=True)
class _Figure:
    value: Above0
    kind: str = field(metadata=limits(choices=KINDS))
    source: Words
    low: Above0 | None = None
    high: Above0 | None = None

    def check_record(self) -> None:
        bounds = (self.low, self.value, self.high)
        low, value, high = bounds
        one_sided = (low is None) != (high is None)
        if one_sided or (low is not None and high is not None and not low <= value <= high):
            raise ValueRefused("both or neither, with low <= value <= high", shown(bounds)).at("low, high")

    def of(self, unit: str) -> Figure:
        return Figure(self.value, unit, self.kind, self.source, self.low, self.high)


@record(may_lack=True)
@dataclass(frozen=True)
class _Cluster:
    cpus: tuple[int, ...] = field(metadata=limits(least=1, most=4096, words="a list of CPU numbers"))
    core: Words
    source: Words
    clock_ghz: _Figure
    fp32_flop_per_cycle: _Figure
    int8_op_per_cycle: _Figure
    peak_fp32_gflops_per_core: _Figure
    peak_int8_gops_per_core: _Figure
    isa: WordList = ()

    def cluster(self) -> CoreCluster:
        return CoreCluster(
            core=self.core,
            cpus=self.cpus,
            isa=self.isa,
            source=self.source,
            clock_ghz=self.clock_ghz.of("GHz"),
            fp32_flop_per_cycle=self.fp32_flop_per_cycle.of("FLOP/cycle"),
            int8_op_per_cycle=self.int8_op_per_cycle.of("OP/cycle"),
            peak_fp32_gflops_per_core=self.peak_fp32_gflops_per_core.of("GFLOP/s"),
            peak_int8_gops_per_core=self.peak_int8_gops_per_core.of("GOP/s"),
        )


@record(may_lack=True)
@dataclass(frozen=True)
class _Published:
    """Latencies of several networks from one source."""

    framework: Words
    dtype: str = field(metadata=limits(choices=DTYPES))
    source: Words
    million_macs: Mapping[str, Above0]
    latency_milliseconds: Mapping[str, Above0]
    threads: int | None = field(default=None, metadata=limits(low=1, words="a whole number above 0"))

    def check_record(self) -> None:
        for network in self.latency_milliseconds:
            if network not in self.million_macs:
                raise ValueRefused("a number above 0", "nothing", "missing").at("million_macs", network)
        for network in self.million_macs:
            if network not in self.latency_milliseconds:
                known = ", ".join(sorted(self.latency_milliseconds))
                raise ValueRefused(f"only {known}", network, "unknown").at("million_macs", network)

    def latencies(self) -> Iterator[PublishedLatency]:
        for network, milliseconds in self.latency_milliseconds.items():
            macs = self.million_macs[network]
            yield PublishedLatency(
                network, macs, self.framework, self.dtype, self.threads, milliseconds, self.source
            )


@record(may_lack=True)
@dataclass(frozen=True)
class _System:
    os: Words
    source: Words
    user: Words | None = None
    python_versions: WordList = field(
        default=(), metadata=limits(inner=Text(16, pattern=r"3\.[0-9]+", words="texts like 3.11"))
    )


@dataclass(frozen=True)
class _Runtime:
    name: Words
    version: Words
    source: Words


@record(may_lack=True)
@dataclass(frozen=True)
class _File:
    title: Words
    architecture: str = field(metadata=limits(choices=ARCHITECTURES))
    transport: str = field(metadata=limits(choices=TRANSPORTS))
    emulated: bool = False
    qemu_cpu: Words | None = None
    system: _System | None = None
    runtimes: tuple[_Runtime, ...] = field(default=(), metadata=_list_of("runtimes"))
    clusters: tuple[_Cluster, ...] = field(default=(), metadata=_list_of("clusters"))
    memcpy_gigabytes_per_second: _Figure | None = None
    memory_latency_nanoseconds: _Figure | None = None
    published: tuple[_Published, ...] = field(default=(), metadata=_list_of("published"))
    notes: WordList = ()
    keep_releases: int | None = field(
        default=None, metadata=limits(low=MIN_KEEP, high=MAX_KEEP, words=f"{MIN_KEEP} to {MAX_KEEP}")
    )

    def check_record(self) -> None:
        if self.emulated != (self.qemu_cpu is not None):
            raise ValueRefused("a CPU model exactly where emulated = true", shown(self.qemu_cpu)).at(
                "qemu_cpu"
            )
        cpus = [cpu for cluster in self.clusters for cpu in cluster.cpus]
        if len(set(cpus)) != len(cpus):
            raise ValueRefused("every CPU number in one cluster only", str(cpus)[:60]).at("clusters")

    def board(self, name: str, origin: str) -> Board:
        memcpy, latency, system = (
            self.memcpy_gigabytes_per_second,
            self.memory_latency_nanoseconds,
            self.system,
        )
        return Board(
            name=name,
            title=self.title,
            architecture=self.architecture,
            transport=self.transport,
            emulated=self.emulated,
            qemu_cpu=self.qemu_cpu,
            os=None if system is None else system.os,
            user=None if system is None else system.user,
            python_versions=() if system is None else system.python_versions,
            runtimes=tuple(RuntimeChoice(r.name, r.version, r.source) for r in self.runtimes),
            clusters=tuple(cluster.cluster() for cluster in self.clusters),
            memcpy_gigabytes_per_second=None if memcpy is None else memcpy.of("GB/s"),
            memory_latency_nanoseconds=None if latency is None else latency.of("ns"),
            published=tuple(latency for entry in self.published for latency in entry.latencies()),
            notes=self.notes,
            keep_releases=self.keep_releases,
            origin=origin,
        )
