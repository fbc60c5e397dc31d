"""The records of the algorithms against what is stated of them elsewhere."""

import ast
from pathlib import Path

import pytest
import torch

from a3c.agents.actor_critic import learns_fresh, make_objective
from a3c.agents.make import ALGORITHMS, make_agent, make_policy
from a3c.agents.random_agent import RandomAgent
from a3c.envs import resolve_env
from a3c.settings.algorithms import ALGOS, FACTS
from a3c.settings.config import resolve
from a3c.types import EnvSpec

ROOT = Path(__file__).parents[2]
VECTOR = EnvSpec("CartPole-v1", (4,), "float32", 2)
PICTURE = EnvSpec("Pong-v0", (4, 84, 84), "uint8", 6)
SMALL_PICTURE = EnvSpec("Pong-v0", (1, 80, 80), "uint8", 6)
STATES = EnvSpec("FrozenLake-v1", (), "int64", 4, num_states=16)

MAY_NAME_ALGORITHMS = ("a3c/settings/", "a3c/agents/")
"""The settings say which algorithms a flag is for, and each agent's file has its own record."""


def test_every_algorithm_has_one_record():
    assert set(ALGORITHMS) == set(ALGOS)
    for name, algorithm in ALGORITHMS.items():
        assert name == algorithm.name
        assert len(set(algorithm.metric_names)) == len(algorithm.metric_names)


@pytest.mark.parametrize(
    ("algo", "model"), [(algo, model) for algo, facts in FACTS.items() for model in facts.models]
)
def test_every_algorithm_takes_the_networks_it_names(algo, model):
    spec = {"mlp": VECTOR, "mlp-deep": VECTOR, "a3c-lstm": SMALL_PICTURE}.get(model, PICTURE)
    config = resolve({"env": "none", "algo": algo, "model": model})
    policy = make_policy(config, spec, 0, "cpu", greedy=False)
    agent = make_agent(config, spec, 0, "cpu")
    assert torch.equal(policy.parameters.flat, agent.parameters.flat)
    assert agent.parameters.shapes == policy.parameters.shapes


@pytest.mark.parametrize("algo", [algo for algo, facts in FACTS.items() if not facts.models])
def test_the_others_take_none(algo):
    config = resolve_env(resolve({"env": "FrozenLake-v1", "algo": algo}))
    agent = make_agent(config, STATES, 0, "cpu")
    assert isinstance(agent, RandomAgent) != FACTS[algo].tabular
    assert list(agent.parameters.shapes) == ["q"] * FACTS[algo].tabular


@pytest.mark.parametrize(
    ("flags", "device", "fresh"),
    [
        ({"workers": 0, "fresh": "auto"}, "cpu", False),
        ({"workers": 2, "fresh": "auto"}, "cpu", False),
        ({"workers": 3, "active_workers": 0, "fresh": "auto"}, "cpu", True),
        ({"workers": 3, "active_workers": 2, "fresh": "auto"}, "cpu", False),
        ({"workers": 1, "fresh": "auto"}, "cuda:0", True),
        ({"workers": 3, "active_workers": 0, "algo": "ppo"}, "cpu", False),
        ({"workers": 3, "active_workers": 0, "algo": "ppo", "fresh": "on"}, "cpu", True),
        ({"workers": 16, "fresh": "off"}, "cpu", False),
        ({"workers": 0, "fresh": "on"}, "cpu", True),
    ],
)
def test_fresh_weights_where_they_are_asked_for(flags, device, fresh):
    config = resolve({"env": "none", "preset": "none"} | flags)
    assert learns_fresh(config, device) == fresh
    assert make_objective(config, device).fresh == fresh


def test_nobody_else_asks_an_algorithm_for_its_name():
    """Elsewhere a decision by name would be a fact that its record does not state."""
    for path in sorted((ROOT / "a3c").rglob("*.py")):
        if str(path.relative_to(ROOT)).startswith(MAY_NAME_ALGORITHMS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else ()
            named = [p.value for p in parts if isinstance(p, ast.Constant) and p.value in ALGOS]
            assert not named, f"{path}:{node.lineno} compares with {named}"
