"""Output that never hurts: to a pipe nobody reads any more, to a full disk, to a terminal that is gone."""

from __future__ import annotations

import os
from typing import TextIO


class UnbreakableStream:
    """A text stream from which writers hear of no trouble: what cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            self._broken = False
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._broken = True
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True

    def settle(self) -> None:
        """Empties the buffers at the end; into nowhere when the stream is broken, or Python itself would
        stumble over them on its way out and exit with 120."""
        self.flush()
        if self._broken and not self._stream.closed:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
