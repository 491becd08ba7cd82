"""The installed runtime and its versions, found without an import, which takes seconds on a slow board."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import sys
from pathlib import Path

#: (module, distribution) in the order of preference.
MODULES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))


def by_place(modules: tuple[tuple[str, str], ...] = MODULES) -> tuple[tuple[str, str], ...]:
    """Of ``modules`` those first whose folder comes first on the path.

    What a deploy brought and tested comes before the packages of the system, which may hold the other runtime.
    """

    def place(entry: tuple[str, str]) -> int:
        try:
            spec = importlib.util.find_spec(entry[0])
        except ValueError:  # a module without a spec
            spec = None
        found = [os.path.dirname(folder) for folder in (spec and spec.submodule_search_locations) or ()]
        return min((sys.path.index(folder) for folder in found if folder in sys.path), default=len(sys.path))

    return tuple(sorted(modules, key=place))


#: The lines of /proc/cpuinfo that say which core this is: on ARM a part number for each, elsewhere a name.
CORE_KEYS = ("CPU part", "model name")


def environment() -> str:
    """All that decides which code runs a model: runtime, numpy, Python and processor, each with its version.

    A health check that passed in one says nothing about another: other kernels round differently, or crash.
    """
    core = processor(Path("/proc/cpuinfo"))
    return ", ".join(
        [
            installed_runtime() or "no runtime",
            f"numpy {version_of('numpy', 'numpy')}",
            f"Python {platform.python_version()}",
            f"{os.uname().machine} {core}" if core else os.uname().machine,
        ]
    )


def installed_runtime() -> str:
    """Name and version of the runtime that would be imported, such as "ai-edge-litert 2.1.2"; "" where none is."""
    for module, distribution in by_place():
        if importlib.util.find_spec(module) is not None:
            return f"{distribution} {version_of(distribution, module)}"
    return ""


def processor(cpuinfo: Path) -> str:
    """The kinds of cores, such as "0xd03 0xd09"; "" where the kernel does not report them."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for wanted in CORE_KEYS:
        found = {
            value.strip()
            for key, _, value in (line.partition(":") for line in lines)
            if key.strip() == wanted
        }
        if found:
            return " ".join(sorted(found))
    return ""


def version_of(distribution: str, module: str) -> str:
    """As ``importlib.metadata`` tells it, whose import alone takes longer than a quick start of a model.

    "unknown" where nothing says it.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module without a spec
        spec = None
    folders = spec.submodule_search_locations if spec is not None else None
    wanted = re.compile(re.escape(distribution.replace("-", "_")) + r"-([^-]+)\.dist-info")
    for folder in map(os.path.dirname, folders or ()):
        with contextlib.suppress(OSError):
            found = [match.group(1) for match in map(wanted.fullmatch, os.listdir(folder)) if match]
            if len(found) == 1:
                return found[0]
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
