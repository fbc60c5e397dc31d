"""What A3C and PPO have in common: an agent with a policy of an actor and a critic, and PPO's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from a3c.agents.base import Lone, Seat
from a3c.agents.policy import ActorCriticPolicy, Material, evaluate_actions
from a3c.agents.seats import two_halves
from a3c.learning.losses import ActorCriticLoss, LossWeights, mean_of, ppo_loss
from a3c.learning.returns import Corrected, explained_variance, gae, vtrace
from a3c.learning.schedules import linear
from a3c.networks.actor_critic import NetworkOutput, make_network
from a3c.networks.compute import use_bf16
from a3c.networks.device import Capture
from a3c.settings.algorithms import FACTS, check_observation
from a3c.settings.config import Config
from a3c.settings.cores import workers_at_a_time
from a3c.types import ActorOutput, Counters, EnvSpec, State

METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "value_mean",
    "explained_variance",
    "approx_kl",
    "clip_fraction",
    "mean_ratio",
    "truncated_share",
)
"""What every lesson reports."""


class Samples(NamedTuple):
    """Steps of a rollout, and what is to be learned from them; without gradient. [N], or all of them [T, B],
    of which only some are real."""

    actions: torch.Tensor  # int64
    log_probs: torch.Tensor  # of the actions, which the ratio of PPO's objective is to
    values: torch.Tensor  # by the weights that the advantages are of
    advantages: torch.Tensor
    targets: torch.Tensor  # of the value
    log_ratios: torch.Tensor  # of the policy that the advantages are of to the one that acted

    def take(self, indices: torch.Tensor) -> Samples:
        """Those at `indices`, or where a mask is True: [N]."""
        return Samples(*(part[indices] for part in self))


def named(numbers: torch.Tensor) -> dict[str, float]:
    """What `report` gives, by name."""
    return dict(zip(METRICS, numbers.tolist(), strict=True))


class Objective(NamedTuple):
    """What is to be learned."""

    gamma: float  # discount per step
    tau: float  # lambda of GAE
    weights: LossWeights  # of the terms of the loss, at first
    epochs: int = 1  # passes over each rollout
    clip_range: float = 0.2  # how far the ratio of new to old policy may leave 1 and still be rewarded
    fresh: bool = False  # learn with the newest weights, by V-trace, from what older ones did
    kl_target: float = 0.0  # how far an update is to move the policy; 0: as far as the learning rate takes it
    lr_end: int = 0  # a step: there the learning rate has fallen linearly to 0; 0: it is constant


class ActorCriticAgent:
    """What agents with an `ActorCriticPolicy` share: schedules, state, and PPO's loss.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
        capture: for a device beside the core: makes what is computed there fast. The environments then take
            their steps in two halves. None: all is computed at once.
    """

    def __init__(self, policy: ActorCriticPolicy, objective: Objective, capture: Capture | None) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.objective, self.weights = objective, objective.weights
        self.fresh, self.capture = objective.fresh, capture

    @property
    def pace(self) -> float:
        return 1.0

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        """See `Actor`."""
        raise NotImplementedError

    def seats(self, spec: EnvSpec, size: int) -> Sequence[Seat]:
        """Two halves with `capture`, else one seat for all."""
        return (
            [Lone(self, size)] if self.capture is None else two_halves(self.policy, spec, size, self.capture)
        )

    def begin_rollout(self, counters: Counters) -> None:
        initial = self.objective.weights
        if end := initial.entropy_end:
            entropy = linear(float(initial.entropy), 0.0, end, counters.env_steps)
            self.weights = initial._replace(entropy=entropy)

    def initial_state(self, batch: int) -> State:
        return self.policy.initial_state(batch)

    def refresh(self) -> None:
        self.policy.refresh()

    def get_state(self) -> dict[str, Any]:
        return {"generator": self.policy.generator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.generator.set_state(state["generator"])

    @torch.no_grad()
    def returns(
        self, material: Material, values: torch.Tensor, log_ratios: torch.Tensor, final_state: State
    ) -> Corrected:
        """Advantages and value targets of a rollout: by GAE or, with weights that did not act, by V-trace.

        Args:
            values: [T, B], of its steps.
            log_ratios: [T, B], of its actions' probabilities to those under the policy that acted.
            final_state: [B, ...], before its last observation.
        """
        features = self.policy.features(material.observations[-1])
        last = self.policy.step(features, material.firsts[-1], final_state)
        all_values = torch.cat([values, last.value.unsqueeze(0)])
        rewards, discounts, valid = material.rewards, material.discounts, material.valid
        gamma, tau = self.objective.gamma, self.objective.tau
        if self.fresh:
            return vtrace(rewards, discounts, all_values, valid, log_ratios, gamma, tau)
        advantages, targets = gae(rewards, discounts, all_values, valid, gamma, tau)
        return Corrected(advantages, targets, advantages)

    def surrogate_loss(
        self,
        output: NetworkOutput,
        samples: Samples,
        weights: LossWeights,
        valid: torch.Tensor | None = None,
    ) -> ActorCriticLoss:
        """PPO's loss on samples of a rollout, by weights that changed since.

        Args:
            output: logits and values [N] or [T, B], of the weights as they are now.
            samples: what is to be learned.
            weights: of the terms.
            valid: [T, B] bool, which of them are real; None: all.
        """
        logits, values, _ = output
        log_probs, entropies = evaluate_actions(logits, samples.actions)
        return ppo_loss(
            log_probs=log_probs,
            old_log_probs=samples.log_probs,
            entropies=entropies,
            values=values,
            advantages=samples.advantages,
            value_targets=samples.targets,
            clip=self.objective.clip_range,
            weights=weights,
            valid=valid,
        )


@torch.no_grad()
def report(loss: ActorCriticLoss, samples: Samples, valid: torch.Tensor | None = None) -> torch.Tensor:
    """The numbers of `METRICS`: of a lesson's loss, and of what the critic knew before the first one."""
    ratios = samples.log_ratios.exp()
    numbers = (
        loss.policy,
        loss.value,
        loss.entropy,
        mean_of(samples.values, valid),
        explained_variance(samples.values, samples.targets, valid),
        loss.approx_kl,
        loss.clip_fraction,
        mean_of(ratios.clamp(max=1), valid),
        mean_of((ratios > 1).float(), valid),
    )
    return torch.stack([n if isinstance(n, torch.Tensor) else ratios.new_full((), n) for n in numbers])


# ---------------------------------------------------------------------------------------------------
# From settings


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> ActorCriticPolicy:
    """An actor and a critic with fresh weights. Raises ValueError when the network does not fit."""
    torch.manual_seed(seed)  # of the initial weights
    learn = config.learn
    model = learn.model or "mlp"
    check_observation(model, spec.observation_shape)
    network = make_network(model, spec.observation_shape, spec.num_actions)
    return ActorCriticPolicy(network, seed, device, greedy, use_bf16(learn.precision, model, device))


def learns_fresh(config: Config, device: str) -> bool:
    """What `--fresh` says; auto: where acting makes weights old, or computing again is cheap, of an algorithm
    that learns more from them."""
    if config.learn.fresh != "auto":
        return config.learn.fresh == "on"
    return FACTS[config.learn.algo].fresh and (workers_at_a_time(config.run) > 2 or device != "cpu")


def make_objective(config: Config, device: str) -> Objective:
    """What the settings ask for."""
    learn, fresh = config.learn, learns_fresh(config, device)
    entropy_end = config.run.max_steps if learn.entropy_schedule == "linear" else 0
    weights = LossWeights(learn.value_coef, learn.entropy_coef, entropy_end)
    epochs = learn.epochs or FACTS[learn.algo].epochs
    lr_end = config.run.max_steps if config.optim.lr_schedule == "linear" else 0
    kl_target = config.optim.kl_target
    return Objective(learn.gamma, learn.tau, weights, epochs, learn.clip_range, fresh, kl_target, lr_end)
