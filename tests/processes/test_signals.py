"""What signals mean to the main process. A real process that is forced to end: tests/test_processes.py."""

from __future__ import annotations

import os
import signal

import pytest

from a3c.processes import signals as module
from a3c.processes.signals import Signals


@pytest.fixture
def forced(monkeypatch) -> list[int]:
    """The signals that would have ended this process."""
    signums: list[int] = []
    monkeypatch.setattr(module, "force_exit", signums.append)
    return signums


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_handlers_come_back(forced, signum):
    before = signal.getsignal(signum)
    with Signals() as signals:
        assert signals.requested is None
        send(signum)
        assert signals.requested == signum
    assert signal.getsignal(signum) is before
    assert forced == []


def test_f14_the_second_one_forces(forced, monkeypatch):
    with Signals() as signals:
        send(signal.SIGTERM)
        monkeypatch.setattr(module.time, "monotonic", lambda: 1e12)
        send(signal.SIGINT)
        assert signals.requested == signal.SIGTERM
    assert forced == [signal.SIGINT]


def test_one_request_may_come_twice_at_once(forced, monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 5.0)
    with Signals():
        send(signal.SIGTERM)
        send(signal.SIGTERM)
    assert forced == []


def test_f15_hangups_never_force(forced, monkeypatch):
    with Signals():
        send(signal.SIGHUP)
        monkeypatch.setattr(module.time, "monotonic", lambda: 1e12)
        send(signal.SIGHUP)
    assert forced == []


def test_f15_hangups_may_be_ignored():
    with Signals(ignore_hangup=True) as signals:
        send(signal.SIGHUP)
        assert signals.requested is None


def test_f15_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            send(signal.SIGHUP)
            assert signals.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
