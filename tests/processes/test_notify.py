"""Messages to the service manager, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from a3c.processes.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and what NOTIFY_SOCKET says of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@a3c-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        server.setblocking(False)
        yield server, name


def received(server: socket.socket) -> list[str]:
    texts = []
    while True:
        try:
            texts.append(server.recv(100).decode())
        except BlockingIOError:
            return texts


def test_f46_ready_alive_stopping(manager, monkeypatch):
    server, name = manager
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
    service = ServiceManager(environ)
    service.ready()
    for now in (100.0, 100.1, 101.9, 102.1, 103.0, 104.2):
        monkeypatch.setattr("a3c.processes.notify.time.monotonic", lambda now=now: now)
        service.alive()
    service.stopping()
    assert received(server) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}])
def test_no_watchdog_or_that_of_another(manager, watchdog):
    server, name = manager
    service = ServiceManager({"NOTIFY_SOCKET": name, **watchdog})
    service.alive()
    assert received(server) == []


def test_no_service_manager(tmp_path):
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1"}):
        service = ServiceManager(environ)
        service.ready()
        service.alive()
        service.stopping()
