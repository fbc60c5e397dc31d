"""Agents: the algorithms, as alternative worker types behind one interface (`a3c.agents.base`)."""

from __future__ import annotations

from pathlib import Path

import torch

from a3c.agents.actor_critic import ActorCriticAgent, ActorCriticPolicy
from a3c.agents.base import Agent, Policy
from a3c.config import Config
from a3c.networks import make_network
from a3c.settings import LearnConfig
from a3c.types import EnvSpec


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str) -> Agent:
    """The learning agent of a worker. Raises ValueError when the network does not fit the environment."""
    policy = make_policy(config, spec, seed, device, greedy=False)
    learn = config.learn
    return ActorCriticAgent(
        policy,
        gamma=learn.gamma,
        tau=learn.tau,
        value_coef=learn.value_coef,
        entropy_coef=learn.entropy_coef,
    )


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> ActorCriticPolicy:
    """What plays: the same network without the learning."""
    torch.manual_seed(seed)  # of the initial weights
    network = make_network(config.learn.model or "mlp", spec.observation_shape, spec.num_actions)
    return ActorCriticPolicy(network, seed, device, greedy, use_bf16(config.learn, device))


def metric_names(algo: str) -> tuple[str, ...]:
    """What the algorithm's agent reports with each gradient."""
    return {"a3c": ActorCriticAgent}[algo].metric_names


def use_bf16(learn: LearnConfig, device: str) -> bool:
    """Whether convolutions and matrix products run in bfloat16: always, never, or where that is faster."""
    if learn.precision != "auto":
        return learn.precision == "bf16"
    if learn.model == "mlp":
        return False
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    return cpu_computes_bf16()


def cpu_computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX-512 BF16 or AMX); elsewhere it is emulated."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


__all__ = ["Agent", "Policy", "make_agent", "make_policy", "metric_names", "use_bf16"]
