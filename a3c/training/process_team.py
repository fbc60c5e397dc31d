"""Workers and the evaluator of a run as supervised processes of their own."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from a3c.console.restart import Requests
from a3c.processes.child import Link
from a3c.processes.group import ChildSpec, ChildStatus, Event, ProcessGroup
from a3c.processes.spawning import ensure_open_files
from a3c.processes.supervisor import EVALUATOR, EXCHANGER, WORKER, ChildState, Limits
from a3c.settings.cores import usable_cores
from a3c.settings.groups import RunConfig
from a3c.stores.scoreboard import STOP_EXCHANGE
from a3c.training.divergence import Guard, Trouble
from a3c.training.session import Session
from a3c.training.worker import WorkerSpec, run_worker

_POLL_S = 0.1
_log = logging.getLogger(__name__)


Evaluate = Callable[[Session, Link], None]
"""What the evaluator process does."""


class Exchange(Protocol):
    """A node's part in a cluster: a process that exchanges weights and counters with the other nodes."""

    def share(self) -> None:
        """Moves what it has to remember into shared memory. Raises StorageError."""
        ...

    def renew(self) -> None:
        """The weights in memory were replaced; nobody exchanges now."""
        ...

    def child(self, session: Session) -> ChildSpec:
        """The process, which writes in the scoreboard's row of the others and ends after the last exchange,
        when the board says STOP_EXCHANGE."""
        ...


class ProcessTeam:
    """A `Team` of processes. They share the session's memory; one that ends is replaced.

    Args:
        session: the run.
        evaluate: what the evaluator process does; None on a node of a cluster that has none.
        exchange: in a cluster, the node's part in it.
    """

    def __init__(self, session: Session, evaluate: Evaluate | None, exchange: Exchange | None = None) -> None:
        self._session, self._guard, self._exchange = session, Guard(session), exchange
        self._requests = Requests(session.run_dir)
        patience = limits(session.config.run)
        if evaluate is None:  # then workers wait for the exchanger, and the weights that they begin with
            patience = replace(patience, early_workers=0)
        self._group = ProcessGroup(
            children(session, evaluate, exchange),
            lambda: heartbeats(session),
            lambda level, text: _log.log(logging.getLevelNamesMapping()[level.upper()], text),
            session.run_dir / "logs",
            patience,
        )

    @property
    def ready(self) -> bool:
        states = self._states_of(WORKER)
        return states.count(ChildState.RUNNING) >= min(self._session.config.run.min_workers, len(states))

    @property
    def trains(self) -> bool:
        workers = [child for child in self._group.states().values() if child.role == WORKER]
        return any(
            child.state is ChildState.RUNNING or (child.state is ChildState.STARTING and not child.restarts)
            for child in workers
        )

    @property
    def at_work(self) -> bool:
        return any(state is not ChildState.DONE for state in self._states_of(WORKER))

    @property
    def evaluator_works(self) -> bool:
        return ChildState.RUNNING in self._states_of(EVALUATOR)

    @property
    def evaluating(self) -> bool:
        return not {ChildState.STARTING, ChildState.RUNNING}.isdisjoint(self._states_of(EVALUATOR))

    def _states_of(self, role: str) -> list[ChildState]:
        return [child.state for child in self._group.states().values() if child.role == role]

    def start(self) -> None:
        ensure_open_files(len(self._group.states()))
        self._session.share()
        if self._exchange:
            self._exchange.share()
        self._group.start()

    def turn(self) -> list[Event]:
        self._group.wait(_POLL_S)
        events = self._group.poll()
        if trouble := self._guard.check():
            self._group.renew(partial(self._roll_back, trouble))
        for name in self._requests.take(self._group.states()):
            _log.info("%s is replaced, as asked", name)
            self._group.restart(name)
        return events

    def _roll_back(self, trouble: Trouble) -> None:
        self._guard.roll_back(trouble)
        if self._exchange:
            self._exchange.renew()

    def states(self) -> Mapping[str, ChildStatus]:
        return self._group.states()

    def end_workers(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        if not self._exchange:
            return self._group.stop(WORKER, timeout_s, idle)
        deadline = time.monotonic() + timeout_s
        events = self._group.stop(WORKER, timeout_s / 2, idle)
        self._session.board.stop = STOP_EXCHANGE
        return events + self._group.stop(EXCHANGER, max(deadline - time.monotonic(), 0.0), idle)

    def end_evaluator(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        return self._group.stop(EVALUATOR, timeout_s, idle)

    def close(self) -> None:
        self._group.kill_all()


def children(
    session: Session, evaluate: Evaluate | None, exchange: Exchange | None = None
) -> list[ChildSpec]:
    """Who is to be started, in this order: the evaluator and the exchanger, before they fill the cores, and
    the workers."""

    def worker(worker_id: int) -> ChildSpec:
        return ChildSpec(
            f"worker-{worker_id}",
            WORKER,
            run_worker,
            lambda restarts: (WorkerSpec(session, worker_id, restarts),),
        )

    first = []
    if evaluate:
        environ = tracking(session)
        first.append(ChildSpec("evaluator", EVALUATOR, evaluate, lambda restarts: (session,), environ))
    if exchange:
        first.append(exchange.child(session))
    return [*first, *(worker(i) for i in range(session.workers))]


def tracking(session: Session) -> dict[str, str]:
    """What Weights & Biases reads from the environment, its key among it: with --track, for the evaluator."""
    return {k: v for k, v in os.environ.items() if session.config.eval.track and k.startswith("WANDB_")}


def heartbeats(session: Session) -> dict[str, tuple[float, str]]:
    """Each child's last sign of life and phase."""
    board = session.board
    rows = {f"worker-{i}": i for i in range(session.workers)} | {
        "evaluator": board.evaluator_row,
        "exchanger": board.others_row,
    }
    return {name: (board.get(row, "heartbeat"), board.phase(row)) for name, row in rows.items()}


def limits(run: RunConfig) -> Limits:
    """How patient the supervisor is. A pause of its own counts for less than a child's silence."""
    return Limits(
        start_s=max(Limits.start_s, run.stall_after),
        stall_s=run.stall_after,
        early_workers=usable_cores() - 1,
        min_workers=run.min_workers,
        max_tick_s=min(Limits.max_tick_s, run.stall_after / 4),
    )
