"""The PPO agent: an actor-critic that learns several times from each rollout (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from a3c.agents.actor_critic import ActorCriticPolicy, PolicyAgent, judge
from a3c.agents.base import Lesson
from a3c.learning.losses import LossWeights, ppo_loss
from a3c.learning.returns import explained_variance, gae
from a3c.settings.groups import PpoConfig
from a3c.stores.parameters import gradients_of
from a3c.types import ActorOutput, Counters, Gradients, Rollout, State


class Samples(NamedTuple):
    """The N real steps of a rollout, in no order."""

    observations: torch.Tensor  # [N, ...]
    actions: torch.Tensor  # [N] int64
    log_probs: torch.Tensor  # [N], of the policy that acted
    values: torch.Tensor  # [N], of the critic while acting
    advantages: torch.Tensor  # [N]
    targets: torch.Tensor  # [N], of the value

    def take(self, indices: torch.Tensor) -> Samples:
        return Samples(*(part[indices] for part in self))


class PpoAgent(PolicyAgent):
    """An `ActorCriticPolicy` without memory that learns by PPO's clipped objective.

    Args:
        policy: acts and holds the network.
        settings: of the algorithm.
        epochs: passes over each rollout.
        clip_range: how far the ratio of new to old policy may leave 1 and still be rewarded.
        gamma: discount per step.
        tau: lambda of GAE.
        weights: of the terms of the loss.
    """

    metric_names: tuple[str, ...] = (
        "policy_loss",
        "value_loss",
        "entropy",
        "approx_kl",
        "clip_fraction",
        "explained_variance",
    )

    def __init__(
        self,
        policy: ActorCriticPolicy,
        settings: PpoConfig,
        *,
        epochs: int,
        clip_range: float,
        gamma: float,
        tau: float,
        weights: LossWeights,
    ) -> None:
        super().__init__(policy, weights)
        self.settings, self.epochs, self.clip_range = settings, epochs, clip_range
        self.gamma, self.tau = gamma, tau
        self._trace: list[tuple[torch.Tensor, torch.Tensor]] = []  # log-probability and value, [B] each

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._trace.clear()

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.policy.forward(observation, first, state)
        action = self.policy.choose(output.logits)
        log_probs, _ = judge(output.logits, action)
        self._trace.append((log_probs, output.value))
        return ActorOutput(action.cpu().numpy(), output.state)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        samples = self.samples(rollout)
        count, size = len(samples.actions), self.settings.minibatch_size
        explained = explained_variance(samples.values, samples.targets)
        lessons: list[Lesson] = []
        for _ in range(self.epochs):
            order = torch.randperm(count, generator=self.policy.generator, device=self.policy.device)
            # Equal parts of about that size: a small rest would be a noisy update.
            for part in order.tensor_split(max(1, round(count / size))) if count else ():
                lessons.append(partial(self.gradients, samples, part, explained))
        return lessons

    @torch.no_grad()
    def samples(self, rollout: Rollout) -> Samples:
        """What the lessons draw from: advantages and targets by the weights that acted."""
        device = self.policy.device
        log_probs, values = (torch.stack(part) for part in zip(*self._trace, strict=True))  # [T, B]
        rewards, discounts, valid, actions = (
            torch.from_numpy(a).to(device)
            for a in (rollout.rewards, rollout.discounts, rollout.valid(), rollout.actions)
        )
        last = self.policy.forward(rollout.observations[-1], rollout.firsts[-1], rollout.final_state)
        all_values = torch.cat([values, last.value.unsqueeze(0)])
        advantages, targets = gae(rewards, discounts, all_values, valid, self.gamma, self.tau)
        observations = torch.from_numpy(rollout.observations[:-1]).to(device)
        return Samples(
            *(part[valid] for part in (observations, actions, log_probs, values, advantages, targets))
        )

    def gradients(
        self, samples: Samples, indices: torch.Tensor, explained: float
    ) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the samples at `indices` [M], and metrics."""
        s, settings = samples.take(indices), self.settings
        advantages = s.advantages
        if settings.normalize_advantages and len(indices) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        output = self.policy.evaluate(s.observations)
        log_probs, entropies = judge(output.logits, s.actions)
        loss = ppo_loss(
            log_probs=log_probs,
            old_log_probs=s.log_probs,
            entropies=entropies,
            values=output.value,
            advantages=advantages,
            value_targets=s.targets,
            clip=self.clip_range,
            weights=self.weights,
        )
        gradients = gradients_of(loss.total, self.policy.network)
        reported = zip(self.metric_names, loss[1:], strict=False)
        metrics = {name: float(value.detach()) for name, value in reported}
        return gradients, metrics | {"explained_variance": explained}
