"""Waits for the output of other processes on every system: where only sockets can be polled, threads read pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from typing import IO

READ_BYTES = 1 << 20
#: How long a thread may take to notice that its process has ended.
END_SECONDS = 2.0


class Blocks:
    """The blocks that arrive on some pipes, in order."""

    def __init__(self, *streams: IO[bytes]) -> None:
        self._arrived: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._read, args=(number, stream.fileno()), name="pipe", daemon=True)
            for number, stream in enumerate(streams)
        ]
        for thread in self._threads:
            thread.start()

    def next(self, deadline: float) -> tuple[int, bytes] | None:
        """The number of a pipe and what came on it, b"" at its end; None where nothing comes until ``deadline``, a
        moment of ``time.monotonic()``."""
        with contextlib.suppress(queue.Empty):
            return self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
        return None

    def stop(self) -> None:
        """To be called when the process has been ended, before its pipes are closed: nobody reads them any more."""
        self._stopped = True
        for thread in self._threads:
            thread.join(END_SECONDS)

    def _read(self, number: int, descriptor: int) -> None:
        block = b"..."
        while block and not self._stopped:
            try:
                block = os.read(descriptor, READ_BYTES)
            except OSError:  # closed
                block = b""
            self._arrived.put((number, block))
