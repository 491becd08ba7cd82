"""A recipe names what is done to a graph, in order; applying the same recipe gives the same graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sdk.compress.cluster import cluster
from sdk.compress.prune import prune
from sdk.graph import Graph

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all


@dataclass(frozen=True)
class Recipe:
    """Pruning and weight sharing without data. ``sparsity`` 0 or ``clusters`` 0 leaves that pass out."""

    sparsity: float = 0.7  # share of the selected weights that becomes zero
    scope: str = "layer"  # where magnitudes are compared: "layer" or "global"
    clusters: int = 32  # centroids a layer, zero included

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields, for the package's provenance."""
        return asdict(self)


def apply(graph: Graph, recipe: Recipe, progress: Progress | None = None) -> Graph:
    """Runs the passes that the recipe names."""
    report = progress or (lambda stage, done, total: None)
    report("prune", 0, 2)
    if recipe.sparsity:
        graph = prune(graph, recipe.sparsity, scope=recipe.scope)
    report("cluster", 1, 2)
    if recipe.clusters:
        graph = cluster(graph, recipe.clusters)
    report("cluster", 2, 2)
    return graph
