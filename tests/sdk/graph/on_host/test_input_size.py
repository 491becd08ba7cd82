"""A network for images of another size: the answers are those of the same network built for that size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sdk.cli import main
from sdk.errors import ModelError
from sdk.graph.on_host.evaluate import predict
from sdk.graph.on_host.input_size import at_size
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.models import build

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def mobilenet() -> Graph:
    return read_graph(from_keras(build("mobilenet_v1", input_size=32, classes=5, width=0.25)))


def test_a_network_that_ends_in_a_mean_takes_another_size_with_the_same_weights(mobilenet):
    wide = at_size(mobilenet, 64, 96)
    assert wide.tensors[wide.inputs[0]].shape == (1, 64, 96, 3)
    weights = [w.array for w in mobilenet.weights()]
    assert all(np.array_equal(a, w.array) for a, w in zip(weights, wide.weights(), strict=True))
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=write_graph(mobilenet))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, 64, 96, 3))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(predict(write_graph(wide), image), expected, rtol=1e-5, atol=1e-6)
    assert at_size(mobilenet, 32, 32) is mobilenet


def test_a_network_of_one_size_says_so():
    lenet = read_graph(from_keras(build("lenet_5")))
    with pytest.raises(ModelError, match="cannot take images of 64x64"):
        at_size(lenet, 64, 64)


@pytest.mark.ssh
def test_bench_measures_a_model_at_several_sizes(mobilenet, tmp_path, capsys, monkeypatch, with_runtime):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    model = tmp_path / "net.tflite"
    model.write_bytes(write_graph(mobilenet))
    command = ["bench", "--board", "local", str(model), "--sizes", "32x32,64x48", "--samples", "16"]
    command += ["--seconds", "0.3"]
    assert main([*command, "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    small, large = report["models"]
    assert (small["name"], large["name"]) == ("net-32x32", "net-64x48")
    assert large["macs"] > 2.5 * small["macs"]
