"""Records of a kind of board: cores, clocks, figures of speed with their sources, runtimes. Frozen and pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_agent.record import release
from sdk.errors import BoardError

#: How a figure came to be known. ``published``: a data sheet or manual says so; ``derived``: computed from other
#: figures of the same file; ``estimated``: anything weaker than that.
KINDS = ("measured", "published", "derived", "estimated")

#: ``ssh``: a real board; ``local``: this machine behind a loopback server; ``virtual``: an emulated board on it.
TRANSPORTS = ("ssh", "local", "virtual")

#: What ``uname -m`` says there; ``host`` is whatever the machine that runs the command is.
ARCHITECTURES = ("aarch64", "armv7l", "host")

DTYPES = ("float32", "float16", "int8")

#: How many releases of a name a board may be told to keep (device_agent.record.release): what runs and one to go
#: back to, and not more than a deploy can look through.
MIN_KEEP, MAX_KEEP = release.KEEP, release.MAX_KEEP


@dataclass(frozen=True)
class Figure:
    """One number about a board: ``value`` in ``unit``, how it is known (:data:`KINDS`) and who says so.

    ``low`` and ``high`` bound the value where sources differ; both are None where there is a single source.
    """

    value: float
    unit: str
    kind: str
    source: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CoreCluster:
    """Cores of one type. ``cpus`` are the kernel's numbers for them (what ``taskset`` takes); ``isa`` are extensions
    beyond plain ARMv8.0 that change which kernels a runtime picks: ``neon``, ``fp16``, ``dotprod``, ``i8mm``.

    One multiply-accumulate counts as two operations, in floating point (FLOP) and in integers (OP) alike.
    """

    core: str
    cpus: tuple[int, ...]
    isa: tuple[str, ...]
    source: str
    clock_ghz: Figure
    fp32_flop_per_cycle: Figure
    int8_op_per_cycle: Figure
    peak_fp32_gflops_per_core: Figure
    peak_int8_gops_per_core: Figure

    def peak_operations_per_second(self, dtype: str) -> float:
        """Peak of one core for ``float32``, ``float16`` or ``int8`` arithmetic.

        float16 is twice float32 where the cores compute in it (``fp16`` in ``isa``), else the same: the runtime then
        converts and computes in float32.
        """
        if dtype == "int8":
            return self.peak_int8_gops_per_core.value * 1e9
        factor = 2.0 if dtype == "float16" and "fp16" in self.isa else 1.0
        return factor * self.peak_fp32_gflops_per_core.value * 1e9


@dataclass(frozen=True)
class RuntimeChoice:
    """A TFLite runtime that suits the board, by its distribution name and exact version."""

    name: str
    version: str
    source: str


@dataclass(frozen=True)
class PublishedLatency:
    """A published latency of this board, to compare a report with. ``threads`` is None where it is not stated.

    ``million_macs`` is the complexity of the publisher's own network, which may differ from the paper's.
    """

    network: str
    million_macs: float
    framework: str
    dtype: str
    threads: int | None
    latency_milliseconds: float
    source: str


@dataclass(frozen=True)
class Board:
    """A kind of board. ``clusters`` may be empty and ``memcpy_gigabytes_per_second`` None: unknown, not zero.

    ``memory_latency_nanoseconds`` is of a load from memory at a random address; None where nobody measured it.

    ``runtimes`` stand in order of preference. ``user`` is the login name that the board's image comes with, or None.
    ``keep_releases``: how many releases of a name such a board keeps; None leaves it to the agent, which keeps 2.
    ``origin`` is the file that this was read from.
    """

    name: str
    title: str
    architecture: str
    transport: str
    emulated: bool = False
    qemu_cpu: str | None = None
    os: str | None = None
    user: str | None = None
    python_versions: tuple[str, ...] = ()
    runtimes: tuple[RuntimeChoice, ...] = ()
    clusters: tuple[CoreCluster, ...] = ()
    memcpy_gigabytes_per_second: Figure | None = None
    memory_latency_nanoseconds: Figure | None = None
    published: tuple[PublishedLatency, ...] = ()
    notes: tuple[str, ...] = ()
    keep_releases: int | None = None
    origin: str = field(default="", compare=False)

    @property
    def cores(self) -> int:
        """Number of cores in all clusters; 0 where unknown."""
        return sum(len(cluster.cpus) for cluster in self.clusters)

    @property
    def preferred_runtime(self) -> RuntimeChoice | None:
        """The first of ``runtimes``."""
        return self.runtimes[0] if self.runtimes else None

    def fastest_cpus(self, threads: int) -> tuple[int, ...]:
        """The kernel's numbers of the ``threads`` fastest cores, or of all cores where there are fewer."""
        ranked = sorted(self.clusters, key=lambda cluster: -cluster.peak_fp32_gflops_per_core.value)
        return tuple(cpu for cluster in ranked for cpu in cluster.cpus)[:threads]

    def peak_operations_per_second(self, threads: int = 1, dtype: str = "float32") -> float | None:
        """Peak of the ``threads`` fastest cores together; None where the file has no cores.

        More threads than cores add nothing. Raises BoardError for another dtype.
        """
        if dtype not in DTYPES:
            raise BoardError("no peak for this arithmetic", expected=", ".join(DTYPES), found=dtype)
        if not self.clusters:
            return None
        chosen = set(self.fastest_cpus(threads))
        return sum(
            len(chosen.intersection(cluster.cpus)) * cluster.peak_operations_per_second(dtype)
            for cluster in self.clusters
        )

    @property
    def memory_bytes_per_second(self) -> float | None:
        """Bytes that cross the memory bus in a second, reads and writes together: twice the memcpy figure, since
        copying a byte reads one and writes one (STREAM counts both, memcpy benchmarks count one). None if unknown.
        """
        figure = self.memcpy_gigabytes_per_second
        return None if figure is None else 2.0 * figure.value * 1e9
