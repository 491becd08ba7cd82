"""Data as people have them, each made here, and what becomes of them: ``python -m tests.sdk.data.habits`` writes the
table that docs/data.md refers to, and a test holds it to what happens.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from device_agent.errors import ArmletError
from device_agent.record.preprocess import PREPROCESS
from device_agent.record.usage import Usage
from sdk.data.for_model import data_for
from sdk.graph.on_host.evaluate import predict
from tests.sdk.data.colour_network import COLOURS, SIZE, colour_network

FULL = Path(__file__).with_suffix(".md")
NAMES = ("red", "green", "blue", "yellow")
LABELS = np.arange(40) % 4
TF = Usage(PREPROCESS["tf"], labels=NAMES)
UNLABELLED = Usage(PREPROCESS["tf"])
Make = Callable[[Path], Path]


def pixels() -> np.ndarray:
    """Forty images of four colours, (40, 8, 8, 3) uint8."""
    noise = np.random.default_rng(0).normal(0, 9, (40, SIZE, SIZE, 3))
    found = np.clip(COLOURS[LABELS][:, None, None] + noise, 0, 255).astype(np.uint8)
    found[:, 0, 0], found[:, 0, 1] = 0, 255
    return found


def folder(
    names: tuple[str, ...] = NAMES,
    suffix: str = ".png",
    change: Callable[[Image.Image], Image.Image] = lambda image: image,
    after: Callable[[Path], object] = lambda path: None,
    below: str = "",
    **how: Any,
) -> Make:
    """Class folders of these names; ``change`` each picture, ``after`` all are written."""

    def make(path: Path) -> Path:
        for number, one in enumerate(pixels()):
            target = path / below / names[LABELS[number]] / f"{number:02}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            big = Image.fromarray(one).resize((32, 32), Image.Resampling.NEAREST)
            change(big).save(target, **how)
        after(path / below)
        return path

    return make


def arrays(
    labels: Any = LABELS, change: Callable[[np.ndarray], Any] = lambda found: found, **names: str
) -> Make:
    """An .npz of these labels, of pixels that were changed so."""

    def make(path: Path) -> Path:
        found = {names.get("x", "x"): change(pixels())}
        if labels is not None:
            found[names.get("y", "y")] = np.asarray(labels)
        np.savez(path / "d.npz", **found)
        return path / "d.npz"

    return make


def beside(name: str, content: bytes = b"\0") -> Callable[[Path], object]:
    """A file that lies there, too."""

    def write(path: Path) -> None:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)

    return write


def upside_down(image: Image.Image) -> Image.Image:
    """Stored as a camera that is held upside down does, with an EXIF orientation that says so."""
    turned = image.transpose(Image.Transpose.ROTATE_180)
    exif = Image.Exif()
    exif[0x0112] = 3
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif.tobytes())
    return Image.open(io.BytesIO(buffer.getvalue()))


def torn(path: Path) -> None:
    """One picture is cut, one is empty."""
    first, second = sorted(path.rglob("*.png"))[:2]
    first.write_bytes(first.read_bytes()[:60])
    second.write_bytes(b"")


def flat(table: str | None, name: str = "labels.csv") -> Make:
    """Pictures without folders, and a table beside them where one is given."""

    def make(path: Path) -> Path:
        for number, one in enumerate(pixels()):
            Image.fromarray(one).save(path / f"{number:02}.png")
        if table is not None:
            rows = [table.format(number=f"{n:02}", name=NAMES[LABELS[n]], label=LABELS[n]) for n in range(40)]
            (path / name).write_text("\n".join(rows))
        return path

    return make


def split_folders(path: Path) -> Path:
    """train and val."""
    folder(below="Train")(path)
    folder(below="val")(path)
    return path


def scrambled(suffix: str) -> Callable[[Path], object]:
    """The pictures lose their suffix."""
    return lambda path: [p.rename(p.with_suffix(suffix)) for p in sorted(path.rglob("*.png"))]


#: What people have, how it is made, how the model is used.
HABITS: list[tuple[str, Make, Usage]] = [
    ("class folders named as the labels, in another order", folder(), TF),
    ("class folders in capitals: `RED`", folder(tuple(n.upper() for n in NAMES)), TF),
    (
        "class folders with numbers in front: `0_red`",
        folder(tuple(f"{i}_{n}" for i, n in enumerate(NAMES))),
        TF,
    ),
    ("class folders in the plural: `reds`", folder(tuple(n + "s" for n in NAMES)), TF),
    ("a class folder that is misspelt: `gren`", folder(("red", "gren", "blue", "yellow")), TF),
    ("class folders 0 to 3", folder(("0", "1", "2", "3")), UNLABELLED),
    ("class folders 1 to 4", folder(("1", "2", "3", "4")), UNLABELLED),
    ("class folders without known labels, in the model's order", folder(("a", "b", "c", "d")), UNLABELLED),
    ("class folders without known labels, in another order", folder(), UNLABELLED),
    ("more folders than classes", folder(after=folder(("v", "w", "x", "y"))), UNLABELLED),
    ("`__MACOSX` from an archive", folder(after=beside("__MACOSX/red/._0.png")), TF),
    (
        "`.DS_Store` and `Thumbs.db`",
        folder(after=lambda p: (beside(".DS_Store")(p), beside("red/Thumbs.db")(p))),
        TF,
    ),
    ("`.ipynb_checkpoints` with pictures", folder(after=folder(below=".ipynb_checkpoints")), TF),
    ("an archive's folder in a folder", folder(below="colours/colours"), TF),
    ("folders in class folders", folder(after=lambda p: (p / "red" / "more").mkdir()), TF),
    ("an empty folder beside the classes", folder(after=lambda p: (p / "results").mkdir()), UNLABELLED),
    (
        "a preview beside the class folders",
        folder(after=lambda p: Image.new("RGB", (9, 9)).save(p / "preview.png")),
        TF,
    ),
    (
        "films and notes among the pictures",
        folder(after=lambda p: (beside("red/a.mp4")(p), beside("red/b.txt")(p))),
        TF,
    ),
    ("HEIC from a telephone", folder(after=beside("red/IMG_1.HEIC")), TF),
    ("a cut and an empty picture", folder(after=torn), TF),
    ("a web page that is called .jpg", folder(after=beside("red/x.jpg", b"<!DOCTYPE html>")), TF),
    ("`.JPG`", folder(suffix=".JPG", format="JPEG", quality=100), TF),
    ("`.jfif`", folder(suffix=".jfif", format="JPEG", quality=100), TF),
    ("`.gif`", folder(suffix=".gif"), TF),
    ("`.tif`", folder(suffix=".tif"), TF),
    ("`.webp`", folder(suffix=".webp", lossless=True), TF),
    ("files without a suffix", folder(after=scrambled("")), TF),
    ("PNG files that are called .jpg", folder(after=scrambled(".jpg")), TF),
    ("pictures with transparency", folder(change=lambda i: i.convert("RGBA")), TF),
    ("pictures with a palette", folder(change=lambda i: i.quantize(256)), TF),
    ("CMYK", folder(suffix=".tif", change=lambda i: i.convert("CMYK")), TF),
    ("EXIF orientation", folder(change=upside_down), TF),
    ("`Train` and `val`", split_folders, TF),
    ("pictures without folders", flat(None), TF),
    ("pictures and a table of names", flat("{number}.png,{name}"), TF),
    ("pictures and a list of numbers, as ImageNet has it", flat("{number}.png {label}", "val.txt"), TF),
    ("labels from 1", arrays(LABELS + 1), UNLABELLED),
    ("labels that are NaN", arrays(np.where(LABELS == 1, np.nan, LABELS)), UNLABELLED),
    ("labels of -1", arrays(np.where(LABELS == 1, -1, LABELS)), UNLABELLED),
    ("one-hot labels", arrays(np.eye(4)[LABELS]), UNLABELLED),
    ("labels as a column of floats", arrays(LABELS[:, None].astype(float)), UNLABELLED),
    ("names as labels", arrays(np.array(NAMES)[LABELS]), TF),
    ("classes that changed places", arrays(np.array([2, 1, 0, 3])[LABELS]), UNLABELLED),
    ("fewer labels than images", arrays(LABELS[:30]), UNLABELLED),
    ("`train_images` and `train_labels`", arrays(x="train_images", y="train_labels"), UNLABELLED),
    ("`arr_0` and `arr_1`", arrays(x="arr_0", y="arr_1"), UNLABELLED),
    ("floats of 0 to 1", arrays(change=lambda p: (p / 255).astype("f4")), UNLABELLED),
    ("floats of 0 to 255", arrays(change=lambda p: p.astype("f4")), UNLABELLED),
    ("floats of -1 to 1", arrays(change=lambda p: (p / 127.5 - 1).astype("f4")), UNLABELLED),
    ("floats that ImageNet's mean normalised", arrays(change=PREPROCESS["torch"]), UNLABELLED),
    ("floats normalised otherwise", arrays(change=lambda p: ((p - 90.1) / 23.7).astype("f4")), UNLABELLED),
    ("16-bit pixels", arrays(change=lambda p: p.astype(np.uint16) * 257), UNLABELLED),
    ("channels first", arrays(change=lambda p: np.moveaxis(p, -1, 1)), UNLABELLED),
    (
        "NaN in an image",
        arrays(change=lambda p: np.where(np.arange(40)[:, None, None, None] == 7, np.nan, p)),
        UNLABELLED,
    ),
    ("Python objects", arrays(change=lambda p: np.array([{}] * 40, object)), UNLABELLED),
]


def outcome(make: Make, usage: Usage) -> str:
    """What becomes of one habit: how many are right, and every note; or the refusal."""
    tflite = colour_network(PREPROCESS["tf"])
    with tempfile.TemporaryDirectory() as place:
        try:
            source = make(Path(place))
            with data_for(tflite, usage) as opener:
                found = opener.open(source)
            images, labels = found.dataset.images(), found.dataset.labels
        except ArmletError as error:
            return f"refused: {error}".replace(f"{place}/", "").replace(place, "the folder")
        right = "no labels"
        if labels is not None:
            right = f"{int((predict(tflite, images).argmax(axis=1) == labels).sum())} of {len(images)} right"
        notes = [note for note in found.notes if not note.startswith("preprocessing")]
        return "; ".join([right, *notes])


@functools.cache
def outcomes() -> dict[str, list[str]]:
    """What happens -> the habits that end so."""
    found: dict[str, list[str]] = {}
    for name, make, usage in HABITS:
        found.setdefault(outcome(make, usage).replace("|", "/"), []).append(name)
    return found


def table() -> str:
    """The habits with all that is said, one row per outcome: the text of ``FULL``."""
    rows = ["| what people have | what happens |", "| --- | --- |"]
    rows += [f"| {'; '.join(names)} | {what} |" for what, names in outcomes().items()]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Writes the table."""
    FULL.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
