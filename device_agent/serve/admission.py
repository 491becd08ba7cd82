"""One model behind a bounded queue: a request is let in or turned away at once, and what was let in is answered.

A request takes a place once its body is there, waits, runs on one of the workers, and gives the place back. A client
that sends only a head takes none, and a request that finds no place is told so before its body is read. There are
``queue`` places for requests that wait and one for each worker. When all are taken, or when the requests in front would
take longer than the new one may wait, it is turned away with the time after which to try again. This is load shedding
at admission, as in D. Sheehan and others, "Site Reliability Engineering", chapter 21; no accepted request is dropped
for it.

Each worker is a thread with an :class:`~device_agent.run.agent.Agent`, and so an interpreter, of its own.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
import traceback
from typing import Any, Callable, Iterator, Sequence

from device_agent.errors import AgentError, ArmletError
from device_agent.run.histogram import LatencyHistogram

#: Weight of the newest inference in the running mean of how long one takes.
_NEWEST = 0.1


class TurnedAway(AgentError):
    """There is no place for a request now. ``reason`` is "queue", "deadline" or "stopping"."""

    def __init__(self, what: str, reason: str, retry_after_seconds: int, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(AgentError):
    """A request was let in, and its time was over before it was answered."""


class QueuePlace:
    """A place in the pool. It is given back by the worker that ran what was submitted, or by ``leave``."""

    def __init__(self, pool: Pool, deadline: float) -> None:
        self._pool = pool
        self._left = False
        #: time.monotonic() until which the answer is wanted.
        self.deadline = deadline
        self.entered = time.monotonic()

    def leave(self) -> None:
        """Gives the place back, once."""
        if not self._left:
            self._left = True
            self._pool.free()

    def check_time(self) -> None:
        """Raises DeadlineExceeded where nobody waits for the answer any longer."""
        if time.monotonic() >= self.deadline:
            raise _too_late()

    def run(self, work: Callable[[Any], Any]) -> Any:
        """Queues ``work``, which is called with an Agent, and waits for what it returns or raises.

        Raises DeadlineExceeded where the result does not come in time; work that has begun by then is finished for
        nothing.
        """
        job = _Job(work, self)
        self._pool.enqueue(job)
        if not job.done.wait(max(0.0, self.deadline - time.monotonic())):
            job.abandoned = True
            raise _too_late()
        if job.error is not None:
            raise job.error
        return job.result


class _Job:
    def __init__(self, work: Callable[[Any], Any], place: QueuePlace) -> None:
        self.work, self.place = work, place
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None
        self.abandoned = False

    def run(self, agent: Any) -> None:
        if self.abandoned or time.monotonic() >= self.place.deadline:
            self.error = _too_late()
            return
        try:
            self.result = self.work(agent)
        except Exception as error:
            self.error = error


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the answer was not ready in time", hint="Try again, or allow more time.")


class Pool:
    """The workers of one model and those who wait for them. ``check`` is called with an Agent to see that it works."""

    def __init__(
        self, name: str, agents: Sequence[Any], queue: int, check: Callable[[Any], Any] | None = None
    ) -> None:
        self.name = name
        self.agents = tuple(agents)
        #: Places: those who wait and those who are served.
        self.capacity = queue + len(self.agents)
        #: From a request's entry to its answer, and what of it a worker took.
        self.waiting_and_running = LatencyHistogram()
        self.running = LatencyHistogram()
        self._check = check
        self._lock = threading.Condition()
        self._jobs: collections.deque[_Job] = collections.deque()
        self._held = 0
        self._coming = 0
        self._busy = 0
        self._mean_seconds = 0.0
        self._closed = False
        self._round = 0
        self._rounds_seen = [0] * len(self.agents)
        self._rounds_passed = [0] * len(self.agents)
        self._served_since_check = [False] * len(self.agents)
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"armlet-{name}-{number}", daemon=True)
            for number in range(len(self.agents))
        ]
        for thread in self._threads:
            thread.start()

    # -- entering -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def coming(self, seconds: float) -> Iterator[None]:
        """While the body of a request is on its way. Raises TurnedAway where there is no room for it now already.

        The request holds no place. A server that is told to end meanwhile waits for it, and lets it in.
        """
        with self._lock:
            if self._closed:
                raise TurnedAway("this server is stopping", "stopping", 1)
            self._check_room(seconds)
            self._coming += 1
        try:
            yield
        finally:
            with self._lock:
                self._coming -= 1
                self._lock.notify_all()

    def enter(self, seconds: float) -> QueuePlace:
        """A place for a request that wants its answer within this many seconds. Raises TurnedAway, DeadlineExceeded."""
        with self._lock:
            if seconds <= 0.0:
                raise _too_late()  # its body took so long
            if self._closed and self._coming == 0:
                raise TurnedAway("this server is stopping", "stopping", 1)
            self._check_room(seconds)
            self._held += 1
        return QueuePlace(self, time.monotonic() + seconds)

    def _check_room(self, seconds: float) -> None:
        """Raises TurnedAway. The caller holds the lock."""
        wait = self._held * self._mean_seconds / len(self.agents)
        again = max(1, math.ceil(wait))
        if self._held >= self.capacity:
            raise TurnedAway(
                f"{self.name} is busy: its queue is full",
                "queue",
                again,
                expected=f"fewer than {self.capacity} requests at once",
                found=str(self._held),
                hint=f"Try again in {again} s.",
            )
        if wait > seconds:
            raise TurnedAway(
                f"{self.name} is busy: the answer would come too late",
                "deadline",
                again,
                expected=f"a wait of at most {seconds:g} s",
                found=f"about {wait:.3g} s",
                hint=f"Try again in {again} s.",
            )

    def enqueue(self, job: _Job) -> None:
        """Hands a request to the next worker that is free."""
        with self._lock:
            self._jobs.append(job)
            self._lock.notify_all()  # one alone could go to who waits for the end

    def free(self) -> None:
        """Gives one place back."""
        with self._lock:
            self._held -= 1
            self._lock.notify_all()

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Places that are taken."""
        return self._held

    @property
    def coming_in(self) -> int:
        """Requests whose body is on its way."""
        return self._coming

    @property
    def queued(self) -> int:
        """Requests that are let in, whole, and wait for a worker."""
        return len(self._jobs)

    @property
    def busy(self) -> int:
        """Workers at work."""
        return self._busy

    def begin_check(self) -> None:
        """Asks each worker for a sign of life, which it gives between two inferences."""
        with self._lock:
            self._round += 1
            self._lock.notify_all()

    def checked(self) -> bool:
        """Whether all workers have given it since."""
        with self._lock:
            return all(passed == self._round for passed in self._rounds_passed)

    # -- ending -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Turns away new requests from now on; workers end when everything that was accepted is answered."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def drained(self, seconds: float) -> bool:
        """Waits until nobody holds a place; False where that took too long."""
        with self._lock:
            return self._lock.wait_for(lambda: self._held + self._coming == 0, max(0.0, seconds))

    # -- workers ------------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        agent = self.agents[number]
        while True:
            with self._lock:
                while not self._jobs and self._rounds_seen[number] == self._round:
                    if self._closed and self._held == 0 and self._coming == 0:
                        return
                    self._lock.wait()
                turn = self._round
                checking = self._rounds_seen[number] != turn
                self._rounds_seen[number] = turn
                job = None if checking else self._jobs.popleft()
                self._busy += 1
            try:
                if job is None:
                    self._give_sign(number, agent, turn)
                else:
                    self._answer(job, agent)
                    self._served_since_check[number] = True
            finally:
                with self._lock:
                    self._busy -= 1

    def _answer(self, job: _Job, agent: Any) -> None:
        start = time.monotonic()
        job.run(agent)
        end = time.monotonic()
        if job.error is None:
            self.running.record(end - start)
            self.waiting_and_running.record(end - job.place.entered)
            with self._lock:
                mean = self._mean_seconds or end - start
                self._mean_seconds = mean + _NEWEST * (end - start - mean)
        job.place.leave()
        job.done.set()

    def _give_sign(self, number: int, agent: Any, turn: int) -> None:
        # A worker that answered since the last time works; an idle worker shows it by an inference.
        if self._check is not None and not self._served_since_check[number]:
            try:
                self._check(agent)
            except ArmletError:
                pass  # a refusal is an answer
            except Exception:
                traceback.print_exc()
                return  # no sign of life: the watchdog is for this
        self._served_since_check[number] = False
        with self._lock:
            self._rounds_passed[number] = turn
