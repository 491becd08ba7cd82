"""ARM cores by name, and the files that tell an emulated program on which core it runs.

``qemu-aarch64 -cpu cortex-a72`` decides which instructions work. A program learns which core it runs on from
``/proc/cpuinfo``, which QEMU's user mode (before 8.1) passes through from the host. XNNPACK picks its kernels by that
(pytorch/cpuinfo decodes implementer and part into a microarchitecture), so the file below has to agree with the core:
on MobileNet V1 the same runtime executes 210 M instructions per inference where it knows a Cortex-A72, and 193 M where
it finds no part number and takes the kernels meant for any core.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdk.errors import BoardError

#: How many cores an emulated board says that it has.
CORES = 4


@dataclass(frozen=True)
class Core:
    """A core by its name. ``part``, ``variant`` and ``revision`` are fields of its Main ID Register (MIDR),
    ``features`` the kernel's names for its extensions, both as ``/proc/cpuinfo`` shows them on ``seen_on``."""

    name: str
    bits: int
    part: int
    variant: int
    revision: int
    features: str
    seen_on: str
    #: What QEMU runs it as, where it does not know this core: one with the same instructions.
    run_as: str = ""

    @property
    def qemu(self) -> str:
        """QEMU's name for it, or for the core that it is run as."""
        return self.run_as or self.name


_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
_ARMV8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
)
_ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"

#: Arm's technical reference manuals give the part numbers (section MIDR of each core).
CORES_BY_NAME = {
    core.name: core
    for core in (
        Core("cortex-a53", 64, 0xD03, 0, 4, _ARMV8_0, "Raspberry Pi 3"),
        Core("cortex-a72", 64, 0xD08, 0, 3, _ARMV8_0, "Raspberry Pi 4"),
        Core("cortex-a55", 64, 0xD05, 2, 0, _ARMV8_2, "Rock 3A", run_as="cortex-a76"),
        Core("cortex-a57", 64, 0xD07, 1, 1, _ARMV8_0, "Jetson Nano"),
        Core("cortex-a73", 64, 0xD09, 0, 2, _ARMV8_0, "Khadas VIM3", run_as="cortex-a72"),
        Core("cortex-a76", 64, 0xD0B, 4, 1, _ARMV8_2, "Raspberry Pi 5"),
        Core("cortex-a78", 64, 0xD41, 1, 0, _ARMV8_2, "MediaTek Genio 700", run_as="cortex-a76"),
        Core("cortex-a78ae", 64, 0xD42, 0, 1, _ARMV8_2, "Jetson Orin Nano", run_as="cortex-a76"),
        Core("cortex-a7", 32, 0xC07, 0, 5, _ARMV7, "Raspberry Pi 2"),
        Core("cortex-a15", 32, 0xC0F, 2, 3, _ARMV7, "BeagleBoard-X15"),
    )
}


def find_core(name: str) -> Core:
    """The core of that name. Raises BoardError where it is not known."""
    if name not in CORES_BY_NAME:
        raise BoardError("this core is not emulated", expected=", ".join(CORES_BY_NAME), found=name)
    return CORES_BY_NAME[name]


def cpuinfo(core: Core, *, identified: bool = True) -> str:
    """The text of ``/proc/cpuinfo``. Without ``identified`` it lacks the part number: any ARM core at all."""
    lines = []
    for number in range(CORES):
        lines.append(f"processor\t: {number}")
        if core.bits == 32:
            lines.append(f"model name\t: ARMv7 Processor rev {core.revision} (v7l)")
        lines += [
            "BogoMIPS\t: 108.00",
            f"Features\t: {core.features}",
            "CPU implementer\t: 0x41",
            f"CPU architecture: {8 if core.bits == 64 else 7}",
            f"CPU variant\t: 0x{core.variant:x}",
        ]
        if identified:
            lines.append(f"CPU part\t: 0x{core.part:03x}")
        lines += [f"CPU revision\t: {core.revision}", ""]
    return "\n".join(lines) + "\n"


def system_files(core: Core, *, identified: bool = True) -> dict[str, str]:
    """Path (relative to the root) -> text of what the kernel of a board tells its programs about its cores.

    Without the two files under /sys TFLite runtimes silently run without XNNPACK; with the host's files they may crash.
    """
    cpus = f"0-{CORES - 1}\n"
    midr = 0x41 << 24 | core.variant << 20 | 0xF << 16 | core.part << 4 | core.revision
    registers = {
        f"sys/devices/system/cpu/cpu{number}/regs/identification/midr_el1": f"0x{midr:016x}\n"
        for number in range(CORES if core.bits == 64 and identified else 0)
    }
    return {
        **registers,
        "proc/cpuinfo": cpuinfo(core, identified=identified),
        "sys/devices/system/cpu/possible": cpus,
        "sys/devices/system/cpu/present": cpus,
    }
