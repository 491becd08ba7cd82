"""Tells systemd how a service is: sd_notify(3), which is one datagram to the socket that ``NOTIFY_SOCKET`` names."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Mapping


class Notifier:
    """Does nothing where no service manager listens. ``environment``: as systemd.exec(5) sets it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        #: A sign of life is wanted this often; None: never.
        self.watchdog_seconds: float | None = None
        micros, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(os.getpid()))
        if micros.isdigit() and int(micros) > 0 and pid == str(os.getpid()):
            self.watchdog_seconds = int(micros) * 1e-6

    def ready(self, status: str) -> None:
        """The service has started, or has read its options again."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """The sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """To be followed by :meth:`ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service finishes what it accepted, then ends."""
        self._send("STOPPING=1\nSTATUS=finishing what was accepted")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # "@" stands for the zero byte with which abstract addresses begin.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)
            channel.sendto(text.encode(), address)
