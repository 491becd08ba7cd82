"""The record of how the demo's networks were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdk import models
from sdk.models.demo import FOLDER, RECORD


def training_record() -> dict[str, Any]:
    """What ``python -m sdk.models.train_digits`` wrote beside them: seeds, splits, accuracies, versions."""
    record: dict[str, Any] = json.loads(
        Path(models.__file__).with_name(FOLDER).joinpath(RECORD).read_text("utf-8")
    )
    return record
