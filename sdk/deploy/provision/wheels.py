"""The runtime of a board as one archive: wheels fetched by pip on the host, trimmed, packed, and kept.

The board has no pip and no internet, so the host fetches wheels of the board's Python, C library and processor, those
whose hashes :mod:`sdk.deploy.provision.locked` pins, unpacks them, leaves out what an interpreter does not need, and
packs the rest into one gzipped tar whose name is the digest of its content. Wheels and archives are kept under
``$XDG_CACHE_HOME/armlet``: what was fetched once is provisioned later with no network.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Kind, Text
from device_agent.record.named_kinds import Sha256
from device_agent.record.schema import parse_json, read, record, write
from sdk.board.facts import Facts
from sdk.deploy.provision.downloading import fetch_locked, fetch_unpinned, least_glibc, sha256_of
from sdk.deploy.provision.locked import LockedEnvironment, WheelName, refuse_unpinned, shipped_lock
from sdk.errors import DataError, ProvisionError
from sdk.tools.progress import Progress
from sdk.tools.system.files import write_file
from sdk.tools.system.folders import cache_folder

#: None of our wheels unpacks to more than this many bytes.
MAX_WHEEL_BYTES = 1 << 30

_ENVIRONMENT_SCHEMA = "armlet.environment/2"
#: Of many boards that are made ready at once, the first fetches what all of them need.
_FETCHING = threading.Lock()


@dataclass(frozen=True)
class Runtime:
    """A TFLite runtime on the package index: where its wheels run, and which numpy it needs."""

    name: str
    version: str
    #: Lowest and highest Python that has wheels, inclusive.
    pythons: tuple[tuple[int, int], tuple[int, int]]
    architectures: tuple[str, ...]
    numpy: str
    #: Somebody named this version, so it may be one whose wheels are not pinned.
    named: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the lock has wheels of this version."""
        return self.version in shipped_lock().versions(self.name)


#: In the order of preference where a board's file names none: tflite-runtime 2.14.0, its last release, is small and
#: has wheels for old boards; it was built against numpy 1 and fails under numpy 2 as soon as a model is loaded.
RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "tflite-runtime", "2.14.0", ((3, 8), (3, 11)), ("aarch64", "armv7l", "x86_64"), "numpy>=1.23.2,<2"
        ),
        Runtime("ai-edge-litert", "2.3.0", ((3, 10), (3, 14)), ("aarch64", "x86_64"), "numpy>=1.23.2"),
    )
}

#: The package index has wheels of numpy for these. Elsewhere (32-bit ARM) the board's own numpy is used.
NUMPY_ARCHITECTURES = ("aarch64", "x86_64")

#: Left out of a board's environment, by the path inside the wheel. The interpreter imports and runs without them.
TRIMMED = (
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # 19 MB; GPU through WebGPU
    "ai_edge_litert/aot/*",
    "ai_edge_litert/vendors/*",
    "ai_edge_litert/tools/*",
    "numpy/*/tests/*",
    "numpy/tests/*",
    "numpy/f2py/*",
    "numpy/distutils/*",
    "numpy/*/include/*",
    "*/_core/lib/*",
    "numpy/core/lib/*",
    "numpy/doc/*",
    "*.pyi",
    "*.pxd",
    "*.h",
    "*.a",
    "*.dist-info/RECORD",
    "*.data/scripts/*",
)


@dataclass(frozen=True)
class _NameBeside(Kind):
    """A file in the folder of its record, which names it without the folder."""

    @property
    def expected(self) -> str:
        return "the name of a file"

    def read(self, value: Any) -> Path:
        return Path(Text(255, 1, "[^/]+", self.expected).read(value))

    def write(self, value: Path) -> str:
        return value.name


if TYPE_CHECKING:
    Archive = Path
else:
    Archive = _NameBeside()


@record(_ENVIRONMENT_SCHEMA, "a runtime in the cache")
@dataclass(frozen=True)
class Environment:
    """One archive for one kind of board. ``digest`` is of its files; ``archive_sha256`` of the .tar.gz itself."""

    runtime: str
    runtime_version: str
    python: tuple[int, int]
    architecture: str
    #: The least C library that its wheels ask for.
    glibc: tuple[int, int]
    #: Name and SHA-256 of each.
    wheels: tuple[tuple[WheelName, Sha256], ...]
    digest: Sha256
    archive: Archive
    archive_sha256: Sha256
    archive_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True)
class Tree:
    """Files that go to a board together: ``digest`` of their paths, modes and bytes, and the .tar.gz of them."""

    digest: str
    archive: bytes
    unpacked_bytes: int

    @property
    def archive_sha256(self) -> str:
        """SHA-256 of the archive, in hexadecimal digits."""
        return hashlib.sha256(self.archive).hexdigest()


# -- choosing -------------------------------------------------------------------------------------------------------


def choose_runtime(
    facts: Facts,
    *,
    name: str | None = None,
    version: str | None = None,
    preferred: Sequence[tuple[str, str]] = (),
) -> Runtime:
    """The runtime for a board: the one that is named, else the first of ``preferred`` (name, version) that has
    wheels for it, else the first of RUNTIMES that has. Raises ProvisionError with the reason for each that has not.

    A ``version`` goes with a ``name``, and may be one that is not pinned; any other must be.
    """
    if version is not None and name is None:
        raise ProvisionError("a version of no runtime", expected="--runtime beside --runtime-version")
    if name is not None:
        of_file = [(n, v) for n, v in preferred if n == name] or [(_known(name).name, _known(name).version)]
        preferred = [(name, version)] if version is not None else of_file
    candidates = [_with_version(*choice) for choice in preferred] or list(RUNTIMES.values())
    reasons = []
    for runtime in (replace(one, named=version is not None) for one in candidates):
        reason = why_not(runtime, facts)
        if reason is None and not runtime.named and not runtime.pinned:
            raise refuse_unpinned(runtime.name, runtime.version)
        if reason is None:
            return runtime
        reasons.append(f"{runtime.name}: {reason}")
    raise ProvisionError(
        "no runtime has wheels for this board",
        expected=" or ".join(f"{r.name} {r.version}" for r in candidates),
        found="; ".join(reasons),
        hint="Python 3.8 to 3.14 with glibc, on aarch64 or armv7l, has one.",
    )


def _known(name: str) -> Runtime:
    if name not in RUNTIMES:
        raise ProvisionError("this is not a runtime", expected=" or ".join(RUNTIMES), found=repr(name)[:60])
    return RUNTIMES[name]


def _with_version(name: str, version: str) -> Runtime:
    known = _known(name)
    return Runtime(name, version, known.pythons, known.architectures, known.numpy)


def why_not(runtime: Runtime, facts: Facts) -> str | None:
    """Why a board cannot have a runtime; None when it can, as far as facts tell."""
    low, high = runtime.pythons
    if facts.python is None:
        return "the board has no python3"
    if facts.python_implementation != "cpython" or "t" in facts.python_abi_flags:
        return f"needs the ordinary CPython, found {facts.python_implementation} {facts.python_abi_flags}".strip()
    if not low <= facts.python[:2] <= high:
        return f"needs Python {_dotted(low)} to {_dotted(high)}, found {_dotted(facts.python)}"
    if facts.wheel_architecture not in runtime.architectures:
        return f"needs {', '.join(runtime.architectures)}, found {facts.wheel_architecture}"
    if facts.glibc is None:
        return f"needs glibc, found {facts.libc}"
    if facts.wheel_architecture not in NUMPY_ARCHITECTURES and facts.numpy_folder is None:
        return f"needs the system's numpy on {facts.wheel_architecture} (on the board: apt-get install python3-numpy)"
    pinned = shipped_lock().of(runtime.name, runtime.version, facts.python[:2], facts.wheel_architecture)
    if pinned and pinned[-1].glibc > facts.glibc:
        return f"needs glibc {_dotted(pinned[-1].glibc)}, found {_dotted(facts.glibc)}"
    return None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


# -- fetching -------------------------------------------------------------------------------------------------------


def fetch_environment(
    runtime: Runtime, facts: Facts, *, cache: Path | None = None, progress: Progress | None = None
) -> Environment:
    """The archive for a board, from the cache or, the first time, from the package index through pip.

    Of ``facts`` only Python, architecture and glibc matter. Raises ProvisionError, also for wheels that the lock does
    not have, unless the runtime's version was named.
    """
    reason = why_not(runtime, facts)
    if reason is not None:
        raise ProvisionError(f"{runtime.name} {runtime.version} cannot run on this board", found=reason)
    with _FETCHING:
        return cached_environment(runtime, facts, cache=cache) or _fetch(runtime, facts, cache, progress)


def whole_environment(
    runtime: Runtime, facts: Facts, environment: Environment, progress: Progress | None = None
) -> Environment:
    """The environment, its archive read and found as it was packed; one that is damaged in this computer's cache is
    packed again. Raises ProvisionError. To be asked before it is sent: reading takes its time."""
    try:
        found = hashlib.sha256(environment.archive.read_bytes()).hexdigest()
    except OSError:
        found = ""
    if found == environment.archive_sha256:
        return environment
    environment.archive.unlink(missing_ok=True)
    again = fetch_environment(runtime, facts, cache=environment.archive.parents[1], progress=progress)
    if again.digest != environment.digest:
        raise ProvisionError(
            f"{runtime.name} in this computer's cache was damaged, and the fetched one is not that of the lock",
            expected=environment.digest[:16],
            found=again.digest[:16],
            hint=f"Remove {environment.archive.parents[1]} and deploy again.",
        )
    return again


def _fetch(runtime: Runtime, facts: Facts, cache: Path | None, progress: Progress | None) -> Environment:
    assert facts.python is not None and facts.glibc is not None  # noqa: PT018 - why_not has seen to it
    folder = cache if cache is not None else cache_folder()
    python = facts.python[:2]
    if progress is not None:
        progress(f"fetch {runtime.name}", 0, 0)
    locked = _locked(runtime, facts)
    if locked is not None:
        wheels = fetch_locked(locked, facts.glibc, folder / "wheels")
    elif not runtime.named:
        raise refuse_unpinned(runtime.name, runtime.version)
    else:
        wanted = [f"{runtime.name}=={runtime.version}"]
        wanted += [runtime.numpy] if facts.wheel_architecture in NUMPY_ARCHITECTURES else []
        wheels = fetch_unpinned(wanted, python, facts.wheel_architecture, facts.glibc, folder / "wheels")
    if progress is not None:
        progress(f"pack {runtime.name}", 0, 0)
    files = trimmed_files(wheels)
    tree = pack_tree(files)
    archive = folder / "environments" / f"{tree.digest}.tar.gz"
    environment = Environment(
        runtime=runtime.name,
        runtime_version=runtime.version,
        python=python,
        architecture=facts.wheel_architecture,
        glibc=max(least_glibc(wheel.name) for wheel in wheels),
        wheels=tuple(sorted((wheel.name, sha256_of(wheel)) for wheel in wheels)),
        digest=tree.digest,
        archive=archive,
        archive_sha256=tree.archive_sha256,
        archive_bytes=len(tree.archive),
        unpacked_bytes=tree.unpacked_bytes,
    )
    _write(archive, tree.archive)
    _write(_record_path(runtime, facts, folder), json.dumps(write(environment), indent=1).encode())
    return environment


def cached_environment(runtime: Runtime, facts: Facts, *, cache: Path | None = None) -> Environment | None:
    """The environment that an earlier fetch left for such a board; None when there is none, none that runs on its
    glibc, or other wheels than the lock has for it."""
    if facts.python is None or facts.glibc is None:
        return None
    locked = _locked(runtime, facts)
    environment = read_environment(
        _record_path(runtime, facts, cache if cache is not None else cache_folder())
    )
    if environment is None or environment.glibc > facts.glibc:
        return None
    if locked is None:
        return environment if runtime.named else None
    return environment if environment.wheels == _files(locked) else None


def _locked(runtime: Runtime, facts: Facts) -> LockedEnvironment | None:
    """What the lock has for such a board."""
    assert facts.python is not None and facts.glibc is not None  # noqa: PT018 - who calls has seen to it
    return shipped_lock().find(
        runtime.name, runtime.version, facts.python[:2], facts.wheel_architecture, facts.glibc
    )


def _files(locked: LockedEnvironment) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((wheel.file, wheel.sha256) for wheel in locked.wheels))


def _record_path(runtime: Runtime, facts: Facts, folder: Path) -> Path:
    """Where the cache says what it has for such boards: one file for each least C library of the lock."""
    assert facts.python is not None
    locked = _locked(runtime, facts)
    name = f"{runtime.name}-{runtime.version}-cp{facts.python[0]}{facts.python[1]}-{facts.wheel_architecture}"
    kind = "unpinned" if locked is None else f"glibc{_dotted(locked.glibc)}"
    return folder / "environments" / f"{name}-{kind}.json"


def read_environment(path: Path) -> Environment | None:
    """An environment as its record in the cache describes it; None when record or archive are not whole."""
    try:
        described = read(Environment, parse_json(path.read_bytes()))
        environment = replace(described, archive=path.parent / described.archive)
        whole = environment.archive.stat().st_size == environment.archive_bytes
    except (OSError, DataError):
        return None
    return environment if whole else None


# -- trimming and packing -------------------------------------------------------------------------------------------


def trimmed_files(wheels: Iterable[Path]) -> dict[str, tuple[bytes, bool]]:
    """Path -> (bytes, executable) of everything in the wheels that an interpreter needs, as pip would lay it out."""
    files: dict[str, tuple[bytes, bool]] = {}
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                if sum(info.file_size for info in archive.infolist()) > MAX_WHEEL_BYTES:
                    raise ProvisionError(
                        f"{wheel.name} is too large", expected=f"at most {MAX_WHEEL_BYTES} bytes"
                    )
                for info in archive.infolist():
                    path = _installed_path(info.filename)
                    if not info.is_dir() and path is not None:
                        files[path] = (archive.read(info), bool(info.external_attr >> 16 & 0o100))
        except (zipfile.BadZipFile, OSError) as error:
            wheel.unlink(missing_ok=True)
            raise ProvisionError(
                f"the wheel {wheel.name} is damaged", found=str(error), hint="It was removed; fetch it again."
            ) from None
    return files


def _installed_path(name: str) -> str | None:
    """Where a member of a wheel goes (PEP 427: ``*.data/purelib`` and ``platlib`` are moved up); None: left out."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in TRIMMED):
        return None
    match = re.fullmatch(r"[^/]+\.data/(?:purelib|platlib)/(.+)", name)
    return match[1] if match else None if ".data/" in name else name


def tree_digest(files: Mapping[str, tuple[str, bool]]) -> str:
    """The digest of a tree of files, given as path -> (SHA-256, executable); a board has the same of its own
    (device_agent.bootstrap)."""
    lines = [f"{path}\0{int(executable)}\0{digest}\n" for path, (digest, executable) in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pack_tree(files: Mapping[str, tuple[bytes, bool]]) -> Tree:
    """A reproducible .tar.gz: sorted names, no times, no owners."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, (data, executable) in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o700 if executable else 0o600
            archive.addfile(info, io.BytesIO(data))
    # The digest is of the content, since another zlib may pack the same files into other bytes.
    digest = tree_digest({path: (hashlib.sha256(data).hexdigest(), x) for path, (data, x) in files.items()})
    return Tree(digest, buffer.getvalue(), sum(len(data) for data, _ in files.values()))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, data)
