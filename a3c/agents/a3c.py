"""The A3C agent: an actor and a critic that learn from rollouts of the policy itself (Mnih et al. 2016).

While acting, the agent keeps the features it computed of each observation with their autograd graph: the
weights are constant inside a rollout, so a second pass through the convolutions would only compute the same
again. The few layers after them are computed once more, for the whole rollout at a time: going backward
through them step by step would take longer. On a GPU, where launching a kernel costs more than its work, all
of it is computed once more, in one batch.

A rollout may be learned from several times (`epochs`). From the second pass on the weights are no longer
those that acted, so what is computed is PPO's objective (Schulman et al. 2017, eq. 7), which stops rewarding
an action once its probability has moved far enough.

With fresh weights the first pass, too, is with weights newer than those that acted: nothing is kept from
acting but the log-probabilities of the actions, and V-trace corrects for the difference. The passes after it
take its advantages, and their ratio is to its policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

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
from a3c.learning.losses import ActorCriticLoss, LossWeights, actor_critic_loss, approx_kl
from a3c.learning.pace import Pace
from a3c.learning.schedules import linear
from a3c.networks.device import Capture, Function, Mark, host_tensor, make_capture
from a3c.settings.config import Config
from a3c.stores.parameters import flat_gradient, gradients_of, split
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State


class A3CAgent(ActorCriticAgent):
    """An `ActorCriticPolicy` that learns by n-step advantage actor-critic with GAE.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
        recompute: learn from features computed again, in one batch, not from those kept while acting; an
            objective with fresh weights does so in any case.
        capture: for a device beside the core, see `ActorCriticAgent`; all is computed again then, too.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        objective: Objective,
        recompute: bool = False,
        capture: Capture | None = None,
    ) -> None:
        super().__init__(policy, objective, capture)
        self.recompute = recompute or self.fresh or capture is not None
        self._features: list[torch.Tensor] = []  # of each step so far [B, F], with their graph
        self._samples: Samples | None = None  # of the first pass, for the others
        self._desk: Desk | None = None
        self._pace = Pace(objective.kl_target) if objective.kl_target else None
        self._schedule = 1.0  # the share of the learning rate that is left

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._features.clear()
        if end := self.objective.lr_end:
            self._schedule = linear(1.0, 0.0, end, counters.env_steps)

    @property
    def pace(self) -> float:
        return self._pace.factor if self._pace else 1.0

    def get_state(self) -> dict[str, Any]:
        return super().get_state() | ({"pace": self._pace.get_state()} if self._pace else {})

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if self._pace and "pace" in state:
            self._pace.set_state(state["pace"])

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        with torch.set_grad_enabled(not self.recompute):
            features = self.policy.features(self.policy.upload(observation))
        if not self.recompute:
            self._features.append(features)
        with torch.no_grad():
            output = self.policy.step(features, self.policy.upload(first), state)
            actions = self.policy.select_actions(output.logits)
            log_prob = evaluate_actions(output.logits, actions)[0].cpu().numpy() if self.fresh else None
        return ActorOutput(actions.cpu().numpy(), output.state, log_prob)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        again = [partial(self.gradients_again, rollout, n) for n in range(2, self.objective.epochs + 1)]
        return [partial(self.gradients, rollout), *(again if rollout.env_steps else ())]

    def gradients(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the rollout that was just acted, and metrics."""
        if self.capture is not None:
            self._desk = self._desk or Desk(self, Material.of(rollout), self.capture)
            return self._told(*self._desk.first(Material.of(rollout)))
        material = Material.of(rollout).on(self.policy.device)
        features = None if self.recompute else torch.stack(self._features)
        loss, self._samples = self.first_loss(material, self.weights, features)
        gradients = gradients_of(loss.total, self.policy.network)
        self._features.clear()
        return self._told(gradients, named(report(loss, self._samples, material.valid)))

    def gradients_again(self, rollout: Rollout, number: int) -> tuple[Gradients, dict[str, float]]:
        """Gradient of PPO's loss on a rollout that was learned from before, and metrics; in pass `number`."""
        gradients, metrics = self._again(rollout)
        if self._pace and number == 2:  # later ones would tell of several updates
            self._pace.tell(metrics["approx_kl"], self._schedule)
        return self._told(gradients, metrics)

    def _again(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        if self._desk is not None:
            return self._desk.again()
        if self._samples is None:
            raise RuntimeError("gradients_again() before gradients()")
        material = Material.of(rollout).on(self.policy.device)
        loss = self.later_loss(material, self._samples, self.weights)
        gradients = gradients_of(loss.total, self.policy.network)
        return gradients, named(report(loss, self._samples, material.valid))

    def _told(self, gradients: Gradients, metrics: dict[str, float]) -> tuple[Gradients, dict[str, float]]:
        return gradients, metrics | {"pace": self.pace}

    def first_loss(
        self, material: Material, weights: LossWeights, features: torch.Tensor | None = None
    ) -> tuple[ActorCriticLoss, Samples]:
        """The loss on a rollout, by its features [T, B, F] where they were kept, and what later passes learn
        from."""
        output = self.policy.forward_rollout(material, features)
        values, final_state = output.value, output.state if self.fresh else material.final_state
        log_probs, entropies = evaluate_actions(output.logits, material.actions)
        acted = material.log_probs if self.fresh else log_probs
        log_ratios = (log_probs - acted).detach()
        advantages, targets, _ = self.returns(material, values, log_ratios, final_state)
        valid = material.valid
        loss = actor_critic_loss(log_probs, entropies, values, advantages, targets, valid, weights)
        samples = Samples(
            material.actions, log_probs.detach(), values.detach(), advantages, targets, log_ratios
        )
        return loss._replace(approx_kl=approx_kl(log_ratios, valid)), samples

    def later_loss(self, material: Material, samples: Samples, weights: LossWeights) -> ActorCriticLoss:
        """PPO's loss on a rollout that was learned from before."""
        output = self.policy.forward_rollout(material)
        return self.surrogate_loss(output, samples, weights, material.valid)


class Desk:
    """Where an `A3CAgent` computes its lessons on a device beside the core: buffers that stay where they are,
    so that each kind of lesson can be one CUDA graph, with the LSTM and its resets, V-trace and the gradient.
    """

    def __init__(self, agent: A3CAgent, like: Material, capture: Capture) -> None:
        """For rollouts of the form of `like`."""
        device = agent.policy.device
        self._agent, self._shapes = agent, agent.parameters.shapes
        self._material = like.map(lambda tensor: torch.empty_like(tensor, device=device))
        numbers = (torch.empty_like(self._material.rewards) for _ in range(5))
        self._samples = Samples(torch.empty_like(self._material.actions), *numbers)
        self._entropy = torch.zeros((), device=device)  # the weight of its bonus, which changes
        self._sizes = [len(agent.parameters.flat), len(METRICS)]
        self._result = torch.zeros(sum(self._sizes), device=device)
        self._told = host_tensor((sum(self._sizes),), torch.float32, device)
        self._there = Mark(device)
        gradient = self._result[: self._sizes[0]]
        self._first = capture(self._compute_first, [gradient, self._samples.values, self._samples.targets])
        self._again = capture(self._compute_again, [gradient])

    def first(self, material: Material) -> tuple[Gradients, dict[str, float]]:
        """The first lesson of a rollout."""
        for mine, given in zip(self._material.tensors(), material.tensors(), strict=True):
            mine.copy_(given, non_blocking=True)
        return self._learn(self._first)

    def again(self) -> tuple[Gradients, dict[str, float]]:
        """Another lesson of the same rollout."""
        return self._learn(self._again)

    def _learn(self, compute: Function) -> tuple[Gradients, dict[str, float]]:
        self._entropy.fill_(self._agent.weights.entropy)
        compute()
        self._told.copy_(self._result, non_blocking=True)
        self._there.set()
        self._there.wait()
        gradient, numbers = torch.split(self._told, self._sizes)
        return split(gradient, self._shapes), named(numbers)

    def _compute_first(self) -> None:
        loss, samples = self._agent.first_loss(self._material, self._weights())
        for kept, part in zip(self._samples, samples, strict=True):
            kept.copy_(part)
        self._conclude(loss)

    def _compute_again(self) -> None:
        self._conclude(self._agent.later_loss(self._material, self._samples, self._weights()))

    def _weights(self) -> LossWeights:
        return self._agent.weights._replace(entropy=self._entropy)

    def _conclude(self, loss: ActorCriticLoss) -> None:
        gradient, numbers = torch.split(self._result, self._sizes)
        gradient.copy_(flat_gradient(loss.total, self._agent.policy.network))
        numbers.copy_(report(loss, self._samples, self._material.valid))


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> A3CAgent:
    """The agent of a worker."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    return A3CAgent(policy, make_objective(config, device), capture=make_capture(device))


A3C = Algorithm("a3c", (*METRICS, "pace"), make_policy, make_agent)
