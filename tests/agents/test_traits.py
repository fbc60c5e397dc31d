"""What holds for every agent."""

import gymnasium
import numpy as np
import pytest
import torch

from a3c.agents.make import ALGORITHMS, make_agent, make_policy
from a3c.settings.algorithms import ACTOR_CRITICS, ALGOS, TABULAR, WITH_NETWORK
from a3c.training.inline_team import InlineLink
from a3c.training.worker import Worker, WorkerSpec
from tests.agents.learning import make_session

LEARNERS = tuple(algo for algo in ALGOS if algo != "random")
TRICKS = {  # enough for every agent to learn within a few rollouts
    "dqn": {"learning_starts": "4", "batch_size": "4", "replay_size": "400", "target_update": "16"},
    "ppo": {"minibatch_size": "8", "epochs": "2"},
    **{algo: {"optimizer": "sgd", "lr": "0.5"} for algo in TABULAR},
}


FRESH = tuple(f"{algo} fresh" for algo in ACTOR_CRITICS)
"""Agents that learn with other weights than those that acted."""


def given(kind, **more):
    algo, _, fresh = kind.partition(" ")
    more |= {"fresh": "on"} if fresh else {}
    env = "CartPole-v1" if algo in WITH_NETWORK else "FrozenLake-v1"
    return {"env": env, "algo": algo, "preset": "none", "num_steps": "8", **TRICKS.get(algo, {}), **more}


def make_worker(folder, algo, **more):
    session = make_session(folder, given(algo, **more))
    return Worker(WorkerSpec(session, 0, 0), InlineLink()), session


def take_steps(worker, rollouts):
    for _ in range(rollouts):
        worker.step()


@pytest.mark.parametrize("algo", ALGOS + FRESH)
@pytest.mark.parametrize("batch", ["1", "5"])
def test_any_number_of_environments(tmp_path, algo, batch):
    worker, session = make_worker(tmp_path, algo, envs_per_worker=batch)
    take_steps(worker, 8)
    worker.close()
    assert session.board.total("env_steps") > 6 * int(batch)
    assert torch.isfinite(session.memory.weights).all()


def test_a_stop_waits_for_no_more_lessons(tmp_path):
    worker, session = make_worker(tmp_path, "ppo", epochs="1000")
    lessons = worker.agent.lessons

    def stop_after_two(rollout):
        for number, lesson in enumerate(lessons(rollout)):
            session.board.stop = number == 1
            yield lesson

    worker.agent.lessons = stop_after_two
    worker.step()
    assert session.board.total("updates") == 1
    steps = session.board.total("env_steps")
    worker.step()
    assert session.board.total("env_steps") == steps
    worker.close()


@pytest.mark.parametrize("algo", ALGOS + FRESH)
def test_the_same_seed_makes_the_same_weights(tmp_path, algo):
    weights = []
    for seed in ("1", "1", "2"):
        worker, session = make_worker(tmp_path, algo, seed=seed, envs_per_worker="2")
        take_steps(worker, 8)
        worker.close()
        weights.append((session.memory.weights.clone(), session.board.total("env_steps")))
    assert torch.equal(weights[0][0], weights[1][0])
    if algo in WITH_NETWORK:
        assert not torch.equal(weights[0][0], weights[2][0])


@pytest.mark.parametrize("algo", LEARNERS)
def test_state_goes_on_where_it_was(tmp_path, algo):
    """Two agents, the second with the first's weights and state, act and explore alike."""
    worker, session = make_worker(tmp_path, algo)
    take_steps(worker, 6)
    state = worker.agent.get_state()
    other = make_agent(session.config, session.env, 99, "cpu")
    for agent in (worker.agent, other):
        agent.parameters.flat.copy_(session.memory.weights)
        agent.refresh()
    other.set_state(state)
    counters, actions = session.board.counters(), []
    shape, dtype = session.env.observation_shape, session.env.observation_dtype
    for agent in (worker.agent, other):
        agent.begin_rollout(counters)
        looks = (np.ones((1, *shape), dtype), np.zeros(1, bool), agent.initial_state(1))
        actions.append([int(agent.act(*looks).action[0]) for _ in range(40)])
    worker.close()
    assert actions[0] == actions[1]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("algo", ALGOS)
def test_a_policy_acts_by_the_probabilities_that_it_gives(tmp_path, algo, greedy):
    worker, session = make_worker(tmp_path, algo)
    worker.close()
    policy = make_policy(session.config, session.env, 7, "cpu", greedy)
    policy.parameters.flat.add_(torch.linspace(-0.5, 0.5, len(policy.parameters.flat)).sin())
    policy.refresh()
    if hasattr(policy, "epsilon"):
        policy.epsilon = 0.0 if greedy else 0.4
    count, shape = 8000, session.env.observation_shape
    looks = (np.ones((count, *shape), session.env.observation_dtype), np.ones(count, bool))
    probabilities, _ = policy.probabilities(*looks, policy.initial_state(count))
    assert probabilities.shape == (count, session.env.num_actions)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(count))
    actions = policy.act(*looks, policy.initial_state(count)).action
    shares = np.bincount(actions, minlength=session.env.num_actions) / count
    assert shares == pytest.approx(probabilities[0], abs=0.03)
    assert greedy or algo not in WITH_NETWORK or (probabilities > 0).all()


@pytest.mark.parametrize("algo", LEARNERS)
def test_metrics_are_complete(tmp_path, algo):
    worker, session = make_worker(tmp_path, algo)
    take_steps(worker, 12)
    worker.close()
    totals = session.board.totals()
    assert totals["metric_count"] == totals["updates"] > 0
    assert all(np.isfinite(totals[name]) for name in ALGORITHMS[algo].metric_names)


class OneStep(gymnasium.Env):
    """One step, reward 1, then the episode ends: terminated or, with `limit`, truncated."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, limit=False, render_mode=None):
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(4, 0.5, np.float32), {}

    def step(self, action):
        return np.full(4, -0.5, np.float32), 1.0, not self.limit, self.limit, {}


gymnasium.register("OneStep-v0", entry_point=OneStep)


@pytest.mark.parametrize("algo", WITH_NETWORK + FRESH)
@pytest.mark.parametrize("limit", [False, True])
def test_only_a_terminal_step_ends_the_value(tmp_path, algo, limit):
    """From a state whose successor is worth 10, the target is 1 when terminated, 1 + gamma 10 when cut."""
    more = {"env": "OneStep-v0", "env_kwargs": {"limit": limit}, "gamma": "0.5", "lr": "0"}
    worker, session = make_worker(tmp_path, algo, **more)
    agent = worker.agent
    with torch.no_grad():
        agent.parameters.flat.zero_()
        for name, view in agent.parameters.views.items():
            if name in ("critic_linear.bias", "q_linear.bias"):
                view.fill_(10.0)  # every state is worth 10
    session.memory.weights.copy_(agent.parameters.flat)
    take_steps(worker, 12)
    totals = session.board.totals()
    worker.close()
    error = (1 + 0.5 * 10 if limit else 1) - 10
    if algo == "dqn":
        expected, measured = abs(error), totals["td_error"]
    else:
        expected, measured = 0.5 * error**2, totals["value_loss"]
    assert measured / totals["metric_count"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("algo", WITH_NETWORK + FRESH)
@pytest.mark.parametrize("mode", ["nan_observation", "nan_reward"])
def test_f_nothing_is_learned_from_what_is_not_finite(tmp_path, algo, mode):
    more = {"env": "tests.fault_env:Fault-v0", "env_kwargs": {"mode": mode, "at": 30}}
    worker, session = make_worker(tmp_path, algo, **more)
    with pytest.raises(FloatingPointError, match="non-finite"):
        take_steps(worker, 50)
    assert torch.isfinite(session.memory.weights).all()


@pytest.mark.parametrize("algo", WITH_NETWORK + FRESH)
def test_a_rollout_may_be_one_step(tmp_path, algo):
    worker, session = make_worker(tmp_path, algo, num_steps="1")
    take_steps(worker, 30)
    worker.close()
    assert session.board.total("updates") > 10
    assert session.board.counters().rejected == 0
