"""The DQN agent against plain computations, and how it explores, warms up and keeps its target."""

import copy

import numpy as np
import pytest
import torch

from a3c.agents.dqn import DQN, DqnAgent, DqnPolicy, check_replay, epsilons, ranks
from a3c.agents.make import make_agent, make_policy
from a3c.envs import make_env, resolve_env
from a3c.errors import UsageError
from a3c.learning.losses import huber_td_loss
from a3c.learning.replay import ReplayBatch, ReplaySpec
from a3c.networks.bodies import mlp_body
from a3c.networks.q import QNetwork
from a3c.settings.config import resolve
from a3c.settings.groups import DqnConfig, ExploreConfig
from a3c.types import Counters, EnvSpec, Rollout
from tests.agents.learning import train

FLAT = ExploreConfig(epsilon_start=0.5, epsilon_final=0.5, epsilon_spread=0.0)


def network(dueling=False):
    torch.manual_seed(3)
    return QNetwork(mlp_body(5, (16,)), 16, 3, dueling)


def make(dueling=False, warm_up=8, explore=FLAT, **settings):
    spec = ReplaySpec(100, (5,), "float32", streams=2, gamma=0.9)
    config = DqnConfig(**{"learning_starts": 10, "batch_size": 8, "target_update": 50} | settings)
    return DqnAgent(DqnPolicy(network(dueling), 0, "cpu"), spec, config, explore, np.zeros(2), warm_up)


def batch(size=6, seed=0):
    rng = np.random.default_rng(seed)
    return ReplayBatch(
        observations=rng.normal(size=(size, 5)).astype(np.float32),
        actions=rng.integers(3, size=size),
        returns=rng.normal(size=size).astype(np.float32) * 3,
        discounts=np.array([0.9, 0.0, 0.81] * (size // 3), np.float32),
        next_observations=rng.normal(size=(size, 5)).astype(np.float32),
        weights=rng.random(size).astype(np.float32),
        slots=np.arange(size),
    )


def rollout(steps=10, seed=0):
    rng = np.random.default_rng(seed)
    return Rollout(
        rng.normal(size=(steps + 1, 2, 5)).astype(np.float32),
        rng.integers(3, size=(steps, 2)),
        rng.normal(size=(steps, 2)).astype(np.float32),
        np.ones((steps, 2), np.float32),
        np.zeros((steps + 1, 2), bool),
        (),
        (),
    )


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_gradient_is_that_of_the_plain_loss(double, dueling):
    agent, b = make(dueling, double=double), batch()
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    loss = torch.zeros(())
    for i in range(6):
        now, then = torch.from_numpy(b.observations[i]), torch.from_numpy(b.next_observations[i])
        with torch.no_grad():
            judged = agent.target(then)
            best = (agent.policy.network(then) if double else judged).argmax()
            target = b.returns[i] + b.discounts[i] * float(judged[best])
        error = target - agent.policy.network(now)[b.actions[i]]
        small = error.abs() <= 1
        loss = loss + b.weights[i] * torch.where(small, error**2 / 2, error.abs() - 0.5) / 6
    names, parameters = zip(*agent.policy.network.named_parameters(), strict=True)
    gradients, _, _ = agent.gradients(b)
    for name, expected in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(gradients[name], expected)


def test_the_huber_loss_bends_at_delta():
    loss = huber_td_loss(torch.zeros(3), torch.tensor([0.5, 3.0, -1.0]), torch.ones(3), delta=2.0)
    assert float(loss.total) == pytest.approx((0.125 + 2 * (3 - 1) + 0.5) / 3)
    assert loss.td_errors.tolist() == [0.5, 3.0, -1.0]


def test_gradients_are_clamped():
    gradients, _, _ = make(grad_clamp=1e-3).gradients(batch())
    assert max(float(g.abs().max()) for g in gradients.values()) == pytest.approx(1e-3)


# ---------------------------------------------------------------------------------------------------
# Exploration, warming up, target


def test_epsilon_falls_with_everybodys_steps_and_is_spread():
    explore = ExploreConfig(epsilon_start=1.0, epsilon_final=0.1, epsilon_steps=100, epsilon_spread=1.0)
    everybody = np.concatenate([ranks(w, 2, 2) for w in range(2)])
    assert everybody.tolist() == [0, 1 / 3, 2 / 3, 1]
    assert epsilons(explore, everybody, 0).tolist() == [1, 1, 1, 1]
    assert epsilons(explore, everybody, 50)[0] == pytest.approx(0.55)
    assert epsilons(explore, everybody, 500)[[0, -1]] == pytest.approx([0.1, 0.01])
    assert ranks(0, 1, 1).tolist() == [0]


def test_epsilon_is_the_share_of_random_actions():
    policy = DqnPolicy(network(), 0, "cpu", np.repeat([0.0, 0.6], 5000))
    observation = np.zeros((10_000, 5), np.float32)
    actions = policy.act(observation, np.zeros(10_000, bool), ()).action
    best = int(policy.values(observation[:1]).argmax())
    assert (actions[:5000] == best).all()
    assert abs((actions[5000:] != best).mean() - 0.4) < 0.03


def test_the_first_steps_are_random_and_nothing_is_learned():
    agent = make(warm_up=30)
    agent.begin_rollout(Counters(env_steps=9))
    assert agent.policy.epsilon == 1.0
    agent.begin_rollout(Counters(env_steps=10))
    assert np.all(agent.policy.epsilon == 0.5)
    assert not agent.lessons(rollout())
    lessons = agent.lessons(rollout())
    gradients, metrics = lessons[0]()
    assert gradients.keys() == agent.parameters.views.keys()
    assert set(metrics) == set(DQN.metric_names)


def test_updates_per_rollout_are_that_many_different_draws():
    agent = make(updates_per_rollout=3)
    lessons = agent.lessons(rollout())
    heads = [lesson()[0]["q_linear.weight"] for lesson in lessons]
    assert len(heads) == 3
    assert not torch.equal(heads[0], heads[1])


def test_the_target_follows_every_so_many_steps_of_all():
    agent = make()
    agent.begin_rollout(Counters(env_steps=10))
    before = copy.deepcopy(agent.target.state_dict())
    agent.parameters.flat.add_(1.0)
    agent.refresh()
    agent.begin_rollout(Counters(env_steps=49))
    assert all(torch.equal(p, before[n]) for n, p in agent.target.named_parameters())
    agent.begin_rollout(Counters(env_steps=50))
    assert all(torch.equal(p, before[n] + 1) for n, p in agent.target.named_parameters())


def test_large_errors_are_drawn_more_often():
    torch.manual_seed(0)
    policy = DqnPolicy(network(), 0, "cpu")
    spec = ReplaySpec(100, (5,), "float32", streams=2, gamma=0.9, priority_exponent=1.0)
    config = DqnConfig(batch_size=8, priority_exponent=1.0)
    agent = DqnAgent(policy, spec, config, FLAT, np.zeros(2), 1)
    for _ in range(50):
        agent.lesson() if len(agent.replay) else agent.replay.add(*vars_of(rollout(20)))
    drawn = agent.replay.sample(2000, np.random.default_rng(0))
    _, errors, _ = agent.gradients(drawn)
    _, even, _ = agent.gradients(agent.replay.gather(np.arange(30)))
    assert np.abs(errors).mean() > 1.2 * np.abs(even).mean()


def vars_of(r):
    return r.observations, r.actions, r.rewards, r.discounts, r.firsts


# ---------------------------------------------------------------------------------------------------
# Settings


def test_evaluation_explores_a_little_unless_greedy():
    config = resolve_env(resolve({"env": "CartPole-v1", "algo": "dqn"}))
    spec = EnvSpec("CartPole-v1", (4,), "float32", 2)
    assert make_policy(config, spec, 0, "cpu", greedy=False).epsilon == 0.001
    assert make_policy(config, spec, 0, "cpu", greedy=True).epsilon == 0.0


def test_workers_share_replay_and_random_steps():
    config = resolve_env(resolve({"env": "CartPole-v1", "algo": "dqn", "preset": "none", "workers": "4"}))
    agent = make_agent(config, EnvSpec("CartPole-v1", (4,), "float32", 2), 0, "cpu", 3)
    assert agent.replay.spec.capacity == 25_000
    assert agent.warm_up == 250
    assert agent.ranks.tolist() == [1.0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "a3c-lstm"}, "--model a3c-lstm is not for dqn"),
        ({"tau": "0.9"}, "--tau is a setting of a3c, ppo, not of dqn"),
        ({"replay_size": "1500"}, "less than twice --learning-starts"),
        ({"batch_size": "2000"}, "less than --batch-size"),
        ({"epsilon_start": "0.1", "epsilon_final": "0.2"}, "--epsilon-final is more"),
        ({"clip_range": "0.1"}, "--clip-range is a setting of a3c, ppo"),
    ],
)
def test_what_contradicts_itself_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        resolve({"env": "CartPole-v1", "algo": "dqn"} | flags)


def test_a_replay_beyond_the_memory_is_refused_with_what_fits():
    config = resolve_env(resolve({"env": "Breakout-v0", "algo": "dqn", "replay_size": "2G"}))
    spec = EnvSpec("Breakout-v0", (4, 84, 84), "uint8", 4)
    with pytest.raises(UsageError, match=r"--replay-size: .* the largest that fits is \d{4,}"):
        check_replay(config, spec)


def test_a_share_too_small_to_learn_from_is_refused():
    given = {"env": "CartPole-v1", "algo": "dqn", "preset": "none", "workers": "2000"}
    config = resolve_env(resolve(given))
    with pytest.raises(UsageError, match="gives each of 2000 workers 50"):
        check_replay(config, EnvSpec("CartPole-v1", (4,), "float32", 2))


def test_atari_replay_stores_single_frames():
    given = {"env": "Breakout-v0", "algo": "dqn", "replay_size": "10k", "preset": "none"}
    config = resolve_env(resolve(given))
    envs = make_env(config.env, [0], training=True)
    agent = make_agent(config.replace(workers=1), envs.spec, 0, "cpu")
    envs.close()
    assert envs.spec.observation_shape == (4, 84, 84)
    assert agent.replay.spec.frame_shape == (84, 84)


def test_cartpole_is_learned(tmp_path):
    sums = train(tmp_path, {"env": "CartPole-v1", "algo": "dqn", "max_steps": "6000"}).board.totals()
    assert sums["return_sum"] / sums["episodes"] > 35  # 22 when random, as the first 1000 steps are
