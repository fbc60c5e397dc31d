"""The main process of a run: sets it up, keeps it going, knows when to end it, and ends it in order."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from a3c.console.live import make_view
from a3c.console.logs import logging_to
from a3c.errors import A3CError, CheckpointError, QuorumLost, StorageError
from a3c.processes.child import limit_threads
from a3c.processes.group import ChildStatus, Event
from a3c.processes.guardian import guarded
from a3c.processes.notify import ServiceManager
from a3c.processes.signals import Signals
from a3c.settings.config import RUNS_FOLDER, Config
from a3c.settings.cores import usable_cores
from a3c.storage.open_run import open_run
from a3c.storage.run_directory import RunDirectory, load_config, read_status
from a3c.storage.saving import Progress
from a3c.storage.shelf import entries
from a3c.stores.scoreboard import STOP_ALL, STOP_AND_SCORE, STOP_WORKERS
from a3c.training.inline_team import InlineTeam, MakeEvaluator
from a3c.training.preflight import check_room
from a3c.training.process_team import Evaluate, Exchange, ProcessTeam
from a3c.training.reporter import Reporter
from a3c.training.session import Session, open_session

_LAST_SCORE_S = 600.0  # how long the last evaluation of a finished run may take
_STAND_IN_S = 60.0  # how long the evaluator may be missing before checkpoints are written without it
_LOGS = "see the logs in its folder"
_log = logging.getLogger(__name__)


class Ending(NamedTuple):
    """Why a run ends."""

    reason: str
    complete: bool = True  # it did what it was asked to: then a last score is due


class Ended(NamedTuple):
    """A run that came to its end."""

    run_dir: Path
    ending: Ending

    @property
    def state(self) -> str:
        """The last one in `status.json`."""
        return "finished" if self.ending.complete else "stopped"


class Evaluators(NamedTuple):
    """How to evaluate, in a process or inline; handed in, because this package never imports evaluators."""

    process: Evaluate
    inline: MakeEvaluator


class Team(Protocol):
    """The workers and the evaluator of a run, in processes of their own or in this one."""

    @property
    def ready(self) -> bool:
        """Whether as many workers train as must."""
        ...

    @property
    def trains(self) -> bool:
        """Whether a worker trains, or starts for the first time."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether a worker is left that may still make steps."""
        ...

    @property
    def evaluator_works(self) -> bool:
        """Whether the evaluator is there and does its work, checkpoints among it."""
        ...

    @property
    def evaluating(self) -> bool:
        """Whether the evaluator has not done its last work yet."""
        ...

    def start(self) -> None:
        """Sets everybody to work."""
        ...

    def turn(self) -> list[Event]:
        """Supervises or, in one process, trains for a moment; returns what the evaluator reported.

        Raises:
            QuorumLost: too few workers are left.
            Diverged: the numbers went wrong again after a roll-back.
        """
        ...

    def states(self) -> Mapping[str, ChildStatus]:
        """How each of them is, by name."""
        ...

    def end_workers(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        """Sees the workers leave, as the board tells them to; calls `idle` meanwhile."""
        ...

    def end_evaluator(self, timeout_s: float, idle: Callable[[], None]) -> list[Event]:
        """Sees the evaluator leave, after a last checkpoint."""
        ...

    def close(self) -> None:
        """Leaves nobody behind."""
        ...


def train(
    config: Config,
    command: Sequence[str],
    evaluators: Evaluators,
    join: Callable[[Session], Exchange] | None = None,
    root: Path = RUNS_FOLDER,
) -> Ended:
    """Runs a training to its end. `config` is complete and checked; `join` makes the run's part in a cluster.

    Raises:
        A3CError: the run could not start or go on; its class gives the exit code.
    """
    if config.run.workers is None:
        config = config.replace(workers=usable_cores())
    with (
        guarded() as trouble,
        open_run(root, config, command) as folder,
        closing(make_view(sys.stdout)) as view,
        logging_to(folder.path / "logs" / "main.log", view),
        Signals(config.run.on_hup == "ignore") as signals,
    ):
        faulthandler.register(signal.SIGUSR1)  # shows where it is, as in the children
        if trouble:
            _log.warning(trouble)
        limit_threads()  # with more, --workers 0 rounds by the number of cores, and crawls on a busy machine
        session = open_session(config, folder)
        if reached := reached_before(session, folder):
            ServiceManager().stopping()
            view.message(f"{folder.path} is finished: {reached}; train on with {session.to_go_on(reached)}")
            return Ended(folder.path, Ending(reached))
        check_room(session)
        folder.begin()
        reporter = Reporter(session, folder, view)
        reporter.greet()
        team: Team = (
            ProcessTeam(session, evaluators.process, join and join(session))
            if session.workers
            else InlineTeam(session, evaluators.inline)
        )
        try:
            ending = Run(session, reporter, signals, team).until_end()
        except A3CError as error:
            reporter.finish("failed", str(error))
            raise
        ended = Ended(folder.path, ending)
        reporter.finish(ended.state, ending.reason)
    return ended


def reached_before(session: Session, folder: RunDirectory) -> str:
    """In words, why a run that was loaded has nothing more to do: it finished at the steps where it stands,
    and no other goal was given. Else empty."""
    last = folder.resumed and read_status(folder.path)
    if not last or last.get("state") != "finished" or last.get("steps") != session.board.total("env_steps"):
        return ""
    before, now = load_config(folder.path).run, session.config.run
    same = (before.max_steps, before.target_score) == (now.max_steps, now.target_score)
    return session.goal_reached((last.get("evaluator") or {}).get("last_score") if same else None)


class Run:
    """One start of a run.

    Args:
        session: the run.
        reporter: hears what the evaluator found, and shows how it goes.
        signals: those that ask for a stop.
        team: who does the work.
    """

    def __init__(self, session: Session, reporter: Reporter, signals: Signals, team: Team) -> None:
        self._session, self._reporter, self._signals, self._team = session, reporter, signals, team
        self._service = ServiceManager()
        self._saved_at = time.monotonic()

    def until_end(self) -> Ending:
        """Trains until there is a reason to end, and ends. Raises A3CError when it cannot go on."""
        try:
            with closing(self._team) as team:
                team.start()
                while not (ending := self.why_end()):
                    self._take(team.turn())
                    self._show("running")
                    self._stand_in()
                    if team.ready:
                        self._service.ready()
                self._end(ending)
        except QuorumLost:
            self._save_if_missing()  # what was learned is as good as before
            raise
        self._save_if_missing()
        return ending

    def why_end(self) -> Ending | None:
        """The reason to end the run now; None to go on.

        Raises:
            QuorumLost: there is none, and yet every worker has left; or none made a step in all the time.
        """
        run = self._session.config.run
        if self._signals.requested:
            return Ending(f"stopped by {self._signals.requested.name}", complete=False)
        if run.max_rss and (memory := self._reporter.memory_bytes()) > run.max_rss:
            words = f"its processes take {memory / 1e6:.0f} MB and --max-rss is {run.max_rss / 1e6:.0f} MB"
            return Ending(words, complete=False)
        if run.max_time and time.monotonic() - self._session.started >= run.max_time:
            reason = f"--max-time {run.max_time:g} s is over"
            if not (self._session.board.total("env_steps") or self._team.trains):
                raise QuorumLost(f"{reason} and no worker has made a step; {_LOGS}")
            return Ending(reason)
        if reached := self._session.goal_reached(self._reporter.last_score):
            return Ending(reached)
        if not self._team.at_work:
            raise QuorumLost(f"every worker has left before the run was done; {_LOGS}")
        return None

    def _end(self, ending: Ending) -> None:
        """Ends the workers, then the evaluator, which gives a complete run its last score."""
        board, grace = self._session.board, self._session.config.run.grace
        if not ending.complete:
            self._service.stopping()  # a last score may take longer than a service manager waits for an end
        board.stop = STOP_WORKERS
        self._take(self._team.end_workers(grace / 2, self._idle))
        if ending.complete:
            board.stop = STOP_AND_SCORE
            self._await_last_score()
            self._service.stopping()
        board.stop = STOP_ALL
        self._take(self._team.end_evaluator(grace / 2, self._idle))

    def _await_last_score(self) -> None:
        deadline = time.monotonic() + _LAST_SCORE_S
        while self._team.evaluating and not self._signals.requested:
            if time.monotonic() > deadline:
                _log.warning("the last evaluation takes more than %g s and is left out", _LAST_SCORE_S)
                return
            self._take(self._team.turn())
            self._idle()

    def _idle(self) -> None:
        self._show("stopping")

    def _show(self, state: str) -> None:
        self._reporter.refresh(self._team.states(), state)
        self._service.alive()

    def _take(self, events: list[Event]) -> None:
        if any(event.kind == "checkpoint" for event in events):
            self._saved_at = time.monotonic()
        self._reporter.take(events)

    def _stand_in(self) -> None:
        """Writes the checkpoints that are due while the evaluator, whose work it is, is not there."""
        due_s = max(self._session.config.eval.checkpoint_every, _STAND_IN_S)
        if time.monotonic() - self._saved_at < due_s or self._team.evaluator_works:
            return
        self._saved_at = time.monotonic()
        try:
            self._save_if_missing()
        except (CheckpointError, StorageError) as error:
            _log.warning("%s; training goes on", error)

    def _save_if_missing(self) -> None:
        """Writes a checkpoint of now, unless the evaluator did."""
        session, saver = self._session, self._session.saver()
        steps, saved = session.board.total("env_steps"), entries(session.run_dir)
        if steps == 0 or (saved and saved[-1].step == steps):
            return
        _log.info("the evaluator wrote no checkpoint of step %d; the main process writes it", steps)
        progress = Progress(session.board.counters(), session.elapsed_s(), saver.best())
        path = saver.save(session.memory.snapshot(), progress)
        self._take([Event("main", "checkpoint", {"name": path.name})])
        saver.prune()
