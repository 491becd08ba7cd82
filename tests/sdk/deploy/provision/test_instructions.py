"""Counts of instructions: the arithmetic on any machine, real counts where the emulator is installed."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.board.emulation import plugin
from sdk.board.emulation.cores import CORES_BY_NAME, cpuinfo, find_core, system_files
from sdk.board.facts import parse_cpuinfo
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.deploy.provision import instructions
from sdk.errors import BoardError, ProvisionError
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.board.emulated import need_counting, need_runtime
from tests.sdk.graph.small_graphs import small_network

# -- what needs no emulator -----------------------------------------------------------------------------------------


def test_the_cost_of_a_mark_and_the_first_inference_are_left_out():
    marks = [1000, 1010, 1020]  # a mark costs 10
    inferences = [1020 + 510, 1530 + 110, 1640 + 112, 1752 + 111]
    median, samples, start = instructions.per_inference([*marks, *inferences, 9999])
    assert samples == (100, 102, 101)
    assert median == 101
    assert start == 1000


@pytest.mark.parametrize("totals", [[5, 6, 7], [5, 6, 7, 8, 9], [5, 6, 7, 7, 7, 7, 7]])
def test_totals_without_inferences_are_refused(totals: list[int]):
    with pytest.raises(BoardError, match="did not mark its inferences"):
        instructions.per_inference(totals)


def test_a_decode_is_summed_by_section_without_the_marks():
    totals = [100, 110, 110, 220, 230, 300, 310, 1320, 2000]  # a mark costs 10
    sections = (("sparse", 10, 40), ("lz", 7, 7), ("dense", 1, 4))
    answer = instructions.Decoded((40, 4), sections)
    count = instructions.per_section(totals, answer, "cortex-a72")
    assert count.sections == (("sparse", 10, 40, 100), ("dense", 1, 4, 60))
    assert count.kernel_instructions == 160
    assert count.unpack_instructions == 1000
    assert count.instructions_per_weight == 160 / 11


def test_a_decoder_that_did_not_decode_every_section_is_refused():
    answer = instructions.Decoded((40,), (("sparse", 10, 40), ("dense", 1, 4)))
    with pytest.raises(BoardError, match="every section"):
        instructions.per_section([100, 110, 110, 220, 230, 300, 400], answer, "cortex-a72")


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n", 1),
        ("qemu-aarch64 version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)\n", 1),
        ("qemu-aarch64 version 9.0.0\n", 2),
        ("qemu-aarch64 version 10.0.3\n", 2),
    ],
)
def test_the_plugin_declares_the_interface_of_the_qemu_it_is_built_for(version: str, api: int):
    assert plugin.api_version(version) == api


def test_a_qemu_without_a_version_is_refused():
    with pytest.raises(BoardError, match="version of QEMU is unknown"):
        plugin.api_version("")


def test_guest_and_plugin_close_the_same_number():
    source = plugin.SOURCE.read_text()
    for guest in ("guest_inference.py", "guest_decode.py"):
        text = plugin.SOURCE.with_name(guest).read_text()
        mark = int(text.split("MARK = ")[1].split()[0], 16)
        assert f"UINT64_C(0x{mark:x})" in source


@pytest.mark.parametrize("name", sorted(CORES_BY_NAME))
def test_every_core_is_told_by_its_part_number_unless_hidden(name: str):
    core = find_core(name)
    text = cpuinfo(core)
    assert text.count(f"CPU part\t: 0x{core.part:03x}\n") == 4
    cores, features = parse_cpuinfo(text)
    assert cores == 4
    assert set(features) == set(core.features.split())
    assert "CPU part" not in cpuinfo(core, identified=False)


def test_the_files_without_which_runtimes_drop_xnnpack_are_there():
    files = system_files(find_core("cortex-a72"))
    assert files["sys/devices/system/cpu/possible"] == files["sys/devices/system/cpu/present"] == "0-3\n"


def test_an_unknown_core_is_refused_with_the_known_ones():
    with pytest.raises(BoardError, match=r"cortex-a72.*cortex-m4"):
        find_core("cortex-m4")


def test_a_qemu_that_takes_no_plugins_is_refused(tmp_path):
    fake = tmp_path / "qemu-aarch64"
    fake.write_text("#!/bin/sh\necho usage: qemu-aarch64 program\n")
    fake.chmod(0o755)
    with pytest.raises(BoardError, match="takes no plugins"):
        plugin.build(str(fake), cache=tmp_path / "userlands")


# -- real counts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> bytes:
    return write_graph(small_network(size=32, channels=64, classes=40))


#: Multiply-accumulates of that network: stem, depthwise, 1x1, fully connected.
MACS = 16 * 16 * 64 * 27 + 16 * 16 * 64 * 9 + 16 * 16 * 64 * 128 + 128 * 40


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_a_count_is_the_same_twice_and_near_what_vector_instructions_need(network: bytes, runtime: str):
    need_counting()
    need_runtime(runtime)
    first = instructions.count_inference(network, runtime=runtime)
    again = instructions.count_inference(network, runtime=runtime)
    assert first.runtime == runtime
    assert abs(first.instructions - again.instructions) <= 0.001 * first.instructions
    assert max(first.samples) - min(first.samples) <= 0.001 * first.instructions
    # One NEON multiply-accumulate does 4 in float32; loads, stores and loops come on top.
    assert MACS / 4 < first.instructions < MACS


def test_the_core_that_is_told_decides_which_kernels_run(network: bytes):
    need_counting()
    need_runtime("ai-edge-litert")
    a72 = instructions.count_inference(network)
    a76 = instructions.count_inference(network, cpu="cortex-a76")
    hidden = instructions.count_inference(network, identified=False)
    assert a76.instructions < a72.instructions
    assert hidden.instructions != a72.instructions
    assert not hidden.identified


def test_a_model_that_the_runtime_refuses_is_one_clear_error():
    need_counting()
    need_runtime("ai-edge-litert")
    with pytest.raises(BoardError, match="the emulated program failed"):
        instructions.count_inference(b"TFL3" * 10)


def test_without_xnnpack_there_is_no_count(network: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path):
    need_runtime("ai-edge-litert")
    monkeypatch.setattr(
        instructions, "run_counted", lambda *a, **k: ([1, 2, 3, 10, 20, 30], "", "INFO: hello")
    )
    with pytest.raises(BoardError, match="without XNNPACK"):
        instructions.count_inference(network, userland=tmp_path)


def test_a_runtime_without_wheels_for_the_core_is_refused(network: bytes):
    with pytest.raises(ProvisionError, match="armv7l"):
        instructions.count_inference(network, cpu="cortex-a7")


def test_the_decoder_costs_a_few_instructions_a_weight():
    need_counting()
    need_runtime("tflite-runtime")
    graph = small_network(channels=256, classes=1000)
    package = pack(write_graph(apply(graph, Recipe(sparsity=0.8, clusters=16))))
    count = instructions.count_decoding(package)
    stored = sum(weight.array.size for weight in graph.weights())
    assert 0 < count.weights <= stored + sum(int(np.prod(t.shape)) for t in graph.tensors)
    assert sum(n for *_, n in count.sections) == count.kernel_instructions < count.unpack_instructions
    assert 0 < count.instructions_per_weight < 100
    again = instructions.count_decoding(package)
    assert abs(again.kernel_instructions - count.kernel_instructions) <= 0.001 * count.kernel_instructions
