"""A policy of an actor and a critic: it acts, and says what it thinks of rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from a3c.networks.actor_critic import ActorCritic, NetworkOutput
from a3c.networks.compute import to_compute_format
from a3c.stores.parameters import Parameters
from a3c.types import ActorOutput, Rollout, State

CACHED_IMAGES = 64
"""Images a CPU computes at a time; 320 of them leave its caches, and A3Clstm's layers take a third longer."""

GPU_IMAGES = 640
"""Images a GPU computes at a time: enough to keep it busy, and A3Clstm's first layer of them is 260 MB."""


class Material(NamedTuple):
    """A rollout on the device: what its lessons are computed from. As in `Rollout`."""

    observations: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    discounts: torch.Tensor
    firsts: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    initial_state: State
    final_state: State

    @classmethod
    def of(cls, rollout: Rollout) -> Material:
        """The rollout's own arrays; what the agent did not tell is NaN."""
        r, untold = rollout, np.full_like(rollout.rewards, np.nan)
        told = [untold if array is None else array for array in (r.log_probs, r.values)]
        arrays = (r.observations, r.actions, r.rewards, r.discounts, r.firsts, *told)
        return cls._make((*map(torch.from_numpy, arrays), r.initial_state, r.final_state))

    def on(self, device: torch.device) -> Material:
        """The same on a device: these themselves, or copies."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Material:
        """Each tensor changed."""
        *arrays, initial, final = self
        states = (tuple(map(change, state)) for state in (initial, final))
        return Material._make((*map(change, arrays), *states))

    def tensors(self) -> Sequence[torch.Tensor]:
        """All of them, in one order."""
        *arrays, initial, final = self
        return [*arrays, *initial, *final]

    @property
    def valid(self) -> torch.Tensor:
        """[T, B] bool: which transitions are real."""
        return ~self.firsts[1:]


class ActorCriticPolicy:
    """Samples actions from the network's softmax, or takes the likeliest.

    The weights are held twice: `parameters`, flat float32 on the CPU, is what a store pulls into; the
    network has them in the form its device computes with fastest (see `to_compute_format`).

    Args:
        network: taken over and moved to `device`.
        seed: of the sampling.
        device: "cpu" or "cuda:N".
        greedy: take the likeliest action instead of sampling.
        bf16: compute convolutions and matrix products in bfloat16; the shared weights stay float32.
    """

    def __init__(
        self, network: ActorCritic, seed: int, device: str, greedy: bool = False, bf16: bool = False
    ) -> None:
        self.device, self.greedy, self.bf16 = torch.device(device), greedy, bf16
        self.parameters = Parameters.of_module(network)
        if self.device.type == "cuda":
            self.parameters = self.parameters.pin()
        self.network = to_compute_format(network, device, bf16)
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def refresh(self) -> None:
        weights = self.parameters.on(self.device)
        for name, parameter in self.network.named_parameters():
            parameter.copy_(weights[name])

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def upload(self, observation: np.ndarray) -> torch.Tensor:
        """The observation [B, ...] on the device: one copy, from pinned memory where it is a GPU."""
        if self.device.type == "cpu":
            return torch.from_numpy(observation)
        return torch.from_numpy(observation).pin_memory().to(self.device, non_blocking=True)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        """The network's features [B, F] of an uploaded observation [B, ...]."""
        with self._autocast():
            return self.network.features(observation)

    def rollout_features(self, observations: torch.Tensor) -> torch.Tensor:
        """The features [T, B, F] of uploaded observations [T, B, ...]."""
        images = observations.flatten(0, 1)
        parts = torch.split(images, CACHED_IMAGES if self.device.type == "cpu" else GPU_IMAGES)
        return torch.cat([self.features(part) for part in parts]).view(*observations.shape[:2], -1)

    def unroll(self, features: torch.Tensor, firsts: torch.Tensor, state: State) -> NetworkOutput:
        """The network's answers to T steps, features [T, B, F]; the state is reset where `firsts` [T, B]."""
        nothing = firsts.device.type == "cpu" and not firsts.any()  # a GPU would have to be waited for
        with self._autocast():
            return self.network.unroll(features, None if nothing else ~firsts.unsqueeze(-1), state)

    def forward_rollout(self, material: Material, features: torch.Tensor | None = None) -> NetworkOutput:
        """The network's answers to a rollout's steps, from their features [T, B, F] if these are kept."""
        if features is None:
            features = self.rollout_features(material.observations[:-1])
        return self.unroll(features, material.firsts[:-1], material.initial_state)

    def step(self, features: torch.Tensor, first: torch.Tensor, state: State) -> NetworkOutput:
        """The network's answer to one step: features [B, F], with the state reset where `first` [B]."""
        output = self.unroll(features.unsqueeze(0), first.unsqueeze(0), state)
        return NetworkOutput(output.logits[0], output.value[0], output.state)

    def forward(self, observation: np.ndarray, first: np.ndarray, state: State) -> NetworkOutput:
        """The same for an observation [B, ...] that is not on the device yet."""
        return self.step(self.features(self.upload(observation)), self.upload(first), state)

    def evaluate(self, observation: torch.Tensor, state: State = ()) -> NetworkOutput:
        """The network's answer to observation [B, ...] on its device."""
        with self._autocast():
            output: NetworkOutput = self.network(observation, state)
        return output

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def draw(self, chances: torch.Tensor) -> torch.Tensor:
        """Fills a tensor [B, A] with what `select_actions` needs to sample."""
        return chances.exponential_(generator=self.generator)

    def select_actions(self, logits: torch.Tensor, chances: torch.Tensor | None = None) -> torch.Tensor:
        """[B] int64 actions for logits [B, A], by chances [B, A] that were drawn, or are now.

        The waiting time for an event of rate p is exponential, and of several events each comes first with
        its share of the rates: so the largest p / chance is a sample of p.
        """
        if self.greedy:
            return logits.argmax(-1)
        probabilities = torch.softmax(logits.detach(), -1)
        if chances is None:
            chances = self.draw(torch.empty_like(probabilities))
        return (probabilities / chances).argmax(-1)

    @torch.no_grad()
    def probabilities(
        self, observation: np.ndarray, first: np.ndarray, state: State
    ) -> tuple[np.ndarray, State]:
        output = self.forward(observation, first, state)
        logits = output.logits.double().cpu()
        chosen = (
            F.one_hot(logits.argmax(-1), logits.shape[-1]).double() if self.greedy else logits.softmax(-1)
        )
        return chosen.numpy(), output.state

    @torch.no_grad()
    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        output = self.forward(observation, first, state)
        return ActorOutput(self.select_actions(output.logits).cpu().numpy(), output.state)


def evaluate_actions(logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of `actions` [...] under logits [..., A], and the entropies; both [...]."""
    all_log_probs = torch.log_softmax(logits, -1)
    log_probs = all_log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return log_probs, -(all_log_probs.exp() * all_log_probs).sum(-1)
