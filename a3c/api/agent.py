"""A trained agent in people's own programs: it acts, is evaluated, and makes the environment it plays."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from a3c.agents.dqn import DqnPolicy
from a3c.agents.policy import ActorCriticPolicy
from a3c.envs import make_agent_env
from a3c.envs.registry import full_id
from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.settings.values import Typed
from a3c.trained.find import Rebuilt, Trained, find_trained, rebuild
from a3c.types import EnvSpec
from evaluators.games.episodes import finish
from evaluators.scoring.command import NUM_EPISODES, parse
from evaluators.scoring.score import find_device, measured, play_all


def load(
    path: str | os.PathLike[str] = "",
    *,
    env: str = "",
    greedy: bool = False,
    device: str = "cpu",
    seed: int = 1,
) -> Agent:
    """A trained agent, for instance `a3c.load("checkpoints/CartPole-v1-ppo")`.

    Args:
        path: of a run, a checkpoint or a package, "released:NAME" or "hub:user/name". Of a run, its best
            checkpoint is taken, else its newest. "best" and "newest" are those of the newest run under
            `checkpoints/`; empty: best, else newest, and where nothing was trained yet a released agent.
        env: another environment to play in; empty: the one it was trained in. An id "module:Id" is imported
            only when it stands here, never because a file names it.
        greedy: take the likeliest action instead of sampling from the policy. Tables are always greedy.
        device: "cpu", "cuda" or "cuda:N".
        seed: of the sampling.

    Raises:
        UsageError: there is no such run, environment or device.
        CheckpointError: it has no checkpoint, a damaged one, or one that does not fit the environment.
        StorageError: it cannot be read, or the Hub cannot be reached.
    """
    device = _device(device)
    typed = full_id(Typed(env))
    trained = find_trained(os.fspath(path), env=typed, flag="a3c.load")
    return Agent(trained, rebuild(trained, typed, seed, device, greedy), device, greedy)


class Agent:
    """A trained agent, as `load` gives it.

    It plays one environment, or one batch of them, at a time: what its network remembers (LSTM) is kept from
    one `act` to the next. For a second game beside it, load it twice.
    """

    def __init__(self, trained: Trained, rebuilt: Rebuilt, device: str, greedy: bool) -> None:
        self._trained, self._rebuilt, self._device, self._greedy = trained, rebuilt, device, greedy
        self._policy = rebuilt.policy
        self._leading: tuple[int, ...] | None = None  # of the last observations; None: nothing is remembered
        self._state = self._policy.initial_state(1)
        self._remembers = bool(self._state)
        self._begins = False  # an environment of make_env was reset: its next observation begins an episode

    @property
    def config(self) -> Config:
        """The settings it was trained with, in groups: `config.env.env`, `config.learn.gamma`."""
        return self._rebuilt.config

    @property
    def spec(self) -> EnvSpec:
        """What its environment is: observations, actions, and under which rules it is played."""
        return self._rebuilt.env

    @property
    def path(self) -> Path:
        """The checkpoint or package it comes from."""
        return self._trained.path

    @property
    def env_steps(self) -> int:
        """Steps of training behind it."""
        return self._trained.env_steps

    @cached_property
    def network(self) -> torch.nn.Module | None:
        """Its network with its weights: a copy in float32 on the CPU. None for a table or a random agent.

        Of A3C and PPO, `network(observation, network.initial_state(B))`, observation [B, ...], gives logits
        [B, A], values [B] and the next state; of DQN, `network(observation)` gives action values [B, A].
        """
        if not isinstance(self._policy, (ActorCriticPolicy, DqnPolicy)):
            return None
        network: torch.nn.Module = copy.deepcopy(self._policy.network)
        for name, parameter in network.named_parameters():
            parameter.data = self._policy.parameters.views[name].clone()
        return network

    def act(self, observation: Any, first: Any = None) -> Any:
        """Chooses an action for each observation.

        What it remembers begins afresh at its first observation, after `reset`, where `first` says so, when
        another number of observations comes than before, and at each `reset()` of an environment that
        `make_env` made.

        Args:
            observation: one, as the environments of `make_env` give it, or a batch of them, [B, ...].
            first: whether it begins an episode; for a batch [B] bool. Left out, it goes on. An agent with a
                memory must be told for a batch, from the second call on.

        Returns:
            The action, an int; for a batch [B] int64.

        Raises:
            ValueError: the observation is of another shape or kind, or `first` is missing.
        """
        batch, leading = self._batch(observation)
        firsts = self._firsts(first, leading)
        output = self._policy.act(batch, firsts.reshape(len(batch)), self._state)
        self._state = output.state
        return output.action if leading else int(output.action[0])

    def reset(self) -> None:
        """Forgets what the network remembers: the next observations begin episodes."""
        self._leading = None

    def _batch(self, observation: Any) -> tuple[np.ndarray, tuple[int, ...]]:
        """Observations [B, ...] of their own memory, and the shape before that of one of them: () or (B,)."""
        spec, given = self.spec, np.asarray(observation)
        dimensions = given.ndim - len(spec.observation_shape)
        leading, shape = given.shape[:dimensions], given.shape[max(dimensions, 0) :]
        fits = dimensions in (0, 1) and shape == spec.observation_shape
        if not fits or not np.can_cast(given.dtype, spec.observation_dtype, "same_kind"):
            wanted = f"{spec.observation_dtype} {list(spec.observation_shape)}"
            raise ValueError(
                f"the observation is {given.dtype} {list(given.shape)}; this agent takes {wanted}, or a "
                "batch of them, as the environment of make_env() gives them"
            )
        if spec.num_states and given.size and not 0 <= given.min() <= given.max() < spec.num_states:
            raise ValueError(f"the observation {given} is no state from 0 to {spec.num_states - 1}")
        return np.array(given.reshape(-1, *shape), spec.observation_dtype), leading

    def _firsts(self, first: Any, leading: tuple[int, ...]) -> np.ndarray:
        """Which observations begin an episode, of shape `leading`; makes the state where all do."""
        if leading != self._leading:
            self._leading, self._state = leading, self._policy.initial_state(*leading or (1,))
            first = True
        elif first is None and leading and self._remembers:
            raise ValueError(
                "this agent remembers what it saw: tell it which observations of the batch begin an episode, "
                "act(observation, first)"
            )
        elif first is None:
            first = self._begins and not leading
        self._begins = self._begins and bool(leading)
        return np.array(np.broadcast_to(np.asarray(first, bool), leading))

    def _episode_begins(self) -> None:
        self._begins = True

    def make_env(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """The environment it plays, as a `gymnasium.Env` with its own preprocessing and rules, for instance
        a stack of 84x84 pictures of an Atari game. See `a3c.envs.agent_env.AgentEnv`.

        Its `reset` tells the agent that an episode begins. Rewards are raw, and their sum is the score.

        Args:
            render_mode: "rgb_array" to call `render`.

        Raises:
            UsageError: it cannot be made or drawn like this.
            CheckpointError: it would import code that only a file names.
        """
        return make_agent_env(self.config.env, render_mode, self._episode_begins)

    def evaluate(self, episodes: int = NUM_EPISODES, *, seed: int = 1) -> dict[str, Any]:
        """Plays whole games, unclipped, over all lives, as `a3c eval` does: the same seeds on a CPU give the
        same scores. What `act` remembers stays as it is.

        Args:
            episodes: games.
            seed: of the first game; the others follow.

        Returns:
            What `a3c eval --json` writes: "scores", "mean", "std", "median", "iqm", "seeds", "lengths", the
            rules of the game, and for a table its exact value.

        Raises:
            UsageError: a number is out of bounds.
        """
        options = parse([f"--num-episodes={episodes}", f"--seed={seed}"])
        seeds = tuple(range(options.seed, options.seed + options.num_episodes))
        with _one_thread():  # the same scores whatever the number of cores
            games = finish(play_all(self._rebuilt, seeds))
        return measured(self._trained, self._rebuilt, games, self._greedy, self._device)

    def __repr__(self) -> str:
        learn = self.config.learn
        model = f" with {learn.model}" if learn.model else ""
        return f"<a3c.Agent: {learn.algo}{model} of {self.spec.env_id}, {self.env_steps} steps of training>"


def _device(text: str) -> str:
    """ "cpu" or "cuda:N", where there is such a GPU. Raises UsageError."""
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,4}))?", str(text))
    if not match:
        raise UsageError(f"device {text!r}: take cpu, cuda or cuda:N")
    return find_device(-1 if match[0] == "cpu" else int(match[1] or 0))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
