"""The PPO agent against a plain computation of its loss, and how it goes through a rollout."""

import numpy as np
import pytest
import torch

from a3c.agents.actor_critic import METRICS, Objective
from a3c.agents.policy import ActorCriticPolicy
from a3c.agents.ppo import PpoAgent
from a3c.errors import UsageError
from a3c.learning.losses import LossWeights, ppo_loss
from a3c.learning.returns import vtrace
from a3c.networks.actor_critic import MLP
from a3c.settings.config import resolve
from a3c.settings.groups import PpoConfig
from a3c.types import Counters, Rollout
from tests.agents.learning import train


def make(epochs=2, fresh=False, **settings):
    torch.manual_seed(0)
    policy = ActorCriticPolicy(MLP(5, 3), 0, "cpu")
    config = PpoConfig(**{"minibatch_size": 4} | settings)
    return PpoAgent(policy, Objective(0.9, 0.8, LossWeights(0.5, 0.03), epochs, fresh=fresh), config)


TOLD = ("action", "log_prob", "value")


def play(agent, steps=7, batch=3):
    """A rollout over random observations with an end, a truncation and their seams."""
    rng = np.random.default_rng(5)
    observations = rng.normal(size=(steps + 1, batch, 5)).astype(np.float32)
    firsts = np.zeros((steps + 1, batch), bool)
    firsts[0] = firsts[3, 0] = firsts[5, 1] = True
    discounts = np.ones((steps, batch), np.float32)
    discounts[1, 0] = 0.0  # terminated; environment 1 is truncated
    agent.refresh()
    agent.begin_rollout(Counters())
    outputs = [agent.act(observations[t], firsts[t], ()) for t in range(steps)]
    actions, log_probs, values = (np.array([getattr(o, name) for o in outputs]) for name in TOLD)
    rewards = rng.normal(size=(steps, batch)).astype(np.float32)
    return Rollout(observations, actions, rewards, discounts, firsts, (), (), log_probs, values)


def test_every_epoch_sees_every_real_step_once():
    agent = make()
    rollout = play(agent)
    lessons = agent.lessons(rollout)
    count = rollout.env_steps
    seen = [lesson.args[1] for lesson in lessons]
    assert len(lessons) == 2 * round(count / 4)
    half = len(lessons) // 2
    for epoch in (seen[:half], seen[half:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(count))
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_a_rollout_of_nothing_but_a_seam_teaches_nothing():
    agent = make()
    rollout = play(agent)
    rollout.firsts[1:] = True
    assert not agent.lessons(rollout)


def test_gradient_is_that_of_the_plain_loss():
    agent = make(epochs=1, minibatch_size=100)
    rollout = play(agent)
    lesson = agent.lessons(rollout)[0]
    observations, samples = lesson.args[0]()
    agent.parameters.flat.add_(0.05 * torch.randn_like(agent.parameters.flat))  # somebody else's update
    agent.refresh()
    gradients, metrics = lesson()
    network, advantages = agent.policy.network, samples.advantages
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    total = torch.zeros(())
    for i in range(len(advantages)):
        out = network(observations[i : i + 1], ())
        policy = torch.distributions.Categorical(logits=out.logits[0])
        ratio = (policy.log_prob(samples.actions[i]) - samples.log_probs[i]).exp()
        clipped = min(max(float(ratio.detach()), 0.8), 1.2) * advantages[i]
        gain = clipped if clipped < (ratio * advantages[i]).detach() else ratio * advantages[i]
        error = (out.value[0] - samples.targets[i]) ** 2
        total = total + (-gain + 0.5 * 0.5 * error - 0.03 * policy.entropy()) / len(advantages)
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, expected in zip(names, torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=1e-5)
    assert set(metrics) == set(METRICS)


def loss_of(log_ratio, advantage, **kwargs):
    zero = torch.zeros(1)
    new = torch.tensor([log_ratio], requires_grad=True)
    loss = ppo_loss(
        log_probs=new, old_log_probs=zero, entropies=zero, values=zero,
        advantages=torch.tensor([advantage]), value_targets=zero, clip=0.2,
        weights=LossWeights(0.5, 0.0),
    )  # fmt: skip
    return loss, torch.autograd.grad(loss.total, new)[0]


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [(0.0, 1.0, True), (0.5, 1.0, False), (-0.5, 1.0, True), (0.5, -1.0, True), (-0.5, -1.0, False)],
)
def test_a_ratio_that_has_gone_far_enough_pulls_no_more(log_ratio, advantage, moves):
    loss, gradient = loss_of(log_ratio, advantage)
    assert bool(gradient) == moves
    assert float(loss.clip_fraction) == (log_ratio != 0)
    assert float(loss.approx_kl) >= 0


def test_unseen_advantages_are_those_of_the_acting_weights():
    agent = make()
    rollout = play(agent)
    observations, samples = agent.lessons(rollout)[0].args[0]()
    output = agent.policy.evaluate(observations)
    torch.testing.assert_close(samples.values, output.value.detach())
    chosen = torch.log_softmax(output.logits.detach(), -1).gather(-1, samples.actions.unsqueeze(-1))
    torch.testing.assert_close(samples.log_probs, chosen.squeeze(-1))


def test_fresh_advantages_are_those_of_vtrace_by_the_weights_of_the_first_lesson():
    agent = make(fresh=True)
    rollout = play(agent)
    lessons = agent.lessons(rollout)
    agent.parameters.flat.add_(0.1 * torch.randn_like(agent.parameters.flat))  # others' updates
    agent.refresh()
    lessons[0]()
    observations, samples = lessons[0].args[0]()
    everything = torch.from_numpy(rollout.observations)
    with torch.no_grad():
        output = agent.policy.network(everything.flatten(0, 1), ())
        values = output.value.view(8, 3)
        chosen = torch.log_softmax(output.logits.view(8, 3, 3)[:-1], -1)
    log_probs = chosen.gather(-1, torch.from_numpy(rollout.actions).unsqueeze(-1)).squeeze(-1)
    valid = torch.from_numpy(rollout.valid())
    expected = vtrace(
        torch.from_numpy(rollout.rewards), torch.from_numpy(rollout.discounts), values, valid,
        log_probs - torch.from_numpy(rollout.log_probs), 0.9, 0.8,
    )  # fmt: skip
    torch.testing.assert_close(samples.advantages, expected.unweighted[valid])
    torch.testing.assert_close(samples.targets, expected.value_targets[valid])
    torch.testing.assert_close(
        samples.log_probs, torch.from_numpy(rollout.log_probs)[valid]
    )  # what the ratio is to
    torch.testing.assert_close(observations, everything[:-1][valid])


def test_fresh_weights_that_are_those_that_acted_learn_the_same():
    gradients = []
    for fresh in (False, True):
        agent = make(fresh=fresh)
        gradients.append(agent.lessons(play(agent))[0]()[0])
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "a3c-lstm"}, "--model a3c-lstm is not for ppo"),
        ({"double": "True"}, "--double is a setting of dqn, not of ppo"),
    ],
)
def test_what_is_not_for_ppo_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        resolve({"env": "CartPole-v1", "algo": "ppo"} | flags)


def test_cartpole_is_learned(tmp_path):
    sums = train(tmp_path, {"env": "CartPole-v1", "algo": "ppo", "max_steps": "25000"}).board.totals()
    assert sums["return_sum"] / sums["episodes"] > 60  # 22 when random
