"""A graph with short names packs smaller and answers to the bit as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.rewrite.short_names import shorten_names
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import host_outputs, images, small_network


@pytest.mark.tensorflow
def test_short_names_change_the_size_and_nothing_else() -> None:
    graph = small_network()
    noted = replace(graph, metadata=(*graph.metadata, ("CONVERSION_METADATA", bytes(range(200)))))
    short = shorten_names(noted)
    assert len(pack(write_graph(short))) < len(pack(write_graph(noted))) - 200
    np.testing.assert_array_equal(
        host_outputs(write_graph(short), images(3)), host_outputs(write_graph(graph), images(3))
    )


def test_what_is_known_by_name_keeps_it_and_all_names_differ() -> None:
    graph = small_network()
    short = read_graph(write_graph(shorten_names(graph)))
    for before, after in zip(graph.weights(), short.weights(), strict=True):
        assert after.tensor.name == before.tensor.name
    for tensor in (*graph.inputs, *graph.outputs):
        assert short.tensors[tensor].name == graph.tensors[tensor].name
    assert len({t.name for t in short.tensors}) == len(short.tensors)
    assert short.metadata == graph.metadata  # of its maker's own


def test_a_name_that_is_a_number_already_is_not_given_twice() -> None:
    graph = small_network()
    tensors = list(graph.tensors)
    tensors[0] = replace(tensors[0], name="3")
    names = [t.name for t in shorten_names(replace(graph, tensors=tuple(tensors))).tensors]
    assert len(set(names)) == len(names)
