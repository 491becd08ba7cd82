"""ShuffleNet V2's shuffles are cut before they are made: half of the elements stay where they are, the answer too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.board_form.shuffle_halves import part_shuffles
from sdk.graph.records import Graph, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.compress.rewrite.test_channels_last import LAST, NO, Build, channels_last, kinds, same_answer


def unit(
    b: Build, left: int, right: int, *, through_convolution: bool, split: bool = False
) -> tuple[int, int]:
    """Two halves (1, 4, 8, 10) joined, shuffled and cut again; the right one enters a convolution."""
    joined = b.put("CONCATENATION", (left, right), (1, 8, 8, 10), "ConcatenationOptions", axis=1, **NO)
    turned = b.turn(b.reshape(joined, 1, 2, 4, 8, 10), (0, 2, 1, 3, 4))
    whole, size = b.reshape(turned, 1, 8, 8, 10), b.numbers(1, 4, 8, 10)
    if split:
        first = b.put("SPLIT", (b.numbers(1), whole), (1, 4, 8, 10), "SplitOptions", numSplits=2)
        b.tensors.append(Tensor("half", (1, 4, 8, 10), "FLOAT32"))
        second = len(b.tensors) - 1
        b.operators[-1] = replace(b.operators[-1], outputs=(first, second))
        return first, b.convolution(second, 4)
    first = b.put("SLICE", (whole, b.numbers(0, 0, 0, 0), size), (1, 4, 8, 10), "SliceOptions")
    second = b.put("SLICE", (whole, b.numbers(0, 4, 0, 0), size), (1, 4, 8, 10), "SliceOptions")
    return first, b.convolution(second, 4) if through_convolution else b.put(
        "LOGISTIC", (second,), (1, 4, 8, 10)
    )


def network(*, through_convolution: bool, split: bool = False) -> Graph:
    b = Build(1, 3, 8, 10)
    left, right = b.convolution(0, 4), b.convolution(0, 4)
    for _ in range(3):
        left, right = unit(b, left, right, through_convolution=through_convolution, split=split)
    return b.graph(b.turn(b.put("ADD", (left, right), (1, 4, 8, 10), "AddOptions", **NO), LAST))


def turned_elements(graph: Graph) -> int:
    return sum(graph.tensors[op.outputs[0]].elements for op in graph.operators if op.kind == "TRANSPOSE")


@pytest.mark.parametrize("split", [False, True])
def test_only_what_passes_by_is_shuffled(split: bool) -> None:
    original = network(through_convolution=True, split=split)
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
