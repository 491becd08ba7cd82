"""Takes the papers' tables with `sdk bench --suite` and puts them into benchmarks/results/suites/README.md, beside the
raw runs: `python -m benchmarks.pages.paper_tables shufflenet-paper` on an idle machine (3 minutes),
`python -m benchmarks.pages.paper_tables deep-compression` on one with 16 GB of memory (its clock does not
matter; some minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "suites"
PAGE = RESULTS / "README.md"

#: What `sdk` is called with for each table; the file of the run is added.
COMMANDS = {
    "shufflenet-paper": ("bench --board local --suite shufflenet-paper --sizes 224x224 --threads 1,2",),
    # VGG-16 is left out of the whole suite for its size, and is a run of its own.
    "deep-compression": (
        "bench --suite deep-compression",
        "bench --suite deep-compression --only vgg16",
    ),
}


def run(command: str, output: Path) -> str:
    """What `sdk COMMAND -o OUTPUT` prints on 100 columns, with the command above it."""
    said = subprocess.run(
        [sys.executable, "-m", "sdk.cli", *shlex.split(command), "-o", str(output)],
        env={**os.environ, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    lines = [f"$ sdk {command} -o {output.relative_to(ROOT)}", *said.splitlines()]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def conditions(output: Path) -> str:
    """Machine and runtime of a run, in words; "" where nothing was measured."""
    record = json.loads(output.read_text())
    if "runs" not in record:
        return ""
    timed = record["runs"][0]["report"]["models"][0]["measurement"]
    samples = [len(m["measurement"]["samples_seconds"]) for m in record["runs"][0]["report"]["models"]]
    clock = f", {timed['frequency_before_hz'] / 1e9:.2f} GHz" if timed["frequency_before_hz"] else ""
    return (
        f"{timed['machine']}, {len(timed['cpus'])} cores{clock}, {timed['runtime']} {timed['runtime_version']}, "
        f"{min(samples)} to {max(samples)} samples a network"
    )


def main() -> None:
    """Replaces the block of one suite in the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=sorted(COMMANDS))
    suite = parser.parse_args().suite
    parts, started = [], time.monotonic()
    output = RESULTS
    for number, command in enumerate(COMMANDS[suite], 1):
        name = suite.replace("-", "_") + ("" if number == 1 else f"_{number}")
        output = RESULTS / f"{name}.json"
        parts.append(run(command, output))
    # Where nothing is measured, how long others kept the machine does not matter.
    under = conditions(output)
    times = os.times()
    seconds = time.monotonic() - started if under else times.children_user + times.children_system
    took = f"{seconds / 60:.1f} minutes " + ("in all" if under else "of CPU time")
    told = "; ".join(filter(None, (under, took)))
    block = "\n\n".join(parts)
    intro = f"As `python -m benchmarks.pages.paper_tables {suite}` found it ({told}):"
    pattern = re.compile(rf"(<!-- suite {suite} -->\n).*?(<!-- end of suite -->)", re.DOTALL)
    text, count = pattern.subn(
        lambda match: f"{match[1]}{intro}\n\n```\n{block}\n```\n{match[2]}",
        PAGE.read_text(encoding="utf-8"),
    )
    if count != 1:
        sys.exit(f"expected one block of {suite} in {PAGE.name}, found {count}")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
