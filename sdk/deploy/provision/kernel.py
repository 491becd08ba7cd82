"""Builds the C decoder (device_agent/package/huffman.c) and the delegate (device_agent/run/kernels) for a board's
processor, with the compiler of the ziglang wheel.

Nothing is fetched: zig carries headers and start files of every target. The library links to nothing (the two functions
it needs, memcpy and memset, are in every Python process), so that one file serves any libc version. Builds are kept
under ``$XDG_CACHE_HOME/armlet/kernels`` by a digest of source, target and flags, each with its own digest beside it: a
board could not tell a damaged library from one that does not run there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import device_agent
from sdk.errors import ArmletError
from sdk.tools.system import folders
from sdk.tools.system.files import write_file
from sdk.tools.system.locks import lock
from sdk.tools.system.programs import processors

# `uname -m` of the board -> target of zig cc, and the processor's baseline
TARGETS: dict[str, tuple[str, ...]] = {
    "x86_64": ("-target", "x86_64-linux-gnu", "-mcpu=x86_64"),
    "aarch64": ("-target", "aarch64-linux-gnu", "-mcpu=generic"),
    # VFP and Thumb-2, as every ARMv7 Linux distribution demands; no NEON, which would flush denormal weights.
    "armv7l": ("-target", "arm-linux-gnueabihf", "-mcpu=generic+v7a+vfp3d16"),
}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}
FLAGS = (
    "-std=c11",
    "-O3",
    "-ffp-contract=off",  # a fused multiply-add would round the scaled weights differently
    "-fno-sanitize=all",  # zig turns traps on by default
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-fvisibility=hidden",
    "-Wl,-s",
)
_SECONDS = 120
#: Of many boards that are made ready at once, the first has the decoder built that all of them need.
_BUILDING = threading.Lock()


class KernelBuildError(ArmletError):
    """The C decoder cannot be built for this target, or the compiler is missing or failed."""


def cache_folder() -> Path:
    """The folder of built kernels."""
    return folders.cache_folder("kernels")


def source_path() -> Path:
    """huffman.c, as installed."""
    return Path(device_agent.__file__).parent / "package" / "huffman.c"


def target_of(machine: str) -> str:
    """The key of TARGETS for what `uname -m` says; raises :class:`KernelBuildError`."""
    name = machine.lower()
    name = _ALIASES.get(name, name)
    if name not in TARGETS:
        raise KernelBuildError(
            "no C code for this processor",
            expected=", ".join(TARGETS),
            found=machine,
            hint="Everything works without: numpy decodes, and the runtime's kernels run.",
        )
    return name


def build(machine: str | None = None, *, folder: Path | None = None) -> Path:
    """Path of the shared library for ``machine`` (as `uname -m` says; this computer's by default).

    Compiles where the cache (``folder``) does not hold it. Raises :class:`KernelBuildError`.
    """
    target = target_of(machine or platform.machine())
    source = source_path()
    digest = hashlib.sha256(source.read_bytes() + repr((TARGETS[target], FLAGS)).encode()).hexdigest()
    folder = folder or cache_folder()
    result = folder / f"huffman-{target}-{digest[:16]}.so"
    return _kept(result, lambda scratch: _compile(target, source, scratch / "kernel.so", folder))


def _kept(result: Path, compile_into: Callable[[Path], Path]) -> Path:
    """The library of the cache, compiled where it is not there as it was made. Of threads and processes that want it at
    once one compiles; a build that was cut short leaves no half library, because it has a folder of its own."""
    with _BUILDING:
        if _is_whole(result):
            return result
        result.parent.mkdir(parents=True, exist_ok=True)
        with (result.parent / "building").open("wb") as building:
            lock(building.fileno())
            if _is_whole(result):  # while this process waited
                return result
            with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
                library = compile_into(Path(scratch)).read_bytes()
            write_file(result, library)
            write_file(_digest_of(result), hashlib.sha256(library).hexdigest().encode())
    return result


def _digest_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _is_whole(library: Path) -> bool:
    """Whether a library is in the cache as it was compiled."""
    try:
        return hashlib.sha256(library.read_bytes()).hexdigest().encode() == _digest_of(library).read_bytes()
    except OSError:
        return False


#: Of the delegate: what its sources are compiled with, by target, and linked with. Headers are zig's; nothing is linked
#: to, since every process that loads a runtime has the C library.
DELEGATE_TARGETS: dict[str, tuple[str, ...]] = {
    "x86_64": (
        "-target",
        "x86_64-linux-gnu",
        "-mcpu=x86_64_v3",
    ),  # AVX2 and FMA; delegate.c asks whether they are there
    "aarch64": ("-target", "aarch64-linux-gnu", "-mcpu=generic"),
    "armv7l": ("-target", "arm-linux-gnueabihf", "-mcpu=generic+v7a+neon"),
}
_DELEGATE_FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fPIC",
    "-fvisibility=hidden",
    "-g0",
)
#: For PCs these are compiled a second time, for AVX-512; the delegate takes what the processor has.
_WIDE_SOURCES = ("planes.c", "sparse.c", "windows.c")
_WIDE_TARGET = ("-target", "x86_64-linux-gnu", "-mcpu=x86_64_v4", "-mprefer-vector-width=512")
_DELEGATE_LINKED = ("-shared", "-nostdlib", "-Wl,-s")
#: ARMv7 divides by functions of the compiler's own library.
_MORE_LINKED = {"armv7l": ("-rtlib=compiler-rt",)}


def delegate_sources() -> tuple[Path, ...]:
    """The C files of the delegate, as installed."""
    return tuple(sorted((Path(device_agent.__file__).parent / "run" / "kernels" / "source").rglob("*.[ch]")))


def build_delegate(machine: str | None = None, *, folder: Path | None = None) -> Path:
    """Path of libarmlet_delegate (device_agent/run/kernels) for ``machine``; as :func:`build`."""
    target = target_of(machine or platform.machine())
    sources = delegate_sources()
    linked = (*_DELEGATE_LINKED, *_MORE_LINKED.get(target, ()))
    flags = repr((DELEGATE_TARGETS[target], _WIDE_TARGET, _DELEGATE_FLAGS, linked)).encode()
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources) + flags).hexdigest()
    folder = folder or cache_folder()
    result = folder / f"armlet_delegate-{target}-{digest[:16]}.so"

    def compile_into(scratch: Path) -> Path:
        compiled = [(source, "", DELEGATE_TARGETS[target]) for source in sources if source.suffix == ".c"]
        if target == "x86_64":
            compiled += [
                (source, "_wide", _WIDE_TARGET) for source in sources if source.name in _WIDE_SOURCES
            ]

        def compile_one(source: Path, variant: str, options: Sequence[str]) -> str:
            made = f"{scratch}/{source.stem}{variant}.o"
            run_zig("cc", *options, *_DELEGATE_FLAGS, "-c", "-o", made, str(source), folder=folder)
            return made

        with ThreadPoolExecutor(processors()) as threads:
            objects = list(threads.map(compile_one, *zip(*compiled, strict=True)))
        output = scratch / "delegate.so"
        run_zig("cc", *DELEGATE_TARGETS[target], *linked, "-o", str(output), *objects, folder=folder)
        return output

    return _kept(result, compile_into)


def _compile(target: str, source: Path, output: Path, folder: Path) -> Path:
    run_zig("cc", *TARGETS[target], *FLAGS, "-o", str(output), str(source), folder=folder)
    return output


def run_zig(*arguments: str, folder: Path | None = None) -> None:
    """Runs a tool of the ziglang wheel, such as ``cc`` or ``ar``, on paths; ``folder`` holds its cache.

    Raises :class:`KernelBuildError` with the first line of the tool's output.
    """
    if find_spec("ziglang") is None:
        raise KernelBuildError(
            "the ziglang wheel is not installed", hint="pip install 'armlet[host]', or ziglang alone."
        )
    cache = str((folder or cache_folder()) / "zig")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelBuildError("the compiler did not run", found=str(error)) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise KernelBuildError("the C sources do not compile", found=lines[0])
