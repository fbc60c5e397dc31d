"""A worker and the evaluator of a run in the main process (`--workers 0`), in turns: bit-reproducible."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from a3c.errors import CheckpointError
from a3c.processes.group import ChildStatus, Event
from a3c.processes.supervisor import EVALUATOR, WORKER, ChildState
from a3c.storage.tensor_files import one_line
from a3c.training.device_faults import explained
from a3c.training.divergence import Guard
from a3c.training.session import Session
from a3c.training.worker import Worker, WorkerSpec

_log = logging.getLogger(__name__)


class InlineEvaluator(Protocol):
    """The evaluator as a part of the main process."""

    finished: bool
    """Whether it did its last work, which the stop cell asks for."""

    @property
    def playing(self) -> bool:
        """Whether an evaluation is in progress."""
        ...

    def tick(self) -> bool:
        """Does one small piece of what is due; False when there is nothing to do for now."""
        ...


MakeEvaluator = Callable[
    [Session, "InlineLink", Callable[[], Mapping[str, Any]], Callable[[], float]], InlineEvaluator
]
"""Makes an evaluator from the run, whom it tells, a way to an agent's private state, and a clock in
seconds."""


class InlineLink:
    """A `Link` within one process: what is told is kept until the main loop asks."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def pop_events(self) -> list[Event]:
        """What was told since the last call."""
        events, self._events = self._events, []
        return events

    def event(self, kind: str, payload: Mapping[str, Any]) -> None:
        self._events.append(Event("main", kind, dict(payload)))

    def warning(self, text: str) -> None:
        _log.warning(text)

    def context(self, **facts: Any) -> None: ...


class InlineTeam:
    """A `Team` of one worker and the evaluator. Nobody learns while an evaluation is played, so the
    evaluator's clock stands still meanwhile: between two evaluations lies as much training, however long they
    take.

    Args:
        session: the run.
        make_evaluator: makes the evaluator.
    """

    def __init__(self, session: Session, make_evaluator: MakeEvaluator) -> None:
        self._session, self._make_evaluator = session, make_evaluator
        self._link, self._guard = InlineLink(), Guard(session, every_s=0.0)
        self._incarnation = 0
        self._training = True
        self._played_s = 0.0  # by evaluations

    def start(self) -> None:
        self._worker = self._new_worker()
        self._restore_agent()
        self._evaluator = self._make_evaluator(
            self._session, self._link, lambda: self._worker.agent.get_state(), self._training_clock
        )

    def _training_clock(self) -> float:
        return time.monotonic() - self._played_s

    def _restore_agent(self) -> None:
        state = self._session.agent_state
        try:
            if state:
                self._worker.agent.set_state(state)
        except (LookupError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            words = f"the checkpoint's state of the agent itself cannot be used: {one_line(error)}"
            raise CheckpointError(f"{self._session.run_dir}: {words}") from error

    def _new_worker(self) -> Worker:
        with explained(self._session, 0):
            return Worker(WorkerSpec(self._session, 0, self._incarnation), self._link)

    @property
    def ready(self) -> bool:
        return True

    @property
    def trains(self) -> bool:
        return self._training

    @property
    def at_work(self) -> bool:
        return self._training

    @property
    def evaluator_works(self) -> bool:
        return True

    @property
    def evaluating(self) -> bool:
        return not self._evaluator.finished

    def turn(self) -> list[Event]:
        playing = self._evaluator.playing
        if self._training and not playing:
            with explained(self._session, 0):
                self._worker.step()
            self._check_numbers()
        began = time.monotonic()
        self._evaluator.tick()
        if playing or self._evaluator.playing:
            self._played_s += time.monotonic() - began
        return self._link.pop_events()

    def _check_numbers(self) -> None:
        """After a roll-back another worker begins afresh, as in a new process: what the old one remembers
        (a recurrent state, a target network, a replay) is of the time of the trouble."""
        if trouble := self._guard.check():
            self._guard.roll_back(trouble)
            self._worker.close()
            self._incarnation += 1
            self._worker = self._new_worker()

    def states(self) -> Mapping[str, ChildStatus]:
        worker = ChildState.RUNNING if self._training else ChildState.DONE
        evaluator = ChildState.RUNNING if self.evaluating else ChildState.DONE
        return {
            "worker-0": ChildStatus(WORKER, os.getpid(), worker, self._incarnation),
            "evaluator": ChildStatus(EVALUATOR, os.getpid(), evaluator, 0),
        }

    def end_workers(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        self._training = False
        self._worker.close()
        return self._link.pop_events()

    def end_evaluator(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        while not self._evaluator.finished:
            self._evaluator.tick()
            idle()
        return self._link.pop_events()

    def close(self) -> None: ...
