"""Predicted against published: ncnn's benchmark networks on boards whose single-thread latencies ncnn publishes.

    python -m benchmarks.predict --ncnn FOLDER [-o FILE] [--networks mobilenet ...] [--boards rpi4 ...]
    python -m benchmarks.predict --from FILE

FOLDER holds the releases of ncnn that the boards were measured with; what is not there is fetched. A
network, a set of kernels and a release are one run of the emulator, a quarter of a minute to two minutes; each is kept
in FILE at once, and not run again. --from only draws the table. Nothing of the model is fitted to these latencies;
boards.toml says which were looked at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.predict.boards import PublishedBoard, read_boards
from benchmarks.predict.networks import NETWORKS
from benchmarks.predict.table import print_tables
from benchmarks.predict.wheels import release
from benchmarks.record import benchmark, kept_runs, write
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_replayed
from sdk.board.emulation.replay.machine import machine_text
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.engine import MARKS, read_result

GUEST = Path(__file__).with_name("ncnn_guest.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ncnn", type=Path, metavar="FOLDER", help="releases of ncnn, fetched where they are not there"
    )
    parser.add_argument(
        "--from", dest="kept", type=Path, metavar="FILE", help="draw what an earlier run kept"
    )
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--boards", nargs="+", choices=list(read_boards()), default=list(read_boards()))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was kept, with what was not there yet; prints the tables."""
    boards = {name: board for name, board in read_boards().items() if name in arguments.boards}
    source = arguments.kept or arguments.output
    record = kept_runs(source)
    if arguments.ncnn is not None:
        for network in arguments.networks:
            for kind in dict.fromkeys((b.kernels, b.arithmetic, b.ncnn) for b in boards.values()):
                key = " ".join((network, *kind))
                shared = [b for b in boards.values() if (b.kernels, b.arithmetic, b.ncnn) == kind]
                if not any(network in b.milliseconds for b in shared) or set(
                    record["runs"].get(key, {}).get("boards", {})
                ) >= {b.name for b in shared}:
                    continue
                made = replayed(network, shared, arguments.ncnn)
                earlier = record["runs"].get(key, {}).get("boards", {})  # of boards that are not in this run
                record["runs"][key] = {**made, "boards": {**earlier, **made["boards"]}}
                drop_earlier(record, network, shared)
                if arguments.output is not None:
                    write(arguments.output, record)
    print_tables(record, boards)
    return record


def drop_earlier(record: dict[str, Any], network: str, boards: list[PublishedBoard]) -> None:
    """Forgets what an earlier version of the model said of the cells that ran again."""
    for key in list(record.get("earlier", ())):
        if key.split()[0] == network:
            for board in boards:
                record["runs"][key]["boards"].pop(board.name, None)
        if not record["runs"][key]["boards"]:
            del record["runs"][key]
            record["earlier"].remove(key)


def replayed(network: str, boards: list[PublishedBoard], folder: Path) -> dict[str, Any]:
    """One run of the emulator: cycles of all boards, which take the same kernels of the same release."""
    kernels, arithmetic = boards[0].kernels, boards[0].arithmetic
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
            str(release(boards[0].ncnn, folder)),
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
    print(f"{network} {kernels} {arithmetic} {boards[0].ncnn}: {seconds:.0f} s", file=sys.stderr)
    return {**told, "wall_seconds": round(seconds, 1), "boards": found}


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
