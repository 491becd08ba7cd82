"""Rolls one release out over many boards: a canary, then batches; stops at too many failures, takes back what it did.

The caller says what is done to a board: ``deploy`` and ``revert`` are called for many boards at once, each in a thread.
This module decides which board comes when, when to stop, and which changes were this rollout's
(:mod:`sdk.deploy.fleet.journal`): a board that ran the release before the rollout is never taken back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sdk.deploy.fleet.journal import Journal
from sdk.deploy.fleet.plan import RolloutPlan
from sdk.errors import ArmletError, ConnectionFailed

#: What became of a board. The first two are what a rollout is for.
CONFIRMED = "confirmed"  # by this rollout
UNCHANGED = "unchanged"  # ran the release before
FAILED = "failed"  # tried, and sent back by the board's own health check, or refused
UNREACHABLE = "unreachable"
WAITING = "waiting"  # its turn did not come
RUNNING = "running"
REVERTED = "reverted"  # confirmed, then taken back because the rollout was stopped
NOT_REVERTED = "not reverted"  # confirmed, and could not be taken back

GOOD = (CONFIRMED, UNCHANGED)
BAD = (FAILED, UNREACHABLE)


@dataclass(frozen=True)
class Outcome:
    """One board in a rollout. ``details``: what the deploy said beside; ``ours``: this rollout changed, or may have
    changed, what runs there."""

    name: str
    address: str
    wave: str = ""
    state: str = WAITING
    #: What is being done, while it is; then why it ended as it did.
    reason: str = ""
    seconds: float = 0.0
    ours: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


#: Is told of every change, from any thread.
Watch = Callable[[Sequence[Outcome]], None]
Deploy = Callable[[str, Callable[[], None], Callable[[str], None]], Mapping[str, Any]]


class Rollout:
    """One run of a rollout over ``boards`` (name -> address).

    ``deploy(name, installing, stage)`` makes the release run there and returns facts, ``state`` among them; it calls
    ``installing`` before it changes anything, and ``stage`` with what it does. ``revert(name, reason)`` takes it back;
    it returns False where the release does not run there. Both raise ArmletError. ``abort`` closes all connections.
    ``watch`` is called with every change, from any thread.
    """

    def __init__(
        self,
        boards: Mapping[str, str],
        plan: RolloutPlan,
        journal: Journal,
        *,
        deploy: Deploy,
        revert: Callable[[str, str], bool],
        abort: Callable[[], None] = lambda: None,
        watch: Watch = lambda outcomes: None,
    ) -> None:
        self._plan, self._journal = plan, journal
        self._deploy, self._revert, self._abort, self._watch = deploy, revert, abort, watch
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._waves = plan.waves(list(boards))
        self._outcomes = {
            name: Outcome(name, boards[name], wave, ours=journal.is_ours(name, boards[name]))
            for wave, names in self._waves
            for name in names
        }
        self.interrupted = False
        #: Why no further boards are tried; "" while they are.
        self.stopped = ""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How each board stands, in the order of the inventory."""
        with self._lock:
            return tuple(self._outcomes.values())

    def run(self) -> tuple[Outcome, ...]:
        """Every board's outcome. Ctrl-C lets the boards finish that are being changed, a second one cuts them off;
        either way the next run goes on from there."""
        with (
            self._ctrl_c_ends_it(),
            ThreadPoolExecutor(self._plan.parallel, thread_name_prefix="board") as pool,
        ):
            for _, names in self._waves:
                self._all(pool, self._one, names)
                if self._stop.is_set():
                    break
            if self.stopped and not self.interrupted and self._plan.on_failure == "revert":
                self._stop.clear()
                self._all(pool, self._take_back, [o.name for o in self.outcomes if o.ours])
        if not self.interrupted and not (self.stopped and any(o.ours for o in self.outcomes)):
            self._journal.remove()
        return self.outcomes

    def _all(self, pool: ThreadPoolExecutor, work: Callable[[str], None], names: Iterable[str]) -> None:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in futures:
                future.result()  # raises when the disk of the journal is full, say: nothing may go on without it
        except BaseException:
            self._stop.set()
            raise

    @contextlib.contextmanager
    def _ctrl_c_ends_it(self) -> Iterator[None]:
        """A handler rather than KeyboardInterrupt, which would come up anywhere, also between two boards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handler(number: int, frame: object) -> None:
            if self.interrupted:
                self._abort()
            self.interrupted = True
            self._stop.set()

        before = signal.signal(signal.SIGINT, handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    # -- one board, in a thread of its own ----------------------------------------------------------------------

    def _one(self, name: str) -> None:
        if self._stop.is_set():
            return
        begun = time.monotonic()
        self._set(name, state=RUNNING)

        def installing() -> None:
            self._record(name, "installing", ours=True)

        def stage(text: str) -> None:
            self._set(name, reason=text)

        try:
            details = dict(self._deploy(name, installing, stage))
        except Exception as error:
            state = UNREACHABLE if isinstance(error, ConnectionFailed) else FAILED
            # Once it was sent something, only the board knows what runs there: `ours` stays, and taking back asks it.
            self._record(name, state, reason=_words(error), seconds=time.monotonic() - begun)
            self._judge(name)
            return
        state = str(details.pop("state"))
        if state == UNCHANGED and self._outcome(name).ours:
            state = CONFIRMED  # by an earlier run of this rollout, which did not hear of it
        self._record(
            name, state, reason="", ours=state == CONFIRMED, seconds=time.monotonic() - begun, details=details
        )

    def _judge(self, name: str) -> None:
        """Whether a failure is one too many."""
        with self._lock:
            failed = [o for o in self._outcomes.values() if o.state in BAD]
            if self._outcomes[name].wave == "canary":
                self.stopped = self.stopped or "a board of the canary failed"
            elif len(failed) > self._plan.max_failures:
                boards = "board" if len(failed) == 1 else "boards"
                self.stopped = f"{len(failed)} {boards} failed, at most {self._plan.max_failures} may"
            if self.stopped:
                self._stop.set()

    def _take_back(self, name: str) -> None:
        if self._stop.is_set():
            return
        before = self._outcome(name)
        self._set(name, state=RUNNING, reason="take back")
        try:
            taken_back = self._revert(name, f"the rollout was stopped: {self.stopped}")
        except Exception as error:
            if before.state not in BAD:
                self._record(name, NOT_REVERTED, reason=_words(error))
            else:  # as little is known of it as before
                self._set(name, state=before.state, reason=before.reason)
            return
        if before.state in BAD:
            reason = f"{before.reason}; taken back" if taken_back else before.reason
            self._record(name, before.state, reason=reason, ours=False)
        else:
            reason = self.stopped if taken_back else "somebody else deployed another release since"
            self._record(name, REVERTED, reason=reason, ours=False)

    def _outcome(self, name: str) -> Outcome:
        with self._lock:
            return self._outcomes[name]

    def _set(self, name: str, **changes: Any) -> Outcome:
        with self._lock:
            outcome = self._outcomes[name] = dataclasses.replace(self._outcomes[name], **changes)
            outcomes = tuple(self._outcomes.values())
        self._watch(outcomes)
        return outcome

    def _record(self, name: str, state: str, **changes: Any) -> None:
        """As :meth:`_set`, and on the disk before anything else happens."""
        known = self._outcome(name)
        self._journal.write(name, known.address, state, ours=changes.get("ours", known.ours))
        self._set(name, state=RUNNING if state == "installing" else state, **changes)


def _words(error: Exception) -> str:
    """Why a board failed. One that drives us into a defect must not end the rollout over all others."""
    if isinstance(error, (ArmletError, OSError)):
        return str(error)
    return f"failed unexpectedly: {type(error).__name__}: {error}"
