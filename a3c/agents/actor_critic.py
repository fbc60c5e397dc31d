"""What A3C and PPO have in common: a policy of an actor and a critic, and PPO's lesson from a rollout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from a3c.learning.losses import ActorCriticLoss, LossWeights, ppo_loss
from a3c.learning.returns import Corrected, explained_variance, gae, vtrace
from a3c.learning.schedules import linear
from a3c.networks.actor_critic import ActorCritic, NetworkOutput, make_network
from a3c.networks.compute import to_compute_format, use_bf16
from a3c.settings.algorithms import FACTS, check_observation
from a3c.settings.config import Config
from a3c.settings.cores import workers_at_a_time
from a3c.stores.parameters import Parameters, gradients_of
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State

METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "value_mean",
    "explained_variance",
    "approx_kl",
    "clip_fraction",
    "mean_ratio",
    "truncated_share",
)
"""What every lesson reports."""

CACHED_IMAGES = 64
"""Images a CPU computes at a time; 320 of them leave its caches, and A3Clstm's layers take a third longer."""


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
        parts = torch.split(images, CACHED_IMAGES if self.device.type == "cpu" else len(images))
        return torch.cat([self.features(part) for part in parts]).view(*observations.shape[:2], -1)

    def unroll(self, features: torch.Tensor, firsts: np.ndarray, state: State) -> NetworkOutput:
        """The network's answers to T steps, features [T, B, F]; the state is reset where `firsts` [T, B]."""
        keep = torch.from_numpy(~firsts).to(self.device).unsqueeze(-1) if firsts.any() else None
        with self._autocast():
            return self.network.unroll(features, keep, state)

    def forward_rollout(self, rollout: Rollout, observations: torch.Tensor) -> NetworkOutput:
        """The network's answers to a rollout's uploaded observations [T, B, ...]."""
        return self.unroll(self.rollout_features(observations), rollout.firsts[:-1], rollout.initial_state)

    def forward(self, observation: np.ndarray, first: np.ndarray, state: State) -> NetworkOutput:
        """The network's answer to one step: observation [B, ...], with the state reset where `first` [B]."""
        return self.forward_features(self.features(self.upload(observation)), first, state)

    def forward_features(self, features: torch.Tensor, first: np.ndarray, state: State) -> NetworkOutput:
        """The same from the features [B, F]."""
        output = self.unroll(features.unsqueeze(0), first[None], state)
        return NetworkOutput(output.logits[0], output.value[0], output.state)

    def evaluate(self, observation: torch.Tensor, state: State = ()) -> NetworkOutput:
        """The network's answer to observation [B, ...] on its device."""
        with self._autocast():
            output: NetworkOutput = self.network(observation, state)
        return output

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def select_actions(self, logits: torch.Tensor) -> torch.Tensor:
        """[B] int64 actions for logits [B, A]."""
        if self.greedy:
            return logits.argmax(-1)
        probabilities = torch.softmax(logits.detach(), -1)
        return torch.multinomial(probabilities, 1, generator=self.generator).squeeze(-1)

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


def behaviour_log_probs(rollout: Rollout) -> torch.Tensor:
    """[T, B], of the actions, under the policy that took them."""
    if rollout.log_probs is None:
        raise ValueError("the agent did not record the log-probabilities of its actions")
    return rollout.log_probs


class Samples(NamedTuple):
    """N real steps of a rollout, and what is to be learned from them; without gradient."""

    actions: torch.Tensor  # [N] int64
    log_probs: torch.Tensor  # [N], of the actions, which the ratio of PPO's objective is to
    values: torch.Tensor  # [N], by the weights that the advantages are of
    advantages: torch.Tensor  # [N]
    targets: torch.Tensor  # [N], of the value
    log_ratios: torch.Tensor  # [N], of the policy that the advantages are of to the one that acted

    def take(self, indices: torch.Tensor) -> Samples:
        return Samples(*(part[indices] for part in self))


class Objective(NamedTuple):
    """What is to be learned."""

    gamma: float  # discount per step
    tau: float  # lambda of GAE
    weights: LossWeights  # of the terms of the loss, at first
    epochs: int = 1  # passes over each rollout
    clip_range: float = 0.2  # how far the ratio of new to old policy may leave 1 and still be rewarded
    fresh: bool = False  # learn with the newest weights, by V-trace, from what older ones did


class ActorCriticAgent:
    """What agents with an `ActorCriticPolicy` share: schedules, state, and PPO's lesson.

    Args:
        policy: acts and holds the network.
        objective: what is to be learned.
    """

    def __init__(self, policy: ActorCriticPolicy, objective: Objective) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.objective, self.weights = objective, objective.weights
        self.fresh = objective.fresh

    def begin_rollout(self, counters: Counters) -> None:
        initial = self.objective.weights
        if end := initial.entropy_end:
            entropy = linear(initial.entropy, 0.0, end, counters.env_steps)
            self.weights = initial._replace(entropy=entropy)

    def initial_state(self, batch: int) -> State:
        return self.policy.initial_state(batch)

    def refresh(self) -> None:
        self.policy.refresh()

    def get_state(self) -> dict[str, Any]:
        return {"generator": self.policy.generator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.generator.set_state(state["generator"])

    @torch.no_grad()
    def returns(
        self, rollout: Rollout, values: torch.Tensor, log_ratios: torch.Tensor, final_state: State
    ) -> Corrected:
        """Advantages and value targets of a rollout: by GAE or, with weights that did not act, by V-trace.

        Args:
            values: [T, B], of its steps.
            log_ratios: [T, B], of its actions' probabilities to those under the policy that acted.
            final_state: [B, ...], before its last observation.
        """
        last = self.policy.forward(rollout.observations[-1], rollout.firsts[-1], final_state)
        all_values = torch.cat([values, last.value.unsqueeze(0)])
        rewards, discounts, valid = (
            torch.from_numpy(a).to(self.policy.device)
            for a in (rollout.rewards, rollout.discounts, rollout.valid())
        )
        gamma, tau = self.objective.gamma, self.objective.tau
        if self.fresh:
            return vtrace(rewards, discounts, all_values, valid, log_ratios, gamma, tau)
        advantages, targets = gae(rewards, discounts, all_values, valid, gamma, tau)
        return Corrected(advantages, targets, advantages)

    def surrogate_gradients(
        self, logits: torch.Tensor, values: torch.Tensor, samples: Samples
    ) -> tuple[Gradients, dict[str, float]]:
        """Gradient of PPO's loss on samples of a rollout, by weights that changed since, and metrics.

        Args:
            logits: [N, A], of the weights as they are now.
            values: [N], of the weights as they are now.
            samples: what is to be learned.
        """
        log_probs, entropies = evaluate_actions(logits, samples.actions)
        loss = ppo_loss(
            log_probs=log_probs,
            old_log_probs=samples.log_probs,
            entropies=entropies,
            values=values,
            advantages=samples.advantages,
            value_targets=samples.targets,
            clip=self.objective.clip_range,
            weights=self.weights,
        )
        return gradients_of(loss.total, self.policy.network), report(loss, samples)


def report(loss: ActorCriticLoss, samples: Samples) -> dict[str, float]:
    """The metrics of a lesson: of its loss, and of what the critic knew before the first one."""
    ratios = samples.log_ratios.exp()
    return {
        "policy_loss": float(loss.policy.detach()),
        "value_loss": float(loss.value.detach()),
        "entropy": float(loss.entropy.detach()),
        "value_mean": float(samples.values.mean()) if len(samples.values) else 0.0,
        "explained_variance": explained_variance(samples.values, samples.targets),
        "approx_kl": float(loss.approx_kl),
        "clip_fraction": float(loss.clip_fraction),
        "mean_ratio": float(ratios.clamp(max=1).mean()) if len(ratios) else 1.0,
        "truncated_share": float((ratios > 1).float().mean()) if len(ratios) else 0.0,
    }


# ---------------------------------------------------------------------------------------------------
# From settings


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> ActorCriticPolicy:
    """An actor and a critic with fresh weights. Raises ValueError when the network does not fit."""
    torch.manual_seed(seed)  # of the initial weights
    learn = config.learn
    model = learn.model or "mlp"
    check_observation(model, spec.observation_shape)
    network = make_network(model, spec.observation_shape, spec.num_actions)
    return ActorCriticPolicy(network, seed, device, greedy, use_bf16(learn.precision, model, device))


def learns_fresh(config: Config, device: str) -> bool:
    """What `--fresh` says; auto: where acting makes weights old, or computing again is cheap, of an algorithm
    that learns more from them."""
    if config.learn.fresh != "auto":
        return config.learn.fresh == "on"
    return FACTS[config.learn.algo].fresh and (workers_at_a_time(config.run) > 2 or device != "cpu")


def make_objective(config: Config, device: str) -> Objective:
    """What the settings ask for."""
    learn, fresh = config.learn, learns_fresh(config, device)
    entropy_end = config.run.max_steps if learn.entropy_schedule == "linear" else 0
    weights = LossWeights(learn.value_coef, learn.entropy_coef, entropy_end)
    epochs = learn.epochs or FACTS[learn.algo].epochs
    return Objective(learn.gamma, learn.tau, weights, epochs, learn.clip_range, fresh)
