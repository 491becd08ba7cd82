"""Runs `sdk demo` and puts what it prints into README.md: `make transcript`, on a machine that does nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- transcript[^>]*-->\n```\n).*?(```\n)", re.S)


def main() -> None:
    """Replaces the block between the markers."""
    command = [sys.executable, "-m", "sdk.cli", "demo"]
    printed = subprocess.run(
        command, env={**os.environ, "COLUMNS": "80"}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    lines = "".join(f"{line.rstrip()}\n" for line in f"$ sdk demo\n{printed}".splitlines())
    text, count = BLOCK.subn(lambda match: match[1] + lines + match[2], README.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"expected one transcript block in {README.name}, found {count}")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
