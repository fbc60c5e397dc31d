"""Tabular agents against textbook loops, and learning with exact answers."""

import json
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from a3c.agents.make import ALGORITHMS
from a3c.agents.q_table import LEARNERS, Exploration, QTableAgent, QTablePolicy
from a3c.types import Counters, Rollout
from evaluators.games.exact import Judge, transition_model

ALGOS = tuple(LEARNERS)
GAMMA, ALPHA = 0.9, 0.5


def make_agent(algo="q-learning", states=5, actions=3, seed=0, **kwargs):
    settings = {"gamma": GAMMA, "lr": ALPHA, "exploration": Exploration(0.3, 0.3, 0.0)} | kwargs
    return QTableAgent(QTablePolicy(states, actions, seed), algo=algo, **settings)


def make_rollout(states, actions, rewards, discounts=None, firsts=None):
    """From lists over time, of one environment each or of B environments."""
    states = np.array(states).reshape(len(states), -1)
    actions = np.array(actions).reshape(len(actions), -1)
    if discounts is None:
        discounts = np.ones(actions.shape)
    if firsts is None:
        firsts = np.zeros(states.shape)
    return Rollout(
        observations=states,
        actions=actions,
        rewards=np.array(rewards, np.float32).reshape(actions.shape),
        discounts=np.array(discounts, np.float32).reshape(actions.shape),
        firsts=np.array(firsts, bool).reshape(states.shape),
        initial_state=(),
        final_state=(),
    )


def apply(agent, gradients, lr=ALPHA):
    """What a store does: plain SGD on the touched cells."""
    if gradients is not None:
        agent.parameters.views["q"][gradients["q"].index] -= lr * gradients["q"].value


def learn(agent, rollout):
    gradients, _ = agent.gradients(rollout)
    apply(agent, gradients)
    return gradients


def play(env_id, agent, length, num_envs=1, seed=0, **kwargs):
    """Yields rollouts of real environments, for ever; counts the episodes."""
    envs = [gymnasium.make(env_id, **kwargs) for _ in range(num_envs)]
    step = np.array([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    first, over, episodes = np.ones(num_envs, bool), np.zeros(num_envs, bool), 0
    while True:
        rollout = make_rollout(*(np.zeros((length + n, num_envs), np.int64) for n in (1, 0, 0)))
        rollout.observations[0], rollout.firsts[0] = step, first
        agent.begin_rollout(Counters(episodes=episodes))
        for t in range(length):
            action = agent.act(rollout.observations[t], rollout.firsts[t], ()).action
            rollout.actions[t] = action
            for i, env in enumerate(envs):
                rollout.firsts[t + 1, i] = over[i]
                if over[i]:
                    rollout.observations[t + 1, i] = env.reset()[0]
                    over[i] = False
                    continue
                state, reward, terminated, truncated, _ = env.step(int(action[i]))
                rollout.observations[t + 1, i], rollout.rewards[t, i] = state, reward
                rollout.discounts[t, i] = not terminated
                over[i] = terminated or truncated
                episodes += over[i]
        step, first = rollout.observations[-1].copy(), rollout.firsts[-1].copy()
        yield rollout


def fill(agent, seed=0):
    """Random numbers into the agent's table; returns a copy of it."""
    agent.policy.table[:] = np.random.default_rng(seed).normal(size=agent.policy.table.shape)
    return agent.policy.table.copy()


# ---------------------------------------------------------------------------------------------------
# Acting


def test_ties_are_broken_uniformly():
    policy = QTablePolicy(1, 4, seed=1)
    policy.table[0] = [1, 0, 1, 1]
    actions = policy.act(np.zeros(6000, np.int64), np.zeros(6000, bool), ()).action
    counts = np.bincount(actions, minlength=4)
    assert counts[1] == 0
    assert (abs(counts[[0, 2, 3]] - 2000) < 200).all()


def test_epsilon_is_the_share_of_random_actions():
    policy = QTablePolicy(1, 4, seed=1)
    policy.table[0] = [0, 1, 0, 0]
    policy.epsilon = 0.4
    actions = policy.act(np.zeros(10_000, np.int64), np.zeros(10_000, bool), ()).action
    counts = np.bincount(actions, minlength=4)
    assert (abs(counts - [1000, 7000, 1000, 1000]) < 200).all()


@pytest.mark.parametrize("batch", [1, 7])
def test_a_policy_is_greedy_and_answers_in_int64(batch):
    policy = QTablePolicy(5, 3, seed=0)
    policy.table[:] = np.random.default_rng(0).normal(size=(5, 3))
    states = np.arange(batch) % 5
    output = policy.act(states, np.zeros(batch, bool), policy.initial_state(batch))
    assert output.action.dtype == np.int64
    np.testing.assert_array_equal(output.action, policy.table[states].argmax(axis=1))


def test_new_parameters_are_acted_on_at_once():
    policy = QTablePolicy(2, 2, seed=0, initial_q=3.0)
    assert (policy.parameters.views["q"] == 3.0).all()
    policy.parameters.load({"q": torch.tensor([[0.0, 1.0], [1.0, 0.0]])})
    policy.refresh()
    np.testing.assert_array_equal(policy.act(np.array([0, 1]), np.zeros(2, bool), ()).action, [1, 0])


def test_epsilon_follows_the_episodes_of_all_workers():
    agent = make_agent(exploration=Exploration(1.0, 0.05, 0.0005))
    agent.begin_rollout(Counters(episodes=0))
    assert agent.policy.epsilon == 1.0
    agent.begin_rollout(Counters(episodes=10_000))
    assert agent.policy.epsilon == pytest.approx(0.05 + 0.95 * np.exp(-5))


# ---------------------------------------------------------------------------------------------------
# One step at a time: exactly the textbook


def textbook_q_learning(q, transitions):
    for s, a, r, following, terminated, *_ in transitions:
        best = 0.0 if terminated else GAMMA * q[following].max()
        q[s, a] += ALPHA * (r + best - q[s, a])


def textbook_sarsa(q, transitions):
    """The action chosen for the next state is the first of the next step, even after a time limit."""
    for s, a, r, following, terminated, chosen in transitions:
        q[s, a] += ALPHA * (r + (0.0 if terminated else GAMMA * q[following, chosen]) - q[s, a])


def transitions_of(rollouts):
    """(s, a, r, s', terminated, a') of each real step of one-step rollouts."""
    for now, after in pairwise(rollouts):
        if now.valid()[0, 0]:
            s, following = now.observations[:, 0]
            terminated = now.discounts[0, 0] == 0
            yield s, now.actions[0, 0], now.rewards[0, 0], following, terminated, after.actions[0, 0]


@pytest.mark.parametrize(
    ("algo", "textbook"), [("q-learning", textbook_q_learning), ("sarsa", textbook_sarsa)]
)
def test_one_step_rollouts_are_the_textbook_algorithm(algo, textbook):
    """Real episodes with real time limits: the table is the one a plain loop makes."""
    agent = make_agent(algo, states=16, actions=4)
    start = fill(agent)
    rollouts = []
    for rollout in play("FrozenLake-v1", agent, length=1, max_episode_steps=7):
        rollouts.append(rollout)
        if len(rollouts) == 500 and algo == "q-learning":
            break  # the plain loop below needs the next action of every step
        learn(agent, rollout)
        if len(rollouts) == 500:
            break
    textbook(start, list(transitions_of(rollouts)))
    np.testing.assert_allclose(agent.policy.table, start, atol=1e-6)


def test_monte_carlo_moves_each_visited_cell_to_the_return_from_there():
    agent = make_agent("monte-carlo")
    q = fill(agent)
    assert learn(agent, make_rollout([0, 1, 2], [1, 2], [1, 0], firsts=[1, 0, 0])) is None  # not over yet
    learn(agent, make_rollout([2, 3], [0], [4], [0]))
    for state, action, value in ((2, 0, 4), (1, 2, 0.9 * 4), (0, 1, 1 + 0.81 * 4)):
        q[state, action] += ALPHA * (value - q[state, action])
    np.testing.assert_allclose(agent.policy.table, q, atol=1e-6)


def test_monte_carlo_counts_every_visit():
    agent = make_agent("monte-carlo")
    learn(agent, make_rollout([0, 0, 0, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]))
    assert agent.policy.table[0, 1] == pytest.approx(ALPHA * np.mean([0.81, 0.9, 1.0]))
    assert np.count_nonzero(agent.policy.table) == 1


# ---------------------------------------------------------------------------------------------------
# Ends of episodes


@pytest.mark.parametrize("algo", ALGOS)
def test_a_terminal_step_is_worth_its_reward(algo):
    agent = make_agent(algo)
    q = fill(agent)
    learn(agent, make_rollout([0, 1], [2], [5.0], discounts=[0]))
    learn(agent, make_rollout([1, 3], [0], [0.0], firsts=[0, 1]))  # Sarsa is one step behind
    q[0, 2] += ALPHA * (5.0 - q[0, 2])
    np.testing.assert_allclose(agent.policy.table, q, atol=1e-6)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("algo", ALGOS)
def test_a_time_limit_bootstraps_from_its_own_final_observation(algo, split):
    """0 -> 1, cut there; the seam leads to 3, where the next episode begins."""
    agent = make_agent(algo)
    q = fill(agent)
    value = q[1].max() if algo == "q-learning" else q[1, 0]
    if split:
        learn(agent, make_rollout([0, 1], [2], [5.0]))
        learn(agent, make_rollout([1, 3], [0], [0.0], firsts=[0, 1]))
    else:
        learn(agent, make_rollout([0, 1, 3], [2, 0], [5.0, 0.0], firsts=[0, 0, 1]))
    q[0, 2] += ALPHA * (5.0 + GAMMA * value - q[0, 2])
    np.testing.assert_allclose(agent.policy.table, q, atol=1e-6)


@pytest.mark.parametrize("algo", ALGOS)
def test_a_seam_teaches_nothing(algo):
    agent = make_agent(algo)
    fill(agent)
    gradients, metrics = agent.gradients(make_rollout([1, 3], [0], [0.0], firsts=[0, 1]))
    assert gradients is None
    assert set(metrics) == set(ALGORITHMS[algo].metric_names)


@pytest.mark.parametrize("algo", ["sarsa", "monte-carlo"])
def test_steps_under_way_are_dropped_when_environments_are_made_anew(algo):
    agent = make_agent(algo)
    fill(agent)
    learn(agent, make_rollout([0, 1], [2], [5.0], firsts=[1, 0]))
    gradients = learn(agent, make_rollout([3, 4, 2], [1, 0], [1.0, 0.0], discounts=[0, 1], firsts=[1, 0, 1]))
    assert gradients["q"].index[0].tolist() == [3]


@pytest.mark.parametrize("algo", ALGOS)
def test_a_rollout_may_be_overwritten_by_the_next(algo):
    agent, other = make_agent(algo), make_agent(algo)
    assert (fill(agent) == fill(other)).all()
    parts = [([0, 1], [2], [5.0], [1]), ([1, 2], [1], [1.0], [1]), ([2, 3], [0], [2.0], [0])]
    shared = make_rollout(*parts[0])
    for part in parts:
        fresh = make_rollout(*part)
        for name in ("observations", "actions", "rewards", "discounts", "firsts"):
            getattr(shared, name)[:] = getattr(fresh, name)
        learn(agent, shared)
        learn(other, fresh)
    np.testing.assert_array_equal(agent.policy.table, other.policy.table)


# ---------------------------------------------------------------------------------------------------
# Longer rollouts and several environments


@pytest.mark.parametrize("algo", ["q-learning", "sarsa"])
def test_a_long_rollout_is_learned_backwards_so_that_a_reward_reaches_its_beginning(algo):
    agent = make_agent(algo, lr=1.0)
    whole = make_rollout([0, 1, 2, 3, 4, 0], [0] * 5, [0, 0, 0, 1.0, 0], [1, 1, 1, 0, 1], [1, 0, 0, 0, 0, 1])
    gradients, _ = agent.gradients(whole)
    apply(agent, gradients, lr=1.0)
    np.testing.assert_allclose(agent.policy.table[:, 0], [0.729, 0.81, 0.9, 1.0, 0.0], rtol=1e-6)


def test_a_long_rollout_equals_one_step_updates_in_reverse():
    rng = np.random.default_rng(0)
    states, actions, rewards = rng.integers(5, size=21), rng.integers(3, size=20), rng.normal(size=20)
    agent, other = make_agent(), make_agent()
    assert (fill(agent) == fill(other)).all()
    learn(agent, make_rollout(states, actions, rewards))
    for t in reversed(range(20)):
        learn(other, make_rollout(states[t : t + 2], actions[[t]], rewards[[t]]))
    np.testing.assert_allclose(agent.policy.table, other.policy.table, atol=1e-5)


@pytest.mark.parametrize("algo", ALGOS)
def test_environments_in_the_same_cell_make_one_update_with_their_mean(algo):
    agent = make_agent(algo)
    learn(agent, make_rollout([[0, 0, 2], [1, 1, 1]], [[1, 1, 0]], [[4.0, 2.0, 1.0]], [[0, 0, 0]]))
    learn(agent, make_rollout([[1, 1, 1], [3, 3, 3]], [[0, 0, 0]], [[0.0] * 3], firsts=[[0] * 3, [1] * 3]))
    assert agent.policy.table[0, 1] == pytest.approx(ALPHA * 3.0)
    assert agent.policy.table[2, 0] == pytest.approx(ALPHA * 1.0)


@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 6),
    batch=st.integers(1, 5),
    algo=st.sampled_from(ALGOS),
)
def test_no_cell_comes_twice_and_none_from_nowhere(seed, length, batch, algo):
    rng = np.random.default_rng(seed)
    agent = make_agent(algo)
    visited = set()
    for _ in range(3):
        firsts = rng.random((length + 1, batch)) < 0.2
        rollout = make_rollout(
            rng.integers(5, size=(length + 1, batch)),
            rng.integers(3, size=(length, batch)),
            rng.normal(size=(length, batch)),
            rng.random((length, batch)) < 0.8,
            firsts,
        )
        visited |= set(zip(rollout.observations[:-1].ravel(), rollout.actions.ravel(), strict=True))
        gradients, _ = agent.gradients(rollout)
        if gradients is not None:
            (rows, columns), value = gradients["q"].index, gradients["q"].value
            assert value.dtype == torch.float32
            assert rows.dtype == columns.dtype == torch.int64
            cells = list(zip(rows.tolist(), columns.tolist(), strict=True))
            assert len(set(cells)) == len(cells) == len(value)
            assert set(cells) <= visited


@pytest.mark.parametrize("algo", ALGOS)
def test_non_finite_rewards_show_in_the_gradient(algo):
    """The store refuses such a gradient; the agent must not hide it, nor keep it in its own table."""
    agent = make_agent(algo)
    rewards = [1.0, float("nan"), 0.0]
    gradients, _ = agent.gradients(make_rollout([0, 1, 2, 3], [0, 1, 2], rewards, [1, 0, 1], [0, 0, 0, 1]))
    assert gradients["q"].value.isnan().any()
    assert np.isfinite(agent.policy.table).all()


@pytest.mark.parametrize("algo", ALGOS)
def test_state_is_plain_data_and_gives_the_same_actions(algo):
    agent, other = make_agent(algo, seed=1), make_agent(algo, seed=2)
    states, first = np.zeros(50, np.int64), np.zeros(50, bool)
    agent.act(states, first, ())
    other.set_state(json.loads(json.dumps(agent.get_state())))
    np.testing.assert_array_equal(agent.act(states, first, ()).action, other.act(states, first, ()).action)


# ---------------------------------------------------------------------------------------------------
# Learning, judged exactly


def train(agent, env_id, lr, steps, length=1, num_envs=1, **kwargs):
    """Plays and learns for that many steps of each environment."""
    for count, rollout in enumerate(play(env_id, agent, length, num_envs, **kwargs), start=1):
        gradients, _ = agent.gradients(rollout)
        apply(agent, gradients, lr)
        if count * length >= steps:
            return


@pytest.mark.parametrize(("length", "num_envs"), [(1, 4), (10, 8)])
@pytest.mark.parametrize("algo", ALGOS)
def test_frozen_lake_without_slipping_is_solved(algo, length, num_envs):
    exploration = Exploration(1.0, 0.01, 0.005)
    agent = make_agent(algo, states=16, actions=4, gamma=0.95, lr=0.1, exploration=exploration)
    train(agent, "FrozenLake-v1", 0.1, 20_000 // num_envs, length, num_envs, is_slippery=False)
    model = transition_model(gymnasium.make("FrozenLake-v1", is_slippery=False))
    assert Judge(model)(agent.policy.table).regret <= 1e-9


def test_the_cliff_teaches_q_learning_and_sarsa_different_ways():
    """Sutton & Barto example 6.6: Q-learning takes the short way along the cliff, Sarsa the safe one."""
    model = transition_model(gymnasium.make("CliffWalking-v1"), horizon=100)
    values = {}
    for algo in ("q-learning", "sarsa"):
        exploration = Exploration(0.1, 0.1, 0.0)
        agent = make_agent(algo, states=48, actions=4, gamma=1.0, lr=0.1, exploration=exploration)
        train(agent, "CliffWalking-v1", 0.1, 2_500, num_envs=10)
        values[algo] = Judge(model)(agent.policy.table).exact_value
    assert values["q-learning"] == pytest.approx(-13.0)
    assert -20.0 <= values["sarsa"] <= -15.0
