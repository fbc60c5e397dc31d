"""The LSTM over a rollout against PyTorch's cell and autograd, step by step."""

import pytest
import torch
from torch import nn

from a3c.networks.lstm import run_lstm
from a3c.types import State

T, B, F, H = 7, 3, 5, 4


def step_by_step(cell: nn.LSTMCell, x: torch.Tensor, keep: torch.Tensor | None, state: State):
    h, c = state
    outputs = []
    for t, of_input in enumerate(x):
        if keep is not None:
            h, c = h * keep[t], c * keep[t]
        h, c = cell(of_input, (h, c))
        outputs.append(h)
    return torch.stack(outputs), (h, c)


@pytest.mark.parametrize("resets", [False, True], ids=["without resets", "with resets"])
@pytest.mark.parametrize("uses", ["outputs", "state", "both"])
def test_outputs_and_gradients_are_those_of_the_cell(resets: bool, uses: str):
    torch.manual_seed(1)
    cell = nn.LSTMCell(F, H)
    x, h, c = (torch.randn(*shape, requires_grad=True) for shape in [(T, B, F), (B, H), (B, H)])
    keep = (torch.rand(T, B, 1) > 0.3).float() if resets else None
    towards = torch.randn(T, B, H), torch.randn(B, H), torch.randn(B, H)
    which = {"outputs": [0], "state": [1, 2], "both": [0, 1, 2]}[uses]

    def result(run):
        hidden, state = run(cell, x, keep, (h, c))
        parts = [hidden, *state]
        total = sum((parts[i] * towards[i]).sum() for i in which)
        wanted = [x, h, c, *cell.parameters()]
        return [*parts, *torch.autograd.grad(total, wanted)]

    torch.testing.assert_close(result(run_lstm), result(step_by_step))


def test_with_bfloat16_weights_the_gradient_is_as_good_as_autograds():
    torch.manual_seed(2)
    exact, lowered = nn.LSTMCell(64, 64), nn.LSTMCell(64, 64)
    lowered.load_state_dict(exact.state_dict())
    for weight in (lowered.weight_ih, lowered.weight_hh):
        weight.data = weight.data.bfloat16()
    x, state = torch.randn(20, 8, 64), (torch.zeros(8, 64), torch.zeros(8, 64))
    towards = torch.randn(20, 8, 64)

    def gradients(cell, run):
        with torch.autocast("cpu", torch.bfloat16, enabled=cell is lowered):
            hidden, _ = run(cell, x, None, state)
        return torch.autograd.grad((hidden * towards).sum(), list(cell.parameters()))

    truth = gradients(exact, step_by_step)
    for true, ours, autograds in zip(
        truth, gradients(lowered, run_lstm), gradients(lowered, step_by_step), strict=True
    ):
        error, other = ((g.float() - true).norm() / true.norm() for g in (ours, autograds))
        assert error < min(0.02, 1.2 * other)


def test_nothing_is_kept_where_nothing_will_be_learned():
    cell = nn.LSTMCell(F, H)
    with torch.no_grad():
        hidden, (h, _) = run_lstm(cell, torch.randn(1, B, F), None, (torch.zeros(B, H), torch.zeros(B, H)))
    assert hidden.grad_fn is None
    assert torch.equal(hidden[-1], h)
