"""The programs of Debian that emulation needs: their paths, and the packages of missing ones."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from sdk.errors import BoardError

#: QEMU's user mode by what ``uname -m`` says under it.
QEMU = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}

#: Signs Debian's packages; Ubuntu does not install it by itself.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

PT_INTERP = 3

_PACKAGE_OF = {
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64": "qemu-user",
    "qemu-arm": "qemu-user",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-arm-static": "qemu-user-static",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "unshare": "util-linux",
}


def require(*tools: str) -> None:
    """Raises BoardError, with the line that installs them, where programs are not there.

    ``tools`` are names of programs; those in sbin are found even if PATH does not name it.
    """
    missing = sorted({_PACKAGE_OF[tool] for tool in tools if which(tool) is None})
    if "mmdebstrap" in tools and not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        raise BoardError(
            "the virtual board needs programs that are not installed",
            expected=", ".join(tools),
            found=f"nothing of the package{'s' * (len(missing) > 1)} {', '.join(missing)}",
            hint=f"On Debian and Ubuntu: sudo apt-get install {' '.join(missing)}",
        )


def static_qemu(machine: str) -> str:
    """The QEMU that runs ARM programs inside a chroot, where the libraries of a dynamically linked one do not exist.

    Debian 12 and Ubuntu call it ``qemu-aarch64-static``; newer Debians link ``qemu-aarch64`` itself statically. Raises
    BoardError where there is none.
    """
    plain, static = which(QEMU[machine]), which(f"{QEMU[machine]}-static")
    if static is None and plain is not None and not is_dynamic(Path(plain)):
        return plain
    require(f"{QEMU[machine]}-static")
    return static or plain or f"{QEMU[machine]}-static"


def is_dynamic(program: Path) -> bool:
    """Whether an ELF program of 64 bits names an interpreter (elf(5): a program header of type PT_INTERP)."""
    with open(program, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return True  # a script, or nothing that a kernel would start by itself in a chroot
        offset, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return any(struct.unpack_from("<I", table, size * number)[0] == PT_INTERP for number in range(count))


def which(tool: str) -> str | None:
    """The path of a program; administrators' folders are searched too, for every user."""
    return shutil.which(
        tool, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    )
