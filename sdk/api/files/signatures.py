"""Functions on signatures: a release is made of a package, signed as a whole, and kept beside the package."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from device_agent.record.release import Release
from sdk.api.files.golden import remembered_golden
from sdk.api.files.packing import A_PACKAGE, name_of, title_of
from sdk.api.results import Signed
from sdk.api.values import PathLike
from sdk.board.ssh import signing
from sdk.deploy.agent.limits import NO_LIMITS, CheckLimits
from sdk.errors import SignatureError
from sdk.package.release import prepare, release_name
from sdk.package.signed import MAX_BYTES, SignedRelease, parse_signed
from sdk.tools.system.files import read_file, write_file

A_SIGNATURE = "a signature by `sdk sign`"


def sign_package(
    package: PathLike,
    key: PathLike | None = None,
    *,
    name: str | None = None,
    number: int | None = None,
    allow_downgrade: bool = False,
    limits: CheckLimits = NO_LIMITS,
) -> Signed:
    """Signs the release of a package with an SSH key, into a file beside it that ``sdk deploy`` sends along.

    The signature covers its name, the package, the host's golden pair with its limits, what it may need on a board
    (``limits``), and a number, by default the time in seconds: a board takes no smaller number under this name
    afterwards. With ``allow_downgrade`` a board takes this release even if its number is smaller. Raises SignatureError
    where the key does not sign.
    """
    path = Path(package)
    data = read_file(path, A_PACKAGE)
    title = name or title_of(data)
    prepared = prepare(
        data, release_name(title or name_of(path)), golden=remembered_golden(data), title=title
    )
    manifest = replace(
        prepared.record,
        number=int(time.time()) if number is None else number,
        downgrade=True if allow_downgrade else None,
        max_inference_seconds=limits.inference_seconds,
        max_memory_bytes=limits.memory_bytes,
    )
    signature, fingerprint = signing.sign(manifest.signed_bytes, None if key is None else Path(key))
    parts = {digest for digest, _ in manifest.parts}
    blobs = {digest: blob for digest, blob in prepared.blobs.items() if digest not in parts}
    target = signing.signature_path(path)
    write_file(target, SignedRelease(manifest, signature, blobs).to_bytes())
    return _told(path, target, fingerprint, manifest)


def verify_package(package: PathLike, allowed_signers: PathLike, signature: PathLike | None = None) -> Signed:
    """Who signed the release of a package. Raises SignatureError unless it was one of ``allowed_signers``."""
    path = Path(package)
    written = signing.signature_path(path) if signature is None else Path(signature)
    signing.read_allowed_signers(Path(allowed_signers))
    data = read_file(path, A_PACKAGE)
    signed = parse_signed(read_file(written, A_SIGNATURE, most=MAX_BYTES), str(written))
    signed.prepared(data)
    signer = signing.verify(signed.manifest.signed_bytes, signed.signature, Path(allowed_signers))
    return _told(path, written, signer, signed.manifest)


def _told(package: Path, signature: Path, signer: str, manifest: Release) -> Signed:
    return Signed(package, signature, signer, manifest.name, manifest.number)


def signed_release(source: PathLike, package: bytes) -> SignedRelease | None:
    """The signed release beside a file, where there is one. Raises SignatureError when it is of other bytes.

    Where ssh-keygen is missing here, only the board checks the signature itself.
    """
    path = signing.signature_path(Path(source))
    if not path.is_file():
        return None
    signed = parse_signed(read_file(path, A_SIGNATURE, most=MAX_BYTES), str(path))
    signed.prepared(package)
    if not signing.is_of(signed.manifest.signed_bytes, signed.signature):
        raise SignatureError(
            f"{path} was changed after it was signed",
            hint=f"Sign it again (`sdk sign {source}`), or remove the signature.",
        )
    return signed


def signed_as(name: str, source: PathLike, package: bytes) -> SignedRelease | None:
    """The signed release beside a file where it was signed for this name: what is only measured may have others."""
    signed = signed_release(source, package)
    return signed if signed is not None and signed.name == name else None
