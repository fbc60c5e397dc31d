"""The main process's log: a file in the run directory; what the user should see also goes to the view."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from a3c.console.live import View

_MAX_BYTES, _KEPT = 5_000_000, 3


@contextmanager
def logging_to(path: Path, view: View) -> Iterator[None]:
    """Sends the package's log records to `path` and to `view`. A full disk loses lines, never the run."""
    logger = logging.getLogger("a3c")
    former = logger.level, logger.propagate, logging.raiseExceptions
    handlers: list[logging.Handler] = [_ViewHandler(view)]
    try:
        path.parent.mkdir(exist_ok=True)
        handlers.append(RotatingFileHandler(path, maxBytes=_MAX_BYTES, backupCount=_KEPT))
    except OSError as error:
        view.message(f"warning: no log file: {error}")
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = logging.raiseExceptions = False
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
