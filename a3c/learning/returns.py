"""Advantages and value targets from a rollout. Pure functions; T steps, B environments."""

from __future__ import annotations

from typing import NamedTuple

import torch

from a3c.learning.losses import mean_of


class Advantages(NamedTuple):
    """What the policy and the value learn from."""

    advantages: torch.Tensor  # [T, B]
    value_targets: torch.Tensor  # [T, B]


def gae(
    rewards: torch.Tensor,
    discounts: torch.Tensor,
    values: torch.Tensor,
    valid: torch.Tensor,
    gamma: float,
    tau: float,
) -> Advantages:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16), cut at the seams of episodes.

        delta_t = r_t + gamma d_t V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma tau d_t A_{t+1}        and the value's target is A_t + V(s_t)

    d_t is 0 after a terminal step and 1 elsewhere. At a seam (`valid` False: s_t ends an episode and
    s_{t+1} begins the next) A_t is 0, so that a truncated episode bootstraps from V of its own last
    observation and nothing leaks into it from the next. With tau 1 the target is the n-step return of
    A3C (Mnih et al. 2016, alg. 3).

    Args:
        rewards: [T, B]. discounts: [T, B], 0 or 1. valid: [T, B] bool.
        values: [T+1, B], the last row being the bootstrap value.
        gamma: discount factor. tau: lambda.
    """
    step_discounts = gamma * discounts
    deltas = (rewards + step_discounts * values[1:] - values[:-1]) * valid
    decay = tau * step_discounts * valid
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        running = deltas[t] + decay[t] * running
        advantages[t] = running
    return Advantages(advantages, advantages + values[:-1])


class Corrected(NamedTuple):
    """What a policy and its value learn from steps that another policy took."""

    advantages: torch.Tensor  # [T, B], each times its truncated ratio
    value_targets: torch.Tensor  # [T, B]
    unweighted: torch.Tensor  # [T, B], the advantages for an objective that has the ratio in itself, as PPO's


def vtrace(
    rewards: torch.Tensor,
    discounts: torch.Tensor,
    values: torch.Tensor,
    valid: torch.Tensor,
    log_ratios: torch.Tensor,
    gamma: float,
    tau: float,
) -> Corrected:
    """V-trace (Espeholt et al. 2018, eq. 1 and remark 2) with both ratios truncated at 1, cut at the seams of
    episodes as `gae` is.

        rho_t   = min(1, pi(a_t|s_t) / mu(a_t|s_t))
        delta_t = rho_t (r_t + gamma d_t V(s_{t+1}) - V(s_t))
        vs_t    = V(s_t) + delta_t + gamma tau d_t rho_t (vs_{t+1} - V(s_{t+1}))     the value's target
        A_t     = rho_t (r_t + gamma d_t (tau vs_{t+1} + (1 - tau) V(s_{t+1})) - V(s_t))

    pi is the policy that learns and gave the values, mu the one that acted. A step that pi would hardly take
    counts little, and cuts off what it cannot know of pi's own future; one that pi would take more often
    counts no more than once. Where pi is mu, advantages and targets are those of `gae`.

    Args:
        rewards: [T, B]. discounts: [T, B], 0 or 1. valid: [T, B] bool.
        values: [T+1, B], the last row being the bootstrap value.
        log_ratios: [T, B], log pi(a_t|s_t) - log mu(a_t|s_t).
        gamma: discount factor. tau: lambda.
    """
    step_discounts = gamma * discounts
    weights = log_ratios.clamp(max=0).exp()
    deltas = weights * (rewards + step_discounts * values[1:] - values[:-1]) * valid
    decay = tau * step_discounts * weights * valid
    corrections = torch.zeros_like(values)  # vs_t - V(s_t)
    for t in range(len(deltas) - 1, -1, -1):
        corrections[t] = deltas[t] + decay[t] * corrections[t + 1]
    following = values[1:] + tau * corrections[1:]
    unweighted = (rewards + step_discounts * following - values[:-1]) * valid
    return Corrected(weights * unweighted, values[:-1] + corrections[:-1], unweighted)


def explained_variance(
    values: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """1 - Var(target - value) / Var(target), of all or of those that are `valid`; 0 where the target is
    constant."""

    def variance(x: torch.Tensor) -> torch.Tensor:
        return mean_of((x - mean_of(x, valid)).square(), valid)

    of_targets, least = variance(targets), 1e-8
    return (1 - variance(targets - values) / of_targets.clamp(min=least)) * (of_targets >= least)
