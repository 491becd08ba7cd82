"""Options that contradict each other are refused before the model is read, and each effort takes what its help says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdk
from sdk.api.compress_request import Compress
from sdk.api.files.refusals import check_options
from sdk.errors import ModelError
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

DATA = {"data": "images"}


@pytest.mark.parametrize(
    ("options", "flag", "expected"),
    [
        ({"channels": 0.25}, "--channels", "--data"),
        ({"target_macs": 1000}, "--target-macs", "--data"),
        ({"channels": 0.25, "effort": "none", **DATA}, "--channels", "leave --effort none out"),
        ({"trials": 3}, "--trials", "--data"),
        ({"storage": "sqlite:///s", "int8": True, **DATA}, "--storage", "--effort calibrate"),
        ({"samples": 3}, "--samples", "--data"),
        ({"shift": 2, "effort": "calibrate", **DATA}, "--shift", "--effort train"),
        ({"price": 1e-8, "int8": True, **DATA}, "--price", "--effort train"),
        ({"equalise": True, **DATA}, "--equalise", "--effort none"),
        ({"correct_biases": True, "effort": "train", **DATA}, "--correct-biases", "--effort none"),
        ({"scope": "global", "effort": "train", **DATA}, "--scope global", "--effort none"),
        ({"clusters": 257}, "clusters", "2 to 256, or 0"),
        ({"clusters": 1, **DATA}, "clusters", "2 to 256"),
        ({"clusters": 2, "effort": "calibrate", **DATA}, "clusters", "3 to 256, or 0"),
        ({"clusters": 0, "effort": "train", **DATA}, "clusters", "2 to 256"),
        ({"sparsity": 1.0}, "--sparsity", "< 1"),
        ({"channels": 1.0, **DATA}, "--channels", "< 1"),
        ({"epochs": 2, "effort": "train", **DATA}, "training", "at least 3"),
        ({"recipe": "r.toml", "sparsity": 0.5, "target_bytes": 9}, "recipe", "--recipe without"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], flag: str, expected: str) -> None:
    with pytest.raises(ModelError) as refused:
        check_options(Compress(**options))
    assert flag in refused.value.what
    assert expected in str(refused.value)
    with pytest.raises(ModelError, match=flag):  # before the model, which is not there, is looked for
        sdk.compress_model("no-such-model", "out.armlet", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"clusters": 0},
        {"clusters": 256, "sparsity": 0.0, "scope": "global", "equalise": True},
        {"clusters": 0, "effort": "calibrate", "channels": 0.25, **DATA},
        {"clusters": 256, "effort": "train", "shift": 2, "price": 1e-8, "epochs": 3, **DATA},
        {"clusters": 0, "int8": True, "target_bytes": 100, "trials": 2, **DATA},
        {"recipe": "r.toml", "board": "rpi4", "preprocess": "tf", **DATA},
    ],
)
def test_what_can_be_is_not(options: dict[str, Any]) -> None:
    check_options(Compress(**options))


def test_no_limit_of_centroids_is_what_calibration_does_anyway(tmp_path: Path) -> None:
    model = tmp_path / "net.tflite"
    model.write_bytes(write_graph(small_network(channels=16)))
    images = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=images)
    made = [
        sdk.compress_model(
            model, tmp_path / f"{name}.armlet", data=tmp_path / "d.npz", effort="calibrate", **options
        )
        for name, options in (("usual", {}), ("asked", {"clusters": 0}))
    ]
    assert made[0].package_bytes == made[1].package_bytes
