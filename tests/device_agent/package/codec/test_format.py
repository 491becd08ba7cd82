"""PACKAGE_FORMAT.md says what the code does: its tables are compared with the constants, its example is decoded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from device_agent.errors import PackageError
from device_agent.package import reader as package
from device_agent.package.codec import format as package_format

FOLDER = Path(package.__file__).parent
TEXT = (FOLDER / "PACKAGE_FORMAT.md").read_text()
C_SOURCE = (FOLDER / "huffman.c").read_text()


def table(heading: str) -> list[list[str]]:
    """Cells of the first table after a heading or a line, without its head."""
    lines = iter(TEXT[TEXT.index(heading) :].splitlines())
    rows = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


def test_limits_are_those_of_the_code() -> None:
    stated = {row[0]: int(row[1]) for row in table("## Limits")}
    constants = {
        name: value for name, value in vars(package_format).items() if name.startswith(("MAX_", "MIN_"))
    }
    assert stated == constants


def test_limits_of_the_kernel_are_those_of_the_specification() -> None:
    stated = {row[0]: int(row[1]) for row in table("## Limits")}
    found = dict(re.findall(r"\b((?:MAX|MIN)_\w+) = ([^,\n]+)", C_SOURCE))
    assert found
    for name, value in found.items():
        shifted = re.fullmatch(r"1 << (\d+)", value)
        assert (1 << int(shifted[1]) if shifted else int(value)) == stated[name], name


def test_layouts_and_codecs_are_those_of_the_code() -> None:
    assert {int(row[0]): row[1] for row in table("Its first byte is the layout")} == package_format.LAYOUTS
    assert {int(row[0]): row[1] for row in table("| value | codec |")} == package_format.CODECS
    for number, name in package_format.LAYOUTS.items():
        assert name == "lz" or f"{name.upper()} = {number}" in C_SOURCE


def test_errors_are_those_of_the_code_and_each_is_used_in_the_text() -> None:
    errors = {
        name
        for name, value in vars(package_format).items()
        if isinstance(value, type) and issubclass(value, PackageError) and value is not PackageError
    }
    assert {row[0] for row in table("## Errors")} == errors
    before = TEXT[: TEXT.index("## Errors")]
    for name in errors:
        assert re.search(rf"\[[^\]]*\b{name}\b[^\]]*\]", before), name


def test_the_fixed_header_is_that_of_the_code() -> None:
    rows = table("### Header")
    sizes = {"8 bytes": 8, "u16": 2, "u32": 4, "32 bytes": 32}
    offset = 0
    for row in rows[:6]:
        assert int(row[0]) == offset, row
        offset += sizes[row[1]]
    assert offset == package_format.FIXED_HEADER_SIZE == int(rows[6][0])
    assert bytes.fromhex(re.findall(r"`([0-9a-f ]{23})`", TEXT)[0]) == package_format.MAGIC


def example() -> tuple[bytes, bytes]:
    """(package, model) of the worked example, from its hexadecimal lines."""
    blocks = re.findall(r"```hex\n(.*?)```", TEXT[TEXT.index("## Example") :], re.DOTALL)
    package_block, model_block = (
        b"".join(bytes.fromhex(line.partition("#")[0]) for line in block.splitlines()) for block in blocks
    )
    return package_block, model_block


def test_the_example_decodes_as_it_says(kernel: str) -> None:
    packed, model = example()
    assert package.unpack(packed, kernel=kernel).tflite == model
    section = package.read(packed).sections[0]
    assert (section.layout, section.nonzeros) == ("sparse", 4)


def test_a_changed_example_does_not_decode() -> None:
    packed, _ = example()
    with pytest.raises(PackageError):
        package.unpack(packed[:-1] + bytes([packed[-1] ^ 1]))
