"""The shared optimizer: its state lies beside the shared weights, and every worker steps it itself.

State is allocated eagerly, so that it can be put into shared memory before the first step, and flat, so
that a step is one fused kernel call. Gradients are arguments: nothing is handed over through `.grad`.
The step count that Adam's bias correction needs is passed in by the store, which counts updates exactly;
a count incremented by several processes without a lock would lose some.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop


class Optimizer(Protocol):
    """Moves flat weights [N] against a flat gradient [N]."""

    state: dict[str, torch.Tensor]
    """Flat tensors [N] by name; saved in checkpoints and, in a shared run, in shared memory."""

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, lr: float, updates: int) -> None:
        """One update in place; `updates` is the number of this update, from 1."""
        ...


class Adam:
    """Adam (Kingma & Ba 2015), by default with the largest second moment (AMSGrad, Reddi et al. 2018)."""

    def __init__(
        self, size: int, epsilon: float, amsgrad: bool, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        names = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if amsgrad else ()))
        self.state = {name: torch.zeros(size) for name in names}
        self.epsilon, self.amsgrad, self.betas = epsilon, amsgrad, betas

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, lr: float, updates: int) -> None:
        adam(
            [weights],
            [gradient],
            [self.state["exp_avg"]],
            [self.state["exp_avg_sq"]],
            [self.state["max_exp_avg_sq"]] if self.amsgrad else [],
            [torch.tensor(float(updates - 1))],  # the kernel adds 1 to this private copy
            fused=True,
            amsgrad=self.amsgrad,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )


class RMSprop:
    """Shared RMSprop without momentum (Mnih et al. 2016, sec. 4): all workers share one g."""

    def __init__(self, size: int, epsilon: float, alpha: float = 0.99) -> None:
        self.state = {"square_avg": torch.zeros(size)}
        self.epsilon, self.alpha = epsilon, alpha

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, lr: float, updates: int) -> None:
        rmsprop(
            [weights],
            [gradient],
            [self.state["square_avg"]],
            [],
            [],
            [torch.tensor(float(updates - 1))],
            foreach=False,
            lr=lr,
            alpha=self.alpha,
            eps=self.epsilon,
            weight_decay=0.0,
            momentum=0.0,
            centered=False,
        )


class SGD:
    """Plain descent, weights -= lr * gradient: with lr = alpha, the rule of tabular learning."""

    def __init__(self) -> None:
        self.state: dict[str, torch.Tensor] = {}

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, lr: float, updates: int) -> None:
        weights.add_(gradient, alpha=-lr)


def make_optimizer(name: str, size: int, epsilon: float, amsgrad: bool) -> Optimizer:
    """The optimizer of that name for `size` weights."""
    if name == "adam":
        return Adam(size, epsilon, amsgrad)
    return RMSprop(size, epsilon) if name == "rmsprop" else SGD()
