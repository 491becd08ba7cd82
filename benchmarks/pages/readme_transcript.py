"""Runs `sdk demo`, puts a part of what it prints into README.md, and keeps the same run as JSON, page and picture in
docs/demo: `make transcript`, on a machine that does nothing else. The picture needs Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DEMO = ROOT / "docs" / "demo"
BLOCK = re.compile(r"(<!-- transcript[^>]*-->\n```\n).*?(```\n)", re.S)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURE = (1000, 1100)  # pixels: the answer, theory against measurement, and where the rest went


def sdk(*arguments: object) -> str:
    """What `sdk` prints on 80 columns."""
    command = [sys.executable, "-m", "sdk.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "80"}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def take_picture(page: Path, picture: Path) -> None:
    """The top of a page, in the light, as PNG."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"{picture.name} was not taken: no browser; expected one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--user-data-dir={profile}", f"--window-size={PICTURE[0]},{PICTURE[1]}"),
                *(f"--screenshot={picture}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


def excerpt(printed: str) -> str:
    """Of what the demo prints, the part that says where the promised speed-up went."""
    found = re.search(r"^Where it went:.*?^measured [^\n]*$", printed, re.S | re.M)
    if found is None:
        sys.exit("the demo prints no waterfall")
    return "".join(f"{line.rstrip()}\n" for line in ["$ sdk demo", "...", *found[0].splitlines(), "..."])


def main() -> None:
    """Replaces the block between the markers, and the files of docs/demo."""
    run, page = DEMO / "run.json", DEMO / "report.html"
    printed = sdk("demo", "-o", run.relative_to(ROOT))
    lines = excerpt(printed)
    text, count = BLOCK.subn(lambda match: match[1] + lines + match[2], README.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"expected one transcript block in {README.name}, found {count}")
    README.write_text(text, encoding="utf-8")
    sdk("report", run, "--html", page)
    take_picture(page, DEMO / "report.png")


if __name__ == "__main__":
    main()
