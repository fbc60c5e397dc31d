"""What the processes of one run have in common, and how it is set up: new, resumed, or from given weights."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from a3c.agents import make_policy, metric_names
from a3c.checkpoint import (
    Checkpoint,
    check_compatible,
    clean,
    load_initial_weights,
    newest_checkpoint,
    read_checkpoint,
    rewind,
)
from a3c.config import Config
from a3c.envs import make_env
from a3c.errors import CheckpointError, UsageError
from a3c.run_directory import RunDirectory
from a3c.saving import Saver, progress_of
from a3c.scoreboard import Scoreboard
from a3c.stores.shared import SharedStore, StoreMemory
from a3c.types import EnvSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """One start of a run. Every child process is given it; the tensors in it are shared."""

    config: Config
    env: EnvSpec
    run_dir: Path
    memory: StoreMemory
    board: Scoreboard
    resumes: int = 0  # how often the run was continued before
    elapsed_before_s: float = 0.0  # over the starts before this one
    agent_state: dict[str, object] = field(default_factory=dict)  # an agent's own, from the checkpoint
    started: float = field(default_factory=time.monotonic)

    @property
    def workers(self) -> int:
        """Worker processes; 0: all in one process."""
        return self.config.run.workers or 0

    def store(self, row: int) -> SharedStore:
        """The store, for the owner of a scoreboard row."""
        lock = self.run_dir / "updates.lock" if self.config.optim.locked else None
        return SharedStore(self.memory, self.config.optim, self.config.run.max_steps, self.board, row, lock)

    def saver(self) -> Saver:
        """Writes this run's checkpoints."""
        return Saver(self.run_dir, self.config, self.env, self.resumes)

    def elapsed_s(self) -> float:
        """Wall time of the run, over all its starts."""
        return self.elapsed_before_s + time.monotonic() - self.started

    def device(self, worker_id: int) -> str:
        """GPUs are dealt round-robin to the workers."""
        gpus = self.config.run.gpu_ids
        return f"cuda:{gpus[worker_id % len(gpus)]}" if gpus else "cpu"


def open_session(config: Config, run: RunDirectory) -> Session:
    """Builds the shared state of a run in `run`, or continues the one it holds.

    Raises:
        UsageError: the network does not fit the environment.
        CheckpointError: no checkpoint can be used, or it belongs to something else.
        StorageError: shared memory is too small.
    """
    clean(run.path)
    env = probe(config)
    try:
        policy = make_policy(config, env, config.run.seed, "cpu", greedy=False)
    except ValueError as error:
        raise UsageError(f"--model {config.learn.model} with {config.env.env}: {error}") from error
    shapes = policy.parameters.shapes
    memory = StoreMemory.allocate(shapes, config.optim)
    board = Scoreboard(max(config.run.workers or 0, 1), metric_names(config.learn.algo))
    if run.resumed:
        saved = load(run, config, env, memory)
        progress = progress_of(saved)
        board.add(board.main_row, starting_counters(progress.counters._asdict()))
        resumes, elapsed = saved.state["resumes"] + 1, progress.elapsed_s
        agent_state = dict(progress.agent or {})
    else:
        initial = load_initial_weights(Path(config.run.init_from)) if config.run.init_from else policy.parameters.views
        try:
            memory.parameters().load(initial)
        except ValueError as error:
            raise CheckpointError(f"--init-from {config.run.init_from}: not for this network: {error}") from error
        resumes, elapsed, agent_state = 0, 0.0, {}
    if config.run.workers:
        memory.share()
        board.share()
    return Session(config, env, run.path, memory, board, resumes, elapsed, agent_state)


def probe(config: Config) -> EnvSpec:
    """What the environment is, read back from one built for a moment."""
    envs = make_env(config.env, [config.run.seed], training=False)
    try:
        return envs.spec
    finally:
        envs.close()


def load(run: RunDirectory, config: Config, env: EnvSpec, memory: StoreMemory) -> Checkpoint:
    """Fills `memory` from the run's newest good checkpoint, or from the one that was named.

    A run that was stopped before its first checkpoint has none; it cannot be continued.
    """
    if run.checkpoint is not None:
        found = run.checkpoint, read_checkpoint(run.checkpoint)
        for path in rewind(run.path, run.checkpoint):
            _log.warning("set aside a later checkpoint: %s", path.name)
    else:
        newest = newest_checkpoint(run.path)
        if newest is None:
            raise CheckpointError(f"{run.path} has no checkpoint to continue from; start a new run without --load")
        found = newest
    path, checkpoint = found
    check_compatible(checkpoint.state, env=env.signature(), network=memory.shapes, algo=config.learn.algo)
    try:
        memory.restore({"model": checkpoint.model, "optimizer": checkpoint.optimizer})
    except ValueError as error:
        raise CheckpointError(f"{path}: its optimizer is not --optimizer {config.optim.optimizer}: {error}") from error
    _log.info("continuing from %s", path.name)
    return checkpoint


def starting_counters(counters: dict[str, int]) -> dict[str, float]:
    """Scoreboard sums that a resumed run begins with."""
    return {**{k: float(v) for k, v in counters.items() if k != "rejected"}, "rejected_nonfinite": counters["rejected"]}
