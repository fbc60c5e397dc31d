"""Output that never hurts: to a pipe nobody reads, to a full disk, to a terminal that was stopped."""

from __future__ import annotations

import os
from typing import TextIO

from a3c.processes.descriptors import reopen_without_waiting
from a3c.storage.sinks import Sink

_LAST_WORDS_S = 1.0  # how long the end of the output may wait for a reader


class UnbreakableStream:
    """A text stream from which writers hear of no trouble and which never makes them wait: what cannot be
    written now is dropped and counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # in memory, or closed
            descriptor = -1
        self._sink = Sink(lambda: reopen_without_waiting(descriptor)) if descriptor >= 0 else None

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    @property
    def dropped(self) -> int:
        """Pieces of text lost so far."""
        return self._sink.dropped if self._sink else 0

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        data = text.encode(self.encoding, "replace")
        if self._sink:
            self._sink.write(data)
        elif not self._stream.closed:
            self._stream.write(data.decode(self.encoding))
        return len(text)

    def flush(self) -> None: ...

    def settle(self) -> None:
        """Empties the buffers at the end; into nowhere when the stream is broken, or Python itself would
        stumble over them on its way out and exit with 120."""
        if self._sink:
            self._sink.drain(_LAST_WORDS_S)
            self._sink.close()
        try:
            self._stream.flush()
        except (OSError, ValueError):
            if not self._stream.closed:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
