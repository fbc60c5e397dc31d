"""The A3C agent: an actor and a critic that learn from rollouts of the policy itself (Mnih et al. 2016).

While acting, the agent keeps the features it computed of each observation with their autograd graph: the
weights are constant inside a rollout, so a second pass through the convolutions would only compute the same
again. The few layers after them are computed once more, for the whole rollout at a time: going backward
through them step by step would take longer. On a GPU, where launching a kernel costs more than its work, all
of it is computed once more, in one batch.

A rollout may be learned from several times (`epochs`). From the second pass on the weights are no longer
those that acted, so what is computed is PPO's objective (Schulman et al. 2017, eq. 7), which stops rewarding
an action once its probability has moved far enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from a3c.agents.base import Lesson
from a3c.learning.losses import ActorCriticLoss, LossWeights, PpoLoss, actor_critic_loss, ppo_loss
from a3c.learning.returns import explained_variance, gae
from a3c.learning.schedules import linear
from a3c.networks.actor_critic import ActorCritic, NetworkOutput
from a3c.networks.compute import to_compute_format
from a3c.stores.parameters import Parameters, gradients_of
from a3c.types import ActorOutput, Counters, Gradients, Rollout, State

CACHED_IMAGES = 64
"""Images a CPU computes at a time; 320 of them leave its caches, and A3Clstm's layers take a third longer."""


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
        self.device, self.greedy, self.bf16 = torch.device(device), greedy, bf16
        self.parameters = Parameters.of_module(network)
        if self.device.type == "cuda":
            self.parameters = self.parameters.pin()
        self.network = to_compute_format(network, device, bf16)
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def refresh(self) -> None:
        weights = self.parameters.on(self.device)
        for name, parameter in self.network.named_parameters():
            parameter.copy_(weights[name])

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def upload(self, observation: np.ndarray) -> torch.Tensor:
        """The observation [B, ...] on the device: one copy, from pinned memory where it is a GPU."""
        if self.device.type == "cpu":
            return torch.from_numpy(observation)
        return torch.from_numpy(observation).pin_memory().to(self.device, non_blocking=True)

    def see(self, observation: torch.Tensor) -> torch.Tensor:
        """The network's features [B, F] of an uploaded observation [B, ...]."""
        with self._autocast():
            return self.network.features(observation)

    def see_all(self, observations: torch.Tensor) -> torch.Tensor:
        """The features [T, B, F] of uploaded observations [T, B, ...]."""
        images = observations.flatten(0, 1)
        parts = torch.split(images, CACHED_IMAGES if self.device.type == "cpu" else len(images))
        return torch.cat([self.see(part) for part in parts]).view(*observations.shape[:2], -1)

    def unroll(self, features: torch.Tensor, firsts: np.ndarray, state: State) -> NetworkOutput:
        """The network's answers to T steps, features [T, B, F]; the state is reset where `firsts` [T, B]."""
        keep = torch.from_numpy(~firsts).to(self.device).unsqueeze(-1) if firsts.any() else None
        with self._autocast():
            return self.network.unroll(features, keep, state)

    def forward(self, observation: np.ndarray, first: np.ndarray, state: State) -> NetworkOutput:
        """The network's answer to one step: observation [B, ...], with the state reset where `first` [B]."""
        return self.decide(self.see(self.upload(observation)), first, state)

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
        return ActorOutput(self.choose(output.logits).cpu().numpy(), output.state)


class PolicyAgent:
    """What agents with an `ActorCriticPolicy` share: it acts for them and holds their weights and chance."""

    def __init__(self, policy: ActorCriticPolicy, weights: LossWeights) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.weights, self._entropy_coef = weights, weights.entropy

    def begin_rollout(self, counters: Counters) -> None:
        if end := self.weights.entropy_end:
            entropy = linear(self._entropy_coef, 0.0, end, counters.env_steps)
            self.weights = self.weights._replace(entropy=entropy)

    def initial_state(self, batch: int) -> State:
        return self.policy.initial_state(batch)

    def refresh(self) -> None:
        self.policy.refresh()

    def get_state(self) -> dict[str, Any]:
        return {"generator": self.policy.generator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.generator.set_state(state["generator"])


def judge(logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of `actions` [...] under logits [..., A], and the entropies; both [...]."""
    all_log_probs = torch.log_softmax(logits, -1)
    log_probs = all_log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return log_probs, -(all_log_probs.exp() * all_log_probs).sum(-1)


class FirstPass(NamedTuple):
    """What the first pass over a rollout leaves to the others; the N real steps, without gradient."""

    log_probs: torch.Tensor  # [N], of the actions, under the policy that took them
    values: torch.Tensor  # [N]
    advantages: torch.Tensor  # [N]
    targets: torch.Tensor  # [N], of the value


class ActorCriticAgent(PolicyAgent):
    """An `ActorCriticPolicy` that learns: n-step advantage actor-critic with GAE.

    Args:
        policy: acts and holds the network.
        gamma: discount per step.
        tau: lambda of GAE.
        weights: of the terms of the loss.
        epochs: passes over each rollout.
        clip_range: of the passes after the first.
        recompute: learn from features computed again, in one batch, not from those kept while acting.
    """

    metric_names: tuple[str, ...] = (
        "policy_loss",
        "value_loss",
        "entropy",
        "value_mean",
        "explained_variance",
    )

    def __init__(
        self,
        policy: ActorCriticPolicy,
        *,
        gamma: float,
        tau: float,
        weights: LossWeights,
        epochs: int = 1,
        clip_range: float = 0.2,
        recompute: bool = False,
    ) -> None:
        super().__init__(policy, weights)
        self.gamma, self.tau = gamma, tau
        self.epochs, self.clip_range = epochs, clip_range
        self.recompute = recompute
        # Of each step so far: the features [B, F] with their graph, or what to compute them from [B, ...].
        self._seen: list[torch.Tensor] = []
        self._first_pass: FirstPass | None = None

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._seen.clear()

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        image = self.policy.upload(observation)
        with torch.set_grad_enabled(not self.recompute):
            features = self.policy.see(image)
        self._seen.append(image if self.recompute else features)
        with torch.no_grad():
            output = self.policy.decide(features, first, state)
        return ActorOutput(self.policy.choose(output.logits).cpu().numpy(), output.state)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        again = [partial(self.gradients_again, rollout)] * (self.epochs - 1)
        return [partial(self.gradients, rollout), *(again if rollout.env_steps else ())]

    def gradients(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the rollout that was just acted, and metrics."""
        rewards, discounts, valid, actions = (
            torch.from_numpy(a).to(self.policy.device)
            for a in (rollout.rewards, rollout.discounts, rollout.valid(), rollout.actions)
        )
        seen = torch.stack(self._seen)
        features = self.policy.see_all(seen) if self.recompute else seen
        output = self.policy.unroll(features, rollout.firsts[:-1], rollout.initial_state)
        values = output.value
        log_probs, entropies = judge(output.logits, actions)
        with torch.no_grad():
            bootstrap = self.policy.forward(
                rollout.observations[-1], rollout.firsts[-1], rollout.final_state
            ).value
            all_values = torch.cat([values, bootstrap.unsqueeze(0)])
            advantages, targets = gae(rewards, discounts, all_values, valid, self.gamma, self.tau)
        loss = actor_critic_loss(log_probs, entropies, values, advantages, targets, valid, self.weights)
        gradients = gradients_of(loss.total, self.policy.network)
        self._seen.clear()
        parts = (log_probs, values, advantages, targets)
        first = self._first_pass = FirstPass(*(part.detach()[valid] for part in parts))
        return gradients, report(loss, first.values, first.targets)

    def gradients_again(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of PPO's loss on a rollout that was learned from before, and metrics."""
        first, device = self._first_pass, self.policy.device
        if first is None:
            raise RuntimeError("gradients_again() before gradients()")
        valid, actions = (torch.from_numpy(a).to(device) for a in (rollout.valid(), rollout.actions))
        features = self.policy.see_all(self.policy.upload(rollout.observations[:-1]))
        output = self.policy.unroll(features, rollout.firsts[:-1], rollout.initial_state)
        values = output.value[valid]
        log_probs, entropies = judge(output.logits[valid], actions[valid])
        loss = ppo_loss(
            log_probs=log_probs,
            old_log_probs=first.log_probs,
            entropies=entropies,
            values=values,
            advantages=first.advantages,
            value_targets=first.targets,
            clip=self.clip_range,
            weights=self.weights,
        )
        gradients = gradients_of(loss.total, self.policy.network)
        return gradients, report(loss, values.detach(), first.targets)


def report(loss: ActorCriticLoss | PpoLoss, values: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """The metrics of a lesson; values and targets [N] of the real steps."""
    return {
        "policy_loss": float(loss.policy.detach()),
        "value_loss": float(loss.value.detach()),
        "entropy": float(loss.entropy.detach()),
        "value_mean": float(values.mean()) if len(values) else 0.0,
        "explained_variance": explained_variance(values, targets),
    }
