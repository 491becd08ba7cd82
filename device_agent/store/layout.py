"""Releases that came as an OCI image layout: a folder, or a tar of one, that anything which carries files has brought.

    oci-layout                     {"imageLayoutVersion": "1.0.0"}
    index.json                     names the OCI manifests
    blobs/sha256/<digest>          OCI manifests, the manifests of releases, and what those name

Armlet's OCI manifest has ARTIFACT_TYPE, and its config is the manifest of the release as
:mod:`device_agent.record.release` writes it: its digest is the id of the release. Nothing here is trusted: reading has
limits, digests are checked, and the blobs go through the same checks as those of a deploy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator, Protocol, cast

from device_agent.errors import StoreError
from device_agent.record.release import MAX_BLOBS, MAX_JSON_BYTES, Release, check_digest
from device_agent.record.schema import parse_json

ARTIFACT_TYPE = "application/vnd.armlet.release.v1+json"
LAYOUT_VERSION = "1.0.0"
#: An OCI manifest lists each blob in some 200 bytes; registries take manifests up to this size.
MAX_MANIFEST_BYTES = 4 << 20
#: Releases in one layout.
MAX_RELEASES = 64
#: Members of a tar: of all releases that a layout can hold, some share their blobs.
MAX_MEMBERS = 4 * MAX_BLOBS
#: Of a member's long name or other properties.
MAX_HEADER_BYTES = 1 << 16


class Layout:
    """The layout at ``path``, a folder or a tar; a context manager. Raises StoreError where it is neither."""

    def __init__(self, path: Path) -> None:
        self._source: _Source = _Folder(path) if path.is_dir() else _Tar(path)

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *error: object) -> None:
        self._source.close()

    def releases(self) -> tuple[Release, ...]:
        """All of them, in the order of the index, each checked against its id. Raises StoreError."""
        version = self._json("oci-layout", MAX_JSON_BYTES).get("imageLayoutVersion")
        if version != LAYOUT_VERSION:
            raise StoreError(
                "this is not an OCI image layout", expected=LAYOUT_VERSION, found=repr(version)[:80]
            )
        manifests = self._json("index.json", MAX_JSON_BYTES).get("manifests")
        if not isinstance(manifests, list):
            raise StoreError("the index of the layout lists no manifests", found=type(manifests).__name__)
        found: dict[str, Release] = {}
        for descriptor in manifests:
            release = self._release(_digest_of(descriptor))
            if release is not None:
                found[release.id] = release
            if len(found) > MAX_RELEASES:
                raise StoreError("the layout holds too many releases", expected=f"at most {MAX_RELEASES}")
        if not found:
            raise StoreError(
                "the layout holds no release",
                expected=f"a manifest of type {ARTIFACT_TYPE}",
                found=f"{len(manifests)} others",
            )
        return tuple(found.values())

    def _release(self, digest: str) -> Release | None:
        """None for what is something else: a layout may hold images beside it."""
        manifest = _json(self._blob(digest, MAX_MANIFEST_BYTES), "manifest of the layout")
        config = manifest.get("config")
        kind = manifest.get("artifactType")
        if kind is None and isinstance(config, dict):
            kind = config.get("mediaType")  # as registries before OCI 1.1 leave it
        if kind != ARTIFACT_TYPE:
            return None
        release_id = _digest_of(config)
        release = Release.from_bytes(self._blob(release_id, MAX_JSON_BYTES))
        if release.id != release_id:
            raise StoreError(
                "the manifest of a release is not written as this agent writes it",
                expected=release.id,
                found=release_id,
            )
        return release

    def stream(self, digests: Iterable[str]) -> tuple[io.BufferedIOBase, list[tuple[str, int, int]]]:
        """These blobs one after the other, as a host would send them, and their (sha256, size, offset)."""
        digests = list(digests)
        sizes = [(digest, self._source.size(_path(digest)), 0) for digest in digests]
        return _Joined(self._source.open(_path(digest)) for digest in digests), sizes

    def _blob(self, digest: str, limit: int) -> bytes:
        data = self._read(_path(digest), limit)
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise StoreError("a blob of the layout is damaged", expected=f"sha256 {digest}", found=found)
        return data

    def _json(self, path: str, limit: int) -> dict[str, Any]:
        return _json(self._read(path, limit), path)

    def _read(self, path: str, limit: int) -> bytes:
        size = self._source.size(path)
        if size > limit:
            raise StoreError(f"{path} is too large", expected=f"at most {limit} bytes", found=str(size))
        with contextlib.closing(self._source.open(path)) as file:
            return file.read(limit)


class _Source(Protocol):
    """The files of a layout, by path."""

    def size(self, path: str) -> int:
        """Bytes of a file. Raises StoreError where there is none."""

    def open(self, path: str) -> BinaryIO:
        """A file, to be read. Raises StoreError where there is none."""

    def close(self) -> None:
        """Nothing is read any more."""


class _Folder:
    """A layout in a folder. Links are not followed: they would lead out of what was carried here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, path: str) -> int:
        with contextlib.closing(self.open(path)) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, path: str) -> BinaryIO:
        try:
            # A pipe without a writer would wait for one.
            descriptor = os.open(
                self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            raise StoreError(
                f"the layout has no {path}", found=f"{self._folder}: {error.strerror or error}"
            ) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StoreError(f"{path} of the layout is not a file")
        return os.fdopen(descriptor, "rb")

    def close(self) -> None:
        pass


class _Tar:
    """A layout in a tar that is not compressed: what its parts hold does not become smaller."""

    def __init__(self, path: Path) -> None:
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.open(path, "r:", tarinfo=_Member)  # noqa: SIM115 - `close` does
            for member in self._tar:
                if len(self._members) > MAX_MEMBERS:
                    raise StoreError("the tar has too many members", expected=f"at most {MAX_MEMBERS}")
                if member.isreg() and not member.issparse():
                    self._members[member.name[2:] if member.name.startswith("./") else member.name] = member
        # Whatever a header says that is none: tarfile raises several of these.
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError) as error:
            raise StoreError(
                "this is not an OCI image layout",
                expected="a folder, or a tar that is not compressed",
                found=f"{path}: {error}"[:300],
            ) from None

    def size(self, path: str) -> int:
        return self._member(path).size

    def open(self, path: str) -> BinaryIO:
        file = self._tar.extractfile(self._member(path))
        assert file is not None  # of a regular member there always is one
        return cast(BinaryIO, file)

    def _member(self, path: str) -> tarfile.TarInfo:
        try:
            return self._members[path]
        except KeyError:
            raise StoreError(f"the layout has no {path}", found=f"{len(self._members)} files") from None

    def close(self) -> None:
        self._tar.close()


class _Member(tarfile.TarInfo):
    """A member whose own header and long names are short. tarfile reads them whole, however many gigabytes a header
    announces, and a sparse file announces them for nothing."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        has_data = (
            self.type in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and self.type != tarfile.GNUTYPE_SPARSE
        )
        if not has_data and (self.type == tarfile.GNUTYPE_SPARSE or self.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of type {self.type!r} and {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_10(self, *arguments: Any) -> None:
        raise tarfile.ReadError("a sparse file")


class _Joined(io.BufferedIOBase):
    """Files one after the other, each opened when its turn comes."""

    def __init__(self, files: Iterator[BinaryIO]) -> None:
        self._files = files
        self._file: BinaryIO | None = None

    def read1(self, size: int = -1) -> bytes:
        while True:
            if self._file is None:
                self._file = next(self._files, None)
                if self._file is None:
                    return b""
            block = self._file.read(size)
            if block:
                return block
            self._file.close()
            self._file = None


def _path(digest: str) -> str:
    return f"blobs/sha256/{check_digest(digest)}"


def _digest_of(descriptor: Any) -> str:
    """The SHA-256 that an OCI descriptor names."""
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise StoreError("a descriptor of the layout names no blob", found=repr(digest)[:80])
    return check_digest(digest[len("sha256:") :])


def _json(data: bytes, what: str) -> dict[str, Any]:
    value = parse_json(data, what=f"the {what}", error=StoreError, most=MAX_MANIFEST_BYTES)
    if not isinstance(value, dict):
        raise StoreError(f"the {what} is not a JSON object", found=type(value).__name__)
    return value
