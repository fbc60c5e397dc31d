"""The main process's log: a file in the run directory; what the user should see also goes to the view."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from a3c.console.live import View
from a3c.errors import printable
from a3c.files import make_folder, open_file
from a3c.storage.sinks import Sink

_MAX_BYTES, _KEPT = 5_000_000, 3


@contextmanager
def logging_to(path: Path, view: View) -> Iterator[None]:
    """Sends the package's log records to `path` and to `view`. A full disk loses lines, never the run."""
    logger = logging.getLogger("a3c")
    former = logger.level, logger.propagate, logging.raiseExceptions
    file = _FileHandler(path)
    handlers: list[logging.Handler] = [_ViewHandler(view), file]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = logging.raiseExceptions = False
    if trouble := file.begin():
        view.message(f"warning: no log file: {trouble}")
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(former[0])
        logger.propagate, logging.raiseExceptions = former[1:]


class _ViewHandler(logging.Handler):
    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        self._view.message(level + record.getMessage())


class _FileHandler(logging.Handler):
    """A log of bounded size; older ones are kept as NAME.1 to NAME.3."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._sink = Sink(lambda: open_file(path.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, path.parent))

    def begin(self) -> str:
        """Makes the folder and the file; why they cannot be made, or nothing."""
        with suppress(OSError):  # the sink says why
            make_folder(self._path.parent)
        self._sink.write(b"")
        return self._sink.error

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.write((printable(self.format(record), lines=True) + "\n").encode())
        with suppress(OSError):
            if self._path.lstat().st_size > _MAX_BYTES:
                self._rotate()

    def close(self) -> None:
        self._sink.close()
        super().close()

    def _rotate(self) -> None:
        self._sink.close()
        names = [self._path, *(Path(f"{self._path}.{i}") for i in range(1, _KEPT + 1))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                os.replace(newer, older)
