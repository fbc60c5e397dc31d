"""The loss of the actor-critic. Pure functions; T steps, B environments."""

from __future__ import annotations

from typing import NamedTuple

import torch


class ActorCriticLoss(NamedTuple):
    """Scalars; `total` is what the gradient is taken of."""

    total: torch.Tensor
    policy: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor


def actor_critic_loss(
    log_probs: torch.Tensor,
    entropies: torch.Tensor,
    values: torch.Tensor,
    advantages: torch.Tensor,
    value_targets: torch.Tensor,
    valid: torch.Tensor,
    value_coef: float,
    entropy_coef: float,
) -> ActorCriticLoss:
    """Advantage actor-critic with entropy bonus (Mnih et al. 2016, sec. 4 and alg. 3), mean over valid steps.

        L = mean(-log pi(a_t|s_t) A_t) + value_coef mean((target_t - V(s_t))^2) / 2 - entropy_coef mean(H)

    All arguments [T, B]; advantages and targets are constants to the gradient. An all-seam rollout
    gives a loss of 0.
    """
    weight = valid.to(values.dtype)
    weight = weight / weight.sum().clamp(min=1)
    policy = -(log_probs * advantages.detach() * weight).sum()
    value = 0.5 * ((value_targets.detach() - values).square() * weight).sum()
    entropy = (entropies * weight).sum()
    return ActorCriticLoss(policy + value_coef * value - entropy_coef * entropy, policy, value, entropy)
