"""Actor-critic networks: each maps observations and a recurrent state to action logits, values and a state.

The policy's head starts near 0, so that the policy starts uniform.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from a3c.networks.bodies import (
    MinAtarBody,
    NatureBody,
    Size,
    conv_side,
    convolve_planes,
    initialise,
    make_background,
    scale_image,
)
from a3c.networks.lstm import run_lstm
from a3c.networks.pooling import convolve_and_pool
from a3c.types import State


class NetworkOutput(NamedTuple):
    """What a network says of observations, one or T for each of B environments."""

    logits: torch.Tensor  # [B, A] or [T, B, A]
    value: torch.Tensor  # [B] or [T, B]
    state: State  # after the last one


class ActorCritic(nn.Module):
    """What the networks share: features of an observation, an optional LSTM, a critic and an actor."""

    lstm: nn.LSTMCell | None
    critic_linear: nn.Linear
    actor_linear: nn.Linear

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        """[B, F] of an observation [B, ...]: the layers that cost the most, and need no state."""
        raise NotImplementedError

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """[..., F] to [..., H]: what else comes before the LSTM or the heads."""
        return features

    def initial_state(self, batch: int) -> State:
        """Zeros, (h [B, H], c [B, H]); empty without an LSTM."""
        if self.lstm is None:
            return ()
        zeros = self.critic_linear.weight.new_zeros(batch, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def forward(self, observation: torch.Tensor, state: State) -> NetworkOutput:
        """One step: observation [B, ...], state as `initial_state` gives it."""
        output = self.unroll(self.features(observation).unsqueeze(0), None, state)
        return NetworkOutput(output.logits[0], output.value[0], output.state)

    def unroll(self, features: torch.Tensor, keep: torch.Tensor | None, state: State) -> NetworkOutput:
        """T steps at once: features [T, B, F]; the state is multiplied by keep [T, B, 1] before each."""
        x = self.embed(features)
        if self.lstm is not None:
            x, state = run_lstm(self.lstm, x, keep, state)
        with torch.autocast(x.device.type, enabled=False):  # a bfloat16 value is too coarse to learn from
            x = x.float()
            return NetworkOutput(self.actor_linear(x), self.critic_linear(x).squeeze(-1), state)


class A3Clstm(ActorCritic):
    """The network of rl_a3c_pytorch: its state dicts load by name.

    Observation [B, C, 80, 80] uint8. Four convolutions, each followed by 2x2 max-pooling and ReLU, give
    1024 features; an LSTM cell of 512; critic and actor.
    """

    def __init__(self, channels: int, num_actions: int) -> None:
        super().__init__()
        self.background = make_background(channels, 80, 80)
        self.conv1 = nn.Conv2d(channels, 32, 5, stride=1, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, stride=1, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 4, stride=1, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, stride=1, padding=1)
        self.lstm = nn.LSTMCell(1024, 512)
        self.critic_linear = nn.Linear(512, 1)
        self.actor_linear = nn.Linear(512, num_actions)
        initialise_all(self)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        x = scale_image(observation, self.background, self.conv1.weight.dtype)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = convolve_and_pool(conv, x)
        return x.flatten(1)


class A3CSmall(ActorCritic):
    """The A3C paper's smaller network with an LSTM (Mnih et al. 2016, sec. 8): the fast choice on a CPU.

    Observation [B, C, H, W] uint8, 84x84 in the paper. 16 filters 8x8 stride 4, 32 4x4 stride 2, 256 units,
    LSTM 256.
    Unlike the paper's, the 256 units are normalised over the layer (Ba et al. 2016) before their ReLU: their
    2,592 inputs are all positive, so Adam moves all of a unit's sum one way, and without it a high learning
    rate soon has every unit below zero for good.
    """

    remembers = True

    def __init__(self, channels: int, num_actions: int, size: Size = (84, 84)) -> None:
        super().__init__()
        self.background = make_background(channels, *size)
        self.conv1 = nn.Conv2d(channels, 16, 8, stride=4)
        self.conv2 = nn.Conv2d(16, 32, 4, stride=2)
        height, width = (conv_side(conv_side(side, 8, 4), 4, 2) for side in size)
        self.fc = nn.Linear(32 * height * width, 256)
        self.fc_norm = nn.LayerNorm(256)
        self.lstm = nn.LSTMCell(256, 256) if self.remembers else None
        self.critic_linear = nn.Linear(256, 1)
        self.actor_linear = nn.Linear(256, num_actions)
        initialise_all(self)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        x = F.relu(convolve_planes(self.conv1, observation, self.background))
        return F.relu(self.conv2(x).flatten(1))  # flat first: the gradient then comes in the same order

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(self.fc_norm(self.fc(features)))


class A3CFF(A3CSmall):
    """The same without memory, the A3C paper's feedforward network (Mnih et al. 2016, sec. 8): where frames
    are stacked it learns from fewer steps."""

    remembers = False


class Nature(NatureBody, ActorCritic):
    """The network of the Nature DQN with an actor and a critic, without memory. See `NatureBody`."""

    def __init__(self, channels: int, num_actions: int, size: Size = (84, 84)) -> None:
        super().__init__(channels, size)
        self.lstm = None
        self.critic_linear = nn.Linear(self.units, 1)
        self.actor_linear = nn.Linear(self.units, num_actions)
        initialise_all(self)


class MinAtar(MinAtarBody, ActorCritic):
    """The network of MinAtar's actor-critic, without memory. See `MinAtarBody`."""

    def __init__(self, channels: int, num_actions: int, size: Size = (10, 10)) -> None:
        super().__init__(channels, size)
        self.lstm = None
        self.critic_linear = nn.Linear(self.units, 1)
        self.actor_linear = nn.Linear(self.units, num_actions)
        initialise_all(self)


class MLP(ActorCritic):
    """Hidden layers, apart for actor and critic. Observation [B, F] float32.

    Args:
        inputs: F.
        num_actions: how many there are.
        hidden: units of each layer.
        activation: what follows each.
    """

    def __init__(
        self,
        inputs: int,
        num_actions: int,
        hidden: Sequence[int] = (64, 64),
        activation: type[nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        self.lstm = None

        def body() -> nn.Sequential:
            sizes = pairwise((inputs, *hidden))
            return nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), activation())))

        self.actor_body, self.critic_body = body(), body()
        self.critic_linear = nn.Linear(hidden[-1], 1)
        self.actor_linear = nn.Linear(hidden[-1], num_actions)
        initialise_all(self)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        return observation

    def unroll(self, features: torch.Tensor, keep: torch.Tensor | None, state: State) -> NetworkOutput:
        value = self.critic_linear(self.critic_body(features)).squeeze(-1)
        return NetworkOutput(self.actor_linear(self.actor_body(features)), value, state)


def initialise_all(network: ActorCritic) -> None:
    """The body as every network's, the policy's head near 0."""
    initialise(network)
    nn.init.orthogonal_(network.critic_linear.weight, 1.0)
    nn.init.orthogonal_(network.actor_linear.weight, 0.01)


def make_network(model: str, observation_shape: tuple[int, ...], num_actions: int) -> ActorCritic:
    """The network of that name, for an observation that it takes: [F] or [C, H, W]."""
    if model == "mlp":
        return MLP(observation_shape[0], num_actions)
    if model == "mlp-deep":
        return MLP(observation_shape[0], num_actions, (128, 128, 128), nn.ReLU)
    channels, height, width = observation_shape
    if model == "a3c-lstm":
        return A3Clstm(channels, num_actions)
    kinds: dict[str, type[A3CSmall | Nature | MinAtar]]
    kinds = {"a3c-small": A3CSmall, "a3c-ff": A3CFF, "nature": Nature, "minatar": MinAtar}
    return kinds[model](channels, num_actions, (height, width))
