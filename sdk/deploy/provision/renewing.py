"""Writes the lock of wheels again: asks the package index, through pip, what each kind of board would get today.

    python -m sdk.deploy.provision.renewing [--check]

Only descriptions of wheels are downloaded. For each runtime, Python and processor the newest C library is asked for
first, then the one below what that answer needs, until there is no answer. ``--check`` writes nothing and ends with
status 1 where the index would answer differently now.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from device_agent.record.schema import write
from sdk.deploy.provision.downloading import least_glibc, run_pip, wheel_options
from sdk.deploy.provision.locked import LOCK_FILE, Lock, LockedEnvironment, LockedWheel
from sdk.deploy.provision.wheels import NUMPY_ARCHITECTURES, RUNTIMES, Runtime
from sdk.errors import ProvisionError

#: No board has a newer C library yet, and no wheel needs an older one than this.
NEWEST_GLIBC, OLDEST_GLIBC = (2, 44), (2, 17)
#: Names of licences in the classifiers of packages, by their SPDX identifier.
_SPDX = {"Apache Software License": "Apache-2.0", "MIT License": "MIT", "BSD License": "BSD-3-Clause"}

#: What pip says of requirements for a Python, a processor and a C library: its report, parsed.
Ask = Callable[[Sequence[str], tuple[int, int], str, tuple[int, int]], dict[str, Any]]


def ask_pip(
    wanted: Sequence[str], python: tuple[int, int], architecture: str, glibc: tuple[int, int]
) -> dict[str, Any]:
    """The report of what pip would install. Raises ProvisionError where there is nothing for such a board."""
    with tempfile.TemporaryDirectory() as nowhere:
        options = ["--dry-run", "--ignore-installed", "--target", nowhere, "--report", "-"]
        options += wheel_options(python, architecture, glibc)
        return json.loads(run_pip("install", [*options, *wanted], " and ".join(wanted), "wheels"))


def renewed(ask: Ask = ask_pip) -> Lock:
    """The lock as the package index would have it now. Raises ProvisionError where a runtime has no wheels at all."""
    environments: list[LockedEnvironment] = []
    for runtime in RUNTIMES.values():
        low, high = runtime.pythons
        found: list[LockedEnvironment] = []
        for minor in range(low[1], high[1] + 1):
            for architecture in runtime.architectures:
                found += _environments(runtime, (low[0], minor), architecture, ask)
        if not found:
            raise ProvisionError(f"the package index has no wheels of {runtime.name} {runtime.version}")
        environments += found
    return Lock(tuple(environments))


def _environments(
    runtime: Runtime, python: tuple[int, int], architecture: str, ask: Ask
) -> Iterator[LockedEnvironment]:
    """One for each C library from which on the index has something newer."""
    wanted = [f"{runtime.name}=={runtime.version}"]
    if architecture in NUMPY_ARCHITECTURES:
        wanted.append(runtime.numpy)
    glibc = NEWEST_GLIBC
    while glibc >= OLDEST_GLIBC:
        try:
            report = ask(wanted, python, architecture, glibc)
        except ProvisionError as error:
            if "No matching distribution" in (error.found or ""):
                return
            raise
        wheels = tuple(_wheel(item) for item in report["install"])
        needs = max(least_glibc(wheel.file) for wheel in wheels)
        yield LockedEnvironment(runtime.name, runtime.version, python, architecture, needs, wheels)
        glibc = (needs[0], needs[1] - 1)


def _wheel(item: dict[str, Any]) -> LockedWheel:
    info, about = item["download_info"], item["metadata"]
    return LockedWheel(
        file=info["url"].rpartition("/")[2].partition("#")[0].replace("%2B", "+"),
        sha256=info["archive_info"]["hashes"]["sha256"],
        name=about["name"],
        version=about["version"],
        licence=_licence(about),
    )


def _licence(about: dict[str, Any]) -> str:
    """The SPDX expression where the package has one, else by its classifier, else its own short words."""
    if about.get("license_expression"):
        return about["license_expression"]
    for classifier in about.get("classifier", ()):
        name = classifier.rpartition(" :: ")[2]
        if classifier.startswith("License ::") and name in _SPDX:
            return _SPDX[name]
    said = re.sub(r"\s+", " ", about.get("license") or "").strip()
    return said[:80] or "unknown"


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where ``--check`` found that the index has something else."""
    made = json.dumps(write(renewed()), indent=1) + "\n"
    before = LOCK_FILE.read_text() if LOCK_FILE.is_file() else ""
    if "--check" in arguments:
        print("the lock is what the package index has" if made == before else "the package index has others")
        return int(made != before)
    LOCK_FILE.write_text(made)
    count = made.count('"sha256"')
    print(f"{LOCK_FILE.name}: {count} wheels, {'unchanged' if made == before else 'changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
