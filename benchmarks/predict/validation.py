"""The table that the product takes its intervals from (sdk/explain/speed/validation.json), made of a kept run.

``python -m tests.docs.predict_table`` writes it, and the table of docs/predict.md; a test holds both to the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.predict.boards import PublishedBoard, cells_of, compared, read_boards
from benchmarks.predict.networks import NETWORKS
from sdk.explain import speed
from sdk.explain.speed.predictions import MEMORY_DECIDES
from sdk.explain.speed.validation import Validation, ValidationCell

#: What `python -m benchmarks.predict -o` kept.
KEPT = Path(__file__).parents[1] / "results" / "predict" / "ncnn.json"
TABLE = Path(speed.__file__).with_name("validation.json")
SOURCE = (
    "Aarch64 wheels of ncnn, each of the time of the table, on emulated cores, against the single-thread latencies of "
    "ncnn's benchmark/README.md (benchmarks/predict)"
)


def kept_validation() -> Validation:
    """The table of :data:`KEPT`."""
    return validation(json.loads(KEPT.read_text("utf-8")), compared(read_boards()))


def validation(record: Mapping[str, Any], boards: Mapping[str, PublishedBoard]) -> Validation:
    """The table of a run, in the order of the boards and of their networks."""
    cells = {
        (name, network): _cell(boards[name], network, counted)
        for (name, network), (_, counted) in cells_of(record, boards).items()
    }
    places, networks = list(boards), list(NETWORKS)
    ordered = sorted(cells, key=lambda place: (places.index(place[0]), networks.index(place[1])))
    # Runs that were not made again since the model of the core changed last are named in the record.
    earlier = dict.fromkeys(key.split()[0] for key in record.get("earlier", ()))
    said = f"; in part by an earlier version of the model: {', '.join(earlier)}" if earlier else ""
    return Validation(SOURCE + said, tuple(cells[place] for place in ordered))


def _cell(board: PublishedBoard, network: str, counted: Mapping[str, Any]) -> ValidationCell:
    return ValidationCell(
        network=network,
        board=board.name,
        core=board.core,
        runtime="ncnn",
        dtype="int8" if network.endswith("int8") else "float16" if board.arithmetic == "fp16" else "float32",
        predicted_seconds=round(counted["cycles"] / (board.clock_ghz * 1e9), 7),
        published_seconds=round(board.milliseconds[network] / 1e3, 7),
        looked_at=not board.is_test(network),
        memory_decides=counted["dram"] >= MEMORY_DECIDES * counted["cycles"],
    )


def in_lines(table: Validation) -> str:
    """The file: a line for each cell."""
    *head, cells = table.to_json().items()
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head]
    rows = ",\n".join("  " + json.dumps(cell) for cell in cells[1])
    return "\n".join(["{", *lines, ' "cells": [', rows, " ]", "}"]) + "\n"
