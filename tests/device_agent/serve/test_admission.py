"""The bounded queue: who gets a place, who is turned away, and that nobody who was let in is lost."""

from __future__ import annotations

import threading
import time

import pytest

from device_agent.errors import DataError
from device_agent.serve.admission import DeadlineExceeded, Pool, TurnedAway


class Gate:
    """An agent whose work takes until the gate is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()

    def pass_through(self) -> str:
        self.begun.set()
        assert self.open.wait(20)
        return "done"


def run_in_thread(place, work):
    results: list = []

    def run() -> None:
        try:
            results.append(place.run(work))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def wait_until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_as_many_get_in_as_there_are_places_and_each_gets_its_answer():
    gate = Gate()
    pool = Pool("net", [gate], queue=2)
    places = [pool.enter(20) for _ in range(3)]
    with pytest.raises(TurnedAway) as refused:
        pool.enter(20)
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("queue", 1)
    running = [
        run_in_thread(place, lambda agent, n=n: (agent.pass_through(), n)) for n, place in enumerate(places)
    ]
    wait_until(lambda: pool.queued == 2 and pool.busy == 1)
    gate.open.set()
    for number, (thread, results) in enumerate(running):
        thread.join()
        assert results == [("done", number)]
    assert (pool.held, pool.waiting_and_running.count) == (0, 3)
    pool.close()


def test_a_place_is_free_again_when_its_request_turns_out_to_be_none():
    pool = Pool("net", [Gate()], queue=0)
    place = pool.enter(1)
    place.leave()
    place.leave()
    assert pool.held == 0
    pool.enter(1).leave()
    pool.close()


def test_what_an_inference_raises_comes_out_where_it_was_asked_for():
    pool = Pool("net", [Gate()], queue=0)

    def refuse(agent):
        raise DataError("no image")

    with pytest.raises(DataError, match="no image"):
        pool.enter(5).run(refuse)
    assert pool.enter(5).run(lambda agent: 3) == 3
    pool.close()


def test_who_waits_too_long_is_told_so_and_the_place_is_free_when_the_work_ends():
    gate = Gate()
    pool = Pool("net", [gate], queue=1)
    running, results = run_in_thread(pool.enter(0.2), Gate.pass_through)
    assert gate.begun.wait(10)
    ran = []
    waiting, other = run_in_thread(pool.enter(0.2), lambda agent: ran.append(1))
    running.join()
    waiting.join()
    assert [type(result) for result in results + other] == [DeadlineExceeded] * 2
    assert pool.held == 2  # the interpreter is still at work for the first
    gate.open.set()
    wait_until(lambda: pool.held == 0)
    assert ran == []  # nobody wanted it any more
    pool.close()


def test_who_would_wait_too_long_is_turned_away_at_the_door():
    pool = Pool("net", [Gate()], queue=10)
    for _ in range(3):
        pool.enter(5).run(lambda agent: time.sleep(0.2))
    places = [pool.enter(5) for _ in range(5)]
    with pytest.raises(TurnedAway, match="too late") as refused:
        pool.enter(0.5)
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("deadline", 2)
    for place in places:
        place.leave()
    pool.enter(0.5).leave()
    pool.close()


def test_closing_answers_what_was_accepted_and_lets_nobody_in():
    gate, before = Gate(), set(threading.enumerate())
    pool = Pool("net", [gate], queue=5)
    running = [run_in_thread(pool.enter(20), Gate.pass_through) for _ in range(4)]
    late = pool.enter(20)  # has a place; its body is still on the way
    pool.close()
    with pytest.raises(TurnedAway) as refused:
        pool.enter(20)
    assert refused.value.reason == "stopping"
    assert not pool.drained(0.1)
    gate.open.set()
    assert late.run(Gate.pass_through) == "done"
    assert pool.drained(10)
    for thread, results in running:
        thread.join()
        assert results == ["done"]
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_two_workers_work_at_once_and_each_gives_a_sign_of_life():
    gates = [Gate(), Gate()]
    checks = []
    pool = Pool("net", gates, queue=4, check=checks.append)
    running = [run_in_thread(pool.enter(20), Gate.pass_through) for _ in range(2)]
    wait_until(lambda: pool.busy == 2)
    pool.begin_check()
    time.sleep(0.05)
    assert not pool.checked()  # both are inside an inference
    gates[0].open.set()
    time.sleep(0.1)
    assert not pool.checked()  # one still is: it may hang
    gates[1].open.set()
    wait_until(pool.checked)
    assert checks == []  # both had just answered somebody
    pool.begin_check()
    wait_until(pool.checked)
    assert sorted(map(id, checks)) == sorted(map(id, gates))
    for thread, _ in running:
        thread.join()
    pool.close()


def test_a_worker_that_fails_its_check_gives_no_sign_and_goes_on():
    def check(agent):
        raise RuntimeError("the interpreter is broken")

    pool = Pool("net", [Gate()], queue=1, check=check)
    pool.begin_check()
    time.sleep(0.1)
    assert not pool.checked()
    assert pool.enter(5).run(lambda agent: 1) == 1
    pool.begin_check()
    wait_until(pool.checked)
    pool.close()


def test_a_sign_of_life_does_not_wait_for_the_queue():
    gate = Gate()
    pool = Pool("net", [gate], queue=50)
    running = [run_in_thread(pool.enter(20), Gate.pass_through) for _ in range(30)]
    wait_until(lambda: pool.queued == 29)
    pool.begin_check()
    order = []
    gate.pass_through = lambda: (order.append(pool.checked()), "done")[1]  # type: ignore[method-assign]
    gate.open.set()
    for thread, _ in running:
        thread.join()
    assert pool.checked()
    pool.close()
