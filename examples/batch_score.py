"""Scores every picture of a folder into a table: file, label, score, and what was second.

    ~/.armlet/python batch_score.py mobilenet photos/ -o scores.csv

Pictures are decoded by other threads while the model runs. A file that is no picture gets a row that says so, and the
exit status is 1. Decoding needs Pillow (Debian: python3-pil).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from device_agent import Agent

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
#: Pictures that are decoded ahead: more would be memory for nothing.
AHEAD = 8


def read(path: Path) -> Any:
    """The pixels of a picture, or why there are none."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        return error


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name of a deployed model, or a .armlet file")
    parser.add_argument("folder", type=Path, help="with pictures, also in folders of it")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="table to write (default: stdout)")
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in PICTURES)
    broken, begun = 0, time.monotonic()
    with ExitStack() as stack:
        agent = stack.enter_context(Agent(options.model, top=2))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        out = sys.stdout
        if options.output is not None:
            out = stack.enter_context(open(options.output, "w", newline="", encoding="utf-8"))
        table = csv.writer(out)
        table.writerow(["file", "label", "score", "second", "second_score", "error"])
        for start in range(0, len(paths), AHEAD):
            group = paths[start : start + AHEAD]
            for path, pixels in zip(group, pool.map(read, group)):
                name = path.relative_to(options.folder)
                if isinstance(pixels, Exception):
                    broken += 1
                    table.writerow([name, "", "", "", "", pixels])
                    continue
                cells: list[Any] = []
                for scored in agent.predict(pixels).top:
                    cells += [scored.label or scored.index, f"{scored.score:.4f}"]
                table.writerow([name, *cells, *[""] * (5 - len(cells))])
        seconds = time.monotonic() - begun
        print(
            f"{len(paths) - broken} pictures in {seconds:.1f} s, of which the model took {agent.latency.sum:.1f} s",
            file=sys.stderr,
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
