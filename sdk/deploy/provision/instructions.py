"""Instructions that an ARM core executes for an inference, or to decode a package, counted under emulation.

The emulator's clock means nothing, but the instructions are those that the real core would execute: same machine code,
same kernels chosen by the runtime. The count does not depend on how busy the host is, and is the same to within a few
hundred from run to run. It is not a latency: it says nothing about caches, memory, or how many instructions a core
retires per cycle. It shows work done or saved.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_agent
from device_agent.record.schema import parse_json, read, record
from sdk.board import emulation
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_counted
from sdk.board.emulation.userland import prefix
from sdk.board.facts import Facts
from sdk.deploy.provision.downloading import sha256_of
from sdk.deploy.provision.kernel import build
from sdk.deploy.provision.wheels import Environment, choose_runtime, fetch_environment, tree_digest
from sdk.errors import BoardError
from sdk.tools.progress import Progress, silent

#: The first inference is not counted: it allocates what later ones reuse.
WARM_UP = 1
INFERENCES = 3
_XNNPACK_CREATED = "Created TensorFlow Lite XNNPACK delegate"
#: What Debian 12 has, and so every userland that is emulated here.
_PYTHON, _GLIBC = (3, 11, 2), (2, 36)
_MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
_GUESTS = Path(emulation.__file__).parent


@dataclass(frozen=True)
class InferenceCount:
    """Instructions per inference; ``samples`` are the counted inferences in order, of one thread."""

    instructions: int
    samples: tuple[int, ...]
    #: From the program's start (Python, numpy, the model, its weights packed) up to the first inference.
    start_instructions: int
    runtime: str
    runtime_version: str
    cpu: str
    #: False: the runtime was not told which core it runs on, and took the kernels meant for any.
    identified: bool
    #: "xnnpack"; "none" on 32-bit ARM, whose wheel of tflite-runtime 2.14 was built without it.
    delegate: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; counts are instructions."""
        return {**self.__dict__, "samples": list(self.samples), "threads": 1, "emulated": True}


def count_inference(
    tflite: bytes,
    *,
    runtime: str = "ai-edge-litert",
    version: str | None = None,
    cpu: str = "cortex-a72",
    identified: bool = True,
    inferences: int = INFERENCES,
    userland: Path | None = None,
    delegate: Path | None = None,
    progress: Progress = silent,
) -> InferenceCount:
    """Runs a ``.tflite`` on an emulated core with one thread and counts.

    ``userland`` is a prepared folder (:func:`sdk.board.emulation.userland.prefix`); by default the cached one, built
    where there is none. ``delegate`` is the library of Armlet's kernels for that core, where these are to run; the use
    of XNNPACK is then not checked. ``cpu`` is QEMU's name of a core. Raises BoardError where a tool is missing, the
    model does not run, or the runtime ran without XNNPACK, and ProvisionError where its wheels cannot be fetched.
    """
    core = find_core(cpu)
    machine = "aarch64" if core.bits == 64 else "armv7l"
    environment = runtime_environment(machine, runtime, version, progress=progress)
    site_packages = unpacked(environment)
    root = userland or prefix(machine, core, identified=identified, progress=progress)
    with tempfile.TemporaryDirectory(prefix="armlet-count-") as temporary:
        model = Path(temporary) / "model.tflite"
        model.write_bytes(tflite)
        arguments = [str(_GUESTS / "guest_inference.py"), str(site_packages), _MODULES[environment.runtime]]
        arguments += [str(model), str(WARM_UP + inferences), *([str(delegate)] if delegate else [])]
        progress(f"count instructions on {cpu}", 0, 0)
        totals, _, messages = run_counted(
            machine,
            core,
            root,
            ["/usr/bin/python3", "-sS", *arguments],
        )
    used = "xnnpack" if _XNNPACK_CREATED in messages else "none"
    if used == "none" and machine == "aarch64" and delegate is None:
        raise BoardError(
            "the runtime ran without XNNPACK, so its count says nothing of what a board executes",
            expected=f'"{_XNNPACK_CREATED}" among its messages',
            found=" ".join(messages.split())[-200:] or "no message",
        )
    return InferenceCount(
        *per_inference(totals),
        runtime=environment.runtime,
        runtime_version=environment.runtime_version,
        cpu=cpu,
        identified=identified,
        delegate=used,
    )


def per_inference(totals: list[int]) -> tuple[int, tuple[int, ...], int]:
    """Median, samples and start from the running totals of guest_inference.py, without what the marks cost."""
    mark = totals[1] - totals[0]
    ends = totals[2:-1]  # the last total is the end of the program
    samples = tuple(after - before - mark for before, after in itertools.pairwise(ends))[WARM_UP:]
    if not samples or min(samples) <= 0:
        raise BoardError("the emulated program did not mark its inferences", found=f"totals {totals[:8]}")
    return statistics.median_low(samples), samples, totals[0]


@dataclass(frozen=True)
class DecodeCount:
    """Instructions of decoding a package with the C decoder. ``weights`` are the elements of its coded sections.

    ``kernel_instructions`` are the C decoder's; ``unpack_instructions`` include checks, digests and Python.
    """

    kernel_instructions: int
    unpack_instructions: int
    weights: int
    #: One per section: layout, elements, bytes, instructions.
    sections: tuple[tuple[str, int, int, int], ...]
    cpu: str

    @property
    def instructions_per_weight(self) -> float:
        """Instructions of the kernel for each weight that it decodes."""
        return self.kernel_instructions / max(1, self.weights)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; counts are instructions."""
        return {
            **self.__dict__,
            "sections": [list(section) for section in self.sections],
            "instructions_per_weight": self.instructions_per_weight,
            "emulated": True,
        }


def count_decoding(
    package: bytes,
    *,
    cpu: str = "cortex-a72",
    progress: Progress = silent,
) -> DecodeCount:
    """Decodes a package on an emulated core with the board's C decoder and counts.

    Raises BoardError where a tool is missing or decoding fails there.
    """
    core = find_core(cpu)
    machine = "aarch64" if core.bits == 64 else "armv7l"
    # tflite-runtime's environment is the smaller one; only its numpy is used.
    site_packages = unpacked(runtime_environment(machine, "tflite-runtime", progress=progress))
    root = prefix(machine, core, progress=progress)
    kernel = build(machine)
    with tempfile.TemporaryDirectory(prefix="armlet-count-") as temporary:
        path = Path(temporary) / "model.armlet"
        path.write_bytes(package)
        agent = Path(device_agent.__file__).parent.parent
        arguments = [str(_GUESTS / "guest_decode.py"), str(site_packages), str(agent), str(kernel), str(path)]
        progress(f"count the decoder's instructions on {cpu}", 0, 0)
        totals, answer, _ = run_counted(machine, core, root, ["/usr/bin/python3", "-sS", *arguments])
    said = parse_json(answer, what="the answer of the emulated decoder", error=BoardError)
    return per_section(totals, read(Decoded, said), cpu)


@record(what="the answer of the emulated decoder", error=BoardError)
@dataclass(frozen=True)
class Decoded:
    """The output of guest_decode.py: bytes per call of the C decoder; layout, numbers and bytes per section."""

    calls: tuple[int, ...]
    sections: tuple[tuple[str, int, int], ...]


def per_section(totals: list[int], answer: Decoded, cpu: str) -> DecodeCount:
    """Sections and sums from the running totals of guest_decode.py, without what the marks cost."""
    mark = totals[1] - totals[0]
    calls = list(answer.calls)
    counted = [totals[2 * i + 3] - totals[2 * i + 2] - mark for i in range(len(calls))]
    # A byte-wise section (LZ) has its own decoder in Python; the C decoder is not called for it.
    sections = list(answer.sections)
    if len(sections) != len(calls):
        sections = [section for section in sections if section[0] != "lz"]
    if [size for _, _, size in sections] != calls:
        raise BoardError(
            "the emulated decoder did not decode every section once", found=f"{len(calls)} calls"
        )
    return DecodeCount(
        kernel_instructions=sum(counted),
        unpack_instructions=totals[2 * len(calls) + 3] - totals[2 * len(calls) + 2] - mark,
        weights=sum(count for _, count, _ in sections),
        sections=tuple((*section, n) for section, n in zip(sections, counted, strict=True)),
        cpu=cpu,
    )


def runtime_environment(
    machine: str,
    runtime: str,
    version: str | None = None,
    *,
    progress: Progress = silent,
) -> Environment:
    """The wheels of a runtime for an emulated board, from the cache or fetched. Raises ProvisionError."""
    facts = Facts(
        home="/",
        machine=machine,
        system="Linux",
        python=_PYTHON,
        python_implementation="cpython",
        pointer_bits=64 if machine == "aarch64" else 32,
        python_abi_flags="",
        glibc=_GLIBC,
        libc="glibc",
        free_disk_bytes=None,
        memory_bytes=None,
        os_name="",
        model="",
        cores=0,
        cpu_features=(),
        max_clocks_hz=(),
        numpy_folder="/usr/lib/python3/dist-packages",
    )
    chosen = choose_runtime(facts, name=runtime, version=version)  # as it was chosen for the board, if it was
    return fetch_environment(chosen, facts, progress=progress)


def unpacked(environment: Environment) -> Path:
    """The environment's files in a folder beside its archive, all of them as they were packed; bytecode that is
    compiled there is kept. What is damaged is unpacked again."""
    folder = environment.archive.with_name(environment.digest)
    if folder.is_dir() and not _is_whole(folder):
        shutil.rmtree(folder)
    if not folder.is_dir():
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        with tarfile.open(environment.archive) as archive:
            archive.extraction_filter = getattr(
                tarfile, "data_filter", None
            )  # where this Python has it (PEP 706)
            archive.extractall(temporary)
        try:
            temporary.replace(folder)
        except OSError:  # another process was first; its folder holds the same
            if not folder.is_dir():
                raise
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the files of an unpacked environment are those that its name is the digest of."""
    files = {}
    try:
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                executable = bool(path.stat().st_mode & 0o100)
                files[path.relative_to(folder).as_posix()] = (sha256_of(path), executable)
    except OSError:
        return False
    return tree_digest(files) == folder.name
