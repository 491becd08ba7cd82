"""The choice of threads: by measurement, fewer on a tie, no more than there are cores."""

from __future__ import annotations

import os

import pytest

from device_agent.errors import AgentError
from device_agent.measuring import threads
from device_agent.run import conditions


class Clock:
    """Stands still but for what it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def board(seconds: dict[int, float], clock: Clock, made: list[int]):
    def make(n: int):
        made.append(n)

        def invoke() -> None:
            clock.now += seconds[n]

        return invoke

    return make


def measured(seconds: dict[int, float], cores: int) -> tuple[threads.ThreadChoice, list[int]]:
    clock, made = Clock(), []
    return threads.measure(board(seconds, clock, made), cores, clock=clock), made


def test_the_fastest_number_of_threads_is_taken():
    choice, made = measured({1: 0.040, 2: 0.022, 3: 0.016, 4: 0.013}, 4)
    assert (choice.threads, made) == (4, [1, 2, 3, 4])
    # 91 ms a round, one of them not sampled, and none begins after a second.
    assert [len(taken) for taken in choice.samples_seconds.values()] == [10] * 4


def test_on_a_tie_fewer_threads_are_taken():
    assert measured({1: 0.010, 2: 0.0097, 3: 0.0098, 4: 0.012}, 4)[0].threads == 1
    assert measured({1: 0.020, 2: 0.0101, 3: 0.0100, 4: 0.0099}, 4)[0].threads == 2


def test_one_core_needs_no_measurement():
    choice, made = measured({1: 0.01}, 1)
    assert (choice.threads, made, dict(choice.samples_seconds)) == (1, [], {})


def test_a_slow_model_is_measured_once_each_and_no_more():
    clock, made = Clock(), []
    choice = threads.measure(board({1: 4.0, 2: 2.2}, clock, made), 2, clock=clock)
    assert choice.threads == 2
    assert clock.now == pytest.approx(2 * 6.2)


def test_many_cores_are_tried_in_steps_of_two():
    assert threads.candidates(4) == (1, 2, 3, 4)
    assert threads.candidates(7) == (1, 2, 3, 4, 6)
    assert threads.candidates(64) == (1, 2, 3, 4, 6, 8, 10, 12)


def test_what_the_runtime_does_not_give_is_left_out():
    def make(n: int):
        if n > 2:
            raise AgentError("no memory")
        return lambda: None

    assert set(threads.measure(make, 4).samples_seconds) == {1, 2}


def test_a_cgroup_limits_the_cores(tmp_path):
    allowed = len(os.sched_getaffinity(0))
    assert conditions.usable_cores(tmp_path) == allowed
    group = tmp_path / "sys/fs/cgroup/system.slice/app.service"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/app.service\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert conditions.read_cpu_quota(tmp_path) is None
    (group.parent / "cpu.max").write_text("150000 100000\n")
    assert conditions.read_cpu_quota(tmp_path) == 1.5
    assert conditions.usable_cores(tmp_path) == 1
    (group.parent / "cpu.max").unlink()
    old = tmp_path / "sys/fs/cgroup/cpu"
    old.mkdir()
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert conditions.read_cpu_quota(tmp_path) is None
    (old / "cpu.cfs_quota_us").write_text("50000\n")
    assert conditions.read_cpu_quota(tmp_path) == 0.5
    assert conditions.usable_cores(tmp_path) == 1


def test_threads_started_near_the_big_cores_stay_there_and_the_caller_does_not(tmp_path):
    before = os.sched_getaffinity(0)
    big = max(before)
    for cpu in (*sorted(before - {big})[:1], big):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text("1024" if cpu == big else "400")
    with conditions.near_big_cores(tmp_path):
        assert os.sched_getaffinity(0) == ({big} if len(before) > 1 else before)
    assert os.sched_getaffinity(0) == before
