"""A run's curves at Weights & Biases (`--track`), beside TensorBoard's, and never in the way.

wandb waits for its service, so it works in a process of its own (`evaluators.process.wandb_writer`), which is
told the points through a pipe: what that does not take is dropped, and when it ends it is started again after
a pause. It inherits the mark of the evaluator, and so does what it starts: none of it outlives that
(`a3c.processes.guardian`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from a3c.errors import printable
from a3c.files import make_folder
from a3c.processes.signals import signal_tree
from a3c.storage.sinks import Clock, Sink
from a3c.training.session import Session
from evaluators.process import wandb_writer

WRITER = (sys.executable, "-P", wandb_writer.__file__)
FOLDER = "wandb"
_DRAIN_S = 1.0


class Tracker:
    """Takes points as `TensorBoard` does.

    Args:
        about: the arguments of `wandb.init` that say which run it is; "dir" is the run's folder.
        warn: takes one line; the same one only once.
        patience_s: how long the last points may take to be sent.
        clock: seconds, for the pauses after a failure.
        command: starts the writer.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        warn: Callable[[str], None],
        patience_s: float,
        clock: Clock = time.monotonic,
        command: Sequence[str] = WRITER,
    ) -> None:
        self._about, self._warn, self._patience_s, self._command = about, warn, patience_s, command
        self._told: set[str] = set()
        self._writer: subprocess.Popen[bytes] | None = None
        self._pipe = Sink(self._start, clock)

    @property
    def dropped(self) -> int:
        """Batches of points lost so far."""
        return self._pipe.dropped

    @property
    def error(self) -> str:
        """Why points are being lost now; empty when they are not."""
        return self._pipe.error

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point for each tag, at the same step."""
        self._pipe.write(json.dumps([step, values]).encode() + b"\n")
        self._pass_on()

    def close(self) -> None:
        """Lets the writer send what it has, for so long, and ends it."""
        self._pipe.drain(_DRAIN_S)
        self._pipe.close()
        self._end(self._patience_s)

    def _start(self) -> int:
        """A new writer's input; the former one, if any, has failed."""
        self._end(0.0)
        make_folder(Path(self._about["dir"]) / FOLDER)
        reader, pipe = os.pipe()
        try:
            self._writer = subprocess.Popen(
                self._command, stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            os.set_blocking(pipe, False)
            os.write(pipe, json.dumps(self._about).encode() + b"\n")
        except BlockingIOError as error:  # more than a pipe holds
            os.close(pipe)
            raise OSError("the settings are too long for the writer's pipe") from error
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(reader)
        return pipe

    def _pass_on(self) -> None:
        """Passes on what the writer says, without waiting for it."""
        if self._writer is None or self._writer.stdout is None:
            return
        descriptor, text = self._writer.stdout.fileno(), b""
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):
            text = os.read(descriptor, 10_000)
        for line in text.decode(errors="replace").splitlines():
            if line not in self._told:
                self._told.add(line)
                self._warn(printable(line))

    def _end(self, patience_s: float) -> None:
        writer = self._writer
        if writer is None:
            return
        try:
            writer.wait(patience_s)
        except subprocess.TimeoutExpired:
            signal_tree(writer.pid, signal.SIGKILL)
            writer.wait()
        self._pass_on()
        if writer.stdout is not None:
            writer.stdout.close()
        self._writer = None


def track(session: Session, warn: Callable[[str], None], clock: Clock) -> Tracker:
    """The tracker of a run. A resumed run has the same id, and so goes on where it was."""
    about = {
        "project": session.config.eval.track_project,
        "id": session.run_id,
        "name": session.run_dir.name,
        "dir": str(session.run_dir),
        "config": session.config.to_dict(),
    }
    return Tracker(about, warn, session.config.run.grace / 4, clock)
