"""The size table of Deep Compression: the paper's pruning and weight sharing, packed as Armlet packs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from device_agent.record.named_kinds import Sentence, Size
from device_agent.record.schema import limits, read, record, write
from sdk import models
from sdk.api.files.packing import inspect_bytes
from sdk.compress.weights.cluster import cluster_array
from sdk.compress.weights.prune import prune_array
from sdk.errors import DataError, ModelError
from sdk.explain.suites import DEEP_COMPRESSION, SizeMember, SizeSuite, chosen_members
from sdk.graph.on_host.sources.keras_files import forget_keras_models, from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.quiet import quiet_tensorflow

SCHEMA = "armlet.size-suite/1"

#: Larger networks are packed only when they are asked for by name: packing takes about 25 times their size in memory.
MAX_ORIGINAL_BYTES = 300_000_000


@record(what="a row of sizes", derived=("ratio", "paper_ratio"))
@dataclass(frozen=True)
class SizeRow:
    """One network: bytes after every stage, and the paper's."""

    name: str
    stages: tuple[tuple[str, Size], ...] = field(metadata=limits(most=16))
    package_bytes: Size
    original_bytes: Size
    paper_original_bytes: Size
    paper_bytes: Size

    @property
    def ratio(self) -> float:
        """float32 over package."""
        return self.original_bytes / self.package_bytes

    @property
    def paper_ratio(self) -> float:
        """The paper's original size over its compressed size."""
        return self.paper_original_bytes / self.paper_bytes


@record(SCHEMA, "a table of sizes", DataError)
@dataclass(frozen=True)
class SizeRun(Shown):
    """The table. ``note`` says what it does not show."""

    suite: str
    source: str
    rows: tuple[SizeRow, ...] = field(metadata=limits(most=64))
    note: Sentence

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> SizeRun:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)


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

    Raises ModelError when the network has not as many layers as the paper's.
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
