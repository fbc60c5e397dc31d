"""The evaluator: scores the shared model, writes checkpoints and logs, each on a clock of its own.

Its work is cut into small units (`Evaluator.tick`): one step of a batch of games, one checkpoint, one row
of the log. So a long game delays no checkpoint and no stop. In a process of its own, `run_evaluator` goes
through them; with `--workers 0` the trainer does, between two rollouts.
"""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from a3c.settings.cores import usable_cores, workers_at_a_time
from a3c.storage.saving import Progress, Record
from a3c.storage.sinks import Clock
from a3c.storage.tensor_files import non_finite
from a3c.stores.scoreboard import STOP_ALL, STOP_AND_SCORE
from a3c.stores.shared import Snapshot
from a3c.training.session import Session
from evaluators.games.episodes import Games
from evaluators.games.tables import find_judge
from evaluators.process import contest
from evaluators.process.keeper import CurveAlarm, Keeper, Listener
from evaluators.process.logs import RunLogs
from evaluators.process.match import EVALUATION, FINAL, RECHECK, Match
from evaluators.process.meter import Meter, training_points
from evaluators.process.results import Results
from evaluators.process.tracking import track

if TYPE_CHECKING:
    from a3c.processes.child import Link

IDLE_S = 0.05
"""How long the evaluator rests when there is nothing to do."""

SHARE = 0.1
"""Of a core, for an evaluator whose workers have filled all of them; it takes what they leave besides. As
much of one is spent on evaluations that come sooner than `--eval-every` wants them."""

HURRY_S = 60.0
"""How long the first score may take at the priority of the workers."""


class Evaluator:
    """See the module. `finished` after a stop was asked for and everything is saved.

    Args:
        session: the run.
        listener: hears of results, checkpoints and trouble.
        agent_state: gives an agent's private state for the checkpoints, where there is one to ask.
        clock: seconds.
    """

    def __init__(
        self,
        session: Session,
        listener: Listener,
        agent_state: Callable[[], Mapping[str, Any]] = dict,
        clock: Clock = time.monotonic,
    ) -> None:
        self.finished = False
        self._session, self._listener, self._agent_state, self._clock = session, listener, agent_state, clock
        self._board, self._eval = session.board, session.config.eval
        self._row = self._board.evaluator_row
        self._store = session.store(self._row)
        now, first = clock(), not self._board.get(self._row, "heartbeat")
        self._logs = self._open_logs(first)
        self._meter = Meter(self._board, now)
        if first:  # workers may have begun before
            self._meter.include_start(session.elapsed_s() - session.elapsed_before_s)
        self._keeper = Keeper(session.saver(), self._store, listener, clock)
        self._results = Results(self._logs, listener, find_judge(session.config))
        self._match: Match | None = None
        self._final_begun = False
        self._opened, self._begun = now, False
        self._spent_s = 0.0  # of processor time when the last evaluation began
        self._eval_alarm = CurveAlarm(self._eval.eval_every, now)
        self._log_alarm = CurveAlarm(self._eval.log_every, now)
        self._beat("starting")

    def _open_logs(self, first: bool) -> RunLogs:
        """The logs, with what they say once per start of the run; a restarted evaluator only goes on."""
        s = self._session
        steps = self._store.counters().env_steps
        resumed_at = self._resumed_at if first and s.resumes else None
        warn, clock = self._listener.warning, self._clock
        tracker = track(s, warn, clock) if self._eval.track else None
        logs = RunLogs(s.run_dir, resumed_at, warn, clock, tracker)
        if first:
            logs.describe(s.config, s.env, steps)
        if first and not s.resumes:
            logs.draw_network(s.config, s.env)
        return logs

    @property
    def _resumed_at(self) -> int:
        return int(self._board.get(self._board.main_row, "env_steps"))

    @property
    def scored(self) -> bool:
        """Whether there was a score since the start, or is never to be one."""
        return self._results.told > 0 or not self._eval.eval_every

    @property
    def playing(self) -> bool:
        """Whether an evaluation is in progress."""
        return self._match is not None

    def tick(self) -> bool:
        """One small unit of work. Returns False when there is nothing to do for now."""
        if self.finished:
            return False
        self._beat("env" if self._match else "paused")
        now = self._clock()
        if self._board.stop == STOP_ALL:
            return self._finish()
        if not self._begun:
            self._await_first_step(now)
        if self._log_alarm.rings(now):
            self._log_training()
        if self._keeper.due():
            self._save()
        if self._board.stop == STOP_AND_SCORE:
            return self._score_and_finish()
        if self._match is None and self._eval_alarm.rings(now):
            self._results.settled = now - self._opened >= self._eval.eval_every
            self._begin(EVALUATION)
        return self._advance()

    def _await_first_step(self, now: float) -> None:
        """With it the curves begin."""
        if self._board.total("env_steps") > self._resumed_at:
            self._begun = True
            for alarm in (self._eval_alarm, self._log_alarm):
                alarm.begin(now - self._session.elapsed_before_s, now)

    def close(self) -> None:
        """Gives up what is in progress and closes the logs."""
        self._abandon()
        self._logs.close()

    # -----------------------------------------------------------------------------------------------
    # Ending

    def _score_and_finish(self) -> bool:
        """A last score for the final weights; a re-check in progress may end first."""
        rechecking = self._match is not None and self._match.purpose == RECHECK
        if not self._final_begun and not rechecking:
            self._abandon()
            self._final_begun = self._results.settled = True
            if self._eval.eval_every:
                self._begin(FINAL)
        return self._advance() or self._finish()

    def _finish(self) -> bool:
        self._abandon()
        self._save()
        self._log_training()
        self.close()
        self._beat("done")
        self.finished = True
        return True

    # -----------------------------------------------------------------------------------------------
    # Evaluations

    def _begin(self, purpose: str) -> None:
        """Starts a match with the weights as they are now."""
        self._spent_s, progress = time.process_time(), self._progress()
        snapshot = self._store.snapshot()
        bad = non_finite(snapshot["model"])
        if bad:
            self._listener.warning(f"the shared model's {bad[0]} is not finite; it is not evaluated")
            self._eval_alarm.put_off(math.inf)
            return
        self._start(snapshot, progress, purpose)

    def _start(
        self, snapshot: Snapshot, progress: Progress, purpose: str, first: Games | None = None
    ) -> None:
        try:
            self._match = Match(self._session, snapshot, progress, purpose, self._results.warn_once, first)
        except Exception as error:
            self._give_up(error)

    def _advance(self) -> bool:
        """One step of the match, if there is one. Trouble in it ends the match, never the run."""
        match = self._match
        if match is None:
            return False
        try:
            games = match.advance()
        except Exception as error:
            self._give_up(error)
            return True
        if games is not None:
            self._abandon()
            self._conclude(match, games)
            self._eval_alarm.put_off((time.process_time() - self._spent_s) / SHARE)
        return True

    def _give_up(self, error: Exception) -> None:
        self._abandon()
        self._eval_alarm.put_off(math.inf)
        words = "".join(traceback.format_exception(error)).strip()
        self._listener.warning(f"an evaluation failed and is left out; training goes on: {words}")

    def _abandon(self) -> None:
        match, self._match = self._match, None
        if match is not None:
            match.close()

    def _conclude(self, match: Match, games: Games) -> None:
        """Logs a finished evaluation; a candidate for the best plays again, or becomes it."""
        exact = self._results.examine(match)
        self._results.tell(match, games, exact)
        step, best = match.progress.counters.env_steps, self._keeper.best
        if exact is not None:
            self._save_best(match, contest.exact_record(games, exact, step, best))
        elif match.first is not None:
            self._save_best(match, contest.new_record(match.first, games, step, best))
        elif contest.challenges(games, best):
            self._start(match.snapshot, match.progress, RECHECK, games)

    def _save_best(self, match: Match, record: Record | None) -> None:
        if record is not None:
            self._keeper.save_best(match.snapshot, match.progress, record)
            if match.clip:
                self._logs.show_game(match.clip, match.progress.counters.env_steps)

    def _save(self) -> None:
        self._beat("push")
        self._keeper.save(self._progress())

    def _progress(self) -> Progress:
        best, agent = self._keeper.best, self._agent_state()
        return Progress(self._store.counters(), self._session.elapsed_s(), best, agent)

    # -----------------------------------------------------------------------------------------------
    # Logs

    def _log_training(self) -> None:
        """A row on the time since the last one, unless nothing was done in it: one row per step."""
        row = self._meter.read(self._clock())
        if row is None:
            return
        row["learning_rate"] = self._store.learning_rate()
        wall_s = self._session.elapsed_s()
        self._logs.write("train", self._meter.counters, wall_s, row, training_points(row))

    def _beat(self, phase: str) -> None:
        match = self._match
        self._board.put(
            self._row, {"games": match.games if match else 0, "games_over": match.over if match else 0}
        )
        self._board.beat(self._row, phase)


def niceness(workers_per_core: float) -> int:
    """How nice an evaluator is to its workers, to be left with its `SHARE` of a core: with each step of
    niceness Linux weighs a process 1.25 times less."""
    weight = SHARE / (1 - SHARE) * max(workers_per_core, 1.0)
    return max(0, round(math.log(1 / weight, 1.25)))


def run_evaluator(session: Session, link: Link) -> None:
    """The entry point of the evaluator process."""
    link.context(env=session.config.env.env)
    evaluator = Evaluator(session, link)
    link.ready()
    hurries, until = True, time.monotonic() + HURRY_S
    try:
        while not evaluator.finished:
            if hurries and (evaluator.scored or time.monotonic() > until):
                hurries = False
                os.nice(niceness(workers_at_a_time(session.config.run) / usable_cores()))
            if not evaluator.tick():
                time.sleep(IDLE_S)
    finally:
        evaluator.close()
