"""The two trained networks that ``sdk demo`` deploys: where they are, and what was recorded when they were trained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sdk.models import digits

FOLDER = "trained"
RECORD = "digits.json"

# Narrow enough for the project to carry them, and as far apart in multiply-accumulates as MobileNet V1 and
# ShuffleNet V1 are at full size (569 M to 140 M, 4.1x).
OPTIONS: dict[str, dict[str, Any]] = {
    # With symmetric padding, so that a board's sparse kernels take the pruned network.
    "mobilenet_v1": {"width": 0.3125, "padding": "symmetric"},
    "shufflenet_v1": {"scale": 0.3, "groups": 3},
}


@dataclass(frozen=True)
class DemoModel:
    """A trained network of the demo: its zoo ``name``, a ``title`` for people, and the ``.tflite`` file."""

    name: str
    title: str
    path: Path


def network_arguments(name: str) -> dict[str, Any]:
    """What :func:`sdk.models.build` and :func:`sdk.models.describe` want for the demo's network of that name."""
    return {
        "input_size": digits.SIZE,
        "classes": digits.CLASSES,
        "channels": digits.CHANNELS,
        **OPTIONS[name],
    }


def demo_models() -> tuple[DemoModel, ...]:
    """The trained networks, the larger one first."""
    from sdk.models.catalogue import entry

    return tuple(DemoModel(name, entry(name).title, _folder() / f"{name}_digits.tflite") for name in OPTIONS)


def _folder() -> Path:
    return Path(str(resources.files("sdk.models"))) / FOLDER
