import pytest
import torch

from a3c.learning.losses import LossWeights, actor_critic_loss


def loss_of(valid):
    log_probs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    values = torch.tensor([[1.0, 4.0]], requires_grad=True)
    loss = actor_critic_loss(
        log_probs, torch.tensor([[0.5, 0.7]]), values, torch.tensor([[2.0, -1.0]]),
        torch.tensor([[3.0, 3.0]]), torch.tensor([valid]), LossWeights(0.5, 0.1),
    )  # fmt: skip
    return loss, log_probs, values


def test_golden_values():
    loss, log_probs, values = loss_of([True, True])
    assert float(loss.policy.detach()) == pytest.approx((2.0 - 2.0) / 2)
    assert float(loss.value.detach()) == pytest.approx(0.5 * (4.0 + 1.0) / 2)
    assert float(loss.entropy) == pytest.approx(0.6)
    assert float(loss.total.detach()) == pytest.approx(0.0 + 0.5 * 1.25 - 0.06)
    loss.total.backward()
    assert log_probs.grad.tolist() == [[-1.0, 0.5]]
    assert values.grad.tolist() == [[-0.5, 0.25]]


def test_seams_teach_nothing():
    loss, log_probs, values = loss_of([True, False])
    loss.total.backward()
    assert log_probs.grad[0, 1] == 0
    assert values.grad[0, 1] == 0
    assert float(loss.policy.detach()) == pytest.approx(2.0)


def test_a_rollout_of_seams_only_gives_zero():
    loss, *_ = loss_of([False, False])
    assert float(loss.total.detach()) == 0.0
