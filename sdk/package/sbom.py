"""A bill of materials in CycloneDX 1.6: what a release is, and what runs it on a board. Pure.

The format: https://cyclonedx.org/docs/1.6/json/. A part that has no hash here comes from elsewhere, such as from the
board's distribution, and its description says so.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPEC = "1.6"
_SPDX_WORDS = re.compile(r"[()]|\b(?:AND|OR|WITH)\b")
_SPDX_NAME = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass(frozen=True)
class Part:
    """One thing: ``kind`` is a type of CycloneDX's, ``ref`` names it in the document.

    ``sha256`` is that of the file itself. ``needs``: the parts that it does not work without.
    """

    ref: str
    kind: str
    name: str
    version: str | None = None
    sha256: str | None = None
    licence: str | None = None
    purl: str | None = None
    description: str | None = None
    properties: Mapping[str, str] | None = None
    needs: tuple[str, ...] = ()


def document(subject: Part, parts: Sequence[Part], *, made_by: str, when: str) -> bytes:
    """The document as JSON. ``made_by``: version of Armlet; ``when``: an RFC 3339 time.

    The same parts at the same time give the same bytes: the serial number follows from the content.
    """
    content: dict[str, Any] = {
        "metadata": {
            "timestamp": when,
            "tools": {"components": [{"type": "application", "name": "armlet", "version": made_by}]},
            "component": _component(subject),
        },
        "components": [_component(part) for part in parts],
        "dependencies": [
            {"ref": part.ref, **({"dependsOn": sorted(set(part.needs))} if part.needs else {})}
            for part in (subject, *parts)
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    return (json.dumps({**head, **content}, indent=1) + "\n").encode()


def _component(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"type": part.kind, "bom-ref": part.ref, "name": part.name}
    if part.version is not None:
        found["version"] = part.version
    if part.description is not None:
        found["description"] = part.description
    if part.sha256 is not None:
        found["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    if part.licence is not None:
        found["licenses"] = [_licence(part.licence)]
    if part.purl is not None:
        found["purl"] = part.purl
    if part.properties:
        found["properties"] = [{"name": name, "value": value} for name, value in part.properties.items()]
    return found


def _licence(text: str) -> dict[str, Any]:
    """An SPDX expression where the text has the form of one, else a name."""
    names = [word.strip() for word in _SPDX_WORDS.split(text) if word.strip()]
    if all(_SPDX_NAME.fullmatch(name) for name in names):
        return {"expression": text}
    return {"license": {"name": text}}
