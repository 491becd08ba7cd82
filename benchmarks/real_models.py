"""Which of a folder of models go the whole way: inspected, deployed, measured, and compared with the host?

    python -m benchmarks.real_models FOLDER [--board local] [--input-shape MODEL=1x1280] [--only PART]

Every ``.tflite`` in FOLDER goes through four commands, each in a process of its own as a person would call it:
``sdk inspect``, ``sdk deploy``, ``sdk bench`` (short) and ``sdk eval`` (all outputs against the host's). A cell is
"ok", "refused" (exit status 2 and one clear error) or what went wrong: a traceback, a signal, no end.

A model whose shape is open needs ``--input-shape``: the name of its file without the suffix, "=", and the shape.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark

LIMIT_SECONDS = 900
STEPS = ("inspect", "deploy", "bench", "eval")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--board", default="local")
    parser.add_argument("--input-shape", action="append", default=[], metavar="MODEL=SHAPE")
    parser.add_argument("--only", help="models with this in their names")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per model."""
    shapes = dict(one.split("=", 1) for one in arguments.input_shape)
    rows = []
    print(f"{'model':30}" + "".join(f"{step:10}" for step in STEPS) + "eval, runtime, why not")
    for path in sorted(arguments.folder.glob("*.tflite")):
        if arguments.only and arguments.only not in path.stem:
            continue
        row = _row(path, arguments, shapes.get(path.stem))
        rows.append(row)
        print(
            f"{path.stem:30}" + "".join(f"{row[step]:10}" for step in STEPS) + row["remark"][:150], flush=True
        )
    whole = sum(all(row[step] == "ok" for step in STEPS) for row in rows)
    refused = sum(row["deploy"] == "refused" for row in rows)
    bad = sum(row[step] not in ("ok", "refused") for row in rows for step in STEPS)
    print(f"{len(rows)} models: {whole} go the whole way, {refused} are refused, {bad} steps went wrong")
    return rows


def _row(path: Path, arguments: argparse.Namespace, shape: str | None) -> dict[str, Any]:
    board = ["--board", arguments.board]
    more = ["--input-shape", shape] if shape else []
    row: dict[str, Any] = {"model": path.stem, "remark": ""}
    row["inspect"], _, _ = _call("inspect", path)
    row["deploy"], deployed, why = _call("deploy", path, *board, *more)
    row["bench"], _, _ = _call("bench", path, *board, *more, "--seconds", arguments.seconds)
    row["eval"], agreed, _ = _call("eval", path, *board, *more)
    if row["deploy"] != "ok":
        row["remark"] = why
        return row
    row["runtime"] = f"{deployed.get('runtime')} {deployed.get('runtime_version')}"
    if agreed:
        row["decibel"] = min((one["decibel"] for one in agreed["outputs"]), default=None)
        row["remark"] = f"{row['decibel']:.0f} dB, "
    row["remark"] += row["runtime"]
    return row


def _call(command: str, path: Path, *options: Any) -> tuple[str, dict[str, Any], str]:
    """How a command ended, its JSON, and the first line of its error."""
    words = [sys.executable, "-m", "sdk.cli", command, str(path), "--json", *map(str, options)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return "no end", {}, f"no end within {LIMIT_SECONDS} s"
    if "Traceback" in done.stderr:
        return "traceback", {}, done.stderr.strip().splitlines()[-1]
    if done.returncode < 0:
        return f"signal {-done.returncode}", {}, ""
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = {}
    if done.returncode == 0:
        return "ok", said, ""
    why = "; ".join(str(said[key]) for key in ("what", "found") if said.get(key)) if said else ""
    return (
        ("refused" if done.returncode == 2 else f"status {done.returncode}"),
        {},
        why or done.stderr.strip(),
    )


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
