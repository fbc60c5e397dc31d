"""TensorBoard events that never stop training.

TensorBoard's own writer works in a thread that dies at its first error and fails for ever after; so events
are written here directly, in TensorBoard's format, a whole batch at a time; after an error, to a new file.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import (  # type: ignore[import-untyped]
    Event,
    SessionLog,
    TaggedRunMetadata,
)
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from torch.utils.tensorboard._pytorch_graph import graph as trace_graph
from torch.utils.tensorboard.summary import text as text_summary

from a3c.files import open_file
from a3c.storage.sinks import Clock, Sink, append


class TensorBoard:
    """Writes to an event file in `folder`, which `tensorboard --logdir` shows.

    Args:
        folder: has to be there.
        purge_step: hides what an earlier process logged at this step and later; for a resumed run.
        clock: seconds, for the pauses after a failure.
    """

    def __init__(self, folder: Path, purge_step: int | None = None, clock: Clock = time.monotonic) -> None:
        self._folder, self._purge_step = folder, purge_step
        self._file = Sink(self._open_new, clock)

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

    def add_hparams(self, values: Mapping[str, bool | float | str]) -> None:
        """The settings of a run, for the HParams tab, which puts all runs together with their scores.
        An experiment described by one of them would hide what others have, so none is."""
        self._write(Event(summary=hparams_pb(values)))

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
        # TensorBoard reads a folder's files in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        descriptor = open_file(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            append(descriptor, _records(self._preamble()))
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
