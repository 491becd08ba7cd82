"""How fast is a package? Both decoders and packing, against zstd, xz and brotli producing the same .tflite.

    python -m benchmarks.package.speed MODEL.tflite|FOLDER... [--sparsity 0 0.5 0.9] [--clusters 16] [-o FILE]
    python -m benchmarks.package.speed MODEL.tflite|FOLDER... --emulated [CPU] | --callgrind

Times are processor seconds of one thread, processes that it starts included. Decoders take turns, each with a call
that is not timed and one that is; the fastest round and the median of all are kept (machines have other work). Weights
are the elements of the sections, the same number for every row.

    c decode        the C decoder over all sections, each to its place in memory that is there already
    zstd            libzstd doing the same: one call, into memory that is there already; without a checksum
    zstd, checked   the frame as the command writes it, with its XXH64, which the library then checks
    c unpack        everything: header, digests of the package and of the result (SHA-256), from memory to memory
    c unpack, file  the same from file to file
    zstd -d         the command, from file to file, its start included
    numpy unpack    as c unpack, with the numpy decoder

zstd and brotli come from PyPI (zstandard, brotli) to compress; libzstd and the command, which decompress, from the
system. A rival that is missing is left out.

Instructions a weight do not depend on the machine's load: ``--emulated`` counts those of a Cortex-A72 (or the CPU
that is named) with QEMU's user mode and a plugin, as benchmarks.speed.instructions does; ``--callgrind`` those of x86
(needs valgrind).
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import lzma
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.package.variants import Variant, model_arguments, variants
from benchmarks.record import benchmark, write_rows
from device_agent.package import kernel as decoder_kernel
from device_agent.package import reader as package
from sdk.deploy.provision import kernel as kernel_builder
from sdk.deploy.provision.instructions import count_decoding
from sdk.package.pack import pack

COMMAND = "zstd -d"
WINDOW = 27  # log2 of zstd's, larger than the models
LARGE = 200_000  # weights of a layer that is counted apart: tables are built once a layer


def zstd_calls(tflite: bytes, folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> a call of each way to decompress what zstd made of the model at its strongest."""
    import zstandard

    found: dict[str, Callable[[], object]] = {}
    parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=WINDOW, write_checksum=True)
    checked = zstandard.ZstdCompressor(compression_params=parameters).compress(tflite)
    # RFC 8878: bit 2 of the frame's descriptor, behind its magic, says that the last 4 bytes are a checksum.
    frames = {"zstd": checked[:4] + bytes([checked[4] & ~4]) + checked[5:-4], "zstd, checked": checked}
    library = ctypes.util.find_library("zstd")
    if library:
        loaded = ctypes.CDLL(library)
        found.update({name: in_place(loaded, frame, len(tflite)) for name, frame in frames.items()})
    if shutil.which("zstd"):
        coded, out = folder / "model.zst", folder / "model.from_zstd"
        coded.write_bytes(checked)
        command = ["zstd", "-d", "-q", "-f", f"--long={WINDOW}", str(coded), "-o", str(out)]
        found[COMMAND] = lambda: subprocess.run(command, check=True)
    return found


def rivals(tflite: bytes, names: list[str], folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> a call that decompresses this model, compressed beforehand at the strongest setting.

    ``folder`` takes the files of the commands.
    """
    found: dict[str, Callable[[], object]] = {}
    if "zstd" in names and find_spec("zstandard"):
        found.update(zstd_calls(tflite, folder))
    if "xz" in names:
        stream = lzma.compress(tflite, preset=9 | lzma.PRESET_EXTREME)
        found["xz"] = lambda: lzma.decompress(stream)
    if "brotli" in names and find_spec("brotli"):
        import brotli

        coded = brotli.compress(tflite, quality=11, lgwin=24)
        found["brotli"] = lambda: brotli.decompress(coded)
    return found


def in_place(library: ctypes.CDLL, frame: bytes, size: int) -> Callable[[], object]:
    """A call that decompresses with libzstd into one buffer of ``size`` bytes, again and again."""
    out = np.ones(size, np.uint8)
    decompress = library.ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    arguments = (out.ctypes.data, size, frame, len(frame))

    def run() -> None:
        written = decompress(*arguments)
        assert written == len(out)

    return run


def decode_sections(packed: bytes, out: np.ndarray) -> Callable[[], object]:
    """A call that runs the C kernel on every section it can decode, each to its place (a bundle: beside the model)."""
    loaded = decoder_kernel.load()
    table = package.read_table(packed)
    view = np.frombuffer(packed, np.uint8)
    work, kept = [], []
    for entry, section in zip(table.sections[1:], package.read(packed).sections, strict=True):
        if section.layout == "lz":
            continue
        target = np.zeros(entry.size, np.uint8)
        if len(section.spans) == 1:
            target = out[section.offset : section.offset + entry.size]
        coded = view[entry.offset : entry.offset + entry.coded_size]
        kept.append((coded, target))
        work.append((coded.ctypes.data, coded.size, target.ctypes.data, target.size))

    def run() -> None:
        for addresses in work:
            loaded.decode_at(*addresses)
        assert len(kept) == len(work)  # what the addresses are of lives as long as this call

    return run


def from_file_to_file(packed: bytes, folder: Path) -> Callable[[], object]:
    """A call that reads the package, unpacks it and writes the model, as the command of zstd does."""
    coded, out = folder / "model.armlet", folder / "model.tflite"
    coded.write_bytes(packed)
    return lambda: out.write_bytes(package.unpack(coded.read_bytes(), kernel="c").tflite)


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each call in each round, its processes included, ascending; the calls take turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # what the others left in the caches and the branch predictor is nobody's merit
            started = time.thread_time() + seconds_of_children()
            call()
            taken[name].append(time.thread_time() + seconds_of_children() - started)
    return {name: sorted(seconds) for name, seconds in taken.items()}


def seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(variant: Variant, rounds: int, names: list[str]) -> dict[str, Any]:
    started = time.thread_time()
    packed = pack(variant.tflite)
    pack_seconds = time.thread_time() - started
    out = np.zeros(len(variant.tflite), np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        calls: dict[str, Callable[[], object]] = {
            "c decode": decode_sections(packed, out),
            "c unpack": lambda: package.unpack_into(packed, out, kernel="c"),
            "c unpack, file": from_file_to_file(packed, Path(scratch)),
            "numpy unpack": lambda: package.unpack_into(packed, out, kernel="numpy"),
            **rivals(variant.tflite, names, Path(scratch)),
        }
        taken = timed(calls, rounds)
    assert out.tobytes() == variant.tflite
    weights = sum(section.count for section in package.read(packed).sections)
    fastest = {name: seconds[0] for name, seconds in taken.items()}
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    pairs = [
        ("zstd", "c decode"),
        ("zstd, checked", "c decode"),
        (COMMAND, "c unpack"),
        (COMMAND, "c unpack, file"),
    ]
    return {
        "model": variant.name,
        "tflite_sha256": variant.sha256,
        "package_bytes": len(packed),
        "weights": weights,
        "pack_seconds": pack_seconds,
        "fastest_ms": {name: 1e3 * seconds for name, seconds in fastest.items()},
        "median_ms": {name: 1e3 * seconds for name, seconds in medians.items()},
        "weights_per_second": {name: weights / seconds for name, seconds in fastest.items()},
        "times_as_fast": {
            f"{ours} / {theirs}": {
                "fastest": fastest[theirs] / fastest[ours],
                "median": medians[theirs] / medians[ours],
            }
            for theirs, ours in pairs
            if theirs in taken
        },
    }


def emulated_instructions(packed: bytes, cpu: str) -> dict[str, Any]:
    """Layout -> bits and instructions per weight on an emulated core, of all layers and of the large ones."""
    counted = count_decoding(packed, cpu=cpu)
    described = [section for section in package.read(packed).sections if section.layout != "lz"]
    found: dict[str, Any] = {"whole model": counted.instructions_per_weight}
    for layout in sorted({section.layout for section in described}):
        rows = [
            (section.count, section.coded_size, instructions)
            for section, (*_, instructions) in zip(described, counted.sections, strict=True)
            if section.layout == layout
        ]
        large = [row for row in rows if row[0] >= LARGE]
        weights = sum(count for count, _, _ in rows)
        found[layout] = {
            "weights": weights,
            "bits": 8 * sum(size for _, size, _ in rows) / weights,
            "instructions": sum(instructions for *_, instructions in rows) / weights,
            "instructions_in_large_layers": sum(row[2] for row in large) / sum(row[0] for row in large)
            if large
            else None,
        }
    return found


CALLGRIND_MAIN = """
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
int32_t armlet_decode(const uint8_t *coded, size_t coded_size, uint8_t *out, size_t out_size);
int main(int argc, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    size_t out_size = strtoul(argv[2], 0, 10), size;
    static uint8_t coded[1 << 26];
    uint8_t *out = malloc(out_size);
    (void)argc;
    size = fread(coded, 1, sizeof coded, file);
    return armlet_decode(coded, size, out, out_size);
}
"""
# Callgrind counts every byte of a `rep stosb` as an instruction: have the C library fill with vectors instead.
WITHOUT_REP = "glibc.cpu.x86_rep_stosb_threshold=0x40000000:glibc.cpu.x86_rep_movsb_threshold=0x40000000"


def instructions_per_weight(packed: bytes) -> dict[str, float]:
    """Layout -> x86 instructions for each element, counted by callgrind over armlet_decode and what it calls."""
    counted: dict[str, list[int]] = {}
    table = package.read_table(packed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "main.c").write_text(CALLGRIND_MAIN)
        flags = ["-O3", "-g", "-ffp-contract=off", "-w"]
        # Two files, so that armlet_decode stays a function that callgrind can see.
        sources = [folder / "main.c", kernel_builder.source_path()]
        subprocess.run(["cc", *flags, "-o", folder / "main", *sources], check=True)
        for number, section in enumerate(package.read(packed).sections, 1):
            entry = table.sections[number]
            if section.layout == "lz" or section.count < 4096:
                continue
            (folder / "section").write_bytes(packed[entry.offset : entry.offset + entry.coded_size])
            command = [
                "valgrind",
                "--tool=callgrind",
                "--toggle-collect=armlet_decode",
                "--callgrind-out-file=/dev/null",
            ]
            command += [str(folder / "main"), str(folder / "section"), str(entry.size)]
            environment = {**os.environ, "GLIBC_TUNABLES": WITHOUT_REP}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
            assert found is not None
            totals = counted.setdefault(section.layout, [0, 0])
            totals[0] += int(found[1])
            totals[1] += section.count
    return {layout: instructions / elements for layout, (instructions, elements) in counted.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rivals", nargs="*", default=["zstd"], choices=["zstd", "xz", "brotli"])
    parser.add_argument("--callgrind", action="store_true", help="count instructions of x86 instead of time")
    parser.add_argument(
        "--emulated",
        nargs="?",
        const="cortex-a72",
        metavar="CPU",
        help="count instructions of an emulated core",
    )


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every variant's times or counts, and under which conditions."""
    decoder_kernel.use(str(kernel_builder.build()))
    results: list[dict[str, Any]] = []
    for variant in variants(arguments.models, arguments.sparsity, arguments.clusters):
        result, line = one(variant, arguments)
        results.append(result)
        print(f"{variant.name:44} {line}", flush=True)
    if arguments.callgrind:
        return {"conditions": {"counted": "x86-64, by callgrind"}, "results": results}
    if arguments.emulated:
        counted = f"{arguments.emulated}, emulated by QEMU's user mode, with a plugin that counts"
        return {"conditions": {"counted": counted}, "results": results}
    return {"conditions": conditions(arguments.rounds), "results": results}


def one(variant: Variant, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The record of a variant, and the same in a line."""
    if arguments.callgrind:
        counts = instructions_per_weight(pack(variant.tflite))
        line = ", ".join(f"{name} {count:.2f}" for name, count in counts.items())
        return {"model": variant.name, "instructions_per_weight_x86": counts}, line
    if arguments.emulated:
        found = emulated_instructions(pack(variant.tflite), arguments.emulated)
        line = ", ".join(
            f"{name} {row['instructions']:.2f} at {row['bits']:.2f} bits"
            for name, row in found.items()
            if isinstance(row, dict)
        )
        return {"model": variant.name, f"instructions_per_weight_{arguments.emulated}": found}, line
    result = measure(variant, arguments.rounds, arguments.rivals)
    speeds = ", ".join(f"{name} {value:.2f}" for name, value in result["fastest_ms"].items())
    ratios = ", ".join(
        f"{name} {ratio['fastest']:.2f} ({ratio['median']:.2f})"
        for name, ratio in result["times_as_fast"].items()
    )
    return result, f"pack {result['pack_seconds']:.1f} s; ms: {speeds}; times as fast (median): {ratios}"


def conditions(rounds: int) -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "machine": platform.machine(),
        "clock": f"processor time of one thread, {rounds} rounds that take turns",
        "zstd": "level 22, window as large as the model",
    }


if __name__ == "__main__":
    benchmark(__doc__, measure_all, add_arguments, keep=write_rows)
