import numpy as np
import pytest
import torch

from a3c.learning.returns import explained_variance, gae


def brute_force(rewards, discounts, values, valid, gamma, tau):
    """Advantage of every step by summing its own future, one environment and one step at a time."""
    steps, batch = rewards.shape
    result = np.zeros((steps, batch))
    for b in range(batch):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                if not valid[k, b]:
                    break
                delta = rewards[k, b] + gamma * discounts[k, b] * values[k + 1, b] - values[k, b]
                result[t, b] += weight * delta
                weight *= gamma * tau * discounts[k, b]
    return result


@pytest.mark.parametrize("tau", [0.0, 0.92, 1.0])
def test_gae_matches_brute_force(tau):
    rng = np.random.default_rng(3)
    rewards = rng.normal(size=(12, 5))
    discounts = (rng.random((12, 5)) > 0.2).astype(float)
    valid = rng.random((12, 5)) > 0.2
    values = rng.normal(size=(13, 5))
    tensors = [torch.from_numpy(a) for a in (rewards, discounts, values, valid)]
    result = gae(*tensors, gamma=0.97, tau=tau)
    expected = brute_force(rewards, discounts, values, valid, 0.97, tau)
    np.testing.assert_allclose(result.advantages, expected, atol=1e-12)
    np.testing.assert_allclose(result.value_targets, expected + values[:-1], atol=1e-12)


def one_step(discount, valid=True):
    """Value target of s0 in s0 -> s1 (reward 1) -> next episode's first observation."""
    rewards = torch.tensor([[1.0], [0.0]])
    discounts = torch.tensor([[discount], [1.0]])
    values = torch.tensor([[0.0], [5.0], [100.0]])
    seams = torch.tensor([[valid], [False]])
    return float(gae(rewards, discounts, values, seams, 0.9, 1.0).value_targets[0, 0])


def test_a_terminal_step_does_not_bootstrap():
    assert one_step(discount=0.0) == 1.0


def test_a_truncated_step_bootstraps_from_its_own_last_observation():
    assert one_step(discount=1.0) == pytest.approx(1.0 + 0.9 * 5.0)


def test_a_cut_rollout_bootstraps_from_the_last_row():
    targets = gae(torch.ones(2, 1), torch.ones(2, 1), torch.tensor([[0.0], [0.0], [10.0]]),
                  torch.ones(2, 1, dtype=torch.bool), 0.5, 1.0).value_targets  # fmt: skip
    assert targets.squeeze(1).tolist() == [1 + 0.5 * (1 + 0.5 * 10), 1 + 0.5 * 10]


def test_explained_variance():
    target = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(target.clone(), target) == pytest.approx(1.0)
    assert explained_variance(torch.zeros(3), target) == pytest.approx(0.0)
    assert explained_variance(target, torch.ones(3)) == 0.0
    assert explained_variance(target[:1], target[:1]) == 0.0
