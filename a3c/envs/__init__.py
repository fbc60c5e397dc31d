"""Environments: Atari on the bare emulator, and whatever else Gymnasium has, as batches."""

from __future__ import annotations

from collections.abc import Sequence

from a3c.envs.atari import AtariGame
from a3c.envs.atari_settings import AtariSettings
from a3c.envs.batch import Batch, EnvBatch, Environment
from a3c.envs.gym_env import GymEnvironment
from a3c.envs.registry import find, is_atari, resolve_env
from a3c.settings import EnvConfig


def make_env(config: EnvConfig, seeds: Sequence[int], *, training: bool, render: bool = False) -> EnvBatch:
    """A batch with one environment per seed.

    Args:
        config: resolved by `resolve_env`.
        seeds: one per environment; each makes its own episodes, the same ones every time.
        training: whether a lost life is terminal, where the protocol says so.
        render: whether pictures for people will be asked for; some environments must know beforehand.

    Raises:
        UsageError: the environment cannot be made like this.
    """
    registration = find(config.env)
    environments: list[Environment]
    if is_atari(registration):
        settings = AtariSettings.resolve(config, registration.kwargs)
        environments = [AtariGame(settings, seed, training) for seed in seeds]
    else:
        environments = [GymEnvironment(config, seed, render) for seed in seeds]
    return Batch.of(environments)


__all__ = ["EnvBatch", "make_env", "resolve_env"]
