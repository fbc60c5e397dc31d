"""Notices that the numbers of a run went wrong, and takes it back to before they did.

A single bad gradient is refused at the store's door and costs nothing. Two things need more: weights that
are not finite or beyond all measure, however they became so, and refusals that do not end. The first time
the run goes on from the newest checkpoint older than the trouble; the second time it ends.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.errors import CheckpointError, Diverged
from a3c.storage.checkpoint import Checkpoint, read_checkpoint
from a3c.storage.records import write_json
from a3c.storage.shelf import clean, entries, rewind
from a3c.stores.parameters import Parameters
from a3c.training.session import Session

LARGEST_WEIGHT = 1e10
"""Far above any weight that learns, and far below where a forward pass overflows."""

WINDOW, FEWEST, SHARE = 100, 20, 0.2
"""Too many refusals: at least FEWEST, and this share of the last WINDOW gradients or more."""

_log = logging.getLogger(__name__)


class Trouble(NamedTuple):
    """What is wrong with the numbers."""

    reason: str
    steps: int  # of the run when all was well for the last time


class _Sample(NamedTuple):
    updates: int
    refused: int
    steps: int


class Guard:
    """Watches one start of a run.

    Args:
        session: the run.
        every_s: time between two looks.
        clock: seconds.
    """

    def __init__(
        self, session: Session, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session, self._every_s, self._clock = session, every_s, clock
        self._samples = deque([self._sample()])
        self._due = 0.0
        self._rolled_back = False

    def check(self) -> Trouble | None:
        """What is wrong, if something is and it is time to look."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + self._every_s
        last = self._samples[-1]
        self._samples.append(self._sample())
        if wrong := unsound(self._session):
            return Trouble(f"the shared {wrong}", last.steps)
        return self._too_many_refusals()

    def roll_back(self, trouble: Trouble) -> None:
        """Takes memory and checkpoints back to before the trouble. Nobody else may use either meanwhile.

        Raises:
            Diverged: it happened before, or there is nothing to go back to.
        """
        dump = self._dump(trouble)
        if self._rolled_back:
            raise Diverged(f"{trouble.reason}, again after a roll-back; {_advice(dump)}")
        self._rolled_back = True
        run_dir = self._session.run_dir
        clean(run_dir)
        found = _last_good(run_dir, trouble.steps)
        if found is None:
            raise Diverged(f"{trouble.reason}, and there is no good checkpoint to go to; {_advice(dump)}")
        path, checkpoint = found
        rewind(run_dir, path)
        self._session.memory.restore({"model": checkpoint.model, "optimizer": checkpoint.optimizer})
        self._samples = deque([self._sample()])
        _log.warning("%s; the weights of %s are taken back, once; see %s", trouble.reason, path.name, dump)

    def _sample(self) -> _Sample:
        board = self._session.board
        own = board.own()  # other nodes of a cluster watch their own
        return _Sample(int(own["updates"]), int(own["rejected_nonfinite"]), board.total("env_steps"))

    def _too_many_refusals(self) -> Trouble | None:
        samples = self._samples
        while len(samples) > 2 and _pushes(samples[1], samples[-1]) >= WINDOW:
            samples.popleft()
        pushes = _pushes(samples[0], samples[-1])
        refused = samples[-1].refused - samples[0].refused
        if refused < FEWEST or refused < SHARE * pushes:
            return None
        return Trouble(f"{refused} of {pushes} gradients were not finite", samples[0].steps)

    def _dump(self, trouble: Trouble) -> Path:
        """Writes down what and where; returns the file. A full disk only costs the file."""
        session, board = self._session, self._session.board
        path = session.run_dir / f"diverged-{board.total('env_steps'):09d}.json"
        facts = {
            "reason": trouble.reason,
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "steps": board.total("env_steps"),
            "steps_when_well": trouble.steps,
            "refused_by_worker": {
                f"worker-{row}": int(board.get(row, "rejected_nonfinite")) for row in range(board.workers)
            },
            "learning_rate": session.config.optim.lr,
            "tensors": _describe(session),
        }
        try:
            write_json(path, facts)
        except OSError as error:
            _log.warning("%s could not be written: %s", path, error.strerror)
        return path


def unsound(session: Session) -> str:
    """The first shared tensor that no run can go on with, in words; empty when all is well."""
    memory = session.memory
    moments_sound = all(math.isfinite(_largest(tensor)) for tensor in memory.optimizer.values())
    if moments_sound and _largest(memory.weights) <= LARGEST_WEIGHT:
        return ""
    for tensor in _describe(session):
        if tensor["not_finite"]:
            return f"{tensor['name']} is not finite"
    return f"weights are beyond {LARGEST_WEIGHT:g}"


def _largest(tensor: torch.Tensor) -> float:
    """The largest magnitude; NaN when there is one, 0 of nothing."""
    if not tensor.numel():
        return 0.0  # the random agent has no weights
    low, high = torch.aminmax(tensor)
    return float(torch.maximum(-low, high))


def _describe(session: Session) -> list[dict[str, Any]]:
    """Each tensor's count of bad numbers and its largest good one; "model" first."""
    memory = session.memory
    parts = {"model": memory.parameters()} | {
        name: Parameters(memory.shapes, tensor) for name, tensor in memory.optimizer.items()
    }
    found = []
    for part, parameters in parts.items():
        for name, view in parameters.views.items():
            finite = torch.isfinite(view)
            largest = float(torch.where(finite, view.abs(), 0.0).max())
            bad = int((~finite).sum())
            facts = {"not_finite": bad, "of": view.numel(), "largest": largest}
            found.append({"name": f"{part}.{name}", **facts})
    return found


def _pushes(first: _Sample, last: _Sample) -> int:
    return last.updates - first.updates + last.refused - first.refused


def _last_good(run_dir: Path, steps: int) -> tuple[Path, Checkpoint] | None:
    """The newest sound checkpoint of at most so many steps; if there is none, the oldest of the others."""
    found = entries(run_dir)
    early = [entry for entry in found if entry.step <= steps]
    for entry in (*reversed(early), *found[len(early) :]):
        try:
            checkpoint = read_checkpoint(entry.path)
        except CheckpointError as error:
            _log.warning("%s; another one is looked for", error)
            continue
        if all(_largest(tensor) <= LARGEST_WEIGHT for tensor in checkpoint.model.values()):
            return entry.path, checkpoint
    return None


def _advice(dump: Path) -> str:
    return f"see {dump}; a lower --lr or a --reward-clip helps most, and earlier checkpoints are kept"
