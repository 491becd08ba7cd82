"""ShuffleNet V2's shuffles are cut before they are made: half of the elements stay where they are, the answer too."""

from __future__ import annotations

import numpy as np

from sdk.compress.board_form.shuffle_halves import part_shuffles
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.rewrite.test_channels_last import LAST, NO, Build, channels_last, kinds, same_answer


def unit(b: Build, left: int, right: int, *, through_convolution: bool) -> tuple[int, int]:
    """Two halves (1, 4, 8, 10) joined, shuffled and cut again; the right one enters a convolution."""
    joined = b.put("CONCATENATION", (left, right), (1, 8, 8, 10), "ConcatenationOptions", axis=1, **NO)
    turned = b.turn(b.reshape(joined, 1, 2, 4, 8, 10), (0, 2, 1, 3, 4))
    whole, size = b.reshape(turned, 1, 8, 8, 10), b.numbers(1, 4, 8, 10)
    first = b.put("SLICE", (whole, b.numbers(0, 0, 0, 0), size), (1, 4, 8, 10), "SliceOptions")
    second = b.put("SLICE", (whole, b.numbers(0, 4, 0, 0), size), (1, 4, 8, 10), "SliceOptions")
    return first, b.convolution(second, 4) if through_convolution else b.put(
        "LOGISTIC", (second,), (1, 4, 8, 10)
    )


def network(*, through_convolution: bool) -> Graph:
    b = Build(1, 3, 8, 10)
    left, right = b.convolution(0, 4), b.convolution(0, 4)
    for _ in range(3):
        left, right = unit(b, left, right, through_convolution=through_convolution)
    return b.graph(b.turn(b.put("ADD", (left, right), (1, 4, 8, 10), "AddOptions", **NO), LAST))


def turned_elements(graph: Graph) -> int:
    return sum(graph.tensors[op.outputs[0]].elements for op in graph.operators if op.kind == "TRANSPOSE")


def test_only_what_passes_by_is_shuffled() -> None:
    original = network(through_convolution=True)
    last = channels_last(original).graph
    assert kinds(last)["TRANSPOSE"] == 3
    parted = part_shuffles(last)
    assert turned_elements(parted) == turned_elements(last) // 2
    same_answer(original, parted, turned=True)


def test_where_no_convolution_takes_a_piece_all_stays() -> None:
    last = channels_last(network(through_convolution=False)).graph
    assert np.array_equal(
        np.frombuffer(write_graph(part_shuffles(last)), np.uint8), np.frombuffer(write_graph(last), np.uint8)
    )
