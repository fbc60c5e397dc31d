"""What becomes of the observations of each space."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from gymnasium.wrappers import FlattenObservation

from a3c.envs.observations import view_of

VECTOR = Box(-1, 1, (2, 3), np.float32)
PICTURE = Box(0, 255, (40, 50, 3), np.uint8)
PLANES = Box(0, 1, (10, 10, 4), bool)


class Shows(gymnasium.Env[Any, Any]):
    """An environment whose observations are of a space."""

    action_space = Discrete(2)

    def __init__(self, space: Any) -> None:
        self.observation_space = space


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (Box(0, 255, (40, 50), np.uint8), (1, 40, 50)),
        (Box(0, 255, (40, 50, 1), np.uint8), (1, 40, 50)),
        (Box(0, 255, (40, 50, 3), np.uint8), (3, 40, 50)),
        (Box(0, 255, (3, 40, 50), np.uint8), (3, 40, 50)),
        (Box(0, 255, (4, 84, 84), np.uint8), (4, 84, 84)),
        (Box(0, 2, (7, 7, 3), np.uint8), (3, 7, 7)),
        (Box(0, 1, (7, 7, 20), np.uint8), (20, 7, 7)),
        (Box(0, 1, (20, 7, 7), np.uint8), (20, 7, 7)),
        (Box(0, 1, (10, 10, 10), bool), (10, 10, 10)),
        (Box(0, 1, (4, 10, 10), np.float32), (4, 10, 10)),
        (Box(0, 1, (40, 50), np.float64), (1, 40, 50)),
    ],
)
def test_pictures_have_their_channels_first(space: Box, shape: tuple[int, ...]) -> None:
    view = view_of(space)
    assert (view.shape, view.dtype, view.num_states, view.words) == (shape, "uint8", 0, "")
    assert np.asarray(view.read(space.sample())).shape == shape


@pytest.mark.parametrize(
    "space",
    [
        Box(0, 1, (10, 10), np.float32),  # a table of features as likely as a picture
        Box(0, 1, (2, 9, 2), np.float32),  # no convolution fits
        Box(-1, 1, (40, 50, 3), np.float32),
        Box(0, 255, (40, 50, 3), np.float32),
        Box(0, 1, (4,), bool),
        Box(0, 9, (40, 50, 3), np.int64),
    ],
)
def test_other_boxes_are_vectors(space: Box) -> None:
    view, given = view_of(space), space.sample()
    assert (view.shape, view.dtype) == ((given.size,), "float32")
    assert np.array_equal(view.read(given), given.ravel())


def test_each_pixel_stays_in_its_place() -> None:
    last = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    first = np.moveaxis(last, 2, 0)
    assert np.array_equal(view_of(PICTURE).read(last), first)
    assert np.array_equal(view_of(Box(0, 255, first.shape, np.uint8)).read(first), first)
    seen = view_of(Box(0, 1, (40, 50, 3), np.float32)).read(last / np.float32(255))
    assert np.array_equal(seen, first)
    planes = PLANES.sample()
    assert np.array_equal(view_of(PLANES).read(planes), 255 * np.moveaxis(planes, 2, 0).astype(int))


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, np.nan, np.inf])
def test_f51_floats_of_a_picture_are_from_0_to_1(value: float) -> None:
    view = view_of(Box(0, 1, (40, 50, 3), np.float32))
    image = np.full((40, 50, 3), 0.5)
    image[1, 1, 1] = value
    with pytest.raises(ValueError, match=r"has values from .*; its space is from 0 to 1"):
        view.read(image)
    assert np.max(view.read(np.full((40, 50, 3), 1 + 1e-7))) == 255  # as rounding leaves it


@pytest.mark.parametrize(
    "space",
    [
        MultiDiscrete([3, 4], start=[1, -1]),
        MultiBinary((2, 3)),
        Tuple([Discrete(5, start=2), VECTOR]),
        Dict(b=VECTOR, a=Discrete(4), c=Dict(d=MultiBinary(2), e=MultiDiscrete([2, 2]))),
        Dict(small=Box(0, 9, (7, 7, 3), np.uint8), n=Discrete(4)),
        Dict(one=PICTURE, two=PICTURE),
    ],
    ids=str,
)
def test_what_has_parts_is_flattened_as_gymnasium_does(space: Any) -> None:
    given, view = space.sample(), view_of(space)
    flattened = FlattenObservation(Shows(space))
    assert view.shape == flattened.observation_space.shape
    assert np.array_equal(view.read(given), flattened.observation(given))


@pytest.mark.parametrize(
    ("space", "shape", "words"),
    [
        (Dict(x=VECTOR, word=Text(9)), (6,), "6 numbers of x without word"),
        (
            Dict(a=VECTOR, b=Dict(t=Text(9), v=VECTOR), s=Sequence(Discrete(2))),
            (6,),
            "6 numbers of a without b, s",
        ),
        (Tuple([Text(9), VECTOR, Discrete(3)]), (9,), "9 numbers of 1, 2 without 0"),
        (Dict(view=PICTURE, speed=VECTOR), (3, 40, 50), "3x40x50 of view without speed"),
        (Tuple([PICTURE, Text(9)]), (3, 40, 50), "3x40x50 of 0 without 1"),
        (Dict(view=PICTURE), (3, 40, 50), "3x40x50 of view"),
    ],
)
def test_what_is_left_out_is_said(space: Any, shape: tuple[int, ...], words: str) -> None:
    view = view_of(space)
    assert (view.shape, view.words) == (shape, words)
    assert np.asarray(view.read(space.sample())).shape == shape


@pytest.mark.parametrize(
    "given",
    [
        {"x": np.zeros((2, 3), np.float32)},
        {"x": np.zeros(5, np.float32), "n": 1},
        {"x": np.zeros((2, 3), np.float32), "n": 3},
        np.zeros(9, np.float32),
        None,
    ],
    ids=str,
)
def test_f51_parts_that_are_not_as_declared_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="the observation is"):
        view_of(Dict(x=VECTOR, n=Discrete(3))).read(given)


@pytest.mark.parametrize(
    "space",
    [None, Text(9), Sequence(Discrete(2)), Graph(VECTOR, None), Dict(word=Text(9)), Tuple([]), Dict()],
    ids=str,
)
def test_what_no_agent_can_see_is_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"none of the spaces|no part of it"):
        view_of(space)
