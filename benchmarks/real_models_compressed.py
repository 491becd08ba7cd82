"""What does `sdk compress` without data make of a folder of models: how small, and how like the original?

    python -m benchmarks.real_models_compressed FOLDER [--only PART] [-o FILE] [-- OPTIONS OF sdk compress]

Every ``.tflite`` in FOLDER is compressed by the command, in a process of its own. What comes out answers made-up inputs
that the command did not see (others of the same kinds), and is held against the original: per output the cosine of all
answers together and the signal-to-noise ratio, of which the worst output counts. "unchanged" is a model none of whose
layers can be compressed; "float" is one whose weights are float32 or float16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark
from device_agent.package import reader as package_format
from device_agent.record.usage import Usage
from device_agent.tensors.agreement import agreement
from sdk.compress.weights.selection import constant_weights, is_float
from sdk.errors import ModelError
from sdk.graph.made_up.inputs import made_up, normalises_inside
from sdk.graph.made_up.vocabularies import vocabularies
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_graph, read_subgraphs
from sdk.graph.records import Graph

LIMIT_SECONDS = 900
CASES, FIRST = 12, 500  # made-up inputs, and the number of the first: `sdk compress` uses those from 0 on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="models with this in their names")
    parser.add_argument("options", nargs="*", help="of sdk compress, behind --")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One row per model, and what they come to together."""
    rows = []
    print(
        f"{'model':28}{'weights':9}{'bytes':>9}{'package':>9}{'ratio':>7}{'dB':>7}{'cosine':>8}{'s':>6}  remark"
    )
    for path in sorted(arguments.folder.glob("*.tflite")):
        if arguments.only and arguments.only not in path.stem:
            continue
        row = _row(path, arguments.options)
        rows.append(row)
        print(_line(row), flush=True)
    floats = [row for row in rows if row["weights"] == "float" and "ratio" in row]
    held = [row["cosine"] for row in rows if row.get("cosine") is not None]
    totals = {
        "models": len(rows),
        "compressed": sum("ratio" in row for row in rows),
        "median_ratio_of_floats": statistics.median(row["ratio"] for row in floats) if floats else None,
        "lowest_cosine": min(held, default=None),
        "below_0.99": sorted(row["model"] for row in rows if (row.get("cosine") or 1.0) < 0.99),
    }
    print(json.dumps(totals))
    return {"options": arguments.options, "totals": totals, "results": rows}


def _line(row: dict[str, Any]) -> str:
    package, ratio = row.get("package_bytes", ""), row.get("ratio")
    decibel, cosine = row.get("decibel"), row.get("cosine")
    return (
        f"{row['model'][:27]:28}{row['weights']:9}{row['bytes']:9}{package:>9}"
        f"{'' if ratio is None else format(ratio, '.2f'):>7}{'' if decibel is None else format(decibel, '.1f'):>7}"
        f"{'' if cosine is None else format(cosine, '.4f'):>8}{row['seconds']:6.1f}  {row['remark'][:120]}"
    )


def _row(path: Path, options: list[str]) -> dict[str, Any]:
    original = path.read_bytes()
    row: dict[str, Any] = {
        "model": path.stem,
        "bytes": len(original),
        "weights": _kind(original),
        "remark": "",
    }
    with tempfile.TemporaryDirectory() as folder:
        package, tflite = Path(folder) / "out.armlet", Path(folder) / "out.tflite"
        words = [sys.executable, "-m", "sdk.cli", "compress", str(path), "-o", str(package), "--json"]
        words += ["--save-tflite", str(tflite), *options]
        started = time.monotonic()
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return {**row, "seconds": LIMIT_SECONDS, "remark": "no end"}
        row["seconds"] = round(time.monotonic() - started, 1)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            said = {}
        if done.returncode != 0:
            why = "; ".join(str(said[key]) for key in ("what", "found") if said.get(key))
            row["remark"] = why or (done.stderr.strip().splitlines() or ["?"])[-1]
            return row
        row["package_bytes"] = said["package_bytes"]
        row["ratio"] = round(len(original) / said["package_bytes"], 3)
        row["layers"] = [said["reach"]["compressed"], said["reach"]["layers"]]
        try:
            usage = Usage.from_metadata(package_format.unpack(package.read_bytes()).package.metadata)
            row |= _held_against(original, tflite.read_bytes(), usage)
        except ModelError as error:
            row["remark"] = error.what
    return row


def _kind(tflite: bytes) -> str:
    """What most weights are stored as."""
    try:
        weights = constant_weights(read_subgraphs(tflite)[0])
    except ModelError:
        return "?"
    floats = sum(w.tensor.elements for w in weights if is_float(w.tensor))
    return "float" if 2 * floats > sum(w.tensor.elements for w in weights) else "integer"


def _held_against(original: bytes, compressed: bytes, usage: Usage) -> dict[str, Any]:
    """The worst output's cosine and signal-to-noise ratio, in decibel."""
    with HostModel(original) as one, HostModel(compressed) as other:
        worst, _ = worst_output(one, other, other_inputs(one, read_graph(original), CASES, usage))
    return worst


def other_inputs(host: HostModel, graph: Graph, count: int, usage: Usage) -> list[Any]:
    """This many made-up inputs of a model, others than those that a compression looked at."""
    return made_up(
        host.inputs,
        vocabularies(graph),
        count,
        preprocess=usage.preprocess,
        takes_pixels=normalises_inside(graph),
        first=FIRST,
        like_photographs=True,
    )


def worst_output(
    one: HostModel, other: HostModel, cases: Sequence[Any]
) -> tuple[dict[str, float], list[list[Any]]]:
    """The worst output's cosine and signal-to-noise ratio in decibel, and both models' answers, case by case."""
    answers = [[list(host.run(case, reset=True).values()) for case in cases] for host in (one, other)]
    found = [
        agreement(info, [case[n] for case in answers[0]], [case[n] for case in answers[1]])
        for n, info in enumerate(one.outputs)
    ]
    worst = {
        "cosine": round(min(output.cosine for output in found), 5),
        "decibel": round(min(output.decibel for output in found), 1),
    }
    return worst, answers


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
