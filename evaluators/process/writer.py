"""TensorBoard events that never stop training.

A full disk, a vanished folder or a broken device costs points, not the run: what cannot be written is
dropped and counted, and after a pause (2 s, doubled up to 5 minutes) a new file is tried. TensorBoard's
own writer works in a thread that dies at its first error and fails for ever after; so events are written
here directly, in TensorBoard's format, a whole batch at a time.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import (  # type: ignore[import-untyped]
    Event,
    SessionLog,
    TaggedRunMetadata,
)
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from torch.utils.tensorboard._pytorch_graph import graph as trace_graph
from torch.utils.tensorboard.summary import text as text_summary

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0

Clock = Callable[[], float]


class GuardedFile:
    """A file to append whole pieces to; after an OSError pieces are dropped until a retry succeeds.

    Args:
        open_new: opens the file, for the first time and again after each failure: a descriptor.
        clock: seconds, for the pauses.
    """

    def __init__(self, open_new: Callable[[], int], clock: Clock = time.monotonic) -> None:
        self._open_new, self._clock = open_new, clock
        self._descriptor: int | None = None
        self._pause, self._retry_at = FIRST_PAUSE_S, -math.inf
        self.dropped = 0
        self.error = ""  # of the last failure; empty again once a piece was written

    def write(self, piece: bytes) -> bool:
        """Appends `piece` whole, or not at all. Returns whether it did."""
        if self._clock() < self._retry_at:
            self.dropped += 1
            return False
        try:
            if self._descriptor is None:
                self._descriptor = self._open_new()
            self.append(self._descriptor, piece)
        except OSError as error:
            self._fail(error)
            return False
        self._pause, self.error = FIRST_PAUSE_S, ""
        return True

    def close(self) -> None:
        """Closes the file; a later write opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # nothing more can be done for it
                os.close(descriptor)

    @staticmethod
    def append(descriptor: int, piece: bytes) -> None:
        """Writes `piece` at the end of an open file, whole or not at all. Raises OSError."""
        whole, rest = os.lseek(descriptor, 0, os.SEEK_END), memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, whole)  # a torn record would hide all that follow
            raise

    def _fail(self, error: OSError) -> None:
        self.dropped += 1
        self.close()
        self.error = str(error)
        self._retry_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


class TensorBoard:
    """Writes to an event file in `folder`, which `tensorboard --logdir` shows.

    Args:
        folder: is created when missing.
        purge_step: hides what an earlier process logged at this step and later; for a resumed run.
        clock: seconds, for the pauses after a failure.
    """

    def __init__(self, folder: Path, purge_step: int | None = None, clock: Clock = time.monotonic) -> None:
        self._folder, self._purge_step = folder, purge_step
        self._file = GuardedFile(self._open_new, clock)

    @property
    def dropped(self) -> int:
        """Batches of points lost so far."""
        return self._file.dropped

    @property
    def error(self) -> str:
        """Why points are being lost now; empty when they are not."""
        return self._file.error

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point for each tag, at the same step."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(step=step, summary=summary))

    def add_text(self, tag: str, words: str, step: int = 0) -> None:
        """A piece of Markdown."""
        self._write(Event(step=step, summary=text_summary(tag, words)))  # type: ignore[no-untyped-call]

    def add_gif(self, tag: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        """An animated picture of (height, width)."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=gif)
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)])))

    def add_graph(self, network: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        """The network as a graph, traced with example inputs.

        Raises:
            Exception: of many kinds, when the tracer does not understand the network.
        """
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's own; what it cannot do it raises
            graph, run = trace_graph(network, inputs)  # type: ignore[no-untyped-call]
        metadata = TaggedRunMetadata(tag="step1", run_metadata=run.SerializeToString())
        self._write(Event(graph_def=graph.SerializeToString()), Event(tagged_run_metadata=metadata))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, *events: Event) -> None:
        self._file.write(_records(events))

    def _open_new(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(self._folder / name, flags, 0o644)
        try:
            GuardedFile.append(descriptor, _records(self._preamble()))
        except OSError:
            os.close(descriptor)
            raise
        self._purge_step = None  # later files go on from this one
        return descriptor

    def _preamble(self) -> Iterator[Event]:
        yield Event(file_version="brain.Event:2")
        if self._purge_step is not None:
            yield Event(step=self._purge_step, session_log=SessionLog(status=SessionLog.START))


def _records(events: Iterable[Event]) -> bytes:
    """The events, stamped with the time, as the bytes of an event file."""
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    for event in events:
        event.wall_time = time.time()
        records.write(event.SerializeToString())
    return buffer.getvalue()
