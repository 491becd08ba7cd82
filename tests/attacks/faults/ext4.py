"""Cuts the power of a real ext4: an image in a loop device, copied at some moment while it is mounted and written to.

    python -m tests.attacks.faults.ext4 [MOMENTS] [SEED]        as root: it mounts; 40 moments in a few minutes

The copy holds what had reached the disk; mounting it replays the journal, as the board does when the power is back.
Half of the moments are while the work is done, half in the seconds after it, when nothing has asked for a sync any
more. A copy counts when the image did not change while it was made.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.attacks.faults.disk import ROOT, fingerprint
from tests.attacks.faults.harness import place
from tests.attacks.faults.scenarios import DEPLOYS, SCENARIOS, Scenario

IMAGE_BYTES = 64 << 20
#: What a board's disk holds; the host's caches are tried by the harness.
ON_A_BOARD = (DEPLOYS, *(SCENARIOS[name] for name in ("environments", "provisioning", "starts", "services")))


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    """The file system of an image, at ``where``."""
    subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
    try:
        yield where / "disk"
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def new_image(image: Path, where: Path, scenario: Scenario) -> None:
    """An ext4 on which the scenario is prepared, and everything synced."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(image)], check=True)
    with mounted(image, where) as root:
        root.mkdir(mode=0o700)
        scenario.prepare(root)
        subprocess.run(["sync", "-f", str(root)], check=True)


def cut(scenario: Scenario, image: Path, where: Path, *, after: float, wait: float) -> Path:
    """The image as a power cut leaves it: ``after`` seconds from the first change of the work, if it takes so long, and
    ``wait`` more."""
    copy = image.with_name("cut.img")
    with mounted(image, where) as root:
        command = [sys.executable, "-B", "-m", "tests.attacks.faults.scenarios", scenario.name, str(root)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(root)}
        work = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert work.stdin is not None
        work.stdin.write(b"work\n")
        work.stdin.close()
        before = fingerprint(root)
        while work.poll() is None and not _changed(root, before):
            time.sleep(0.001)
        try:
            work.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(work.pid, signal.SIGSTOP)
        time.sleep(wait)
        _copy(image, copy)
        os.killpg(work.pid, signal.SIGKILL) if work.poll() is None else None
        work.wait()
    return copy


def _changed(root: Path, before: tuple) -> bool:
    try:
        return fingerprint(root) != before
    except OSError:  # what was there when the folder was listed is not any more
        return True


def _copy(image: Path, copy: Path) -> None:
    for _ in range(50):
        shutil.copyfile(image, copy)
        if subprocess.run(["cmp", "-s", str(image), str(copy)]).returncode == 0:
            return
    raise RuntimeError("the image never stood still")


def main(arguments: list[str]) -> int:
    """The exit status is 1 where something was lost, 77 where nothing can be mounted here."""
    if os.geteuid() != 0 or shutil.which("mke2fs") is None:
        print("not tried: mounting an image takes root and mke2fs")
        return 77
    moments = int(arguments[0]) if arguments else 40
    rng = random.Random(int(arguments[1]) if len(arguments) > 1 else 2026)
    tried: Counter[str] = Counter()
    lost: list[str] = []
    with place() as folder:
        image, where = folder / "disk.img", folder / "mounted"
        where.mkdir()
        for moment in range(moments):
            scenario = ON_A_BOARD[moment % len(ON_A_BOARD)]
            new_image(image, where, scenario)
            within = moment // len(ON_A_BOARD) % 2 == 0
            after = rng.choice((0.002, 0.01, 0.05, 0.2, 1.0)) * rng.random() if within else 60.0
            wait = 0.0 if within else rng.uniform(0.0, 8.0)
            copy = cut(scenario, image, where, after=after, wait=wait)
            what = f"{scenario.name}, cut " + (
                f"{after:.3f} s after its first change" if within else f"{wait:.1f} s after it"
            )
            tried[scenario.name] += 1
            try:
                with mounted(copy, where) as root:
                    scenario.right(root)
            except Exception:
                lost.append(f"{what}\n{traceback.format_exc(limit=-3)}")
            print(what, "LOST" if lost and lost[-1].startswith(what) else "", flush=True)
    for one in lost:
        print(one)
    print(f"{sum(tried.values())} power cuts of an ext4, {len(lost)} of them lost something: {dict(tried)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
