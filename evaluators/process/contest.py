"""Which weights are the best: decided by evaluated scores, and checked twice.

The highest of many noisy scores is high by luck. So weights that seem to beat the record play again, with
other seeds, and only the mean over all games of both evaluations counts; it becomes the new record.
"""

from __future__ import annotations

from a3c.storage.saving import Record
from evaluators.games.episodes import Games
from evaluators.games.exact import ExactScore
from evaluators.games.stats import summarise

FIRST_SEED, SECOND_SEED = 10_000, 20_000
"""First seed of a contest's two evaluations; the others follow. Training draws its seeds from the whole
range of 31 bits, and `eval.py` by default from elsewhere."""


def challenges(games: Games, best: Record | None) -> bool:
    """Whether games of a first evaluation earn their weights a second one."""
    return best is None or summarise(games.scores).mean > best["mean"]


def exact_record(games: Games, exact: ExactScore, env_steps: int, best: Record | None) -> Record | None:
    """The record of weights whose value is computed, so that no luck is in it and once is enough; None when
    it does not beat the old one."""
    return _beating(best, {**_sample(games, env_steps), "mean": exact.exact_value, **exact._asdict()})


def new_record(first: Games, second: Games, env_steps: int, best: Record | None) -> Record | None:
    """The record over the games of both evaluations, or None when it does not beat the old one."""
    return _beating(best, _sample(first + second, env_steps))


def _sample(games: Games, env_steps: int) -> Record:
    s = summarise(games.scores)
    return {
        "mean": s.mean, "std": s.std, "min": s.min, "max": s.max, "n": s.n,
        "seeds": list(games.seeds), "env_steps": env_steps,
    }  # fmt: skip


def _beating(best: Record | None, record: Record) -> Record | None:
    return record if best is None or record["mean"] > best["mean"] else None
