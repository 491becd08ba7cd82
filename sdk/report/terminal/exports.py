"""Exports for other programs, as rich renderables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.report.terminal.tables import table as _table
from sdk.report.units import bytes_text


def native_libraries(result: Any) -> RenderableType:
    """A row for every target: where its library is, and what it takes."""
    libraries = result.libraries
    columns = ("target", "~folder", "shared", "static", "kernels")
    table: Table = _table(f"libarmlet {libraries[0].version}", *columns)
    for library in libraries:
        sizes = {name.rpartition("/")[2].partition(".")[2]: size for name, size in library.sizes.items()}
        shared = next(size for suffix, size in sizes.items() if suffix.startswith("so."))
        table.add_row(
            library.machine,
            library.folder,
            bytes_text(shared),
            bytes_text(sizes["a"]),
            bytes_text(sizes["so"]),
        )
    return table


#: What to do next, by format.
_NEXT = {
    "oci": "carry it to a board, then there: ~/.armlet/python -m device_agent import {name}",
    "ansible": "ansible-playbook -i INVENTORY {output}/playbook.yml",
}


def exported(result: Any) -> RenderableType:
    """A row for every release, and what to do with the export."""
    table: Table = _table(None, "release", "id", "package")
    for release in result.releases:
        table.add_row(release.name, release.release[:16], bytes_text(release.package_bytes))
    then = _NEXT[result.format].format(output=result.output, name=result.output.name)
    materials = f"\n{result.sbom}: what it is made of (CycloneDX)" if result.sbom is not None else ""
    size = f"{bytes_text(result.bytes)} in {result.files} files"
    return Group(table, Text(f"{result.output}: {size}{materials}\n{then}"))
