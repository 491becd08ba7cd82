"""Two thin layers in place of one: exact for a weight of that rank, nearest for others, only where it saves bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.package import reader as package_format
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import Settings, compress
from sdk.compress.rewrite.low_rank import candidates, factorise, factors, winning_rank
from sdk.compress.solve.layer import entropy_bits
from sdk.compress.solve.quantize import quantize
from sdk.data.loading import load_dataset
from sdk.errors import ModelError
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack
from tests.sdk.graph.small_graphs import interpret, small_network

RANK = 6


def of_rank(rows: int, columns: int, rank: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, (rows, rank)) @ rng.normal(0, 1, (rank, columns)) / rank).astype(np.float32)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Its 1x1 convolution, 128 x 64, has rank 6; the classifier is too small to look at."""
    plain = small_network(channels=64)
    return plain.with_data({7: of_rank(128, 64, RANK).reshape(128, 1, 1, 64)})


def test_a_matrix_of_the_rank_is_its_factors_product() -> None:
    matrix = of_rank(40, 30, 5)
    first, second = factors(matrix, 5)
    assert (first.shape, second.shape) == ((40, 5), (5, 30))
    np.testing.assert_allclose(first @ second, matrix, atol=1e-5)
    with pytest.raises(ModelError, match="out of range"):
        factors(matrix, 31)


def test_the_error_of_cutting_is_that_of_the_singular_values_left_out() -> None:
    matrix = np.random.default_rng(1).normal(0, 1, (20, 12)).astype(np.float32)
    values = np.linalg.svd(matrix, compute_uv=False)
    first, second = factors(matrix, 4)
    assert np.square(matrix - first @ second).sum() == pytest.approx(np.square(values[4:]).sum(), rel=1e-4)


def test_with_a_covariance_the_output_is_nearer_than_with_the_weights_own_factors() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.normal(0, 1, (20, 12)).astype(np.float32)
    inputs = rng.normal(0, 1, (500, 12)) @ (rng.normal(0, 1, (12, 12)) * np.geomspace(3, 0.05, 12))
    covariance = inputs.T @ inputs / len(inputs)

    def output_error(pair: tuple[np.ndarray, np.ndarray]) -> float:
        return float(np.square(inputs @ (matrix - pair[0] @ pair[1]).T).mean())

    plain, seeing = factors(matrix, 4), factors(matrix, 4, covariance)
    assert output_error(seeing) < 0.9 * output_error(plain)
    # By Eckart and Young no other of this rank is nearer: the singular values of W H^1/2 that are left out.
    root = np.linalg.cholesky(covariance)
    left_out = np.linalg.svd(matrix @ root, compute_uv=False)[4:]
    assert output_error(seeing) * 20 == pytest.approx(np.square(left_out).sum(), rel=1e-3)


def test_the_graph_answers_the_same_with_two_layers_in_place_of_one(graph: Graph) -> None:
    (weight,) = candidates(graph)
    low = factorise(graph, {weight.tensor_index: RANK})
    shapes = [w.tensor.shape for w in low.weights()]
    assert (RANK, 1, 1, 64) in shapes
    assert (128, 1, 1, RANK) in shapes
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        interpret(write_graph(low), image), interpret(write_graph(graph), image), rtol=1e-3, atol=1e-4
    )


def test_a_stride_and_an_activation_stay_where_they_were(graph: Graph) -> None:
    pointwise = graph.operators[2].with_options(strideH=2, strideW=2)
    tensors = tuple(replace(t, shape=(1, 2, 2, 128)) if t.name == "pointwise" else t for t in graph.tensors)
    operators = (*graph.operators[:2], pointwise, *graph.operators[3:])
    strided = replace(graph, tensors=tensors, operators=operators)
    low = factorise(strided, {7: RANK})
    narrow, wide = [op for op in low.operators if op.kind == "CONV_2D"][1:]
    assert (narrow.options["strideW"], wide.options["strideW"]) == (2, 1)
    assert (narrow.options["fusedActivationFunction"], wide.options["fusedActivationFunction"]) == (0, 3)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        interpret(write_graph(low), image), interpret(write_graph(strided), image), rtol=1e-3, atol=1e-4
    )


def test_a_layer_that_is_no_matrix_of_one_group_is_refused(graph: Graph) -> None:
    with pytest.raises(ModelError, match="cannot be factorised"):
        factorise(graph, {4: 2})


def test_a_weight_of_low_rank_wins_at_that_rank_and_noise_never_does() -> None:
    low = winning_rank(of_rank(128, 64, RANK), 0.02)
    assert low is not None
    assert RANK <= low[0] <= 2 * RANK
    assert low[1] < 0.5
    noise = np.random.default_rng(3).normal(0, 1, (128, 64)).astype(np.float32)
    assert winning_rank(noise, 0.02) is None
    assert winning_rank(noise, 0.5) is None


def test_without_data_factors_are_taken_where_they_are_smaller_and_no_further_off(graph: Graph) -> None:
    made = compress(graph)
    assert [name for name, _ in made.recipe.ranks] == ["pointwise/weight"]
    off = compress(graph, settings=Settings(low_rank=False))
    assert off.recipe.ranks == ()
    weights = {w.tensor.name: w.array for w in made.graph.weights()}
    alone = next(w.array for w in off.graph.weights() if w.tensor.name == "pointwise/weight")
    original = graph.tensors[7].data
    product = weights["pointwise/weight/out"][:, 0, 0] @ weights["pointwise/weight/in"][:, 0, 0]
    assert original is not None
    assert np.square(original[:, 0, 0] - product).sum() <= np.square(original - alone).sum()
    both = entropy_bits(weights["pointwise/weight/out"]) + entropy_bits(weights["pointwise/weight/in"])
    assert both < entropy_bits(alone)
    assert len(pack.pack(write_graph(made.graph))) < len(pack.pack(write_graph(off.graph)))


def test_a_recipe_with_ranks_survives_its_file_and_replays(graph: Graph) -> None:
    made = compress(graph)
    again = Recipe.from_toml(made.recipe.to_toml())
    assert again == made.recipe
    assert write_graph(apply(graph, again)) == write_graph(made.graph)
    with pytest.raises(ModelError, match="another model"):
        apply(graph, replace(again, ranks=(("elsewhere", 2),)))


@pytest.mark.tensorflow
def test_calibration_takes_factors_too_and_replays_them(graph: Graph, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", x=images)
    dataset = load_dataset(tmp_path / "noise.npz", input_shape=(8, 8, 3), preprocess="tf")
    made = compress(graph, dataset, Settings(effort="calibrate"))
    assert [name for name, _ in made.recipe.ranks] == ["pointwise/weight"]
    (point,) = made.curve
    assert point.agreement_percent is not None
    assert point.agreement_percent > 80
    assert write_graph(apply(graph, made.recipe, dataset=dataset)) == write_graph(made.graph)
    off = compress(graph, dataset, Settings(effort="calibrate", low_rank=False))
    # At one price of a bit a layer that is easier to say is said more exactly: the answers are the better ones.
    other = off.curve[0]
    assert point.package_bytes < 1.05 * other.package_bytes
    assert point.divergence_nats is not None
    assert other.divergence_nats is not None
    assert point.divergence_nats < 0.7 * other.divergence_nats


@pytest.mark.tensorflow
def test_an_8_bit_model_keeps_its_layers_whole(graph: Graph, tmp_path: Path) -> None:
    """Its own operators take the solved weights back, one for one."""
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", x=images)
    stored = quantize(graph, images[:20] / np.float32(127.5) - np.float32(1))
    (tmp_path / "net.tflite").write_bytes(write_graph(stored))
    made = sdk.compress_model(
        tmp_path / "net.tflite", tmp_path / "net.armlet", data=tmp_path / "noise.npz", effort="calibrate"
    )
    assert made.effort == "calibrate"
    kept = read_graph(package_format.unpack((tmp_path / "net.armlet").read_bytes()).tflite)
    assert [operator.kind for operator in kept.operators] == [operator.kind for operator in stored.operators]
