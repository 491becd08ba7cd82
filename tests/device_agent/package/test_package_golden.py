"""Golden packages: the valid ones decode to the recorded models, each hostile one is refused by its name."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from device_agent.errors import PackageError
from device_agent.package import reader as package
from tests.golden import make_golden

GOLDEN = Path(make_golden.__file__).parent
VALID = json.loads((GOLDEN / "valid" / "models.json").read_text())
HOSTILE = sorted(path.stem for path in (GOLDEN / "hostile").glob("*.armlet"))


@pytest.mark.parametrize("name", sorted(VALID))
def test_a_valid_package_decodes_to_the_model_it_always_was(name: str, kernel: str) -> None:
    unpacked = package.unpack((GOLDEN / "valid" / f"{name}.armlet").read_bytes(), kernel=kernel)
    assert len(unpacked.tflite) == VALID[name]["size"]
    assert hashlib.sha256(unpacked.tflite).hexdigest() == VALID[name]["sha256"]


def test_the_valid_packages_hold_every_layout() -> None:
    seen = set()
    for name in VALID:
        seen |= {
            section.layout
            for section in package.read((GOLDEN / "valid" / f"{name}.armlet").read_bytes()).sections
        }
    assert seen >= {"dense", "sparse", "planes"}
    words = package.read((GOLDEN / "valid" / "words.armlet").read_bytes()).sections[0]
    assert words.layout == "dense"
    assert words.coded_size * 8 < 1.25 * words.count  # single codes take 1.3 bits, the entropy is 1.18
    assert (
        len(package.read((GOLDEN / "valid" / "planes_and_repeat.armlet").read_bytes()).sections[0].spans) == 2
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_package_is_refused_by_name(name: str, kernel: str) -> None:
    with pytest.raises(PackageError) as caught:
        package.unpack((GOLDEN / "hostile" / f"{name}.armlet").read_bytes(), kernel=kernel)
    assert type(caught.value).__name__ == name.partition("--")[0]
    assert str(caught.value)


def test_every_error_of_the_specification_has_a_hostile_package() -> None:
    text = Path(package.__file__).with_name("PACKAGE_FORMAT.md").read_text()
    named = set(re.findall(r"^\| (\w+) \| ", text[text.index("## Errors") :], re.MULTILINE)) - {"error"}
    # Nothing in a file can take a codec away; tests/device_agent/package/test_reader.py does.
    assert {name.partition("--")[0] for name in HOSTILE} == named - {"CodecUnavailable"}


def test_the_hostile_files_are_what_their_maker_makes() -> None:
    made = make_golden.hostile()
    assert sorted(made) == HOSTILE
    for name, data in made.items():
        if "lzma" not in name and "deflate" not in name:  # other versions of the codecs write other streams
            assert (GOLDEN / "hostile" / f"{name}.armlet").read_bytes() == data, name
