"""CartPole that notes how each of its games begins; named benchmarks.noting_env:NotingCartPole-v0.

A beginning is four random numbers: the same four twice are the same game played twice.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class NotingCartPole(CartPoleEnv):
    """CartPole of 500 steps at most.

    Args:
        tally: the file.
    """

    def __init__(self, tally: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self._tally, self._begins = tally, b""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        self._begins = observation.tobytes()
        return observation, info

    def step(self, action: Any) -> Any:
        if self._begins:  # now it is played; others only look at the environment
            with open(self._tally, "a") as file:
                file.write(f"{self._begins.hex()}\n")
            self._begins = b""
        return super().step(action)


gymnasium.register("NotingCartPole-v0", entry_point=NotingCartPole, max_episode_steps=500)
