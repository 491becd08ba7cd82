"""Layer by layer, what compression did to a model: the table of Deep Compression (arXiv 1510.00149, tables 1 to 5).

Pure: takes the graph that a package decodes to and how each weight was coded, computes everything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from device_agent.record.usage import Usage
from device_agent.record.visible import visible
from sdk.graph.records import WEIGHT_ROLES, Graph, Operator, Weight
from sdk.tools.shown import Shown

FLOAT_BYTES = 4
# The fixed-width relative index of Deep Compression, section 3.1: a gap that does not fit takes a filler zero.
INDEX_BITS = {"convolution": 8, "convolution 1x1": 8, "depthwise": 8, "fully connected": 5}
OTHER_INDEX_BITS = 8
#: A constant with fewer elements is a shape, an axis or a number rather than a weight.
LEAST_ELEMENTS = 64
DENSE_BELOW = (
    0.05  # a weight with fewer zeros than this is not called pruned: a few zeros occur by themselves
)


@dataclass(frozen=True)
class CodedWeight:
    """How the package holds one tensor: the name of the layout and the bytes that it takes there."""

    layout: str
    coded_bytes: int


@dataclass(frozen=True)
class LayerRow:
    """One weight tensor of the model."""

    name: str
    layer: str  # "convolution 1x1", "depthwise", ...
    shape: tuple[int, ...]
    parameters: int
    nonzero: int
    centroids: int | None  # distinct values, None above 256: not shared
    layout: str
    original_bytes: int  # as float32
    pruned_bytes: int  # non-zero float32 with the paper's relative index; dense where that is smaller
    clustered_bytes: int  # centroid numbers in place of floats, and the codebook
    coded_bytes: int  # what the package holds

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return 1.0 - self.nonzero / self.parameters if self.parameters else 0.0

    @property
    def bits_per_weight(self) -> float:
        """Bits in the package for each weight, zeros counted."""
        return 8.0 * self.coded_bytes / self.parameters if self.parameters else 0.0

    @property
    def ratio(self) -> float:
        """float32 bytes over bytes in the package."""
        return self.original_bytes / self.coded_bytes if self.coded_bytes else math.inf


NOT_SAID = Usage()


@dataclass(frozen=True)
class Inspection(Shown):
    """All layers of a package, and what is in it besides weights."""

    name: str
    rows: tuple[LayerRow, ...]
    package_bytes: int
    tflite_bytes: int
    other_bytes: int  # in the package: structure of the graph, biases, headers, checksums
    original_other_bytes: int  # the same part of the .tflite
    format_version: int
    package_sha256: str
    tflite_sha256: str
    usage: Usage = NOT_SAID  # what is done to an image, and what the answers mean
    given_bytes: int | None = None  # of the model that was compressed, as its package says

    @property
    def original_bytes(self) -> int:
        """The model that was given; where the package does not say it, this one with float32 weights."""
        if self.given_bytes is not None:
            return self.given_bytes
        return sum(r.original_bytes for r in self.rows) + self.original_other_bytes

    @property
    def stages(self) -> tuple[tuple[str, int], ...]:
        """Bytes of the whole model after each stage, in order; only the last one exists as a file."""
        other = self.original_other_bytes
        return (
            ("original", self.original_bytes),
            ("pruned", sum(r.pruned_bytes for r in self.rows) + other),
            ("clustered", sum(r.clustered_bytes for r in self.rows) + other),
            ("coded", self.package_bytes),
        )

    @property
    def ratio(self) -> float:
        """float32 model over package file."""
        return self.original_bytes / self.package_bytes

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; sizes in bytes."""
        return {
            "schema": "armlet.inspection/1",
            "name": self.name,
            "package_bytes": self.package_bytes,
            "tflite_bytes": self.tflite_bytes,
            "other_bytes": self.other_bytes,
            "format_version": self.format_version,
            "package_sha256": self.package_sha256,
            "tflite_sha256": self.tflite_sha256,
            "usage": self.usage.to_metadata(),
            "ratio": self.ratio,
            "stages": [{"stage": stage, "bytes": size} for stage, size in self.stages],
            "layers": [
                {
                    "name": r.name,
                    "layer": r.layer,
                    "shape": list(r.shape),
                    "parameters": r.parameters,
                    "sparsity": r.sparsity,
                    "centroids": r.centroids,
                    "layout": r.layout,
                    "bits_per_weight": r.bits_per_weight,
                    "original_bytes": r.original_bytes,
                    "pruned_bytes": r.pruned_bytes,
                    "clustered_bytes": r.clustered_bytes,
                    "coded_bytes": r.coded_bytes,
                    "ratio": r.ratio,
                }
                for r in self.rows
            ],
        }


def layer_rows(graph: Graph, coded: Mapping[int, CodedWeight]) -> list[LayerRow]:
    """A row for each constant of ``graph`` that ``coded`` (by tensor number) knows a section of the package for.

    Weights come in the order of execution; biases and shapes are left out. The names are those of the tensors.
    """
    weights = {w.tensor_index: w for w in graph.weights()}
    for index, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor in coded and tensor not in weights and _is_weight(graph, operator, tensor):
                weights[tensor] = Weight(index, tensor, _layer_of(graph, operator), graph.tensors[tensor], 0)
    found = sorted((w for w in weights.values() if w.tensor_index in coded), key=lambda w: w.operator_index)
    return [_row(w, w.tensor.name, coded[w.tensor_index]) for w in found]


def with_names(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The rows with short names, see :func:`layer_names`."""
    names = layer_names([row.name for row in rows])
    return [replace(row, name=name) for row, name in zip(rows, names, strict=True)]


def _is_weight(graph: Graph, operator: Operator, tensor: int) -> bool:
    """Whether a constant is one that an operator without a place for weights works with, and no bias of one with."""
    constant = graph.tensors[tensor]
    has_place = operator.kind in WEIGHT_ROLES
    return constant.elements >= LEAST_ELEMENTS and not (has_place and tensor in operator.inputs[2:])


def _layer_of(graph: Graph, operator: Operator) -> str:
    """What a table calls the layer: of a constant behind DEQUANTIZE that of the operator which works with it."""
    if operator.kind == "DEQUANTIZE":
        for other in graph.operators:
            if operator.outputs[0] in other.inputs:
                return WEIGHT_ROLES.get(other.kind, _kind_words(other))
    return WEIGHT_ROLES.get(operator.kind, _kind_words(operator))


def _kind_words(operator: Operator) -> str:
    return visible(operator.custom_code or operator.kind.lower().replace("_", " "), most=40)


# What converters append to a layer's name; says nothing that the column beside it does not say.
_SUFFIXES = frozenset(
    (
        "convolution",
        "depthwise",
        "depthwise_conv2d",
        "Conv2D",
        "MatMul",
        "BiasAdd",
        "kernel",
        "weight",
        "weights",
    )
)


def layer_names(tensor_names: Sequence[str]) -> list[str]:
    """Short names for a table: the layer's own part of each tensor name, or the whole name where that is ambiguous."""
    short = []
    for name in tensor_names:
        parts = [p for p in name.split(";")[0].split("/") if p]
        while len(parts) > 1 and parts[-1].rstrip("_0123456789") in _SUFFIXES:
            parts.pop()
        short.append(parts[-1] if parts else name)
    return [s if short.count(s) == 1 else name for s, name in zip(short, tensor_names, strict=True)]


def _row(weight: Weight, name: str, coded: CodedWeight) -> LayerRow:
    array, layer = weight.array, weight.layer
    if array.dtype == np.uint8 and weight.tensor.dtype == "FLOAT32":
        # Behind a DENSIFY: the bytes of what is stored, and what is not is zero.
        stored = array.view(np.float32)
        array = np.concatenate([stored, np.zeros(weight.tensor.elements - stored.size, np.float32)])
    flat = array.ravel()
    nonzero = int(np.count_nonzero(flat))
    distinct = np.unique(flat).size
    shared = distinct <= 256
    value_bits = 8 * array.itemsize
    original = flat.size * (FLOAT_BYTES if array.dtype == np.float32 else array.itemsize)
    pruned, indexed = original, 0
    if nonzero < (1 - DENSE_BELOW) * flat.size:
        index_bits = INDEX_BITS.get(layer, OTHER_INDEX_BITS)
        entries = nonzero + filler_zeros(flat, index_bits)
        sparse = math.ceil(entries * (value_bits + index_bits) / 8)
        if sparse < original:
            pruned, indexed = sparse, entries
    clustered = pruned
    if shared and array.dtype == np.float32:
        number_bits = max(1, math.ceil(math.log2(max(distinct, 2))))
        codebook = distinct * array.itemsize
        dense = math.ceil(flat.size * number_bits / 8) + codebook
        sparse = (
            math.ceil(indexed * (number_bits + INDEX_BITS.get(layer, OTHER_INDEX_BITS)) / 8) + codebook
            if indexed
            else dense
        )
        clustered = min(pruned, dense, sparse)
    return LayerRow(
        name=name,
        layer=layer,
        shape=weight.tensor.shape,
        parameters=weight.tensor.elements,
        nonzero=min(nonzero, weight.tensor.elements),
        centroids=distinct if shared else None,
        layout=coded.layout,
        original_bytes=original,
        pruned_bytes=pruned,
        clustered_bytes=clustered,
        coded_bytes=coded.coded_bytes,
    )


def filler_zeros(flat: np.ndarray, index_bits: int) -> int:
    """How many filler zeros the fixed-width relative index of Deep Compression needs for the values (n,)."""
    positions = np.flatnonzero(flat)
    if positions.size == 0:
        return 0
    gaps = np.diff(np.concatenate(([-1], positions))) - 1  # zeros that each non-zero is behind
    return int((gaps // 2**index_bits).sum())
