"""What owners of real boards published of them is read as the catalogue has them (board_outputs/published.toml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdk.board.catalogue import load_board
from sdk.board.facts import parse_cpuinfo, parse_os_release
from sdk.board.probe import ARM_PARTS, EXTENSIONS, Cpu, parse_cpus
from sdk.board.proposal import COMPATIBLE

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PUBLISHED = tomllib.loads((Path(__file__).parent / "board_outputs" / "published.toml").read_text("utf-8"))
BOARDS: list[dict[str, Any]] = PUBLISHED["board"]
OF_THE_CATALOGUE = [board for board in BOARDS if "name" in board]


def cpuinfo(board: dict[str, Any]) -> str:
    """/proc/cpuinfo as that board's kernel writes it (Linux: arch/arm64/kernel/cpuinfo.c, arch/arm/kernel/setup.c)."""
    width = 16 if board["layout"] == "spaces" else None

    def line(key: str, value: str) -> str:
        if key == "CPU architecture":
            return f"{key}: {value}"
        if width is not None:
            return f"{key:<{width}}: {value}"
        return f"{key}\t\t: {value}" if len(key) < 8 else f"{key}\t: {value}"

    blocks = []
    for first, last, implementer, variant, part, revision in board["cores"]:
        for number in range(first, last + 1):
            fields = {"processor": str(number), **board.get("first", {})}
            if "model_name" in board:
                fields["model name"] = board["model_name"]
            fields |= {
                "BogoMIPS": board["bogomips"],
                "Features": board["features"],
                "CPU implementer": implementer,
                "CPU architecture": board.get("architecture", "8"),
                "CPU variant": variant,
                "CPU part": part,
                "CPU revision": revision,
            }
            if implementer != "0x41":
                fields |= board.get("extra", {})
            blocks.append("\n".join(line(key, value) for key, value in fields.items()))
    separator = "\n" + board.get("separator", "") + "\n"
    tail = "\n".join(line(key, value) for key, value in board.get("tail", {}).items())
    return separator.join([*blocks, tail]) + "\n"


def cpus_of(board: dict[str, Any]) -> list[Cpu]:
    return [Cpu(*found) for found in parse_cpus(cpuinfo(board))]


def ids(boards: list[dict[str, Any]]) -> list[str]:
    return [board["title"] for board in boards]


def test_every_recording_names_its_source():
    assert len(BOARDS) >= 15
    assert all(board["source"].startswith("https://") for board in BOARDS)
    assert all(entry["source"] for key in ("device_tree", "system") for entry in PUBLISHED[key])


@pytest.mark.parametrize("board", BOARDS, ids=ids(BOARDS))
def test_each_cpu_is_found_with_its_core(board: dict[str, Any]):
    cpus = cpus_of(board)
    expected = [
        (number, int(implementer, 16), int(part, 16))
        for first, last, implementer, _, part, _ in board["cores"]
        for number in range(first, last + 1)
    ]
    assert [(cpu.number, cpu.implementer, cpu.part) for cpu in cpus] == expected
    assert all((cpu.core is None) == (cpu.implementer != 0x41) for cpu in cpus)
    assert all(cpu.features == tuple(board["features"].split()) for cpu in cpus)
    count, common = parse_cpuinfo(cpuinfo(board))
    assert (count, common) == (len(expected), tuple(sorted(board["features"].split())))


@pytest.mark.parametrize("board", OF_THE_CATALOGUE, ids=ids(OF_THE_CATALOGUE))
def test_a_board_of_the_catalogue_is_as_its_file_says(board: dict[str, Any]):
    known = load_board(board["name"])
    found = {cpu.number: cpu for cpu in cpus_of(board)}
    assert sorted(found) == sorted(cpu for cluster in known.clusters for cpu in cluster.cpus)
    for cluster in known.clusters:
        for number in cluster.cpus:
            assert found[number].core == cluster.core
            assert set(found[number].extensions) == set(cluster.isa)


@pytest.mark.parametrize("tree", PUBLISHED["device_tree"], ids=lambda tree: tree["name"])
def test_the_device_tree_leads_to_the_board(tree: dict[str, Any]):
    assert tree["name"] in [COMPATIBLE.get(name) for name in tree["compatible"]]


@pytest.mark.parametrize("system", PUBLISHED["system"], ids=lambda system: system["os"])
def test_the_system_is_named_as_it_names_itself(system: dict[str, Any]):
    assert parse_os_release("\n".join(system["os_release"])) == system["os"]


def test_the_tables_know_every_core_and_extension_of_the_recordings():
    parts = {int(part, 16) for board in BOARDS for _, _, who, _, part, _ in board["cores"] if who == "0x41"}
    assert parts <= set(ARM_PARTS)
    features = {feature for board in BOARDS for feature in board["features"].split()}
    assert set(EXTENSIONS) - features == {"i8mm"}
