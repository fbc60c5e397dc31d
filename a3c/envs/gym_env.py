"""Any other Gymnasium environment with discrete actions, one or several at once."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration
from gymnasium.envs.registration import load_env_creator

from a3c.envs.actions import MOST_COMBINATIONS, actions_of
from a3c.envs.batch import Transition
from a3c.envs.observations import view_of
from a3c.envs.pictures import picture
from a3c.envs.registry import find, others_code
from a3c.errors import UsageError
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec

_OURS = ("id", "max_episode_steps", "disable_env_checker", "render_mode")
"""Arguments of `gymnasium.make` that are no arguments of an environment, or are given here."""

_SPACES = "Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these"


class GymEnvironment:
    """A Gymnasium environment behind `a3c.envs.batch.Environment`.

    Observations are those of `a3c.envs.observations.view_of`. Time limits are Gymnasium's own.

    Args:
        config: which environment.
        seed: of all its episodes.
        render_mode: "rgb_array" for `render`, "ansi" for `text`, or None.

    Raises:
        UsageError: it cannot be built as configured, or its spaces are of another kind.
    """

    def __init__(self, config: EnvConfig, seed: int, render_mode: str | None = None) -> None:
        self.seed = seed
        self._env = make_gymnasium(config, render_mode)
        self._first_seed: int | None = seed  # Gymnasium is seeded by the first reset, for all episodes
        self.spec = describe(self._env, config.env)
        self._of_space = actions_of(self._env.action_space).of_space
        self._read = view_of(self._env.observation_space).read
        self.observation = np.zeros(self.spec.observation_shape, self.spec.observation_dtype)
        self.frames = 0
        self.episode_frames = 0

    def reset(self) -> float:
        observation, _ = self._env.reset(seed=self._first_seed)
        self._first_seed = None
        self.observation[...] = self._read(observation)
        self.episode_frames = 0
        return 0.0

    def step(self, action: int) -> Transition:
        observation, reward, terminated, truncated, _ = self._env.step(self._of_space(action))
        self.observation[...] = self._read(observation)
        self.frames += 1
        self.episode_frames += 1
        over = bool(terminated or truncated)
        return Transition(float(reward), 0.0 if terminated else 1.0, over, over and not terminated)

    def render(self) -> np.ndarray:
        if self._env.render_mode != "rgb_array":
            raise ValueError(f"{self.spec.env_id} was not made with render=True")
        return picture(self._env, self.spec.env_id)

    def text(self) -> str:
        """The game in letters, with the colours of a terminal; empty unless it was made with "ansi"."""
        return str(self._env.render()) if self._env.render_mode == "ansi" else ""

    def details(self) -> str:
        """What a player wants to know beside the score: the level, where there are levels."""
        return str(getattr(self._env.unwrapped, "level", ""))

    def close(self) -> None:
        _close(self._env, self.spec.env_id)


def spec_of(config: EnvConfig) -> EnvSpec:
    """What an environment says it is, without playing it. Raises UsageError."""
    env = GymEnvironment(config, seed=0)
    env.close()
    return env.spec


def probe(config: EnvConfig) -> EnvSpec:
    """What an environment is. It is made, shows its first observation and is closed again, so that what does
    not work is found before a process starts. Raises UsageError."""
    env = GymEnvironment(config, seed=0)
    with others_code(f"--env {config.env}: its first reset() failed"):
        env.reset()
    env.close()
    return env.spec


def make_gymnasium(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """The environment as Gymnasium makes it. Raises UsageError, and CheckpointError as `find` does."""
    # pygame draws some games, and needs no display for it. Whoever opens a window does so before this.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    creator = _as_it_is(find(config))
    if ours := [name for name in _OURS if name in config.env_kwargs]:
        raise UsageError(f"--env-kwargs {ours[0]}: not a setting of environments; see a3c run --help")
    drawn = {"render_mode": render_mode} if render_mode else {}  # not every environment takes it
    with others_code(f"--env {config.env} cannot be made like this"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older version of an environment is the user's choice
        try:
            env = gymnasium.make(creator, config.max_episode_steps, True, **drawn, **config.env_kwargs)
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            words = _one_line(error)
            raise UsageError(f"--env {config.env} needs a package that is missing: {words}") from error
    if render_mode and (
        env.render_mode != render_mode or render_mode not in _metadata(env, "render_modes", ())
    ):
        _close(env, config.env)
        raise UsageError(f"--env {config.env} cannot be drawn: it has no render mode {render_mode}")
    return env


def _as_it_is(registration: Registration) -> Registration:
    """The same environment for `gymnasium.make`, which refuses metadata that is not of today's form. Given
    the registration instead of an id, it imports nothing by name."""

    def create(**kwargs: Any) -> gymnasium.Env[Any, Any]:
        point: Any = registration.entry_point
        make: Any = load_env_creator(point) if isinstance(point, str) else point
        env: gymnasium.Env[Any, Any] = make(**kwargs)
        return env

    return replace(registration, entry_point=create)


def _metadata(env: gymnasium.Env[Any, Any], name: str, default: Any) -> Any:
    """What an environment says about itself, where it does."""
    metadata: Any = env.metadata
    return (metadata.get(name) if isinstance(metadata, dict) else None) or default


def _close(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    with others_code(f"{env_id}: its close() failed"):
        env.close()


def describe(env: gymnasium.Env[Any, Any], env_id: str) -> EnvSpec:
    """What an environment really is. Raises UsageError when agents here cannot play it."""
    actions, space = (getattr(env, name, None) for name in ("action_space", "observation_space"))
    try:
        num_actions = actions_of(actions).number
    except ValueError as error:
        words = f"its actions are {_one_line(actions)}; they must be Discrete, or MultiDiscrete or"
        most = f"MultiBinary of at most {MOST_COMBINATIONS:,} combinations"
        raise UsageError(f"--env {env_id}: {words} {most}") from error
    try:
        view = view_of(space)
    except ValueError as error:
        words = f"its observations are {_one_line(space)}; they must be numbers: {_SPACES}"
        raise UsageError(f"--env {env_id}: {words}") from error
    rate = _metadata(env, "render_fps", 30)
    return EnvSpec(
        env_id,
        view.shape,
        view.dtype,
        num_actions=num_actions,
        num_states=view.num_states,
        frame_rate=float(rate) if isinstance(rate, int | float) else 30.0,
        step_cap=(env.spec and env.spec.max_episode_steps) or 0,
        preprocessing=view.words,
    )


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
