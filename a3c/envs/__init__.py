"""Environments: Atari on the bare emulator, and whatever else Gymnasium has, as batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from a3c.envs.agent_env import AgentEnv
from a3c.envs.atari import AtariGame
from a3c.envs.atari_settings import AtariSettings
from a3c.envs.batch import Batch, EnvBatch, Environment
from a3c.envs.gym_env import GymEnvironment
from a3c.envs.registry import find, is_atari
from a3c.envs.resolve import complete_flags, resolve_env
from a3c.envs.table_batch import TableBatch, has_table
from a3c.settings.groups import EnvConfig


def make_env(config: EnvConfig, seeds: Sequence[int], *, training: bool, render: bool = False) -> EnvBatch:
    """A batch with one environment per seed.

    Args:
        config: resolved by `resolve_env`.
        seeds: one per environment; each makes its own episodes, the same ones every time.
        training: whether a lost life is terminal, where the protocol says so.
        render: whether pictures for people will be asked for; some environments must know beforehand.

    Raises:
        UsageError: the environment cannot be made like this.
        CheckpointError: it would import code that only a file names.
    """
    if has_table(find(config), config):
        return TableBatch.of(config, seeds)
    mode = "rgb_array" if render else None
    return Batch.of(make_environment(config, seed, training=training, render_mode=mode) for seed in seeds)


def make_environment(
    config: EnvConfig, seed: int, *, training: bool = False, render_mode: str | None = None
) -> Environment:
    """A single environment: what `make_env` makes batches of.

    Args:
        config: which environment.
        seed: of its episodes.
        training: as for `make_env`.
        render_mode: "rgb_array" or "ansi", where `render` or `text` will be asked for; Atari needs none.

    Raises:
        UsageError: the environment cannot be made like this.
        CheckpointError: it would import code that only a file names.
    """
    registration = find(config)
    if is_atari(registration):
        return AtariGame(AtariSettings.resolve(config, registration.kwargs), seed, training)
    return GymEnvironment(config, seed, render_mode)


def make_agent_env(
    config: EnvConfig, render_mode: str | None = None, on_reset: Callable[[], None] = lambda: None
) -> AgentEnv:
    """A single environment behind Gymnasium's interface, for people's own loops.

    Args:
        config: which environment.
        render_mode: "rgb_array" where `render` will be asked for.
        on_reset: called whenever an episode begins.

    Raises:
        UsageError: the environment cannot be made like this.
        CheckpointError: it would import code that only a file names.
    """
    return AgentEnv(partial(make_environment, config, render_mode=render_mode), render_mode, on_reset)


__all__ = [
    "EnvBatch",
    "Environment",
    "complete_flags",
    "make_agent_env",
    "make_env",
    "make_environment",
    "resolve_env",
]
