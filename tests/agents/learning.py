"""Training inside one process, for tests."""

from a3c.agents.make import ALGORITHMS, make_policy
from a3c.envs import resolve_env
from a3c.settings.config import resolve
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training.inline_team import InlineLink
from a3c.training.session import Session, probe
from a3c.training.worker import Worker, WorkerSpec


def make_session(folder, given):
    """A run of one process, as `--workers 0` would make it."""
    config = resolve_env(resolve({"workers": "0", **given}))
    env = probe(config)
    weights = make_policy(config, env, config.run.seed, "cpu", greedy=False).parameters
    memory = StoreMemory.allocate(weights.shapes, config.optim)
    memory.weights.copy_(weights.flat)
    board = Scoreboard(1, ALGORITHMS[config.learn.algo].metric_names)
    return Session(config, env, folder, memory, board)


def train(folder, given):
    """Trains for `max_steps`; returns the session."""
    session = make_session(folder, given)
    worker = Worker(WorkerSpec(session, 0, 0), InlineLink())
    while not session.spent():
        worker.step()
    worker.close()
    return session
