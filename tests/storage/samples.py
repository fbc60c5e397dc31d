"""Checkpoints for the tests of this wing."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from a3c.storage.checkpoint import Checkpoint

ENV = {"env_id": "CartPole-v1", "num_actions": 2, "observation_shape": [4], "sticky": 0.0}
NETWORK = {"weight": (2, 3), "bias": (2,)}


def make(step: int = 1) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        model={"weight": torch.randn(2, 3, generator=generator), "bias": torch.randn(2, generator=generator)},
        optimizer={"moment": torch.randn(8, generator=generator), "step": torch.tensor(step)},
        agent={"rng": generator.get_state()},
        state={
            "env_steps": step,
            "algo": "a3c",
            "env": ENV,
            "network": {k: list(v) for k, v in NETWORK.items()},
        },
    )


def same(a: Checkpoint, b: Checkpoint) -> bool:
    for part in ("model", "optimizer", "agent"):
        one, other = getattr(a, part), getattr(b, part)
        if set(one) != set(other) or not all(torch.equal(one[name], other[name]) for name in one):
            return False
    return {**a.state, "schema": 1} == {**b.state, "schema": 1}


def names(run_dir: Path) -> list[str]:
    return sorted(os.listdir(run_dir))
