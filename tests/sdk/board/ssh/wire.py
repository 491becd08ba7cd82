"""A wire between a client and a server on the loopback that can be cut, at any byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any


class Wire:
    """Passes on what either side sends. ``cut_after``: how many bytes of the client's get through before the cut;
    ``cut_at_message``: which message of either side does not, counted from :meth:`count_from_here` on.

    ``server`` is a Server of conftest.py. A context manager; ``passed`` counts the client's bytes, ``messages`` what
    either side sent in one go.
    """

    def __init__(
        self,
        server: Any,
        cut_after: int | None = None,
        cut_at_message: int | None = None,
        hold_seconds: float = 0.0,
    ) -> None:
        self._server = server
        self._hold_seconds = hold_seconds
        self._cut_after = cut_after
        self._cut_at_message = cut_at_message
        self._counting = False
        self._lock = threading.Lock()
        self.messages = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.passed = 0

    def __enter__(self) -> Wire:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def login(self) -> dict[str, Any]:
        """What to change in the server's login, so that the connection goes through here."""
        login = self._server.login
        alias = login.get("host_key_alias") or f"[127.0.0.1]:{login['port']}"
        return {"port": self._listener.getsockname()[1], "host_key_alias": alias}

    def count_from_here(self) -> None:
        """What was said so far, the handshake and the login, is not a message."""
        self._counting = True

    def _is_the_one(self) -> bool:
        with self._lock:
            number = self.messages
            self.messages += self._counting
            return self._counting and number == self._cut_at_message

    def cut(self) -> None:
        for end in (*self._ends, self._listener):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._server.login["port"]))
            self._ends = [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if self._is_the_one():
                    self.cut()
                    return
                if counted and self._cut_after is not None and self.passed + len(data) >= self._cut_after:
                    target.sendall(data[: self._cut_after - self.passed])
                    # What was sent has arrived by then, as over a slow link; it may still stand in buffers otherwise.
                    time.sleep(self._hold_seconds)
                    self.cut()
                    return
                target.sendall(data)
                if counted:
                    self.passed += len(data)
        self.cut()
