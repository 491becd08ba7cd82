"""Releases as an OCI image layout, which registries and the tools around them carry. Pure: records in, bytes out.

The two map one to one. A blob of a release is a blob there; its manifest, unchanged, is the config of an OCI manifest,
so that the digest of the config is the release's id; the layers are the blobs that it names, the parts of the package
first and in order. (OCI image specification 1.1, image-layout.md and manifest.md.)
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from sdk.errors import ModelError
from sdk.package.release import PreparedRelease

#: As device_agent.store.layout has it, which reads what is written here.
ARTIFACT_TYPE = "application/vnd.armlet.release.v1+json"
PART_TYPE = "application/vnd.armlet.part.v1"
GOLDEN_TYPE = "application/vnd.armlet.golden.v1.npy+zlib"
SIGNATURE_TYPE = "application/vnd.armlet.signature.v1+ssh"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def layout(releases: Sequence[PreparedRelease]) -> dict[str, bytes]:
    """The files of a layout that holds these releases, by their paths. The same releases give the same bytes.

    Raises ModelError where two of them have the same name.
    """
    names = [release.name for release in releases]
    if len(set(names)) < len(names):
        raise ModelError(
            "two releases have the same name, and would replace each other on the board",
            expected="different names",
            found=", ".join(names),
        )
    files: dict[str, bytes] = {}
    manifests = []
    for release in releases:
        manifest = _json(_manifest(release))
        for data in (manifest, release.manifest, *release.blobs.values()):
            files[f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"] = data
        manifests.append(
            {
                **_descriptor(MANIFEST_TYPE, manifest),
                "artifactType": ARTIFACT_TYPE,
                "annotations": {"org.opencontainers.image.ref.name": release.name},
            }
        )
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    return {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index), **files}


def archive(files: Mapping[str, bytes]) -> bytes:
    """A layout as one tar, without dates and owners: an ``oci-archive``.

    Its folders have entries of their own: skopeo gives a folder without one to root, which only root may do."""
    buffer = io.BytesIO()
    parts = [path.split("/") for path in files]
    folders = {"/".join(names[:depth]) for names in parts for depth in range(1, len(names))}
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders):
            member = tarfile.TarInfo(path)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _manifest(release: PreparedRelease) -> dict[str, Any]:
    record, blobs = release.record, release.blobs
    layers = [_descriptor(PART_TYPE, blobs[digest]) for digest, _ in record.parts]
    others = (
        (record.golden_inputs_sha256, GOLDEN_TYPE),
        (record.golden_outputs_sha256, GOLDEN_TYPE),
        (record.signature_sha256, SIGNATURE_TYPE),
    )
    layers += [_descriptor(kind, blobs[digest]) for digest, kind in others if digest]
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _descriptor(ARTIFACT_TYPE, release.manifest),
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": release.name,
            "vnd.armlet.package.sha256": release.package_sha256,
            "vnd.armlet.release": release.id,
        },
    }


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
