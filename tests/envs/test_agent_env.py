"""Environments behind Gymnasium's interface, as their agents see them."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from a3c.envs import make_agent_env, make_environment, resolve_env
from a3c.envs.agent_env import AgentEnv
from a3c.errors import UsageError
from a3c.settings.config import resolve
from tests.evaluators.fakes import ScriptedGame


def settings(env, **more):
    return resolve_env(resolve({"env": env, "preset": "none", **more})).env


TABLE = {"algo": "q-learning", "optimizer": "sgd"}
KINDS = [
    ("CartPole-v1", {}),
    ("FrozenLake-v1", TABLE),
    ("Breakout-v0", {"model": "a3c-small", "max_episode_steps": 50}),
]


@pytest.mark.parametrize(("env_id", "more"), KINDS)
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
@pytest.mark.filterwarnings("ignore:.*minimum value is -infinity", "ignore:.*maximum value is infinity")
def test_gymnasium_finds_nothing_wrong(env_id, more):
    env = make_agent_env(settings(env_id, **more), "rgb_array")
    check_env(env)
    env.reset(seed=1)
    picture = env.render()
    assert (picture.ndim, picture.shape[2], picture.dtype) == (3, 3, np.uint8)
    env.close()


@pytest.mark.parametrize(("env_id", "more"), KINDS)
def test_a_seed_gives_the_game_that_is_scored_with_it(env_id, more):
    config = settings(env_id, **more)
    env, scored = make_agent_env(config), make_environment(config, seed=7)
    env.reset(seed=3)
    observation, info = env.reset(seed=7)
    scored.reset()
    assert info == {}
    for _ in range(20):
        np.testing.assert_array_equal(observation, scored.observation)
        observation, reward, terminated, truncated, _ = env.step(1)
        wanted = scored.step(1)
        assert (reward, terminated, truncated) == (wanted.reward, wanted.discount == 0, wanted.truncated)
        if wanted.last:
            break


def test_without_seeds_games_differ():
    config = settings("CartPole-v1")
    starts = {make_agent_env(config).reset()[0].tobytes() for _ in range(3)}
    env = make_agent_env(config)
    starts |= {env.reset()[0].tobytes() for _ in range(3)}
    assert len(starts) == 6


def test_a_limit_of_steps_truncates_and_what_was_shown_stays():
    env = make_agent_env(settings("Breakout-v0", model="a3c-small", max_episode_steps=5))
    shown = [env.reset(seed=1)[0]]
    for step in range(1, 6):
        observation, _, terminated, truncated, _ = env.step(step % 4)
        assert (terminated, truncated) == (False, step == 5)
        shown.append(observation)
    assert all(observation.shape == (4, 84, 84) for observation in shown)
    assert len({observation.tobytes() for observation in shown}) > 1
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(0)


class EarlyReward(ScriptedGame):
    """2.5 are earned before the first decision; steps 1 and 3 earn 7."""

    def reset(self):
        super().reset()
        return 2.5


def test_rewards_add_up_to_the_score():
    begun = []
    env = AgentEnv(lambda seed: EarlyReward(seed, length=3), None, lambda: begun.append(True))
    for episode in (1, 2):
        env.reset()
        assert len(begun) == episode
        steps = [env.step(0) for _ in range(3)]
        assert [reward for _, reward, *_ in steps] == [9.5, 0.0, 7.0]
        assert [terminated for _, _, terminated, *_ in steps] == [False, False, True]
        assert not any(truncated for *_, truncated, _ in steps)


def test_what_cannot_be_done_is_refused():
    config = settings("CartPole-v1")
    with pytest.raises(UsageError, match="render_mode 'human': take rgb_array, or none"):
        make_agent_env(config, "human")
    env = make_agent_env(config)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    for action in (2, -1, 0.5, "left"):
        with pytest.raises(ValueError, match="not a whole number from 0 to 1"):
            env.step(action)
    assert env.render() is None
