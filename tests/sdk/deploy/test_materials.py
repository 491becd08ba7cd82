"""The bill of materials of an export is CycloneDX, and names everything that a release and its environment hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sdk.api.boards.exporting import export_releases
from sdk.cli import main
from sdk.deploy.provision.kernel import build, build_delegate
from sdk.deploy.provision.locked import shipped_lock
from sdk.errors import ArmletError
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.sbom import Part, document
from tests.sdk.graph.small_graphs import small_network

NOW = "2026-11-28T12:00:00+00:00"


def valid(data: bytes) -> dict:
    """The document, once the schema of CycloneDX has accepted it."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    found = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(data.decode())
    assert found is None, found
    return json.loads(data)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packaged") / "small.armlet"
    path.write_bytes(pack(write_graph(small_network(0)), metadata={"name": "small"}))
    return path


def exported(packaged: Path, folder: Path, board: str, *more: str) -> dict:
    bom = folder / "release.cdx.json"
    command = ["export", str(packaged), "--format", "oci", "-o", str(folder / "release"), "--sbom", str(bom)]
    assert main([*command, "--board", board, *more]) == 0
    return valid(bom.read_bytes())


def test_it_names_model_agent_decoder_and_every_wheel_with_hash_and_licence(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    bom = exported(packaged, tmp_path, "rpi4", "--python-version", "3.11")
    parts = {part["bom-ref"]: part for part in bom["components"]}

    def sha256(ref: str) -> str:
        [found] = parts[ref]["hashes"]
        return found["content"]

    assert sha256("model:small") == hashlib.sha256(packaged.read_bytes()).hexdigest()
    assert sha256("decoder") == hashlib.sha256(build("aarch64").read_bytes()).hexdigest()
    assert sha256("kernels") == hashlib.sha256(build_delegate("aarch64").read_bytes()).hexdigest()
    assert parts["agent"]["version"] == "0.1.0"
    wheels = shipped_lock().find("ai-edge-litert", "2.3.0", (3, 11), "aarch64", (2, 36)).wheels
    assert {ref.removeprefix("wheel:"): sha256(ref) for ref in parts if ref.startswith("wheel:")} == {
        wheel.file: wheel.sha256 for wheel in wheels
    }
    numpy = next(part for part in parts.values() if part["name"] == "numpy")
    assert numpy["licenses"] == [{"expression": wheels[1].licence}]
    assert numpy["purl"].startswith(f"pkg:pypi/numpy@{wheels[1].version}")
    assert bom["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert needs["release"] == ["agent", "environment:cp311-aarch64", "model:small"]
    assert set(needs["environment:cp311-aarch64"]) == {ref for ref in parts if ref.startswith("wheel:")}


def test_each_python_of_a_board_has_an_environment_and_what_the_board_brings_is_said(
    packaged: Path, tmp_path: Path
) -> None:
    bom = exported(packaged, tmp_path, "rpi4")
    environments = [part["version"] for part in bom["components"] if part["type"] == "platform"]
    assert len(environments) > 1
    (tmp_path / "other").mkdir()
    small = exported(packaged, tmp_path / "other", "virtual-armhf")
    [numpy] = [part for part in small["components"] if part["name"] == "numpy"]
    assert "hashes" not in numpy
    assert "board's own" in numpy["description"]


def test_without_a_board_or_a_place_nothing_is_written(packaged: Path, tmp_path: Path) -> None:
    with pytest.raises(ArmletError, match="which board"):
        export_releases([packaged], tmp_path / "x", "oci", sbom=tmp_path / "bom.json")
    with pytest.raises(ArmletError, match="would be replaced"):
        export_releases([packaged], tmp_path / "x", "oci", sbom=packaged, board="rpi4")
    with pytest.raises(ArmletError):
        export_releases([packaged], tmp_path / "x", "oci", sbom=tmp_path / "bom.json", board="rpi99")
    assert list(tmp_path.iterdir()) == []


def test_the_same_parts_make_the_same_document_and_odd_licences_are_names() -> None:
    parts = [Part("a", "library", "a", licence="MIT AND (Apache-2.0 OR BSD-3-Clause)"),
             Part("b", "library", "b", licence="see the file LICENSE.txt", needs=("a",))]  # fmt: skip
    subject = Part("it", "application", "it", needs=("a", "b"))
    made = document(subject, parts, made_by="1", when=NOW)
    assert made == document(subject, parts, made_by="1", when=NOW)
    licences = [part["licenses"] for part in valid(made)["components"]]
    assert licences == [
        [{"expression": "MIT AND (Apache-2.0 OR BSD-3-Clause)"}],
        [{"license": {"name": "see the file LICENSE.txt"}}],
    ]
    assert (
        valid(made)["serialNumber"]
        != valid(document(subject, parts[:1], made_by="1", when=NOW))["serialNumber"]
    )
