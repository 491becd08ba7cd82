"""The listeners of ``serve``: a Unix socket that only its user may open, or TCP, on the loopback unless told otherwise.

One thread for each connection (socketserver), and a limit to their number. When a new connection finds no room, the one
that has been silent longest is closed for it. ``stop`` ends in order: no new connection is let in, idle ones are
closed, and those with a request in hand finish it.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import socketserver
import stat
import threading
import time
from pathlib import Path
from typing import Any, Iterator, cast

from device_agent.errors import AgentError
from device_agent.serve.http_connection import ConnectionLimits, HttpConnection

#: A client may keep us waiting so long before its connection makes room for another's.
PATIENCE_SECONDS = 0.5
#: Connections that the kernel holds ready while we are busy.
BACKLOG = 128

_TOO_MANY = (
    b'{"error":"RequestError","what":"this server has too many connections","expected":null,"found":null,'
    b'"hint":"Keep a connection open rather than many."}\n'
)
_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_MANY), _TOO_MANY)
)


class ByteBudget:
    """Bytes that all clients of a server may hold together. For many threads."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._changed = threading.Condition()

    def take(self, count: int, wait_seconds: float = 0.0) -> bool:
        """Takes bytes where this many are free, or become free in time; whether it did."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= count, wait_seconds):
                return False
            self._free -= count
            return True

    def give_back(self, count: int) -> None:
        """Frees what was taken."""
        with self._changed:
            self._free += count
            self._changed.notify_all()


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The common part of both kinds of server; ``handler`` is a HttpConnection that knows what to answer."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    #: How a person would name it.
    address_text = ""
    #: Names under which a request may ask for it; None: any.
    host_names: frozenset[str] | None = None

    def begin(self, limits: ConnectionLimits, max_connections: int) -> None:
        """To be called before anything is served."""
        self.limits = limits
        self.max_connections = max_connections
        self.is_stopping = False
        self.connections = 0
        self.turned_away = 0
        #: Connections that were ended since others came.
        self.ended_for_others = 0
        self.bodies = ByteBudget(limits.all_bodies_bytes)
        self._open: set[HttpConnection] = set()
        self._requests = 0
        self._changed = threading.Condition()
        self._backlog_is_empty = False
        # A pipe that nobody reads: a byte in it wakes all who wait for a request.
        self.wake, self._waker = os.pipe()

    def start(self) -> None:
        """Serves in a thread."""
        self._thread = threading.Thread(
            target=self.serve_forever,
            args=(0.1,),
            name="armlet-listener",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Accepts no new connections; those that are open get an answer. Returns at once after that."""
        self.shutdown()
        self.is_stopping = True
        os.write(self._waker, b"x")
        self.timeout = 0.0
        while not self._backlog_is_empty:  # connected, and not accepted yet
            self.handle_request()
        self.server_close()

    def finished(self, seconds: float) -> bool:
        """Waits for the requests in hand; False where they take too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.connections == 0, max(0.0, seconds)):
                return False
        for end in (self.wake, self._waker):
            os.close(end)
        return True

    def handle_timeout(self) -> None:
        """Notes that nobody is waiting to be accepted."""
        self._backlog_is_empty = True

    @contextlib.contextmanager
    def one_more_request(self) -> Iterator[None]:
        """Counts a request as in hand for as long as the block runs."""
        with self._changed:
            self._requests += 1
        try:
            yield
        finally:
            with self._changed:
                self._requests -= 1

    @property
    def requests(self) -> int:
        """Requests in hand, from the first byte to the last of the answer."""
        return self._requests

    def opened(self, connection: HttpConnection) -> None:
        """A connection is served from now on."""
        with self._changed:
            self._open.add(connection)

    def closed(self, connection: HttpConnection) -> None:
        """A connection is served no more."""
        with self._changed:
            self._open.discard(connection)

    def end_slowest(self, other_than: HttpConnection | None = None) -> bool:
        """Ends the connection whose client has kept us waiting longest, if one has for some time; whether it did."""
        latest = time.monotonic() - PATIENCE_SECONDS
        with self._changed:
            waiting = [
                (since, id(one), one)
                for one in self._open
                if one is not other_than and (since := one.rfile.waiting_since) is not None and since < latest
            ]
            if not waiting:
                return False
            slowest = min(waiting)[2]
            self._open.discard(slowest)
            self.ended_for_others += 1
        with contextlib.suppress(OSError):
            slowest.connection.shutdown(socket.SHUT_RDWR)
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection; one too many is answered 503 and closed."""
        full = self.connections >= self.max_connections and not self.end_slowest()
        with self._changed:
            self.connections += not full
            self.turned_away += full
        if full:
            with contextlib.suppress(OSError):
                request.settimeout(0)
                request.send(_NO_ROOM)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._one_less()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves one connection in its thread, then counts it as gone."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._one_less()

    def _one_less(self) -> None:
        with self._changed:
            self.connections -= 1
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is not our error, and a handler has said what else went wrong."""


class TcpListener(Listener):
    """``port`` 0: one that is free."""

    allow_reuse_address = True

    def __init__(self, host: str, port: int, handler: type[HttpConnection], *, allow_remote: bool) -> None:
        address = _loopback(host, allow_remote)
        self.address_family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        if not allow_remote:
            self.host_names = frozenset({"localhost", "127.0.0.1", "::1", str(address)})
        try:
            super().__init__((str(address), port), handler)
        except (OSError, OverflowError) as error:
            raise AgentError(f"cannot listen on port {port} of {host}", found=str(error)) from None
        self.port = self.server_address[1]
        name = f"[{address}]" if address.version == 6 else str(address)
        self.address_text = f"http://{name}:{self.port}"


def _loopback(host: str, allow_remote: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise AgentError(
            "this is not an address to listen on", expected="such as 127.0.0.1", found=host[:80]
        ) from None
    if not address.is_loopback and not allow_remote:
        raise AgentError(
            f"{host} can be reached by others, and this server has no login",
            expected="an address of the loopback, such as 127.0.0.1",
            found=host,
            hint="Reach it through SSH (ssh -L 8080:127.0.0.1:8080 BOARD), or put a server with a password in "
            "front of it. --allow-remote listens all the same, without encryption and without a password.",
        )
    return address


class UnixListener(Listener):
    """A socket at ``path``, 0600. One that a dead server left is replaced, one that somebody listens on is not."""

    address_family = socket.AF_UNIX
    #: Device and inode of the socket that we made.
    _ours: tuple[int, int] | None = None

    def __init__(self, path: Path, handler: type[HttpConnection]) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            # Of two that start at once, one looks while the other is done: the folder itself is the lock.
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                _remove_stale(path)
                super().__init__(cast(Any, str(path)), handler)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            raise AgentError(f"cannot listen on {path}", found=str(error)) from None
        self._ours = _identity(path)
        self.address_text = str(path)

    def server_bind(self) -> None:
        """Makes the socket's file, for its owner alone."""
        super().server_bind()
        os.chmod(self.path, 0o600)  # nobody can connect before listen(), which comes next

    def server_close(self) -> None:
        """Closes the socket, and removes its file unless another has taken its place."""
        with contextlib.suppress(OSError):
            if self._ours is not None and _identity(self.path) == self._ours:
                os.unlink(self.path)
        super().server_close()


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AgentError(
            f"cannot listen on {path}", expected="nothing there, or a socket", found="another kind of file"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            os.unlink(path)
            return
    raise AgentError(f"cannot listen on {path}", found="a server that listens there already")
