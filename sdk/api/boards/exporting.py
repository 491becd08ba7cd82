"""Releases for other engines to carry to boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdk.api.boards.deploying import package_of
from sdk.api.boards.fetch import assumed_facts
from sdk.api.files.golden import remembered_golden
from sdk.api.files.packing import title_of
from sdk.api.files.signatures import signed_release
from sdk.api.results import Exported, ExportedRelease
from sdk.api.values import PathLike
from sdk.board.catalogue import load_board
from sdk.deploy import exporting
from sdk.deploy.materials import bill_of_materials
from sdk.errors import BoardError
from sdk.package.release import PreparedRelease, prepare
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import write_file
from sdk.tools.system.outputs import check_outputs


def export_releases(
    sources: Sequence[PathLike],
    output: PathLike,
    kind: str,
    *,
    sbom: PathLike | None = None,
    board: str | None = None,
    python_version: str | None = None,
    progress: Progress = silent,
) -> Exported:
    """Writes packages (or any models) as releases: ``kind`` "oci" or "ansible". See :mod:`sdk.deploy.exporting`.

    Each is what ``sdk deploy`` would send: package, the host's answer to one input, and the signature beside the file,
    if there is one. ``sbom``: a file for the bill of materials; it needs the name of the ``board``, and its
    ``python_version`` where its file names several.
    """
    exporting.check(Path(output), kind)
    check_outputs([sbom, output], sources)
    if sbom is not None and board is None:
        raise BoardError(
            "which board is the bill of materials for?",
            expected="--board NAME: the environment follows from its processor and Python",
            found="no board",
        )
    releases = [_release(source, progress) for source in sources]
    materials = None
    if sbom is not None and board is not None:
        progress("bill of materials", 0, 0)
        found = load_board(board)
        materials = bill_of_materials(releases, found, assumed_facts(found, python_version))
    sizes = exporting.export(releases, Path(output), kind)
    if sbom is not None and materials is not None:
        write_file(Path(sbom), materials)
    return Exported(
        output=Path(output),
        format=kind,
        files=len(sizes),
        bytes=sum(sizes.values()),
        releases=tuple(
            ExportedRelease(release.name, release.id, release.package_sha256, release.package_bytes)
            for release in releases
        ),
        sbom=None if sbom is None else Path(sbom),
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
