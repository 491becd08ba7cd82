"""Differences between two packages, and the bytes that a push of the second sends to a board with the first.

Sections are named by their SHA-256, so a section that the board has is never sent again, wherever in the model it
stands.
Pure: bytes in, a record out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from device_agent.package.codec.contents import Package, Section, read, section_digests
from device_agent.package.codec.table import read_table
from sdk.tools.shown import Shown


@dataclass(frozen=True)
class SectionChange:
    """One section: ``kind`` is "same", "changed", "added" or "removed". Sizes are coded bytes, None where absent.

    Sections that are left over once equal digests are matched are paired in order as "changed".
    """

    kind: str
    index: int
    layout_before: str | None
    layout_after: str | None
    size_before: int | None
    size_after: int | None


@dataclass(frozen=True)
class PackageDiff(Shown):
    """``sent_size``: bytes of a push, the header (which is the manifest) and each section that is missing.

    ``skeleton_changed``: something other than weights differs, such as the metadata.
    """

    same_model: bool
    skeleton_changed: bool
    metadata_changed: bool
    changes: tuple[SectionChange, ...]
    size_before: int
    size_after: int
    sent_size: int
    kept_size: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare_packages(before: bytes, after: bytes) -> PackageDiff:
    """Raises :class:`~device_agent.errors.PackageError` where either is not a sound package."""
    old, new = read(before), read(after)
    old_table, new_table = read_table(before), read_table(after)
    old_digests, new_digests = section_digests(before, old_table), section_digests(after, new_table)
    held = set(old_digests)
    sizes = (entry.coded_size for entry in new_table.sections)
    missing = {digest: size for digest, size in zip(new_digests, sizes, strict=True) if digest not in held}
    sent = new_table.header_size + sum(missing.values())
    return PackageDiff(
        same_model=old.tflite_sha256 == new.tflite_sha256,
        skeleton_changed=old_digests[0] != new_digests[0],
        metadata_changed=old.metadata != new.metadata,
        changes=_changes(old, new),
        size_before=len(before),
        size_after=len(after),
        sent_size=0 if before == after else sent,
        kept_size=len(after) if before == after else len(after) - sent,
    )


def _changes(old: Package, new: Package) -> tuple[SectionChange, ...]:
    """Sections in order; equal digests are matched first, what is left over is paired by position."""
    held = {section.sha256 for section in old.sections}
    wanted = {section.sha256 for section in new.sections}
    left = [section for section in old.sections if section.sha256 not in wanted]
    result = []
    for index, section in enumerate(new.sections):
        if section.sha256 in held:
            result.append(_change("same", index, section, section))
        elif left:
            result.append(_change("changed", index, left.pop(0), section))
        else:
            result.append(_change("added", index, None, section))
    result += [_change("removed", old.sections.index(section), section, None) for section in left]
    return tuple(result)


def _change(kind: str, index: int, before: Section | None, after: Section | None) -> SectionChange:
    return SectionChange(
        kind,
        index,
        before.layout if before else None,
        after.layout if after else None,
        before.coded_size if before else None,
        after.coded_size if after else None,
    )


__all__ = ["PackageDiff", "SectionChange", "compare_packages"]
