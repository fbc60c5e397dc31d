"""An evaluation in progress, step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from a3c.agents.make import make_policy
from a3c.envs import make_env
from a3c.storage.saving import Progress
from a3c.stores.shared import Snapshot
from a3c.training.session import Session
from evaluators.games.episodes import Games, play_seeds
from evaluators.process import contest
from evaluators.process.clip import Clip
from evaluators.showing.film import Film, picture_rate

EVALUATION, RECHECK, FINAL = "evaluation", "recheck", "final"
"""Why games are played: on the clock; to check a candidate for the best again; as the run's last score."""


class Match:
    """Games in progress, played with weights as they were when a snapshot was taken. The first game of a
    re-check is filmed: `clip` is not empty where the environment can be drawn.

    Args:
        session: names the configuration and the environment.
        snapshot: the weights, and the optimizer's state with them.
        progress: of the run when it was taken.
        purpose: EVALUATION, RECHECK or FINAL.
        warn: is called with one line when no pictures can be taken.
        first: of a re-check, the games that made it necessary.

    `over` of its `games` have ended.
    """

    def __init__(
        self,
        session: Session,
        snapshot: Snapshot,
        progress: Progress,
        purpose: str,
        warn: Callable[[str], None],
        first: Games | None = None,
    ) -> None:
        self.snapshot, self.progress, self.purpose, self.first = snapshot, progress, purpose, first
        config = session.config
        first_seed = contest.SECOND_SEED if purpose == RECHECK else contest.FIRST_SEED
        seeds = tuple(range(first_seed, first_seed + config.eval.eval_episodes))
        self.games, self.over = len(seeds), 0
        policy = make_policy(config, session.env, first_seed, "cpu", greedy=False)
        policy.parameters.load(snapshot["model"])
        policy.refresh()
        self.clip = Clip(picture_rate(session.env))
        if purpose == RECHECK:
            self._steps = Film(self.clip, warn).play(policy, config.env, seeds)
        else:
            self._steps = play_seeds(policy, partial(make_env, config.env, training=False), seeds)

    def advance(self) -> Games | None:
        """One step of the batch; the games once all are over."""
        try:
            self.over += int(next(self._steps).over.sum())
        except StopIteration as end:
            games: Games = end.value
            return games
        return None

    def close(self) -> None:
        """Gives up games that are not over."""
        self._steps.close()
