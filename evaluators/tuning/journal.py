"""A study's journal: one JSON object per line, as Optuna's own backend for files writes them.

Optuna's opens by name what is there, a link or a pipe too, and puts a lock beside it. This one opens with
`a3c.files.open_file` and needs no lock: a search holds that of its folder, and a record is one write at the
end of the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from a3c.files import open_file
from a3c.storage.atomic import storage_errors
from a3c.storage.sinks import append


class Journal(BaseJournalBackend):
    """The records in a file, which is made unless it is there. Everything raises StorageError, also for a
    link, a pipe or anything else that is no regular file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = [0]  # of the records read so far, and of the next one
        self.append_logs([])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from that number on. Raises ValueError or RecursionError for one that is damaged."""
        with storage_errors(f"read {self._path}"), os.fdopen(open_file(self._path), "rb") as file:
            del self._starts[log_number_from + 1 :]
            file.seek(self._starts[-1])
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    return
                record = json.loads(line)
                self._starts.append(self._starts[-1] + len(line))
                yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes records to the disk, all or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with storage_errors(f"write {self._path}"):
            fd = open_file(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                append(fd, lines.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
