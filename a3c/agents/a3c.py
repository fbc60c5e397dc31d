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
    report,
)
from a3c.agents.base import Algorithm, Lesson
from a3c.learning.losses import actor_critic_loss, approx_kl
from a3c.settings.config import Config
from a3c.stores.parameters import gradients_of
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State


class A3CAgent(ActorCriticAgent):
    """An `ActorCriticPolicy` that learns by n-step advantage actor-critic with GAE.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
        recompute: learn from features computed again, in one batch, not from those kept while acting; an
            objective with fresh weights does so in any case.
    """

    def __init__(self, policy: ActorCriticPolicy, objective: Objective, recompute: bool = False) -> None:
        super().__init__(policy, objective)
        self.recompute = recompute or self.fresh
        # Of each step so far: the features [B, F] with their graph, or what to compute them from [B, ...].
        self._seen: list[torch.Tensor] = []
        self._samples: Samples | None = None  # of the first pass, for the others

    def begin_rollout(self, counters: Counters) -> None:
        super().begin_rollout(counters)
        self._seen.clear()

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        image = self.policy.upload(observation)
        with torch.set_grad_enabled(not self.recompute):
            features = self.policy.features(image)
        self._seen.append(image if self.recompute else features)
        with torch.no_grad():
            output = self.policy.forward_features(features, first, state)
            actions = self.policy.select_actions(output.logits)
            log_prob = evaluate_actions(output.logits, actions)[0] if self.fresh else None
        return ActorOutput(actions.cpu().numpy(), output.state, log_prob)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        again = [partial(self.gradients_again, rollout)] * (self.objective.epochs - 1)
        return [partial(self.gradients, rollout), *(again if rollout.env_steps else ())]

    def gradients(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of the loss on the rollout that was just acted, and metrics."""
        valid, actions = (
            torch.from_numpy(a).to(self.policy.device) for a in (rollout.valid(), rollout.actions)
        )
        seen = torch.stack(self._seen)
        features = self.policy.rollout_features(seen) if self.recompute else seen
        output = self.policy.unroll(features, rollout.firsts[:-1], rollout.initial_state)
        values, final_state = output.value, output.state if self.fresh else rollout.final_state
        log_probs, entropies = evaluate_actions(output.logits, actions)
        log_ratios = (log_probs - (behaviour_log_probs(rollout) if self.fresh else log_probs)).detach()
        advantages, targets, _ = self.returns(rollout, values, log_ratios, final_state)
        loss = actor_critic_loss(log_probs, entropies, values, advantages, targets, valid, self.weights)
        gradients = gradients_of(loss.total, self.policy.network)
        self._seen.clear()
        parts = (actions, log_probs, values, advantages, targets, log_ratios)
        samples = self._samples = Samples(*(part.detach()[valid] for part in parts))
        loss = loss._replace(approx_kl=approx_kl(samples.log_ratios))
        return gradients, report(loss, samples)

    def gradients_again(self, rollout: Rollout) -> tuple[Gradients, dict[str, float]]:
        """Gradient of PPO's loss on a rollout that was learned from before, and metrics."""
        if self._samples is None:
            raise RuntimeError("gradients_again() before gradients()")
        valid = torch.from_numpy(rollout.valid()).to(self.policy.device)
        output = self.policy.forward_rollout(rollout, self.policy.upload(rollout.observations[:-1]))
        return self.surrogate_gradients(output.logits[valid], output.value[valid], self._samples)


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> A3CAgent:
    """The agent of a worker."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    return A3CAgent(policy, make_objective(config, device), recompute=device != "cpu")


A3C = Algorithm("a3c", METRICS, make_policy, make_agent)
