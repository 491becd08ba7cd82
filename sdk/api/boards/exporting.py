"""Releases for other engines to carry to boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdk.api.boards.deploying import package_of
from sdk.api.files.golden import remembered_golden
from sdk.api.files.packing import title_of
from sdk.api.files.signatures import signed_release
from sdk.api.results import Exported, ExportedRelease
from sdk.api.values import PathLike
from sdk.deploy import exporting
from sdk.package.release import PreparedRelease, prepare
from sdk.tools.progress import Progress, silent


def export_releases(
    sources: Sequence[PathLike], output: PathLike, kind: str, *, progress: Progress = silent
) -> Exported:
    """Writes packages (or any models) as releases: ``kind`` "oci" or "ansible". See :mod:`sdk.deploy.exporting`.

    Each is what ``sdk deploy`` would send: package, the host's answer to one input, and the signature beside the file,
    if there is one.
    """
    exporting.check(Path(output), kind)
    releases = [_release(source, progress) for source in sources]
    sizes = exporting.export(releases, Path(output), kind)
    return Exported(
        output=Path(output),
        format=kind,
        files=len(sizes),
        bytes=sum(sizes.values()),
        releases=tuple(
            ExportedRelease(release.name, release.id, release.package_sha256, release.package_bytes)
            for release in releases
        ),
    )


def _release(source: PathLike, progress: Progress) -> PreparedRelease:
    name, package = package_of(source, progress)
    signed = signed_release(source, package)
    if signed is not None:
        return signed.prepared(package)
    progress("golden answer", 0, 0)
    return prepare(
        package,
        name,
        golden=remembered_golden(package),
        title=title_of(package),
    )
