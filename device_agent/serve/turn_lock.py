"""Of the threads that talk to clients only one computes at a time; the others wait outside of Python.

Python runs one thread at a time anyway, but it is not fair: with dozens of threads that each have an answer of 503 to
write, a worker that comes back from an inference stands in line with all of them. Threads that wait for a lock do not
stand in that line, and a thread that runs lets go after :data:`SWITCH_SECONDS`. Either alone changes little; both
together leave a flooded server most of the answers that it can give (``benchmarks/speed/serve_load.py``,
docs/serve.md).
"""

from __future__ import annotations

import threading
from typing import Any

#: After so long a thread has to let another one run; Python's own 5 ms are ten inferences of a small network.
SWITCH_SECONDS = 5e-4

#: Held by a thread while it reads, decides and writes for a client.
TURN = threading.Lock()


class _Away:
    """``with AWAY``: the turn is another's while this thread waits for a client or for an answer."""

    def __enter__(self) -> None:
        TURN.release()

    def __exit__(self, *exception: Any) -> None:
        TURN.acquire()


AWAY = _Away()
