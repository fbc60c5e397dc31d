"""The PPO agent: an actor-critic that learns several times from each rollout (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch

from a3c.agents.actor_critic import (
    METRICS,
    ActorCriticAgent,
    ActorCriticPolicy,
    Objective,
    Samples,
    behaviour_log_probs,
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
        self._values: list[torch.Tensor] = []  # of each step so far, [B]

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._values.clear()

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.policy.forward(observation, first, state)
        actions = self.policy.select_actions(output.logits)
        log_probs, _ = evaluate_actions(output.logits, actions)
        self._values.append(output.value)
        return ActorOutput(actions.cpu().numpy(), output.state, log_probs)

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
        observations = self.policy.upload(rollout.observations[:-1])
        valid, actions = (
            torch.from_numpy(a).to(self.policy.device) for a in (rollout.valid(), rollout.actions)
        )
        old = log_probs = behaviour_log_probs(rollout)
        if self.fresh:
            output = self.policy.forward_rollout(rollout, observations)
            values, (log_probs, _) = output.value, evaluate_actions(output.logits, actions)
        else:
            values = torch.stack(self._values)
        _, targets, advantages = self.returns(rollout, values, log_probs - old, ())
        parts = (actions, old, values, advantages, targets, log_probs - old)
        return observations[valid], Samples(*(part[valid] for part in parts))

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
        return self.surrogate_gradients(output.logits, output.value, drawn)


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> PpoAgent:
    """The agent of a worker."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    return PpoAgent(policy, make_objective(config, device), config.ppo)


PPO = Algorithm("ppo", METRICS, make_policy, make_agent)
