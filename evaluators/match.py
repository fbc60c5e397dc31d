"""An evaluation in progress, step by step."""

from __future__ import annotations

from functools import partial

from a3c.agents import make_policy
from a3c.envs import make_env
from a3c.saving import Progress
from a3c.session import Session
from a3c.stores.shared import Snapshot
from evaluators import contest
from evaluators.episodes import Games, play_seeds

EVALUATION, RECHECK, FINAL = "evaluation", "recheck", "final"
"""Why games are played: on the clock; to check a candidate for the best again; as the run's last score."""


class Match:
    """Games in progress, played with weights as they were when a snapshot was taken.

    Args:
        session: names the configuration and the environment.
        snapshot: the weights, and the optimizer's state with them.
        progress: of the run when it was taken.
        purpose: EVALUATION, RECHECK or FINAL.
        first: of a re-check, the games that made it necessary.
    """

    def __init__(
        self,
        session: Session,
        snapshot: Snapshot,
        progress: Progress,
        purpose: str,
        first: Games | None = None,
    ) -> None:
        self.snapshot, self.progress, self.purpose, self.first = snapshot, progress, purpose, first
        config = session.config
        first_seed = contest.SECOND_SEED if purpose == RECHECK else contest.FIRST_SEED
        seeds = contest.seeds_from(first_seed, config.eval.eval_episodes)
        policy = make_policy(config, session.env, first_seed, "cpu", greedy=False)
        policy.parameters.load(snapshot["model"])
        policy.refresh()
        self._steps = play_seeds(policy, partial(make_env, config.env, training=False), seeds)

    def advance(self) -> Games | None:
        """One step of the batch; the games once all are over."""
        try:
            next(self._steps)
        except StopIteration as end:
            games: Games = end.value
            return games
        return None

    def close(self) -> None:
        """Gives up games that are not over."""
        self._steps.close()
