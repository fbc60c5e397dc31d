"""Tells a service manager (systemd, Type=notify) how the run is; does nothing where there is none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Environment variables that children must not inherit."""


class ServiceManager:
    """Sends READY=1, WATCHDOG=1 and STOPPING=1 as sd_notify(3) does.

    Call `alive` only from the loop whose health it vouches for: when that loop hangs, the messages end
    and the service manager restarts the run.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half the limit; 0 without a watchdog.
        self.interval_s = int(usec) / 2e6 if usec.isdigit() and mine else 0.0
        self._next_alive = 0.0
        self._is_ready = False

    def ready(self) -> None:
        """The run is healthy; told until it could be sent."""
        self._is_ready = self._is_ready or self._send("READY=1")

    def alive(self) -> None:
        """The loop goes round; sends at most one message per interval."""
        now = time.monotonic()
        if self.interval_s and now >= self._next_alive:
            self._next_alive = now + self.interval_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The run is about to end, within the time that the service manager grants from now on."""
        self.ready()  # one that ends before it was ready counts as failed
        self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        """Whether it arrived: never waits for a manager that does not listen."""
        if not self._address:
            return False
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s:
            return s.sendto(text.encode(), self._address) > 0
        return False
