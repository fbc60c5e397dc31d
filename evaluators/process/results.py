"""What an evaluation found, told to the logs, to the main process and, where it looks wrong, to a person."""

from __future__ import annotations

from evaluators.games.episodes import Games
from evaluators.games.exact import ExactScore, Judge
from evaluators.games.tables import is_blank
from evaluators.process.keeper import Listener
from evaluators.process.logs import RunLogs
from evaluators.process.match import EVALUATION, FINAL, RECHECK, Match
from evaluators.process.meter import evaluation_points, games_row

ONE_ACTION = 0.99
"""Share of one action beyond which a policy is said to ignore what it observes."""


class Results:
    """Tells of finished evaluations.

    Args:
        logs: get a row for each.
        listener: hears of each, and of what looks wrong once.
        judge: computes the exact value of a table; None where there is no table.

    Attributes:
        settled: Whether a result that looks wrong is worth a word: not before the run has learned a while.
        told: Evaluations so far.
    """

    def __init__(self, logs: RunLogs, listener: Listener, judge: Judge | None) -> None:
        self._logs, self._listener, self._judge = logs, listener, judge
        self._warned: set[str] = set()
        self.settled, self.told = False, 0

    def examine(self, match: Match) -> ExactScore | None:
        """The exact value of a table, where there is one."""
        if self._judge is None:
            return None
        table = match.snapshot["model"]["q"].numpy()
        if is_blank(table):
            self._doubt("all cells of the table are equal: nothing was learned yet, so it acts by chance")
        return self._judge(table)

    def tell(self, match: Match, games: Games, exact: ExactScore | None) -> None:
        """Logs and reports the games of a match."""
        self.told += 1
        numbers, p = games_row(games), match.progress
        if exact is not None:
            numbers |= exact._asdict()
        # A re-check has its own tag: it is of the same step as the evaluation before it.
        recheck = match.purpose == RECHECK
        shown = {"eval/recheck_mean": numbers["mean"]} if recheck else evaluation_points(numbers)
        row = {"final": match.purpose == FINAL, **numbers, "scores": games.scores, "seeds": list(games.seeds)}
        kind = RECHECK if recheck else EVALUATION
        self._logs.write(kind, p.counters, p.elapsed_s, row, shown)
        self._listener.event(kind, {**row, "env_steps": p.counters.env_steps, "wall_s": p.elapsed_s})
        if games.action_share > ONE_ACTION:
            self._doubt("the policy takes one action in more than 99 % of its steps")
        if not any(games.scores):
            self._doubt("every game of an evaluation scored 0")

    def _doubt(self, words: str) -> None:
        if self.settled:
            self.warn_once(words)

    def warn_once(self, words: str) -> None:
        """A warning; the same words a second time are left out."""
        if words not in self._warned:
            self._warned.add(words)
            self._listener.warning(words)
