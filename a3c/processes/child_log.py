"""A child's log. What a child prints comes through a pipe, so that no environment can fill a disk.

The main process moves it to NAME.log. That has a bounded size, and so has NAME.log.1 of what was before; and
no more than that size is written in a minute: the rest is dropped and counted. A child that prints faster
than the pipe is emptied waits, as at any pipe.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from a3c.files import make_folder, open_file, open_folder

_LOG_BYTES = 5_000_000  # a larger log is set aside
_MINUTE_S = 60.0
_TAIL_BYTES = 2_000  # the last words of a child that ended without one
_PIPE_BYTES = 2**20  # what a child may print before somebody looks, where the system allows so much


class ChildLog:
    """The log of one start of a child; `writer` is for the child and to be closed when it has it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._reader, writer = os.pipe()
        self.writer = Connection(writer, readable=False)
        os.set_blocking(self._reader, False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._file = -1
        self._minute, self._left, self._dropped = 0.0, 0, 0
        self._tail = b""
        with suppress(OSError):  # a full disk must not keep a worker from working
            make_folder(path.parent)
        self._write(f"--- {name} starts, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())

    def pump(self) -> None:
        """Takes what the child has printed. Never waits."""
        data, now = self._read(), time.monotonic()
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        if now >= self._minute:
            self._minute, self._left = now + _MINUTE_S, _LOG_BYTES
            if self._dropped:
                data = f"\n--- {self._dropped} bytes were dropped: too much was printed\n".encode() + data
            self._dropped = 0
        kept = data[: self._left]
        self._left -= len(kept)
        self._dropped += len(data) - len(kept)
        if kept:
            self._write(kept)

    def tail(self) -> str:
        """The last lines that the child printed."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Frees the descriptors; safe to call twice."""
        for descriptor in (self._reader, self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._reader = self._file = -1

    def _read(self) -> bytes:
        data = b""
        with suppress(OSError):  # nothing more at the moment
            while len(data) < _PIPE_BYTES and (part := os.read(self._reader, 65_536)):
                data += part
        return data

    def _write(self, data: bytes) -> None:
        with suppress(OSError):
            if self._file < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._file = open_file(self.path.name, flags, self.path.parent)
            if os.fstat(self._file).st_size + len(data) > _LOG_BYTES:
                self._set_aside()
            os.write(self._file, data)

    def _set_aside(self) -> None:
        """Makes room. Raises OSError."""
        os.close(self._file)
        self._file = -1
        folder = open_folder(self.path.parent)
        try:
            os.replace(self.path.name, f"{self.path.name}.1", src_dir_fd=folder, dst_dir_fd=folder)
            self._file = open_file(self.path.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, folder)
        finally:
            os.close(folder)
