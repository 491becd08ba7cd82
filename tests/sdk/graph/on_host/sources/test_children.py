"""What runs where PyTorch and onnx2tf are: shapes, names and causes without them; the real thing where they are."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sdk.api.boards.deploying import deployed_on, package_of
from sdk.api.files.packing import convert_model
from sdk.board.virtual import VirtualBoard
from sdk.compress.rewrite.channels_last import channels_last
from sdk.deploy.target import Target
from sdk.errors import ModelError
from sdk.graph.on_host.evaluate import predict
from sdk.graph.on_host.sources import onnx_child, torch_child
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.on_host.sources.environments import python_for
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import silent
from tests.sdk.board.emulated import need_virtual_board


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
def convolved(channels, size, stride, pad):
    return nn.LazyConv2d(channels, size, stride, pad), nn.ReLU()
def classified(pooled, *widths):
    dense = [layer for width in widths for layer in (nn.Dropout(), nn.LazyLinear(width), nn.ReLU())]
    return nn.AdaptiveAvgPool2d(pooled), nn.Flatten(), *dense, nn.LazyLinear(1000)
def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), Shuffle(), nn.MaxPool2d(3, 2, 1),
                         nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
def alexnet():
    return nn.Sequential(*convolved(64, 11, 4, 2), nn.MaxPool2d(3, 2), *convolved(192, 5, 1, 2), nn.MaxPool2d(3, 2),
                         *convolved(384, 3, 1, 1), *convolved(256, 3, 1, 1), *convolved(256, 3, 1, 1),
                         nn.MaxPool2d(3, 2), *classified(6, 4096, 4096))
def vgg16():
    blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    layers = []
    for width, deep in blocks:
        layers += [layer for _ in range(deep) for layer in convolved(width, 3, 1, 1)] + [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *classified(7, 4096, 4096))
model, answers, name = sys.argv[1:]
x = torch.rand(1, 3, *[32 if name == "small" else 224] * 2)
net = globals()[name]().eval()
y = net(x).detach()
if model.endswith(".onnx"):
    torch.onnx.export(net, (x,), model, dynamo=True, external_data=False)
else:
    torch.export.save(torch.export.export(net, (x,)), model)
np.savez(answers, x=x.permute(0, 2, 3, 1).numpy(), y=y.numpy())
"""


def exported(model: Path, name: str = "small", *, needs: str = "torch") -> tuple[np.ndarray, np.ndarray]:
    """Writes the network to ``model``; an image with channels last, and PyTorch's answer. Skips without PyTorch."""
    answers = model.with_suffix(".npz")
    try:
        python = python_for("torch", model)
        python_for(needs, model)
    except ModelError as error:
        pytest.skip(str(error))
    made = subprocess.run([python, "-c", EXPORT, str(model), str(answers), name], check=False)
    if made.returncode and model.suffix == ".onnx":
        pytest.skip("the environment of PyTorch cannot write ONNX: pip install onnxscript there")
    assert made.returncode == 0
    kept = np.load(answers)
    return kept["x"], kept["y"]


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.converters
def test_a_pytorch_network_answers_as_pytorch_does(tmp_path: Path) -> None:
    x, y = exported(tmp_path / "net.pt2")
    found = channels_last(convert(tmp_path / "net.pt2"))
    assert found.inputs == (0,)
    assert sum(operator.kind == "TRANSPOSE" for operator in found.graph.operators) == 1  # the shuffle's
    agree(predict(write_graph(found.graph), x), y)


@pytest.mark.converters
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_the_large_networks_of_torchvision_do_too(tmp_path: Path, name: str) -> None:
    """Built by hand, layer for layer: torchvision itself wants a PyTorch of its own. VGG-16 is 553 MB, a minute."""
    x, y = exported(tmp_path / "net.pt2", name)
    convert_model(tmp_path / "net.pt2", tmp_path / "net.tflite")
    (tmp_path / "net.pt2").unlink()
    graph = read_graph((tmp_path / "net.tflite").read_bytes())
    assert not [operator for operator in graph.operators if operator.kind == "TRANSPOSE"]
    agree(predict((tmp_path / "net.tflite").read_bytes(), x), y)


@pytest.mark.converters
@pytest.mark.ssh
@pytest.mark.parametrize("board", ["local", "virtual-arm64"])
def test_a_pytorch_network_goes_straight_to_a_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    x, y = exported(tmp_path / "net.pt2")
    with ExitStack() as stack:
        if board == "virtual-arm64":
            need_virtual_board()
            monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
            stack.enter_context(VirtualBoard())
        session, *_ = stack.enter_context(deployed_on(board, *named(tmp_path / "net.pt2"), Target(), silent))
        agree(session.agent.run("net", x).outputs, y)


def named(path: Path) -> tuple[Path, tuple[str, bytes]]:
    return path, package_of(path, silent)


@pytest.mark.converters
def test_an_onnx_network_answers_as_pytorch_does(tmp_path: Path) -> None:
    x, y = exported(tmp_path / "net.onnx", needs="onnx")
    agree(predict(write_graph(convert(tmp_path / "net.onnx")), x), y)
