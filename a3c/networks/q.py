"""Q networks: each maps a batch of observations to one value per action, float32 [B, A]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from a3c.networks.bodies import MinAtarBody, NatureBody, PixelsBody, Size, initialise, mlp_body
from a3c.types import State


class QNetwork(nn.Module):
    """A body and a head for the values; a dueling head (Wang et al. 2016) has the state's value apart:

        Q(s, a) = V(s) + A(s, a) - mean_b A(s, b)

    Args:
        body: [B, ...] to [B, F].
        features: F.
        num_actions: A.
        dueling: give the network both heads.
    """

    value_linear: nn.Linear | None

    def __init__(self, body: nn.Module, features: int, num_actions: int, dueling: bool) -> None:
        super().__init__()
        self.body = body
        self.q_linear = nn.Linear(features, num_actions)
        self.value_linear = nn.Linear(features, 1) if dueling else None

    def initial_state(self, batch: int) -> State:
        """A Q network has no memory."""
        return ()

    def forward(self, observation: torch.Tensor, state: State = ()) -> torch.Tensor:
        """Values [B, A] of an observation [B, ...]."""
        x = self.body(observation)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            q: torch.Tensor = self.q_linear(x)
            if self.value_linear is not None:
                q = q - q.mean(-1, keepdim=True) + self.value_linear(x)
        return q


class NatureQBody(NatureBody):
    """`NatureBody` from observation to units, with fresh weights."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__(channels, size)
        initialise(self)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.embed(self.features(observation))


class MinAtarQBody(MinAtarBody):
    """`MinAtarBody` from observation to units, with fresh weights."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__(channels, size)
        initialise(self)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.embed(self.features(observation))


def make_q_network(
    model: str, observation_shape: tuple[int, ...], num_actions: int, hidden: Sequence[int], dueling: bool
) -> QNetwork:
    """The network of that name, for an observation that it takes: [F] for mlp, else [C, H, W]."""
    if model == "mlp":
        features = hidden[-1] if hidden else observation_shape[0]
        return QNetwork(mlp_body(observation_shape[0], hidden), features, num_actions, dueling)
    channels, height, width = observation_shape
    kinds: dict[str, type[NatureQBody | PixelsBody | MinAtarQBody]]
    kinds = {"nature": NatureQBody, "pixels": PixelsBody, "minatar": MinAtarQBody}
    body = kinds[model](channels, (height, width))
    return QNetwork(body, body.units, num_actions, dueling)
