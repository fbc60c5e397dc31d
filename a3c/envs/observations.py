"""How agents see the observations of a Gymnasium space, and what an observation must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class View(NamedTuple):
    """What becomes of a space's observations."""

    shape: tuple[int, ...]
    dtype: str
    num_states: int  # of a Discrete space; else 0
    read: Callable[[Any], np.ndarray | int]
    """An observation as agents see it. Raises ValueError for one that the space does not declare."""


def view_of(space: gymnasium.Space[Any] | None) -> View:
    """A vector [n] float32 of a Box, flattened; a picture [C, H, W] uint8 of a Box of uint8 [H, W] or
    [H, W, C]; a state's number [] int64, from 0, of a Discrete space. Raises ValueError for other spaces."""
    if isinstance(space, Discrete):
        return View((), "int64", int(space.n), _state_reader(space))
    if not isinstance(space, Box):
        raise ValueError("not a Box or Discrete")
    if space.dtype == np.uint8 and len(space.shape) in (2, 3):
        height, width, channels = (*space.shape, 1)[:3]
        return View((channels, height, width), "uint8", 0, _picture_reader(space))
    check = _checker(space, "biuf")
    return View((int(np.prod(space.shape)),), "float32", 0, lambda given: check(given).reshape(-1))


def _checker(space: gymnasium.Space[Any], kinds: str) -> Callable[[Any], np.ndarray]:
    """Makes an array of an observation that has the declared shape and a dtype of these kinds, else raises
    ValueError. It runs at every step, so it looks at no values."""
    shape = space.shape

    def check(given: Any) -> np.ndarray:
        array = np.asarray(given)
        if array.shape != shape or array.dtype.kind not in kinds:
            declared = f"{space.dtype} {list(shape or ())}"
            raise ValueError(f"the observation is {array.dtype} {list(array.shape)}; its space is {declared}")
        return array

    return check


def _state_reader(space: Discrete[Any]) -> Callable[[Any], int]:
    check, start, states = _checker(space, "iu"), int(space.start), int(space.n)

    def read(given: Any) -> int:
        state = int(check(given)) - start
        if not 0 <= state < states:
            last = start + states - 1
            raise ValueError(f"the observation is {state + start}; its space is from {start} to {last}")
        return state

    return read


def _picture_reader(space: Box) -> Callable[[Any], np.ndarray]:
    check = _checker(space, "iu")

    def read(given: Any) -> np.ndarray:
        image = check(given)
        if image.dtype != np.uint8 and image.size and (image.min() < 0 or image.max() > 255):
            low, high = image.min(), image.max()
            raise ValueError(f"the observation has values from {low} to {high}; its space is from 0 to 255")
        return np.atleast_3d(image).transpose(2, 0, 1)

    return read
