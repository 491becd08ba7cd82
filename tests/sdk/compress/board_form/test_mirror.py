"""A mirrored network gives a mirrored image the answer that the original gives the image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sdk.compress.board_form.lower import average_pools_as_depthwise
from sdk.compress.board_form.mirror import flip_inside, mirror, pads_at_the_end
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.structure import spatial_padding
from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, SAME, VALID
from sdk.graph.reader import read_graph
from sdk.graph.records import INPUT_METADATA, Graph
from sdk.graph.writer import write_graph
from tests.golden.make_networks import network
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    small_mobilenet,
    small_shufflenet,
)


def padding_of(graph: Graph) -> set[Any]:
    return {spatial_padding(graph, op) for op in graph.operators} - {None}


def test_padding_at_the_end_becomes_padding_on_every_side() -> None:
    graph = small_mobilenet()
    mirrored = mirror(graph)
    assert pads_at_the_end(graph)
    assert not pads_at_the_end(mirrored)
    assert padding_of(mirrored) == {((1, 1), (1, 1))}
    assert_answers_alike(graph, mirrored)


def test_the_graph_says_that_its_image_must_be_flipped_and_a_file_keeps_it() -> None:
    mirrored = mirror(small_mobilenet())
    assert small_mobilenet().input_flips == ()
    assert dict(mirrored.metadata)[INPUT_METADATA] == b'{"flip": ["height", "width"]}'
    assert read_graph(write_graph(mirrored)).input_flips == ("height", "width")


def test_an_image_that_is_not_flipped_gets_another_answer() -> None:
    graph = small_mobilenet()
    forgotten = mirror(graph)
    unmarked = Graph(forgotten.tensors, forgotten.operators, forgotten.inputs, forgotten.outputs)
    with pytest.raises(AssertionError):
        assert_answers_alike(graph, unmarked)


def test_a_graph_that_flips_inside_takes_the_image_as_it_is() -> None:
    graph = small_mobilenet()
    inside = flip_inside(mirror(graph))
    assert kinds(inside)[0] == "REVERSE_V2"
    assert inside.input_flips == ()
    assert_answers_alike(graph, inside)
    assert flip_inside(graph) is graph


@pytest.mark.parametrize("size", [31, 32, 33, 34])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (2, 2), (7, 3)])
def test_every_window_at_every_size_is_mirrored_exactly(size: int, kernel: int, stride: int) -> None:
    net = Layers(1, size, size - 3, 3)
    x = net.depthwise(net.conv(net.image, 4, kernel, stride=stride), kernel, stride=stride)
    graph = net.graph(net.dense(net.mean(x), 5))
    assert_answers_alike(graph, mirror(graph))


def test_keras_padding_and_a_valid_window_are_mirrored_together() -> None:
    net = Layers(1, 16, 16, 3)
    x = net.conv(net.image, 4, 3)
    padded = net.pad(x, (0, 0), (0, 1), (0, 1), (0, 0))
    x = net.depthwise(padded, stride=2, padding=VALID)
    graph = net.graph(net.mean(x))
    mirrored = mirror(graph)
    assert padding_of(mirrored) == {((1, 1), (1, 1))}
    assert_answers_alike(graph, mirrored)


def test_a_flattened_value_is_put_right_by_the_layer_that_reads_it() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 4, 3, stride=2)
    graph = net.graph(net.dense(net.reshape(x, 1, 64), 6))
    assert_answers_alike(graph, mirror(graph))


def test_constants_with_an_extent_in_space_are_mirrored_too() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 4, 3, stride=2)
    x = net.add(x, net.random(1, 4, 4, 4))
    graph = net.graph(net.mean(net.conv(x, 4, 3, padding=VALID)))
    assert_answers_alike(graph, mirror(graph))


def test_a_channel_shuffle_passes_and_so_does_a_shufflenet_without_average_pools() -> None:
    graph = fuse(small_shufflenet())
    with pytest.raises(UnsupportedOperator, match=r"AVERAGE_POOL_2D.*averages over fewer pixels"):
        mirror(graph)
    lowered = average_pools_as_depthwise(graph)
    mirrored = mirror(lowered)
    assert "TRANSPOSE" in kinds(mirrored)
    assert_answers_alike(graph, mirrored)


def refused(net: Layers, *outputs: int) -> str:
    with pytest.raises(UnsupportedOperator) as caught:
        mirror(net.graph(*outputs))
    return str(caught.value)


def test_what_is_not_alike_in_both_directions_is_refused_by_name() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 12, 3)
    deep = net.append("DEPTH_TO_SPACE", (x,), (1, 16, 16, 3), "DepthToSpaceOptions", blockSize=2)
    assert "DEPTH_TO_SPACE" in refused(net, net.mean(deep))

    net = Layers(1, 8, 8, 3)
    assert "would come out mirrored" in refused(net, net.conv(net.image, 4, 3))

    net = Layers(1, 9, 9, 3)
    x = net.conv(net.image, 4, 2, stride=2, padding=VALID)
    assert "leaves its last rows or columns unread" in refused(net, net.mean(x))

    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 4, activation=NO_ACTIVATION)
    x = net.pool(x, "MAX_POOL_2D", 3, stride=2)
    assert "may be negative" in refused(net, net.mean(x))

    net = Layers(1, 8, 8, 3)
    x = net.reshape(net.conv(net.image, 4), 1, 4, 16, 4)
    assert "renumbers the pixels" in refused(net, net.mean(x))


def test_a_mirrored_graph_is_not_mirrored_again() -> None:
    with pytest.raises(ModelError, match="mirrored already"):
        mirror(mirror(small_mobilenet()))


def test_a_graph_of_a_vector_is_refused() -> None:
    net = Layers(1, 8)
    with pytest.raises(ModelError, match="1 input \\(1, height, width, channels\\)"):
        mirror(net.graph(net.dense(net.image, 3)))


@pytest.mark.parametrize("name", ["keras_mobilenet", "keras_mobilenet_v2", "keras_mobilenet_v3"])
def test_keras_own_mobilenets_are_mirrored_exactly(name: str) -> None:
    graph = network(name, np.random.default_rng(0))
    mirrored = mirror(graph)
    assert pads_at_the_end(graph)
    assert not pads_at_the_end(mirrored)
    assert all(op.options["padding"] in (SAME, VALID) for op in mirrored.operators if "CONV" in op.kind)
    assert_answers_alike(graph, mirrored, tolerance=1e-5)


@pytest.mark.parametrize("said", [b"no", b"[]", b'{"flip": ["depth"]}', b'{"flip": 1}', b"[" * 100_000])
def test_metadata_that_say_no_axes_are_one_clear_error(said: bytes) -> None:
    graph = replace(small_mobilenet(), metadata=((INPUT_METADATA, said),))
    with pytest.raises(ModelError, match="cannot be read"):
        assert graph.input_flips
