"""A real user instance of systemd, in a mount namespace of its own, where the machine that runs the tests allows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SYSTEMD = Path("/lib/systemd/systemd")

#: Runs in the namespace: what systemd insists on, and nothing that the machine outside would see.
_SET_UP = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mkdir -p /run/systemd/system "/run/user/$(id -u)"
chmod 700 "/run/user/$(id -u)"
mkdir -p "/sys/fs/cgroup/$1"
echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
shift
exec "$@"
"""


class UserManager:
    """``systemd --user`` for a home folder; ``run`` runs commands where it can be seen."""

    def __init__(self, home: Path, log: Path) -> None:
        if os.getuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
            pytest.skip("a systemd of our own needs root, unshare and nsenter")
        if not SYSTEMD.exists() or shutil.which("systemctl") is None:
            pytest.skip("there is no systemd on this machine: apt-get install systemd")
        self._group = f"armlet-test-{os.getpid()}"
        self._log = open(log, "wb")  # noqa: SIM115 - closed with the manager
        command = [str(SYSTEMD), "--user", "--log-target=console", "--unit=default.target"]
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _SET_UP, "sh", self._group, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**self._environment(), "HOME": str(home)},
        )
        for _ in range(100):
            if self.process.poll() is not None:
                self.close()
                pytest.skip(f"systemd does not start here: {log.read_text()[-300:]}")
            if self.run("systemctl", "--user", "is-system-running", check=False).stdout.strip() == "running":
                return
            time.sleep(0.1)
        self.close()
        pytest.skip(f"systemd was not up within 10 s: {log.read_text()[-300:]}")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}

    def run(
        self, *command: str, check: bool = True, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command beside the manager."""
        return subprocess.run(
            ["nsenter", "--mount", "--target", str(self.process.pid), "--wd=" + os.getcwd(), *command],
            capture_output=True,
            text=True,
            check=check,
            env={**self._environment(), **(environment or {})},
            timeout=300,
        )

    def close(self) -> None:
        """Ends it and everything that it started."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            for path in sorted((folder / self._group).glob("**/"), reverse=True):
                try:
                    path.rmdir()
                except OSError:
                    continue  # a process of it is about to end; the folder is empty, and no harm
