"""From the text of a file of labels to the labels."""

from __future__ import annotations


def label_lines(text: str) -> tuple[str, ...]:
    """One label per line, without the spaces around it; empty lines at the end do not count."""
    return tuple(line.strip() for line in text.rstrip().splitlines())
