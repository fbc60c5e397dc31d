"""An environment as an agent sees it, behind Gymnasium's interface: for people's own loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from a3c.envs.batch import Environment, Lane
from a3c.errors import UsageError
from a3c.types import EnvSpec

_RENDER_MODES = ["rgb_array"]
_SEEDS = 2**31


class AgentEnv(gymnasium.Env[Any, Any]):
    """A `gymnasium.Env` whose observations have the form that the agent's network takes.

    Observations are a vector [n] float32, a picture [C, H, W] uint8 or the number of a state; actions are
    numbers from 0. Rewards are raw: their sum over an episode is its score. What a game earned before the
    first decision (no-ops, FIRE) is part of the first step's reward.

    `reset(seed=...)` begins the game that `eval.py` plays with that seed.

    Args:
        make: makes the environment for a seed.
        render_mode: "rgb_array" for `render`, or None.
        on_reset: called whenever an episode begins.

    Raises:
        UsageError: it cannot be made or drawn like this.
    """

    def __init__(
        self, make: Callable[[int], Environment], render_mode: str | None, on_reset: Callable[[], None]
    ) -> None:
        if render_mode not in (None, *_RENDER_MODES):
            raise UsageError(f"render_mode {render_mode!r}: take {' or '.join(_RENDER_MODES)}, or none")
        self._make, self._on_reset = make, on_reset
        self._env = make(int(self.np_random.integers(_SEEDS)))
        self._lane, self._owed = Lane(self._env, 0), 0.0
        self.render_mode = render_mode
        self.metadata = {"render_modes": _RENDER_MODES, "render_fps": self._env.spec.frame_rate}
        self.observation_space = space_of(self._env.spec)
        self.action_space = Discrete(self._env.spec.num_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode. There are no options. Raises RuntimeError when the environment fails."""
        super().reset(seed=seed)
        if seed is not None:
            self._env.close()
            self._env = self._make(seed)
        self._lane = Lane(self._env, 0)
        self._lane.begin()
        self._owed = self._lane.episode_return
        self._on_reset()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none has begun.
            ValueError: there is no such action.
            RuntimeError: the environment failed.
        """
        if self._lane.over:
            raise gymnasium.error.ResetNeeded("no episode is going on: call reset() first")
        if action not in self.action_space:
            raise ValueError(
                f"action {action!r}: not a whole number from 0 to {self._env.spec.num_actions - 1}"
            )
        transition = self._lane.advance(int(action))
        reward, self._owed = transition.reward + self._owed, 0.0
        terminated = transition.last and not transition.truncated
        return self._observation(), reward, terminated, transition.truncated, {}

    def render(self) -> Any:
        """The picture a person would see, [H, W, 3] uint8; None without a render mode."""
        return self._env.render() if self.render_mode else None

    def close(self) -> None:
        self._env.close()

    def _observation(self) -> Any:
        """A copy: the environment overwrites its own."""
        observation = self._env.observation
        return observation.copy() if observation.shape else int(observation)


def space_of(spec: EnvSpec) -> gymnasium.Space[Any]:
    """The space of the observations that agents see."""
    if spec.num_states:
        return Discrete(spec.num_states)
    if spec.observation_dtype == "uint8":
        return Box(0, 255, spec.observation_shape, np.uint8)
    return Box(-np.inf, np.inf, spec.observation_shape, np.float32)
