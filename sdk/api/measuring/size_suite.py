"""The size table of Deep Compression: the paper's pruning and weight sharing, packed as Armlet packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from device_agent.record import fields
from sdk import models
from sdk.api.files.packing import inspect_bytes
from sdk.compress.weights.cluster import cluster_array
from sdk.compress.weights.prune import prune_array
from sdk.errors import DataError, ModelError
from sdk.explain.suites import DEEP_COMPRESSION, SizeMember, SizeSuite, chosen_members
from sdk.graph.on_host.convert import forget_keras_models, from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.progress import Progress, silent
from sdk.tools.system.quiet import quiet_tensorflow

SCHEMA = "armlet.size-suite/1"

#: Larger networks are packed only when they are asked for by name: packing takes about 25 times their size in memory.
MAX_ORIGINAL_BYTES = 300_000_000


@dataclass(frozen=True)
class SizeRow:
    """One network: bytes after every stage, and the paper's."""

    name: str
    stages: tuple[tuple[str, int], ...]
    package_bytes: int
    original_bytes: int
    paper_original_bytes: int
    paper_bytes: int

    @property
    def ratio(self) -> float:
        """float32 over package."""
        return self.original_bytes / self.package_bytes

    @property
    def paper_ratio(self) -> float:
        return self.paper_original_bytes / self.paper_bytes


@dataclass(frozen=True)
class SizeRun:
    """The table. ``note`` says what it does not show."""

    suite: str
    source: str
    rows: tuple[SizeRow, ...]
    note: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [{**asdict(r), "ratio": r.ratio, "paper_ratio": r.paper_ratio} for r in self.rows]
        return {"schema": SCHEMA, "suite": self.suite, "source": self.source, "rows": rows, "note": self.note}

    @classmethod
    def from_json(cls, record: Any) -> SizeRun:
        """What :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        values = fields.check_record(
            record, what="a table of sizes", schema=SCHEMA, checks=_CHECKS, error=DataError
        )
        return cls(values["suite"], values["source"], values["rows"], values["note"])


def _size(value: Any) -> int:
    return fields.integer(value, 1, 1 << 50)


def _stage(value: Any) -> tuple[str, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise fields.Refused("stages with a name and bytes")
    return fields.text(value[0]), _size(value[1])


def _read_row(value: Any) -> SizeRow:
    if not isinstance(value, Mapping) or set(value) != {*_ROW_CHECKS, "ratio", "paper_ratio"}:
        raise fields.Refused("rows of " + ", ".join(_ROW_CHECKS))
    return SizeRow(**{name: check(value[name]) for name, check in _ROW_CHECKS.items()})


_ROW_CHECKS: dict[str, Any] = {
    "name": fields.text,
    "stages": fields.list_of(_stage, 16),
    **dict.fromkeys(("package_bytes", "original_bytes", "paper_original_bytes", "paper_bytes"), _size),
}
_CHECKS: dict[str, Any] = {
    "suite": fields.text,
    "source": fields.text,
    "rows": fields.list_of(_read_row, 64),
    "note": fields.text,
}


NOTE = (
    "fresh weights, pruned by magnitude to the paper's share in every layer: sizes depend on those shares, not on "
    "what a network has learned, so there is no accuracy here"
)


def run_size_suite(
    suite: SizeSuite = DEEP_COMPRESSION, *, networks: Sequence[str] | None = None, progress: Progress = silent
) -> SizeRun:
    """Builds the networks of the suite (those of ``networks``, by their names in the zoo, else all of up to 300 MB) and
    packs them.
    """
    if networks is None:
        chosen = [m for m in suite.members if m.paper_original_bytes <= MAX_ORIGINAL_BYTES]
    else:
        chosen = list(chosen_members(suite.members, networks))
    skipped = [] if networks is not None else [m.name for m in suite.members if m not in chosen]
    note = NOTE + (f"; left out for its size: {', '.join(skipped)}" if skipped else "")
    return SizeRun(suite.name, suite.source, tuple(_row(member, progress) for member in chosen), note)


def _row(member: SizeMember, progress: Progress) -> SizeRow:
    progress(f"build {member.name}", 0, 0)
    with quiet_tensorflow():
        keras_model = models.build(member.network)
    graph = read_graph(from_keras(keras_model))
    del keras_model
    forget_keras_models()
    original = len(write_graph(graph))
    package = packer.pack(
        write_graph(compress_as_the_paper(graph, member, progress)),
        metadata={"name": member.network, "provenance": {"original_bytes": original}},
        progress=lambda done, total: progress(f"pack {member.name}", done, total),
    )
    return SizeRow(
        member.name,
        inspect_bytes(package).stages,
        len(package),
        original,
        member.paper_original_bytes,
        member.paper_bytes,
    )


def compress_as_the_paper(graph: Graph, member: SizeMember, progress: Progress = silent) -> Graph:
    """Every layer pruned to the share that the paper keeps, then shared among as many centroids as it has there.

    Raises ModelError when the network has another number of layers than the paper's.
    """
    weights = list(graph.weights())
    if len(weights) != len(member.kept):
        raise ModelError(
            f"{member.name} has other layers than the paper's",
            expected=str(len(member.kept)),
            found=str(len(weights)),
        )
    changed = {}
    for number, (weight, kept) in enumerate(zip(weights, member.kept, strict=True)):
        progress(f"compress {member.name}", number, len(weights))
        dense = weight.layer == "fully connected"
        centroids = member.fully_connected_centroids if dense else member.convolution_centroids
        changed[weight.tensor_index] = cluster_array(prune_array(weight.array, 1.0 - kept), centroids)
    return graph.with_data(changed)
