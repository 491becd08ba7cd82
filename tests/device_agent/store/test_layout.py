"""Releases that came as an OCI image layout: whatever is wrong with one is refused by name, and changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from device_agent import __main__ as agent
from device_agent.errors import StoreError
from device_agent.record.schema import write
from device_agent.store import layout as layouts
from device_agent.store.layout import Layout
from device_agent.store.store import Store
from sdk.package import oci_layout as oci
from sdk.package.release import prepare

DATA = bytes(range(256)) * 9000  # three parts of what is not a package


@pytest.fixture
def files() -> dict[str, bytes]:
    """The files of a layout with one release."""
    return oci.layout([prepare(DATA, "net")])


def written(files: dict[str, bytes], folder: Path) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def put(files: dict[str, bytes], data: bytes) -> dict[str, Any]:
    """A blob and its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    files[f"blobs/sha256/{digest}"] = data
    return {"digest": f"sha256:{digest}", "size": len(data)}


def with_index(files: dict[str, bytes], *descriptors: Any) -> dict[str, bytes]:
    return {**files, "index.json": json.dumps({"manifests": list(descriptors)}).encode()}


def with_release(record: Any) -> dict[str, bytes]:
    """A layout whose one release has this manifest, given as bytes or as JSON."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    config = put(files, record if isinstance(record, bytes) else json.dumps(record).encode())
    manifest = {"artifactType": layouts.ARTIFACT_TYPE, "config": config, "layers": []}
    return with_index(files, put(files, json.dumps(manifest).encode()))


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_what_the_host_writes_is_read(kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "layout"
    path.write_bytes(oci.archive(files)) if kind == "tar" else written(files, path)
    with Layout(path) as layout:
        (release,) = layout.releases()
        assert release.id == prepare(DATA, "net").id
        stream, blobs = layout.stream(release.blobs)
        store = Store(tmp_path / "store")
        store.blobs.receive(stream, blobs)
        assert store.read_package(release) == DATA


def test_types_of_host_and_board_are_the_same() -> None:
    assert layouts.ARTIFACT_TYPE == oci.ARTIFACT_TYPE


def test_a_registry_of_before_oci_1_1_may_drop_the_artifact_type(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    index = json.loads(files["index.json"])
    manifest = json.loads(files[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"])
    del manifest["artifactType"]
    with Layout(written(with_index(files, put(files, json.dumps(manifest).encode())), tmp_path)) as layout:
        assert layout.releases()[0].name == "net"


def test_images_beside_the_releases_are_left_alone(files: dict[str, bytes], tmp_path: Path) -> None:
    image = put(files, b'{"config": {"mediaType": "application/vnd.oci.image.config.v1+json"}}')
    both = [image, *json.loads(files["index.json"])["manifests"]]
    with Layout(written(with_index(files, *both), tmp_path / "both")) as layout:
        assert [release.name for release in layout.releases()] == ["net"]
    with (
        Layout(written(with_index(files, image), tmp_path / "image")) as layout,
        pytest.raises(StoreError, match="no release"),
    ):
        layout.releases()


def _record(**changes: Any) -> dict[str, Any]:
    return {**write(prepare(DATA, "net").record), **changes}


def canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


DEEP = b"[" * 100_000
BROKEN = {
    "no layout file": lambda files: {k: v for k, v in files.items() if k != "oci-layout"},
    "another version": lambda files: {**files, "oci-layout": b'{"imageLayoutVersion": "2.0.0"}'},
    "a layout file that is a list": lambda files: {**files, "oci-layout": b"[]"},
    "no index": lambda files: {k: v for k, v in files.items() if k != "index.json"},
    "an index that is not JSON": lambda files: {**files, "index.json": b"\xff{"},
    "an index that is nested": lambda files: {**files, "index.json": DEEP},
    "an index that is too large": lambda files: {**files, "index.json": b" " * (2 << 20)},
    "an index without manifests": lambda files: {**files, "index.json": b"{}"},
    "an empty index": lambda files: with_index(files),
    "a descriptor that is none": lambda files: with_index(files, 7),
    "another digest": lambda files: with_index(files, {"digest": "sha512:" + "0" * 128}),
    "a digest that climbs": lambda files: with_index(files, {"digest": "sha256:../../../../etc/passwd"}),
    "a digest of another length": lambda files: with_index(files, {"digest": "sha256:" + "0" * 63}),
    "a manifest that is missing": lambda files: with_index(files, {"digest": "sha256:" + "0" * 64}),
    "a manifest that is not JSON": lambda files: with_index(files, put(files, b"no")),
    "a manifest without config": lambda files: with_index(
        files, put(files, json.dumps({"artifactType": layouts.ARTIFACT_TYPE}).encode())
    ),
    "a blob that is damaged": lambda files: {
        k: v[:-1] + b"!" if k.startswith("blobs/") else v for k, v in files.items()
    },
    "a release that is not JSON": lambda files: with_release(b"no"),
    "a release that is nested": lambda files: with_release(DEEP),
    "a release of another schema": lambda files: with_release(_record(schema="armlet.release/9")),
    "a release with a bad name": lambda files: with_release(_record(name="../x")),
    "a release without parts": lambda files: with_release(_record(parts=[])),
    "a release that is too large": lambda files: with_release(_record(parts=[["0" * 64, 1 << 40]])),
    "a tolerance that is endless": lambda files: with_release(_record(golden_tolerance=10**400)),
    "a release with other spaces": lambda files: with_release(json.dumps(_record(), indent=1).encode()),
    "a release with more than it should have": lambda files: with_release(canonical(_record(unknown=1))),
}


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_layout_is_refused(name: str, kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    broken, path = BROKEN[name](files), tmp_path / "layout"
    path.write_bytes(oci.archive(broken)) if kind == "tar" else written(broken, path)
    with Layout(path) as layout, pytest.raises(StoreError):
        layout.releases()


@pytest.mark.parametrize(
    "content", [b"", b"no tar", b"\x1f\x8b" + bytes(600), bytes(5000) + b"x", b"a" * 1024]
)
def test_a_file_that_is_no_tar_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(StoreError), Layout(tmp_path / "x.tar") as layout:
        layout.releases()


def test_every_truncation_of_a_tar_is_refused_or_lacks_something(tmp_path: Path) -> None:
    data = oci.archive(oci.layout([prepare(b"small", "net")]))
    end = len(data.rstrip(b"\0"))
    for size in range(0, end, 97):
        (tmp_path / "x.tar").write_bytes(data[:size])
        store = Store(tmp_path / "store")
        with pytest.raises(StoreError):
            receive_all(tmp_path / "x.tar", store)


def receive_all(path: Path, store: Store) -> None:
    with Layout(path) as layout:
        (release,) = layout.releases()
        store.blobs.receive(*layout.stream(release.blobs))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    folder = written(files, tmp_path / "layout")
    index = folder / "index.json"
    (tmp_path / "elsewhere").write_bytes(index.read_bytes())
    index.unlink()
    if kind == "link":
        index.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(index)
    else:
        index.mkdir()
    with Layout(folder) as layout, pytest.raises(StoreError, match=r"index\.json"):
        layout.releases()


def test_links_in_a_tar_are_no_files(files: dict[str, bytes], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            if path == "index.json":
                member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "elsewhere")
                tar.addfile(member)
                continue
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "elsewhere").write_bytes(files["index.json"])
    with Layout(tmp_path / "x.tar") as layout, pytest.raises(StoreError, match=r"index\.json"):
        layout.releases()


def test_a_part_that_was_damaged_on_the_way_changes_nothing_on_the_board(
    files: dict[str, bytes], home: Path, tmp_path: Path
) -> None:
    release = prepare(DATA, "net")
    last = release.record.parts[-1][0]
    files[f"blobs/sha256/{last}"] = files[f"blobs/sha256/{last}"][:-1]
    reply, status = agent.answer(["import", str(written(files, tmp_path / "layout"))])
    assert status == 2
    assert "arrived damaged" in reply["what"]
    store = Store(home / "store")
    assert store.names() == ()
    assert not store.has_release(release.id)


def test_a_layout_that_is_not_there_is_one_clear_error(home: Path, tmp_path: Path) -> None:
    reply, status = agent.answer(["import", str(tmp_path / "nowhere")])
    assert status == 2
    assert "nowhere" in reply["found"]


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE]
)
def test_a_header_that_announces_gigabytes_takes_no_memory(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 3 << 30
    path = tmp_path / "large.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 3 << 30)  # of holes: it takes no space
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="not an OCI image layout"):
            Layout(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_long_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.tar"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(path, "w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("n" * 300))
        with Layout(path) as layout, pytest.raises(StoreError, match="has no oci-layout"):
            layout.releases()
