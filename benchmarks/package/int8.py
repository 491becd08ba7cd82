"""How packages of deployed models compare with xz, zstd and brotli: the bytes beyond the best of the three.

    python -m benchmarks.package.int8 FOLDER [-o FILE]

Needs the modules ``zstandard`` and ``brotli``. A file is *larger* where its package takes more than 0.3 % and 64 bytes
beyond the best. Every package is unpacked again and compared.
"""

from __future__ import annotations

import argparse
import lzma
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark
from device_agent.package.reader import unpack
from sdk.package.pack import pack

ALLOWED_SHARE, ALLOWED_BYTES = 1.003, 64


def others(content: bytes) -> dict[str, int]:
    """Bytes that each of the three takes at its best setting."""
    import brotli
    import zstandard

    return {
        "xz": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        "zstd": len(zstandard.ZstdCompressor(level=22).compress(content)),
        "brotli": len(brotli.compress(content, quality=11, lgwin=24)),
    }


def measure(path: Path) -> dict[str, Any]:
    """The record of one file."""
    content = path.read_bytes()
    start = time.process_time()
    package = pack(content)
    seconds = time.process_time() - start
    unpacked = unpack(package)
    assert unpacked.tflite == content
    found = others(content)
    best = min(found.values())
    return {
        "name": path.stem,
        "tflite_bytes": len(content),
        "package_bytes": len(package),
        "format_version": unpacked.package.format_version,
        "layouts": dict(Counter(section.layout for section in unpacked.package.sections)),
        "pack_seconds": round(seconds, 2),
        **found,
        "larger": len(package) > best * ALLOWED_SHARE + ALLOWED_BYTES,
    }


def measure_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Prints a line for each file; the records."""
    records = []
    for path in sorted(arguments.folder.glob("*.tflite"), key=lambda path: path.stat().st_size):
        record = measure(path)
        best = min(record[name] for name in ("xz", "zstd", "brotli"))
        beyond = record["package_bytes"] - best
        print(
            f"{record['name']:30}{record['tflite_bytes']:10}{record['package_bytes']:10}{best:10}{beyond:9}"
            f" {100 * beyond / best:6.2f} %{'  LARGER' if record['larger'] else ''}",
            flush=True,
        )
        records.append(record)
    print(f"{sum(record['larger'] for record in records)} of {len(records)} larger")
    return records


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of .tflite files")


if __name__ == "__main__":
    benchmark(__doc__, measure_all, _arguments)
