"""Acting and learning in two halves, as on a GPU, against acting and learning in one piece."""

import numpy as np
import pytest
import torch

from a3c.agents import a3c, ppo
from a3c.agents.a3c import A3CAgent
from a3c.agents.actor_critic import make_policy
from a3c.agents.base import Lone
from a3c.agents.policy import ActorCriticPolicy
from a3c.agents.seats import two_halves
from a3c.envs import make_env, resolve_env
from a3c.learning.losses import LossWeights
from a3c.networks.actor_critic import MLP, A3Clstm, A3CSmall
from a3c.networks.device import Graphs
from a3c.settings.config import resolve
from a3c.training.rollouts import collect
from a3c.training.timings import Timings
from a3c.types import Counters, EnvSpec
from tests.agents.graphs import Recorder
from tests.agents.test_a3c import OBJECTIVE, play, scripted
from tests.agents.test_traits import make_worker, take_steps

TOLD = ("action", "log_prob", "value")
NETWORKS = {
    "mlp": (lambda: MLP(5, 3), (5,), np.float32),
    "lstm": (lambda: A3CSmall(1, 3, (36, 36)), (1, 36, 36), np.uint8),
}


def policy_of(network, device="cpu", bf16=False):
    torch.manual_seed(0)
    return ActorCriticPolicy(network(), 3, device, bf16=bf16)


def acted(seats, observations, firsts):
    """What seats answer to a rollout's observations, [T, B] each, and the states in the end."""
    outputs = []
    for observation, first in zip(observations[:-1], firsts[:-1], strict=True):
        ends = np.cumsum([seat.size for seat in seats])[:-1]
        for seat, *look in zip(seats, np.split(observation, ends), np.split(first, ends), strict=True):
            seat.ask(*look)
        answers = [seat.answer() for seat in seats]
        told = [
            np.concatenate([getattr(a, name) for a in answers]) for name in ("action", "log_prob", "value")
        ]
        outputs.append(told)
    states = [torch.cat(parts) for parts in zip(*(seat.state for seat in seats), strict=True)]
    return [np.array(part) for part in zip(*outputs, strict=True)], states


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("batch", [1, 5])
def test_halves_act_as_one(kind, batch):
    """The same chances, so the same actions; states are reset where episodes begin."""
    network, shape, dtype = NETWORKS[kind]
    observations, firsts, *_ = scripted(shape, dtype, batch=max(batch, 3))
    observations, firsts = observations[:, :batch], firsts[:, :batch]
    spec = EnvSpec("Scripted-v0", shape, np.dtype(dtype).name, 3)
    whole, halves = policy_of(network), policy_of(network)
    recorder = Recorder()
    seats = two_halves(halves, spec, batch, recorder)
    assert [seat.size for seat in seats] == ([1] if batch == 1 else [3, 2])
    (actions, log_probs, values), states = acted(seats, observations, firsts)
    state = whole.initial_state(batch)
    for t, (observation, first) in enumerate(zip(observations[:-1], firsts[:-1], strict=True)):
        output = whole.forward(observation, first, state)
        chosen = whole.select_actions(output.logits)
        state = output.state
        assert actions[t].tolist() == chosen.tolist()
        expected = torch.log_softmax(output.logits.detach(), -1).gather(-1, chosen[:, None])[:, 0]
        np.testing.assert_allclose(log_probs[t], expected, atol=1e-5)
        np.testing.assert_allclose(values[t], output.value.detach(), atol=1e-5)
    for ours, theirs in zip(states, state, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=1e-4)
    assert torch.equal(whole.generator.get_state(), halves.generator.get_state())
    assert recorder.replays == 7 * len(seats)


@pytest.mark.parametrize(
    ("env", "model", "batch", "length"),
    [("CartPole-v1", "mlp", 5, 40), ("PongNoFrameskip-v4", "a3c-small", 3, 6)],
)
def test_halves_collect_as_one(env, model, batch, length):
    """The same games, each in its column."""
    config = resolve_env(resolve({"env": env, "preset": "none", "model": model, "precision": "fp32"}))
    found = []
    for capture in (None, Recorder()):
        envs = make_env(config.env, range(batch), training=True)
        policy = make_policy(config, envs.spec, 1, "cpu", greedy=False)
        agent = A3CAgent(policy, OBJECTIVE._replace(fresh=True), capture=capture)
        stream = collect(envs, agent.seats(envs.spec, batch), length, 1.0, Timings())
        found.append([taken(next(stream)) for _ in range(2)])
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(
                mine, theirs, rtol=1e-2, atol=1e-2 if envs.spec.protocol == "classic" else 1e-5
            )


def taken(rollout):
    """What a rollout holds, copied."""
    arrays = ("observations", "actions", "rewards", "discounts", "firsts", "log_probs")
    episodes = sorted(tuple(map(float, episode)) for episode in rollout.episodes)
    states = [part.clone() for part in (*rollout.initial_state, *rollout.final_state)]
    return [*(getattr(rollout, name).copy() for name in arrays), *states, np.array(episodes), rollout.frames]


class Slow:
    """A seat that notes when it is asked and when it answers."""

    def __init__(self, name, log, size=1):
        self.name, self.log, self.size, self.state = name, log, size, ()

    def ask(self, observation, first):
        self.log.append(f"ask {self.name}")

    def answer(self):
        self.log.append(f"answer {self.name}")
        return Lone(Constant(), 1).answer()


class Constant:
    def initial_state(self, batch):
        return ()


def test_one_half_is_stepped_while_the_other_is_asked():
    envs = make_env(resolve_env(resolve({"env": "CartPole-v1"})).env, range(2), training=True)
    log = []
    seats = [Slow("a", log), Slow("b", log)]
    rollouts = collect(envs, seats, 3, 0.0, Timings(), before_step=lambda t: log.append(str(t)))
    next(rollouts)
    assert log == [
        *("0", "ask a", "ask b", "answer a"),
        *("1", "ask a", "answer b", "ask b", "answer a"),
        *("2", "ask a", "answer b", "ask b", "answer a", "answer b"),
    ]


def taught(kind, capture, fresh, epochs, schedule=0, device="cpu", bf16=False, make=None):
    network, shape, dtype = NETWORKS[kind]
    policy = policy_of(make or network, device, bf16)
    weights = LossWeights(0.5, 0.03, schedule)
    agent = A3CAgent(policy, OBJECTIVE._replace(fresh=fresh, epochs=epochs, weights=weights), True, capture)
    return agent, scripted(shape, dtype)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("fresh", [False, True])
def test_lessons_at_fixed_addresses_are_the_plain_ones(kind, fresh):
    """Two rollouts of three passes each, with other weights and another entropy bonus in the second."""
    agents = [taught(kind, capture, fresh, 3, schedule=100) for capture in (None, Recorder())]
    for round_ in range(2):
        learned = []
        for agent, script in agents:
            torch.manual_seed(round_)
            agent.parameters.flat.add_(0.03 * torch.randn_like(agent.parameters.flat))
            rollout = play(agent, *script)
            agent.begin_rollout(Counters(env_steps=50 * round_))
            agent.parameters.flat.add_(0.03 * torch.randn_like(agent.parameters.flat))  # others' updates
            agent.refresh()
            learned.append([(dict(g), m) for g, m in (lesson() for lesson in agent.lessons(rollout))])
            assert len(learned[-1]) == 3
        # The desk's gradients are the last lesson's by now, so those are compared.
        (plain, metrics), (fixed, fixed_metrics) = learned[0][-1], learned[1][-1]
        for name, gradient in plain.items():
            torch.testing.assert_close(fixed[name], gradient, rtol=1e-4, atol=1e-6)
        for (_, mine), (_, theirs) in zip(*learned, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)
        assert metrics.keys() == fixed_metrics.keys()


@pytest.mark.parametrize("algo", ["a3c", "ppo"])
@pytest.mark.parametrize("fresh", ["on", "off"])
def test_a_worker_in_halves_learns_what_one_in_one_piece_learns(tmp_path, monkeypatch, algo, fresh):
    found = []
    for capture in (None, Recorder()):
        module = {"a3c": a3c, "ppo": ppo}[algo]
        monkeypatch.setattr(module, "make_capture", lambda device, capture=capture: capture)
        worker, session = make_worker(tmp_path, algo, envs_per_worker="5", fresh=fresh, num_steps="16")
        take_steps(worker, 4)
        worker.close()
        totals = session.board.totals()
        counted = {
            name: totals[name] for name in ("env_steps", "frames", "episodes", "return_sum", "updates")
        }
        found.append((counted, session.memory.weights, worker.agent.get_state()["generator"]))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)
    assert torch.equal(found[0][2], found[1][2])


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def as_it_is(function, results):
    return function


def lstm():
    return A3Clstm(1, 6)


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("bf16", [False, True])
def test_a_graph_acts_as_the_kernels_one_by_one(bf16, caplog):
    observations, firsts, *_ = scripted((1, 80, 80), np.uint8, steps=12, batch=9)
    spec = EnvSpec("Scripted-v0", (1, 80, 80), "uint8", 6)
    found = []
    for capture in (Graphs(), as_it_is):
        seats = two_halves(policy_of(lstm, "cuda:0", bf16), spec, 9, capture)
        found.append(acted(seats, observations, firsts))
    ((actions, _, values), states), ((plain, _, plain_values), plain_states) = found
    assert (actions == plain).mean() > 0.95
    tolerance = 3e-2 if bf16 else 1e-3
    np.testing.assert_allclose(values, plain_values, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(states, plain_states, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    assert "no CUDA graph" not in caplog.text


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize(("bf16", "least"), [(False, 0.9999), (True, 0.99)])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_graph_learns_as_the_kernels_one_by_one(bf16, least, fresh, caplog):
    """Two rollouts of two passes; the weights and the bonus change in between."""
    script = scripted((1, 80, 80), np.uint8)
    learned = []
    for capture in (Graphs(), as_it_is):
        weights = LossWeights(0.5, 0.03, 100)
        objective = OBJECTIVE._replace(fresh=fresh, epochs=2, weights=weights)
        agent = A3CAgent(policy_of(lstm, "cuda:0", bf16), objective, capture=capture)
        lessons = []
        for round_ in range(2):
            torch.manual_seed(round_)
            rollout = play(agent, *script)
            rollout.actions[:] = np.arange(rollout.actions.size).reshape(rollout.actions.shape) % 6
            agent.begin_rollout(Counters(env_steps=50 * round_))
            agent.parameters.flat.add_(0.01 * torch.randn_like(agent.parameters.flat))
            agent.refresh()
            for lesson in agent.lessons(rollout):
                gradients, metrics = lesson()
                flat = torch.cat([part.reshape(-1) for part in gradients.values()])
                lessons.append((flat.clone(), metrics))
        learned.append(lessons)
    for (mine, metrics), (theirs, plain) in zip(*learned, strict=True):
        assert torch.nn.functional.cosine_similarity(mine, theirs, dim=0) > least
        assert metrics["entropy"] == pytest.approx(plain["entropy"], rel=1e-2)
        assert metrics["value_loss"] == pytest.approx(plain["value_loss"], rel=5e-2)
    assert "no CUDA graph" not in caplog.text


@GPU
@pytest.mark.gpu
def test_fifteen_workers_of_128_environments_fit_into_80_gigabytes():
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    agent = A3CAgent(policy_of(lstm, "cuda:0", True), OBJECTIVE._replace(fresh=True), capture=Graphs())
    script = scripted((1, 80, 80), np.uint8, steps=20, batch=128)
    seats = agent.seats(EnvSpec("Scripted-v0", (1, 80, 80), "uint8", 6), 128)
    acted(seats, *script[:2])
    for lesson in agent.lessons(play(agent, *script)):
        lesson()
    assert torch.cuda.memory_reserved() - before < 4.5e9  # and half a gigabyte of context
