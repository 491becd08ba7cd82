"""The file of `sdk sign` beside a package: the manifest of a release, its signature, and its golden pair. Pure.

The signature is over the manifest (``Release.signed_bytes``), so that name, package, golden pair, limits and number
cannot be separated: a deploy sends them as they were signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from device_agent.record.release import Release
from device_agent.record.schema import parse_json, read, write
from sdk.errors import SignatureError
from sdk.package.release import PreparedRelease

SCHEMA = "armlet.signed-release/1"
#: Golden pairs are a few megabytes at most, a third more in base64.
MAX_BYTES = 256 << 20
_OLD_FORM = b"-----BEGIN SSH SIGNATURE-----"
_FIELDS = {"schema", "manifest", "signature", "blobs"}
_AGAIN = "Sign it again: `sdk sign PACKAGE`."


@dataclass(frozen=True)
class SignedRelease:
    """``manifest`` as it was signed, ``signature`` as ssh-keygen writes it, ``blobs`` the golden pair by SHA-256."""

    manifest: Release
    signature: bytes
    blobs: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The name that it was signed for."""
        return self.manifest.name

    def to_bytes(self) -> bytes:
        """The file beside the package."""
        document = {
            "schema": SCHEMA,
            "manifest": write(self.manifest),
            "signature": self.signature.decode("ascii"),
            "blobs": {digest: base64.b64encode(data).decode("ascii") for digest, data in self.blobs.items()},
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    def prepared(self, package: bytes) -> PreparedRelease:
        """The release as a board gets it. Raises SignatureError where it was signed for another package."""
        if hashlib.sha256(package).hexdigest() != self.manifest.package_sha256:
            raise SignatureError(
                "the signature is of another package",
                expected=f"sha256 {self.manifest.package_sha256[:16]}...",
                found=f"sha256 {hashlib.sha256(package).hexdigest()[:16]}...",
                hint=f"{_AGAIN} Or remove the signature.",
            )
        blobs, start = dict(self.blobs), 0
        for digest, size in self.manifest.parts:
            blobs[digest] = package[start : start + size]
            start += size
        if start != len(package) or any(
            hashlib.sha256(data).hexdigest() != name for name, data in blobs.items()
        ):
            raise SignatureError("the parts of the signed release are not those of its package", hint=_AGAIN)
        digest = hashlib.sha256(self.signature).hexdigest()
        blobs[digest] = self.signature
        record = replace(self.manifest, signature_sha256=digest)
        lacking = set(record.blobs) - blobs.keys()
        if lacking:
            raise SignatureError("the signature lacks the golden pair of its release", hint=_AGAIN)
        return PreparedRelease(record.id, record, blobs)


def parse_signed(data: bytes, where: str) -> SignedRelease:
    """The signed release in a file beside a package; ``where`` names it. Raises SignatureError."""
    if data.startswith(_OLD_FORM):
        raise SignatureError(
            f"{where} signs the package alone, as Armlet did before",
            expected="a signature of the release: its name, package, golden pair, limits and number",
            hint=_AGAIN,
        )
    said = parse_json(data, what=where, error=SignatureError, hint=_AGAIN, most=MAX_BYTES)
    if not isinstance(said, dict) or set(said) != _FIELDS or said["schema"] != SCHEMA:
        raise SignatureError(f"{where} is not a signature by `sdk sign`", expected=SCHEMA, hint=_AGAIN)
    signature, blobs = said["signature"], said["blobs"]
    texts = [signature, *blobs.values()] if isinstance(blobs, dict) else [None]
    if not all(isinstance(text, str) and text.isascii() for text in texts):
        raise SignatureError(f"{where} is not whole", expected="a signature and blobs, as text", hint=_AGAIN)
    try:
        decoded = {digest: base64.b64decode(text, validate=True) for digest, text in blobs.items()}
    except (binascii.Error, ValueError):
        raise SignatureError(f"{where} is not whole", expected="blobs in base64", hint=_AGAIN) from None
    manifest = read(Release, said["manifest"], what=f"the manifest in {where}", error=SignatureError)
    return SignedRelease(replace(manifest, signature_sha256=None), signature.encode("ascii"), decoded)
