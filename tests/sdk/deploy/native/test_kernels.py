"""The kernels for zeros in native programs: what `sdk native` ships runs in the wheels' runtimes, and an example in C
loads it.

No wheel has TensorFlow Lite's C library, so the example is linked to a stand-in (runtime.c), a fake of one layer.
"""

from __future__ import annotations

import importlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from device_agent.run.kernels import delegate
from device_agent.run.runtime import Model, find_runtime
from sdk.deploy import native
from sdk.deploy.provision import kernel
from sdk.package.pack import pack
from tests.device_agent.run.kernels.layers_with_zeros import classifier, sparse_matrix

ROOT = Path(__file__).parents[4]
HERE = Path(__file__).parent
SOURCES = Path(delegate.__file__).parent / "source"
WEIGHTS = sparse_matrix(64, 256, 0.05)
NETWORK = classifier([WEIGHTS])
EXPECTED = np.maximum(WEIGHTS @ (np.arange(256) % 10 / 10).astype(np.float32), 0.0)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `sdk native` writes for this computer."""
    (made,) = native.build(tmp_path_factory.mktemp("native"), [os.uname().machine])
    assert made.sizes[native.DELEGATE] == (Path(made.folder) / native.DELEGATE).stat().st_size > 10_000
    return Path(made.folder)


# ------------------------------------------------------------------------------------------- the runtime of a wheel


def claims(library: Path, **options: str) -> int:
    """How many operators of a network the shipped library runs in the real runtime, loaded as any external delegate."""
    _, interpreter_class = find_runtime()
    loaded = importlib.import_module(interpreter_class.__module__).load_delegate(str(library), options)
    row = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    answers = []
    for delegates in ([loaded], []):
        interpreter = interpreter_class(model_content=NETWORK, experimental_delegates=delegates)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        if delegates:
            pointer = loaded._get_native_delegate_pointer()  # noqa: SLF001 - no public method gives it
            count = delegate.load_library(str(library)).armlet_operators(pointer, None, 0)
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)
    return int(count)


@pytest.mark.parametrize(
    ("environment", "options", "count"),
    [
        (None, {}, 1),
        (None, {"kernels": "runtime"}, 0),
        ("runtime", {}, 0),
        ("runtime", {"kernels": "armlet"}, 1),
        ("armlet", {"kernels": "runtime"}, 0),
        ("auto", {}, 1),
    ],
)
def test_the_shipped_library_follows_the_switch_in_the_real_runtime(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None, options: dict, count: int
) -> None:
    monkeypatch.delenv(delegate.CHOICE_VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(delegate.CHOICE_VARIABLE, environment)
    assert claims(shipped / native.DELEGATE, **options) == count


def test_another_choice_is_refused_with_its_name(shipped: Path) -> None:
    with pytest.raises(ValueError, match="kernels are auto, runtime or armlet"):
        claims(shipped / native.DELEGATE, kernels="fastest")


def test_the_agent_uses_the_kernels_that_a_call_asks_for_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, c_delegate: Path
) -> None:
    monkeypatch.setenv(delegate.CHOICE_VARIABLE, "runtime")
    assert len(Model(NETWORK, kernels="armlet").armlet_operators()) == 1


# ---------------------------------------------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def example(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example, built with the stand-in, and of a package for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs cc")
    folder = tmp_path_factory.mktemp("example")
    model = struct.pack("<II", *WEIGHTS.shape) + WEIGHTS.astype("<f4").tobytes()
    (folder / "model.armlet").write_bytes(pack(model))
    runtime = folder / "libtensorflowlite_c.so"
    shared = [compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", f"-I{HERE}", f"-I{SOURCES}"]
    subprocess.run([*shared, "-o", runtime, HERE / "runtime.c"], check=True, timeout=60)
    strict = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{HERE}", f"-I{shipped / 'include'}")
    linked = (shipped / "lib" / "libarmlet.a", runtime, "-ldl", f"-Wl,-rpath,{folder}")
    subprocess.run(
        [compiler, *strict, "-o", folder / "kernels", ROOT / "examples" / "kernels.c", *linked],
        check=True,
        timeout=60,
    )
    return folder


def run(example: Path, library: Path, *choice: str, **environment: str) -> tuple[int, list[str], str]:
    """Status, lines and errors of the example."""
    known = {key: value for key, value in os.environ.items() if key != delegate.CHOICE_VARIABLE}
    done = subprocess.run(
        [example / "kernels", example / "model.armlet", *choice],
        env={**known, delegate.VARIABLE: str(library), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def expect_answers(lines: list[str], operators: int) -> None:
    assert lines[0] == f"{operators} operators in kernels of Armlet"
    np.testing.assert_allclose(np.array(lines[1:], np.float64), EXPECTED, rtol=1e-4, atol=1e-5)


def test_the_example_runs_with_and_without_by_argument_and_by_environment(
    example: Path, shipped: Path
) -> None:
    library = shipped / native.DELEGATE
    for choice, count in (("runtime", 0), ("armlet", 1)):
        for words, environment in (((choice,), {}), ((), {delegate.CHOICE_VARIABLE: choice})):
            status, lines, errors = run(example, library, *words, **environment)
            assert (status, errors) == (0, "")
            expect_answers(lines, count)
    assert run(example, library, "fastest")[0] == 2


def test_left_to_itself_the_example_times_both_and_keeps_the_faster(example: Path, shipped: Path) -> None:
    status, lines, errors = run(example, shipped / native.DELEGATE)
    assert (status, errors) == (0, "")
    told = lines[0].replace(",", "").split()
    assert (told[0], told[3]) == ("runtime", "armlet")
    expect_answers(lines[1:], int(float(told[4]) < 0.95 * float(told[1])))


@pytest.mark.parametrize(
    ("library", "version", "reason"),
    [
        ("/nowhere/delegate.so", "2.14.0", "/nowhere/delegate.so"),
        (None, "2.17.0", "know TensorFlow Lite 2.14 and 2.22 (LiteRT 2.3) only"),
    ],
)
def test_where_there_are_no_kernels_the_example_runs_without_and_says_why(
    example: Path, shipped: Path, library: str | None, version: str, reason: str
) -> None:
    path = Path(library or shipped / native.DELEGATE)
    status, lines, errors = run(example, path, STANDIN_VERSION=version)
    assert status == 0
    assert reason in errors
    expect_answers(lines, 0)
    assert run(example, path, "armlet", STANDIN_VERSION=version)[0] == 1


def test_the_header_declares_what_the_library_has(shipped: Path, tmp_path: Path) -> None:
    header = native.DELEGATE_HEADER.read_text()
    assert f"#define ARMLET_KERNELS_VERSION {delegate.VERSION}\n" in header
    for name in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate", "armlet_operators"):
        assert f'"{name}"' in header
        assert getattr(delegate.load_library(str(shipped / native.DELEGATE)), name)
    fields = ("node", "code", "block", "centroids", "weights", "kept", "bytes", "nanoseconds", "calls")
    same = "".join(
        f'_Static_assert(offsetof(armlet_operator, {name}) == offsetof(Report, {name}), "{name}");\n'
        for name in fields
    )
    source = tmp_path / "same.c"
    source.write_text(
        f'#include "{native.DELEGATE_HEADER}"\n#include "{SOURCES / "images.h"}"\n{same}'
        '_Static_assert(sizeof(armlet_operator) == sizeof(Report), "size");\n'
    )
    kernel.run_zig(
        "cc", *kernel.TARGETS["armv7l"], "-std=gnu11", "-c", "-o", str(tmp_path / "same.o"), str(source)
    )
