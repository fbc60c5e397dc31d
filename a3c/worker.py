"""A worker: pulls weights, collects a rollout, computes gradients, pushes them, reports. Nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from a3c.agents import make_agent
from a3c.config import Config
from a3c.envs import make_env
from a3c.rollouts import collect
from a3c.scoreboard import Scoreboard
from a3c.session import Session
from a3c.timings import Timings
from a3c.types import PushResult, Rollout

if TYPE_CHECKING:
    from a3c.processes import Link


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker process is given."""

    session: Session
    worker_id: int  # also its scoreboard row
    incarnation: int  # how often this worker was restarted

    def seeds(self, count: int) -> list[int]:
        """`count` seeds, different for every (seed, resume, worker, restart)."""
        entropy = [self.session.config.run.seed, self.session.resumes, self.worker_id, self.incarnation]
        return [int(word) for word in np.random.SeedSequence(entropy).generate_state(count) >> 1]


def run_worker(spec: WorkerSpec, link: Link) -> None:
    """The entry point of a worker process."""
    for _ in work(spec, link):
        pass


def work(spec: WorkerSpec, link: Link) -> Iterator[None]:
    """Trains until told to stop or the steps are used up; yields after every rollout."""
    session, row = spec.session, spec.worker_id
    config, board, device = session.config, session.board, session.device(row)
    timings = Timings(lambda phase: board.beat(row, phase))
    agent_seed, *env_seeds = spec.seeds(1 + config.learn.envs_per_worker)
    link.context(worker=row, env=config.env.env, seeds=env_seeds[:4], device=device)
    envs = make_env(config.env, env_seeds, training=True)
    agent = make_agent(config, envs.spec, agent_seed, device)
    if session.agent_state and not session.workers:
        agent.set_state(session.agent_state)
    store = session.store(row)
    rollouts = collect(envs, agent, config.learn.num_steps, config.env.reward_clip or 0.0, timings)
    link.ready()
    while not board.stop and not spent(config, board):
        link.context(step=board.get(row, "env_steps"))
        with timings.time("pull"):
            version = store.pull(agent.parameters)
            agent.refresh()
        agent.begin_rollout(store.counters())
        rollout = next(rollouts)
        with timings.time("learn"):
            gradients, metrics = agent.gradients(rollout)
        with timings.time("push"):
            result = store.push(gradients, version) if gradients is not None else None
        report(board, row, rollout, result, metrics, timings.pop())
        yield
    board.beat(row, "done")
    envs.close()
    store.close()


def spent(config: Config, board: Scoreboard) -> bool:
    """Whether the run's steps are used up. Asked once a rollout, so a run overshoots by at most a rollout
    of every worker."""
    return bool(config.run.max_steps) and board.total("env_steps") >= config.run.max_steps


def report(
    board: Scoreboard,
    row: int,
    rollout: Rollout,
    result: PushResult | None,
    metrics: dict[str, float],
    seconds: dict[str, float],
) -> None:
    """Adds a rollout's experience, results and times to the worker's row."""
    sums = {f"time_{phase}": spent for phase, spent in seconds.items()}
    sums |= {"env_steps": rollout.env_steps, "frames": rollout.frames, "episodes": len(rollout.episodes)}
    sums["return_sum"] = sum(e.episode_return for e in rollout.episodes)
    sums["length_sum"] = sum(e.length for e in rollout.episodes)
    if result is not None and result.applied:
        sums |= metrics | {"metric_count": 1, "grad_norm": result.grad_norm}
    board.add(row, sums)
