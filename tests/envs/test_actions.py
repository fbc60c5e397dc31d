"""From the numbers of agents to the actions of a space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text

from a3c.envs.actions import actions_of


@pytest.mark.parametrize(
    ("space", "number"),
    [
        (Discrete(3), 3),
        (Discrete(3, start=-1), 3),
        (MultiDiscrete([3, 2]), 6),
        (MultiDiscrete([3, 2], start=[5, -1]), 6),
        (MultiDiscrete([[2, 2], [1, 3]]), 12),
        (MultiDiscrete([10, 10, 10]), 1000),
        (MultiBinary(3), 8),
        (MultiBinary((2, 2)), 16),
    ],
    ids=str,
)
def test_every_action_of_the_space_has_one_number(space: Any, number: int) -> None:
    actions = actions_of(space)
    assert actions.number == number
    taken = [actions.of_space(action) for action in range(number)]
    assert all(space.contains(action) for action in taken)
    assert len({np.asarray(action).tobytes() for action in taken}) == number


def test_the_last_number_changes_fastest() -> None:
    actions = actions_of(MultiDiscrete([2, 3], start=[0, 4]))
    assert [actions.of_space(action).tolist() for action in range(4)] == [[0, 4], [0, 5], [0, 6], [1, 4]]


@pytest.mark.parametrize(
    "space",
    [
        None,
        Box(-1, 1, (2,)),
        Text(3),
        MultiDiscrete([10, 10, 11]),
        MultiDiscrete([2**31] * 9),
        MultiBinary(10),
    ],
    ids=str,
)
def test_others_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"not discrete|combinations"):
        actions_of(space)
