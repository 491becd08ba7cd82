"""The catalogue is complete, sourced and consistent; the reader refuses everything else with one clear line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sdk.board.catalogue import catalogue_folder, list_boards, load_board, user_folder
from sdk.board.description.board_file import parse_board
from sdk.board.description.records import Board, CoreCluster, Figure
from sdk.errors import BoardError
from sdk.tools.toml_table import tomllib

CATALOGUE = sorted(catalogue_folder().glob("*.toml"))
NAMES = [path.stem for path in CATALOGUE]

# Per board: core, cores, clock in GHz, fp32 GFLOP/s and int8 GOP/s of one core (big cluster first); memcpy in GB/s
# (lowest and highest published); login name; Python of its system.
TABLE = {
    "rpi3": ([("Cortex-A53", 4, 1.4, 11.2, 22)], (1.05, 1.23), None, {"3.13", "3.11"}),
    "rpi-zero2w": ([("Cortex-A53", 4, 1.0, 8.0, 16)], (1.3, 1.3), None, {"3.13", "3.11"}),
    "rpi4": ([("Cortex-A72", 4, 1.8, 14.4, 29)], (2.2, 2.8), None, {"3.13", "3.11"}),
    "rpi5": ([("Cortex-A76", 4, 2.4, 38.4, 153.5)], (5.3, 6.0), None, {"3.13", "3.11"}),
    "rock5b": (
        [("Cortex-A76", 4, 2.35, 38.0, 152), ("Cortex-A55", 4, 1.8, 14.6, 58)],
        (10.8, 10.8),
        "radxa",
        {"3.11"},
    ),
    "orangepi5": (
        [("Cortex-A76", 4, 2.4, 38, 152), ("Cortex-A55", 4, 1.8, 14.6, 58)],
        (12.8, 12.8),
        "orangepi",
        {"3.10", "3.11"},
    ),
    "jetson-nano": ([("Cortex-A57", 4, 1.43, 11.4, 23)], (3.7, 4.1), None, {"3.6"}),
    "orin-nano": ([("Cortex-A78AE", 6, 1.5, 24, 97)], (6.7, 6.7), None, {"3.10"}),
    "coral-dev": ([("Cortex-A53", 4, 1.5, 12, 24)], (2.2, 2.2), "mendel", {"3.7"}),
    "imx8mp": ([("Cortex-A53", 4, 1.8, 14.4, 29)], (2.7, 2.7), "root", set()),
    "beagleplay": ([("Cortex-A53", 4, 1.4, 11.2, 22)], (1, 2), "debian", {"3.11"}),
    "odroid-n2plus": (
        [("Cortex-A73", 4, 2.4, 19.2, 38), ("Cortex-A53", 2, 2.0, 16, 32)],
        (4.0, 4.3),
        None,
        {"3.10"},
    ),
    "khadas-vim3": (
        [("Cortex-A73", 4, 2.2, 17.6, 35), ("Cortex-A53", 2, 1.8, 14.4, 29)],
        (4.85, 5.1),
        "khadas",
        set(),
    ),
}

FP32_FLOP_PER_CYCLE = {
    "Cortex-A53": 8,
    "Cortex-A55": 8,
    "Cortex-A57": 8,
    "Cortex-A72": 8,
    "Cortex-A73": 8,
    "Cortex-A76": 16,
    "Cortex-A78AE": 16,
}
INT8_OP_PER_CYCLE = {"Cortex-A55": 32, "Cortex-A76": 64, "Cortex-A78AE": 64}

# (mobilenet_v1, mobilenet_v2, shufflenet_v1, shufflenet_v2, alexnet, squeezenet), ncnn, milliseconds.
NCNN = {
    ("rpi3", 4): (107.8, 110.6, 58.4, 46.8, 157.8, 84.7),
    ("rpi-zero2w", 4): (162.6, 145.7, 72.7, 63.6, 271.2, 119.5),
    ("rpi4", 4): (60.7, 61.6, 32.9, 24.4, 75.8, 46.3),
    ("rpi5", 4): (9.0, 10.5, 4.1, 3.4, 21.2, 6.7),
    ("jetson-nano", 4): (41.7, 33.5, 21.1, 19.6, 89.2, 30.0),
    ("khadas-vim3", 4): (42.6, 39.4, 21.6, 18.8, 60.4, 31.0),
    ("khadas-vim3", 1): (112.7, 81.4, 37.8, 37.3, 140.3, 68.3),
    ("rock5b", 4): (11.0, 8.7, 8.0, 6.1, 29.1, 7.6),
    ("rock5b", 1): (41.2, 27.3, 18.2, 15.8, 93.5, 25.0),
}
NETWORKS = ("mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2", "alexnet", "squeezenet")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private, empty folder for the user's boards, so that the developer's own are never read."""
    folder = tmp_path / "boards"
    monkeypatch.setenv("ARMLET_BOARDS", str(folder))
    return folder


def figures(board: Board) -> Iterator[tuple[str, Figure]]:
    records: list[Board | CoreCluster] = [board, *board.clusters]
    for record in records:
        for item in dataclasses.fields(record):
            value = getattr(record, item.name)
            if isinstance(value, Figure):
                yield f"{board.name} {item.name}", value


# --- the catalogue ------------------------------------------------------------------------------------------------


def test_the_catalogue_holds_local_virtual_and_every_known_board():
    assert set(NAMES) == {"local", "virtual-arm64", "virtual-armhf", *TABLE}
    assert [board.name for board in list_boards()] == sorted(NAMES)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_board_has_the_cores_bandwidth_user_and_python_that_are_known_of_it(name: str):
    clusters, (lowest, highest), user, pythons = TABLE[name]
    board = load_board(name)
    assert [(c.core, len(c.cpus)) for c in board.clusters] == [(core, count) for core, count, *_ in clusters]
    for cluster, (_, _, clock, fp32, int8) in zip(board.clusters, clusters, strict=True):
        assert cluster.clock_ghz.value == pytest.approx(clock, rel=0.01)
        assert cluster.peak_fp32_gflops_per_core.value == pytest.approx(fp32, rel=0.01)
        assert cluster.peak_int8_gops_per_core.value == pytest.approx(int8, rel=0.02)
    bandwidth = board.memcpy_gigabytes_per_second
    assert bandwidth is not None
    assert bandwidth.low or bandwidth.value == pytest.approx(lowest, rel=0.02)
    assert lowest * 0.98 <= bandwidth.value <= highest * 1.02
    assert (board.user, set(board.python_versions)) == (user, pythons)
    assert (board.architecture, board.transport, board.emulated) == ("aarch64", "ssh", False)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_operations_a_cycle_are_those_of_the_core(name: str):
    for cluster in load_board(name).clusters:
        assert cluster.fp32_flop_per_cycle.value == FP32_FLOP_PER_CYCLE[cluster.core]
        assert cluster.int8_op_per_cycle.value == INT8_OP_PER_CYCLE.get(cluster.core, 16)
        assert ("dotprod" in cluster.isa) == (cluster.core in INT8_OP_PER_CYCLE)
        assert ("fp16" in cluster.isa) == (cluster.core in INT8_OP_PER_CYCLE)
        assert "neon" in cluster.isa


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_derived_peak_is_clock_times_operations_a_cycle_and_a_measured_one_is_near_it(name: str):
    for cluster in load_board(name).clusters:
        for peak, per_cycle in (
            (cluster.peak_fp32_gflops_per_core, cluster.fp32_flop_per_cycle),
            (cluster.peak_int8_gops_per_core, cluster.int8_op_per_cycle),
        ):
            tolerance = 1e-9 if peak.kind == "derived" else 0.02
            assert peak.value == pytest.approx(cluster.clock_ghz.value * per_cycle.value, rel=tolerance)


@pytest.mark.parametrize("path", CATALOGUE, ids=NAMES)
def test_every_number_in_a_file_has_a_unit_in_its_key_and_a_source(path: Path):
    units = (
        "_ghz",
        "_per_cycle",
        "_gflops_per_core",
        "_gops_per_core",
        "_gigabytes_per_second",
        "_nanoseconds",
    )

    def check(table: dict, trail: str) -> int:
        numbers = 0
        for key, value in table.items():
            here = f"{path.name} {trail}{key}"
            if isinstance(value, dict) and "value" in value:
                assert key.endswith(units), f"{here} has no unit in its name"
                assert value["source"].strip(), f"{here} has no source"
                assert value["kind"] in ("measured", "published", "derived", "estimated"), here
                numbers += 1
            elif isinstance(value, dict) and all(isinstance(inner, int | float) for inner in value.values()):
                # The two tables of published figures: name -> number, with the entry's own source.
                assert key in ("million_macs", "latency_milliseconds"), here
                assert table["source"].strip(), here
                numbers += len(value)
            elif isinstance(value, dict):
                numbers += check(value, f"{trail}{key}.")
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, dict):
                        assert item["source"].strip(), f"{here} has no source"
                        numbers += check(item, f"{trail}{key}.")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                assert key == "threads", f"{here} is a bare number"
                numbers += 1
        return numbers

    numbers = check(tomllib.loads(path.read_text(encoding="utf-8")), "")
    assert numbers > 0 or path.stem in ("local", "virtual-arm64", "virtual-armhf")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_only_guessed_is_not_called_measured(name: str):
    for where, figure in figures(load_board(name)):
        if figure.kind == "measured":
            assert re.match(r"(cpufp|sbc-bench),", figure.source), (
                f"{where}: measured by whom? {figure.source}"
            )
    if name in ("coral-dev", "beagleplay"):
        bandwidth = load_board(name).memcpy_gigabytes_per_second
        assert bandwidth is not None
        assert bandwidth.kind == "estimated"


@pytest.mark.parametrize("path", CATALOGUE, ids=NAMES)
def test_no_file_holds_an_address_or_a_credential(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b\d{1,3}(\.\d{1,3}){3}\b", text)
    assert not re.search(r"(?i)password|BEGIN .* KEY|ssh-(rsa|ed25519)", text)


@pytest.mark.parametrize(("name", "threads"), NCNN)
def test_the_latencies_that_ncnn_published_are_there(name: str, threads: int):
    entries = {
        entry.network: entry
        for entry in load_board(name).published
        if entry.framework == "ncnn" and entry.threads == threads
    }
    assert tuple(entries[network].latency_milliseconds for network in NETWORKS) == NCNN[name, threads]
    assert tuple(entries[network].million_macs for network in NETWORKS) == (569, 314, 127, 145, 724, 419)


def test_the_latencies_of_xnnpack_and_executorch_are_there():
    def latency(name: str, framework: str, network: str, dtype: str) -> float:
        [entry] = [
            e
            for e in load_board(name).published
            if (e.framework, e.network, e.dtype) == (framework, network, dtype)
        ]
        return entry.latency_milliseconds

    assert [latency("rpi3", "xnnpack", n, "float32") for n in NETWORKS[:2]] == [114, 79]
    assert [latency("rpi3", "xnnpack", n, "int8") for n in NETWORKS[:2]] == [46, 30]
    assert [latency("rpi4", "xnnpack", n, "float32") for n in NETWORKS[:2]] == [77, 46]
    assert [latency("rpi4", "xnnpack", n, "int8") for n in NETWORKS[:2]] == [24, 17]
    assert latency("rpi5", "executorch", "mobilenet_v2", "float32") == 10.9
    assert latency("rpi5", "executorch", "mobilenet_v2", "int8") == 4.0


@pytest.mark.parametrize("name", ["jetson-nano", "coral-dev"])
def test_a_board_whose_python_is_too_old_says_so(name: str):
    board = load_board(name)
    assert all(int(version.split(".")[1]) < 8 for version in board.python_versions)
    assert any("too old" in note for note in board.notes)


@pytest.mark.parametrize("name", NAMES)
def test_every_board_names_a_runtime_and_its_exact_version(name: str):
    runtime = load_board(name).preferred_runtime
    assert runtime is not None
    assert runtime.name in ("ai-edge-litert", "tflite-runtime")
    assert re.fullmatch(r"\d+\.\d+\.\d+", runtime.version)


def test_only_the_virtual_boards_are_emulated():
    emulated = {board.name: board.qemu_cpu for board in list_boards() if board.emulated}
    assert emulated == {"virtual-arm64": "cortex-a72", "virtual-armhf": "cortex-a7"}


# --- what a board can do ------------------------------------------------------------------------------------------


def test_threads_take_the_fastest_cores_first():
    board = load_board("rock5b")
    assert board.fastest_cpus(1) == (4,)
    assert board.fastest_cpus(4) == (4, 5, 6, 7)
    assert board.fastest_cpus(6) == (4, 5, 6, 7, 0, 1)
    assert board.peak_operations_per_second(1) == pytest.approx(38.012e9)
    assert board.peak_operations_per_second(4) == pytest.approx(4 * 38.012e9)
    assert board.peak_operations_per_second(6) == pytest.approx((4 * 38.012 + 2 * 14.593) * 1e9)


def test_more_threads_than_cores_add_nothing():
    board = load_board("rpi4")
    assert board.peak_operations_per_second(64) == board.peak_operations_per_second(4)


def test_int8_and_float16_have_peaks_of_their_own():
    rpi4, rpi5 = load_board("rpi4"), load_board("rpi5")
    assert rpi5.peak_operations_per_second(1, "int8") == pytest.approx(153.48e9)
    assert rpi5.peak_operations_per_second(1, "float16") == pytest.approx(2 * 38.369e9)
    # No fp16 arithmetic on a Cortex-A72: computed in float32.
    assert rpi4.peak_operations_per_second(1, "float16") == rpi4.peak_operations_per_second(1, "float32")


def test_copying_a_byte_moves_two_over_the_bus():
    assert load_board("rpi5").memory_bytes_per_second == pytest.approx(12.0e9)


@pytest.mark.parametrize("name", ["local", "virtual-arm64"])
def test_what_was_never_measured_is_unknown_and_not_zero(name: str):
    board = load_board(name)
    assert board.peak_operations_per_second() is None
    assert board.memory_bytes_per_second is None
    assert not list(figures(board))


# --- the user's own folder ----------------------------------------------------------------------------------------

OWN = 'title = "Mine"\narchitecture = "aarch64"\ntransport = "ssh"\n'


def test_a_users_own_board_is_found_and_wins_over_the_catalogue(own_folder: Path):
    own_folder.mkdir()
    (own_folder / "kitchen-pi.toml").write_text(OWN)
    (own_folder / "rpi4.toml").write_text(OWN)
    assert load_board("kitchen-pi").title == "Mine"
    assert load_board("rpi4").title == "Mine"
    assert load_board("rpi4").origin == str(own_folder / "rpi4.toml")
    assert load_board("rpi5").title == "Raspberry Pi 5"
    assert "kitchen-pi" in [board.name for board in list_boards()]


def test_the_users_folder_follows_the_environment():
    assert user_folder({"ARMLET_BOARDS": "/a", "XDG_CONFIG_HOME": "/b"}) == Path("/a")
    assert user_folder({"XDG_CONFIG_HOME": "/b"}) == Path("/b/armlet/boards")
    assert user_folder({}) == Path("~/.config/armlet/boards").expanduser()


def test_an_unknown_board_is_answered_with_close_matches_and_the_command_that_lists_all():
    with pytest.raises(BoardError) as caught:
        load_board("rpi44")
    assert "rpi44" in caught.value.what
    assert "rpi4" in (caught.value.expected or "")
    assert "sdk boards" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["../rpi4", "/etc/passwd", "", "rpi4.toml", "RPI4"])
def test_a_name_is_never_a_path(name: str):
    with pytest.raises(BoardError, match="unknown board"):
        load_board(name)


def test_a_file_name_that_cannot_be_a_board_name_is_refused(own_folder: Path):
    own_folder.mkdir()
    (own_folder / "My Pi.toml").write_text(OWN)
    with pytest.raises(BoardError, match=r"My Pi\.toml.*lower-case"):
        list_boards()


def test_a_file_that_is_not_text_is_refused(own_folder: Path):
    own_folder.mkdir()
    (own_folder / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match=r"mine\.toml cannot be read"):
        load_board("mine")


# --- broken files -------------------------------------------------------------------------------------------------

RPI4 = (catalogue_folder() / "rpi4.toml").read_text(encoding="utf-8")

BROKEN = {
    "not TOML": ("title = ", "title = = ", "", "is not TOML"),
    "no title": ("title =", "name =", "title", "a text"),
    "empty title": ('title = "Raspberry Pi 4 Model B"', 'title = ""', "title", "a text"),
    "wrong type": ('title = "Raspberry Pi 4 Model B"', "title = 4", "title", "a text"),
    "unknown architecture": ('"aarch64"', '"sparc"', "architecture", "aarch64"),
    "unknown transport": ('"ssh"', '"pigeon"', "transport", "ssh"),
    "unknown key": ("[system]", "[system]\ncolour = 'red'", "colour", "only os, python_versions"),
    "an address": ('transport = "ssh"', 'transport = "ssh"\nhost = "pi.local"', "host", "only"),
    "a CPU model for a real board": ('"ssh"', '"ssh"\nqemu_cpu = "max"', "qemu_cpu", "emulated"),
    "a number as a bare value": (
        "peak_fp32_gflops_per_core = {",
        "peak_fp32_gflops_per_core = 14.4\nx = {",
        "peak_fp32_gflops_per_core",
        "a table",
    ),
    "a figure without a source": (
        ', source = "clock_ghz x fp32_flop_per_cycle"',
        "",
        "clusters 1: peak_fp32_gflops_per_core: source",
        "a text",
    ),
    "a kind that does not exist": ('kind = "derived"', 'kind = "guessed"', "kind", "measured"),
    "zero": ("value = 1.8,", "value = 0,", "clock_ghz: value", "above 0"),
    "negative": ("value = 1.8,", "value = -1.8,", "clock_ghz: value", "above 0"),
    "not a number": ("value = 1.8,", "value = nan,", "clock_ghz: value", "above 0"),
    "infinite": ("value = 1.8,", "value = inf,", "clock_ghz: value", "above 0"),
    "true is not a number": ("value = 1.8,", "value = true,", "clock_ghz: value", "above 0"),
    "only one bound": ("low = 2.2, ", "", "low, high", "both or neither"),
    "value outside its bounds": ("low = 2.2,", "low = 2.7,", "low, high", "low <= value"),
    "no CPUs": ("cpus = [0, 1, 2, 3]", "cpus = []", "cpus", "CPU numbers"),
    "a CPU twice": ("cpus = [0, 1, 2, 3]", "cpus = [0, 1, 1, 3]", "clusters", "one cluster only"),
    "clusters is not a list": ("[[clusters]]", "[clusters]", "clusters", "list of tables"),
    "an odd Python": ('"3.13"', '"three"', "python_versions", "3"),
    "threads of 0": ("threads = 4", "threads = 0", "threads", "whole number"),
    "a latency without its MACs": (
        "million_macs = { mobilenet_v1 = 569, ",
        "million_macs = { ",
        "mobilenet_v1",
        "",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_gets_one_line_that_names_file_key_and_expectation(case: str, own_folder: Path):
    old, new, key, expected = BROKEN[case]
    assert old in RPI4
    own_folder.mkdir()
    path = own_folder / "mine.toml"
    path.write_text(RPI4.replace(old, new), encoding="utf-8")
    with pytest.raises(BoardError) as caught:
        load_board("mine")
    message = str(caught.value)
    assert str(path) in message
    assert key in caught.value.what
    assert expected in message
    assert "\n" not in message


def test_an_address_is_refused_with_what_to_do_instead():
    with pytest.raises(BoardError) as caught:
        parse_board(OWN + 'password = "raspberry"\n', name="mine", origin="mine.toml")
    assert "--host" in (caught.value.hint or "")


def test_a_board_of_three_lines_is_enough():
    board = parse_board(OWN, name="mine", origin="mine.toml")
    assert board == Board(name="mine", title="Mine", architecture="aarch64", transport="ssh")
    assert (board.cores, board.preferred_runtime) == (0, None)


def test_a_board_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_board("rpi4").title = "other"  # type: ignore[misc]


# --- the documentation --------------------------------------------------------------------------------------------

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "add-a-board.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_examples_of_the_guide_are_boards():
    least, whole = (parse_board(text, name="example", origin="guide") for text in EXAMPLES)
    assert least.memory_bytes_per_second is None
    assert whole.memory_bytes_per_second
    assert whole.clusters[0].peak_fp32_gflops_per_core.value == 14.4
    assert [entry.network for entry in whole.published] == ["mobilenet_v1", "shufflenet_v1"]


def test_the_guide_shows_every_key_that_a_file_of_the_catalogue_uses():
    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            inner = set().union(*(keys(item) for item in value.values()))
            # Names of networks are data, not keys of the schema.
            return inner | {key for key in value if key not in NETWORKS}
        if isinstance(value, list):
            return set().union(*(keys(item) for item in value))
        return set()

    used = set().union(*(keys(tomllib.loads(path.read_text(encoding="utf-8"))) for path in CATALOGUE))
    assert {key for key in used if not re.search(rf"\b{key}\b", GUIDE)} == set()


def test_a_board_on_this_machine_can_be_had_several_times():
    assert replace(load_board("local-a"), name="local") == load_board("local")
    assert load_board("local-a").name == "local-a"
    for name in ("local-", "local-A", "local-../x", "locals"):
        with pytest.raises(BoardError, match="unknown board"):
            load_board(name)
