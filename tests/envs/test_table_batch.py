"""Environments with a transition table: the episodes of Gymnasium, all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from a3c.envs import make_env, make_environment
from a3c.envs.batch import Batch, EnvBatch
from a3c.envs.table_batch import TableBatch
from a3c.settings.config import Config
from a3c.settings.groups import EnvConfig

SEEDS = (3, 1, 4, 1)
TAXI = "Taxi-v4"
CASES = [
    ("FrozenLake-v1", {}, None),
    ("FrozenLake-v1", {"is_slippery": False}, 7),
    ("FrozenLake8x8-v1", {}, 20),
    ("FrozenLake-v1", {"desc": ["SFH", "FFF", "HFG"], "success_rate": 0.8}, None),
    (TAXI, {}, 30),
    (TAXI, {"is_rainy": True}, None),
    ("CliffWalking-v1", {}, 9),
    ("CliffWalkingSlippery-v1", {}, 50),
]


def configured(env: str, kwargs: dict[str, Any], limit: int | None) -> EnvConfig:
    return Config().replace(env=env, env_kwargs=kwargs, max_episode_steps=limit).env


def both(*case: Any) -> tuple[EnvBatch, EnvBatch]:
    config = configured(*case)
    table = make_env(config, SEEDS, training=True)
    assert isinstance(table, TableBatch)
    return table, Batch.of(make_environment(config, seed) for seed in SEEDS)


def check_equal(table: EnvBatch, one_by_one: EnvBatch, steps: int, rng: np.random.Generator) -> None:
    for _ in range(steps):
        actions = rng.integers(table.spec.num_actions, size=table.size)
        for name, mine, gymnasiums in zip(
            ("observation", "reward", "discount", "first", "last"),
            table.step(actions), one_by_one.step(actions), strict=True,
        ):  # fmt: skip
            assert np.array_equal(mine, gymnasiums), name
            assert mine.dtype == gymnasiums.dtype, name
        assert table.pop_episodes() == one_by_one.pop_episodes()
    assert table.frames == one_by_one.frames


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_gymnasiums(case: tuple[Any, ...]) -> None:
    table, one_by_one = both(*case)
    rng = np.random.default_rng(0)
    assert table.spec == one_by_one.spec
    assert np.array_equal(table.reset().observation, one_by_one.reset().observation)
    check_equal(table, one_by_one, 700, rng)  # more than are drawn at a time
    start = table.reset()
    assert start.first.all()
    assert np.array_equal(start.observation, one_by_one.reset().observation)
    check_equal(table, one_by_one, 20, rng)


def test_a_part_goes_on_where_the_whole_was() -> None:
    table, one_by_one = both("FrozenLake-v1", {}, 20)
    rng = np.random.default_rng(0)
    table.reset(), one_by_one.reset()
    check_equal(table, one_by_one, 30, rng)
    check_equal(table.select([3, 0]), one_by_one.select([3, 0]), 600, rng)


def test_episodes_do_not_depend_on_their_neighbours() -> None:
    config = configured("FrozenLake-v1", {}, None)
    alone, together = (make_env(config, seeds, training=False) for seeds in ((4,), SEEDS))
    assert alone.reset().observation[0] == together.reset().observation[2]
    for _ in range(600):
        step, of_four = alone.step(np.array([2])), together.step(np.full(4, 2))
        assert (step.observation[0], step.last[0]) == (of_four.observation[2], of_four.last[2])


def test_pictures_are_gymnasiums() -> None:
    config = configured(TAXI, {}, None)
    table = make_env(config, SEEDS, training=False, render=True)
    alone = make_environment(config, SEEDS[2], render_mode="rgb_array")
    table.reset(), alone.reset()
    assert np.array_equal(table.render(2), alone.render())
    assert not np.array_equal(table.render(0), table.render(2))
    table.close()


def test_what_the_table_does_not_hold_is_played_by_gymnasium() -> None:
    fickle = make_env(configured(TAXI, {"fickle_passenger": True}, None), SEEDS, training=False)
    assert isinstance(fickle, Batch)
    assert isinstance(make_env(configured("CartPole-v1", {}, None), SEEDS, training=False), Batch)
