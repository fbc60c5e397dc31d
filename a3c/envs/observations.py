"""How agents see the observations of a Gymnasium space, and what an observation must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatten, flatten_space

LEAST_PICTURE = 36
"""Height and width from which numbers in rows and columns are a picture whatever else there is."""

LEAST_PLANE = 3
"""Height and width of the smallest planes that are kept as such, for a convolution."""

_ROUNDING = 1e-3  # by which a float of a picture may be outside of 0..1


class View(NamedTuple):
    """What becomes of a space's observations."""

    shape: tuple[int, ...]
    dtype: str
    num_states: int  # of a Discrete space; else 0
    read: Callable[[Any], np.ndarray | int]
    """An observation as agents see it. Raises ValueError for one that the space does not declare."""
    words: str = ""  # what was made of it, where something was left out or put together


def view_of(space: gymnasium.Space[Any] | None) -> View:
    """How a space's observations are seen. Raises ValueError for spaces that are none of these.

    - Discrete: a state's number [] int64, from 0.
    - Box of uint8 [H, W] or [H, W, C]: a picture [C, H, W] uint8. So are planes [H, W, C] of truths or of
      floats from 0 to 1, and [H, W] from 36 pixels; 1 becomes 255. The channels may come first: they are
      where the shorter side is.
    - Any other Box: a vector [n] float32.
    - MultiDiscrete, MultiBinary: a vector, as Gymnasium's FlattenObservation makes it.
    - Dict and Tuple: so too, without texts and what else has no fixed length. But where one part is a picture
      from 36 pixels, that picture alone.
    """
    if isinstance(space, Discrete):
        return View((), "int64", int(space.n), _state_reader(space))
    if isinstance(space, Dict | Tuple):
        return _view_of_parts(space)
    if isinstance(space, MultiDiscrete | MultiBinary):
        return _flat(space, lambda given: given)
    if not isinstance(space, Box):
        raise ValueError("none of the spaces that can be seen")
    if _is_picture(space):
        return _picture(space)
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


# ---------------------------------------------------------------------------------------------------
# Pictures


def _is_picture(space: gymnasium.Space[Any], least: int = LEAST_PLANE) -> bool:
    """Whether it is one, of this height and width at least; bytes are, of any."""
    if not isinstance(space, Box) or len(space.shape) not in (2, 3):
        return False
    _, *size = _planes(space.shape)
    if space.dtype == np.uint8:
        return least == LEAST_PLANE or min(size) >= least
    fraction = space.dtype == bool or (
        space.dtype.kind == "f" and bool((space.low >= 0).all() and (space.high <= 1).all())
    )
    return fraction and min(size) >= (least if len(space.shape) == 3 else LEAST_PICTURE)


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of [H, W], or of [C, H, W] or [H, W, C]: two equal sides are height and
    width, else the shorter one of the first and the last is the channels."""
    first, second, *third = shape
    if not third:
        return 1, first, second
    last = third[0]
    channels_first = first < last if (first == second) == (second == last) else second == last
    return (first, second, last) if channels_first else (last, first, second)


def _picture(space: Box) -> View:
    """Planes of bytes; of truths and floats, 1 becomes 255."""
    planes = _planes(space.shape)
    whole = space.dtype == np.uint8
    kinds, never_outside, high, slack = ("iu", np.uint8, 255, 0) if whole else ("biuf", bool, 1, _ROUNDING)
    check = _checker(space, kinds)

    def read(given: Any) -> np.ndarray:
        image = check(given)
        if image.dtype != never_outside and image.size:
            least, most = image.min(), image.max()
            if not (least >= -slack and most <= high + slack):  # as of nan
                words = f"has values from {least} to {most}; its space is from 0 to {high}"
                raise ValueError(f"the observation {words}")
        image = image if whole else np.rint(image * np.float32(255))
        return image if space.shape == planes else np.atleast_3d(image).transpose(2, 0, 1)

    return View(planes, "uint8", 0, read)


# ---------------------------------------------------------------------------------------------------
# Several parts


def _view_of_parts(space: Dict | Tuple[Any]) -> View:
    parts: dict[Any, gymnasium.Space[Any]] = dict(
        space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
    )
    pictures = [name for name, part in parts.items() if _is_picture(part, LEAST_PICTURE)]
    if len(pictures) == 1:
        view = view_of(parts[pictures[0]])
        words = f"{'x'.join(map(str, view.shape))} of {_of(parts, pictures)}"
        return view._replace(read=lambda given: view.read(given[pictures[0]]), words=words)
    kept = [name for name, part in parts.items() if _has_numbers(part)]
    if not kept:
        raise ValueError("no part of it is made of numbers")
    view = _flat(Tuple([parts[name] for name in kept]), lambda given: tuple(given[name] for name in kept))
    return view._replace(words=f"{view.shape[0]} numbers of {_of(parts, kept)}")


def _of(parts: Iterable[Any], kept: list[Any]) -> str:
    left_out = [str(name) for name in parts if name not in kept]
    return ", ".join(map(str, kept)) + (f" without {', '.join(left_out)}" if left_out else "")


def _has_numbers(space: gymnasium.Space[Any]) -> bool:
    """Whether a vector of always the same length can be made of it, of numbers that mean something."""
    if isinstance(space, Dict | Tuple):
        parts = space.values() if isinstance(space, Dict) else space
        return all(map(_has_numbers, parts))
    return isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary)


def _flat(space: gymnasium.Space[Any], pick: Callable[[Any], Any]) -> View:
    """A vector of what `pick` takes of an observation, one-hot where it is discrete."""
    flat = flatten_space(space)
    check = _checker(flat, "biuf")

    def read(given: Any) -> np.ndarray:
        try:
            numbers = flatten(space, pick(given))
        except Exception as error:  # of any kind: what was given is not what was declared
            words = f"{type(error).__name__}: {error}"
            raise ValueError(f"the observation is not of its space, {space}: {words}") from error
        return check(numbers)

    return View(flat.shape or (), "float32", 0, read)
