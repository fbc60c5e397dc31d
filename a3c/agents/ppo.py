"""The PPO agent: an actor-critic that learns several times from each rollout (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch

from a3c.agents.actor_critic import (
    METRICS,
    ActorCriticAgent,
    Objective,
    Samples,
    make_objective,
    make_policy,
    named,
    report,
)
from a3c.agents.base import Algorithm, Lesson
from a3c.agents.policy import ActorCriticPolicy, Material, evaluate_actions
from a3c.networks.device import Capture, make_capture
from a3c.settings.config import Config
from a3c.settings.groups import PpoConfig
from a3c.stores.parameters import gradients_of
from a3c.types import ActorOutput, EnvSpec, Gradients, Rollout, State


class PpoAgent(ActorCriticAgent):
    """An `ActorCriticPolicy` without memory that learns by PPO's clipped objective, in random order.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
        settings: of the algorithm.
        capture: for a device beside the core, see `ActorCriticAgent`; it makes acting fast.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        objective: Objective,
        settings: PpoConfig,
        capture: Capture | None = None,
    ) -> None:
        super().__init__(policy, objective, capture)
        self.settings = settings

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.policy.forward(observation, first, state)
        actions = self.policy.select_actions(output.logits)
        log_probs, _ = evaluate_actions(output.logits, actions)
        chosen = (part.cpu().numpy() for part in (actions, log_probs, output.value))
        return ActorOutput(next(chosen), output.state, *chosen)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        samples = cache(partial(self.samples, rollout))
        if not self.fresh:
            samples()  # by the weights that acted; else by those of the first lesson
        count, size = rollout.env_steps, self.settings.minibatch_size
        lessons: list[Lesson] = []
        for _ in range(self.objective.epochs):
            order = torch.randperm(count, generator=self.policy.generator, device=self.policy.device)
            # Equal parts of about that size: a small rest would be a noisy update.
            for part in order.tensor_split(max(1, round(count / size))) if count else ():
                lessons.append(partial(self.gradients, samples, part))
        return lessons

    @torch.no_grad()
    def samples(self, rollout: Rollout) -> tuple[torch.Tensor, Samples]:
        """What the lessons draw from, N observations and what is to be learned of them."""
        material = Material.of(rollout).on(self.policy.device)
        values = material.values
        old = log_probs = material.log_probs
        if self.fresh:
            output = self.policy.forward_rollout(material)
            values, (log_probs, _) = output.value, evaluate_actions(output.logits, material.actions)
        _, targets, advantages = self.returns(material, values, log_probs - old, ())
        samples = Samples(material.actions, old, values, advantages, targets, log_probs - old)
        return material.observations[:-1][material.valid], samples.take(material.valid)

    def gradients(
        self, samples: Callable[[], tuple[torch.Tensor, Samples]], indices: torch.Tensor
    ) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on those at `indices` [M] of N samples, and metrics."""
        observations, everything = samples()
        drawn = everything.take(indices)
        if self.settings.normalize_advantages and len(indices) > 1:
            mean, deviation = drawn.advantages.mean(), drawn.advantages.std()
            drawn = drawn._replace(advantages=(drawn.advantages - mean) / (deviation + 1e-8))
        output = self.policy.evaluate(observations[indices])
        loss = self.surrogate_loss(output, drawn, self.weights)
        return gradients_of(loss.total, self.policy.network), named(report(loss, drawn))


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> PpoAgent:
    """The agent of a worker."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    return PpoAgent(policy, make_objective(config, device), config.ppo, make_capture(device))


PPO = Algorithm("ppo", METRICS, make_policy, make_agent)
