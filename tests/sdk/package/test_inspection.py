"""The per-layer table counts what is there, and its stages follow Deep Compression's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.api.files.packing import inspect_bytes
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.weights.cluster import cluster
from sdk.compress.weights.prune import prune
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package.inspection import CodedWeight, Inspection, filler_zeros, layer_names, layer_rows, with_names
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import small_network


def rows_of(graph: Graph, coded_bytes: int = 100) -> dict:
    coded = {w.tensor_index: CodedWeight("sparse", coded_bytes) for w in graph.weights()}
    return {row.name: row for row in with_names(layer_rows(graph, coded))}


def test_zeros_and_distinct_values_are_counted_per_layer() -> None:
    rows = rows_of(cluster(prune(small_network(), 0.75), 8))
    pointwise = rows["pointwise"]  # 32 x 16 weights
    assert pointwise.parameters == 512
    assert pointwise.nonzero == 128
    assert pointwise.sparsity == pytest.approx(0.75)
    assert pointwise.centroids is not None
    assert 2 <= pointwise.centroids <= 8
    assert rows["stem"].sparsity == 0.0
    assert rows["stem"].centroids is None  # 432 different floats


def test_a_weight_behind_a_sparse_hint_counts_its_zeros_like_any_other() -> None:
    graph = prune(small_network(), 0.75)
    plain = rows_of(graph)["pointwise"]
    (hinted,) = [row for row in rows_of(sparse_hint(graph)).values() if row.layer == plain.layer]
    assert hinted.sparsity == pytest.approx(plain.sparsity)
    assert hinted.original_bytes == plain.original_bytes
    assert abs((hinted.centroids or 0) - (plain.centroids or 0)) <= 1


def test_an_untouched_layer_keeps_its_size_through_the_stages() -> None:
    row = rows_of(small_network())["stem"]
    assert row.original_bytes == row.pruned_bytes == row.clustered_bytes == 16 * 27 * 4


def test_the_stages_of_a_pruned_and_clustered_layer_follow_the_papers_arithmetic() -> None:
    graph = cluster(prune(small_network(), 0.75), 8)
    row = rows_of(graph)["classifier"]  # fully connected: 5-bit index
    weight = next(w for w in graph.weights() if w.tensor.name == "classifier/weight")
    entries = 80 + filler_zeros(weight.array.ravel(), 5)
    distinct = np.unique(weight.array).size
    assert row.pruned_bytes == -(-entries * (32 + 5) // 8)
    assert row.clustered_bytes == -(-entries * (3 + 5) // 8) + 4 * distinct


def test_bits_and_ratio_count_every_weight_zeros_included() -> None:
    row = rows_of(small_network(), coded_bytes=64)["pointwise"]
    assert row.bits_per_weight == 1.0
    assert row.ratio == 32.0


@given(st.lists(st.booleans(), min_size=1, max_size=2000), st.sampled_from([2, 5, 8]))
def test_filler_zeros_are_what_the_relative_index_needs(occupied: list[bool], bits: int) -> None:
    flat = np.array(occupied, np.float32)
    gap = fillers = 0
    for value in flat:  # the encoder of section 3.1, step by step
        if value:
            gap = 0
        elif gap == 2**bits - 1:
            fillers, gap = fillers + 1, 0
        else:
            gap += 1
    trailing = flat[::-1].argmax() if flat.any() else flat.size  # zeros behind the last value need no entry
    assert filler_zeros(flat, bits) == fillers - trailing // 2**bits


def test_layers_are_named_by_their_own_part_unless_that_is_ambiguous() -> None:
    assert layer_names(["net/conv1/Conv2D;net/bn1", "net/dw_3/depthwise", "features.weight"]) == [
        "conv1",
        "dw_3",
        "features.weight",
    ]
    assert layer_names(["a/conv/Conv2D", "b/conv/Conv2D"]) == ["a/conv/Conv2D", "b/conv/Conv2D"]


def test_the_last_stage_is_the_file_itself() -> None:
    rows = tuple(rows_of(small_network()).values())
    inspection = Inspection("m", rows, 1234, 5000, 500, 600, 1, "a" * 64, "b" * 64)
    assert inspection.stages[-1] == ("coded", 1234)
    assert inspection.stages[0][1] == sum(r.original_bytes for r in rows) + 600
    document = inspection.to_json()
    assert [s["stage"] for s in document["stages"]] == ["original", "pruned", "clustered", "coded"]
    assert sum(layer["coded_bytes"] for layer in document["layers"]) == 400


@pytest.mark.parametrize(
    ("said", "original"), [(98_765, 98_765), (None, None), ("98", None), (-1, None), (True, None)]
)
def test_the_original_is_the_model_that_was_given_where_the_package_says_it(said, original) -> None:
    tflite = write_graph(small_network())
    found = inspect_bytes(pack(tflite, metadata={"name": "net", "provenance": {"original_bytes": said}}))
    assert found.stages[0] == ("original", original or len(tflite))
    assert found.ratio == (original or len(tflite)) / found.package_bytes
