"""What the processes of one run have in common, and how it is set up: new, resumed, or from given weights."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from a3c.agents.make import ALGORITHMS, make_policy
from a3c.envs import make_env
from a3c.errors import CheckpointError, UsageError
from a3c.networks.bodies import BACKGROUND
from a3c.settings.config import Config
from a3c.settings.cores import workers_at_a_time
from a3c.storage.checkpoint import Checkpoint, check_compatible, read_checkpoint
from a3c.storage.find_run import path_of
from a3c.storage.initial_weights import load_initial_weights
from a3c.storage.run_directory import RunDirectory
from a3c.storage.run_state import check_size, check_state
from a3c.storage.saving import Saver, progress_of
from a3c.storage.shelf import clean, newest_checkpoint, rewind
from a3c.stores.parameters import Parameters
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import SharedStore, StoreMemory
from a3c.stores.turns import Turns
from a3c.types import EnvSpec

_RANDOM_ENVS, _RANDOM_STEPS = 8, 200
"""How much random play shows what an environment's background is: in Pong some 15 points."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """One start of a run. Every child process is given it; the tensors in it are shared."""

    config: Config
    env: EnvSpec
    run_dir: Path
    memory: StoreMemory
    board: Scoreboard
    run_id: str = ""  # stays the same over all resumes
    resumes: int = 0  # how often the run was continued before
    elapsed_before_s: float = 0.0  # over the starts before this one
    agent_state: dict[str, object] = field(default_factory=dict)  # an agent's own, from the checkpoint
    started: float = field(default_factory=time.monotonic)
    updating: Turns | None = None  # where updates come one after another
    node: int = 0  # of a cluster: a random number for each start of one; 0: the head, or a single machine
    offset: float = 0.0  # of this node's workers in the row of all, from 0 to 1
    playing: Turns | None = None  # where there are more workers than may play and learn at a time

    @property
    def workers(self) -> int:
        """Worker processes; 0: all in one process."""
        return self.config.run.workers or 0

    def store(self, row: int) -> SharedStore:
        """The store, for the owner of a scoreboard row."""
        config = self.config
        return SharedStore(self.memory, config.optim, config.run.max_steps, self.board, row, self.updating)

    def saver(self) -> Saver:
        """Writes this run's checkpoints."""
        return Saver(self.run_dir, self.config, self.env, self.resumes)

    def share(self) -> None:
        """Moves the tensors into shared memory, for other processes. Raises StorageError."""
        self.memory.share()
        self.board.share()

    def elapsed_s(self) -> float:
        """Wall time of the run, over all its starts."""
        return self.elapsed_before_s + time.monotonic() - self.started

    def spent(self) -> bool:
        """Whether the run's steps are used up. Asked once a rollout, so a run overshoots by at most a
        rollout of every worker."""
        limit = self.config.run.max_steps
        return bool(limit) and self.board.total("env_steps") >= limit

    def goal_reached(self, score: float | None) -> str:
        """In words, which goal of the run is reached with an evaluation's `score`; empty while none is."""
        run = self.config.run
        if run.target_score is not None and score is not None and score >= run.target_score:
            return f"score {score:g} reached --target-score {run.target_score:g}"
        return f"--max-steps {run.max_steps} is reached" if self.spent() else ""

    def to_go_on(self, reason: str) -> str:
        """The flags that continue the run; `reason` is the goal that ended it, as above, or empty."""
        run, load, env_id = self.config.run, f"--load {self.run_dir}", self.config.env.env
        if address := self.config.cluster.cluster:
            load += f" --cluster {address}" + " --cluster-insecure" * self.config.cluster.cluster_insecure
        if ":" in env_id:  # the module is imported only where it is typed
            load += f" --env {env_id}"
        if "--target-score" in reason:
            return f"{load} --target-score MORE, more than {run.target_score:g}"
        if self.spent():
            return f"{load} --max-steps MORE, more than {self.board.total('env_steps')}"
        return load

    def device(self, worker_id: int) -> str:
        """GPUs are dealt round-robin to the workers."""
        gpus = self.config.run.gpu_ids
        return f"cuda:{gpus[worker_id % len(gpus)]}" if gpus else "cpu"


def open_session(config: Config, run: RunDirectory) -> Session:
    """Builds the state of a run in `run`, or continues the one it holds; `Session.share` is still to come.

    Raises:
        UsageError: the network does not fit the environment, or the replay the memory.
        CheckpointError: no checkpoint can be used, or it belongs to something else.
        StorageError: the run directory does not allow it.
    """
    clean(run.path)
    saved = find_checkpoint(run) if run.resumed else None
    if saved is not None:
        check_state(saved[1].state, saved[0])
        check_size(config, saved[1].model, run.path)
    env = probe(config)
    ALGORITHMS[config.learn.algo].check(config, env)
    try:
        policy = make_policy(config, env, config.run.seed, "cpu", greedy=False)
    except ValueError as error:
        raise UsageError(f"--model {config.learn.model} with {config.env.env}: {error}") from error
    shapes = policy.parameters.shapes
    memory = StoreMemory.allocate(shapes, config.optim)
    board = Scoreboard(max(config.run.workers or 0, 1), ALGORITHMS[config.learn.algo].metric_names)
    updating = Turns(1) if config.optim.locked else None
    places = workers_at_a_time(config.run)
    playing = Turns(places) if places < (config.run.workers or 0) else None
    session = Session(config, env, run.path, memory, board, run.run_id, updating=updating, playing=playing)
    if saved is None:
        begin(session, policy.parameters)
    else:
        session = resume(session, *saved)
        if run.checkpoint is not None:
            for path in rewind(run.path, run.checkpoint):
                _log.warning("a checkpoint later than %s is set aside as %s", run.checkpoint.name, path.name)
    return session


def probe(config: Config) -> EnvSpec:
    """What the environment is, read back from one built for a moment."""
    envs = make_env(config.env, [config.run.seed], training=False)
    try:
        return envs.spec
    finally:
        envs.close()


def find_checkpoint(run: RunDirectory) -> tuple[Path, Checkpoint] | None:
    """The checkpoint that was named, or the newest good one; None for a run that never wrote any."""
    if run.checkpoint is not None:
        return run.checkpoint, read_checkpoint(run.checkpoint)
    found = newest_checkpoint(run.path)
    if found is None:
        _log.warning("%s was stopped before its first checkpoint; it starts at step 0", run.path)
    return found


def begin(session: Session, initial: Parameters) -> None:
    """Fills the memory with fresh weights, or those of --init-from; with --partial as far as they fit."""
    path = session.config.run.init_from
    backgrounds = [name for name in initial.views if name.endswith(BACKGROUND)]
    if path:  # weights from elsewhere may bring no background: they were trained without
        optional = {name: initial.views[name] for name in backgrounds}
        fresh = initial.views if session.config.run.partial else None
        try:
            weights = load_initial_weights(
                path_of(path, "--init-from"), session.memory.shapes, optional, fresh
            )
        except CheckpointError as error:
            hint = "; what it sees is set by --frame-stack and --frame-size" if backgrounds else ""
            what = f"--init-from for --model {session.config.learn.model}"
            raise CheckpointError(f"{what}: {error}{hint}") from error
    else:
        weights = initial.views
        for name in backgrounds:
            weights[name].copy_(torch.from_numpy(mean_picture(session.config)))
    session.memory.begin(weights)


def mean_picture(config: Config) -> np.ndarray:
    """[C, H, W] float32, the mean observation of some random play."""
    envs = make_env(config.env, [config.run.seed + i for i in range(_RANDOM_ENVS)], training=True)
    try:
        rng, total = np.random.default_rng(config.run.seed), np.zeros(envs.spec.observation_shape)
        envs.reset()
        for _ in range(_RANDOM_STEPS):
            step = envs.step(rng.integers(envs.spec.num_actions, size=_RANDOM_ENVS))
            total += step.observation.sum(0, dtype=np.float64)
    finally:
        envs.close()
    return (total / (_RANDOM_ENVS * _RANDOM_STEPS)).astype(np.float32)


def resume(session: Session, path: Path, saved: Checkpoint) -> Session:
    """Fills memory and counters from a checkpoint; returns the session that goes on from there."""
    config, memory, board = session.config, session.memory, session.board
    check_compatible(saved.state, env=session.env.signature(), network=memory.shapes, algo=config.learn.algo)
    try:
        memory.restore({"model": saved.model, "optimizer": saved.optimizer})
    except ValueError as error:
        raise CheckpointError(f"{path} is not of --optimizer {config.optim.optimizer}: {error}") from error
    progress = progress_of(saved)
    board.add(board.main_row, progress.counters._asdict())
    return replace(
        session,
        resumes=saved.state["resumes"] + 1,
        elapsed_before_s=progress.elapsed_s,
        agent_state=dict(progress.agent or {}),
    )
