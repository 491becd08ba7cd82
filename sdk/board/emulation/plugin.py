"""Builds the QEMU plugins that count instructions and replay them, and runs programs of a userland under it.

Counting needs QEMU's dynamically linked user mode (Debian's ``qemu-user``): a static one cannot load plugins.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sdk.board.emulation.cores import Core
from sdk.board.emulation.tools import QEMU, require, which
from sdk.board.emulation.userland import cache_folder
from sdk.errors import BoardError

SOURCE = Path(__file__).with_name("count_instructions.c")
#: Replays what is executed through the cores of boards; what lies beside it belongs to it.
REPLAY = SOURCE.parent / "replay" / "trace_plugin.c"
FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-Wl,-s")
COMPILE_SECONDS = 120.0
_NO_ERROR = ("INFO:", "WARNING:", "W0000", "I0000")
#: MobileNet V1 takes about 20 s; a large network on a busy machine many times that.
RUN_SECONDS = 3600.0


def api_version(version_text: str) -> int:
    """The version of the plugin interface to declare for a QEMU that calls itself ``version_text``.

    QEMU refuses plugins outside the range it serves: 0 to 1 before 9.0, from 2 since. The calls in use did not change.
    """
    match = re.search(r"version (\d+)\.", version_text)
    if match is None:
        raise BoardError("the version of QEMU is unknown", expected="version N.N", found=version_text[:60])
    return 1 if int(match[1]) < 9 else 2


def build(qemu: str, *, cache: Path | None = None, source: Path = SOURCE) -> Path:
    """The plugin as a shared library for the QEMU program at ``qemu``; compiled where the cache has none.

    Raises BoardError where that QEMU takes no plugins or the compiler is missing.
    """
    if "-plugin" not in _output([qemu, "--help"]):
        raise BoardError(
            "this QEMU takes no plugins, so it cannot count instructions",
            expected="a dynamically linked qemu-user",
            found=qemu,
            hint="On Debian 12 and Ubuntu: sudo apt-get install qemu-user",
        )
    flags = (*FLAGS, f"-DAPI_VERSION={api_version(_output([qemu, '--version']))}")
    folder = (cache if cache is not None else cache_folder()).parent / "plugins"
    return compiled(source, flags, folder)


def compiled(source: Path, flags: Sequence[str], folder: Path) -> Path:
    """A C file of this machine's kind as a shared library in ``folder``, compiled where it is not there.

    Raises BoardError where the compiler fails.
    """
    files = [source] if source == SOURCE else sorted(source.parent.glob("*.[ch]"))
    text = b"".join(file.read_bytes() for file in files)
    digest = hashlib.sha256(text + repr((tuple(flags), platform.machine())).encode()).hexdigest()[:16]
    library = folder / f"{source.stem}-{digest}.so"
    if library.exists():
        return library
    if find_spec("ziglang") is None:
        raise BoardError(
            "the ziglang wheel is not installed", hint="pip install 'armlet[host]', or ziglang alone."
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as temporary:
        output = Path(temporary) / library.name
        zig_cache = {name: str(folder / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(output), str(source)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=COMPILE_SECONDS,
            env={**os.environ, **zig_cache},
        )
        if done.returncode != 0:
            raise BoardError("the QEMU plugin does not compile", found=done.stderr.strip()[:300])
        output.replace(library)
    return library


def run_counted(
    machine: str,
    core: Core,
    root: Path,
    program: Sequence[str],
) -> tuple[list[int], str, str]:
    """Runs ``program`` (a path inside the userland ``root``, and its arguments) and counts.

    Returns the running total at each mark and at the end, and what the program wrote to stdout and stderr. Raises
    BoardError where the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="armlet-count-") as temporary:
        output = Path(temporary) / "totals"
        stdout, stderr = _run(machine, core, root, program, SOURCE, f"out={output}")
        return [int(line) for line in output.read_text().split()], stdout, stderr


def run_replayed(
    machine: str,
    core: Core,
    root: Path,
    program: Sequence[str],
    *,
    boards: str,
    marks: tuple[int, int, int],
) -> tuple[str, str, str]:
    """Runs a program as :func:`run_counted` does, and replays it through ``boards`` (replay.machine.machine_text).

    ``marks``: caches are filled from the first of these marks on; the time is taken between the second and the third.
    Returns what the plugin wrote, and the program's stdout and stderr. Raises BoardError where the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="armlet-replay-") as temporary:
        output, told = Path(temporary) / "replay", Path(temporary) / "machine"
        told.write_text(boards, encoding="ascii")
        arguments = f"machine={told},out={output},warm={marks[0]},first={marks[1]},last={marks[2]}"
        stdout, stderr = _run(machine, core, root, program, REPLAY, arguments)
        return output.read_text(encoding="ascii"), stdout, stderr


def _run(
    machine: str, core: Core, root: Path, program: Sequence[str], source: Path, arguments: str
) -> tuple[str, str]:
    """Runs a program under a plugin; its stdout and stderr."""
    require(QEMU[machine])
    qemu = which(QEMU[machine]) or QEMU[machine]
    command = [
        qemu,
        "-cpu",
        core.qemu,
        "-plugin",
        f"{build(qemu, source=source)},{arguments}",
        "-L",
        str(root),
    ]
    command += [str(root / program[0].lstrip("/")), *program[1:]]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=RUN_SECONDS,
            # Not the caller's environment: what is counted depends on this and nothing else.
            env={"HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "PATH": os.defpath},
        )
    except subprocess.TimeoutExpired:
        raise BoardError(
            "the emulated program did not end", expected=f"{RUN_SECONDS:.0f} s at most"
        ) from None
    if done.returncode != 0:
        raise BoardError(
            "the emulated program failed",
            expected="status 0",
            found=f"{done.returncode}: {last_error(done.stderr)[:300]}",
        )
    return done.stdout, done.stderr


def last_error(messages: str) -> str:
    """The last line that tells of an error: runtimes say more when they end ("INFO: ...")."""
    lines = [line for line in messages.splitlines() if line.strip() and not line.startswith(_NO_ERROR)]
    return lines[-1] if lines else "no message"


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoardError(f"{command[0]} does not run", found=str(error)) from None
