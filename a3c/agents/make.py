"""From settings to an agent that learns, or to a policy that plays."""

from __future__ import annotations

from a3c.agents.a3c import A3C
from a3c.agents.base import Agent, Algorithm, Policy
from a3c.agents.dqn import DQN
from a3c.agents.ppo import PPO
from a3c.agents.q_table import TABLES
from a3c.agents.random_agent import RANDOM
from a3c.settings.config import Config
from a3c.types import EnvSpec

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm for algorithm in (A3C, DQN, PPO, *TABLES, RANDOM)
}
"""Every algorithm by name."""


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float = 0) -> Agent:
    """The learning agent of a worker. Raises ValueError when the network does not fit the environment."""
    return ALGORITHMS[config.learn.algo].make_agent(config, spec, seed, device, place)


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> Policy:
    """What plays: the same network without the learning. Raises ValueError when it does not fit."""
    return ALGORITHMS[config.learn.algo].make_policy(config, spec, seed, device, greedy)
