"""The DQN agent: asynchronous workers, each with a replay memory of its own, learn one shared Q network.

Mnih et al. 2015 with the options of its successors: Double (van Hasselt et al. 2016), dueling heads (Wang
et al. 2016), n-step returns, prioritised replay (Schaul et al. 2016), and exploration spread over the
workers (Horgan et al. 2018). What of it is shared is the online network; replay, target network and
epsilon are each worker's own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from a3c.agents.base import ActsAtOnce, Algorithm, Lesson
from a3c.errors import UsageError
from a3c.learning.losses import huber_td_loss
from a3c.learning.replay import Replay, ReplayBatch, ReplaySpec, check_memory, free_memory
from a3c.learning.schedules import linear
from a3c.networks.compute import to_compute_format, use_bf16
from a3c.networks.q import QNetwork, make_q_network
from a3c.settings.algorithms import check_observation
from a3c.settings.config import Config
from a3c.settings.groups import DqnConfig, ExploreConfig
from a3c.stores.parameters import Parameters, gradients_of
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State

EVAL_EPSILON = 0.001
"""Probability of a random action in evaluations, unless greedy: it ends a game that would wait for ever."""

PRIORITY_BETA = 0.5
"""How far importance weights correct for drawing by priority: 0 not at all, 1 fully."""


class DqnPolicy:
    """Takes the action of highest value or, with probability `epsilon`, any.

    Args:
        network: taken over and moved to `device`.
        seed: of the random actions.
        device: "cpu" or "cuda:N".
        epsilon: one for all environments, or [B].
        bf16: compute convolutions and matrix products in bfloat16; the shared weights stay float32.
    """

    def __init__(
        self, network: QNetwork, seed: int, device: str, epsilon: float | np.ndarray = 0.0, bf16: bool = False
    ) -> None:
        self.parameters = Parameters.of_module(network)
        self.network = to_compute_format(network, device, bf16)
        self.rng = np.random.default_rng(seed)
        self.device, self.epsilon, self.bf16 = torch.device(device), epsilon, bf16

    @torch.no_grad()
    def refresh(self) -> None:
        weights = self.parameters.on(self.device)
        for name, parameter in self.network.named_parameters():
            parameter.copy_(weights[name])

    def initial_state(self, batch: int) -> State:
        return ()

    def values(self, observation: np.ndarray, network: QNetwork | None = None) -> torch.Tensor:
        """[B, A] of observation [B, ...], by the online network or another one like it."""
        x = torch.from_numpy(observation).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            q: torch.Tensor = (network or self.network)(x)
        return q

    @torch.no_grad()
    def probabilities(
        self, observation: np.ndarray, first: np.ndarray, state: State
    ) -> tuple[np.ndarray, State]:
        best = self.values(observation).argmax(-1).cpu().numpy()
        greedy = np.eye(self.network.q_linear.out_features)[best]
        epsilon = np.reshape(self.epsilon, (-1, 1))
        return (1 - epsilon) * greedy + epsilon / greedy.shape[1], ()

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        random = self.rng.random(len(observation)) < self.epsilon
        actions = self.rng.integers(self.network.q_linear.out_features, size=len(observation))
        if not random.all():
            best = self.values(observation).argmax(-1).cpu().numpy()
            actions = np.where(random, actions, best)
        return ActorOutput(actions, ())


class DqnAgent(ActsAtOnce):
    """A `DqnPolicy` that learns from its replay.

    Args:
        policy: acts and holds the online network.
        spec: of this worker's replay.
        settings: of the algorithm.
        explore: the epsilon of the first environment of all.
        ranks: [B] in 0..1, where each environment stands among those of all workers; see `epsilons`.
        warm_up: transitions in this worker's replay before it learns.
    """

    fresh = False

    def __init__(
        self,
        policy: DqnPolicy,
        spec: ReplaySpec,
        settings: DqnConfig,
        explore: ExploreConfig,
        ranks: np.ndarray,
        warm_up: int,
    ) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.replay = Replay(spec)
        self.target = copy.deepcopy(policy.network)
        self.settings, self.explore, self.ranks, self.warm_up = settings, explore, ranks, warm_up
        self._target_period = -1  # the count of target updates by all workers' steps

    def initial_state(self, batch: int) -> State:
        return ()

    def refresh(self) -> None:
        self.policy.refresh()

    @torch.no_grad()
    def begin_rollout(self, counters: Counters) -> None:
        warming_up = counters.env_steps < self.settings.learning_starts
        self.policy.epsilon = 1.0 if warming_up else epsilons(self.explore, self.ranks, counters.env_steps)
        period = counters.env_steps // self.settings.target_update
        if period != self._target_period:
            self._target_period = period
            self.target.load_state_dict(self.policy.network.state_dict())

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        return self.policy.act(observation, first, state)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        r = rollout
        self.replay.add(r.observations, r.actions, r.rewards, r.discounts, r.firsts)
        if len(self.replay) < self.warm_up:
            return []
        return [self.lesson] * self.settings.updates_per_rollout

    def lesson(self) -> tuple[Gradients, dict[str, float]]:
        """A gradient from one draw of the replay."""
        batch = self.replay.sample(self.settings.batch_size, self.policy.rng, PRIORITY_BETA)
        gradients, td_errors, metrics = self.gradients(batch)
        self.replay.set_priorities(batch.slots, td_errors)
        metrics["epsilon"] = float(np.mean(self.policy.epsilon))
        metrics["replay_filled"] = len(self.replay) / self.replay.spec.capacity
        return gradients, metrics

    def gradients(self, batch: ReplayBatch) -> tuple[Gradients, np.ndarray, dict[str, float]]:
        """Gradient of the Huber loss, the TD errors [N], and metrics."""
        device = self.policy.device
        actions, weights = (torch.from_numpy(a).to(device) for a in (batch.actions, batch.weights))
        targets = self.targets(batch)
        chosen = self.policy.values(batch.observations).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        loss = huber_td_loss(chosen, targets, weights, self.settings.huber_delta)
        gradients = gradients_of(loss.total, self.policy.network)
        if clamp := self.settings.grad_clamp:
            gradients = {name: g.clamp(-clamp, clamp) for name, g in gradients.items()}
        metrics = {
            "td_loss": float(loss.total.detach()),
            "td_error": float(loss.td_errors.abs().mean()),
            "q_mean": float(chosen.detach().mean()),
        }
        return gradients, loss.td_errors.cpu().numpy(), metrics

    @torch.no_grad()
    def targets(self, batch: ReplayBatch) -> torch.Tensor:
        """[N], R + gamma^m Q'(s', a'): the target network's value Q' of the action a' that it finds best
        itself or, Double, that the online network finds best."""
        values = self.policy.values(batch.next_observations, self.target)
        if self.settings.double:
            best = self.policy.values(batch.next_observations).argmax(-1, keepdim=True)
            following = values.gather(-1, best).squeeze(-1)
        else:
            following = values.amax(-1)
        returns, discounts = (
            torch.from_numpy(a).to(self.policy.device) for a in (batch.returns, batch.discounts)
        )
        return returns + discounts * following

    def get_state(self) -> dict[str, Any]:
        """Random generator and target network; the replay fills anew."""
        return {
            "rng": self.policy.rng.bit_generator.state,
            "target_period": self._target_period,
            **{f"target.{name}": p.detach() for name, p in self.target.named_parameters()},
        }

    @torch.no_grad()
    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.rng.bit_generator.state = state["rng"]
        self._target_period = state["target_period"]
        for name, parameter in self.target.named_parameters():
            parameter.copy_(state[f"target.{name}"])


def epsilons(explore: ExploreConfig, ranks: np.ndarray, env_steps: int) -> np.ndarray:
    """[B] probabilities of a random action: the schedule's, to a power that grows with the environment's rank
    from 1 to 1 + spread, so that some explore and some play nearly as in evaluations (as in Ape-X)."""
    start, final = explore.epsilon_start, explore.epsilon_final
    epsilon = linear(start, final, explore.epsilon_steps, env_steps)
    return np.asarray(epsilon ** (1 + explore.epsilon_spread * ranks))


def ranks(place: float, workers: int, envs_per_worker: int) -> np.ndarray:
    """[B] in 0..1: the places of a worker's environments in the row of all; 0 for a single one. Those of
    further nodes lie between them."""
    total, worker = workers * envs_per_worker, int(place)
    first = worker * envs_per_worker + (place - worker)
    return np.minimum((first + np.arange(envs_per_worker)) / max(1, total - 1), 1.0)


# ---------------------------------------------------------------------------------------------------
# From settings


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> DqnPolicy:
    """What plays."""
    return fresh_policy(config, spec, seed, device, epsilon=0.0 if greedy else EVAL_EPSILON)


def fresh_policy(config: Config, spec: EnvSpec, seed: int, device: str, epsilon: float) -> DqnPolicy:
    """A Q network with fresh weights. Raises ValueError when it does not fit."""
    torch.manual_seed(seed)  # of the initial weights
    learn, dqn = config.learn, config.dqn
    model = learn.model or "mlp"
    check_observation(model, spec.observation_shape)
    network = make_q_network(model, spec.observation_shape, spec.num_actions, dqn.hidden, dqn.dueling)
    return DqnPolicy(network, seed, device, epsilon, use_bf16(learn.precision, model, device))


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> DqnAgent:
    """The DQN agent of a worker, with its share of the replay, the random steps and the exploration."""
    workers, batch = workers_of(config), config.learn.envs_per_worker
    replay = replay_spec(config, spec)
    replay = replay._replace(capacity=replay.capacity // workers)
    return DqnAgent(
        fresh_policy(config, spec, seed, device, epsilon=1.0),
        replay,
        config.dqn,
        config.explore,
        ranks(place, workers, batch),
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


DQN = Algorithm(
    "dqn",
    ("td_loss", "td_error", "q_mean", "epsilon", "replay_filled"),
    make_policy,
    make_agent,
    check_replay,
)
