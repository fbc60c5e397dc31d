"""An LSTM cell over the steps of a rollout, with its gradient by hand.

Autograd would go back through some thirty small operations a step, and add up the gradient of the recurrent
weights step by step, each time a matrix as large as they are. Here all that does not depend on the step after
it is computed for all steps at once: one matrix product gives that gradient, and what is left to the loop
backward are five operations a step.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from a3c.types import State


def run_lstm(
    cell: nn.LSTMCell, x: torch.Tensor, keep: torch.Tensor | None, state: State
) -> tuple[torch.Tensor, State]:
    """What `cell` makes of x [T, B, F] step by step: h of each step [T, B, H], and the last state.

    The state is multiplied by keep [T, B, 1] before each step. The same as calling the cell T times, but with
    one matrix product over all inputs. Gradients flow to the cell's weights, to x and to the state, once.
    """
    inputs = F.linear(x, cell.weight_ih, cell.bias_ih + cell.bias_hh).float()
    h, c = state
    steps: Any = _Recurrence.apply
    hidden, h, c = steps(inputs, cell.weight_hh, keep, h, c, torch.is_grad_enabled())
    return hidden, (h, c)


class _Recurrence(torch.autograd.Function):
    """The steps, by what the inputs add to their gates: i, f, g, o as in `nn.LSTMCell`."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,  # [T, B, 4 H]
        weight: torch.Tensor,  # [4 H, H], in whose type products are computed; all else is float32
        keep: torch.Tensor | None,
        h: torch.Tensor,
        c: torch.Tensor,
        learns: bool,  # else nothing is kept to go back
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        outputs, steps = [], []
        for t, of_input in enumerate(inputs):
            if keep is not None:
                h, c = h * keep[t], c * keep[t]
            before = h.to(weight.dtype), c
            i, f, g, o = (of_input + F.linear(before[0], weight)).chunk(4, -1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = f * c + i * g
            squashed = c.tanh()
            h = o * squashed
            outputs.append(h)
            steps.append((*before, i, f, g, o, squashed))
        if learns:
            kept = (torch.stack(parts) for parts in zip(*steps, strict=True))
            ctx.save_for_backward(weight, keep, *kept)
        return torch.stack(outputs), h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_hidden: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[Any, ...]:
        weight, keep, hs, cs, i, f, g, o, squashed = ctx.saved_tensors
        h_to_c = o * (1 - squashed.square())
        h_to_o = squashed * o * (1 - o)
        c_to_ifg = torch.stack([g * i * (1 - i), cs * f * (1 - f), i * (1 - g.square())], dim=2)
        steps, batch, size = cs.shape
        gates = cs.new_empty(steps, batch, 4, size)
        for t in reversed(range(steps)):
            h = h + of_hidden[t]
            c = torch.addcmul(c, h, h_to_c[t])
            torch.mul(c.unsqueeze(1), c_to_ifg[t], out=gates[t, :, :3])
            torch.mul(h, h_to_o[t], out=gates[t, :, 3])
            h, c = (gates[t].flatten(1).to(weight.dtype) @ weight).float(), c * f[t]
            if keep is not None:
                h, c = h * keep[t], c * keep[t]
        gates = gates.flatten(2)
        of_weight = gates.flatten(0, 1).to(weight.dtype).t() @ hs.flatten(0, 1)
        return gates, of_weight, None, h, c, None
