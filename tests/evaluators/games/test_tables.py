"""Judging and drawing tables."""

import gymnasium
import numpy as np
import pytest

from a3c.envs import make_env
from a3c.settings.config import Config
from a3c.types import EpisodeStats
from evaluators.games.episodes import Games
from evaluators.games.exact import action_values, optimal_values
from evaluators.games.tables import draw_policy, find_judge, is_blank
from evaluators.process.contest import exact_record
from evaluators.scoring.results import results_of, table

TAXI = next(env_id for env_id in ("Taxi-v4", "Taxi-v3") if env_id in gymnasium.registry)


def config_of(env="FrozenLake-v1", algo="q-learning", **values):
    return Config().replace(env=env, algo=algo, **values)


def optimal_table(config):
    judge = find_judge(config)
    return action_values(judge.model, optimal_values(judge.model))


@pytest.mark.parametrize(
    ("env", "algo", "values"),
    [
        ("FrozenLake-v1", "random", {}),
        ("CliffWalking-v1", "sarsa", {}),  # no time limit, so a policy may walk for ever
        (TAXI, "q-learning", {"env_kwargs": {"fickle_passenger": True}}),
        ("CartPole-v1", "a3c", {}),
    ],
)
def test_what_cannot_be_judged(env, algo, values):
    assert find_judge(config_of(env, algo, **values)) is None


def test_a_judge_knows_the_settings_of_the_environment():
    score = find_judge(config_of(env_kwargs={"is_slippery": False}, max_episode_steps=5))(np.zeros((16, 4)))
    assert (score.optimal_value, score.regret) == (0.0, 0.0)  # the goal is six steps away
    cliff = config_of("CliffWalking-v1", max_episode_steps=50)
    assert find_judge(cliff)(optimal_table(cliff)).exact_value == pytest.approx(-13)


def test_arrows_on_the_map():
    config = config_of(env_kwargs={"is_slippery": False})
    q = np.zeros((16, 4), np.float32)
    q[0, 1] = q[1, 2] = 1
    q[2, [1, 2]] = 1
    q[3, [0, 1, 2]] = 1
    q[4, 3] = q[6, 0] = q[8, 1] = 1
    q[9, [0, 3]] = q[10, [1, 3]] = q[13, [0, 2]] = 1
    assert draw_policy(config.env, q) == "↓ → ↘ *\n↑ H ← H\n↓ ↖ ↕ H\nH ↔ * G"
    assert draw_policy(config_of("FrozenLake8x8-v1").env, np.zeros((64, 4))).count("\n") == 7
    assert draw_policy(config_of(TAXI).env, np.zeros((500, 6))) == ""


def test_blank_tables():
    assert is_blank(np.zeros((16, 4)))
    assert is_blank(np.full((16, 4), 20.0))
    assert not is_blank(np.eye(4))


def test_the_record_of_a_table_is_its_exact_value():
    games = Games((7, 8), (EpisodeStats(0.0, 9, 9, False), EpisodeStats(1.0, 9, 9, False)), (1, 1))
    config = config_of()
    score = find_judge(config)(optimal_table(config))
    record = exact_record(games, score, 500, None)
    assert (record["mean"], record["n"], record["seeds"]) == (score.exact_value, 2, [7, 8])
    assert record["regret"] == score.regret
    assert exact_record(games, score, 600, record) is None  # no better


def test_the_report_shows_the_exact_value_and_the_random_agent():
    envs = make_env(config_of().env, (1,), training=False)
    games = Games((1,), (EpisodeStats(1.0, 9, 9, False),), (1, 1))
    report = results_of(games, envs.spec, greedy=True)
    assert "exact" not in table(report)
    judge = find_judge(config_of())
    report |= {**judge(np.zeros((16, 4)))._asdict(), "best_stationary": 0.740165}
    report |= {"random_mean": 0.0125, "random_std": 0.1}
    text = table(report)
    assert "exact    0.013940 is the expected score" in text
    assert "optimum  0.744190, without watching the clock 0.740165" in text
    assert "random   0.01 on average" in text
