"""What an environment starts ends with the process it belongs to, and all of it with the command.

A process that is killed can end nobody any more, and what it had started goes on. But whatever it starts
inherits its limits, also in another session, with an empty environment, or forked without a program of its
own. So one of them serves as a mark: that on file locks, which Linux keeps and has not looked at since 2.4
(setrlimit(2)). By it the main process finds what a dead child has left; and a process of its own, which waits
for nothing but the main process's end, finds what that has left. It is this file, run as a script, nobody's
child and alone in its session: it outlives a command that is killed whole.
"""

from __future__ import annotations

import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAIN = 0
"""The number of the main process; those of its children begin at 1."""

_LOCKS = 10  # RLIMIT_LOCKS, for which `resource` has no name
_NUMBERS = 2**16  # marks of one command
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG")
_START_S = 10.0
_DEATH_S = 3.0  # how long it may take until the killed are gone

_marks: range = range(0)
"""Of this command, the first that of the main process; none while nothing is guarded."""


@contextmanager
def guarded() -> Iterator[str]:
    """While it holds, what this process starts is marked; what is left of it is killed at the end, or when
    this process ends before. Within another one it does nothing. For the main thread.

    Yields:
        What it means that this cannot be done here; empty where it can.
    """
    global _marks
    if _marks:
        yield ""
        return
    first = _NUMBERS * (1 + secrets.randbelow(2**44))
    try:
        with _limit(resource.RLIM_INFINITY):
            process = _start(first)
        former = _set_limit(first)
    except (OSError, ValueError) as error:
        yield f"what environments start may outlive this command: {error}"
        return
    _marks = range(first, first + _NUMBERS)
    try:
        yield ""
    finally:
        _marks = range(0)
        _set_limit(former)
        _end(process)


@contextmanager
def marked_as(number: int | None) -> Iterator[None]:
    """What starts in the block is marked as child `number`, or not at all."""
    if not _marks:
        yield
        return
    with _limit(resource.RLIM_INFINITY if number is None else _marks[number]):
        yield


def end_what_is_left_of(number: int) -> None:
    """Kills what a child started; the child itself is dead, and not replaced yet."""
    if _marks:
        _kill(_marks[number : number + 1], os.getpid())


@contextmanager
def _limit(mark: int) -> Iterator[None]:
    former = _set_limit(mark)
    try:
        yield
    finally:
        _set_limit(former)


def _set_limit(mark: int) -> int:
    """Sets this process's mark; returns the former one."""
    former, most = resource.getrlimit(_LOCKS)
    resource.setrlimit(_LOCKS, (most if mark == resource.RLIM_INFINITY else mark, most))
    return former


def _start(first: int) -> subprocess.Popen[bytes]:
    """Has a process wait for the end of this one. Raises OSError."""
    words = [sys.executable, "-S", "-P", __file__, str(first), str(os.getpid())]
    environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = subprocess.Popen(
        words, env=environ, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with suppress(subprocess.TimeoutExpired):
        process.wait(_START_S)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Has it kill what is left, and waits for that."""
    if process.stdin and process.stdout:
        with suppress(OSError):
            process.stdin.write(b"\n")  # what was forked may have the pipe too: closing it tells nothing
            process.stdin.close()
        select.select([process.stdout], [], [], 2 * _DEATH_S)
        process.stdout.close()


def _kill(marks: range, spared: int) -> bool:
    """Kills every process with one of these marks but `spared`; returns whether there was one."""
    found = False
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if pid != spared and resource.prlimit(pid, _LOCKS)[0] in marks and not _is_zombie(pid):
                os.kill(pid, signal.SIGKILL)
                found = True
    return found


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"Z"


def _wait_for_end_of(pid: int) -> None:
    """Waits for a word on the standard input, its end, or the end of a process."""
    waited: list[int] = [0]
    try:
        waited.append(os.pidfd_open(pid))
    except ProcessLookupError:
        return
    except OSError:
        pass  # a kernel before 5.3 has none: then the end of the input tells it, unless a fork has it too
    select.select(waited, [], [])


def main(first: int, pid: int) -> None:
    """Waits until the command whose main process is `pid` has ended, and kills all that it left."""
    if os.fork():
        os._exit(0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    _wait_for_end_of(pid)
    deadline = time.monotonic() + _DEATH_S
    while _kill(range(first, first + _NUMBERS), pid) and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
