"""The form that a board gets: exact, the cheaper one, and every choice with its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.board.catalogue import list_boards, load_board
from sdk.compress.board_form.cost import instructions
from sdk.compress.board_form.shuffle import settle_shuffles
from sdk.compress.board_form.sparse_path import sparse_path
from sdk.compress.board_form.specialise import block_for, for_board, runs_sparse
from sdk.compress.board_form.widen import widen
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.structure import groups_of
from sdk.compress.weights.prune import prune
from sdk.graph.enums import NO_ACTIVATION
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.device_agent.run.kernels.layers_with_zeros import Images
from tests.golden.make_networks import network
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    prune_pointwise,
    small_mobilenet,
    small_shufflenet,
    squeezed_mobilenet,
)


def test_a_pruned_mobilenet_runs_sparse_on_a_raspberry_pi_4() -> None:
    graph = prune(small_mobilenet(), 0.8)
    made = for_board(graph, load_board("rpi4"))
    assert made.form == "sparse"
    assert made.applied == ("mirror", "flip_inside", "sparse_hint")
    assert sparse_path(made.graph).sparse
    assert sparse_path(made.graph).hinted
    assert_answers_alike(graph, made.graph)


@pytest.mark.parametrize("caller_flips", [True, False])
def test_the_image_is_flipped_by_the_caller_or_by_the_graph(caller_flips: bool) -> None:
    graph = prune(small_mobilenet(), 0.8)
    made = for_board(graph, load_board("rpi4"), caller_flips=caller_flips)
    assert made.graph.input_flips == (("height", "width") if caller_flips else ())
    assert ("REVERSE_V2" in kinds(made.graph)) != caller_flips
    assert_answers_alike(graph, made.graph)


def test_predicted_seconds_decide_instead_of_estimated_instructions() -> None:
    graph = prune(small_mobilenet(), 0.8)

    def slower_sparse(form: Graph) -> float:
        return 0.02 if sparse_path(form).hinted else 0.01

    by_time = for_board(graph, load_board("rpi3"), seconds=slower_sparse)
    assert by_time.form == "dense"
    assert by_time.passes[-1].reason == "predicted, not measured: 20 ms sparse, 10 ms dense"
    assert for_board(graph, load_board("rpi3"), seconds=lambda form: 1.0).form == "dense"
    assert for_board(graph, load_board("rpi3"), seconds=lambda form: 1 / slower_sparse(form)).form == "sparse"


def test_fours_run_in_the_kernels_of_armlet_where_that_costs_less() -> None:
    images = Images(24, 24, 16)
    graph = read_graph(
        images.model(images.convolve(images.convolve(0, 64, 3, keep=0.2, block=4), 64, 3, keep=1.0))
    )
    graph = prune(graph, 0.8, block=4)
    made = for_board(graph, load_board("rpi4"), armlet=True)
    assert made.form == "armlet"
    assert "instructions in kernels of Armlet, each as long as 2 of" in made.passes[-1].reason
    assert not any(tensor.sparsity for tensor in made.graph.tensors)  # which their delegate does not take
    assert for_board(graph, load_board("rpi4")).form == "dense"
    # Pairs and fours of 1x1 convolutions are quicker in the runtime's own sparse kernels.
    assert for_board(prune(small_mobilenet(), 0.9, block=4), load_board("rpi4"), armlet=True).form == "sparse"
    dense = for_board(small_mobilenet(), load_board("rpi4"), armlet=True)
    assert (dense.form, dense.passes[-1].applied) == ("dense", False)

    def slow(form: Graph, *, armlet: bool = False) -> float:
        return 0.02 if armlet else 0.01

    by_time = for_board(graph, load_board("rpi4"), armlet=True, seconds=slow)
    assert by_time.form != "armlet"
    assert by_time.passes[-1].reason.startswith("predicted, not measured: 20 ms in kernels of Armlet, 10 ms")


def test_a_dense_mobilenet_stays_the_model_that_it_is() -> None:
    graph = small_mobilenet()
    made = for_board(graph, load_board("rpi4"))
    assert made.form == "dense"
    assert made.applied == ()
    assert write_graph(made.graph) == write_graph(graph)
    assert made.passes[-1].reason == "0 % of the 1x1 weights are zero, more than 67 % must be"


def test_weights_of_zeros_alone_leave_nothing_to_hint_at_and_no_error() -> None:
    graph = small_mobilenet()
    nothing = {
        weight.tensor_index: np.zeros_like(weight.array)
        for weight in graph.weights()
        if weight.layer == "convolution 1x1"
    }
    made = for_board(graph.with_data(nothing), load_board("rpi4"))
    assert made.form == "dense"
    assert "nothing to run sparse" in made.passes[-1].reason


def test_a_pruned_shufflenet_is_lowered_until_it_runs_sparse() -> None:
    graph = prune_pointwise(small_shufflenet(size=64), 0.8)
    made = for_board(graph, load_board("rpi4"), caller_flips=True)
    assert made.form == "sparse"
    assert {"fold_shuffles", "average_pools_as_depthwise", "mirror", "enter_channels_first"} <= set(
        made.applied
    )
    assert not {"TRANSPOSE", "CONCATENATION", "AVERAGE_POOL_2D", "RELU"} & set(kinds(made.graph))
    assert sparse_path(made.graph).sparse
    assert_answers_alike(graph, made.graph)


@pytest.mark.parametrize("size", [32, 35])
def test_a_pruned_network_with_squeeze_and_excitation_runs_sparse(size: int) -> None:
    graph = prune_pointwise(squeezed_mobilenet(size), 0.8)
    made = for_board(graph, load_board("rpi4"), caller_flips=True)
    assert (made.form, sparse_path(made.graph).sparse) == ("sparse", True)
    assert "inner_means_as_depthwise" in made.applied
    assert kinds(made.graph).count("MEAN") == 1
    assert_answers_alike(graph, made.graph, tolerance=1e-5)


def test_a_dense_shufflenet_keeps_its_groups_and_loses_what_does_nothing() -> None:
    graph = small_shufflenet()
    made = for_board(graph, load_board("rpi4"))
    assert made.form == "dense"
    assert "settle_shuffles" in made.applied
    assert any(groups_of(made.graph, op) == 3 for op in made.graph.operators if op.kind == "CONV_2D")
    assert "instructions sparse" in made.passes[-1].reason
    assert_answers_alike(graph, made.graph, tolerance=0)


def test_on_the_host_nothing_is_done_that_only_pays_on_arm() -> None:
    graph = prune(small_mobilenet(), 0.9)
    made = for_board(graph, load_board("local"))
    assert made.form == "dense"
    assert write_graph(made.graph) == write_graph(graph)


def test_a_runtime_that_ignores_the_hint_gets_none() -> None:
    board = load_board("rpi4")
    assert runs_sparse(board)
    assert not runs_sparse(board, "tflite-runtime")  # Cortex-A72: no fp16 arithmetic
    assert runs_sparse(load_board("rpi5"), "tflite-runtime")
    assert not runs_sparse(load_board("local"))
    assert not runs_sparse(replace(board, architecture="armv7l"))
    made = for_board(prune(small_mobilenet(), 0.9), board, runtime="tflite-runtime")
    assert made.form == "dense"
    assert "tflite-runtime has no sparse kernels" in made.passes[-1].reason


def test_every_64_bit_board_of_the_catalogue_prefers_a_runtime_that_takes_the_hint() -> None:
    boards = [board for board in list_boards() if board.architecture == "aarch64"]
    assert len(boards) > 5
    assert [board.name for board in boards if not runs_sparse(board)] == []


def test_pairs_are_for_what_would_run_sparse() -> None:
    graph = small_mobilenet()
    assert block_for(graph, load_board("rpi4"), 0.8) == 2
    assert block_for(graph, load_board("rpi4"), 0.0) == 1
    assert block_for(graph, load_board("local"), 0.8) == 1
    net = Layers(1, 32, 32, 3)  # no mean: nothing to run sparse
    assert block_for(net.graph(net.conv(net.conv(net.image, 12, 3), 48)), load_board("rpi4"), 0.8) == 1


def test_what_cannot_be_mirrored_says_why_and_keeps_its_answers() -> None:
    net = Layers(1, 32, 32, 3)
    x = net.conv(net.image, 12, 3, stride=2)
    x = net.append("SPACE_TO_DEPTH", (x,), (1, 8, 8, 48), "SpaceToDepthOptions", blockSize=2)
    graph = prune(net.graph(net.mean(net.conv(net.depthwise(x, stride=2), 48))), 0.9)
    made = for_board(graph, load_board("rpi4"))
    assert "mirror" not in made.applied
    assert made.graph.input_flips == ()
    assert_answers_alike(graph, made.graph)


def test_channels_are_rounded_up_to_the_kernel_and_cut_off_again() -> None:
    net = Layers(1, 8, 8, 3)
    first = net.conv(net.image, 12, 3)
    second = net.conv(net.depthwise(first), 20)
    graph = net.graph(net.mean(net.add(second, net.conv(first, 20, activation=NO_ACTIVATION))))
    widened = widen(graph)
    outputs = {op.outputs[0]: op for op in widened.operators if op.kind == "CONV_2D"}
    assert all(widened.tensors[t].shape[3] % 8 == 0 for t in outputs)
    assert kinds(widened).count("SLICE") == 3  # the first is read twice, the other two by a sum
    assert_answers_alike(graph, widened, tolerance=0)


def test_extra_channels_end_in_the_next_convolution_where_it_can_ignore_them() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.depthwise(net.conv(net.image, 12, 3)), 16)
    graph = net.graph(net.mean(x))
    widened = widen(graph)
    assert kinds(widened) == kinds(graph)
    assert [widened.tensors[op.outputs[0]].shape[-1] for op in widened.operators] == [16, 16, 16, 16]
    assert_answers_alike(graph, widened, tolerance=0)


def test_channels_that_fit_the_kernel_and_groups_are_left_alone() -> None:
    graph = small_mobilenet()
    assert write_graph(widen(graph)) == write_graph(graph)
    net = Layers(1, 8, 8, 12)
    grouped = net.graph(net.mean(net.conv(net.image, 12, groups=3)))
    assert write_graph(widen(grouped)) == write_graph(grouped)


# Millions of instructions per inference, counted (QEMU's Cortex-A72, ai-edge-litert 2.3.0, one thread, 224x224).
COUNTED = {
    ("mobilenet_v1", 0.0): 210.4,
    ("mobilenet_v1", 0.8): 73.4,
    ("mobilenet_v1", 0.9): 47.3,
    ("mobilenet_v2", 0.0): 123.4,
    ("mobilenet_v3", 0.0): 93.9,
    ("mobilenet_v3", 0.8): 47.3,
    ("efficientnet_b0", 0.0): 223.8,
    ("efficientnet_b0", 0.8): 143.7,
    ("shufflenet_v1", 0.0): 63.5,
    ("shufflenet_v1", 0.5): 50.7,
}


@pytest.mark.parametrize(("name", "sparsity"), COUNTED)
def test_the_estimate_is_within_a_tenth_of_what_was_counted(name: str, sparsity: float) -> None:
    graph = network(name, np.random.default_rng(0))
    if sparsity:
        graph = prune_pointwise(graph, sparsity)
        made = for_board(graph, load_board("rpi4"), caller_flips=True)
        assert made.form == "sparse"
        estimate = instructions(made.graph, set(sparse_path(made.graph).operators))
    else:
        estimate = instructions(widen(settle_shuffles(fuse(graph))))
    assert estimate / 1e6 == pytest.approx(COUNTED[name, sparsity], rel=0.1)
