"""What a checkpoint of a run holds, and how it is put together and written."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from a3c.errors import CheckpointError, StorageError
from a3c.settings.config import Config
from a3c.storage.atomic import storage_errors
from a3c.storage.checkpoint import Checkpoint
from a3c.storage.run_state import check_state
from a3c.storage.shelf import Kind, best_checkpoint, prune, write_checkpoint
from a3c.stores.shared import Snapshot
from a3c.types import Counters, EnvSpec

_log = logging.getLogger(__name__)

Record = dict[str, Any]
"""The best evaluated score: mean, std, n, seeds and the env_steps of the weights, as plain data."""


@dataclass(frozen=True)
class Progress:
    """How far a run was when its weights were copied."""

    counters: Counters
    elapsed_s: float  # over all resumes
    best: Record | None = None
    agent: Mapping[str, Any] | None = None  # an agent's private state, see `Agent.get_state`


@dataclass(frozen=True)
class Saver:
    """Writes the checkpoints of one run: whoever has a snapshot of the weights can save.

    A checkpoint's state holds what is needed to go on and to play: "algo", "env" (the environment's
    signature), "network" ({name: shape}), "config", "counters", "elapsed_s", "best", "agent" (plain part)
    and "resumes". Together with the seed in the configuration, the last gives every worker its random
    numbers (`WorkerSpec.seeds`).
    """

    run_dir: Path
    config: Config
    env_spec: EnvSpec
    resumes: int = 0
    folder: os.stat_result | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        with suppress(OSError):
            object.__setattr__(self, "folder", os.stat(self.run_dir))

    def save(self, snapshot: Snapshot, progress: Progress, kind: Kind = "ckpt") -> Path:
        """Commits a checkpoint and returns its folder.

        Raises:
            CheckpointError: the snapshot holds numbers that are not finite.
            StorageError: no room or no permission, or the folder was moved or replaced meanwhile; older
                checkpoints are untouched.
        """
        with storage_errors(f"write to {self.run_dir}"):
            if self.folder and not os.path.samestat(self.folder, os.stat(self.run_dir)):
                raise FileNotFoundError(errno.ENOENT, "another folder is in its place")
        agent = dict(progress.agent or {})
        tensors = {name: value for name, value in agent.items() if isinstance(value, torch.Tensor)}
        state = {
            "algo": self.config.learn.algo,
            "env": self.env_spec.signature(),
            "network": {name: list(tensor.shape) for name, tensor in snapshot["model"].items()},
            "config": self.config.to_dict(),
            "resumes": self.resumes,
            "counters": progress.counters._asdict(),
            "elapsed_s": progress.elapsed_s,
            "best": progress.best,
            "agent": {name: value for name, value in agent.items() if name not in tensors},
        }
        checkpoint = Checkpoint(snapshot["model"], state, snapshot["optimizer"], tensors)
        return write_checkpoint(self.run_dir, checkpoint, progress.counters.env_steps, kind)

    def prune(self) -> None:
        """Removes the checkpoints beyond `keep_checkpoints`. Raises StorageError."""
        prune(self.run_dir, self.config.eval.keep_checkpoints)

    def best(self) -> Record | None:
        """The record of the best checkpoint on the disk, which alone counts: a record without its weights
        is worth nothing. None when there is none yet, or none that can be used, which is logged."""
        try:
            found = best_checkpoint(self.run_dir)
            if found is None:
                return None
            check_state(found[1].state, found[0])
        except (CheckpointError, StorageError) as error:
            _log.warning("%s; the best score is sought again", error)
            return None
        record: Record | None = found[1].state["best"]
        return record


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Where a checkpoint's run was, by a state that `check_state` found in order; its agent's state is whole
    again."""
    state = checkpoint.state
    return Progress(
        counters_in(state), state["elapsed_s"], state["best"], {**state["agent"], **checkpoint.agent}
    )


def counters_in(state: Mapping[str, Any]) -> Counters:
    """How far the run was. Up to version 0.1 all refused gradients were one count: without --max-lag, none of
    them was stale."""
    counts = dict(state["counters"])
    if "rejected" in counts:
        kind = "rejected_stale" if state["config"].get("optim", {}).get("max_lag") else "rejected_nonfinite"
        counts[kind] = counts.pop("rejected")
    return Counters(**counts)
