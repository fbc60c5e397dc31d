"""CartPole from pixels, as in PyTorch's DQN tutorial: what is seen is how the picture changed.

Registered as CartPolePixels-v0. The observation is the difference of two consecutive rendered patches
around the cart, 40x90 in colour, as uint8: 128 where nothing changed, half a level per level elsewhere.
Rewards and rules are those of CartPole-v1.
"""

from __future__ import annotations

from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

PIXELS_ID = "CartPolePixels-v0"
PIXELS_STEP_CAP = 500
TOP, BOTTOM = 0.4, 0.8  # of the picture's height: where cart and pole are
WIDTH = 0.6  # of the picture's width, centred on the cart where the border allows it
SIZE = (90, 40)  # width, height


class CartPolePixels(gymnasium.Env[np.ndarray, Any]):
    """See the module. Observation [40, 90, 3] uint8."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = Box(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
        self._cartpole: Any = CartPoleEnv(render_mode="rgb_array")  # its methods carry no types
        self.action_space = self._cartpole.action_space
        self._patch = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        _, info = self._cartpole.reset(seed=seed, options=options)
        self._patch = self._look()
        return self._change(), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = self._cartpole.step(action)
        return self._change(), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray:
        return np.asarray(self._cartpole.render())

    def close(self) -> None:
        self._cartpole.close()

    def _change(self) -> np.ndarray:
        before, self._patch = self._patch, self._look()
        return ((self._patch.astype(np.int16) - before) // 2 + 128).astype(np.uint8)

    def _look(self) -> np.ndarray:
        """The patch around the cart, [40, 90, 3] uint8."""
        return patch(self.render(), self._cartpole.state[0] / (2 * self._cartpole.x_threshold) + 0.5)


def patch(picture: np.ndarray, cart: float) -> np.ndarray:
    """Cuts [H, W, 3] around the cart, which stands at `cart` in 0..1 of the width, and shrinks it."""
    height, width = picture.shape[:2]
    across = round(WIDTH * width)
    left = min(max(round(cart * width) - across // 2, 0), width - across)
    cut = picture[round(TOP * height) : round(BOTTOM * height), left : left + across]
    return np.asarray(cv2.resize(cut, SIZE, interpolation=cv2.INTER_AREA))
