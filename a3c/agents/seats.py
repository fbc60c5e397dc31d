"""Seats that act on a device beside the core: an actor-critic's on a GPU.

Two seats share a worker's environments. While the GPU chooses the actions of one half, the core steps the
other; nobody waits for a launch or a copy, only for actions that are not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from a3c.agents.base import Seat
from a3c.agents.policy import ActorCriticPolicy, evaluate_actions
from a3c.networks.device import Capture, Mark, host_tensor
from a3c.types import ActorOutput, EnvSpec, State


def two_halves(policy: ActorCriticPolicy, spec: EnvSpec, size: int, capture: Capture) -> Sequence[Seat]:
    """Two seats for `size` environments, or one for a single environment.

    Both take their chances from one draw for all, so that a policy acts the same in halves as in one piece.
    """
    chances = torch.ones(size, spec.num_actions, device=policy.device)
    first, second = torch.split(chances, [size - size // 2, size // 2])
    seats = [HalfSeat(policy, spec, first, capture, lambda: policy.draw(chances))]
    return [*seats, HalfSeat(policy, spec, second, capture)] if len(second) else seats


class HalfSeat:
    """Acts from buffers that stay where they are, so that all of it can be one CUDA graph.

    Args:
        policy: whose actions are sampled.
        spec: of the environments.
        chances: [B, A], its rows of what the policy draws for a step.
        capture: makes the computation fast.
        draw: draws for a step of all; None where another seat does, which is asked before.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        spec: EnvSpec,
        chances: torch.Tensor,
        capture: Capture,
        draw: Callable[[], object] | None = None,
    ) -> None:
        self.size, device = len(chances), policy.device
        self._policy, self._chances, self._draw = policy, chances, draw
        image = torch.from_numpy(np.zeros((self.size, *spec.observation_shape), spec.observation_dtype))
        self._image, self._first = image.to(device), torch.zeros(self.size, dtype=torch.bool, device=device)
        self._state, self._next = (policy.initial_state(self.size) for _ in range(2))
        kinds = (torch.int64, torch.float32, torch.float32)  # action, its log-probability, value
        self._chosen = [torch.zeros(self.size, dtype=kind, device=device) for kind in kinds]
        self._told = [host_tensor((self.size,), kind, device) for kind in kinds]
        self._there = Mark(device)
        self._choose = capture(self._compute, [self._chosen[2], *self._next])

    @property
    def state(self) -> State:
        return tuple(part.clone() for part in self._state)

    def ask(self, observation: np.ndarray, first: np.ndarray) -> None:
        if self._draw is not None:
            self._draw()
        self._image.copy_(torch.from_numpy(observation), non_blocking=True)
        self._first.copy_(torch.from_numpy(first), non_blocking=True)
        self._choose()
        for told, chosen in zip(self._told, self._chosen, strict=True):
            told.copy_(chosen, non_blocking=True)
        self._there.set()
        for state, following in zip(self._state, self._next, strict=True):
            state.copy_(following)

    def answer(self) -> ActorOutput:
        self._there.wait()
        action, log_prob, value = (told.numpy() for told in self._told)
        return ActorOutput(action, self._state, log_prob, value)

    @torch.no_grad()
    def _compute(self) -> None:
        output = self._policy.step(self._policy.features(self._image), self._first, self._state)
        actions = self._policy.select_actions(output.logits, self._chances)
        log_probs, _ = evaluate_actions(output.logits, actions)
        results = (actions, log_probs, output.value, *output.state)
        for kept, result in zip((*self._chosen, *self._next), results, strict=True):
            kept.copy_(result)
