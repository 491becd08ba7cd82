"""Predicted against published: MobileNets in LiteRT on phones whose single-thread latencies are published.

    python -m benchmarks.predict.litert [-o FILE] [--networks mobilenet_v1 ...] [--boards pixel2 ...]
    python -m benchmarks.predict.litert --from FILE

litert.toml holds the latencies, their sources and the boards. They are of 2020 and 2022; what runs here is the LiteRT
that `sdk` deploys, and the last tflite-runtime, so kernels differ as well as the prediction. A network, a core and a
runtime are one run of the emulator, half a minute to two; each is kept in FILE at once, and not run again. --from only
draws the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.predict.boards import MeasuredBoard
from benchmarks.predict.table import PEAK_MACS
from benchmarks.record import benchmark, kept_runs, write
from sdk.api.measuring.predictions import read_validation
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.replay.machine import timed_core, tomllib
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.engine import Run, replay
from sdk.deploy.provision.instructions import runtime_environment, unpacked
from sdk.explain import theory
from sdk.explain.speed.predictions import MEMORY_DECIDES, shared_by
from sdk.explain.speed.validation import NetworkKind
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.models import build
from sdk.models.keras_builder import load_keras

FOLDER = Path(__file__).parent
#: What `python -m benchmarks.predict.litert -o` kept.
KEPT = FOLDER.parent / "results" / "predict" / "litert.json"
#: The first is what `sdk` deploys; bounds are of it alone.
RUNTIMES = ("ai-edge-litert", "tflite-runtime")


def keras_application(name: str) -> Callable[[], Any]:
    """Builds one of Keras' own networks, 224 x 224, with fresh weights and no scaling of the picture in front."""
    return lambda: getattr(load_keras().applications, name)(
        weights=None, input_shape=(224, 224, 3), include_preprocessing=False
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "mobilenet_v1": lambda: build("mobilenet_v1"),
    "mobilenet_v2": lambda: build("mobilenet_v2"),
    "mobilenet_v3_large": keras_application("MobileNetV3Large"),
    "mobilenet_v3_small": keras_application("MobileNetV3Small"),
    "mobilenet_v1_int8": lambda: build("mobilenet_v1"),
    "mobilenet_v2_int8": lambda: build("mobilenet_v2"),
}


@dataclass(frozen=True)
class LiteRTBoard(MeasuredBoard):
    """A board of litert.toml. ``bound_milliseconds`` are the published ones of ``bound_threads``, by network."""

    looked_at: list[str]
    bound_threads: int = 0
    bound_milliseconds: dict[str, float] = field(default_factory=dict)

    def networks(self, runtime: str) -> list[str]:
        """Those that are predicted with a runtime."""
        bounds = self.bound_milliseconds if runtime == RUNTIMES[0] else {}
        return list(dict.fromkeys((*self.milliseconds, *bounds)))


@dataclass(frozen=True)
class Cell:
    """One published latency of one thread beside what is predicted of it, all in seconds.

    ``low`` and ``high``: the interval that `sdk predict` gives. ``peak``: multiply-accumulates / peak.
    ``instructions``: those executed / clock. ``is_test``: nobody looked at it while the model was made.
    """

    board: str
    network: str
    runtime: str
    published: float
    predicted: float
    low: float
    high: float
    peak: float
    instructions: float
    is_test: bool


@dataclass(frozen=True)
class Bound:
    """What several threads took, in seconds, beside the bound of `sdk predict`, which may not lie above it."""

    board: str
    network: str
    published: float
    bound: float


def read_litert_boards() -> dict[str, LiteRTBoard]:
    """The boards of litert.toml."""
    told: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "litert.toml").read_text(encoding="utf-8"))
    kept = set(LiteRTBoard.__dataclass_fields__)
    return {
        name: LiteRTBoard(
            name=name, **{"latency_nanoseconds": 0.0, **{k: v for k, v in entry.items() if k in kept}}
        )
        for name, entry in told.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="kept", type=Path, metavar="FILE", help="draw what an earlier run kept"
    )
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument(
        "--boards", nargs="+", choices=list(read_litert_boards()), default=list(read_litert_boards())
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was kept, with what was not there yet; prints the tables."""
    boards = {name: b for name, b in read_litert_boards().items() if name in arguments.boards}
    source = arguments.kept or arguments.output
    record = kept_runs(source)
    if arguments.kept is None:
        for network in arguments.networks:
            missing = [
                (board, runtime)
                for board in boards.values()
                for runtime in RUNTIMES
                if network in board.networks(runtime)
                and key_of(network, board, runtime) not in record["runs"]
            ]
            tflite = model_of(network) if missing else b""
            for board, runtime in missing:
                record["runs"][key_of(network, board, runtime)] = replayed(tflite, board, runtime)
                if arguments.output is not None:
                    write(arguments.output, record)
    print_tables(record, boards)
    return record


def key_of(network: str, board: LiteRTBoard, runtime: str) -> str:
    """Where the record keeps a run."""
    return f"{network} {board.name} {runtime}"


def model_of(network: str) -> bytes:
    """The network as a ``.tflite``: float32, or int8 with scales per channel, from random images."""
    model = NETWORKS[network]()
    if not network.endswith("int8"):
        return from_keras(model, name=network)
    import numpy as np
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    images = [rng.uniform(-1.0, 1.0, (1, 224, 224, 3)).astype(np.float32) for _ in range(4)]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    tflite: bytes = converter.convert()
    return tflite


def replayed(tflite: bytes, board: LiteRTBoard, runtime: str) -> dict[str, Any]:
    """One run of the emulator: counts of an inference, of one thread, by the guest and the replay of `sdk predict`.

    Raises BoardError where the runtime ran without XNNPACK.
    """
    timed = board.timed()
    core = find_core(timed.core.name)
    environment = runtime_environment("aarch64", runtime)
    begin = time.monotonic()
    site, root = unpacked(environment), prefix("aarch64", core)
    told = replay(Run([timed], core, root, site, runtime, tflite, delegate=None, profiled=False)).told
    (counted,) = told.pop("boards")
    seconds = time.monotonic() - begin
    print(f"{board.name} {runtime}: {seconds:.0f} s", file=sys.stderr)
    return {
        **told,
        "macs": theory.totals(theory.operator_costs(read_graph(tflite))).macs,
        "runtime_version": environment.runtime_version,
        "wall_seconds": round(seconds, 1),
        "board": counted,
    }


def cells_of(record: Mapping[str, Any], boards: Mapping[str, LiteRTBoard]) -> list[Cell]:
    """Those that the record has, by runtime, board and network."""
    table = read_validation()
    found = []
    for runtime in RUNTIMES:
        for board in boards.values():
            clock = board.clock_ghz * 1e9
            for network, published in board.milliseconds.items():
                run = record["runs"].get(key_of(network, board, runtime))
                if run is None:
                    continue
                cycles = run["board"]["cycles"]
                kind = NetworkKind(run["board"]["dram"] >= MEMORY_DECIDES * cycles, int8=False)
                likely = table.likely(board.core, kind)
                macs_per_cycle = PEAK_MACS.get(timed_core(board.core).name, (4, 4))[0]
                found.append(
                    Cell(
                        board=board.name,
                        network=network,
                        runtime=runtime,
                        published=published / 1e3,
                        predicted=cycles / clock,
                        low=likely.low * cycles / clock,
                        high=likely.high * cycles / clock,
                        peak=run["macs"] / macs_per_cycle / clock,
                        instructions=run["instructions"] / clock,
                        is_test=network not in board.looked_at,
                    )
                )
    return found


def bounds_of(record: Mapping[str, Any], boards: Mapping[str, LiteRTBoard]) -> list[Bound]:
    """The bounds of several threads, as `sdk predict` has them."""
    found = []
    for board in boards.values():
        for network, published in board.bound_milliseconds.items():
            run = record["runs"].get(key_of(network, board, RUNTIMES[0]))
            if run is None:
                continue
            alone = run["board"]["cycles"] / (board.clock_ghz * 1e9)
            moving = run["board"]["dram_bytes"] / board.timed().memory_bytes_per_second
            least = shared_by(board.bound_threads, alone, moving).seconds
            found.append(Bound(board.name, network, published / 1e3, least))
    return found


def errors_of(cells: list[Cell]) -> dict[str, list[float]]:
    """By predictor: how far each is off, as a share of what was published."""
    return {
        "this one": [abs(cell.predicted / cell.published - 1.0) for cell in cells],
        "MACs / peak": [abs(cell.peak / cell.published - 1.0) for cell in cells],
        "instructions / clock": [abs(cell.instructions / cell.published - 1.0) for cell in cells],
    }


def print_tables(record: Mapping[str, Any], boards: Mapping[str, LiteRTBoard]) -> None:
    """Prints each cell, the errors by runtime and predictor, and the bounds."""
    for cell in cells_of(record, boards):
        kind = "test" if cell.is_test else "seen"
        print(
            f"{cell.runtime:14} {cell.board:7} {cell.network:18} {kind} published {1e3 * cell.published:6.2f} ms, "
            f"predicted {1e3 * cell.predicted:6.2f} ({1e3 * cell.low:.1f} to {1e3 * cell.high:.1f}): "
            f"{cell.predicted / cell.published:.2f}, MACs / peak {cell.peak / cell.published:.2f}, "
            f"instructions / clock {cell.instructions / cell.published:.2f}"
        )
    for runtime in RUNTIMES:
        own = [cell for cell in cells_of(record, boards) if cell.runtime == runtime]
        for part, cells in (("all", own), ("test", [cell for cell in own if cell.is_test])):
            if not cells:
                continue
            inside = sum(cell.low <= cell.published <= cell.high for cell in cells)
            print(f"{runtime}, {part}: {len(cells)} cells, {inside} in their interval")
            for name, errors in errors_of(cells).items():
                print(f"  {name:20} median {median(errors):.0%}, worst {max(errors):.0%}")
    for one in bounds_of(record, boards):
        print(
            f"{one.board:7} {one.network:18} all cores: published {1e3 * one.published:.0f} ms, "
            f"bound {1e3 * one.bound:.1f}{'' if one.bound <= one.published else ', which lies above it'}"
        )


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
