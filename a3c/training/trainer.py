"""The main process of a run: sets it up, keeps its processes going, knows when to stop, and stops it."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from a3c.console.live import make_view
from a3c.console.logs import logging_to
from a3c.console.restart import take_requests
from a3c.errors import EXIT_OK, A3CError
from a3c.processes.child import Link
from a3c.processes.group import ChildSpec, Event, ProcessGroup
from a3c.processes.notify import ServiceManager
from a3c.processes.signals import Signals
from a3c.processes.spawning import ensure_open_files
from a3c.processes.supervisor import EVALUATOR, WORKER, ChildState, Limits
from a3c.settings.config import RUNS_FOLDER, Config, usable_cores
from a3c.settings.groups import RunConfig
from a3c.storage.open_run import open_run
from a3c.storage.saving import Progress
from a3c.storage.shelf import entries
from a3c.stores.scoreboard import STOP_ALL, STOP_AND_SCORE, STOP_WORKERS
from a3c.training.divergence import Guard
from a3c.training.preflight import check_room
from a3c.training.reporter import Reporter
from a3c.training.session import Session, open_session
from a3c.training.worker import Worker, WorkerSpec, run_worker, spent

_POLL_S = 0.1
_LAST_SCORE_S = 600.0  # how long the last evaluation of a finished run may take
_log = logging.getLogger(__name__)


class InlineEvaluator(Protocol):
    """The evaluator as a part of the main process (`--workers 0`)."""

    finished: bool
    """Whether it did its last work, which the stop cell asks for."""

    def tick(self) -> bool:
        """Does one piece of what is due; False when there is nothing to do for now."""
        ...


class Ending(NamedTuple):
    """Why a run ends."""

    reason: str
    complete: bool = True  # it did what it was asked to: then a last score is due


AgentState = Callable[[], Mapping[str, Any]]


class Evaluators(NamedTuple):
    """How to evaluate, in a process or inline; handed in, because this package never imports evaluators."""

    process: Callable[[Session, Link], None]
    inline: Callable[[Session, Any, AgentState], InlineEvaluator]


def train(config: Config, command: Sequence[str], evaluators: Evaluators, root: Path = RUNS_FOLDER) -> int:
    """Runs a training to its end and returns the exit code. `config` is complete and checked.

    Raises:
        A3CError: the run could not start or go on; its class gives the exit code.
    """
    if config.run.workers is None:
        config = config.replace(workers=usable_cores())
    with (
        open_run(root, config, command) as run,
        closing(make_view(sys.stdout)) as view,
        logging_to(run.path / "logs" / "main.log", view),
        Signals(config.run.on_hup == "ignore") as signals,
    ):
        faulthandler.register(signal.SIGUSR1)  # shows where it is, as in the children
        session = open_session(config, run)
        check_room(session)
        reporter = Reporter(session, run, view)
        reporter.greet()
        run_session = train_inline if session.workers == 0 else train_processes
        try:
            ending = run_session(session, reporter, signals, evaluators)
        except A3CError as error:
            reporter.finish("failed", str(error))
            raise
        reporter.finish("finished" if ending.complete else "stopped", ending.reason)
    return EXIT_OK


def train_processes(session: Session, reporter: Reporter, signals: Signals, evaluators: Evaluators) -> Ending:
    """Workers and the evaluator as processes of their own."""
    ensure_open_files(session.workers + 1)
    session.share()
    service, guard = ServiceManager(), Guard(session)
    take_requests(session.run_dir, ())  # those of an earlier start are void
    with ProcessGroup(
        children(session, evaluators),
        lambda: heartbeats(session),
        _report,
        session.run_dir / "logs",
        limits(session.config.run),
    ) as group:
        group.start()
        while not (ending := why_stop(session, reporter, signals) or why_done(group)):
            group.wait(_POLL_S)
            reporter.take(group.poll())
            if trouble := guard.check():
                group.renew(partial(guard.roll_back, trouble))
            for name in take_requests(session.run_dir, group.states()):
                _log.info("%s is replaced, as asked", name)
                group.restart(name)
            reporter.refresh(group.states())
            group.trim_logs()
            tell(service, group, session.config.run)
        stop(session, reporter, signals, group, ending, service)
    return ending


def limits(run: RunConfig) -> Limits:
    """How patient the supervisor is. A pause of its own counts for less than a child's silence."""
    return Limits(
        start_s=max(Limits.start_s, run.stall_after),
        stall_s=run.stall_after,
        min_workers=run.min_workers,
        max_tick_s=min(Limits.max_tick_s, run.stall_after / 4),
    )


def tell(service: ServiceManager, group: ProcessGroup, run: RunConfig) -> None:
    """Lets the service manager know that this loop goes round, and at first that enough workers do."""
    workers = [child for child in group.states().values() if child.role == WORKER]
    if sum(child.state is ChildState.RUNNING for child in workers) >= min(run.min_workers, len(workers)):
        service.ready()
    service.alive()


def children(session: Session, evaluators: Evaluators) -> list[ChildSpec]:
    """Who is to be started: the workers and the evaluator."""

    def worker(worker_id: int) -> ChildSpec:
        return ChildSpec(
            f"worker-{worker_id}",
            WORKER,
            run_worker,
            lambda restarts: (WorkerSpec(session, worker_id, restarts),),
        )

    evaluator = ChildSpec("evaluator", EVALUATOR, evaluators.process, lambda restarts: (session,))
    return [*(worker(i) for i in range(session.workers)), evaluator]


def heartbeats(session: Session) -> dict[str, tuple[float, str]]:
    """Each child's last sign of life and phase."""
    board = session.board
    rows = {f"worker-{i}": i for i in range(session.workers)} | {"evaluator": board.evaluator_row}
    return {name: (board.get(row, "heartbeat"), board.phase(row)) for name, row in rows.items()}


def why_stop(session: Session, reporter: Reporter, signals: Signals) -> Ending | None:
    """The reason to end the run now; None to go on."""
    run = session.config.run
    if signals.requested:
        return Ending(f"stopped by {signals.requested.name}", complete=False)
    if run.max_rss and (memory := reporter.memory_bytes()) > run.max_rss:
        return Ending(
            f"its processes take {memory / 1e6:.0f} MB and --max-rss is {run.max_rss / 1e6:.0f} MB",
            complete=False,
        )
    if run.max_time and time.monotonic() - session.started >= run.max_time:
        return Ending(f"--max-time {run.max_time:g} s is over")
    if (
        run.target_score is not None
        and reporter.last_score is not None
        and reporter.last_score >= run.target_score
    ):
        return Ending(f"score {reporter.last_score:g} reached --target-score {run.target_score:g}")
    if spent(session):
        return Ending(f"--max-steps {run.max_steps} is reached")
    return None


def why_done(group: ProcessGroup) -> Ending | None:
    """Set when every worker ended its work by itself."""
    states = [child.state for child in group.states().values() if child.role == WORKER]
    return Ending("all workers are done") if all(state is ChildState.DONE for state in states) else None


def stop(
    session: Session,
    reporter: Reporter,
    signals: Signals,
    group: ProcessGroup,
    ending: Ending,
    service: ServiceManager,
) -> None:
    """Ends the workers, then the evaluator, which writes the last checkpoint; if it does not, this does."""
    board, grace = session.board, session.config.run.grace

    def idle() -> None:
        reporter.refresh(group.states(), "stopping")
        service.alive()

    if not ending.complete:
        service.stopping()  # a last score may take longer than a service manager waits for an end
    board.stop = STOP_WORKERS
    reporter.take(group.stop(WORKER, grace / 2, idle))
    if ending.complete:
        board.stop = STOP_AND_SCORE
        deadline = time.monotonic() + _LAST_SCORE_S
        while group.states()["evaluator"].state in (ChildState.STARTING, ChildState.RUNNING):
            if signals.requested or time.monotonic() > deadline:
                break
            group.wait(_POLL_S)
            reporter.take(group.poll())
            idle()
        service.stopping()
    board.stop = STOP_ALL
    reporter.take(group.stop(EVALUATOR, grace / 2, idle))
    save_if_missing(session, reporter)


def save_if_missing(session: Session, reporter: Reporter) -> None:
    """Writes the last checkpoint when the evaluator could not."""
    steps = session.board.total("env_steps")
    saved = entries(session.run_dir)
    if steps == 0 or (saved and saved[-1].step == steps):
        return
    _log.warning("the evaluator left no last checkpoint; writing it here")
    saver = session.saver()
    progress = Progress(session.board.counters(), session.elapsed_s(), saver.best())
    path = saver.save(session.memory.snapshot(), progress)
    reporter.take([Event("main", "checkpoint", {"name": path.name})])


def train_inline(session: Session, reporter: Reporter, signals: Signals, evaluators: Evaluators) -> Ending:
    """The same worker and evaluator, in turns, in this process: bit-reproducible for a given seed."""
    link, service, guard = InlineLink(), ServiceManager(), Guard(session, every_s=0.0)
    worker = Worker(WorkerSpec(session, 0, 0), link)
    if session.agent_state:
        worker.agent.set_state(session.agent_state)
    evaluator = evaluators.inline(session, link, worker.agent.get_state)

    def share_turns() -> None:
        while evaluator.tick() and not signals.requested:
            reporter.refresh({})
        reporter.take(link.pop_events())
        reporter.refresh({})
        service.alive()

    service.ready()
    while not (ending := why_stop(session, reporter, signals)):
        worker.step()
        if trouble := guard.check():
            guard.roll_back(trouble)
        share_turns()
    worker.close()
    while not evaluator.finished:
        scoring = ending.complete and not signals.requested
        if not scoring:
            service.stopping()
        session.board.stop = STOP_AND_SCORE if scoring else STOP_ALL
        share_turns()
    save_if_missing(session, reporter)
    return ending


class InlineLink:
    """A `Link` within one process: what is told is kept until the main loop asks."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def pop_events(self) -> list[Event]:
        """What was told since the last call."""
        events, self._events = self._events, []
        return events

    def event(self, kind: str, payload: dict[str, Any]) -> None:
        self._events.append(Event("main", kind, dict(payload)))

    def warning(self, text: str) -> None:
        _log.warning(text)

    def context(self, **facts: Any) -> None: ...

    def ready(self) -> None: ...


def _report(level: str, text: str) -> None:
    _log.log(logging.getLevelNamesMapping()[level.upper()], text)
