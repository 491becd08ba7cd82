"""The zoo against its papers: parameters and multiply-accumulates, and what the networks become in TFLite."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdk import models
from sdk.errors import ModelError
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.models.networks.shufflenet_v1 import STAGE_CHANNELS
from tests.sdk.graph.small_graphs import check_against_interpreter

# (network, options, what the paper says in millions, where it says so)
PAPER_MACS = [
    ("mobilenet_v1", {}, 569, "arXiv 1704.04861, table 8"),
    ("mobilenet_v1", {"width": 0.75}, 325, "arXiv 1704.04861, table 6"),
    ("mobilenet_v1", {"width": 0.5}, 149, "arXiv 1704.04861, table 6"),
    ("mobilenet_v1", {"width": 0.25}, 41, "arXiv 1704.04861, table 6"),
    ("mobilenet_v1", {"input_size": 192}, 418, "arXiv 1704.04861, table 7"),
    ("mobilenet_v2", {}, 300, "arXiv 1801.04381, table 4"),
    ("mobilenet_v2", {"width": 1.4}, 585, "arXiv 1801.04381, table 4"),
    # ShuffleNet's "MFLOPs" are multiply-adds; its table 1 gives 143 / 140 / 137 / 133 / 137 for 1x at
    # 1 / 2 / 3 / 4 / 8 groups, and everywhere else it calls the 3-group network 140.
    ("shufflenet_v1", {"groups": 1}, 143, "arXiv 1707.01083, table 1"),
    ("shufflenet_v1", {"groups": 2}, 140, "arXiv 1707.01083, table 1"),
    ("shufflenet_v1", {"groups": 3}, 137, "arXiv 1707.01083, table 1"),
    ("shufflenet_v1", {"groups": 4}, 133, "arXiv 1707.01083, table 1"),
    ("shufflenet_v1", {"groups": 8}, 137, "arXiv 1707.01083, table 1"),
    ("shufflenet_v1", {}, 140, "arXiv 1707.01083, table 8"),
    ("shufflenet_v1", {"scale": 2}, 524, "arXiv 1707.01083, table 8"),
    ("shufflenet_v1", {"scale": 0.5}, 38, "arXiv 1707.01083, table 8"),
    ("shufflenet_v2", {"scale": 0.5}, 41, "arXiv 1807.11164, table 5"),
    ("shufflenet_v2", {}, 146, "arXiv 1807.11164, table 5"),
    ("shufflenet_v2", {"scale": 1.5}, 299, "arXiv 1807.11164, table 5"),
    ("shufflenet_v2", {"scale": 2}, 591, "arXiv 1807.11164, table 5"),
    ("alexnet", {}, 720, "arXiv 1707.01083, tables 6 and 8; with the groups of the original"),
    ("vgg16", {}, 15_500, "arXiv 1512.03385 and Caffe's model zoo: 15.5 G"),
    # Table 1 of the paper adds up to 1,502 M, with 34 M for the first layer, whose 7x7 convolution on
    # 112x112 positions needs 118 M; with that row put right the table says 1,586 M.
    ("googlenet", {}, 1502 - 34 + 118, "arXiv 1409.4842, table 1, first row corrected"),
    ("resnet_8", {}, 12.5, "arXiv 2106.07597: 12.5 M"),
]

PAPER_PARAMETERS = [
    ("mobilenet_v1", {}, 4.2e6, "arXiv 1704.04861, table 8"),
    ("mobilenet_v1", {"width": 0.75}, 2.6e6, "arXiv 1704.04861, table 6"),
    ("mobilenet_v1", {"width": 0.5}, 1.33e6, "TF-Slim, mobilenet_v1_0.5_224; the paper cuts it off at 1.3 M"),
    ("mobilenet_v1", {"width": 0.25}, 0.47e6, "TF-Slim, mobilenet_v1_0.25_224; the paper rounds it to 0.5 M"),
    # The paper prints 3.4 M; the authors' code (TF-Slim, mobilenet/README.md) gives 3.47 M for the same network.
    ("mobilenet_v2", {}, 3.47e6, "TF-Slim, mobilenet_v2_1.0_224"),
    ("shufflenet_v2", {}, 2.3e6, "arXiv 1807.11164, table 8"),
    ("alexnet", {}, 60.97e6, "NIPS 2012: 60 million; arXiv 1510.00149, table 1: 61 M"),
    ("vgg16", {}, 138e6, "arXiv 1409.1556, table 2"),
    # The paper's column adds up to 6,797 K, where one K is 1,024 (its 64 x 64 + 9 x 64 x 192 weights are "112K").
    ("googlenet", {}, 6797 * 1024, "arXiv 1409.4842, table 1"),
    ("squeezenet", {}, 1_248_424, "arXiv 1602.07360, table 1"),
    ("resnet_8", {}, 78_000, "arXiv 2106.07597: 78 k"),
]


@pytest.mark.parametrize(("name", "options", "millions", "source"), PAPER_MACS)
def test_macs_agree_with_the_paper_within_2_percent(
    name: str, options: dict, millions: float, source: str
) -> None:
    assert models.describe(name, **options).macs == pytest.approx(millions * 1e6, rel=0.02), source


@pytest.mark.parametrize(("name", "options", "count", "source"), PAPER_PARAMETERS)
def test_parameters_agree_with_the_paper_within_2_percent(
    name: str, options: dict, count: float, source: str
) -> None:
    assert models.describe(name, **options).parameters == pytest.approx(count, rel=0.02), source


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet_300_100", 266_610),  # arXiv 1510.00149, table 2: 267 K
        ("lenet_5", 431_080),  # table 3: 431 K
        ("alexnet", 60_965_224),  # Caffe's bvlc_reference_caffenet, and table 4: 61 M
        ("vgg16", 138_357_544),  # table 5: 138 M
        ("googlenet", 6_998_552),  # Caffe's bvlc_googlenet without its auxiliary classifiers
        ("squeezenet", 1_248_424),  # the authors' SqueezeNet_v1.0
    ],
)
def test_networks_with_biases_have_exactly_the_published_parameters(name: str, count: int) -> None:
    assert models.describe(name).parameters == count


def test_mobilenet_v2_prints_as_the_paper_does() -> None:
    # "3.4M" (table 4) is what 3.47 M weights give when the second digit is cut off.
    assert 3.4e6 < models.describe("mobilenet_v2").weights < 3.5e6


def test_squeezenet_1_1_needs_2_4_times_fewer_macs() -> None:
    # The claim of the authors' repository, SqueezeNet_v1.1/README.md.
    old, new = (models.describe("squeezenet", version=version) for version in ("1.0", "1.1"))
    assert old.macs / new.macs == pytest.approx(2.4, rel=0.1)
    assert new.parameters == 1_235_496


def test_the_catalogue_has_every_network_with_its_paper() -> None:
    names = [entry.name for entry in models.catalogue()]
    assert len(names) == len(set(names)) == 11
    assert all(entry.paper and entry.title for entry in models.catalogue())
    assert all(option.help for entry in models.catalogue() for option in entry.options)


def test_importing_and_listing_the_zoo_loads_no_tensorflow() -> None:
    code = (
        "import sys; from sdk import models; [models.describe(e.name) for e in models.catalogue()];"
        "sys.exit(bool({'tensorflow', 'keras', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("entry", models.catalogue(), ids=lambda entry: entry.name)
def test_layer_names_are_unique_and_shapes_positive(entry: models.Entry) -> None:
    layers = models.describe(entry.name).layers
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(min(layer.shape) > 0 for layer in layers)


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.3, 0.5, 0.75, 1, 1.5, 2])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_shufflenet_v1_divides_at_any_scale(scale: float, groups: int) -> None:
    network = models.describe("shufflenet_v1", scale=scale, groups=groups)
    grouped = [layer for layer in network.layers if layer.kind == "conv" and layer.options["groups"] > 1]
    # All pointwise layers but the very first (section 3.2 of the paper): 2 in each of 16 units.
    assert len(grouped) == (31 if groups > 1 else 0)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 1.5, 2])
@pytest.mark.parametrize("groups", [1, 3])
def test_shufflenet_v1_has_exactly_the_scaled_channels_of_the_table(scale: float, groups: int) -> None:
    layers = models.describe("shufflenet_v1", scale=scale, groups=groups).layers
    counts = [layer.channels for layer in layers if layer.name == "stem" or layer.kind == "concatenate"]
    assert counts == [scale * count for count in (24, *STAGE_CHANNELS[groups])]


@pytest.mark.parametrize(("reduction", "first", "last"), [(32, 16, 1), (16, 16, 2), (8, 16, 4)])
def test_mobilenet_v1_for_small_images_keeps_its_stem_and_weights_and_sees_more_positions(
    reduction: int, first: int, last: int
) -> None:
    usual = models.describe("mobilenet_v1", input_size=32)
    network = models.describe("mobilenet_v1", input_size=32, reduction=reduction)
    pointwise = [layer for layer in network.layers if layer.name == "block13_pointwise"]
    stem = [layer for layer in network.layers if layer.name == "stem"]
    assert (stem[0].shape[0], pointwise[0].shape[0]) == (first, last)
    assert network.parameters == usual.parameters


@pytest.mark.parametrize("size", [96, 97, 224, (120, 160)])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"])
def test_symmetric_padding_changes_neither_shapes_nor_counts(name: str, size: int | tuple[int, int]) -> None:
    same, symmetric = (
        models.describe(name, input_size=size, padding=padding) for padding in ("same", "symmetric")
    )
    assert (same.macs, same.parameters) == (symmetric.macs, symmetric.parameters)
    strided = [layer for layer in symmetric.layers if layer.options.get("stride", 1) == 2]
    assert strided
    assert all(layer.options["padding"] == "valid" for layer in strided)
    assert all(symmetric.layers[layer.inputs[0]].options["amount"] == 1 for layer in strided)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.describe("resnet50"), ["no network resnet50", "mobilenet_v1"]),
        (lambda: models.describe("vgg16", width=0.5), ["no option width", "no options"]),
        (lambda: models.describe("mobilenet_v1", scale=1), ["no option scale", "width, padding, reduction"]),
        (lambda: models.describe("mobilenet_v1", width="wide"), ["width", "positive", "'wide'"]),
        (lambda: models.describe("mobilenet_v1", width=float("nan")), ["width", "positive", "nan"]),
        (lambda: models.describe("mobilenet_v1", width=0), ["width", "positive", "0"]),
        (lambda: models.describe("mobilenet_v1", padding="full"), ["padding", "same, symmetric", "'full'"]),
        (lambda: models.describe("mobilenet_v1", reduction=4), ["reduction", "32, 16, 8", "4"]),
        (lambda: models.describe("shufflenet_v1", groups=5), ["groups", "1, 2, 3, 4, 8", "5"]),
        (lambda: models.describe("shufflenet_v2", scale=0.7), ["scale", "0.5, 1.0, 1.5, 2.0", "0.7"]),
        (lambda: models.describe("squeezenet", version="2"), ["version", "1.0, 1.1", "'2'"]),
        (lambda: models.describe("mobilenet_v1", input_size=0), ["input shape", "0 x 0 x 3"]),
        (lambda: models.describe("mobilenet_v1", classes=0), ["classifier", "at least 1"]),
        (lambda: models.describe("alexnet", input_size=32), ["32x32 is too small", "larger input"]),
        (lambda: models.describe("vgg16", input_size=16), ["16x16 is too small", "pool5"]),
        (lambda: models.describe("lenet_5", input_size=8), ["8x8 is too small", "conv2"]),
    ],
)
def test_a_bad_request_gets_one_clear_error(call: object, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        call()  # type: ignore[operator]
    for word in words:
        assert word in str(caught.value)


# One small instance of every family: the structure is that of the large one, the weights fit anywhere.
SMALL = [
    ("mobilenet_v1", {"input_size": 64, "classes": 7, "width": 0.25}),
    ("mobilenet_v1", {"input_size": (48, 80), "classes": 7, "width": 0.25, "padding": "symmetric"}),
    ("mobilenet_v2", {"input_size": 65, "classes": 7, "width": 0.35}),
    ("shufflenet_v1", {"input_size": 64, "classes": 7, "scale": 0.25, "channels": 1}),
    ("shufflenet_v1", {"input_size": 64, "classes": 7, "scale": 0.25, "groups": 8, "padding": "symmetric"}),
    ("shufflenet_v1", {"input_size": 64, "classes": 7, "scale": 0.25, "groups": 1, "stem": "depthwise"}),
    ("shufflenet_v2", {"input_size": 64, "classes": 7, "scale": 0.5, "padding": "symmetric"}),
    ("alexnet", {"input_size": 67, "classes": 7}),
    ("vgg16", {"input_size": 32, "classes": 7}),
    ("googlenet", {"input_size": 64, "classes": 7}),
    ("squeezenet", {"input_size": 64, "classes": 7}),
    ("squeezenet", {"input_size": 64, "classes": 7, "version": "1.1"}),
    ("lenet_300_100", {"input_size": 12, "classes": 7}),
    ("lenet_5", {"input_size": 16, "classes": 7}),
    ("resnet_8", {"classes": 7}),
]

# What AlexNet and VGG-16 are made of is in the others; their fully connected layers would take minutes to convert.
CONVERTED = [(name, options) for name, options in SMALL if name not in ("alexnet", "vgg16")]

# Every operator that a network of the zoo may become; what computes shapes at run time is not among them.
STATIC_OPERATORS = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "MEAN", "PAD", "ADD", "RELU"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION", "RESHAPE", "TRANSPOSE", "SPLIT"),
}


@pytest.fixture(scope="module")
def built() -> Callable[[str, dict], Any]:
    """The Keras model of a network, built once for all tests, which change nothing in it."""
    made: dict[str, Any] = {}

    def build(name: str, options: dict) -> Any:
        key = f"{name} {options}"
        if key not in made:
            made[key] = models.build(name, **options)
        return made[key]

    return build


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "options"), SMALL, ids=lambda value: str(value))
def test_the_keras_model_is_the_described_network(
    name: str, options: dict, built: Callable[[str, dict], Any]
) -> None:
    network = models.describe(name, **options)
    model = built(name, options)
    assert model.output_shape == (None, 7)
    assert model.input_shape == (None, *network.input.shape)
    # Each batch norm's gamma, beta, mean and variance fold into the weights and one bias.
    norms = sum(layer.count_params() for layer in model.layers if layer.name.endswith("_norm"))
    assert network.parameters == model.count_params() - norms + norms // 4
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    for layer in network.layers:
        # A shuffle is three Keras layers; the one of its name sees the channels apart.
        if layer.name in shapes and layer.kind != "shuffle":
            assert shapes[layer.name] == layer.shape, layer.name


@pytest.fixture(scope="module")
def converted(built: Callable[[str, dict], Any]) -> Callable[[str, dict], Graph]:
    """The graph of a network, converted once for all tests."""
    from sdk.graph.on_host.sources.keras_files import from_keras

    made: dict[str, Graph] = {}

    def convert(name: str, options: dict) -> Graph:
        key = f"{name} {options}"
        if key not in made:
            made[key] = read_graph(from_keras(built(name, options)))
        return made[key]

    return convert


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "options"), CONVERTED, ids=lambda value: str(value))
def test_the_converted_network_is_static_folded_and_counts_the_same(
    name: str, options: dict, converted: Callable[[str, dict], Graph]
) -> None:
    from sdk.explain.theory import operator_costs

    network = models.describe(name, **options)
    graph = converted(name, options)
    kinds = Counter(operator.kind for operator in graph.operators)
    assert set(kinds) <= STATIC_OPERATORS
    shuffles = sum(layer.kind == "shuffle" for layer in network.layers)
    assert kinds["TRANSPOSE"] == shuffles
    assert kinds["CONV_2D"] == sum(layer.kind == "conv" for layer in network.layers)
    assert kinds["SPLIT"] == sum(layer.kind == "half" for layer in network.layers) / 2
    assert sum(cost.macs for cost in operator_costs(graph)) == network.macs


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "options"), CONVERTED, ids=lambda value: str(value))
def test_tensorflow_runs_the_converted_network_as_the_interpreter_does(
    name: str, options: dict, converted: Callable[[str, dict], Graph]
) -> None:
    check_against_interpreter(converted(name, options))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_tensorflow_runs_networks_of_large_layers_as_the_interpreter_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdk.graph.on_host.sources.keras_files import from_keras
    from sdk.models.networks.network import Network

    # They are nine tenths fully connected layers, and wide; with 64 units and 64 channels they convert in a second.
    dense, conv = Network.dense, Network.conv
    monkeypatch.setattr(Network, "dense", lambda net, x, units, **how: dense(net, x, min(units, 64), **how))
    monkeypatch.setattr(
        Network, "conv", lambda net, x, channels, *size, **how: conv(net, x, min(channels, 64), *size, **how)
    )
    check_against_interpreter(read_graph(from_keras(models.build(name, **dict(SMALL)[name]))))


@pytest.mark.tensorflow
def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        return models.build("lenet_5", input_size=16, seed=seed).get_weights()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.tensorflow
@pytest.mark.parametrize("groups", [2, 3])
def test_a_channel_shuffle_interleaves_the_groups(groups: int) -> None:
    from sdk.models.keras_builder import to_keras

    net = models.Network("shuffle", (2, 3, 6))
    net.shuffle(net.input, groups, name="shuffle")
    image = np.arange(2 * 3 * 6, dtype=np.float32).reshape(1, 2, 3, 6)
    shuffled = to_keras(net)(image).numpy()
    # Channel j of the output is member j // groups of group j % groups.
    order = [(j % groups) * (6 // groups) + j // groups for j in range(6)]
    assert np.array_equal(shuffled, image[..., order])


@pytest.mark.tensorflow
def test_symmetric_padding_centres_the_window_and_same_does_not() -> None:
    from sdk.models.keras_builder import to_keras

    def corner(padding: str) -> np.ndarray:
        net = models.Network("pad", (4, 4, 1), padding=padding, batch_norm=False, activation=None)
        net.conv(net.input, 1, 3, stride=2, name="conv")
        model = to_keras(net)
        model.set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
        return model(np.ones((1, 4, 4, 1))).numpy()[0, :, :, 0]

    assert np.array_equal(corner("symmetric"), [[4, 6], [6, 9]])  # one row of zeros above
    assert np.array_equal(corner("same"), [[9, 6], [6, 4]])  # none above, one below
