"""The flat, explicit-gradient optimizers against torch's own."""

import pytest
import torch

from a3c.stores.optim import make_optimizer

REFERENCES = {
    "adam": lambda p: torch.optim.Adam([p], lr=0.01, eps=1e-5, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop([p], lr=0.01, eps=1e-5, alpha=0.99),
    "sgd": lambda p: torch.optim.SGD([p], lr=0.01),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_matches_torch(name):
    torch.manual_seed(0)
    ours = torch.randn(100)
    theirs = ours.clone().requires_grad_()
    optimizer, reference = make_optimizer(name, 100, 1e-5, amsgrad=True), REFERENCES[name](theirs)
    for update in range(1, 30):
        theirs.grad = torch.randn(100)
        optimizer.step(ours, theirs.grad, 0.01, update)
        reference.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-7)


def test_amsgrad_differs_from_adam():
    results = []
    for amsgrad in (True, False):
        weights, optimizer = torch.zeros(3), make_optimizer("adam", 3, 1e-8, amsgrad)
        for update, size in enumerate([10.0, *[0.1] * 200], 1):
            optimizer.step(weights, torch.full((3,), size), 0.01, update)
        results.append(weights)
    assert (results[0] - results[1]).abs().max() > 0.01


def test_state_survives_in_place():
    """A step writes into the state tensors it was given: they may lie in shared memory."""
    optimizer = make_optimizer("adam", 4, 1e-8, True)
    addresses = {name: t.data_ptr() for name, t in optimizer.state.items()}
    optimizer.step(torch.zeros(4), torch.ones(4), 0.1, 1)
    assert {name: t.data_ptr() for name, t in optimizer.state.items()} == addresses
    assert all((t != 0).all() for t in optimizer.state.values())
