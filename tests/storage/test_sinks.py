"""Output that is never in the way, to files, pipes and terminals."""

from __future__ import annotations

import errno
import itertools
import os
import pty
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from a3c.storage.sinks import FIRST_PAUSE_S, Sink
from tests.fault_tools import WatchedCalls


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opening(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def test_f27_a_device_that_is_full() -> None:
    clock = FakeClock()
    sink = Sink(lambda: os.open("/dev/full", os.O_WRONLY), clock)
    assert not sink.write(b"x" * 100)
    assert (sink.dropped, sink.error) == (1, "No space left on device")
    sink.close()
    sink.close()


def test_f27_pauses_double_up_to_a_limit() -> None:
    clock, attempts = FakeClock(), list[float]()

    def refuse() -> int:
        attempts.append(clock.now)
        raise PermissionError(errno.EACCES, "Permission denied")

    sink = Sink(refuse, clock)
    for second in range(2000):
        clock.now = second
        assert not sink.write(b"x")
    gaps = [b - a for a, b in itertools.pairwise(attempts)]
    assert gaps[:4] == [2, 4, 8, 16]
    assert max(gaps) == gaps[-1] == 300
    assert sink.dropped == 2000


def test_f27_a_piece_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, clock = tmp_path / "x", FakeClock()
    sink = Sink(opening(path), clock)
    assert sink.write(b"one\n")
    writes = itertools.count()

    def stumble(number: int, name: str, args: tuple[object, ...]) -> None:
        if name == "write" and next(writes):
            raise OSError(errno.ENOSPC, "No space left on device")

    real_write = os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real_write(fd, data[:2]))
        with WatchedCalls(stumble):
            assert not sink.write(b"two\n")
    assert path.read_bytes() == b"one\n"
    clock.now += FIRST_PAUSE_S
    assert sink.write(b"three\n")
    assert (path.read_bytes(), sink.dropped, sink.error) == (b"one\nthree\n", 1, "")


@pytest.fixture(params=["pipe", "terminal"])
def ends(request: pytest.FixtureRequest) -> tuple[int, int]:
    """What nobody reads yet, and its other end, which does not wait."""
    reading, writing = os.pipe() if request.param == "pipe" else pty.openpty()
    os.set_blocking(writing, False)
    return reading, writing


def test_f27_what_nobody_reads_is_dropped_at_once(ends: tuple[int, int]) -> None:
    _, writing = ends
    sink = Sink(lambda: os.dup(writing))
    begin = time.monotonic()
    taken = sum(sink.write(b"%d" % i + b"." * 999 + b"\n") for i in range(1000))
    assert time.monotonic() - begin < 60
    assert (sink.dropped, sink.error) == (1000 - taken, "nobody reads it")
    assert 0 < taken < 200


def test_f27_pieces_stay_whole_when_somebody_reads_again(ends: tuple[int, int], wait_until: Any) -> None:
    reading, writing = ends
    sink, received = Sink(lambda: os.dup(writing)), bytearray()
    taken = [i for i in range(300) if sink.write(b"%d" % i + b"." * 999 + b"\n")]

    def read() -> None:
        while not received.endswith(b"end\n") and not received.endswith(b"end\r\n"):
            received.extend(os.read(reading, 4096))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_until(lambda: sink.write(b"end\n"))
    sink.drain(20.0)
    reader.join(300)
    lines = received.decode().split()
    assert lines == [*(f"{i}{'.' * 999}" for i in taken), "end"]


def test_f27_a_reader_that_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = Sink(lambda: os.dup(writing))
    assert not sink.write(b"x")
    assert sink.error == "Broken pipe"
