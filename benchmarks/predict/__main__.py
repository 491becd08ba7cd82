"""Predicted against published: ncnn's benchmark networks on boards whose single-thread latencies ncnn publishes.

    python -m benchmarks.predict --ncnn FOLDER [-o FILE] [--networks mobilenet ...] [--boards rpi4 ...]
    python -m benchmarks.predict --from FILE

FOLDER is an aarch64 wheel of ncnn, unpacked (pip download --only-binary :all: --no-deps --python-version 3.11
--platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 ncnn==1.0.20230816). A network and a set of kernels
is one run of the emulator, half a minute to three minutes; each is kept in FILE at once, and not run again. --from
only draws the table. Nothing of the model is fitted to these latencies; boards.toml says which were looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.predict.boards import PublishedBoard, read_boards
from benchmarks.predict.networks import NETWORKS
from benchmarks.predict.table import print_tables
from benchmarks.record import benchmark, write
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_replayed
from sdk.board.emulation.replay.machine import machine_text
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.engine import MARKS, read_result

GUEST = Path(__file__).with_name("ncnn_guest.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ncnn", type=Path, metavar="FOLDER", help="ncnn's aarch64 wheel, unpacked")
    parser.add_argument(
        "--from", dest="kept", type=Path, metavar="FILE", help="draw what an earlier run kept"
    )
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--boards", nargs="+", choices=list(read_boards()), default=list(read_boards()))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was kept, with what was not there yet; prints the tables."""
    boards = {name: board for name, board in read_boards().items() if name in arguments.boards}
    source = arguments.kept or arguments.output
    record: dict[str, Any] = {"runs": {}}
    if source is not None and source.exists():
        record = json.loads(source.read_text(encoding="utf-8"))
    if arguments.ncnn is not None:
        for network in arguments.networks:
            for kernels, arithmetic in dict.fromkeys((b.kernels, b.arithmetic) for b in boards.values()):
                key = f"{network} {kernels} {arithmetic}"
                shared = [b for b in boards.values() if (b.kernels, b.arithmetic) == (kernels, arithmetic)]
                if set(record["runs"].get(key, {}).get("boards", {})) >= {b.name for b in shared}:
                    continue
                record["runs"][key] = replayed(network, kernels, arithmetic, shared, arguments.ncnn)
                if arguments.output is not None:
                    write(arguments.output, record)
    print_tables(record, boards)
    return record


def replayed(
    network: str, kernels: str, arithmetic: str, boards: list[PublishedBoard], ncnn: Path
) -> dict[str, Any]:
    """One run of the emulator: cycles of every board that takes these kernels."""
    core = find_core(kernels)
    text, side = NETWORKS[network]()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        param = Path(temporary) / f"{network}.param"
        param.write_text(text)
        program = [
            "/usr/bin/python3",
            "-sS",
            str(GUEST),
            str(ncnn.resolve()),
            str(param),
            str(side),
            arithmetic,
        ]
        machine = machine_text([board.timed() for board in boards])
        written, _, _ = run_replayed(
            "aarch64", core, prefix("aarch64", core), program, boards=machine, marks=MARKS
        )
    told = read_result(written)
    seconds = time.monotonic() - begin
    found = {
        b.name: {**counted, "name": b.name} for b, counted in zip(boards, told.pop("boards"), strict=True)
    }
    print(f"{network} {kernels} {arithmetic}: {seconds:.0f} s", file=sys.stderr)
    return {**told, "wall_seconds": round(seconds, 1), "boards": found}


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
