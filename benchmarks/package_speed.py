"""How fast is a package? Both decoders and packing, against zstd, xz and brotli producing the same .tflite.

    python -m benchmarks.package_speed MODEL.tflite|FOLDER... [--sparsity 0 0.5 0.9] [--clusters 16]

One process, one thread; decoders take turns and the fastest round of each counts (the others measure the
machine's other work). "decode" is the kernel alone, "unpack" is everything: checks, digests of every section
and of the result. Weights are counted as elements of the sections, over the same for every row; zstd and the
others are given the size of the output. "zstd" is the library writing into memory that is there already, as our
decoder does; "zstd -d" is the command as a user calls it, with its start and its writing of the file.

zstd and brotli come from PyPI (zstandard, brotli), for decoding libzstd and the command from the system; a rival that
is missing is left out. Instructions an
output weight, which do not depend on the machine's load: ``python -m benchmarks.instructions PACKAGE``
(aarch64, emulated), or ``--callgrind`` here (x86, needs valgrind).
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
import lzma
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.package_models import Variant, variants
from device_agent import kernel as decoder_kernel
from device_agent import package
from sdk import kernel as kernel_builder
from sdk.pack import pack

COMMAND = "zstd -d"


def rivals(tflite: bytes, names: list[str], folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> a call that decompresses this model, compressed beforehand at the strongest setting.

    ``folder`` takes the files of the command.
    """
    found: dict[str, Callable[[], object]] = {}
    if "xz" in names:
        stream = lzma.compress(tflite, preset=9 | lzma.PRESET_EXTREME)
        found["xz"] = lambda: lzma.decompress(stream)
    if "zstd" in names and find_spec("zstandard"):
        import zstandard

        parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=27)
        frame = zstandard.ZstdCompressor(compression_params=parameters).compress(tflite)
        library = ctypes.util.find_library("zstd")
        if library:
            found["zstd"] = in_place(ctypes.CDLL(library), frame, len(tflite))
        if shutil.which("zstd"):
            (folder / "model.zst").write_bytes(frame)
            command = [
                "zstd",
                "-d",
                "-q",
                "-f",
                "--long=27",
                str(folder / "model.zst"),
                "-o",
                str(folder / "model"),
            ]
            found[COMMAND] = lambda: subprocess.run(command, check=True)
    if "brotli" in names and find_spec("brotli"):
        import brotli

        coded = brotli.compress(tflite, quality=11, lgwin=24)
        found["brotli"] = lambda: brotli.decompress(coded)
    return found


def in_place(library: ctypes.CDLL, frame: bytes, size: int) -> Callable[[], object]:
    """A call that decompresses with libzstd into one buffer of ``size`` bytes, again and again."""
    out = np.zeros(size, np.uint8)
    decompress = library.ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]

    def run() -> None:
        written = decompress(out.ctypes.data, size, frame, len(frame))
        assert written == size

    return run


def decode_sections(packed: bytes, out: np.ndarray) -> Callable[[], object]:
    """A call that runs the C kernel on every section it can decode, each to its place."""
    loaded = decoder_kernel.load()
    table = package.read_table(packed)
    view = np.frombuffer(packed, np.uint8)
    work = []
    for number, section in enumerate(package.read(packed).sections, 1):
        entry = table.sections[number]
        if section.layout != "lz":
            target = out[section.offset : section.offset + entry.size]
            work.append((view[entry.offset : entry.offset + entry.coded_size], target))

    def run() -> None:
        for coded, target in work:
            loaded.decode(coded, target)

    return run


def fastest(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Processor seconds of the fastest of ``rounds`` runs of each call, its processes included; calls take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.thread_time() + seconds_of_children()
            call()
            best[name] = min(best[name], time.thread_time() + seconds_of_children() - started)
    return best


def seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(variant: Variant, rounds: int, names: list[str]) -> dict[str, Any]:
    started = time.thread_time()
    packed = pack(variant.tflite)
    pack_seconds = time.thread_time() - started
    out = np.zeros(len(variant.tflite), np.uint8)
    calls: dict[str, Callable[[], object]] = {
        "c decode": decode_sections(packed, out),
        "c unpack": lambda: package.unpack_into(packed, out, kernel="c"),
        "numpy unpack": lambda: package.unpack_into(packed, out, kernel="numpy"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        calls.update(rivals(variant.tflite, names, Path(scratch)))
        seconds = fastest(calls, rounds)
    assert out.tobytes() == variant.tflite
    weights = sum(section.count for section in package.read(packed).sections)
    return {
        "model": variant.name,
        "tflite_sha256": variant.sha256,
        "package_bytes": len(packed),
        "weights": weights,
        "pack_seconds": pack_seconds,
        "seconds": seconds,
        "weights_per_second": {name: weights / value for name, value in seconds.items()},
        "decode_over_zstd": seconds["zstd"] / seconds["c decode"] if "zstd" in seconds else None,
        "unpack_over_command": seconds[COMMAND] / seconds["c unpack"] if COMMAND in seconds else None,
    }


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
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
            assert found is not None
            totals = counted.setdefault(section.layout, [0, 0])
            totals[0] += int(found[1])
            totals[1] += section.count
    return {layout: instructions / elements for layout, (instructions, elements) in counted.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--sparsity", nargs="*", type=float, default=[0.0, 0.5, 0.9])
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rivals", nargs="*", default=["zstd"], choices=["zstd", "xz", "brotli"])
    parser.add_argument("--callgrind", action="store_true", help="count instructions instead of time")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    arguments = parser.parse_args()
    decoder_kernel.use(str(kernel_builder.build()))
    results = []
    for variant in variants(arguments.models, arguments.sparsity, arguments.clusters):
        if arguments.callgrind:
            counts = instructions_per_weight(pack(variant.tflite))
            print(
                f"{variant.name:52} " + ", ".join(f"{name} {count:.2f}" for name, count in counts.items()),
                flush=True,
            )
            results.append({"model": variant.name, "instructions_per_weight": counts})
            continue
        results.append(measure(variant, arguments.rounds, arguments.rivals))
        speeds = " ".join(
            f"{name} {value / 1e6:.0f}" for name, value in results[-1]["weights_per_second"].items()
        )
        numpy_seconds = results[-1]["seconds"]["numpy unpack"]
        packing = f"pack {results[-1]['pack_seconds']:.1f} s, numpy {numpy_seconds:.2f} s"
        print(f"{variant.name:52} {packing}; M weights/s: {speeds}", flush=True)
    if arguments.json:
        conditions = {
            "python": sys.version.split()[0],
            "numpy": np.__version__,
            "machine": platform.machine(),
        }
        arguments.json.write_text(json.dumps({"conditions": conditions, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
