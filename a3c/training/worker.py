"""A worker: pulls weights, collects a rollout, computes gradients, pushes them, reports. Nothing else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from a3c.agents.make import make_agent
from a3c.envs import make_env
from a3c.networks.device import host_array
from a3c.processes.memory import keep_freed_memory
from a3c.stores.scoreboard import WAITING, Scoreboard
from a3c.training.device_faults import explained
from a3c.training.rollouts import collect
from a3c.training.session import Session
from a3c.training.timings import Timings
from a3c.types import PushResult, Rollout

if TYPE_CHECKING:
    from a3c.processes.child import Link


ACTING_STEPS = 4
"""For so many steps a worker acts with the same weights, where it learns with fresh ones."""

TURN_STEPS = 160
"""Steps in each environment that a worker plays in its turn, or one rollout if that is longer, where the
network has memory: while a worker waits the weights move on, and the state that it goes on from grows old.
Without memory a turn is one rollout: many in a row from the same environments are too much alike."""

_PULSE_S = 0.25  # between two signs of life of a worker that waits


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker process is given."""

    session: Session
    worker_id: int  # also its scoreboard row
    incarnation: int  # how often this worker was restarted

    def seeds(self, count: int) -> list[int]:
        """`count` seeds, different for every (seed, resume, worker, restart) and, in a cluster, start of a
        node."""
        session = self.session
        entropy = [session.config.run.seed, session.resumes, self.worker_id, self.incarnation]
        if session.node:
            entropy.append(session.node)
        return [int(word) for word in np.random.SeedSequence(entropy).generate_state(count) >> 1]


def run_worker(spec: WorkerSpec, link: Link) -> None:
    """The entry point of a worker process: trains until told to stop or the steps are used up."""
    keep_freed_memory()
    with explained(spec.session, spec.worker_id), passing_on_warnings(link):
        _train(spec, link)


def _train(spec: WorkerSpec, link: Link) -> None:
    worker = Worker(spec, link)
    threading.Thread(target=keep_alive, args=(spec.session.board, spec.worker_id), daemon=True).start()
    link.ready()
    goes_on = True
    while goes_on:
        with worker.turn() as rollouts:
            for _ in range(rollouts):
                goes_on = not (spec.session.board.stop or spec.session.spent())
                if not goes_on:
                    break
                worker.step()
    worker.close()


@contextmanager
def passing_on_warnings(link: Link) -> Iterator[None]:
    """Tells what is logged meanwhile, such as that a GPU has to do without something."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: link.warning(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("a3c")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def keep_alive(board: Scoreboard, row: int) -> None:
    """Signs of life while the worker waits for its turn: waiting is no hang, being frozen in the queue is."""
    while True:
        time.sleep(_PULSE_S)
        board.still(row, WAITING)


class Facts(Protocol):
    """Who is told where the worker is, for the message of an error."""

    def context(self, **facts: Any) -> None: ...


class Worker:
    """Environments, an agent and a door to the shared weights; `step` by `step` they learn."""

    def __init__(self, spec: WorkerSpec, link: Facts) -> None:
        session, row = spec.session, spec.worker_id
        config, device = session.config, session.device(row)
        agent_seed, *env_seeds = spec.seeds(1 + config.learn.envs_per_worker)
        link.context(worker=row, env=config.env.env, seeds=env_seeds[:4], device=device)
        if device != "cpu":
            use_gpu(device)
        self._board, self._row, self._link = session.board, row, link
        self._turns = session.playing
        self._timings = Timings(lambda phase: self._board.beat(row, phase))
        self._envs = make_env(config.env, env_seeds, training=True)
        self.agent = make_agent(config, self._envs.spec, agent_seed, device, row + session.offset)
        self._store = session.store(row)
        self._length, reward_clip = config.learn.num_steps, config.env.reward_clip or 0.0
        remembers = bool(self.agent.initial_state(1))
        self._rollouts_in_turn = max(1, TURN_STEPS // self._length) if remembers else 1
        seats = self.agent.seats(self._envs.spec, self._envs.size)
        self._rollouts = collect(
            self._envs,
            seats,
            self._length,
            reward_clip,
            self._timings,
            lambda: self._board.stop != 0,
            self._renew,
            partial(host_array, torch.device(device)),
            truncation_ends=config.learn.truncation == "end",
        )
        self._versions: list[int] = []  # of the weights of the present rollout

    @contextmanager
    def turn(self) -> Iterator[int]:
        """Its turn to play and learn, waited for where workers take turns, and of how many rollouts."""
        if self._turns is None:
            yield 1
            return
        self._board.beat(self._row, WAITING)
        with self._turns.take(self._row):
            yield self._rollouts_in_turn

    def step(self) -> None:
        """One rollout and what is learned from it. The worker's weights change between rollouts and lessons
        and, where the agent learns with fresh ones, now and then within a rollout. At a stop it ends after
        the environment step or the lesson it is at: with some algorithms a rollout and its lessons take
        seconds."""
        agent, board, timings = self.agent, self._board, self._timings
        self._link.context(step=board.get(self._row, "env_steps"))
        self._versions = [self._pull()]
        agent.begin_rollout(self._store.counters())
        rollout = next(self._rollouts, None)
        if rollout is None:
            return
        version, acting = self._versions[0], float(np.mean(self._versions))
        with timings.time("learn"):
            lessons = agent.lessons(rollout)
        for number, lesson in enumerate(lessons):
            if board.stop:
                break
            if number or agent.fresh:
                version = self._pull()
            with timings.time("learn"):
                gradients, metrics = lesson()
            if gradients is not None:
                with timings.time("push"):
                    result = self._store.push(gradients, version, agent.pace)
                count_update(board, self._row, result, version - acting, metrics)
        count_rollout(board, self._row, rollout, timings.pop())

    def _renew(self, t: int) -> None:
        """Pulls in the middle of a rollout, where what is learned does not rest on the weights that acted."""
        if self.agent.fresh and t and t % ACTING_STEPS == 0:
            self._versions.append(self._pull())

    def _pull(self) -> int:
        """Takes the newest weights into use; returns their version."""
        with self._timings.time("pull"):
            version = self._store.pull(self.agent.parameters)
            self.agent.refresh()
        return version

    def close(self) -> None:
        """Ends the environments."""
        self._board.beat(self._row, "done")
        self._envs.close()


def use_gpu(device: str) -> None:
    """Makes `device` this process's only GPU and lets it compute as fast as it can."""
    torch.cuda.set_device(device)  # else pinned memory would open a context on the first GPU too
    torch.set_float32_matmul_precision("high")  # TF32
    torch.backends.cudnn.benchmark = True  # shapes stay the same
    torch.backends.cudnn.benchmark_limit = 4  # of ten guesses, which all workers of a GPU try at once


def count_update(
    board: Scoreboard, row: int, result: PushResult, older: float, metrics: dict[str, float]
) -> None:
    """Adds an update's metrics to the worker's row, if it was applied; `older` is how many updates there were
    between the pulls for acting, on average, and the one before learning."""
    if result.applied:
        sums = {"metric_count": 1, "grad_norm": result.grad_norm, "acting_lag_sum": result.lag + older}
        board.add(row, metrics | sums)


def count_rollout(board: Scoreboard, row: int, rollout: Rollout, seconds: dict[str, float]) -> None:
    """Adds a rollout's experience and times to the worker's row."""
    sums = {f"time_{phase}": duration for phase, duration in seconds.items()}
    sums |= {"env_steps": rollout.env_steps, "frames": rollout.frames, "episodes": len(rollout.episodes)}
    sums["return_sum"] = sum(e.episode_return for e in rollout.episodes)
    sums["length_sum"] = sum(e.length for e in rollout.episodes)
    board.add(row, sums)
