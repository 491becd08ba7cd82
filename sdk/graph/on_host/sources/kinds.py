"""Finds the kind of a file or folder by its bytes, without running anything in it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.sources import magic
from sdk.graph.on_host.sources.magic import Kind
from sdk.graph.on_host.sources.pickles import names_in, own_class
from sdk.graph.on_host.sources.protobuf import message_kind
from sdk.graph.schema import FILE_IDENTIFIER

#: So much of a file's beginning is looked at; a pickle in it, and a text in an archive, at most.
HEAD_BYTES = 1 << 16
PICKLE_BYTES = 1 << 24
TEXT_BYTES = 1 << 26
_PACKAGE = b"\x89ARMLET\n"
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: What PyTorch wrote before it wrote zip files: a pickled number.
_TORCH_OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PROTOBUFS = {
    "onnx": magic.ONNX,
    "frozen": magic.FROZEN,
    "saved_model": magic.SAVED_MODEL_FILE,
    "coreml": Kind(
        "a Core ML model", "Export the network that it was made of to ONNX or Keras, and convert that."
    ),
    "caffe": Kind("a Caffe model", "Turn it into ONNX first, and convert that."),
}


def kind_of(path: Path) -> Kind:
    """The kind of an existing file or folder. Raises ModelError where it cannot be read."""
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read", expected="a readable file", found=str(error)) from error
    if not head:
        return magic.EMPTY
    if head[4:8] == FILE_IDENTIFIER:
        return magic.TFLITE
    if not head.strip(b"\0"):
        return magic.ZEROS
    if head.startswith(_PACKAGE):
        return magic.PACKAGE
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(_HDF5):
        return _hdf5(path)
    if head.startswith(_TORCH_OLD):
        return _torch_pickle(head[len(_TORCH_OLD) :], path)
    return (
        magic.by_start(head)
        or _json(head)
        or _pickle(head)
        or _protobuf(head, path)
        or magic.by_ending(path.name)
        or _safetensors(head)
        or Kind(f"a file that starts with {head[:8]!r}")
    )


def _protobuf(head: bytes, path: Path) -> Kind | None:
    named = magic.by_ending(path.name)
    if named is not None and path.suffix.lower() != ".meta":
        return named
    return _PROTOBUFS.get(message_kind(head))


# -- folders ----------------------------------------------------------------------------------------------------


def _folder(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file():
        return Kind("a SavedModel folder", reader="saved_model")
    if (path / "keras_metadata.pb").is_file() or (path / "variables").is_dir():
        return Kind("a SavedModel folder without its saved_model.pb", "Fetch the whole folder again.")
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))[:1000]
    inner = [name for name in names if (path / name / "saved_model.pb").is_file()]
    if inner:
        return Kind("a folder of SavedModels", f"Name the one that is meant: {path / _shown(inner[-1])}")
    if {"config.json", "model.weights.h5"} <= set(names):
        return Kind("a .keras file that was unpacked", "Zip it again: cd FOLDER && zip -r ../model.keras .")
    if "Manifest.json" in names and path.suffix.lower() == ".mlpackage":
        return Kind(
            "a Core ML model", "Export the network that it was made of to ONNX or Keras, and convert that."
        )
    if {"model.safetensors", "pytorch_model.bin"} & set(names):
        return Kind(
            "a folder of Hugging Face weights", f"Load the network in Python, then: {magic.EXPORT_LINES}"
        )
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        return Kind(
            "a folder with a TensorFlow checkpoint",
            "Checkpoints hold weights only: load them into the model in Python, and model.export(folder).",
        )
    if "model.json" in names:
        return magic.TFJS
    models = [name for name in names if Path(name).suffix in (".tflite", ".keras", ".h5", ".onnx", ".pt2")]
    hint = f"Give the file in it: {path / _shown(models[0])}" if models else ""
    return Kind("a folder without saved_model.pb", hint)


# -- zip files --------------------------------------------------------------------------------------------------


def _zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return _of_entries(archive, names)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError):
        return magic.CUT_ZIP


def _of_entries(archive: zipfile.ZipFile, names: list[str]) -> Kind:
    flat = {name.split("/", 1)[-1]: name for name in names}
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return _keras_zip(archive, names)
    if "serialized_exported_program.json" in flat or "models/model.json" in flat or "archive_format" in flat:
        return magic.TORCH_PROGRAM
    if "constants.pkl" in flat or any("/code/" in name for name in names):
        return magic.TORCHSCRIPT
    if "data.pkl" in flat:
        with archive.open(flat["data.pkl"]) as file:
            return _torch_kind(*names_in(file.read(PICKLE_BYTES)))
    models = [name for name in names if name.endswith(".tflite")]
    if models:
        inside = ", ".join(_shown(name) for name in models[:4])
        return Kind(f"a bundle of MediaPipe's or another zip file, which holds {inside}",
                    f"Unpack it (unzip FILE) and give one of them, such as {_shown(models[0])}.")  # fmt: skip
    if names and all(name.endswith(".npy") for name in names):
        return Kind("an archive of numpy arrays (.npz)", "It is data, not a model.")
    inside = ", ".join(_shown(name) for name in names[:4]) or "nothing"
    return Kind(
        f"a zip file, which holds {inside}", "Unpack it first (unzip FILE), and give the model that is in it."
    )


def _keras_zip(archive: zipfile.ZipFile, names: list[str]) -> Kind:
    version = ""
    if "metadata.json" in names:
        with archive.open("metadata.json") as file:
            version = _keras_version(_parsed(file.read(TEXT_BYTES)))
    return magic.KERAS_2 if version.startswith("2.") else magic.KERAS_3


def _keras_version(said: Any) -> str:
    return str(said.get("keras_version", "")) if isinstance(said, dict) else ""


# -- pickles ----------------------------------------------------------------------------------------------------


def _torch_pickle(rest: bytes, path: Path) -> Kind:
    """Of a file from before PyTorch 1.6: the protocol's number and the system's facts, then what was saved."""
    with path.open("rb") as file:
        data = file.read(PICKLE_BYTES)[len(_TORCH_OLD) :]
    names: list[str] = []
    texts: list[str] = []
    for part in data.split(b".\x80\x02")[:4]:
        more_names, more_texts = names_in(part if part.startswith(b"\x80") else b"\x80\x02" + part)
        names += more_names
        texts += more_texts
    return _torch_kind(names, texts)


def _torch_kind(names: list[str], texts: list[str]) -> Kind:
    own = own_class(names)
    if own:
        return Kind(
            f"a pickled PyTorch module of the class {_shown(own)}",
            "Load it where that class is defined, network = torch.load(FILE, weights_only=False), then: "
            f"{magic.EXPORT_LINES}",
        )
    if "pytorch-lightning_version" in texts:
        return Kind(
            "a checkpoint of PyTorch Lightning: weights, and no network",
            f"network = YourModule.load_from_checkpoint(FILE), then: {magic.EXPORT_LINES}",
        )
    return magic.STATE_DICT if any("_rebuild" in name for name in names) else magic.TORCH_UNKNOWN


def _pickle(head: bytes) -> Kind | None:
    if len(head) < 3 or head[0] != 0x80 or head[1] > 5:
        return None
    own = own_class(names_in(head)[0])
    return Kind(
        f"a pickle of {_shown(own)}" if own else "a pickle",
        "Pickles are not loaded: they run code. Save the network: model.save(...) or torch.export.save(...).",
    )


# -- HDF5, JSON, safetensors ------------------------------------------------------------------------------------


def _hdf5(path: Path) -> Kind:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs:
                version = file.attrs.get("keras_version", b"")
                text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
                return magic.KERAS_3 if text.startswith("3.") else magic.KERAS_2
            if "layer_names" in file.attrs or {"layers", "_layer_checkpoint_dependencies", "vars"} & set(
                file
            ):
                return magic.KERAS_WEIGHTS
            return magic.OTHER_HDF5
    except Exception:  # h5py raises OSError, KeyError, RuntimeError, as the fault is
        return magic.CUT_HDF5


def _json(head: bytes) -> Kind | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith((b"{", b"[")) or b"\0" in text[:200]:
        return None
    if b'"modelTopology"' in head or b'"weightsManifest"' in head:
        return magic.TFJS
    if b'"class_name"' in head and b'"config"' in head:
        return magic.KERAS_ARCHITECTURE
    return magic.JSON_TEXT if _looks_like_text(text[:200]) else None


def _safetensors(head: bytes) -> Kind | None:
    if len(head) < 9 or head[8:9] != b"{" or int.from_bytes(head[:8], "little") > 1 << 30:
        return None
    return Kind(
        "a safetensors file: weights, and no network",
        f"Make the network, load them with safetensors.torch.load_file(FILE), then: {magic.EXPORT_LINES}",
    )


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _looks_like_text(data: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in data)


def _shown(name: str) -> str:
    return visible(name, most=80)
