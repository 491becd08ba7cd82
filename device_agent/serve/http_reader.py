"""Reads what a client sends, until a deadline and no further than a limit: for http.server instead of a file."""

from __future__ import annotations

import select
import socket
import time
from typing import Any, Callable, Mapping

from device_agent.errors import AgentError
from device_agent.serve.turn_lock import AWAY

#: When the server stops, a request that comes this soon is still told so.
LAST_WORD_MILLISECONDS = 50
BLOCK_BYTES = 1 << 16


class RequestRefused(AgentError):
    """A request is answered by an error. ``close``: the connection cannot go on after it."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        close: bool = False,
        headers: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(what, **parts)
        self.status = status
        self.close = close
        self.headers = dict(headers or {})


class Reader:
    """Reads a socket until a deadline; what http.server takes for a file.

    Everything but ``wait`` is called by the thread that has the turn (:mod:`device_agent.serve.turn_lock`).
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._deadline = 0.0
        self._budget = 0
        #: The client ended in the middle of a line.
        self.ended = False
        #: time.monotonic() since which it is the client's turn to send; None while it is ours to answer.
        self.waiting_since: float | None = time.monotonic()

    def wait(self, seconds: float, wake: Any) -> bool:
        """Waits for the first byte of a request; False where none comes in time, or where ``wake`` says stop."""
        self.waiting_since = time.monotonic()
        if self._buffer:
            return True
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(wake, select.POLLIN)
        poll.poll(1000.0 * seconds)
        poll.unregister(wake)
        if not poll.poll(LAST_WORD_MILLISECONDS):
            return False
        self._deadline = time.monotonic() + seconds
        return self._receive()

    def begin(self, seconds: float, budget: int = 0) -> None:
        """From now on everything has to come within ``seconds``, and lines may have ``budget`` bytes together."""
        self.waiting_since = time.monotonic()
        self._deadline = self.waiting_since + seconds
        self._budget = budget

    def _more(self) -> bool:
        with AWAY:
            return self._receive()

    def _receive(self) -> bool:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("the request did not come in time")
        self._connection.settimeout(remaining)
        block = self._connection.recv(BLOCK_BYTES)
        self._buffer += block
        return bool(block)

    def readline(self, size: int = -1) -> bytes:
        """The next line with its end, or what is left where the client has ended.

        Raises RequestRefused for a head above the budget.
        """
        looked = 0
        while True:
            end = self._buffer.find(b"\n", looked) + 1
            if (end or len(self._buffer)) > self._budget:
                raise RequestRefused(431, "the head of the request is too long", close=True)
            if end:
                break
            looked = len(self._buffer)
            if not self._more():
                end = len(self._buffer)
                self.ended = True
                break
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._budget -= end
        return line

    def read_exactly(self, count: int, hold: Callable[[int], None]) -> bytearray:
        """``count`` bytes, or fewer where the client ends before. ``hold`` is told of the bytes as they come."""
        taken = min(count, len(self._buffer))
        hold(taken)
        body = bytearray(count)  # memory is taken as it is written to
        body[:taken] = self._buffer[:taken]
        del self._buffer[:taken]
        with memoryview(body) as view:
            while taken < count:
                remaining = self._deadline - time.monotonic()
                if remaining <= 0:
                    raise socket.timeout("the body did not come in time")
                self._connection.settimeout(remaining)
                with AWAY:
                    received = self._connection.recv_into(view[taken:])
                if not received:
                    break
                hold(received)
                taken += received
        if taken < count:
            del body[taken:]
        return body

    def discard(self, count: int) -> bool:
        """Reads ``count`` bytes and forgets them; False where they do not come."""
        taken = min(count, len(self._buffer))
        del self._buffer[:taken]
        while taken < count:
            if not self._more():
                return False
            here = min(count - taken, len(self._buffer))
            del self._buffer[:here]
            taken += here
        return True

    def close(self) -> None:
        """Nothing: the socket is the server's."""
