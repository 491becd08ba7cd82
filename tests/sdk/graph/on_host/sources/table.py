"""Files as people have them, and what becomes of them: ``python -m tests.sdk.graph.on_host.sources.table`` writes
table.md, to which docs/sources.md links; a test holds it to what happens.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import h5py

from sdk.graph.on_host.sources.kinds import kind_of
from sdk.graph.on_host.sources.magic import EXPORT_LINES
from sdk.graph.writer import write_graph
from tests.sdk.graph.on_host.sources.test_kinds import OTHERS, zipped
from tests.sdk.graph.small_graphs import small_network

FULL = Path(__file__).with_suffix(".md")

#: Who reads a kind, and what that means for a person.
READERS = {
    "tflite": "as it is, whatever is in it; `convert` and `compress` write channels last",
    "keras": "TensorFlow's converter, batch 1, float32, batch norm folded",
    "keras 2": "loaded by `tf_keras`, then as Keras 3",
    "saved_model": "the signature `serving_default` or `--signature NAME`",
    "torch": "litert-torch: `sdk tools install torch`, or `armlet[torch]`",
    "onnx": "onnx2tf: `sdk tools install onnx`",
}


def _read_kinds(folder: Path) -> list[Path]:
    """One file of every kind that is converted."""
    (folder / "model.tflite").write_bytes(write_graph(small_network()))
    for name, version in (("keras3.keras", "3.5.0"), ("keras2.keras", "2.15.0")):
        metadata = json.dumps({"keras_version": version})
        (folder / name).write_bytes(
            zipped({"config.json": "{}", "metadata.json": metadata, "m.weights.h5": b""})
        )
    for name, version in (("keras3.h5", "3.5.0"), ("keras2.h5", "2.4.0")):
        with h5py.File(folder / name, "w") as file:
            file.attrs.update({"model_config": "{}", "keras_version": version})
    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    with h5py.File(folder / "model.weights.h5", "w") as file:
        file.create_group("layers")
    for name, (data, _, _) in OTHERS.items():
        (folder / name).write_bytes(data)
    names = ["model.tflite", "keras3.keras", "keras3.h5", "keras2.keras", "keras2.h5", "saved_model", "program.pt2",
             "graph.onnx", "model.weights.h5"]  # fmt: skip
    return [folder / name for name in dict.fromkeys([*names, *OTHERS])]


def table() -> str:
    """The text of ``FULL``: files that end alike share a row."""
    found: dict[str, list[tuple[str, str]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for path in _read_kinds(Path(place)):
            kind = kind_of(path)
            what = f"converted: {READERS[kind.reader]}" if kind.reader else f"refused. {kind.hint}"
            what = (
                what.replace("FOLDER", "DIR")
                .replace(EXPORT_LINES, "export it as a program of torch.export")
                .strip()
            )
            found.setdefault(what, []).append((f"`{path.name}`", kind.words))
    rows = ["| file | is | what happens |", "| --- | --- | --- |"]
    for what, files in found.items():
        cells = [", ".join(dict.fromkeys(column)) for column in zip(*files, strict=True)]
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in (*cells, what)) + " |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Writes the table."""
    FULL.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
