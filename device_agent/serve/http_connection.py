"""One HTTP/1.1 connection: requests in, each with a limit in bytes and in time, one answer out for each.

The standard library parses (http.server). What it lets through against RFC 9112 is refused here, since a proxy in front
may read it differently. Every refusal is a JSON object: error, what, expected, found, hint.
"""

from __future__ import annotations

import email.errors
import http.client
import http.server
import json
import re
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Mapping

import device_agent
from device_agent.errors import ArmletError
from device_agent.serve.http_reader import BLOCK_BYTES, Reader, RequestRefused
from device_agent.serve.turn_lock import AWAY, TURN

#: An answer to a request whose body was not read is read on so far, so that the client gets to see the answer.
MAX_DISCARDED_BYTES = 1 << 20
LINGER_SECONDS = 1.0
#: A body waits so long for room that others are to give back.
ROOM_SECONDS = 1.0


_PARTS_ARE_MISSING = (
    email.errors.MultipartInvariantViolationDefect,
    email.errors.NoBoundaryInMultipartDefect,
    email.errors.StartBoundaryNotFoundDefect,
    email.errors.CloseBoundaryNotFoundDefect,
)


@dataclass(frozen=True)
class ConnectionLimits:
    """Bytes and seconds that one client may take."""

    head_bytes: int = 16 << 10
    body_bytes: int = 16 << 20
    #: Of the bodies of all clients together, from their first byte to the answer.
    all_bodies_bytes: int = 256 << 20
    #: From the first byte of a request to the end of its head, then as long again for its body.
    read_seconds: float = 10.0
    write_seconds: float = 10.0
    #: Between two requests on a connection.
    idle_seconds: float = 60.0


class HttpConnection(http.server.BaseHTTPRequestHandler):
    """Reads requests and calls ``respond`` of the subclass, which sends one answer or raises an ArmletError.

    ``server`` is a :class:`device_agent.serve.http_listener.Listener`.
    """

    protocol_version = "HTTP/1.1"

    server: Any
    headers: Any

    # -- life ---------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Prepares one connection: no delay of small packets, and a reader with a time limit."""
        self.connection = self.request
        if self.connection.family != socket.AF_UNIX:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.limits: ConnectionLimits = self.server.limits
        self.rfile: Any = Reader(self.connection)
        self._unread = 0
        self._held_bytes, self._bodies = 0, self.server.bodies
        self.server.opened(self)
        self._answered = False
        self._wants_to_be_told = False

    def finish(self) -> None:
        """Ends so that the client sees the last answer: a socket closed with unread bytes resets the connection."""
        self.server.closed(self)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            if self._unread:
                self.connection.settimeout(LINGER_SECONDS)
                end = time.monotonic() + LINGER_SECONDS
                while time.monotonic() < end and self.connection.recv(BLOCK_BYTES):
                    pass
        except OSError:
            pass

    def handle_one_request(self) -> None:
        """Waits for a request and answers it; an error is answered, too, as far as the client still listens."""
        self.close_connection = True
        self.command, self.path, self.request_version, self.requestline = "", "", self.protocol_version, ""
        self._unread, self._answered, self._wants_to_be_told = 0, False, False
        try:
            if not self.rfile.wait(self.limits.idle_seconds, self.server.wake):
                return
        except OSError:
            return
        with TURN, self.server.one_more_request():
            try:
                self._serve_one()
            except RequestRefused as error:
                self._refuse(error)
            except socket.timeout:
                self._unread = (
                    self._unread or 1
                )  # who is slow may still send, and would never read why it ends
                self._refuse(
                    RequestRefused(408, "the request took too long", close=True, expected=self._time_limit())
                )
            except OSError:
                self.close_connection = True  # the client has gone
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                self._refuse(RequestRefused(500, f"this server failed: {type(error).__name__}", close=True))
            finally:
                self._bodies.give_back(self._held_bytes)
                self._held_bytes = 0

    def _serve_one(self) -> None:
        self.rfile.begin(self.limits.read_seconds, self.limits.head_bytes)
        self.raw_requestline = self.rfile.readline()
        while self.raw_requestline in (
            b"\r\n",
            b"\n",
        ):  # RFC 9112, 2.2: empty lines before a request are ignored
            self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline:
            return
        if not self.parse_request():
            return  # send_error has answered
        self._check_head()
        self.rfile.waiting_since = None
        try:
            self.respond()
        except RequestRefused:
            raise
        except ArmletError as error:
            raise RequestRefused(
                400, error.what, expected=error.expected, found=error.found, hint=error.hint
            ) from error
        self._discard_rest()

    def respond(self) -> None:
        """Answers the request in ``command``, ``path`` and ``headers``."""
        raise RequestRefused(404, "there is nothing here")

    # -- the head -----------------------------------------------------------------------------------------------

    def handle_expect_100(self) -> bool:
        """Notes that the client waits to be told before it sends the body."""
        # Answered when the body is asked for, so that nobody sends one that is refused.
        self._wants_to_be_told = True
        return True

    def _check_head(self) -> None:
        if not self.request_version.startswith("HTTP/1."):
            raise RequestRefused(
                505, "this server speaks HTTP/1.1", close=True, found=self.request_version[:20] or "none"
            )
        if self.rfile.ended:
            raise RequestRefused(400, "the head of the request ends early", close=True)
        # What the parser of mail headers could not read it takes for the beginning of a body, or skips. That there is
        # no body with parts in it, where a form is announced, is right: it comes later.
        defects = [d for d in self.headers.defects if not isinstance(d, _PARTS_ARE_MISSING)]
        if defects or self.headers.get_payload():
            raise RequestRefused(400, "the head of the request is malformed", close=True)
        if any("\n" in value or "\r" in value or "\0" in value for value in self.headers.values()):
            raise RequestRefused(
                400, "a header goes on over several lines, which RFC 9112 forbids", close=True
            )
        if not self.path.isascii() or not self.path.isprintable():
            raise RequestRefused(400, "the path of the request is not acceptable", close=True)
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            raise RequestRefused(
                400, "the request does not say which host it is for", close=True, expected="one Host header"
            )
        self._unread = self._content_length()

    def _content_length(self) -> int:
        lengths = set(self.headers.get_all("Content-Length", []))
        if self.headers.get("Transfer-Encoding") is not None:
            self._unread = 1  # of what nobody knows the end
            if lengths:
                raise RequestRefused(
                    400, "the request has both a Content-Length and a Transfer-Encoding", close=True
                )
            raise RequestRefused(
                411,
                "the length of the body is not known",
                close=True,
                expected="a Content-Length",
                found="a Transfer-Encoding",
                hint="With curl, use --data-binary @FILE rather than -T.",
            )
        if not lengths:
            return 0
        [text, *others] = lengths
        if others or not re.fullmatch("[0-9]{1,18}", text.strip(" \t"), re.ASCII):
            self._unread = 1
            found = ", ".join(sorted(lengths))[:80]
            raise RequestRefused(
                400, "the Content-Length is wrong", close=True, expected="one whole number", found=found
            )
        return int(text)

    # -- the body -----------------------------------------------------------------------------------------------

    def check_body_length(self) -> None:
        """Raises RequestRefused where the body is longer than this server takes; none of it has been read then."""
        if self._unread > self.limits.body_bytes:
            raise RequestRefused(
                413,
                "the body is too large",
                close=True,
                expected=f"at most {self.limits.body_bytes} bytes",
                found=f"{self._unread} bytes",
            )

    def read_body(self) -> bytearray:
        """The whole body. Raises RequestRefused where it is too large, ends early or comes too slowly."""
        self.check_body_length()
        count = self._unread
        if self._wants_to_be_told and count:
            self.connection.settimeout(self.limits.write_seconds)
            with AWAY:
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wants_to_be_told = False
        self.rfile.begin(self.limits.read_seconds)
        body: bytearray = self.rfile.read_exactly(count, self._hold)
        self.rfile.waiting_since = None
        self._unread = 0
        if len(body) < count:
            raise RequestRefused(
                400, "the body ends early", close=True, expected=f"{count} bytes", found=f"{len(body)} bytes"
            )
        return body

    def _hold(self, count: int) -> None:
        """Counts bytes of a body that have come. Raises RequestRefused where all clients together hold too many."""
        if not self._bodies.take(count):
            self.server.end_slowest(self)
            with AWAY:
                taken = self._bodies.take(count, ROOM_SECONDS)
            if not taken:
                raise RequestRefused(
                    503,
                    "this server has no memory left for this body",
                    close=True,
                    headers={"Retry-After": "1"},
                    hint="Try again in 1 s.",
                )
        self._held_bytes += count

    def _discard_rest(self) -> None:
        """Makes the connection ready for the next request, or sees that there is none."""
        if not self._unread or self.close_connection:
            return
        if self._unread > MAX_DISCARDED_BYTES or self._wants_to_be_told:
            self.close_connection = True
            return
        self.rfile.begin(self.limits.read_seconds)
        try:
            if self.rfile.discard(self._unread):
                self._unread = 0
            else:
                self.close_connection = True
        except OSError:
            self.close_connection = True

    # -- answers ------------------------------------------------------------------------------------------------

    def send(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """One whole answer, in one piece: two would wait for each other's acknowledgement."""
        if (
            self.server.is_stopping
            or self._unread > MAX_DISCARDED_BYTES
            or (self._unread and self._wants_to_be_told)
        ):
            self.close_connection = True
        lines = [
            f"HTTP/1.1 {status} {http.client.responses.get(status, '')}",
            f"Server: armlet/{device_agent.__version__}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        if self.close_connection:
            lines.append("Connection: close")
        elif self.request_version == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._answered = True
        self.count(status)
        self.connection.settimeout(self.limits.write_seconds)
        with AWAY:
            self.connection.sendall(head if self.command == "HEAD" else head + body)

    def send_json(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        """Sends a document as JSON on one line."""
        body = json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        self.send(status, body, "application/json", headers)

    def count(self, status: int) -> None:
        """Called for every answer."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server says of a head that it cannot parse."""
        self._refuse(RequestRefused(int(code), message or explain or "the request is malformed", close=True))

    def _refuse(self, error: RequestRefused) -> None:
        self.close_connection = self.close_connection or error.close
        if self._answered:
            self.close_connection = True  # it is too late to say so
            return
        try:
            self.send_json(error.status, {**error.to_json(), "error": self.error_name(error)}, error.headers)
            self._discard_rest()
        except OSError:
            self.close_connection = True

    def error_name(self, error: RequestRefused) -> str:
        """The class of the error that is behind a refusal."""
        cause = error.__cause__
        return type(cause).__name__ if isinstance(cause, ArmletError) else "RequestError"

    def _time_limit(self) -> str:
        return f"all of it within {self.limits.read_seconds:g} s"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the metrics count."""
