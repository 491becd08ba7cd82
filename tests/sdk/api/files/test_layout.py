"""Every graph is looked at before it is edited: weights that are not numbers are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdk.api.files.compressing import compress_model
from sdk.api.files.layout import require_numbers, with_channels_last
from sdk.api.files.packing import inspect_package
from sdk.errors import ModelError
from sdk.graph.writer import write_graph
from tests.sdk.compress.rewrite.test_channels_last import Build, residual
from tests.sdk.graph.small_graphs import small_network


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    graph = small_network()
    require_numbers(graph, "net")
    weight = next(one for one in graph.weights() if one.tensor.name == "pointwise/weight")
    for value in (np.nan, np.inf):
        broken = weight.array.copy()
        broken.flat[3] = value
        path = tmp_path / "broken.tflite"
        path.write_bytes(write_graph(graph.with_data({weight.tensor_index: broken})))
        with pytest.raises(
            ModelError, match=r"pointwise/weight of .*broken.tflite are not all numbers.*1 of 512"
        ):
            compress_model(path, tmp_path / "broken.armlet", sparsity=0.5)
        assert not (tmp_path / "broken.armlet").exists()


def test_what_became_of_the_layout_is_said() -> None:
    b = Build(1, 3, 8, 10)
    graph, notes = with_channels_last(b.graph(residual(b)))
    assert graph.tensors[graph.inputs[0]].shape == (1, 8, 10, 3)
    assert "its input is 1x8x10x3" in notes[0]
    assert "0 are left" in notes[1]


def test_inspect_says_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="a pointer of git-lfs"):
        inspect_package(path)
