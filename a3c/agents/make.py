"""From settings to an agent that learns, or to a policy that plays."""

from __future__ import annotations

from typing import Any

import torch

from a3c.agents.actor_critic import ActorCriticAgent, ActorCriticPolicy
from a3c.agents.base import Agent, Policy
from a3c.agents.dqn import EVAL_EPSILON, DqnAgent, DqnPolicy, ranks
from a3c.agents.ppo import PpoAgent
from a3c.agents.q_table import Exploration, QTableAgent, QTablePolicy
from a3c.agents.random_agent import RandomAgent
from a3c.errors import UsageError
from a3c.learning.losses import LossWeights
from a3c.learning.replay import ReplaySpec, check_memory, free_memory
from a3c.networks.actor_critic import make_network
from a3c.networks.compute import use_bf16
from a3c.networks.q import make_q_network
from a3c.settings.algorithms import FACTS, TABULAR
from a3c.settings.config import Config
from a3c.types import EnvSpec


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, worker_id: int = 0) -> Agent:
    """The learning agent of a worker. Raises ValueError when the network does not fit the environment."""
    if config.learn.algo == "dqn":
        return make_dqn(config, spec, seed, device, worker_id)
    if config.learn.algo in TABULAR:
        return table_agent(config, spec, seed)
    if config.learn.algo == "random":
        return RandomAgent(spec.num_actions, seed)
    policy = actor_critic_policy(config, spec, seed, device, greedy=False)
    learn = config.learn
    entropy_end = config.run.max_steps if learn.entropy_schedule == "linear" else 0
    common: dict[str, Any] = {
        "epochs": learn.epochs or FACTS[learn.algo].epochs,
        "clip_range": learn.clip_range,
        "gamma": learn.gamma,
        "tau": learn.tau,
        "weights": LossWeights(learn.value_coef, learn.entropy_coef, entropy_end),
    }
    if learn.algo == "ppo":
        return PpoAgent(policy, config.ppo, **common)
    return ActorCriticAgent(policy, recompute=device != "cpu", **common)


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> Policy:
    """What plays: the same network without the learning.

    Raises:
        ValueError: the network does not fit the environment.
    """
    if config.learn.algo == "dqn":
        return dqn_policy(config, spec, seed, device, 0.0 if greedy else EVAL_EPSILON)
    if config.learn.algo in TABULAR:
        return table_policy(config, spec, seed)
    if config.learn.algo == "random":
        return RandomAgent(spec.num_actions, seed)
    return actor_critic_policy(config, spec, seed, device, greedy)


def actor_critic_policy(
    config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool
) -> ActorCriticPolicy:
    """An actor and a critic with fresh weights."""
    torch.manual_seed(seed)  # of the initial weights
    learn = config.learn
    model = learn.model or "mlp"
    network = make_network(model, spec.observation_shape, spec.num_actions)
    return ActorCriticPolicy(network, seed, device, greedy, use_bf16(learn.precision, model, device))


def table_policy(config: Config, spec: EnvSpec, seed: int) -> QTablePolicy:
    """A fresh table, acted on greedily."""
    return QTablePolicy(spec.num_states, spec.num_actions, seed, config.table.initial_q)


def table_agent(config: Config, spec: EnvSpec, seed: int) -> QTableAgent:
    """The tabular agent of a worker."""
    explore = config.explore
    return QTableAgent(
        table_policy(config, spec, seed),
        algo=config.learn.algo,
        gamma=config.learn.gamma,
        lr=config.optim.lr,
        exploration=Exploration(explore.epsilon_start, explore.epsilon_final, explore.epsilon_decay),
    )


def dqn_policy(config: Config, spec: EnvSpec, seed: int, device: str, epsilon: float) -> DqnPolicy:
    """A Q network with fresh weights."""
    torch.manual_seed(seed)  # of the initial weights
    learn, dqn = config.learn, config.dqn
    model = learn.model or "mlp"
    network = make_q_network(model, spec.observation_shape, spec.num_actions, dqn.hidden, dqn.dueling)
    return DqnPolicy(network, seed, device, epsilon, use_bf16(learn.precision, model, device))


def make_dqn(config: Config, spec: EnvSpec, seed: int, device: str, worker_id: int) -> DqnAgent:
    """The DQN agent of a worker, with its share of the replay, the random steps and the exploration."""
    workers, batch = workers_of(config), config.learn.envs_per_worker
    replay = replay_spec(config, spec)
    replay = replay._replace(capacity=replay.capacity // workers)
    return DqnAgent(
        dqn_policy(config, spec, seed, device, 1.0),
        replay,
        config.dqn,
        config.explore,
        ranks(worker_id, workers, batch),
        warm_up=max(config.dqn.batch_size, config.dqn.learning_starts // workers),
    )


def workers_of(config: Config) -> int:
    """How many agents learn; 1 also when everything is one process."""
    return config.run.workers or 1


def replay_spec(config: Config, spec: EnvSpec) -> ReplaySpec:
    """The replay of all workers together."""
    return ReplaySpec(
        capacity=config.dqn.replay_size,
        shape=spec.observation_shape,
        dtype=spec.observation_dtype,
        stack=config.env.frame_stack or 0,
        streams=config.learn.envs_per_worker,
        n_steps=config.dqn.n_step,
        gamma=config.learn.gamma,
        priority_exponent=config.dqn.priority_exponent,
    )


def check_replay(config: Config, spec: EnvSpec) -> None:
    """Makes sure, before anything starts, that the replay fits into the free memory.

    Raises:
        UsageError: it does not, or each worker's share is too small to learn from.
    """
    if config.learn.algo != "dqn":
        return
    replay, workers = replay_spec(config, spec), workers_of(config)
    try:
        check_memory(replay, free_memory())
    except UsageError as error:
        raise UsageError(f"--replay-size: {error}") from error
    share, wanted = replay.capacity // workers, 2 * max(config.dqn.batch_size, config.learn.num_steps)
    rows, history = share // replay.streams, replay.stack + replay.n_steps
    if share < wanted or rows <= max(history, config.learn.num_steps):
        raise UsageError(
            f"--replay-size {replay.capacity} gives each of {workers} workers {share}, too few to learn from"
        )


def metric_names(algo: str) -> tuple[str, ...]:
    """What the algorithm's agent reports with each gradient."""
    names = {
        "a3c": ActorCriticAgent.metric_names,
        "dqn": DqnAgent.metric_names,
        "ppo": PpoAgent.metric_names,
        "random": RandomAgent.metric_names,
        **dict.fromkeys(TABULAR, QTableAgent.metric_names),
    }
    return names[algo]
