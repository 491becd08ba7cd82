"""The package reader in C: the answers of the one in Python, from a library that other programs can link."""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_agent.package import reader as package
from device_agent.package.codec import format as package_format
from device_agent.package.codec.prepared import PREPARED_SIZE
from sdk.board.emulation import tools, userland
from sdk.cli import main
from sdk.deploy import native
from sdk.deploy.provision import kernel
from sdk.package.pack import pack
from tests.device_agent.package.package_samples import clustered, flatbuffer
from tests.fuzz.forged import forged
from tests.golden import make_golden
from tests.sdk.board import emulated
from tests.sdk.deploy.native.native_reader import NativeReader, read_in_python

ROOT = Path(__file__).parents[4]
GOLDEN = Path(make_golden.__file__).parent
VALID = sorted((GOLDEN / "valid").glob("*.armlet"))
HOSTILE = sorted((GOLDEN / "hostile").glob("*.armlet"))
HEADER = native.HEADER.read_text()
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
#: e_machine of the ELF header
MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the library by machine, all targets."""
    folder = tmp_path_factory.mktemp("native")
    return {made.machine: Path(made.folder) for made in native.build(folder, list(kernel.TARGETS))}


@pytest.fixture(scope="module")
def here(built: dict[str, Path]) -> Path:
    """The folder for this computer."""
    return built[kernel.target_of(os.uname().machine)]


@pytest.fixture(scope="module")
def reader(here: Path) -> NativeReader:
    return NativeReader(here / "lib" / "libarmlet.so")


def models() -> list[bytes]:
    rng = np.random.default_rng(8)
    return [
        b"",
        b"any bytes",
        rng.bytes(100_000),
        flatbuffer(
            [("w", "float32", clustered(rng, 60_000, 16, 0.8)), ("b", "float32", rng.random(40, "f4"))]
        ),
        flatbuffer([(f"b{i}", "float32", rng.random(50, "f4")) for i in range(30)]),  # a bundle
        flatbuffer([("same", "int32", np.arange(9000, dtype=np.int32) * 7)] * 2),  # lz across bytes, a repeat
    ]


# ------------------------------------------------------------------------------------------------ the same answers


@pytest.mark.parametrize("path", [*VALID, *HOSTILE], ids=lambda path: path.stem)
def test_a_golden_package_has_the_answer_of_the_reader_in_python(reader: NativeReader, path: Path) -> None:
    data = path.read_bytes()
    assert reader.read(data) == read_in_python(data)


@pytest.mark.parametrize("number", range(len(models())))
def test_a_packed_model_comes_back(reader: NativeReader, number: int) -> None:
    model = models()[number]
    metadata = {"name": "größe", "labels": ["cat", "dog"]}
    packed = pack(model, metadata=metadata)
    assert reader.read(packed) == ("OK", model)
    name, text = reader.metadata(packed)
    assert name == "OK"
    assert json.loads(text or b"") == metadata
    assert reader.metadata(pack(model)) == ("OK", b"")


def test_forged_packages_have_the_answers_of_the_reader_in_python(reader: NativeReader) -> None:
    rng, seen = random.Random(20), set()
    for _ in range(400):
        data = forged(rng)
        expected = read_in_python(data)
        assert reader.read(data) == expected
        seen.add(expected[0])
    # Such an experiment shows nothing if all packages fail at the same place.
    assert {"OK", "StreamCorrupt", "MetadataInvalid", "SizeMismatch", "BlockCorrupt", "SpanInvalid"} <= seen


def test_every_flipped_bit_and_every_truncation_is_refused(reader: NativeReader) -> None:
    packed = (GOLDEN / "valid" / "by_hand.armlet").read_bytes()
    for position in range(len(packed)):
        broken = bytearray(packed)
        broken[position] ^= 1 << position % 8
        for data in (bytes(broken), packed[:position]):
            assert reader.read(data) == read_in_python(data) != ("OK", None)


def test_metadata_are_nested_as_deep_as_the_format_says(reader: NativeReader) -> None:
    deepest = package_format.MAX_METADATA_DEPTH
    for depth, expected in ((deepest, "OK"), (deepest + 1, "MetadataInvalid")):
        text = make_golden.nested(depth)
        data = make_golden.build([b"\0" + text + make_golden.MODEL], [], metadata_size=len(text))
        assert reader.read(data)[0] == read_in_python(data)[0] == expected
        assert reader.metadata(data)[0] == expected


# ------------------------------------------------------------------------------------------------ the interface


def test_errors_have_the_names_of_the_specification_and_numbers_of_their_own(reader: NativeReader) -> None:
    numbers = {name: int(value) for name, value in re.findall(r"^    ARMLET_(\w+) = (-?\d+)", HEADER, re.M)}
    errors = {
        name: value
        for name, value in vars(package_format).items()
        if isinstance(value, type) and issubclass(value, package_format.PackageError)
    }
    named = {name.replace("_", "").lower(): value for name, value in numbers.items() if value > 0}
    assert {name.lower() for name in errors if name != "PackageError"} == set(named)
    assert len(set(numbers.values())) == len(numbers)
    for name in set(errors) - {"PackageError"}:
        assert reader.name(named[name.lower()]) == name
        assert reader.functions.armlet_strerror(named[name.lower()])
    assert reader.name(99) == reader.name(-99) == "UnknownError"
    assert reader.functions.armlet_strerror(99)


def test_limits_are_those_of_the_specification() -> None:
    source = "".join(path.read_text() for path in native.SOURCE.glob("*.c"))
    found = dict(re.findall(r"\b((?:MAX|MIN)_(?!BITS|MATCH)\w+) = ([^,\n ]+(?: << \d+)?)", source))
    found |= dict(re.findall(r"#define ((?:MAX|MIN)_\w+) \(\(uint64_t\)(1 << \d+)\)", source))
    assert set(found) >= {"MAX_SECTIONS", "MAX_SPANS", "MAX_METADATA_DEPTH", "MAX_TFLITE_SIZE"}
    for name, text in found.items():
        shifted = re.fullmatch(r"1 << (\d+)", text)
        assert (1 << int(shifted[1]) if shifted else int(text)) == getattr(package_format, name), name
    assert f"ARMLET_FORMAT_VERSION {package_format.FORMAT_VERSION}" in HEADER


def test_buffers_that_are_too_small_are_the_callers_mistake(reader: NativeReader) -> None:
    packed = pack(models()[4], metadata={"a": 1})
    _, size, scratch = reader.sizes(packed)
    assert reader.unpack(packed, size - 1, scratch)[0] == "OutputTooSmall"
    for less in (1, scratch // 2, scratch):
        assert reader.unpack(packed, size, scratch - less)[0] in ("ScratchTooSmall", "OK")
    assert reader.unpack(packed, size, 0)[0] == "ScratchTooSmall"
    # More than it takes is left alone.
    name, out = reader.unpack(packed, size + 100, scratch + 100)
    assert name == "OK"
    assert out == models()[4] + bytes(100)


def test_working_memory_is_small_where_the_skeleton_is(reader: NativeReader) -> None:
    rng = np.random.default_rng(5)
    model = flatbuffer([("w", "float32", clustered(rng, 500_000, 16, 0.6))])
    _, size, scratch = reader.sizes(pack(model))
    assert size == len(model)
    assert scratch < 4096 + PREPARED_SIZE
    for path in VALID:
        _, size, scratch = reader.sizes(path.read_bytes())
        assert scratch <= size + (3 << 20)


def test_sizes_may_be_asked_for_one_by_one(reader: NativeReader) -> None:
    packed, size = pack(models()[3]), ctypes.c_size_t()
    assert reader.functions.armlet_unpacked_size(packed, len(packed), None, None) == 0
    assert reader.functions.armlet_unpacked_size(packed, len(packed), ctypes.byref(size), None) == 0
    assert size.value == len(models()[3])


# ------------------------------------------------------------------------------------------------ the library


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_the_library_of_a_target_exports_its_interface_alone(machine: str, built: dict[str, Path]) -> None:
    folder = built[machine]
    shared = (folder / "lib" / "libarmlet.so").read_bytes()
    assert struct.unpack_from("<HH", shared, 16) == (3, MACHINES[machine])
    assert os.readlink(folder / "lib" / "libarmlet.so") == "libarmlet.so.1"
    assert (folder / "include" / "armlet.h").read_text() == HEADER
    declared = set(re.findall(r"^ARMLET_API .*?\b(armlet_\w+)\(", HEADER, re.M))
    assert declared == set(re.findall(r"armlet_\w+(?=;)", (native.SOURCE / "armlet.map").read_text()))
    if nm := shutil.which("nm"):
        lines = subprocess.run(
            [nm, "-D", "--defined-only", folder / "lib" / "libarmlet.so"], capture_output=True, text=True
        ).stdout
        assert {line.split()[-1].partition("@")[0] for line in lines.splitlines()} == declared


def test_every_machine_has_a_library(built: dict[str, Path]) -> None:
    assert set(built) == set(MACHINES)


def test_targets_may_be_called_as_compilers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiles(*words: str) -> None:
        Path(words[words.index("-o") + 1] if "-o" in words else words[2]).touch()

    monkeypatch.setattr(kernel, "run_zig", compiles)
    monkeypatch.setattr(kernel, "build_delegate", lambda _: native.HEADER)  # else it is kept for later
    made = native.build(tmp_path, ["aarch64-linux-gnu", "arm64", "arm-linux-gnueabihf"])
    assert [library.machine for library in made] == ["aarch64", "armv7l"]


def test_an_unknown_target_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["native", "-o", str(tmp_path), "--target", "riscv64"]) == 2
    assert "riscv64" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["native", "-o", str(tmp_path / "file"), "--target", "x86_64"]) == 2
    assert "file" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["native", "-o", str(tmp_path), "--target", "aarch64", "--json"]) == 0
    (library,) = json.loads(capsys.readouterr().out)["libraries"]
    assert library["machine"] == "aarch64"
    for name, size in library["sizes"].items():
        assert (Path(library["folder"]) / name).stat().st_size == size


# ------------------------------------------------------------------------------------------------ a program in C


def run_example(program: Path, *arguments: str | Path, under: tuple[str, ...] = ()) -> tuple[int, str, str]:
    done = subprocess.run([*under, program, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def expect_the_example_to_work(program: Path, folder: Path, under: tuple[str, ...] = ()) -> None:
    model = models()[3]
    (folder / "model.armlet").write_bytes(pack(model, metadata={"name": "three"}))
    status, out, err = run_example(program, folder / "model.armlet", folder / "model.tflite", under=under)
    assert (status, err) == (0, "")
    assert '{"name":"three"}' in out
    assert (folder / "model.tflite").read_bytes() == model
    status, _, err = run_example(
        program, GOLDEN / "hostile" / "BlockCorrupt--ends_before.armlet", folder / "none.tflite", under=under
    )
    assert status == 1
    assert "BlockCorrupt" in err
    assert not (folder / "none.tflite").exists()
    assert run_example(program, folder / "missing", under=under)[0] == 1
    assert run_example(program, under=under)[0] == 2


def test_the_example_links_with_pkg_config_and_unpacks(here: Path, tmp_path: Path) -> None:
    compiler, pkg_config = shutil.which("cc"), shutil.which("pkg-config")
    if not (compiler and pkg_config):
        pytest.skip("needs cc and pkg-config")
    said = subprocess.run(
        [pkg_config, "--cflags", "--libs", "armlet"],
        capture_output=True,
        check=True,
        env={**os.environ, "PKG_CONFIG_PATH": str(here / "lib" / "pkgconfig")},
    ).stdout
    # As a shell takes it, byte by byte: pkg-config puts a backslash before every byte beyond ASCII.
    flags = [os.fsdecode(word.encode("latin-1")) for word in shlex.split(said.decode("latin-1"))]
    program = tmp_path / "unpack"
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-Wl,-rpath,{here / 'lib'}")
    subprocess.run(
        [compiler, *strict, "-o", program, ROOT / "examples" / "unpack.c", *flags], check=True, timeout=60
    )
    expect_the_example_to_work(program, tmp_path)


@pytest.mark.parametrize("machine", ["aarch64", "armv7l"])
def test_the_example_runs_on_a_boards_processor(machine: str, built: dict[str, Path], tmp_path: Path) -> None:
    emulated.need_counting(machine)
    program, library = tmp_path / "unpack", built[machine]
    kernel.run_zig(
        *("cc", *kernel.TARGETS[machine], "-O1", "-o", str(program), str(ROOT / "examples" / "unpack.c")),
        *(f"-I{library / 'include'}", str(library / "lib" / "libarmlet.a")),
    )
    # The libc is the board's own.
    under = (tools.QEMU[machine], "-L", str(userland.root_folder(machine)))
    expect_the_example_to_work(program, tmp_path, under)


def test_the_reader_gets_along_with_a_stack_of_128_kib(here: Path, tmp_path: Path) -> None:
    source = tmp_path / "thread.c"
    source.write_text(
        "#define main example_main\n"
        f'#include "{ROOT / "examples" / "unpack.c"}"\n'
        "#undef main\n"
        "#include <pthread.h>\n"
        "static char **arguments;\n"
        "static void *work(void *unused) {\n"
        "    (void)unused;\n"
        "    return (void *)(long)example_main(3, arguments);\n"
        "}\n"
        "int main(int argc, char **argv) {\n"
        "    pthread_attr_t attributes; pthread_t thread; void *status;\n"
        "    (void)argc; arguments = argv;\n"
        "    pthread_attr_init(&attributes);\n"
        "    if (pthread_attr_setstacksize(&attributes, 128 << 10)) return 3;\n"
        "    if (pthread_create(&thread, &attributes, work, 0) || pthread_join(thread, &status)) return 3;\n"
        "    return (int)(long)status;\n"
        "}\n"
    )
    compiler, program = shutil.which("cc"), tmp_path / "thread"
    if compiler is None:
        pytest.skip("needs cc")
    library = here / "lib" / "libarmlet.a"
    subprocess.run(
        [compiler, "-O1", "-pthread", "-o", program, source, f"-I{here / 'include'}", library], check=True
    )
    for path in VALID:
        status, _, err = run_example(program, path, tmp_path / "model.tflite")
        assert (status, err) == (0, ""), path.stem


def test_sanitizers_find_nothing_in_golden_forged_and_fuzzed_inputs(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    program = tmp_path / "sanitized"
    sources = (
        ROOT / "tests" / "fuzz" / "package_fuzz.c",
        *sorted(native.SOURCE.glob("*.c")),
        kernel.source_path(),
    )
    command = ("-DSTANDALONE", "-g", "-O1", "-ffp-contract=off", *SANITIZERS, "-o", program, *sources)
    if compiler is None or subprocess.run([compiler, *command], capture_output=True).returncode:
        pytest.skip("needs a C compiler with AddressSanitizer and UBSan")
    rng, files = random.Random(30), [*VALID, *HOSTILE]
    for number in range(100):
        files.append(tmp_path / f"{number}.armlet")
        files[-1].write_bytes(forged(rng))
    status, out, err = run_example(program, *files)
    assert (status, err) == (0, "")
    assert out.split() == [read_in_python(path.read_bytes())[0] for path in files]


def test_a_broken_compiler_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert main(["native", "-o", str(tmp_path), "--target", "x86_64"]) == 2
    assert "compiler" in capsys.readouterr().err
    assert not list((tmp_path / "x86_64").iterdir())


def test_the_reader_in_python_refuses_what_its_packer_would_not_write() -> None:
    nested: dict[str, object] = {}
    for _ in range(package_format.MAX_METADATA_DEPTH):
        nested = {"a": nested}
    with pytest.raises(package_format.LimitExceeded, match="nested"):
        pack(b"", metadata=nested)
    assert package.read(pack(b"", metadata=nested["a"])).metadata == nested["a"]  # type: ignore[arg-type]
