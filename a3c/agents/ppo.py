"""The PPO agent: an actor-critic that learns several times from each rollout (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from a3c.agents.actor_critic import (
    METRICS,
    ActorCriticAgent,
    ActorCriticPolicy,
    Objective,
    Samples,
    evaluate_actions,
    make_objective,
    make_policy,
)
from a3c.agents.base import Algorithm, Lesson
from a3c.settings.config import Config
from a3c.settings.groups import PpoConfig
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State


class PpoAgent(ActorCriticAgent):
    """An `ActorCriticPolicy` without memory that learns by PPO's clipped objective, in random order.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
        settings: of the algorithm.
    """

    def __init__(self, policy: ActorCriticPolicy, objective: Objective, settings: PpoConfig) -> None:
        super().__init__(policy, objective)
        self.settings = settings
        self._trace: list[tuple[torch.Tensor, torch.Tensor]] = []  # log-probability and value, [B] each

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._trace.clear()

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.policy.forward(observation, first, state)
        action = self.policy.select_actions(output.logits)
        log_probs, _ = evaluate_actions(output.logits, action)
        self._trace.append((log_probs, output.value))
        return ActorOutput(action.cpu().numpy(), output.state)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        samples, device = self.samples(rollout), self.policy.device
        valid = torch.from_numpy(rollout.valid()).to(device)
        observations = torch.from_numpy(rollout.observations[:-1]).to(device)[valid]
        count, size = len(samples.actions), self.settings.minibatch_size
        lessons: list[Lesson] = []
        for _ in range(self.objective.epochs):
            order = torch.randperm(count, generator=self.policy.generator, device=device)
            # Equal parts of about that size: a small rest would be a noisy update.
            for part in order.tensor_split(max(1, round(count / size))) if count else ():
                lessons.append(partial(self.gradients, observations, samples, part))
        return lessons

    @torch.no_grad()
    def samples(self, rollout: Rollout) -> Samples:
        """What the lessons draw from: advantages and targets by the weights that acted."""
        log_probs, values = (torch.stack(part) for part in zip(*self._trace, strict=True))  # [T, B]
        valid, actions = (
            torch.from_numpy(a).to(self.policy.device) for a in (rollout.valid(), rollout.actions)
        )
        advantages, targets = self.advantages(rollout, values)
        return Samples(*(part[valid] for part in (actions, log_probs, values, advantages, targets)))

    def gradients(
        self, observations: torch.Tensor, samples: Samples, indices: torch.Tensor
    ) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the samples at `indices` [M] of observations [N, ...], and metrics."""
        drawn = samples.take(indices)
        if self.settings.normalize_advantages and len(indices) > 1:
            mean, deviation = drawn.advantages.mean(), drawn.advantages.std()
            drawn = drawn._replace(advantages=(drawn.advantages - mean) / (deviation + 1e-8))
        output = self.policy.evaluate(observations[indices])
        return self.surrogate_gradients(output.logits, output.value, drawn)


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, worker_id: int) -> PpoAgent:
    """The agent of a worker."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    return PpoAgent(policy, make_objective(config), config.ppo)


PPO = Algorithm("ppo", METRICS, make_policy, make_agent)
