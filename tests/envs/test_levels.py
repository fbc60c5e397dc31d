"""The adjustable frozen lakes: boards, dynamics, and what Gymnasium asks of an environment."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from a3c.envs import make_env, resolve_env
from a3c.envs.levels import (
    CELLS,
    GOAL,
    LARGEST_MISTAKE,
    LEVELS_ID,
    MOST_HOLES,
    STANDARD,
    STEP_CAP,
    Level,
    random_level,
    veer,
)
from a3c.errors import UsageError
from a3c.settings.config import Config


def make(**kwargs):
    return gymnasium.make(LEVELS_ID, disable_env_checker=True, **kwargs)


@pytest.mark.parametrize("kwargs", [{}, {"board": STANDARD.text}, {"p_mistake": 0.0}], ids=str)
@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
def test_gymnasium_accepts_it(kwargs, mode):
    check_env(make(**kwargs, render_mode=mode).unwrapped, skip_render_check=mode is None)


def test_the_standard_level_is_frozen_lake():
    table = gymnasium.make("FrozenLake-v1", is_slippery=True).unwrapped.P
    for cell, actions in STANDARD.transitions().items():
        for action, outcomes in actions.items():
            ours, theirs = (merged(o) for o in (outcomes, table[cell][action]))
            assert ours == theirs


def merged(outcomes):
    chances = {}
    for chance, cell, reward, terminated in outcomes:
        key = (cell, float(reward), terminated)
        chances[key] = chances.get(key, 0.0) + chance
    return {key: pytest.approx(chance) for key, chance in chances.items()}


@given(st.integers(0, 2**32))
def test_random_levels_can_be_solved(seed):
    level = random_level(np.random.default_rng(seed))
    assert level.solvable
    assert 1 <= level.holes <= MOST_HOLES
    assert 0 <= level.p_mistake <= LARGEST_MISTAKE
    assert Level.parse(level.text, level.p_mistake) == level
    assert random_level(np.random.default_rng(seed)) == level
    for actions in level.transitions().values():
        assert all(sum(chance for chance, *_ in actions[a]) == pytest.approx(1) for a in range(4))


def test_the_state_has_22_numbers():
    env = make(board=STANDARD.text)
    observation, _ = env.reset(seed=1)
    holes = [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0]
    assert observation.tolist() == [*holes, 1, 0, 0, 0, 1, 0, 0, 0]
    assert STANDARD.states()[9].tolist() == [*holes, 0, 0, 1, 0, 0, 1, 0, 0]


def test_moves_slip_as_often_as_they_should():
    turns = np.bincount(veer(np.random.default_rng(0).random(100_000), 0.3), minlength=3) / 100_000
    assert turns == pytest.approx([0.15, 0.7, 0.15], abs=0.01)
    assert veer(np.random.default_rng(0).random(1000), 0.0).tolist() == [1] * 1000


def test_steps_follow_the_published_table():
    env = make(board=STANDARD.text, p_mistake=0.5)
    env.reset(seed=5)
    visits = 0
    for action in np.random.default_rng(0).integers(0, 4, 2000).tolist():
        before = env.unwrapped.cell
        _, reward, terminated, truncated, _ = env.step(action)
        after = (env.unwrapped.cell, reward, terminated)
        assert after in [outcome[1:] for outcome in env.unwrapped.P[before][action]]
        if terminated or truncated:
            env.reset()
            visits += 1
    assert visits > 10


def test_a_way_without_slips_wins_and_time_runs_out():
    env = make(board=STANDARD.text, p_mistake=0)
    env.reset(seed=0)
    rewards = [env.step(action)[1:3] for action in (1, 1, 2, 2, 1, 2)]
    assert rewards == [(0.0, False)] * 5 + [(1.0, True)]
    assert env.unwrapped.cell == GOAL
    env.reset()
    ends = [env.step(0)[2:4] for _ in range(STEP_CAP)]
    assert ends == [(False, False)] * (STEP_CAP - 1) + [(False, True)]


def test_every_episode_has_a_new_level_unless_it_is_fixed():
    env = make()
    first = [(env.reset(seed=3) and env.unwrapped.level), (env.reset() and env.unwrapped.level)]
    assert first[0] != first[1]
    assert [(env.reset(seed=3) and env.unwrapped.level), (env.reset() and env.unwrapped.level)] == first
    env.reset(options={"board": STANDARD.text, "p_mistake": 0.25})
    assert env.unwrapped.level == Level(STANDARD.board, 0.25)
    env.reset()
    assert env.unwrapped.level.board != STANDARD.board
    fixed = make(board=STANDARD.text)
    assert {(fixed.reset() and fixed.unwrapped.level) for _ in range(3)} == {STANDARD}
    with pytest.raises(ValueError, match="no such option of reset: bord"):
        env.reset(options={"bord": ""})


@pytest.mark.parametrize(
    ("board", "p_mistake", "words"),
    [
        ("SFFF/FHFH", 0.1, "4 rows of 4"),
        ("SFFF/FXFH/FFFH/HFFG", 0.1, "F or H"),
        ("FFFF/FHFH/FFFH/HFFG", 0.1, "begins with S"),
        ("SHFF/HHFH/FFFH/HFFG", 0.1, "bar every way"),
        (STANDARD.text, 1.5, "from 0 to 1"),
        (STANDARD.text, float("nan"), "from 0 to 1"),
    ],
)
def test_bad_levels_are_refused(board, p_mistake, words):
    with pytest.raises(ValueError, match=words):
        Level.parse(board, p_mistake)
    config = Config().replace(env=LEVELS_ID, env_kwargs={"board": board, "p_mistake": p_mistake})
    with pytest.raises(UsageError, match=words):
        resolve_env(config)


def test_it_trains_like_any_other_environment():
    config = resolve_env(Config().replace(env=LEVELS_ID))
    assert config.learn.model == "mlp"
    envs = make_env(config.env, [1, 2], training=True, render=True)
    assert (envs.spec.observation_shape, envs.spec.num_actions, envs.spec.step_cap) == ((22,), 4, STEP_CAP)
    assert envs.reset().observation.shape == (2, 22)
    picture = envs.render(0)
    assert picture.shape == (256, 256, 3)
    assert picture.dtype == np.uint8
    envs.close()


def test_the_board_as_text_shows_every_cell():
    env = make(board=STANDARD.text, render_mode="ansi")
    env.reset(seed=1)
    text = env.render()
    assert text.count("\n") == 4
    assert [text.count(f" {mark} ") for mark in "@FHG"] == [1, CELLS - 6, 4, 1]
