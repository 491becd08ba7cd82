"""What tests on an emulated core need to be there; without it they are skipped, in CI they fail."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from sdk.board.emulation import tools, userland
from sdk.deploy.provision import downloading
from sdk.deploy.provision.instructions import runtime_environment
from sdk.errors import ProvisionError

FETCH = {
    "aarch64": "run `sdk board fetch virtual-arm64 --all-runtimes`",
    "armv7l": "run `sdk board fetch virtual-armhf`",
}


def missing(reason: str, machine: str = "aarch64") -> NoReturn:
    """Skips; but CI installs all that the 64-bit board needs, so there a test that finds it missing has failed."""
    if os.environ.get("CI") and machine == "aarch64":
        pytest.fail(f"CI has no {reason}")
    pytest.skip(f"no {reason}")


def need_userland(machine: str = "aarch64") -> None:
    """Tests do not download: the userland has to be in the cache."""
    if not userland.archive_path(machine).exists():
        missing(f"userland for {machine} in the cache: {FETCH[machine]}", machine)


def need_counting(machine: str = "aarch64") -> None:
    need_userland(machine)
    if shutil.which(tools.QEMU[machine]) is None:
        missing(f"{tools.QEMU[machine]}: apt-get install qemu-user", machine)


def need_runtime(name: str, machine: str = "aarch64") -> None:
    """Its wheels are in the cache."""

    def refuse(*arguments: object) -> NoReturn:
        raise ProvisionError("tests do not download")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloading, "run_pip", refuse)
        try:
            runtime_environment(machine, name)
        except ProvisionError:
            missing(f"{name} for {machine} in the cache: {FETCH[machine]}", machine)


def need_virtual_board(machine: str = "aarch64") -> None:
    need_userland(machine)
    for tool in (f"{tools.QEMU[machine]}-static", "sshd", "ssh-keygen", "unshare"):
        if tools.which(tool) is None:
            missing(
                f"{tool}: apt-get install qemu-user-static openssh-server openssh-client util-linux", machine
            )
    if os.geteuid() != 0:
        pytest.skip("a virtual board is started by root")
