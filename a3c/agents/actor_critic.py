"""The A3C agent: an actor and a critic that learn from rollouts of the policy itself (Mnih et al. 2016).

While acting, the agent keeps the features it computed of each observation with their autograd graph: the
weights are constant inside a rollout, so a second pass through the convolutions would only compute the same
again. The few layers after them are computed once more, for the whole rollout at a time: going backward
through them step by step would take longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from a3c.agents.base import Lesson
from a3c.losses import actor_critic_loss
from a3c.networks import ActorCritic, NetworkOutput, to_compute_format
from a3c.parameters import Parameters
from a3c.returns import explained_variance, gae
from a3c.types import ActorOutput, Counters, Gradients, Rollout, State


class ActorCriticPolicy:
    """Samples actions from the network's softmax, or takes the likeliest.

    The weights are held twice: `parameters`, flat float32 on the CPU, is what a store pulls into; the
    network has them in the form its device computes with fastest (see `to_compute_format`).

    Args:
        network: taken over and moved to `device`.
        seed: of the sampling.
        device: "cpu" or "cuda:N".
        greedy: take the likeliest action instead of sampling.
        bf16: compute convolutions and matrix products in bfloat16; the shared weights stay float32.
    """

    def __init__(
        self, network: ActorCritic, seed: int, device: str, greedy: bool = False, bf16: bool = False
    ) -> None:
        self.parameters = Parameters.of_module(network)
        self.network = to_compute_format(network, device, bf16)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device, self.greedy, self.bf16 = torch.device(device), greedy, bf16

    @torch.no_grad()
    def refresh(self) -> None:
        for name, parameter in self.network.named_parameters():
            parameter.copy_(self.parameters.views[name])

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def see(self, observation: np.ndarray) -> torch.Tensor:
        """The network's features [B, F] of an observation [B, ...]."""
        with self._autocast():
            return self.network.features(torch.from_numpy(observation).to(self.device, non_blocking=True))

    def unroll(self, features: torch.Tensor, firsts: np.ndarray, state: State) -> NetworkOutput:
        """The network's answers to T steps, features [T, B, F]; the state is reset where `firsts` [T, B]."""
        keep = torch.from_numpy(~firsts).to(self.device).unsqueeze(-1) if firsts.any() else None
        with self._autocast():
            return self.network.unroll(features, keep, state)

    def forward(self, observation: np.ndarray, first: np.ndarray, state: State) -> NetworkOutput:
        """The network's answer to one step: observation [B, ...], with the state reset where `first` [B]."""
        return self.decide(self.see(observation), first, state)

    def decide(self, features: torch.Tensor, first: np.ndarray, state: State) -> NetworkOutput:
        """The same from the features [B, F]."""
        output = self.unroll(features.unsqueeze(0), first[None], state)
        return NetworkOutput(output.logits[0], output.value[0], output.state)

    def evaluate(self, observation: torch.Tensor, state: State = ()) -> NetworkOutput:
        """The network's answer to observation [B, ...] on its device."""
        with self._autocast():
            output: NetworkOutput = self.network(observation, state)
        return output

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """[B] int64 actions for logits [B, A]."""
        if self.greedy:
            return logits.argmax(-1)
        probabilities = torch.softmax(logits.detach(), -1)
        return torch.multinomial(probabilities, 1, generator=self.generator).squeeze(-1)

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.forward(observation, first, state)
        return ActorOutput(self.choose(output.logits).cpu().numpy(), output.state, {})


class ActorCriticAgent:
    """An `ActorCriticPolicy` that learns: n-step advantage actor-critic with GAE."""

    metric_names: tuple[str, ...] = (
        "policy_loss",
        "value_loss",
        "entropy",
        "value_mean",
        "explained_variance",
    )

    def __init__(
        self, policy: ActorCriticPolicy, *, gamma: float, tau: float, value_coef: float, entropy_coef: float
    ) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.gamma, self.tau = gamma, tau
        self.value_coef, self.entropy_coef = value_coef, entropy_coef
        self._features: list[torch.Tensor] = []  # [B, F] of each step so far, with their graph

    def initial_state(self, batch: int) -> State:
        return self.policy.initial_state(batch)

    def refresh(self) -> None:
        self.policy.refresh()

    def begin_rollout(self, counters: Counters) -> None:
        self._features.clear()

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        features = self.policy.see(observation)
        self._features.append(features)
        with torch.no_grad():
            output = self.policy.decide(features, first, state)
        return ActorOutput(self.policy.choose(output.logits).cpu().numpy(), output.state, {})

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        return [partial(self.gradients, rollout)]

    def gradients(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the rollout that was just acted, and metrics."""
        rewards, discounts, valid, actions = (
            torch.from_numpy(a).to(self.policy.device)
            for a in (rollout.rewards, rollout.discounts, rollout.valid(), rollout.actions)
        )
        output = self.policy.unroll(torch.stack(self._features), rollout.firsts[:-1], rollout.initial_state)
        values, all_log_probs = output.value, torch.log_softmax(output.logits, -1)
        log_probs = all_log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        entropies = -(all_log_probs.exp() * all_log_probs).sum(-1)
        with torch.no_grad():
            bootstrap = self.policy.forward(
                rollout.observations[-1], rollout.firsts[-1], rollout.final_state
            ).value
            all_values = torch.cat([values, bootstrap.unsqueeze(0)])
            advantages, targets = gae(rewards, discounts, all_values, valid, self.gamma, self.tau)
        loss = actor_critic_loss(
            log_probs, entropies, values, advantages, targets, valid, self.value_coef, self.entropy_coef
        )
        names, weights = zip(*self.policy.network.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss.total, weights)
        self._features.clear()
        metrics = {
            "policy_loss": float(loss.policy.detach()),
            "value_loss": float(loss.value.detach()),
            "entropy": float(loss.entropy.detach()),
            "value_mean": float(values.detach()[valid].mean()) if bool(valid.any()) else 0.0,
            "explained_variance": explained_variance(values.detach(), targets, valid),
        }
        return dict(zip(names, gradients, strict=True)), metrics

    def get_state(self) -> dict[str, Any]:
        return {"generator": self.policy.generator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.generator.set_state(state["generator"])
