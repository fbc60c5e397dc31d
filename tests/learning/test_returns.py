import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from a3c.learning.returns import explained_variance, gae, vtrace


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


# V-trace -----------------------------------------------------------------------------------------------


def brute_force_vtrace(rewards, discounts, values, valid, ratios, gamma, tau):
    """Espeholt et al. 2018, eq. 1, as it stands: each target is a sum over the step's own future, weighed by
    the product of the c's on the way. Returns the weighted advantages and the targets."""
    steps, batch = rewards.shape
    rho, c = np.minimum(1, ratios), tau * np.minimum(1, ratios)

    def target(s, b):
        result = values[s, b]
        for t in range(s, steps):
            if not valid[s : t + 1, b].all():
                break
            delta = rho[t, b] * (rewards[t, b] + gamma * discounts[t, b] * values[t + 1, b] - values[t, b])
            way = np.prod(c[s:t, b]) * np.prod(discounts[s:t, b])
            result += gamma ** (t - s) * way * delta
        return result

    targets = np.array([[target(t, b) for b in range(batch)] for t in range(steps + 1)])
    following = tau * targets[1:] + (1 - tau) * values[1:]
    advantages = rho * (rewards + gamma * discounts * following - values[:-1]) * valid
    return advantages, targets[:-1]


def problem(seed, steps=12, batch=5):
    """Random rewards, discounts, values, validity and log-ratios."""
    rng = np.random.default_rng(seed)
    discounts = (rng.random((steps, batch)) > 0.2).astype(float)
    valid = rng.random((steps, batch)) > 0.2
    arrays = (rng.normal(size=(steps, batch)), discounts, rng.normal(size=(steps + 1, batch)), valid,
              rng.normal(size=(steps, batch)))  # fmt: skip
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("tau", [0.0, 0.92, 1.0])
def test_vtrace_matches_brute_force(tau):
    *steps, log_ratios = problem(3)
    found = vtrace(*steps, log_ratios, gamma=0.97, tau=tau)
    arrays = [tensor.numpy() for tensor in steps]
    advantages, targets = brute_force_vtrace(*arrays, np.exp(log_ratios.numpy()), 0.97, tau)
    np.testing.assert_allclose(found.advantages, advantages, atol=1e-12)
    np.testing.assert_allclose(found.value_targets, targets, atol=1e-12)
    rho = log_ratios.exp().clamp(max=1)
    np.testing.assert_allclose(rho * found.unweighted, found.advantages, atol=1e-12)


@pytest.mark.parametrize(
    ("tau", "targets", "advantages"), [(1.0, [2.25, 2.5], [2.25, 1.5]), (0.5, [1.875, 2.5], [1.875, 1.5])]
)
def test_vtrace_golden_values(tau, targets, advantages):
    """Two steps with rewards 1 and 2, values 0, 1 and 4, ratios 2 (counts as 1) and 1/2, gamma 1/2."""
    rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0], [4.0]])
    log_ratios, every = torch.tensor([[2.0], [0.5]]).log(), torch.ones(2, 1)
    found = vtrace(rewards, every, values, every.bool(), log_ratios, 0.5, tau)
    assert found.value_targets.squeeze(1).tolist() == targets
    assert found.advantages.squeeze(1).tolist() == advantages
    assert float(found.unweighted[1]) == 3.0


SEEDS, TAUS = st.integers(0, 2**32 - 1), st.floats(0, 1)


@given(seed=SEEDS, tau=TAUS, gamma=st.floats(0, 1), excess=st.floats(0, 5))
def test_vtrace_of_ratios_of_one_or_more_is_gae(seed, tau, gamma, excess):
    *steps, _ = problem(seed)
    expected = gae(*steps, gamma, tau)
    found = vtrace(*steps, torch.full_like(steps[0], excess), gamma, tau)
    torch.testing.assert_close(found.advantages, expected.advantages)
    torch.testing.assert_close(found.unweighted, expected.advantages)
    torch.testing.assert_close(found.value_targets, expected.value_targets)


@given(seed=SEEDS, tau=TAUS, t=st.integers(0, 11), terminal=st.booleans())
def test_nothing_behind_an_end_counts_before_it(seed, tau, t, terminal):
    """Of a terminal step the reward counts and no more; a seam learns nothing and lets nothing through."""
    rewards, discounts, values, valid, log_ratios = problem(seed)
    discounts[t], valid[t] = (0.0, True) if terminal else (1.0, False)
    before = vtrace(rewards, discounts, values, valid, log_ratios, 0.9, tau)
    rewards[t + 1 :] += 1.0
    log_ratios[t + 1 :] -= 1.0
    values[t + 1 :] += 1.0
    if not terminal:
        rewards[t] += 1.0
    after = vtrace(rewards, discounts, values, valid, log_ratios, 0.9, tau)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[: t + 1], other[: t + 1])
    if not terminal:
        assert not after.advantages[t].any()
        assert torch.equal(after.value_targets[t], values[t])


@given(seed=SEEDS, tau=TAUS, t=st.integers(0, 11))
def test_a_step_that_would_never_be_taken_cuts_the_future_off(seed, tau, t):
    rewards, discounts, values, valid, log_ratios = problem(seed)
    log_ratios[t] = -torch.inf
    found = vtrace(rewards, discounts, values, valid, log_ratios, 0.9, tau)
    assert not found.advantages[t].any()
    assert torch.equal(found.value_targets[t], values[t])
    assert all(torch.isfinite(part).all() for part in found)


def test_explained_variance():
    target = torch.tensor([1.0, 2.0, 3.0])
    assert float(explained_variance(target.clone(), target)) == pytest.approx(1.0)
    assert float(explained_variance(torch.zeros(3), target)) == pytest.approx(0.0)
    assert explained_variance(target, torch.ones(3)) == 0.0
    assert explained_variance(target[:1], target[:1]) == 0.0
