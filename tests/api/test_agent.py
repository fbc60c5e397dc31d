"""`a3c.load`: agents in people's own programs, from runs as the trainer leaves them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import a3c
from a3c.agents.dqn import DqnPolicy
from a3c.api.agent import Agent
from a3c.cli import main
from a3c.errors import CheckpointError, UsageError
from a3c.stores.parameters import Parameters
from a3c.trained.find import Rebuilt
from a3c.types import ActorOutput
from tests.evaluators.fakes import make_session
from tests.evaluators.scoring.test_score import make_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of agents that have learned nothing."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "cartpole", ("best", 500), ("ckpt", 900))
    table = {"env": "FrozenLake-v1", "algo": "q-learning", "optimizer": "sgd"}
    make_run(folder / "table", ("ckpt", 10), **table)
    make_run(folder / "dqn", ("ckpt", 10), algo="dqn")
    game = {"env": "Breakout-v0", "model": "a3c-small", "max_episode_steps": 30, "precision": "fp32"}
    make_run(folder / "breakout", ("ckpt", 10), **game)
    make_run(folder / "bf16", ("ckpt", 10), **{**game, "precision": "bf16"})
    return folder


# -- Finding


def test_an_agent_says_what_it_is(runs):
    agent = a3c.load(runs / "cartpole")
    assert repr(agent) == "<a3c.Agent: a3c with mlp of CartPole-v1, 500 steps of training>"
    assert agent.path == (runs / "cartpole" / "best-000000500").resolve()
    assert (agent.env_steps, agent.config.env.env, agent.config.learn.gamma) == (500, "CartPole-v1", 0.99)
    assert (agent.spec.num_actions, agent.spec.observation_shape) == (2, (4,))
    assert a3c.load(str(runs / "cartpole" / "ckpt-000000900")).env_steps == 900


def test_without_a_path_it_is_the_newest_run_s_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no trained run under checkpoints/"):
        a3c.load()
    (tmp_path / "checkpoints").mkdir()
    make_run(tmp_path / "checkpoints" / "CartPole-v1-a3c", ("best", 500), ("ckpt", 900))
    assert a3c.load().env_steps == a3c.load("CartPole-v1-a3c").env_steps == 500
    assert a3c.load("newest").env_steps == 900


@pytest.mark.parametrize(
    ("error", "words", "path", "how"),
    [
        (UsageError, "a3c.load nowhere: there is no such folder", "nowhere", {}),
        (UsageError, "device 'tpu': take cpu, cuda or cuda:N", "cartpole", {"device": "tpu"}),
        (UsageError, "--gpu-id 999: ", "cartpole", {"device": "cuda:999"}),
        (UsageError, "did you mean CartPole-v1", "cartpole", {"env": "CartPoel-v1"}),
        (CheckpointError, "num_actions is 2, not 3", "cartpole", {"env": "Acrobot-v1"}),
    ],
)
def test_what_the_command_line_refuses_is_an_error_with_its_words(runs, error, words, path, how):
    with pytest.raises(error, match=words) as raised:
        a3c.load(runs / path if path == "cartpole" else path, **how)
    assert isinstance(raised.value, a3c.A3CError)
    assert "\n" not in str(raised.value)


def test_a_module_is_imported_only_when_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = "import gymnasium\ngymnasium.register('Own-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    (tmp_path / "own_envs.py").write_text(module)
    run = make_run(tmp_path / "run", ("ckpt", 10))
    state = json.loads((run / "config.json").read_text())
    assert state["settings"]["env"]["env"] == "CartPole-v1"
    agent = a3c.load(run, env="own_envs:Own-v0")
    assert "own_envs" in sys.modules
    assert agent.make_env().reset(seed=1)[0].shape == (4,)
    assert agent.evaluate(1)["env"] == "own_envs:Own-v0"


# -- Acting


class Counting:
    """Takes action 1 at every second step of an episode, counted from 0: its memory is that number."""

    def __init__(self) -> None:
        self.parameters = Parameters({})

    def initial_state(self, batch):
        return (torch.zeros(batch),)

    def act(self, observation, first, state):
        assert first.shape == (len(observation),)
        steps = torch.where(torch.from_numpy(first), 0.0, state[0])
        return ActorOutput((steps.numpy() % 2).astype(np.int64), (steps + 1,))


@pytest.fixture(params=[30])
def counting(request, tmp_path):
    """An agent of CartPole that remembers, and a limit of steps."""
    session = make_session(tmp_path / "run", max_episode_steps=request.param)
    return Agent(None, Rebuilt(session.config, session.env, Counting(), []), "cpu", False)


@pytest.mark.parametrize("counting", [7], indirect=True)
def test_in_the_usual_loop_memory_is_kept_and_begins_afresh_by_itself(counting):
    env = counting.make_env()
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        taken, over = [], False
        while not over:
            action = counting.act(observation)
            assert type(action) is int
            taken.append(action)
            observation, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        assert taken == [0, 1, 0, 1, 0, 1, 0]


def test_memory_begins_afresh_when_it_is_told_to(counting):
    observation = np.zeros(4, np.float32)
    assert [counting.act(observation) for _ in range(3)] == [0, 1, 0]
    assert counting.act(observation, first=True) == 0
    assert counting.act(observation, first=False) == 1
    counting.reset()
    assert [counting.act(observation) for _ in range(2)] == [0, 1]


def test_each_game_of_a_batch_has_a_memory_of_its_own(counting):
    envs = SyncVectorEnv([counting.make_env] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    observations, _ = envs.reset(seed=1)
    first, steps, ends = np.ones(3, bool), np.zeros(3, int), []
    for _ in range(60):
        actions = counting.act(observations, first)
        assert actions.dtype == np.int64
        assert actions.tolist() == (steps % 2).tolist()
        actions[0] = 0  # falls early
        observations, _, terminated, truncated, _ = envs.step(actions)
        first = terminated | truncated
        steps = np.where(first, 0, steps + 1)
        ends.append(first.tolist())
    assert [True, False, False] in ends
    assert np.sum(ends, axis=0).min() >= 1
    envs.close()


def test_a_batch_with_a_memory_says_where_episodes_begin(counting):
    batch = np.zeros((3, 4), np.float32)
    assert counting.act(batch).tolist() == [0, 0, 0]  # what was not there before begins
    with pytest.raises(ValueError, match=r"which observations of the batch begin an episode, act\("):
        counting.act(batch)
    assert counting.act(batch, [False, True, False]).tolist() == [1, 0, 1]
    assert counting.act(batch, False).tolist() == [0, 1, 0]
    assert counting.act(batch[:2], False).tolist() == [0, 0]  # of another size: other games
    with pytest.raises(ValueError, match="shape"):
        counting.act(batch[:2], [True, False, True])


def test_evaluating_in_between_leaves_the_memory_as_it_is(runs):
    agent, same = (a3c.load(runs / "breakout", greedy=True, seed=5) for _ in range(2))
    env = agent.make_env()
    observation, _ = env.reset(seed=2)
    for step in range(6):
        action = agent.act(observation)
        assert action == same.act(observation)
        for mine, other in zip(agent._state, same._state, strict=True):
            assert torch.equal(mine, other)
        assert agent._state[0].abs().max() > 0
        if step == 2:
            agent.evaluate(1)
        observation, *_ = env.step(action)


def test_a_batch_needs_no_more_than_its_observations_without_a_memory(runs):
    for name in ("cartpole", "dqn"):
        agent = a3c.load(runs / name, greedy=True)
        batch = np.random.default_rng(1).normal(size=(5, 4))  # float64: taken as float32
        actions = agent.act(batch)
        assert (actions.shape, actions.dtype) == ((5,), np.int64)
        assert agent.act(batch).tolist() == [agent.act(row) for row in batch] == actions.tolist()
        assert agent.act(batch[:0]).shape == (0,)
    table = a3c.load(runs / "table")
    assert type(table.act(3)) is int
    assert table.act([0, 15]).shape == (2,)


@pytest.mark.parametrize(
    ("run", "observation", "words"),
    [
        ("cartpole", np.zeros(3), r"float64 \[3\]; this agent takes float32 \[4\], or a batch"),
        ("cartpole", np.zeros((1, 2, 4)), r"float64 \[1, 2, 4\]"),
        ("cartpole", 0.5, r"float64 \[\]"),
        ("cartpole", ["a"] * 4, r"<U1 \[4\]"),
        ("breakout", np.zeros((4, 84, 84), np.float32), r"float32 \[4, 84, 84\]; this agent takes uint8"),
        ("breakout", np.zeros((210, 160, 3), np.uint8), r"as the environment of make_env\(\) gives them"),
        ("table", 16, "the observation 16 is no state from 0 to 15"),
        ("table", [3, -1], r"the observation \[ 3 -1\] is no state"),
        ("table", 1.0, r"float64 \[\]; this agent takes int64 \[\]"),
    ],
)
def test_other_observations_are_refused(runs, run, observation, words):
    with pytest.raises(ValueError, match=words):
        a3c.load(runs / run).act(observation)


def test_sampling_follows_from_the_seed(runs):
    observation = np.zeros(4)

    def taken(**how):
        agent = a3c.load(runs / "cartpole", **how)
        return [agent.act(observation) for _ in range(60)]

    assert taken() == taken(seed=1) != taken(seed=2)
    assert len(set(taken(greedy=True))) == 1


# -- Scoring


@pytest.mark.parametrize(
    ("run", "flags", "how"),
    [("cartpole", [], {}), ("table", [], {}), ("breakout", ["--greedy"], {"greedy": True})],
)
def test_an_evaluation_is_what_the_command_writes(runs, tmp_path, run, flags, how):
    file = tmp_path / "result.json"
    words = ["--num-episodes", "2", "--seed", "11", "--json", str(file)]
    assert main(["eval", "--checkpoint", str(runs / run), *words, *flags]) == 0
    torch.set_num_threads(2)
    try:
        result = a3c.load(runs / run, **how).evaluate(2, seed=11)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert json.loads(json.dumps(result)) == json.loads(file.read_text())
    assert ("exact_value" in result) is (run == "table")


@pytest.mark.parametrize("run", ["cartpole", "breakout"])
def test_a_game_played_by_hand_has_the_score_of_its_seed(runs, run):
    agent = a3c.load(runs / run, greedy=True)
    result = agent.evaluate(2, seed=4)
    env = agent.make_env()
    for seed, score, length in zip((4, 5), result["scores"], result["lengths"], strict=True):
        observation, _ = env.reset(seed=seed)
        rewards, over = [], False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            rewards.append(reward)
            over = terminated or truncated
        assert (sum(rewards), len(rewards)) == (score, length)


@pytest.mark.parametrize("how", [{"episodes": 0}, {"episodes": 10_001}, {"seed": -1}])
def test_an_evaluation_has_bounds(runs, how):
    with pytest.raises(UsageError, match="is not from"):
        a3c.load(runs / "cartpole").evaluate(**how)


# -- The network


@pytest.mark.parametrize("run", ["cartpole", "dqn", "bf16"])
def test_the_network_is_a_plain_module_with_the_weights(runs, run):
    agent = a3c.load(runs / run)
    network, policy = agent.network, agent._policy
    saved = agent._trained.checkpoint.model
    assert set(network.state_dict()) == set(saved)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, saved[name])
    observation = np.stack([agent.make_env().reset(seed=seed)[0] for seed in (1, 2)])
    with torch.no_grad():
        output = network(torch.from_numpy(observation), network.initial_state(2))
        if isinstance(policy, DqnPolicy):
            answer, wanted = output, policy.values(observation)
        else:
            answer = output.logits
            wanted = policy.forward(observation, np.ones(2, bool), policy.initial_state(2)).logits
    np.testing.assert_allclose(answer.float(), wanted.float(), rtol=0.1, atol=2e-3)  # bf16's own are coarser
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    assert torch.equal(agent._policy.parameters.flat, a3c.load(runs / run)._policy.parameters.flat)
    assert not any((parameter == 7.0).all() for parameter in policy.network.parameters())


def test_a_table_has_no_network(runs):
    assert a3c.load(runs / "table").network is None


# -- The module


def test_the_import_is_instant():
    program = (
        "import sys; before = set(sys.modules); import a3c; new = set(sys.modules) - before\n"
        "ours = sorted(name for name in new if name.startswith('a3c'))\n"
        "print(ours, {'torch', 'numpy', 'gymnasium', 'rich'} & new)\n"
        "assert set(a3c.__all__) <= set(dir(a3c))\n"
        "a3c.train, a3c.A3CError; print({'torch', 'numpy', 'gymnasium'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['a3c'] set()\nset()\n"


def test_the_names_of_the_module():
    assert a3c.load.__module__ == "a3c.api.agent"
    assert {name: getattr(a3c, name).__name__ for name in a3c.__all__} == {name: name for name in a3c.__all__}
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        a3c.lode  # noqa: B018
    assert all(getattr(a3c, name).__doc__ for name in a3c.__all__)
    public = {name: item for name, item in vars(Agent).items() if not name.startswith("_")}
    undocumented = [name for name, item in public.items() if not item.__doc__]
    assert undocumented == []
