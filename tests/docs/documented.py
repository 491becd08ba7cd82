"""The commands and the Python of the documentation, as they stand in the README and in docs/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Tests run side by side, so that a second thread of a small network waits more than it works.
ONE_THREAD = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`(?!`)([^`]+)`(?!`)")
#: What a command line begins with, where nothing else may stand before it.
OURS = ("sdk ", "python -m benchmarks.", "python -m device_agent", "~/.armlet/python -m device_agent")


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" where none is named) and its text, indentation taken off."""

    page: str  # path from the root of the project
    language: str
    text: str

    def lines(self) -> list[str]:
        """Its lines of shell, those that are continued joined and comments left out."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in joined if line.strip() and not line.strip().startswith("#")]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for indent, language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        yield Block(str(page.relative_to(ROOT)), language, "\n".join(lines) + "\n")


def named_commands(page: Path) -> Iterator[str]:
    """The commands of this project that a page names, in blocks and in sentences."""
    for block in blocks(page):
        if block.language in ("", "sh"):
            yield from (line for line in block.lines() if line.startswith(OURS))
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for code in _INLINE.findall(prose):
        code = " ".join(code.split())
        if code.startswith(OURS):
            yield code
