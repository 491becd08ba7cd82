"""What a board says about itself, from outputs recorded in the form that boards give them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from sdk.board.facts import (
    FACTS_SCRIPT,
    Facts,
    parse_cpuinfo,
    parse_df,
    parse_facts,
    parse_os_release,
)
from sdk.errors import RemoteError
from tests.sdk.board.machine import this_machine

RPI4_TRIXIE = """\
@home
/home/pi
@machine
aarch64
@system
Linux 6.12.47+rpt-rpi-v8
@python
3.13.5 cpython 64 -
@libc
glibc 2.41
@disk
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/mmcblk0p2    60593692 7437856  50047936      13% /
@memory
MemTotal:        3885396 kB
MemFree:         2840316 kB
MemAvailable:    3456712 kB
@os
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
@model
Raspberry Pi 4 Model B Rev 1.4
@cpu
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
@clocks
1800000
1800000
@end
"""

#: Raspberry Pi OS 32 bit on a Pi 4: the kernel is 64 bit, everything else is not.
RPI4_32_BIT = RPI4_TRIXIE.replace("3.13.5 cpython 64 -", "3.11.2 cpython 32 -").replace(
    "glibc 2.41", "glibc 2.36"
)

YOCTO = """\
@home
/home/root
@machine
aarch64
@system
Linux 6.6.52-lts
@python
@libc
musl libc (aarch64)
@disk
Filesystem         1024-blocks    Used Available Capacity Mounted on
/dev/root              5993408 2000012   3661500  35% /
@memory
@os
NAME=Yocto
@model
NXP i.MX8MPlus EVK board
@cpu
@clocks
@end
"""


def test_a_raspberry_pi_is_read_whole():
    assert parse_facts(RPI4_TRIXIE) == Facts(
        home="/home/pi",
        machine="aarch64",
        system="Linux 6.12.47+rpt-rpi-v8",
        python=(3, 13, 5),
        python_implementation="cpython",
        pointer_bits=64,
        python_abi_flags="",
        glibc=(2, 41),
        libc="glibc",
        free_disk_bytes=50047936 * 1024,
        memory_bytes=3885396 * 1024,
        os_name="Debian GNU/Linux 13 (trixie)",
        model="Raspberry Pi 4 Model B Rev 1.4",
        cores=2,
        cpu_features=("asimd", "cpuid", "crc32", "evtstrm", "fp"),
        max_clocks_hz=(1.8e9, 1.8e9),
    )


def test_wheels_are_chosen_for_the_userland_not_for_the_kernel():
    assert parse_facts(RPI4_TRIXIE).wheel_architecture == "aarch64"
    assert parse_facts(RPI4_32_BIT).wheel_architecture == "armv7l"


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("/usr/lib/python3/dist-packages/numpy/__init__.py", "/usr/lib/python3/dist-packages"),
        ("/usr/lib/python3.12/site-packages/numpy/__init__.py", "/usr/lib/python3.12/site-packages"),
        ("", None),
        ("/usr/lib/python3/dist-packages/numpy", None),
        ("/usr/lib/python3:/tmp/dist-packages/numpy/__init__.py", None),
    ],
)
def test_the_systems_own_numpy_is_found_by_its_path(line: str, folder: str | None):
    output = RPI4_32_BIT.replace("@libc\n", f"@numpy\n{line}\n@libc\n")
    assert output != RPI4_32_BIT
    assert parse_facts(output).numpy_folder == folder


def test_a_board_without_python_is_read_too():
    facts = parse_facts(YOCTO)
    assert facts.python is None
    assert (facts.glibc, facts.libc) == (None, "musl")
    assert facts.memory_bytes is None
    assert (facts.cores, facts.cpu_features) == (0, ())


def test_a_free_threaded_python_is_told_apart():
    facts = parse_facts(RPI4_TRIXIE.replace("cpython 64 -", "cpython 64 t"))
    assert facts.python_abi_flags == "t"


@pytest.mark.parametrize(
    "output",
    ["", "Welcome to my board!\n", RPI4_TRIXIE.replace("@end", ""), RPI4_TRIXIE.replace("/home/pi", "relative"),
     RPI4_TRIXIE.replace("aarch64\n", "$(reboot)\n")],
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused(output):
    with pytest.raises(RemoteError, match="does not say what it is"):
        parse_facts(output)


def test_a_greeting_before_the_answer_does_no_harm():
    assert parse_facts("Welcome to my board!\n\n" + RPI4_TRIXIE) == parse_facts(RPI4_TRIXIE)


def test_what_is_shown_to_people_cannot_drive_their_terminal():
    facts = parse_facts(RPI4_TRIXIE.replace("Raspberry Pi 4 Model B Rev 1.4", "\x1b]0;x\x07 Pi" + "i" * 500))
    assert facts.model.isprintable()
    assert len(facts.model) <= 120


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 100 40 60 40% /", 60 * 1024),
        ("overlay 100 40 60 40% /home with spaces", 60 * 1024),
        ("", None),
        ("df: /home: No such file", None),
    ],
)
def test_free_space_is_read_from_df(text, free):
    assert parse_df(text) == free


@pytest.mark.parametrize(
    ("text", "name"),
    [('PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME=x', "Ubuntu 22.04.4 LTS"), ("NAME=Yocto", "Yocto"), ("", "")],
)
def test_the_name_of_the_system_is_read_from_os_release(text, name):
    assert parse_os_release(text) == name


def test_features_are_those_that_all_cores_have():
    text = "processor: 0\nFeatures: fp asimd dotprod\nprocessor: 1\nFeatures: fp asimd\n"
    assert parse_cpuinfo(text) == (2, ("asimd", "fp"))


def test_the_script_runs_in_a_plain_shell_and_agrees_with_this_process(tmp_path):
    # HOME is pinned: that of a test machine may be anything.
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    (tmp_path / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    done = subprocess.run(["sh", "-c", FACTS_SCRIPT], capture_output=True, text=True, env=env, check=True)
    found, here = parse_facts(done.stdout), this_machine()
    assert found.home == str(tmp_path)
    assert found.free_disk_bytes is not None
    assert found.cores >= 1
    same = (
        "machine",
        "python",
        "python_implementation",
        "pointer_bits",
        "glibc",
        "libc",
        "wheel_architecture",
    )
    assert [getattr(found, name) for name in same] == [getattr(here, name) for name in same]


def test_without_python_the_script_says_so(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/"}
    done = subprocess.run(["sh", "-c", FACTS_SCRIPT], capture_output=True, text=True, env=env, check=True)
    assert parse_facts(done.stdout) == replace(
        parse_facts(done.stdout), python=None, python_implementation="", python_abi_flags=""
    )
