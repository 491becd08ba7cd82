"""Boards as they describe themselves, and what is proposed for them.

``board_outputs/virtual-arm64.txt`` was recorded. The others are written after what boards of that kind print (device
tree names, part numbers, clocks and cpufreq's limits as published); nobody ran the script on that very hardware. What
owners of boards published of them is in ``test_published_boards.py``.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sdk.api.boards.probing import Probed, add_board, probe_board, runtimes_for
from sdk.board.catalogue import list_boards, load_board
from sdk.board.description.board_file import parse_board
from sdk.board.facts import FACTS_SCRIPT
from sdk.board.probe import PROBE_SCRIPT, Probe, parse_cpus, parse_frequencies, parse_probe, parse_thermal
from sdk.board.proposal import COMPATIBLE, Proposal, propose
from sdk.cli import main
from sdk.errors import BoardError, RemoteError
from sdk.report.terminal import drawing as terminal

OUTPUTS = Path(__file__).parent / "board_outputs"
NAMES = sorted(path.stem for path in OUTPUTS.glob("*.txt"))


def answer_of(name: str) -> Probe:
    return parse_probe((OUTPUTS / f"{name}.txt").read_text())


def proposed(name: str) -> Proposal:
    probe = answer_of(name)
    return propose(probe, list_boards(), runtimes_for(probe.facts))


@pytest.mark.parametrize(
    ("name", "clusters"),
    [
        ("rpi4-trixie", [("Cortex-A72", 4, 1.8e9)]),
        ("rpi5-bookworm", [("Cortex-A76", 4, 2.4e9)]),
        ("rock5b", [("Cortex-A76", 4, 2.4e9), ("Cortex-A55", 4, 1.8e9)]),
        ("khadas-vim3", [("Cortex-A73", 4, 2.208e9), ("Cortex-A53", 2, 1.8e9)]),
        ("jetson-nano", [("Cortex-A57", 4, 1.479e9)]),
        ("unknown-a510", [("Cortex-A76", 1, 2.0e9), ("Cortex-A510", 2, 1.5e9), (None, 1, None)]),
        ("virtual-arm64", [("Cortex-A72", 4, None)]),
    ],
)
def test_cores_are_told_by_their_part_numbers_and_grouped_fastest_first(name: str, clusters: list):
    found = [(group[0].core, len(group), group[0].max_hz) for group in answer_of(name).clusters]
    assert found == clusters


@pytest.mark.parametrize(
    ("name", "extensions"),
    [("rpi4-trixie", ("neon",)), ("rpi5-bookworm", ("neon", "fp16", "dotprod")), ("jetson-nano", ("neon",))],
)
def test_extensions_are_named_as_in_board_files(name: str, extensions: tuple[str, ...]):
    board = load_board({"rpi4-trixie": "rpi4", "rpi5-bookworm": "rpi5"}.get(name, name))
    assert answer_of(name).cpus[0].extensions == extensions
    assert set(board.clusters[0].isa) == set(extensions)


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("rpi4-trixie", "rpi4"),
        ("rpi4-32-bit", "rpi4"),
        ("rpi5-bookworm", "rpi5"),
        ("rock5b", "rock5b"),
        ("khadas-vim3", "khadas-vim3"),
        ("jetson-nano", "jetson-nano"),
        ("unknown-a510", None),
        ("virtual-arm64", None),
    ],
)
def test_a_board_of_the_catalogue_is_recognised_by_its_device_tree(name: str, board: str | None):
    assert proposed(name).board == board


def test_every_name_of_a_device_tree_leads_to_a_board_that_there_is():
    assert set(COMPATIBLE.values()) <= {board.name for board in list_boards()}
    real = {board.name for board in list_boards() if board.transport == "ssh"}
    assert real == set(COMPATIBLE.values())


def test_a_board_in_good_order_gets_no_warning():
    assert proposed("rpi5-bookworm").warnings == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rpi4-trixie", ["governor ondemand"]),
        ("rpi4-32-bit", ["32-bit system", "hot already: cpu-thermal 81 C"]),
        ("jetson-nano", ["no runtime has wheels for Python 3.6 on aarch64"]),
    ],
)
def test_what_stands_in_the_way_is_said(name: str, words: list[str]):
    text = "\n".join(proposed(name).warnings)
    for word in words:
        assert word in text


def test_a_board_that_is_not_as_its_file_says_is_told_apart():
    text = (OUTPUTS / "rpi5-bookworm.txt").read_text()
    overclocked = propose(
        parse_probe(text.replace("2400000 performance", "3000000 performance")), list_boards()
    )
    assert "Cortex-A76 at up to 3 GHz, the file of rpi5 has 2.4 GHz" in overclocked.warnings
    one_off = parse_probe(text.replace("processor\t: 3", "processed\t: 3"))
    assert "CPUs 0-2 run, the file of rpi5 has 0-3" in propose(one_off, list_boards()).warnings
    other_core = propose(parse_probe(text.replace("0xd0b", "0xd08")), list_boards())
    assert "CPU 0 is a Cortex-A72, the file of rpi5 has Cortex-A76" in other_core.warnings


@pytest.mark.parametrize("name", NAMES)
def test_the_proposed_file_can_be_read_and_holds_what_was_found(name: str):
    probe = answer_of(name)
    board = parse_board(proposed(name).toml, name="new", origin="new.toml")
    assert board.architecture == probe.facts.wheel_architecture
    assert board.os == probe.facts.os_name
    known = {cluster.core: cluster for b in list_boards() for cluster in b.clusters}
    found = [group for group in probe.clusters if group[0].core in known and group[0].max_hz]
    assert [(c.core, c.cpus) for c in board.clusters] == [
        (g[0].core, tuple(cpu.number for cpu in g)) for g in found
    ]
    for cluster in board.clusters:
        like = known[cluster.core]
        per_cycle = like.fp32_flop_per_cycle.value
        assert cluster.peak_fp32_gflops_per_core.value == pytest.approx(
            cluster.clock_ghz.value * per_cycle, rel=1e-5
        )
    assert len(board.notes) == len(probe.clusters) - len(found)
    for runtime in board.runtimes:
        assert runtime.name in ("ai-edge-litert", "tflite-runtime")


def test_quotes_and_backslashes_of_a_model_name_survive():
    board = parse_board(proposed("unknown-a510").toml, name="new", origin="new.toml")
    assert board.title == 'Vendor "Thing" 2 \\ Rev. A'


def test_old_kernels_give_features_once_for_all_cpus():
    text = (
        "processor\t: 0\nprocessor\t: 1\n\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n"
    )
    assert parse_cpus(text) == [(0, 0x41, 0xD03, ("fp", "asimd")), (1, 0x41, 0xD03, ("fp", "asimd"))]


def test_lines_that_are_no_clocks_or_temperatures_are_left_out():
    assert parse_frequencies("0 600000 1800000 ondemand\n1 600000\n2 x y z\n") == {
        0: (6e8, 1.8e9, "ondemand")
    }
    assert parse_thermal("cpu-thermal 48686\n 12\ncpu-thermal\na b c\n") == (("cpu-thermal", 48.686),)


@pytest.mark.parametrize("output", ["", "@home\n/root\n@end\n", "command not found", "@home\n" * 9])
def test_an_answer_that_is_none_is_refused(output: str):
    with pytest.raises(RemoteError):
        parse_probe(output)


def test_an_answer_without_the_probes_own_part_is_refused():
    text = (OUTPUTS / "rpi4-trixie.txt").read_text().replace("@frequencies", "@other")
    with pytest.raises(RemoteError, match="whole question"):
        parse_probe(text)


def test_one_question_holds_the_other():
    for line in FACTS_SCRIPT.splitlines():
        assert line in PROBE_SCRIPT
    assert PROBE_SCRIPT.count("@end") == 1


# -- over a connection, and into the user's folder ------------------------------------------------------------------


@pytest.mark.ssh
def test_this_machine_is_asked_over_ssh_as_any_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    probed = probe_board("local")
    assert probed.probe.facts.python is not None
    assert len(probed.probe.cpus) >= 1
    document = probed.to_json()
    assert document["address"] == probed.address
    assert len(document["cpus"]) == len(probed.probe.cpus)


def test_a_board_without_an_address_is_asked_for_one():
    with pytest.raises(BoardError, match="--host"):
        probe_board()


@pytest.fixture
def probed() -> Probed:
    return Probed("pi@kitchen", answer_of("rpi4-trixie"), proposed("rpi4-trixie"))


def test_an_added_board_is_found_by_its_name(probed: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path / "boards"))
    path = add_board("kitchen-pi", probed)
    assert path == tmp_path / "boards" / "kitchen-pi.toml"
    board = load_board("kitchen-pi")
    assert board.title == "Raspberry Pi 4 Model B Rev 1.4"
    assert board.clusters[0].core == "Cortex-A72"
    assert board.preferred_runtime.name == "ai-edge-litert"


def test_a_board_is_not_replaced_unasked(probed: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path))
    add_board("kitchen-pi", probed)
    (tmp_path / "kitchen-pi.toml").write_text("mine")
    with pytest.raises(BoardError, match="already"):
        add_board("kitchen-pi", probed)
    assert (tmp_path / "kitchen-pi.toml").read_text() == "mine"
    add_board("kitchen-pi", probed, replace=True)
    assert load_board("kitchen-pi").architecture == "aarch64"


@pytest.mark.parametrize("name", ["", "../up", "Kitchen", "a b", "-x", "a" * 65])
def test_a_name_that_no_file_should_have_is_refused(name: str, probed: Probed, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path))
    with pytest.raises(BoardError, match="cannot be the name"):
        add_board(name, probed)
    assert not list(tmp_path.iterdir())


# -- as commands ----------------------------------------------------------------------------------------------------


@pytest.mark.ssh
def test_probe_is_a_command_for_people_and_for_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["board", "probe", "--board", "local"]) == 0
    assert "python" in capsys.readouterr().out
    assert main(["board", "probe", "--board", "local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["pointer_bits"] == 64
    assert main(["board", "probe"]) == 2
    assert "--host" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_what_was_found_is_shown(name: str):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.probed(Probed("pi@kitchen", answer_of(name), proposed(name))))
    text = console.export_text()
    board = proposed(name).board
    assert (f"in the catalogue: --board {board}" if board else "[system]") in text
    assert f"{len(answer_of(name).clusters[0])} x {answer_of(name).clusters[0][0].core}" in text
