"""Facts of the machine that runs the tests."""

from __future__ import annotations

import platform
import re
import sys

from sdk.board.facts import Facts


def this_machine() -> Facts:
    """What the board ``local`` will tell of itself, as far as wheels are chosen by it."""
    glibc = platform.libc_ver()
    match = re.match(r"(\d+)\.(\d+)", glibc[1]) if glibc[0] == "glibc" else None
    return Facts(
        home="/",
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        python=sys.version_info[:3],
        python_implementation=sys.implementation.name,
        pointer_bits=64 if sys.maxsize > 2**32 else 32,
        python_abi_flags=getattr(sys, "abiflags", ""),
        glibc=(int(match[1]), int(match[2])) if match else None,
        libc=glibc[0] or "unknown",
        free_disk_bytes=None,
        memory_bytes=None,
        os_name="",
        model="",
        cores=0,
        cpu_features=(),
        max_clocks_hz=(),
    )
