"""What runs where PyTorch and onnx2tf are: shapes, names and causes without them; the real thing where they are."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sdk.compress.rewrite.channels_last import channels_last
from sdk.errors import ModelError
from sdk.graph.on_host.evaluate import predict
from sdk.graph.on_host.sources import onnx_child, torch_child
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.on_host.sources.environments import python_for
from sdk.graph.writer import write_graph


def test_shapes_of_onnx_inputs_get_a_batch_of_one_and_channels_in_front() -> None:
    assert onnx_child.whole_shape([None, 3, 224, 224], None) == [1, 3, 224, 224]
    assert onnx_child.whole_shape([None, 3, None, None], [96, 80, 3]) == [1, 3, 96, 80]
    assert onnx_child.whole_shape([None, 3, None, None], [3, 96, 80]) == [1, 3, 96, 80]
    assert onnx_child.whole_shape([None, 3, None, None], [1, 3, 96, 80]) == [1, 3, 96, 80]
    assert onnx_child.whole_shape([1, 3, 224, 224], [96, 96, 3]) is None
    assert onnx_child.whole_shape([None, 3, None, None], None) == [1, 3, None, None]


def test_answers_are_held_together_in_either_layout_and_by_name() -> None:
    array = np.arange(24.0).reshape(1, 2, 3, 4)
    assert onnx_child.turned_back(array.transpose(0, 2, 3, 1), (1, 2, 3, 4)).tolist() == array.tolist()
    assert onnx_child.turned(array, (1, 3, 4, 2)).shape == (1, 3, 4, 2)
    assert onnx_child.turned_back(array, (1, 5)) is None
    places = [{"name": "serving_default_b:0"}, {"name": "a"}]
    assert onnx_child.ordered({"a": 1, "b": 2}, places) == ["b", "a"]
    assert onnx_child.ordered({"x": 1, "y": 2}, places) == ["x", "y"]


def test_a_program_in_training_mode_is_seen() -> None:
    def program(target: str, *arguments: object) -> SimpleNamespace:
        return SimpleNamespace(graph=SimpleNamespace(nodes=[SimpleNamespace(target=target, args=arguments)]))

    assert torch_child.training_node(program("aten.dropout.default", "x", 0.5, True))
    assert not torch_child.training_node(program("aten.dropout.default", "x", 0.5, False))
    assert torch_child.training_node(program("aten.batch_norm.default", "x", "w", "b", "m", "v", True, 0.1))
    assert not torch_child.training_node(
        program("aten.batch_norm.default", "x", "w", "b", "m", "v", False, 0.1)
    )


def test_operators_without_a_lowering_are_named() -> None:
    assert torch_child.lacking_operators(RuntimeError("Lowering not found: aten.foo.default")) == [
        "aten.foo.default"
    ]
    assert torch_child.lacking_operators(RuntimeError("other")) == []


EXPORT = """
import sys, numpy as np, torch
from torch import nn
torch.manual_seed(0)
class Shuffle(nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), Shuffle(), nn.MaxPool2d(3, 2, 1),
                    nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
x = torch.rand(1, 3, 32, 32)
if sys.argv[1].endswith(".onnx"):
    torch.onnx.export(net, (x,), sys.argv[1], dynamo=True, external_data=False)
else:
    torch.export.save(torch.export.export(net, (x,)), sys.argv[1])
np.savez(sys.argv[2], x=x.numpy(), y=net(x).detach().numpy())
"""


@pytest.mark.converters
def test_a_pytorch_network_answers_as_pytorch_does(tmp_path: Path) -> None:
    model, answers = tmp_path / "net.pt2", tmp_path / "answers.npz"
    try:
        python = python_for("torch", model)
    except ModelError as error:
        pytest.skip(str(error))
    subprocess.run([python, "-c", EXPORT, str(model), str(answers)], check=True)
    found = channels_last(convert(model))
    kept = np.load(answers)
    assert found.inputs == (0,)
    assert sum(operator.kind == "TRANSPOSE" for operator in found.graph.operators) == 1  # the shuffle's
    np.testing.assert_allclose(
        predict(write_graph(found.graph), kept["x"].transpose(0, 2, 3, 1)), kept["y"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.converters
def test_an_onnx_network_answers_as_pytorch_does(tmp_path: Path) -> None:
    model, answers = tmp_path / "net.onnx", tmp_path / "answers.npz"
    try:
        python = python_for("torch", model)
        python_for("onnx", model)
    except ModelError as error:
        pytest.skip(str(error))
    made = subprocess.run([python, "-c", EXPORT, str(model), str(answers)], check=False)
    if made.returncode:
        pytest.skip("the environment of PyTorch cannot write ONNX: pip install onnxscript there")
    kept = np.load(answers)
    found = predict(write_graph(convert(model)), kept["x"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, kept["y"], rtol=1e-4, atol=1e-4)
