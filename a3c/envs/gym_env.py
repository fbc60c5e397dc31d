"""Any other Gymnasium environment with discrete actions: control, toy text, pictures."""

from __future__ import annotations

import os
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from a3c.envs.batch import Transition
from a3c.envs.pictures import picture
from a3c.errors import UsageError
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec


class GymEnvironment:
    """A Gymnasium environment behind `a3c.envs.batch.Environment`.

    Observations: a vector [n] float32 of a Box, flattened; a picture [C, H, W] uint8 of a Box of uint8
    [H, W] or [H, W, C]; a state's number [] int64 of a Discrete space. Time limits are Gymnasium's own.

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
        self._first_action = int(getattr(self._env.action_space, "start", 0))
        self._first_state = int(getattr(self._env.observation_space, "start", 0))
        self.observation = np.zeros(self.spec.observation_shape, self.spec.observation_dtype)
        self.frames = 0
        self.episode_frames = 0

    def reset(self) -> float:
        observation, _ = self._env.reset(seed=self._first_seed)
        self._first_seed = None
        self._see(observation)
        self.episode_frames = 0
        return 0.0

    def step(self, action: int) -> Transition:
        observation, reward, terminated, truncated, _ = self._env.step(self._first_action + action)
        self._see(observation)
        self.frames += 1
        self.episode_frames += 1
        over = bool(terminated or truncated)
        return Transition(float(reward), 0.0 if terminated else 1.0, over, over and not terminated)

    def _see(self, observation: Any) -> None:
        if self.spec.num_states:
            self.observation[()] = observation - self._first_state
        elif self.spec.observation_dtype == "uint8":
            image = np.atleast_3d(observation)
            self.observation[:] = image.transpose(2, 0, 1)
        else:
            self.observation[:] = np.reshape(observation, -1)

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
        self._env.close()


def make_gymnasium(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """The environment as Gymnasium makes it. Raises UsageError."""
    # pygame draws some games, and needs no display for it. Whoever opens a window does so before this.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an older version of an environment is the user's choice
            env = gymnasium.make(
                config.env,
                max_episode_steps=config.max_episode_steps,
                disable_env_checker=True,
                render_mode=render_mode,
                **config.env_kwargs,
            )
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UsageError(f"--env {config.env} needs a package that is missing: {_one_line(error)}") from error
    except (gymnasium.error.Error, TypeError, ValueError, KeyError) as error:
        raise UsageError(f"--env {config.env} cannot be made like this: {_one_line(error)}") from error
    modes = env.metadata.get("render_modes", ())
    if render_mode and (env.render_mode != render_mode or render_mode not in modes):
        env.close()
        raise UsageError(f"--env {config.env} cannot be drawn: it has no render mode {render_mode}")
    return env


def describe(env: gymnasium.Env[Any, Any], env_id: str) -> EnvSpec:
    """What an environment really is. Raises UsageError when agents here cannot play it."""
    actions, space = env.action_space, env.observation_space
    if not isinstance(actions, Discrete):
        raise UsageError(f"--env {env_id}: its actions are {_one_line(actions)}; they must be Discrete")
    shape: tuple[int, ...]
    if isinstance(space, Discrete):
        shape, dtype = (), "int64"
    elif isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3):
        height, width, channels = (*space.shape, 1)[:3]
        shape, dtype = (channels, height, width), "uint8"
    elif isinstance(space, Box):
        shape, dtype = (int(np.prod(space.shape)),), "float32"
    else:
        rule = "they must be a Box or Discrete"
        raise UsageError(f"--env {env_id}: its observations are {_one_line(space)}; {rule}")
    return EnvSpec(
        env_id,
        shape,
        dtype,
        num_actions=int(actions.n),
        num_states=int(space.n) if isinstance(space, Discrete) else 0,
        frame_rate=float(env.metadata.get("render_fps") or 30),
        step_cap=(env.spec and env.spec.max_episode_steps) or 0,
    )


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
