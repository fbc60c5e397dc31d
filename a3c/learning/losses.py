"""Losses. Pure functions; T steps, B environments, N samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


class ActorCriticLoss(NamedTuple):
    """Scalars; `total` is what the gradient is taken of."""

    total: torch.Tensor
    policy: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    approx_kl: torch.Tensor | float = 0.0  # of the new policy from the old, estimated by mean(r - 1 - log r)
    clip_fraction: torch.Tensor | float = 0.0  # share of the samples whose ratio r left 1 +- clip


class LossWeights(NamedTuple):
    """What the terms of an actor-critic loss count beside the policy's."""

    value: float
    entropy: float | torch.Tensor
    entropy_end: int = 0  # a step: there the entropy's has fallen linearly to 0; 0: it is constant


def actor_critic_loss(
    log_probs: torch.Tensor,
    entropies: torch.Tensor,
    values: torch.Tensor,
    advantages: torch.Tensor,
    value_targets: torch.Tensor,
    valid: torch.Tensor,
    weights: LossWeights,
) -> ActorCriticLoss:
    """Advantage actor-critic with entropy bonus (Mnih et al. 2016, sec. 4 and alg. 3), mean over valid steps.

        L = mean(-log pi(a_t|s_t) A_t) + w_v mean((target_t - V(s_t))^2) / 2 - w_e mean(H)

    All arguments [T, B]; advantages and targets are constants to the gradient. An all-seam rollout
    gives a loss of 0.
    """
    share = valid.to(values.dtype)
    share = share / share.sum().clamp(min=1)
    policy = -(log_probs * advantages.detach() * share).sum()
    value = 0.5 * ((value_targets.detach() - values).square() * share).sum()
    entropy = (entropies * share).sum()
    total = policy + weights.value * value - weights.entropy * entropy
    return ActorCriticLoss(total, policy, value, entropy)


def mean_of(values: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """The mean of all values, or of those that are `valid`, a mask of their shape; 0 of none."""
    if valid is None:
        return values.sum() / max(1, values.numel())
    return (values * valid).sum() / valid.sum().clamp(min=1)


def approx_kl(log_ratios: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Divergence of a policy from the one that acted, KL(old || new), estimated from the log-ratios of its
    probabilities: mean(r - 1 - log r), unbiased and of little variance (Schulman 2020); 0 of none."""
    return mean_of(log_ratios.exp() - 1 - log_ratios, valid)


def ppo_loss(
    *,
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    entropies: torch.Tensor,
    values: torch.Tensor,
    advantages: torch.Tensor,
    value_targets: torch.Tensor,
    clip: float,
    weights: LossWeights,
    valid: torch.Tensor | None = None,
) -> ActorCriticLoss:
    """The clipped surrogate objective with value loss and entropy bonus (Schulman et al. 2017, eq. 7 and 9).

        r_t = pi(a_t|s_t) / pi_old(a_t|s_t)
        L   = -mean(min(r_t A_t, clip(r_t, 1 - c, 1 + c) A_t)) + w_v mean((target_t - V)^2) / 2 - w_e mean(H)

    All tensors are [N], or of any shape with a mask `valid` of it that says of which the means are. The
    gradient flows through log_probs, values and entropies; the others are constants.
    """
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    policy, entropy = -mean_of(surrogate, valid), mean_of(entropies, valid)
    value = 0.5 * mean_of((value_targets - values).square(), valid)
    with torch.no_grad():
        divergence = approx_kl(log_ratio, valid)
        clip_fraction = mean_of(((ratio - 1).abs() > clip).float(), valid)
    total = policy + weights.value * value - weights.entropy * entropy
    return ActorCriticLoss(total, policy, value, entropy, divergence, clip_fraction)


class TdLoss(NamedTuple):
    """What the gradient is taken of, and each transition's error."""

    total: torch.Tensor  # scalar
    td_errors: torch.Tensor  # [N], without gradient


def huber_td_loss(
    values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, delta: float = 1.0
) -> TdLoss:
    """Weighted mean Huber loss of TD errors d = target - value: d^2 / 2 up to |d| = delta, and from there
    delta (|d| - delta / 2), so that no error pulls with more than delta (Mnih et al. 2015, with delta 1).

    All arguments [N]; targets and weights are constants to the gradient.
    """
    losses = F.huber_loss(values, targets.detach(), reduction="none", delta=delta)
    return TdLoss((weights * losses).mean(), (targets - values).detach())
