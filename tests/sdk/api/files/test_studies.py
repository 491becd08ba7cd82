"""Studies that several workers share."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sdk.api.files.studies import open_study
from sdk.errors import DataError

#: Waits until a moment, so that all start at once.
WORKER = """
import sys, time
import optuna
from sdk.api.files.studies import open_study
print(flush=True)
sys.stdin.readline()
study = open_study(sys.argv[1])
study.tell(study.ask(), 1.0)
"""


def test_workers_that_start_on_a_fresh_file_at_the_same_moment_all_live(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, said
    assert len(open_study(url).trials) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/study.db", "sqlite:"])
def test_a_file_that_cannot_be_opened_is_one_clear_error(url) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        open_study(url)
