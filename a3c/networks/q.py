"""Q networks: each maps a batch of observations to one value per action, float32 [B, A].

Pictures are scaled, and their layers initialised, as in `a3c.networks.actor_critic`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from a3c.networks.actor_critic import conv_side, convolve_planes, make_background, scale_image
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


class NatureBody(nn.Module):
    """The convolutions of Mnih et al. 2015: 32@8x8 s4, 64@4x4 s2, 64@3x3 s1, then 512 units.

    Observation [B, C, 84, 84] uint8.
    """

    features = 512

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.background = make_background(channels, size, size)
        self.conv1 = nn.Conv2d(channels, 32, 8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, 3, stride=1)
        side = conv_side(conv_side(conv_side(size, 8, 4), 4, 2), 3, 1)
        self.fc = nn.Linear(64 * side * side, self.features)
        initialise(self)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x = F.relu(convolve_planes(self.conv1, observation, self.background))
        x = F.relu(self.conv2(x))
        # ReLU after flattening: the gradient that comes back is then in the same order as its input.
        x = F.relu(self.conv3(x).flatten(1))
        return F.relu(self.fc(x))


class PixelsBody(nn.Module):
    """Three convolutions 16, 32, 32 @5x5 s2, each followed by a norm and ReLU, as in PyTorch's CartPole
    tutorial. Observation [B, C, H, W] uint8.

    The norm is each picture's own (one group over channels and places), not the batch's: what a picture is
    worth must not depend on which others come with it, and there are no running statistics that the
    processes would have to share beside the weights.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.background = make_background(channels, height, width)
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 5, stride=2), nn.GroupNorm(1, outputs), nn.ReLU()]
            height, width = conv_side(height, 5, 2), conv_side(width, 5, 2)
        self.layers = nn.Sequential(*layers)
        self.features = 32 * height * width
        initialise(self)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.layers(scale_image(observation, self.background))
        return x.flatten(1)


def initialise(body: nn.Module) -> None:
    """Orthogonal weights, zero biases."""
    for module in body.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.orthogonal_(module.weight, math.sqrt(2))
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def mlp_body(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU. Observation [B, F] float32.

    They keep torch's own initialisation, whose biases are not 0: without them every unit bends at the
    origin, and a value that drops at the edge of a small vector's range is hard to learn.
    """
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers)


def make_q_network(
    model: str, observation_shape: tuple[int, ...], num_actions: int, hidden: Sequence[int], dueling: bool
) -> QNetwork:
    """The network of that name. Raises ValueError when the observation does not fit it."""
    if model == "mlp":
        if len(observation_shape) != 1:
            raise ValueError(f"it takes a vector, not an observation of shape {observation_shape}")
        features = hidden[-1] if hidden else observation_shape[0]
        return QNetwork(mlp_body(observation_shape[0], hidden), features, num_actions, dueling)
    if len(observation_shape) != 3:
        raise ValueError(f"it takes images, not an observation of shape {observation_shape}")
    channels, height, width = observation_shape
    body: NatureBody | PixelsBody
    if model == "pixels":
        if min(height, width) < 29:
            raise ValueError(f"it takes images of 29 pixels or more, not {height}x{width}")
        body = PixelsBody(channels, height, width)
    else:
        if height != width or height < 36:
            raise ValueError(f"it takes square images of 36 pixels or more, not {height}x{width}")
        body = NatureBody(channels, height)
    return QNetwork(body, body.features, num_actions, dueling)
