"""How an actor-critic policy acts."""

import numpy as np
import pytest
import torch

from a3c.agents.policy import ActorCriticPolicy
from a3c.networks.actor_critic import MLP, A3CSmall


@pytest.mark.parametrize("batch", [1, 5])
def test_acting_is_reproducible_and_in_range(batch):
    actions = []
    for _ in range(2):
        torch.manual_seed(0)
        policy = ActorCriticPolicy(MLP(4, 3), 7, "cpu")
        observation = np.ones((batch, 4), np.float32)
        actions.append([policy.act(observation, np.zeros(batch, bool), ()).action for _ in range(50)])
    assert np.array_equal(*actions)
    assert set(np.unique(actions)) == {0, 1, 2}
    assert actions[0][0].shape == (batch,)


def test_greedy_takes_the_likeliest():
    policy = ActorCriticPolicy(MLP(4, 3), 7, "cpu", greedy=True)
    with torch.no_grad():
        policy.parameters.views["actor_linear.bias"][:] = torch.tensor([0.0, 5.0, 1.0])
    policy.refresh()
    assert policy.act(np.zeros((6, 4), np.float32), np.zeros(6, bool), ()).action.tolist() == [1] * 6


def test_the_state_is_reset_at_a_first_observation():
    torch.manual_seed(0)
    policy = ActorCriticPolicy(A3CSmall(1, 3, (36, 36)), 0, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 36, 36), dtype=np.uint8)
    fresh = policy.forward(image, np.array([False]), policy.initial_state(1)).value
    used = (torch.ones(1, 256), torch.ones(1, 256))
    assert torch.equal(policy.forward(image, np.array([True]), used).value, fresh)
    assert not torch.equal(policy.forward(image, np.array([False]), used).value, fresh)


def test_new_weights_count_from_refresh_on():
    policy = ActorCriticPolicy(MLP(4, 3), 0, "cpu")
    look = np.ones((1, 4), np.float32), np.array([False]), ()
    before = policy.forward(*look).value
    policy.parameters.flat.mul_(2)
    assert torch.equal(policy.forward(*look).value, before)
    policy.refresh()
    assert not torch.equal(policy.forward(*look).value, before)
