"""Small real sessions for the tests of training: CartPole with the smallest network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from a3c.agents.make import make_policy, metric_names
from a3c.envs import resolve_env
from a3c.settings.config import build_config
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training.session import Session, probe

SMALL = {"env": "CartPole-v1", "envs_per_worker": 2, "num_steps": 5, "eval_episodes": 2}


def make_session(run_dir: Path, **settings: Any) -> Session:
    """A session of a new run in private memory; `settings` are those of the command line."""
    config = resolve_env(build_config(("test", SMALL | {"workers": 1} | settings)))
    env = probe(config)
    policy = make_policy(config, env, config.run.seed, "cpu", greedy=False)
    memory = StoreMemory.allocate(policy.parameters.shapes, config.optim)
    memory.begin(policy.parameters.views)
    board = Scoreboard(max(config.run.workers or 0, 1), metric_names(config.learn.algo))
    return Session(config, env, run_dir, memory, board)
