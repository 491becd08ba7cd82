"""Deploys on a file system that is really full and really read-only, where this user may mount one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("small_disk.py")
NAMESPACE = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("disk")
    allowed = shutil.which("unshare") is not None and (
        subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True
        ).returncode
        == 0
    )
    if not allowed:
        pytest.skip("this user may not mount anything, in a namespace neither")
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(SCRIPT), str(folder), str(1 << 20)],
        cwd=SCRIPT.parents[2],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_package_that_does_not_fit_is_refused_and_the_old_release_answers(told):
    assert told["first"]["state"] == "confirmed"
    assert told["full"]["error"] == "StoreError"
    assert "No space left on device" in told["full"]["found"]
    assert "free some space" in told["full"]["hint"]
    assert told["still"]


def test_the_next_deploy_of_what_fits_succeeds_without_help(told):
    assert told["after"]["state"] == "confirmed"


def test_a_read_only_disk_is_named_and_what_runs_goes_on_running(told):
    assert "Read-only file system" in json.dumps(told["read_only"])
    assert told["reads"]
    assert told["status"] == 0


def test_once_it_can_be_written_again_nothing_is_left_over(told):
    assert told["writable"]["state"] == "confirmed"
    files = [file for file in told["files"] if not file.startswith("store/releases/")]
    blobs = sorted(f"store/blobs/{digest}" for digest in told["blobs"])
    assert files == [*blobs, "store/lock", "store/slots/net.json"]
    assert len(told["files"]) == len(files) + 2
