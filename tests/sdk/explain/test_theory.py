"""MACs, bytes and rooflines are those that a person with paper and pencil gets."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdk.api.measuring.measure import known_peaks
from sdk.board.catalogue import load_board
from sdk.errors import ModelError
from sdk.explain.breakdown import Peaks
from sdk.explain.macs import count_macs
from sdk.explain.theory import GROUPS, OperatorCost, operator_costs, parameters, roofline, totals
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Quantization, Tensor


def value(*shape: int, dtype: str = "FLOAT32") -> Tensor:
    return Tensor("value", shape, dtype)


def constant(*shape: int, dtype: str = "FLOAT32", fill: Any = 1, **more: Any) -> Tensor:
    kinds = {
        "FLOAT32": np.float32,
        "FLOAT16": np.float16,
        "INT8": np.int8,
        "UINT8": np.uint8,
        "INT32": np.int32,
    }
    return Tensor("constant", shape, dtype, np.full(shape, fill, kinds[dtype]), **more)


def one(kind: str, inputs: list[Tensor | None], output: Tensor, **options: Any) -> OperatorCost:
    """The cost of a graph of a single operator."""
    present = [tensor for tensor in inputs if tensor is not None]
    numbers = iter(range(len(present)))
    indices = tuple(-1 if tensor is None else next(numbers) for tensor in inputs)
    operator = Operator(kind, indices, (len(present),), options)
    [cost] = operator_costs(Graph((*present, output), (operator,), (0,), (len(present),)))
    return cost


# --- MACs, by hand ------------------------------------------------------------------------------------------------


def test_a_convolution_costs_kernel_times_input_channels_at_every_output():
    # MobileNet's stem: 112 x 112 x 32 outputs, each of 3 x 3 x 3 products.
    cost = one(
        "CONV_2D", [value(1, 224, 224, 3), constant(32, 3, 3, 3), constant(32)], value(1, 112, 112, 32)
    )
    assert cost.macs == 112 * 112 * 32 * 27 == 10_838_016
    assert cost.group == "convolution"
    assert cost.weight_bytes == 4 * (32 * 27 + 32)
    assert cost.activation_bytes == 4 * (224 * 224 * 3 + 112 * 112 * 32)


def test_a_1x1_convolution_is_a_group_of_its_own():
    cost = one("CONV_2D", [value(1, 7, 7, 64), constant(128, 1, 1, 64), None], value(1, 7, 7, 128))
    assert (cost.macs, cost.group) == (7 * 7 * 64 * 128, "convolution 1x1")
    assert cost.weight_bytes == 4 * 64 * 128


def test_a_grouped_convolution_costs_a_group_less():
    # ShuffleNet's 1x1 with 3 groups: the weight holds 240 / 3 input channels.
    dense = one("CONV_2D", [value(1, 28, 28, 240), constant(60, 1, 1, 240)], value(1, 28, 28, 60))
    grouped = one("CONV_2D", [value(1, 28, 28, 240), constant(60, 1, 1, 80)], value(1, 28, 28, 60))
    assert dense.macs == 3 * grouped.macs == 28 * 28 * 60 * 240
    assert grouped.group == "convolution 1x1"


def test_a_convolution_with_as_many_groups_as_channels_is_depthwise():
    cost = one("CONV_2D", [value(1, 8, 8, 16), constant(16, 3, 3, 1)], value(1, 8, 8, 16))
    assert (cost.macs, cost.group) == (8 * 8 * 16 * 9, "depthwise")
    grey = one("CONV_2D", [value(1, 8, 8, 1), constant(16, 3, 3, 1)], value(1, 8, 8, 16))
    assert (grey.macs, grey.group) == (8 * 8 * 16 * 9, "convolution")


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_costs_its_kernel_at_every_output(multiplier: int):
    channels = 32 * multiplier
    cost = one(
        "DEPTHWISE_CONV_2D",
        [value(1, 14, 14, 32), constant(1, 3, 5, channels), constant(channels)],
        value(1, 7, 7, channels),
        depthMultiplier=multiplier,
        strideW=2,
        strideH=2,
    )
    assert (cost.macs, cost.group) == (7 * 7 * channels * 15, "depthwise")


def test_a_fully_connected_layer_costs_its_weights_for_every_row():
    cost = one("FULLY_CONNECTED", [value(1, 1024), constant(1000, 1024), constant(1000)], value(1, 1000))
    assert (cost.macs, cost.group) == (1_024_000, "fully connected")
    rows = one(
        "FULLY_CONNECTED", [value(2, 5, 64), constant(10, 64), None], value(2, 5, 10), keepNumDims=True
    )
    assert rows.macs == 2 * 5 * 10 * 64


def test_a_transposed_convolution_costs_its_kernel_at_every_input():
    cost = one(
        "TRANSPOSE_CONV",
        [constant(4, dtype="INT32"), constant(8, 3, 3, 16), value(1, 5, 5, 16)],
        value(1, 10, 10, 8),
    )
    assert (cost.macs, cost.group) == (5 * 5 * 16 * 9 * 8, "convolution")


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_product_of_matrices_costs_rows_times_inner_times_columns(adjoint: bool):
    left = value(2, 7, 5) if adjoint else value(2, 5, 7)
    cost = one("BATCH_MATMUL", [left, value(2, 7, 3)], value(2, 5, 3), adjX=adjoint)
    assert (cost.macs, cost.group) == (2 * 5 * 7 * 3, "fully connected")


def test_three_dimensional_convolutions_are_counted():
    assert count_macs("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 8)], (1, 4, 4, 4, 8), {}) == 64 * 8 * 27 * 2
    assert (
        count_macs("CONV_3D_TRANSPOSE", [(5,), (2, 2, 2, 8, 3), (1, 4, 4, 4, 3)], (1, 8, 8, 8, 8), {})
        == 64 * 3 * 8 * 8
    )


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("RESHAPE", "shuffle and data movement"),
        ("TRANSPOSE", "shuffle and data movement"),
        ("PAD", "shuffle and data movement"),
        ("CONCATENATION", "shuffle and data movement"),
        ("STRIDED_SLICE", "shuffle and data movement"),
        ("PACK", "shuffle and data movement"),
        ("ADD", "element-wise"),
        ("RELU", "element-wise"),
        ("HARD_SWISH", "element-wise"),
        ("MAX_POOL_2D", "pooling"),
        ("MEAN", "pooling"),
        ("SOFTMAX", "other"),
        ("RESIZE_BILINEAR", "other"),
    ],
)
def test_an_operator_without_macs_is_recognised_and_still_moves_bytes(kind: str, group: str):
    cost = one(kind, [value(1, 4, 4, 8)], value(1, 4, 4, 8))
    assert (cost.macs, cost.effective_macs, cost.group) == (0, 0, group)
    assert cost.is_zero_mac
    assert cost.activation_bytes == 2 * 4 * 128
    assert cost.arithmetic_intensity == 0


def test_an_operator_whose_macs_are_not_known_is_named_and_not_called_free():
    graph = Graph(
        (value(1, 4), value(1, 4)), (Operator("CUSTOM", (0,), (1,), custom_code="Mine"),), (0,), (1,)
    )
    [cost] = operator_costs(graph)
    assert not cost.counted
    assert not cost.is_zero_mac
    assert totals([cost]).not_counted == ("CUSTOM",)


def test_bytes_follow_the_type():
    def size(dtype: str) -> int:
        return one("RELU", [value(1, 4, dtype=dtype)], value(1, 4, dtype=dtype)).activation_bytes

    assert [size(t) for t in ("FLOAT32", "FLOAT16", "INT8", "INT64", "INT4")] == [32, 16, 8, 64, 4]


def test_an_input_read_twice_is_loaded_once():
    operator = Operator("MUL", (0, 0), (1,))
    [cost] = operator_costs(Graph((value(1, 8), value(1, 8)), (operator,), (0,), (1,)))
    assert cost.activation_bytes == 4 * (8 + 8)


def test_the_shape_of_a_tensor_is_read_without_its_values():
    cost = one("SHAPE", [value(1, 1000)], value(2, dtype="INT32"))
    assert cost.activation_bytes == 8


def test_arithmetic_intensity_is_operations_a_byte():
    cost = one("FULLY_CONNECTED", [value(1, 100), constant(10, 100), None], value(1, 10))
    assert cost.arithmetic_intensity == pytest.approx(2 * 1000 / (4 * (1000 + 100 + 10)))


@pytest.mark.parametrize(
    ("kind", "inputs"), [("CONV_2D", [value(1, 4, 4, 3)]), ("DEPTHWISE_CONV_2D", [value(4)]), ("CONV_2D", [])]
)
def test_an_operator_without_its_inputs_is_refused_by_name(kind: str, inputs: list[Tensor]):
    with pytest.raises(ModelError, match=f"operator 0 is not a sound {kind}"):
        one(kind, inputs, value(1, 2, 2, 8))


# --- effective MACs -----------------------------------------------------------------------------------------------


def products(
    image: tuple[int, ...], weight: np.ndarray, stride: int, groups: int, depthwise: bool
) -> tuple[int, int]:
    """Counts, one by one, the products of a convolution that is padded to keep ceil(size / stride); and how many of
    them have a weight other than 0."""
    height, width = -(-image[1] // stride), -(-image[2] // stride)
    every = useful = 0
    for _ in range(height * width):
        if depthwise:
            taps = weight[0]  # (kernel, kernel, channels)
            every, useful = every + taps.size, useful + np.count_nonzero(taps)
            continue
        for output in weight:  # (kernel, kernel, channels / groups)
            every, useful = every + output.size, useful + np.count_nonzero(output)
    assert depthwise or weight.shape[3] * groups == image[3]
    return every, int(useful)


@pytest.mark.parametrize(
    ("stride", "kernel", "groups", "depthwise"),
    [*itertools.product((1, 2), (1, 3), (1, 2), (False,)), (1, 3, 1, True), (2, 5, 1, True)],
)
def test_dense_and_effective_macs_agree_with_counting_every_product(
    stride: int, kernel: int, groups: int, depthwise: bool
):
    rng = np.random.default_rng(kernel * 10 + groups)
    shape = (1, kernel, kernel, 4) if depthwise else (6, kernel, kernel, 4 // groups)
    weight = rng.normal(size=shape).astype(np.float32) * (rng.random(shape) < 0.4)
    image = (1, 7, 5, 4)
    output = (1, -(-7 // stride), -(-5 // stride), 4 if depthwise else 6)
    cost = one(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [value(*image), Tensor("w", shape, "FLOAT32", weight)],
        value(*output),
    )
    assert (cost.macs, cost.effective_macs) == products(image, weight, stride, groups, depthwise)
    assert 0 < cost.effective_macs < cost.macs


def test_the_zero_of_a_quantised_weight_is_its_zero_point():
    points = Quantization(np.array([0.1], np.float32), np.array([7]))
    weight = np.array([[7, 7, 7, 1], [0, 7, 7, 2]], np.uint8)
    tensor = Tensor("w", (2, 4), "UINT8", weight, points)
    cost = one("FULLY_CONNECTED", [value(1, 4, dtype="UINT8"), tensor, None], value(1, 2, dtype="UINT8"))
    assert (cost.macs, cost.effective_macs, cost.dtype) == (8, 3, "int8")


def test_every_output_channel_may_have_a_zero_point_of_its_own():
    points = Quantization(np.array([0.1, 0.1], np.float32), np.array([7, 0]), axis=0)
    weight = np.array([[7, 7, 0, 1], [0, 7, 0, 2]], np.int8)
    tensor = Tensor("w", (2, 4), "INT8", weight, points)
    cost = one("FULLY_CONNECTED", [value(1, 4, dtype="INT8"), tensor, None], value(1, 2, dtype="INT8"))
    assert cost.effective_macs == 2 + 2


def test_weights_behind_densify_and_dequantize_count_as_constants_and_are_prepared_once():
    sparse = Tensor(
        "sparse",
        (2, 4),
        "FLOAT32",
        np.array([1, 2, 0], np.float32).view(np.uint8),
        sparsity=SimpleNamespace(),
    )
    half = constant(3, 2, dtype="FLOAT16", fill=0.5)
    graph = Graph(
        (value(1, 4), sparse, value(2, 4), value(1, 2), half, value(3, 2), value(1, 3)),
        (
            Operator("DENSIFY", (1,), (2,)),
            Operator("FULLY_CONNECTED", (0, 2, -1), (3,)),
            Operator("DEQUANTIZE", (4,), (5,)),
            Operator("FULLY_CONNECTED", (3, 5, -1), (6,)),
        ),
        (0,),
        (6,),
    )
    densify, first, dequantize, second = operator_costs(graph)
    assert densify.bytes == dequantize.bytes == 0
    assert (first.macs, first.effective_macs) == (8, 2)
    assert (second.macs, second.effective_macs) == (6, 6)
    assert first.weight_bytes == 4 * 8
    assert first.activation_bytes == 4 * (4 + 2)
    assert parameters(graph) == 8 + 6


def test_dequantizing_a_computed_value_is_work():
    cost = one("DEQUANTIZE", [value(1, 8, dtype="INT8")], value(1, 8))
    assert (cost.group, cost.activation_bytes) == ("element-wise", 8 + 32)


def test_parameters_count_shared_weights_once_and_shapes_never():
    graph = Graph(
        (
            value(1, 4),
            constant(4, 4),
            constant(4),
            value(1, 4),
            value(1, 4),
            constant(2, dtype="INT32"),
            value(2, 2),
        ),
        (
            Operator("FULLY_CONNECTED", (0, 1, 2), (3,)),
            Operator("FULLY_CONNECTED", (3, 1, 2), (4,)),
            Operator("RESHAPE", (4, 5), (6,)),
        ),
        (0,),
        (6,),
    )
    assert parameters(graph) == 16 + 4


# --- totals -------------------------------------------------------------------------------------------------------


def shuffle_unit() -> Graph:
    """1x1 convolution, channel shuffle as three operators, depthwise convolution, sum with the input."""
    tensors = (
        value(1, 8, 8, 12),  # 0
        constant(12, 1, 1, 4),  # 1
        value(1, 8, 8, 12),  # 2
        constant(5, dtype="INT32"),  # 3
        value(1, 8, 8, 3, 4),  # 4
        constant(5, dtype="INT32"),  # 5
        value(1, 8, 8, 4, 3),  # 6
        constant(4, dtype="INT32"),  # 7
        value(1, 8, 8, 12),  # 8
        constant(1, 3, 3, 12),  # 9
        value(1, 8, 8, 12),  # 10
        value(1, 8, 8, 12),  # 11
    )
    operators = (
        Operator("CONV_2D", (0, 1), (2,)),
        Operator("RESHAPE", (2, 3), (4,)),
        Operator("TRANSPOSE", (4, 5), (6,)),
        Operator("RESHAPE", (6, 7), (8,)),
        Operator("DEPTHWISE_CONV_2D", (8, 9), (10,)),
        Operator("ADD", (10, 0), (11,)),
    )
    return Graph(tensors, operators, (0,), (11,))


def test_totals_are_the_sums_of_the_operators_and_of_the_groups():
    costs = operator_costs(shuffle_unit())
    total = totals(costs)
    assert total.operators == 6
    assert total.zero_mac_operators == 4
    assert total.macs == 64 * 12 * 4 + 64 * 12 * 9
    assert total.activation_bytes == sum(cost.activation_bytes for cost in costs) == 4 * 768 * (6 * 2 + 1)
    assert [(g.group, g.operators) for g in total.groups] == [
        ("convolution 1x1", 1),
        ("depthwise", 1),
        ("element-wise", 1),
        ("shuffle and data movement", 3),
    ]
    for name in ("operators", "macs", "effective_macs", "weight_bytes", "activation_bytes"):
        assert getattr(total, name) == sum(getattr(group, name) for group in total.groups)
    assert total.not_counted == ()


def test_the_order_of_the_operators_in_a_group_does_not_matter_and_no_group_is_lost():
    costs = operator_costs(shuffle_unit())
    assert totals(reversed(costs)) == totals(costs)
    assert {cost.group for cost in costs} <= set(GROUPS)


def test_costs_and_totals_survive_json():
    costs = operator_costs(shuffle_unit())
    record = json.loads(json.dumps([cost.to_json() for cost in costs]))
    assert record[0]["macs"] == 64 * 12 * 4
    assert record[0]["output_shape"] == [1, 8, 8, 12]
    assert json.loads(json.dumps(totals(costs).to_json()))["groups"][0]["group"] == "convolution 1x1"


# --- roofline -----------------------------------------------------------------------------------------------------


def peaks_of(board: str, threads: int = 1) -> Peaks:
    peaks = known_peaks(load_board(board), threads)
    assert peaks is not None
    return peaks


def test_the_roofline_is_the_larger_of_computing_and_moving():
    peaks = peaks_of("rpi5")  # 38.369 GFLOP/s a core, 12.0 GB/s both ways
    costs = operator_costs(shuffle_unit())
    convolution, reshape, *_ = roofline(costs, peaks).operators
    assert convolution.compute_seconds == pytest.approx(2 * 64 * 12 * 4 / 38.369e9)
    assert convolution.memory_seconds == pytest.approx(4 * (768 + 768 + 48) / 12.0e9)
    assert convolution.seconds == convolution.memory_seconds
    assert convolution.bound == "memory"
    assert reshape.compute_seconds == 0
    assert reshape.bound == "memory"
    whole = roofline(costs, peaks)
    assert whole.seconds == pytest.approx(sum(operator.seconds for operator in whole.operators))


def big_convolution(dtype: str = "FLOAT32", fill: int = 1) -> tuple[OperatorCost, ...]:
    weight = constant(256, 3, 3, 256, dtype=dtype, fill=fill)
    return (one("CONV_2D", [value(1, 28, 28, 256, dtype=dtype), weight], value(1, 28, 28, 256, dtype=dtype)),)


def test_threads_divide_computing_and_leave_memory_alone():
    single, four, eight = (roofline(big_convolution(), peaks_of("rock5b", n)).operators[0] for n in (1, 4, 8))
    assert single.bound == "compute"
    assert four.compute_seconds == pytest.approx(single.compute_seconds / 4)
    assert eight.compute_seconds == pytest.approx(single.compute_seconds * 38.012 / (4 * 38.012 + 4 * 14.593))
    assert single.memory_seconds == four.memory_seconds == eight.memory_seconds


def test_int8_operators_meet_the_int8_peak():
    peaks = peaks_of("rpi5")
    floating, integer = (roofline(big_convolution(t), peaks).operators[0] for t in ("FLOAT32", "INT8"))
    assert integer.compute_seconds == pytest.approx(floating.compute_seconds * 38.369 / 153.48)
    assert integer.memory_seconds == pytest.approx(floating.memory_seconds / 4)


@pytest.mark.parametrize(
    ("weights", "dtype"), [("FLOAT32", "float32"), ("INT8", "int8"), ("FLOAT16", "float32")]
)
def test_floats_by_weights_of_8_bits_are_multiplied_as_integers(weights: str, dtype: str):
    # The runtime rounds the inputs of such a layer while it runs, so that theory at the peak of floats is no bound.
    cost = one("FULLY_CONNECTED", [value(1, 64), constant(10, 64, dtype=weights), None], value(1, 10))
    assert cost.dtype == dtype
    # Weights that are made floats before stay what they were.
    tensors = (value(1, 64), constant(10, 64, dtype="INT8"), value(10, 64), value(1, 10))
    graph = Graph(
        tensors,
        (Operator("DEQUANTIZE", (1,), (2,)), Operator("FULLY_CONNECTED", (0, 2, -1), (3,))),
        (0,),
        (3,),
    )
    assert operator_costs(graph)[1].dtype == "float32"


def test_kernels_that_skip_zeros_have_a_roofline_of_their_own():
    costs = big_convolution(fill=0)
    peaks = peaks_of("rpi4")
    assert roofline(costs, peaks, skips_zeros={0}).operators[0].compute_seconds == 0
    assert roofline(costs, peaks).operators[0].compute_seconds > 0


@pytest.mark.parametrize("name", ["local", "virtual-arm64"])
def test_a_board_whose_figures_are_unknown_has_none_to_hold_a_model_against(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path))  # no calibration of the user of this process
    assert known_peaks(load_board(name), 1) is None


def test_without_a_bandwidth_only_computing_takes_time():
    slow = Peaks(1e9, "the test")
    (operator,) = roofline(big_convolution(), slow).operators
    assert (operator.memory_seconds, operator.bound) == (0.0, "compute")


# --- networks that everybody knows --------------------------------------------------------------------------------


@pytest.mark.tensorflow
def test_a_converted_mobilenet_has_the_macs_and_parameters_of_its_paper():
    keras = pytest.importorskip("keras")
    from sdk.graph.on_host.sources.keras_files import from_keras

    model = keras.applications.MobileNet(weights=None)
    rng = np.random.default_rng(0)
    # No two constants alike: the converter would keep a single one of them.
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in model.get_weights()])
    graph = read_graph(from_keras(model))
    costs = operator_costs(graph)
    total = totals(costs)
    assert total.macs == total.effective_macs == 568_740_352
    assert total.not_counted == ()
    # 4,253,864 in Keras; folding turns the four vectors of every batch norm (10,944 channels in all) into a bias.
    assert parameters(graph) == 4_253_864 - 3 * 10_944
    assert {cost.dtype for cost in costs} == {"float32"}
    # One thread of a Raspberry Pi 4: compute-bound nearly throughout, so not far above MACs over peak.
    least = roofline(costs, peaks_of("rpi4")).seconds
    assert 2 * total.macs / 14.4e9 <= least < 1.3 * 2 * total.macs / 14.4e9
