"""One process per run directory.

The kernel's lock (flock) decides and ends with its holder, however that dies; the text in the file only
says who it is. Child processes are spawned, so none of them inherits the descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from a3c.errors import RunDirectoryInUse
from a3c.storage.atomic import FILE_MODE, storage_errors, write_all

LOCK = "lock"
PATIENCE_S = 0.3
"""How long a start waits for somebody who only looks at the lock."""


class Holder(NamedTuple):
    """Who says to hold a lock; fields are empty when the text is missing or damaged."""

    pid: int
    host: str
    started: str


class RunLock:
    """The lock of a run directory, held until `release`.

    Raises:
        RunDirectoryInUse: another process holds it; names it.
        StorageError: the directory does not allow it.
    """

    def __init__(self, run_dir: Path) -> None:
        with storage_errors(f"lock {run_dir}"):
            fd = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE)
        self._fd = fd
        try:
            self._acquire(run_dir)
        except BaseException:
            os.close(fd)
            raise

    def _acquire(self, run_dir: Path) -> None:
        deadline = time.monotonic() + PATIENCE_S
        with storage_errors(f"lock {run_dir}"):
            while not _try_lock(self._fd, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise RunDirectoryInUse(f"{run_dir} is in use by {_describe(_read_holder(self._fd))}")
                time.sleep(0.02)
            _write_holder(self._fd)

    def release(self) -> None:
        """Lets the next process in; safe to call twice."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_holder(run_dir: Path) -> Holder | None:
    """Who runs in a directory now, or None. Raises StorageError."""
    with storage_errors(f"look at the lock of {run_dir}"):
        try:
            fd = os.open(run_dir / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            return None if _try_lock(fd, fcntl.LOCK_SH) else _read_holder(fd)
        finally:
            os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _write_holder(fd: int) -> None:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started})
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    write_all(fd, text.encode())


def _read_holder(fd: int) -> Holder:
    try:
        text = json.loads(os.pread(fd, 1000, 0))
        return Holder(int(text["pid"]), _printable(text["host"]), _printable(text["started"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Holder(0, "", "")


def _printable(text: object) -> str:
    """Text from a file, made safe for a terminal."""
    return "".join(filter(str.isprintable, str(text)))


def _describe(holder: Holder) -> str:
    if not holder.pid:
        return "another process; wait for it to end or use another --run-dir"
    return (
        f"process {holder.pid} on {holder.host} since {holder.started}; "
        "stop it first (a3c stop) or use another --run-dir"
    )
