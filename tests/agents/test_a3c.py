"""The agent's gradient against a plain computation of the same loss, and how it acts."""

import numpy as np
import pytest
import torch

from a3c.agents.a3c import A3C, A3CAgent
from a3c.agents.actor_critic import Objective
from a3c.agents.policy import ActorCriticPolicy
from a3c.learning.losses import LossWeights
from a3c.networks.actor_critic import MLP, A3CSmall
from a3c.types import Counters, Rollout

OBJECTIVE = Objective(0.9, 0.8, LossWeights(0.5, 0.03))


def play(agent, observations, firsts, rewards, discounts):
    """A rollout over given observations, as `collect` would hand it over."""
    agent.refresh()
    agent.begin_rollout(Counters())
    state = initial = agent.initial_state(observations.shape[1])
    outputs = []
    for t in range(len(rewards)):
        outputs.append(agent.act(observations[t], firsts[t], state))
        state = outputs[-1].state
    actions = np.array([output.action for output in outputs])
    log_probs = np.array([output.log_prob for output in outputs]) if agent.fresh else None
    return Rollout(observations, actions, rewards, discounts, firsts, initial, state, log_probs)


def taught(make, recompute, **objective):
    """A network of either kind, its agent, and a rollout it played."""
    torch.manual_seed(0)
    network = make()
    shape, dtype = ((5,), np.float32) if isinstance(network, MLP) else ((1, 36, 36), np.uint8)
    policy = ActorCriticPolicy(network, 0, "cpu")
    agent = A3CAgent(policy, OBJECTIVE._replace(**objective), recompute)
    return network, agent, play(agent, *scripted(shape, dtype))


def plain_loss(network, rollout):
    """Mnih et al. 2016, alg. 3 with GAE, one environment and step at a time, with a fresh forward pass."""
    steps, batch = rollout.rewards.shape
    policy = value = entropy = torch.zeros(())
    valid = rollout.valid()
    for b in range(batch):
        state = network.initial_state(1)
        outs = []
        for t in range(steps + 1):
            if rollout.firsts[t, b]:
                state = network.initial_state(1)
            out = network(torch.from_numpy(rollout.observations[t, b : b + 1]), state)
            state = out.state
            outs.append(out)
        values = [float(o.value.detach()) for o in outs]
        for t in np.flatnonzero(valid[:, b]):
            advantage, weight = 0.0, 1.0
            for k in range(t, steps):
                if not valid[k, b]:
                    break
                d = float(rollout.discounts[k, b])
                advantage += weight * (float(rollout.rewards[k, b]) + 0.9 * d * values[k + 1] - values[k])
                weight *= 0.9 * 0.8 * d
            chosen = torch.distributions.Categorical(logits=outs[t].logits[0])
            policy = policy - chosen.log_prob(torch.tensor(rollout.actions[t, b])) * advantage
            value = value + 0.5 * (advantage + values[t] - outs[t].value[0]) ** 2
            entropy = entropy + chosen.entropy()
    return (policy + 0.5 * value - 0.03 * entropy) / valid.sum()


def plain_vtrace_loss(network, rollout):
    """Espeholt et al. 2018, eq. 1, as a sum over each step's own future, with a fresh forward pass."""
    steps, batch = rollout.rewards.shape
    total, valid = torch.zeros(()), rollout.valid()
    for b in range(batch):
        state, outs = network.initial_state(1), []
        for t in range(steps + 1):
            if rollout.firsts[t, b]:
                state = network.initial_state(1)
            outs.append(network(torch.from_numpy(rollout.observations[t, b : b + 1]), state))
            state = outs[-1].state
        values = [float(o.value.detach()) for o in outs]
        chosen = [torch.distributions.Categorical(logits=outs[t].logits[0]) for t in range(steps)]
        log_probs = [chosen[t].log_prob(torch.tensor(rollout.actions[t, b])) for t in range(steps)]
        rho = [min(1.0, float((log_probs[t].detach() - rollout.log_probs[t, b]).exp())) for t in range(steps)]

        def target(s, b=b, values=values, rho=rho):
            result, weight = values[s], 1.0
            for t in range(s, steps):
                if not valid[t, b]:
                    break
                d = float(rollout.discounts[t, b])
                delta = rho[t] * (float(rollout.rewards[t, b]) + 0.9 * d * values[t + 1] - values[t])
                result, weight = result + weight * delta, weight * 0.9 * 0.8 * d * rho[t]
            return result

        for t in np.flatnonzero(valid[:, b]):
            following = 0.8 * target(t + 1) + 0.2 * values[t + 1]
            reward, d = float(rollout.rewards[t, b]), float(rollout.discounts[t, b])
            advantage = rho[t] * (reward + 0.9 * d * following - values[t])
            error = target(t) - outs[t].value[0]
            total = total - log_probs[t] * advantage + 0.25 * error**2 - 0.03 * chosen[t].entropy()
    return total / valid.sum()


def scripted(shape, dtype, steps=7, batch=3):
    rng = np.random.default_rng(5)
    if dtype == np.uint8:
        observations = rng.integers(0, 256, (steps + 1, batch, *shape), dtype=np.uint8)
    else:
        observations = rng.normal(size=(steps + 1, batch, *shape)).astype(np.float32)
    firsts = np.zeros((steps + 1, batch), bool)
    firsts[0] = True
    firsts[3, 0] = firsts[5, 1] = True
    discounts = np.ones((steps, batch), np.float32)
    discounts[1, 0] = 0.0  # game over, then a seam; environment 1 is truncated at its seam
    discounts[4, 2] = 0.0  # a lost life: terminal, and the game goes on
    return observations, firsts, rng.normal(size=(steps, batch)).astype(np.float32), discounts


def small() -> A3CSmall:
    return A3CSmall(1, 3, (36, 36))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("make", [lambda: MLP(5, 3), small], ids=["mlp", "lstm"])
def test_gradient_is_that_of_the_plain_loss(make, recompute):
    network, agent, rollout = taught(make, recompute)
    gradients, metrics = agent.gradients(rollout)
    plain_loss(network, rollout).backward()
    for name, weight in network.named_parameters():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=1e-5)
    assert set(metrics) == set(A3C.metric_names)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("make", [lambda: MLP(5, 3), small], ids=["mlp", "lstm"])
def test_with_unchanged_weights_a_second_pass_gives_the_first_ones_gradient(make, recompute):
    _, agent, rollout = taught(make, recompute, epochs=2)
    first, again = agent.lessons(rollout)
    (gradients, metrics), (same, same_metrics) = first(), again()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, rtol=1e-3, atol=1e-5)
    del same_metrics["policy_loss"], metrics["policy_loss"]  # another formula, of the same gradient
    assert same_metrics == pytest.approx(metrics, rel=1e-3, abs=1e-5)


KINDS = pytest.mark.parametrize("make", [lambda: MLP(5, 3), small], ids=["mlp", "lstm"])


@KINDS
def test_fresh_weights_that_are_those_that_acted_learn_the_same(make):
    _, agent, rollout = taught(make, recompute=True)
    _, fresh, same = taught(make, recompute=False, fresh=True)
    assert np.array_equal(rollout.actions, same.actions)
    (expected, metrics), (found, fresh_metrics) = agent.gradients(rollout), fresh.gradients(same)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)
    del metrics["truncated_share"], fresh_metrics["truncated_share"]  # of ratios that are 1 but for rounding
    assert fresh_metrics == pytest.approx(metrics, rel=1e-3, abs=1e-5)


@KINDS
def test_fresh_weights_learn_by_vtrace(make):
    network, agent, rollout = taught(make, recompute=False, fresh=True)
    agent.parameters.flat.add_(0.03 * torch.randn_like(agent.parameters.flat))  # others' updates
    agent.refresh()
    gradients, metrics = agent.gradients(rollout)
    plain_vtrace_loss(network, rollout).backward()
    for name, weight in network.named_parameters():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=1e-5)
    assert set(metrics) == set(A3C.metric_names)
    assert 0 < metrics["mean_ratio"] < 1
    assert 0 < metrics["truncated_share"] < 1
    assert metrics["approx_kl"] > 0


def test_fresh_weights_need_no_graph_of_acting():
    _, agent, rollout = taught(small, recompute=False, fresh=True)
    assert not any(part.requires_grad for part in rollout.final_state)
    assert not agent._features


def test_a_later_pass_does_not_push_a_probability_further_than_the_clip_range():
    torch.manual_seed(0)
    policy = ActorCriticPolicy(MLP(5, 3), 0, "cpu")
    agent = A3CAgent(policy, OBJECTIVE._replace(weights=LossWeights(0.0, 0.0), epochs=2))
    rollout = play(agent, *scripted((5,), np.float32))
    rollout.rewards[:] = 100.0  # whatever was done was good
    rollout.actions[:] = 1
    first, again = agent.lessons(rollout)
    first()
    policy.parameters.views["actor_linear.bias"][1] += 2.0  # and is likely enough by now
    policy.refresh()
    gradients, _ = again()
    assert all(not gradient.any() for gradient in gradients.values())


def test_a_rollout_without_a_real_step_is_not_gone_through_again():
    agent = A3CAgent(ActorCriticPolicy(MLP(5, 3), 0, "cpu"), OBJECTIVE._replace(epochs=3))
    rollout = play(agent, *scripted((5,), np.float32))
    assert len(agent.lessons(rollout)) == 3
    rollout.firsts[1:] = True
    assert len(agent.lessons(rollout)) == 1


def test_the_pace_follows_what_the_second_pass_says_of_the_policy():
    def learn(epochs=2, **change):
        objective = OBJECTIVE._replace(epochs=epochs, **change)
        agent = A3CAgent(ActorCriticPolicy(MLP(5, 3), 0, "cpu"), objective)
        for _ in range(30):
            rollout = play(agent, *scripted((5,), np.float32))
            for lesson in agent.lessons(rollout):
                _, metrics = lesson()
                assert metrics["pace"] == agent.pace
        return agent

    assert learn().pace == 1.0
    hurried = learn(kl_target=0.003)  # nothing is applied, so the policy stays where it is
    assert hurried.pace > 1.2
    assert learn(epochs=4, kl_target=0.003).pace == hurried.pace  # the third and fourth say nothing
    other = A3CAgent(ActorCriticPolicy(MLP(5, 3), 0, "cpu"), hurried.objective)
    other.set_state(hurried.get_state())
    assert other.pace == hurried.pace


def test_bf16_gradients_agree_with_fp32():
    gradients = []
    for bf16 in (False, True):
        torch.manual_seed(0)
        agent = A3CAgent(ActorCriticPolicy(small(), 0, "cpu", bf16=bf16), OBJECTIVE)
        rollout = play(agent, *scripted((1, 36, 36), np.uint8))
        flat = torch.cat([g.float().reshape(-1) for g in agent.gradients(rollout)[0].values()])
        gradients.append(flat)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_state_goes_on_where_it_was():
    agents = [A3CAgent(ActorCriticPolicy(MLP(4, 3), seed, "cpu"), OBJECTIVE) for seed in (1, 2)]
    observation, first = np.zeros((8, 4), np.float32), np.zeros(8, bool)
    agents[0].act(observation, first, ())
    agents[1].set_state(agents[0].get_state())
    assert np.array_equal(*(agent.act(observation, first, ()).action for agent in agents))


def test_the_entropy_bonus_follows_its_schedule():
    policy = ActorCriticPolicy(MLP(4, 3), 0, "cpu")
    weights = LossWeights(0.5, 0.1, entropy_end=1000)
    agent = A3CAgent(policy, OBJECTIVE._replace(weights=weights))
    seen = []
    for env_steps in (0, 250, 1000, 2000):
        agent.begin_rollout(Counters(env_steps=env_steps))
        seen.append(agent.weights.entropy)
    assert seen == pytest.approx([0.1, 0.075, 0, 0])
    assert agent.weights.value == 0.5
