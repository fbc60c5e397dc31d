"""One process per run directory.

The kernel's locks (flock) decide, and end with their holder, however that dies: one on the folder, which
stays the same when it is moved or when its lock file is removed, and one on the file `lock`, whose text says
who holds them. Child processes are spawned, so none of them inherits a descriptor. (Over NFS only the file is
locked.)
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

import psutil  # type: ignore[import-untyped]

from a3c.errors import RunDirectoryInUse, printable
from a3c.files import open_file, open_folder
from a3c.storage.atomic import storage_errors, write_all
from a3c.storage.records import parse_json

LOCK = "lock"
PATIENCE_S = 0.3
"""How long a start waits for somebody who only looks at the lock."""

_NO_LOCKS_HERE = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP)


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
        self._run_dir, self._file = run_dir, -1
        with storage_errors(f"lock {run_dir}"):
            self._folder = open_folder(run_dir, links=True)
            try:
                self._take(time.monotonic() + PATIENCE_S)
            except BaseException:
                os.close(self._folder)
                raise

    def still_mine(self) -> bool:
        """Whether the run's path still leads to the folder that is locked; one system call or two. A lock
        file that somebody removed is made anew."""
        if self._file < 0 or not _is_at(self._run_dir, self._folder):
            return False
        if not _is_at(self._run_dir / LOCK, self._file):
            with suppress(OSError):
                return self._take_file()
        return True

    def release(self) -> None:
        """Lets the next process in; safe to call twice."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            os.close(self._folder)
            self._file = -1

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, deadline: float) -> None:
        while not (_try_lock(self._folder, fcntl.LOCK_EX) and self._take_file()):
            if time.monotonic() > deadline:
                raise RunDirectoryInUse(f"{self._run_dir} is in use by {_describe(_holder(self._folder))}")
            time.sleep(0.02)

    def _take_file(self) -> bool:
        """Locks the file that has the lock's name now, and says in it who has it."""
        fd = open_file(LOCK, os.O_RDWR | os.O_CREAT, self._folder)
        if not (_try_lock(fd, fcntl.LOCK_EX) and _is_at(LOCK, fd, self._folder)):
            os.close(fd)
            return False
        former, self._file = self._file, fd
        if former >= 0:
            os.close(former)
        _write_holder(fd)
        return True


def lock_holder(run_dir: Path) -> Holder | None:
    """Who says to run in a directory now, or None when nobody does. Raises StorageError."""
    with storage_errors(f"look at the lock of {run_dir}"):
        try:
            folder = open_folder(run_dir, links=True)
        except FileNotFoundError:
            return None
        try:
            free = _try_lock(folder, fcntl.LOCK_SH) and _is_free(folder)
            return None if free else _holder(folder)
        finally:
            os.close(folder)


def holding_process(run_dir: Path) -> int:
    """The process that runs in a directory, asked of the kernel; 0 when it cannot tell: it is on another
    host, or in another container. On systems whose kernel tells nobody, `_named_process`."""
    places = [status for path in (run_dir, run_dir / LOCK) if (status := _status(path))]
    numbers = {status.st_ino for status in places}
    try:
        with os.fdopen(os.open("/proc/locks", os.O_RDONLY)) as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return _named_process(run_dir)
    except OSError:
        return 0
    # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF; file systems in layers have two device numbers
    found = [
        int(line[4]) for line in lines
        if line[1:2] == ["FLOCK"] and line[3] == "WRITE" and int(line[5].split(":")[2]) in numbers
    ]  # fmt: skip
    return next((pid for pid in found if pid > 0 and _has_open(pid, places)), 0)


def _named_process(run_dir: Path) -> int:
    """The process that the lock file names, if the lock is held and that process has it open; else 0."""
    holder, lock = lock_holder(run_dir), _status(run_dir / LOCK)
    if holder is None or lock is None or holder.host != socket.gethostname():
        return 0
    with suppress(psutil.Error, ValueError):
        opened = [_status(Path(file.path), links=True) for file in psutil.Process(holder.pid).open_files()]
        return holder.pid if any(s and os.path.samestat(s, lock) for s in opened) else 0
    return 0


def _has_open(pid: int, places: list[os.stat_result]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # it ended, or is another user's
        return False
    opened = [status for name in names if (status := _status(Path(folder, name), links=True))]
    return any(os.path.samestat(status, place) for status in opened for place in places)


def _status(path: Path, links: bool = False) -> os.stat_result | None:
    try:
        status = os.stat(path, follow_symlinks=links or path.name != LOCK)
    except OSError:
        return None
    # A lock file with another name elsewhere says nothing of this run: somebody else's lock is on it.
    return None if path.name == LOCK and status.st_nlink > 1 else status


def _is_at(path: str | Path, fd: int, folder: int | None = None) -> bool:
    """Whether `path` still names what is open; trouble with the disk is no reason to doubt it."""
    try:
        return os.path.samestat(os.stat(path, dir_fd=folder), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _is_free(folder: int) -> bool:
    try:
        fd = open_file(LOCK, folder=folder)
    except FileNotFoundError:
        return True
    try:
        return _try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def _write_holder(fd: int) -> None:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started})
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    write_all(fd, text.encode())


def _holder(folder: int) -> Holder:
    """Who the lock file says to hold the lock."""
    try:
        fd = open_file(LOCK, folder=folder)
    except OSError:
        return Holder(0, "", "")
    with os.fdopen(fd, "rb"):
        return _read_holder(fd)


def _read_holder(fd: int) -> Holder:
    try:
        text = parse_json(os.pread(fd, 1000, 0))
        return Holder(int(text["pid"]), printable(text["host"]), printable(text["started"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Holder(0, "", "")


def _describe(holder: Holder) -> str:
    if not holder.pid:
        return "another process; wait for it to end or use another --run-dir"
    return (
        f"process {holder.pid} on {holder.host} since {holder.started}; "
        "stop it first (a3c stop) or use another --run-dir"
    )
