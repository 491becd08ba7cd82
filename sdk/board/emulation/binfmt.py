"""The kernel's table of what runs a foreign processor's programs (Linux, Documentation/admin-guide/binfmt-misc.rst)."""

from __future__ import annotations

import subprocess

# How the kernel knows an ELF program for the machine (its header's first 20 bytes and which bits of them count; the
# ABI byte and the lowest bit of the type, program or library, do not), as QEMU's scripts/qemu-binfmt-conf.sh says.
_MAGIC = {
    "aarch64": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00",
    "armv7l": b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00",
}
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"

# Mounted for the moment, and for this process alone, where the host has not mounted it.
_UNREGISTER = (
    "binfmt=/proc/sys/fs/binfmt_misc; [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt;"
    ' if [ -e "$binfmt/$1" ]; then echo -1 > "$binfmt/$1"; fi'
)


def rule(name: str, machine: str, qemu: str) -> str:
    """A line for ``register``: programs of ``machine`` are run by the program at ``qemu``.

    F: QEMU is opened now, since its path does not exist inside the board. P: programs see the argv[0] they were given.
    """
    escaped = ["".join(f"\\x{byte:02x}" for byte in pattern) for pattern in (_MAGIC[machine], _MASK)]
    return f":{name}:M::{escaped[0]}:{escaped[1]}:{qemu}:PF"


def unregister(name: str) -> None:
    """Takes a rule away, if it is there; for root."""
    subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", _UNREGISTER, "sh", name],
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
