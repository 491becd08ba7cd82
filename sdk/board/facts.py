"""Facts about a board: one command that any POSIX shell runs, and pure functions of its output.

The command prints sections, each begun by a line ``@name``; a section whose source is not there is empty. It needs
nothing but ``sh``: a missing python3 is a fact, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from device_agent.record.visible import visible
from sdk.errors import RemoteError

#: Prints: version, implementation, bits of a pointer, flags of the ABI, and whether what is kept there may run.
_PYTHON = (
    "import os,sys,struct;d=os.environ['HOME'];p=d+'/.armlet';p=p if os.path.isdir(p) else d;"
    "print('%d.%d.%d'%sys.version_info[:3],sys.implementation.name,struct.calcsize('P')*8,"
    "getattr(sys,'abiflags','') or '-',"
    "'noexec' if os.path.isdir(p) and os.statvfs(p).f_flag & os.ST_NOEXEC else 'exec')"
)

FACTS_SCRIPT = f"""\
echo @home; printf '%s\\n' "$HOME"
echo @machine; uname -m
echo @system; uname -sr
echo @python; python3 -sS -c "{_PYTHON}" 2>/dev/null
echo @numpy; ls -d /usr/lib/python3*/*-packages/numpy/__init__.py 2>/dev/null | head -n 1
echo @libc; getconf GNU_LIBC_VERSION 2>/dev/null || {{ ldd --version 2>&1 | head -n 1; }}
echo @disk; df -Pk "$HOME" 2>/dev/null
echo @memory; head -n 3 /proc/meminfo 2>/dev/null
echo @os; head -n 30 /etc/os-release 2>/dev/null
echo @model; tr '\\0' '\\n' < /proc/device-tree/model 2>/dev/null
echo @cpu; head -c 20000 /proc/cpuinfo 2>/dev/null
echo @clocks; cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq 2>/dev/null
echo @end
"""

_PYTHON_SAYS = r"^(\d{1,2})\.(\d{1,3})\.(\d{1,3}) (\w{1,20}) (32|64) (\S{1,8})"

#: What no board's answer exceeds.
MAX_FACTS_BYTES = 1 << 16


@dataclass(frozen=True)
class Facts:
    """Facts about a board. None: not reported by this machine. ``python`` is None where there is no python3."""

    home: str
    #: ``uname -m``: that of the kernel, which may be wider than what runs on it.
    machine: str
    system: str
    python: tuple[int, int, int] | None
    python_implementation: str
    pointer_bits: int
    python_abi_flags: str
    #: (2, 36) for glibc 2.36; None for another C library, whose name is then ``libc``.
    glibc: tuple[int, int] | None
    libc: str
    free_disk_bytes: int | None
    memory_bytes: int | None
    os_name: str
    model: str
    cores: int
    cpu_features: tuple[str, ...]
    max_clocks_hz: tuple[float, ...]
    #: The folder in which the system's own numpy is, such as /usr/lib/python3/dist-packages.
    numpy_folder: str | None = None
    #: True where no library in the home folder can be loaded, because of how it is mounted.
    noexec: bool = False

    @property
    def wheel_architecture(self) -> str:
        """The architecture of wheels that its Python loads: a 64-bit kernel may run a 32-bit userland."""
        if self.pointer_bits == 32:
            return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(self.machine, self.machine)
        return {"arm64": "aarch64", "amd64": "x86_64"}.get(self.machine, self.machine)


def parse_facts(output: str) -> Facts:
    """The output of FACTS_SCRIPT as a record. Raises RemoteError when it is not that."""
    sections = parse_sections(output)
    home = sections.get("home", "")
    machine = sections.get("machine", "")
    if (
        "end" not in sections
        or not re.fullmatch(r"/[^\0\n]{0,400}", home)
        or not re.fullmatch(r"\w{1,32}", machine)
    ):
        raise RemoteError(
            "the board does not say what it is",
            expected="a home folder and a machine name from sh, uname and printf",
            found=repr(output[:120]),
        )
    version, implementation, bits, flags = _python(sections.get("python", ""))
    libc, glibc = _libc(sections.get("libc", ""))
    cores, features = parse_cpuinfo(sections.get("cpu", ""))
    numpy = re.fullmatch(
        r"(/usr/lib/python3[\d.]{0,4}/(?:dist|site)-packages)/numpy/__init__.py", sections.get("numpy", "")
    )
    return Facts(
        home=home,
        machine=machine,
        system=_clean(sections.get("system", "")),
        python=version,
        python_implementation=implementation,
        pointer_bits=bits or (64 if "64" in machine else 32),
        python_abi_flags=flags,
        glibc=glibc,
        libc=libc,
        free_disk_bytes=parse_df(sections.get("disk", "")),
        memory_bytes=_memory(sections.get("memory", "")),
        os_name=parse_os_release(sections.get("os", "")),
        model=_clean(sections.get("model", "")),
        cores=cores,
        cpu_features=features,
        max_clocks_hz=tuple(
            float(khz) * 1e3 for khz in re.findall(r"^(\d{4,9})$", sections.get("clocks", ""), re.M)
        ),
        numpy_folder=numpy[1] if numpy else None,
        noexec=bool(re.search(_PYTHON_SAYS + r" noexec$", sections.get("python", ""), re.M)),
    )


def parse_sections(output: str) -> dict[str, str]:
    """Name of a section -> its text."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if re.fullmatch(r"@[a-z]{2,16}", line):
            current = sections.setdefault(line[1:], [])
        else:
            current.append(line)
    return {name: "\n".join(lines).strip() for name, lines in sections.items()}


def _clean(text: str) -> str:
    return visible(text, most=120).strip()


def _python(text: str) -> tuple[tuple[int, int, int] | None, str, int | None, str]:
    # A python3 that is a script may greet before it answers.
    match = re.search(_PYTHON_SAYS + r"(?: (?:no)?exec)?$", text, re.M)
    if not match:
        return None, "", None, ""
    version = (int(match[1]), int(match[2]), int(match[3]))
    return version, match[4], int(match[5]), "" if match[6] == "-" else match[6]


def _libc(text: str) -> tuple[str, tuple[int, int] | None]:
    match = re.match(r"glibc (\d{1,2})\.(\d{1,3})", text)
    if match:
        return "glibc", (int(match[1]), int(match[2]))
    return ("musl" if "musl" in text.lower() else _clean(text)[:40] or "unknown"), None


def parse_df(text: str) -> int | None:
    """Free bytes from ``df -Pk``: the fourth column of its last line."""
    lines = text.splitlines()
    match = re.search(r"\s(\d{1,15})\s+\d{1,3}%\s", lines[-1]) if lines else None
    return int(match[1]) * 1024 if match else None


def _memory(text: str) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d{1,12}) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def parse_os_release(text: str) -> str:
    """PRETTY_NAME of ``os-release(5)``, else NAME."""
    for key in ("PRETTY_NAME", "NAME"):
        match = re.search(rf"^{key}=([\"']?)(.*?)\1$", text, re.MULTILINE)
        if match:
            return _clean(match[2])
    return ""


def parse_cpuinfo(text: str) -> tuple[int, tuple[str, ...]]:
    """Cores, and the features that all of them have, from ``/proc/cpuinfo`` (ARM: Features; x86: flags)."""
    cores = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    lists = re.findall(r"^(?:Features|flags)\s*:(.*)$", text, re.MULTILINE)
    common = set.intersection(*(set(line.split()) for line in lists)) if lists else set()
    return cores, tuple(sorted(f for f in common if re.fullmatch(r"\w{1,32}", f)))
