"""Text for terminals whose encoding lacks some of its characters."""

from __future__ import annotations

import codecs
import sys

#: What stands for characters that an encoding such as Latin-1 or ASCII does not have.
PLAIN = {
    "…": "...",
    "→": "->",
    "×": "x",
    "µ": "u",
    "μ": "u",
    "−": "-",
    "–": "-",
    "—": "-",
    "°": " deg",
    "█": "#",
}


def write_plainly() -> None:
    """Lets stdout and stderr write every text: what their encoding does not have is replaced, never an error."""
    codecs.register_error("armlet-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="armlet-plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(one, "?") for one in text), error.end
