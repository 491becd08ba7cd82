"""Builds libarmlet, the package reader as a C library, and the delegate with kernels for zeros, for programs that are
not written in Python.

Its sources are ``source/`` beside this file, the decoder and the kernels of device_agent. For every target it writes a
folder that a build can take as a prefix::

    aarch64/include/armlet.h
    aarch64/include/armlet_delegate.h
    aarch64/lib/libarmlet.so -> libarmlet.so.1
    aarch64/lib/libarmlet.so.1
    aarch64/lib/libarmlet.a
    aarch64/lib/libarmlet_delegate.so
    aarch64/lib/pkgconfig/armlet.pc

The compiler comes from the ziglang wheel, as in :mod:`sdk.deploy.provision.kernel`; nothing is fetched, and a target
needs no headers.

May import: sdk.deploy.provision, sdk.errors.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.deploy.provision import kernel
from sdk.errors import ArmletError

SOURCE = Path(__file__).with_name("source")
HEADER = SOURCE / "armlet.h"
DELEGATE_HEADER = SOURCE / "armlet_delegate.h"
DELEGATE = "lib/libarmlet_delegate.so"
#: As sdk.deploy.provision.kernel has them, without what is only for a shared library.
_OBJECT_FLAGS = (*(flag for flag in kernel.FLAGS if flag not in ("-shared", "-nostdlib", "-Wl,-s")), "-g0")
#: Of the flags above the last counts: the decoder of device_agent is C11 with GNU built-ins, the reader C99.
_READER_FLAGS = ("-std=c99",)
#: What compilers call these processors, where `uname -m` calls them something else.
_MACHINES = {"arm": "armv7l"}

_PKG_CONFIG = """\
prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include
delegate=${{libdir}}/libarmlet_delegate.so

Name: armlet
Description: Reads .armlet packages: compressed TensorFlow Lite models
Version: {version}
Libs: -L${{libdir}} -larmlet
Cflags: -I${{includedir}}
"""


@dataclass(frozen=True)
class NativeLibrary:
    """The files that were written for one target. ``sizes``: bytes of every file, by its path below ``folder``."""

    machine: str
    version: str
    folder: str
    sizes: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def version() -> str:
    """The version of the C interface, from its header."""
    text = HEADER.read_text()
    numbers = [
        re.search(rf"#define ARMLET_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")
    ]
    return ".".join(match[1] for match in numbers if match)


def build(output: Path, machines: Sequence[str]) -> list[NativeLibrary]:
    """Writes the library for every machine (as `uname -m` or a compiler says: ``aarch64``, ``aarch64-linux-gnu``)
    to a folder of its name below ``output``.

    Raises :class:`~sdk.deploy.provision.kernel.KernelBuildError` for an unknown machine or where the compiler is
    missing, and ArmletError where ``output`` cannot be written.
    """
    names = [machine.partition("-")[0] for machine in machines]
    targets = list(dict.fromkeys(kernel.target_of(_MACHINES.get(name, name)) for name in names))
    try:
        return [_build_one(output / target, target) for target in targets]
    except OSError as error:
        raise ArmletError(
            f"{error.filename or output} cannot be written",
            expected="a folder, permission and space",
            found=error.strerror or str(error),
        ) from error


def _build_one(folder: Path, target: str) -> NativeLibrary:
    soname = f"libarmlet.so.{version().partition('.')[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # Built aside and renamed: what stood there before is whole until the new one is.
        made = Path(scratch)
        (made / "include").mkdir()
        (made / "lib" / "pkgconfig").mkdir(parents=True)
        headers = [f"include/{header.name}" for header in (HEADER, DELEGATE_HEADER)]
        for header in headers:
            (made / header).write_bytes((SOURCE / Path(header).name).read_bytes())
        (made / "lib" / "pkgconfig" / "armlet.pc").write_text(_PKG_CONFIG.format(version=version()))
        objects = _objects(made, target)
        kernel.run_zig("ar", "rcs", str(made / "lib" / "libarmlet.a"), *objects)
        kernel.run_zig(
            "cc",
            *kernel.TARGETS[target],
            "-shared",
            "-nostdlib",  # the few functions of the C library that it needs are in every process
            f"-Wl,-soname,{soname}",
            f"-Wl,--version-script={SOURCE / 'armlet.map'}",
            "-Wl,-s",
            "-o",
            str(made / "lib" / soname),
            *objects,
        )
        (made / DELEGATE).write_bytes(kernel.build_delegate(target).read_bytes())
        files = (*headers, f"lib/{soname}", "lib/libarmlet.a", DELEGATE, "lib/pkgconfig/armlet.pc")
        sizes = {name: (made / name).stat().st_size for name in files}
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).replace(folder / name)
        link = made / "link"
        link.symlink_to(soname)
        link.replace(folder / "lib" / "libarmlet.so")
    return NativeLibrary(target, version(), str(folder), sizes)


def _objects(made: Path, target: str) -> list[str]:
    """Every source compiled; the paths of the objects."""
    result = []
    for source in (*sorted(SOURCE.glob("*.c")), kernel.source_path()):
        flags = (*_OBJECT_FLAGS, *(_READER_FLAGS if source.parent == SOURCE else ()))
        output = str(made / f"{source.stem}.o")
        kernel.run_zig("cc", *kernel.TARGETS[target], *flags, "-c", "-o", output, str(source))
        result.append(output)
    return result
