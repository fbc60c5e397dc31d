"""What the children of the process tests do. Imports nothing heavy, so that a child starts quickly.

Run as a script, it is a main process with children that can be signalled from outside:

    python process_helpers.py FOLDER {obedient,stubborn,frozen}
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from ctypes import Array, c_double
from pathlib import Path

from a3c.errors import UsageError
from a3c.processes.child import Link
from a3c.processes.group import ChildSpec, ProcessGroup
from a3c.processes.signals import Signals
from a3c.processes.supervisor import EVALUATOR, WORKER, Limits

PHASES = ("starting", "env", "learn")


class Board:
    """Heartbeats without torch: a shared row [beat, phase, work done] per child, and a stop flag."""

    def __init__(self, rows: int) -> None:
        self._cells: Array[c_double] = multiprocessing.get_context("spawn").RawArray("d", 3 * rows + 1)

    def beat(self, row: int, phase: str = "env") -> None:
        self._cells[3 * row : 3 * row + 3] = [
            time.monotonic(),
            PHASES.index(phase),
            self._cells[3 * row + 2] + 1,
        ]

    def heartbeat(self, row: int) -> tuple[float, str]:
        return self._cells[3 * row], PHASES[int(self._cells[3 * row + 1])]

    def steps(self, row: int) -> int:
        return int(self._cells[3 * row + 2])

    @property
    def stop(self) -> bool:
        return bool(self._cells[-1])

    @stop.setter
    def stop(self, value: bool) -> None:
        self._cells[-1] = value


def work(board: Board, row: int, link: Link) -> None:
    """Steps until told to stop."""
    link.ready()
    while not board.stop:
        board.beat(row)
        time.sleep(0.01)


def work_stubbornly(board: Board, row: int, link: Link) -> None:
    """Steps whatever it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link.ready()
    while True:
        board.beat(row)
        time.sleep(0.01)


def start_slowly(board: Board, row: int, link: Link) -> None:
    """Needs a second of CPU, without a sign of life, before it is ready."""
    while time.process_time() < 1.0:
        pass
    work(board, row, link)


def finish(board: Board, row: int, link: Link) -> None:
    link.ready()
    link.event("result", {"row": row})


def leave_early(board: Board, row: int, link: Link) -> None:
    link.ready()
    sys.exit(0)


def fail(board: Board, row: int, link: Link) -> None:
    link.ready()
    link.context(env="Breakout-v0", seed=17, step=1200)
    raise ZeroDivisionError("no such luck")


def fail_for_good(board: Board, row: int, link: Link) -> None:
    raise UsageError("no environment of that name")


def fail_to_import(board: Board, row: int, link: Link) -> None:
    import a_module_that_does_not_exist  # noqa: F401


def fail_and_linger(board: Board, row: int, link: Link) -> None:
    """Fails, but another thread keeps the process alive."""
    link.ready()
    threading.Thread(target=time.sleep, args=(1000,)).start()
    raise ZeroDivisionError("no such luck")


def crash_in_native_code(board: Board, row: int, link: Link) -> None:
    link.ready()
    faulthandler._sigsegv()


def hang_in_python(board: Board, row: int, link: Link) -> None:
    link.ready()
    board.beat(row, "learn")
    while True:
        time.sleep(1000)


def hang_with_gil(board: Board, row: int, link: Link) -> None:
    """No other thread of this process gets a turn; no Python signal handler either."""
    link.ready()
    board.beat(row, "env")
    while True:
        ctypes.PyDLL(None).sleep(1000)


def write_and_die(data: bytes, board: Board, row: int, link: Link) -> None:
    """Leaves half a message."""
    link.ready()
    os.write(link._connection.fileno(), data)
    os.kill(os.getpid(), signal.SIGKILL)


def chatter(board: Board, row: int, link: Link) -> None:
    """Sends much more than a pipe holds."""
    link.ready()
    for i in range(20_000):
        board.beat(row)
        link.event("number", {"i": i})


def warn(board: Board, row: int, link: Link) -> None:
    """Warns twice of what all of them meet, and of something of its own."""
    link.ready()
    for text in ("there is no compiler", "there is no compiler", f"row {row} is late"):
        link.warning(text)


def confess(board: Board, row: int, link: Link) -> None:
    """Tells what it was given."""
    import cv2
    import torch

    facts = {
        "torch_threads": torch.get_num_threads(),
        "cv2_threads": cv2.getNumThreads(),
        "env": dict(os.environ),
        "ignored": [s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN],
        "blocked": [signal.Signals(s).name for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "stdin": os.readlink("/proc/self/fd/0"),
    }
    link.event("facts", facts)
    print("printed by the child")


def tell_environment(board: Board, row: int, link: Link) -> None:
    """Tells its environment variables."""
    link.event("environment", dict(os.environ))


def babble(board: Board, row: int, link: Link) -> None:
    """Prints without end."""
    link.ready()
    while True:
        board.beat(row)
        print("so much to say", "." * 100)
        time.sleep(0.01)


def use_up_memory(board: Board, row: int, link: Link) -> None:
    """Asks for more than this process may have."""
    link.ready()
    soft = 2**30
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(2 * soft)


def start_a_helper(board: Board, row: int, link: Link) -> None:
    """Has a process of its own, like a video writer."""
    helper = subprocess.Popen(["sleep", "1000"])
    link.event("helper", {"pid": helper.pid})
    work_stubbornly(board, row, link)


def leave_a_daemon(manner: str, board: Board, row: int, link: Link) -> None:
    """Starts a process that is in no group or session of its own, and ends in some manner."""
    daemon = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    link.ready()
    link.event("daemon", {"pid": daemon.pid})
    if manner == "raises":
        raise ZeroDivisionError("no such luck")
    if manner == "crashes":
        faulthandler._sigsegv()
    if manner == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if manner == "works":
        work(board, row, link)


def print_without_end(board: Board, row: int, link: Link) -> None:
    """More than a disk holds."""
    link.ready()
    while not board.stop:
        board.beat(row)
        os.write(1, bytes(200_000))


def main(folder: Path, manner: str) -> int:
    """Two workers and an evaluator, until a signal asks to stop."""
    board = Board(3)
    target = {"obedient": work, "stubborn": work_stubbornly, "frozen": hang_with_gil}[manner]
    specs = [ChildSpec(f"worker-{row}", WORKER, target, lambda n, row=row: (board, row)) for row in range(2)]
    specs.append(ChildSpec("evaluator", EVALUATOR, work, lambda n: (board, 2)))
    beats = {spec.name: row for row, spec in enumerate(specs)}
    with Signals() as signals:
        group = ProcessGroup(
            specs,
            lambda: {name: board.heartbeat(row) for name, row in beats.items()},
            lambda level, text: print(f"{level}: {text}", flush=True),
            folder,
            Limits(stall_s=3.0, max_tick_s=0.5),
        )
        try:
            group.start()
            announced = False
            while not signals.requested:
                group.poll()
                if not announced and all(s.state == "running" for s in group.states().values()):
                    print("pids", *(s.pid for s in group.states().values()), flush=True)
                    announced = True
                group.wait(0.02)
            print("stopping", flush=True)
            board.stop = True
            group.stop(WORKER, 60.0)
            group.stop(EVALUATOR, 60.0)
            print("ended", flush=True)
        finally:
            group.kill_all()
        return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
