"""Functions on signatures of packages."""

from __future__ import annotations

from pathlib import Path

from sdk.api.results import Signed
from sdk.api.values import PathLike
from sdk.board.ssh import signing


def sign_package(package: PathLike, key: PathLike | None = None) -> Signed:
    """Signs a package with an SSH key, into a file beside it that ``sdk deploy`` sends along."""
    path = Path(package)
    signature, fingerprint = signing.sign(path, None if key is None else Path(key))
    return Signed(package=path, signature=signature, signer=fingerprint)


def verify_package(package: PathLike, allowed_signers: PathLike, signature: PathLike | None = None) -> Signed:
    """Who signed a package. Raises SignatureError unless it was one of ``allowed_signers``."""
    path = Path(package)
    written = signing.signature_path(path) if signature is None else Path(signature)
    signer = signing.verify(path, Path(allowed_signers), written)
    return Signed(package=path, signature=written, signer=signer)
