"""How long a deployed model takes to start in a fresh process, with what the agent keeps for it and without.

    python -m benchmarks.speed.start_up MODEL.tflite [--rounds 20] [-o benchmarks/results/speed/start_up.json]

MODEL is deployed to a store of its own twice: as it is, and as a package (pruned to 50 %, 32 centroids per layer, so
that there is something to decode). Then fresh processes of the agent load each, cold and warm in turn. The time from
the release's files to a ready interpreter counts: reading, checksums and decoding, importing the runtime, packing
weights; then the first inference. Python and numpy are not counted: they are the same either way.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark
from device_agent.record.release import Release
from device_agent.run.fresh_process import call_child
from device_agent.run.loaded import LoadedModel
from device_agent.store.store import Store
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.release import split

FIELDS = ("start_seconds", "start_cpu_seconds", "init_seconds", "first_seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--rounds", type=int, default=20, help="fresh processes of each (default: 20)")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each release and start."""
    tflite = arguments.model.read_bytes()
    pruned = write_graph(apply(read_graph(tflite), Recipe(sparsity=0.5, clusters=32)))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        kept = {
            name: deploy(store, name, data) for name, data in (("tflite", tflite), ("package", pack(pruned)))
        }
        taken: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(arguments.rounds):
            for name in kept:
                for start in ("cold", "warm"):
                    options = ["--cold"] if start == "cold" else []
                    answer = call_child(["--home", folder, "load", name, *options], 120.0)
                    if answer["start"] != start:
                        raise SystemExit(f"error: {name} started {answer['start']}, not {start}")
                    taken.setdefault((name, start), []).append(answer)
    for (name, start), answers in taken.items():
        medians = {field: statistics.median(answer[field] for answer in answers) for field in FIELDS}
        rows.append({"release": name, "start": start, "kept_bytes": kept[name], **medians})
        print(f"{name:8} {start:5}" + "".join(f"  {f[:-8]} {1e3 * medians[f]:8.2f} ms" for f in FIELDS))
    for cold, warm in zip(rows[::2], rows[1::2], strict=True):
        ratios = {field: cold[field] / warm[field] for field in FIELDS}
        warm["times_faster"] = ratios
        print(
            f"{cold['release']:8} warm is faster" + "".join(f"  {f[:-8]} {ratios[f]:7.1f}x" for f in FIELDS)
        )
    return {
        "model": arguments.model.name,
        "rounds": arguments.rounds,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "runtime": f"{answer['runtime']} {answer['runtime_version']}",
        "rows": rows,
    }


def deploy(store: Store, name: str, data: bytes) -> int:
    """Makes ``data`` what runs under ``name``, with its quick start; the bytes of that."""
    parts = {hashlib.sha256(part).hexdigest(): part for part in split(data)}
    order = tuple((hashlib.sha256(part).hexdigest(), len(part)) for part in split(data))
    release = Release(name=name, package_sha256=hashlib.sha256(data).hexdigest(), parts=order)
    with store.locked():
        store.blobs.receive(io.BytesIO(b"".join(parts.values())), [(d, len(p), 0) for d, p in parts.items()])
        store.begin_trial(store.add_release(release))
        store.confirm(name)
    start = LoadedModel.of_release(store, release, warm=False).keep_start(store, release)
    return start.model.size + start.weights.size


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
