"""Exact values against published numbers, slow forward propagation and the real environment."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a3c.errors import UsageError
from evaluators.games.exact import (
    Judge,
    action_values,
    best_stationary_policy,
    greedy_policy,
    optimal_value,
    optimal_values,
    policy_value,
    published_seeds,
    transition_model,
)

TAXI = next(env_id for env_id in ("Taxi-v4", "Taxi-v3") if env_id in gymnasium.registry)


def model_of(env_id, **kwargs):
    env = gymnasium.make(env_id, **kwargs)
    try:
        return transition_model(env)
    finally:
        env.close()


def greedy_for(model, gamma):
    endless = model._replace(horizon=0)
    return greedy_policy(action_values(model, optimal_values(endless, gamma), gamma), 1e-9)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "horizon", "time_aware", "stationary"),
    [
        ("FrozenLake-v1", {}, 100, 0.744190, 0.740165),
        ("FrozenLake-v1", {"is_slippery": False}, 100, 1.0, 1.0),
        ("FrozenLake8x8-v1", {}, 200, 0.913220, 0.893568),
        ("FrozenLake8x8-v1", {"is_slippery": False}, 200, 1.0, 1.0),
        (TAXI, {}, 200, 7.93, 7.93),
    ],
)
def test_optimum_equals_the_published_number(env_id, kwargs, horizon, time_aware, stationary):
    model = model_of(env_id, **kwargs)
    assert model.horizon == horizon
    assert optimal_value(model) == pytest.approx(time_aware, abs=1e-6)
    assert policy_value(model, best_stationary_policy(model)) == pytest.approx(stationary, abs=1e-6)


@pytest.mark.parametrize(("gamma", "value"), [(0.95, 0.7386), (0.99, 0.8630), (0.995, 0.8936)])
def test_greedy_for_a_short_sight_loses_on_the_slippery_8x8_map(gamma, value):
    model = model_of("FrozenLake8x8-v1")
    assert policy_value(model, greedy_for(model, gamma)) == pytest.approx(value, abs=1e-4)


def test_no_change_in_one_state_improves_the_best_stationary_policy():
    model = model_of("FrozenLake8x8-v1")
    policy = best_stationary_policy(model)
    value = policy_value(model, policy)
    for state in np.flatnonzero(model.continuing.any(axis=(1, 2))):
        for action in range(4):
            changed = policy.copy()
            changed[state] = np.eye(4)[action]
            assert policy_value(model, changed) <= value + 1e-9


def test_without_a_time_limit_the_slippery_4x4_map_is_won_14_times_in_17():
    model = model_of("FrozenLake-v1")._replace(horizon=0)
    assert optimal_value(model) == pytest.approx(14 / 17, abs=1e-9)
    assert policy_value(model, best_stationary_policy(model)) == pytest.approx(14 / 17, abs=1e-9)


def test_taxi_optimum_over_its_300_starts():
    model = model_of(TAXI)
    values = optimal_values(model)[model.start > 0]
    assert len(values) == 300
    assert values.mean() == pytest.approx(7.93, abs=1e-9)
    assert values.std() == pytest.approx(2.589, abs=5e-4)
    assert (values.min(), values.max()) == (3, 15)


def test_taxi_optimum_played_on_the_published_seeds():
    """The real environment pays exactly what the table promised, seed by seed."""
    seeds = published_seeds(TAXI)
    env = gymnasium.make(TAXI)
    model = transition_model(env)
    values = optimal_values(model)
    actions = action_values(model, values).argmax(axis=1)
    promised, paid = [], []
    for seed in seeds:
        state, _ = env.reset(seed=seed)
        promised.append(values[state])
        total, over = 0.0, False
        while not over:
            state, reward, terminated, truncated, _ = env.step(int(actions[state]))
            total += float(reward)
            over = terminated or truncated
        paid.append(total)
    env.close()
    assert len(seeds) == 100
    assert paid == promised
    assert np.mean(paid) == pytest.approx(7.56, abs=1e-9)
    assert np.std(paid) == pytest.approx(2.71, abs=5e-3)


def test_only_taxi_has_published_seeds():
    assert published_seeds("FrozenLake-v1") == ()
    assert published_seeds("Taxi-v3") == published_seeds("Taxi-v4")


def value_by_forward_propagation(env, policy, horizon):
    """Slow reference, close to the definition: sum over time of state distribution times reward."""
    table, states = env.unwrapped.P, dict(enumerate(env.unwrapped.initial_state_distrib))
    value = 0.0
    for _ in range(horizon):
        following = dict.fromkeys(states, 0.0)
        for state, mass in states.items():
            for action, chosen in enumerate(policy[state]):
                for probability, successor, reward, terminated in table[state][action]:
                    value += mass * chosen * probability * reward
                    if not terminated:
                        following[int(successor)] += mass * chosen * probability
        states = following
    return value


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 30), slippery=st.booleans())
def test_policy_value_equals_forward_propagation(seed, horizon, slippery):
    env = gymnasium.make("FrozenLake-v1", is_slippery=slippery)
    policy = np.random.default_rng(seed).dirichlet(np.ones(4), size=16)
    model = transition_model(env, horizon=horizon)
    slow = value_by_forward_propagation(env, policy, horizon)
    assert policy_value(model, policy) == pytest.approx(slow, abs=1e-12)
    env.close()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_table_beats_the_optimum_nor_the_best_stationary_policy(seed):
    model = model_of("FrozenLake-v1")
    judge = Judge(model)
    score = judge(np.random.default_rng(seed).integers(0, 3, size=(16, 4)).astype(np.float32))
    assert score.exact_value <= judge.best_stationary + 1e-9
    assert score.regret == pytest.approx(score.optimal_value - score.exact_value, abs=1e-12)
    assert score.worst_regret >= score.regret >= 0


def test_a_table_of_zeros_is_judged_as_random_play():
    model = model_of("FrozenLake-v1")
    score = Judge(model)(np.zeros((16, 4), dtype=np.float32))
    assert score.exact_value == policy_value(model, np.full((16, 4), 0.25))
    assert score.exact_value == pytest.approx(0.0139, abs=1e-4)
    assert policy_value(model, np.tile(np.eye(4)[0], (16, 1))) == 0.0


def test_greedy_policy_splits_ties():
    q = np.array([[1, 1, 0], [2, 3, 1], [0, 0, 0]], dtype=np.float32)
    expected = [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(greedy_policy(q), expected)


def test_an_optimal_table_has_no_regret():
    model = model_of(TAXI)
    judge = Judge(model)
    score = judge(action_values(model, optimal_values(model)))
    assert score.worst_regret <= 1e-9
    assert judge.best_stationary == pytest.approx(score.optimal_value, abs=1e-9)


@pytest.mark.parametrize(
    ("kwargs", "value"),
    [({"success_rate": 1.0}, 1.0), ({"is_slippery": False, "reward_schedule": (5, -1, 0)}, 5.0)],
)
def test_settings_of_the_environment_are_read_from_its_table(kwargs, value):
    assert optimal_value(model_of("FrozenLake-v1", **kwargs)) == pytest.approx(value)


def test_rain_costs_reward():
    assert 3 < optimal_value(model_of(TAXI, is_rainy=True)) < 7.9


def test_the_shortest_way_along_the_cliff():
    assert optimal_value(model_of("CliffWalking-v1")) == -13.0


def test_horizon_follows_the_time_limit_that_was_given():
    assert model_of("FrozenLake-v1", is_slippery=False, max_episode_steps=6).horizon == 6
    assert optimal_value(model_of("FrozenLake-v1", is_slippery=False, max_episode_steps=5)) == 0.0


def test_environments_without_a_full_table_are_refused():
    with pytest.raises(UsageError, match="Blackjack-v1 has no transition table"):
        model_of("Blackjack-v1")
    with pytest.raises(UsageError, match="fickle passenger"):
        model_of(TAXI, fickle_passenger=True)


def test_a_table_whose_probabilities_do_not_add_up_is_refused():
    env = gymnasium.make("FrozenLake-v1")
    env.unwrapped.P[3][1] = [(0.5, 2, 0, False)]
    with pytest.raises(UsageError, match=r"state 3, action 1 add up to 0\.5, not 1"):
        transition_model(env)
    env.close()


def test_a_policy_that_never_ends_has_no_value():
    model = model_of("CliffWalking-v1")
    with pytest.raises(UsageError, match="--max-episode-steps"):
        policy_value(model, np.tile(np.eye(4)[0], (48, 1)))
