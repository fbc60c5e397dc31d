"""Stepping environments with an agent, a rollout at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from a3c.agents.base import Agent
from a3c.envs import EnvBatch
from a3c.training.timings import Timings
from a3c.types import Rollout, TimeStep


def collect(
    envs: EnvBatch,
    agent: Agent,
    length: int,
    reward_clip: float,
    timings: Timings,
    stopped: Callable[[], bool] = lambda: False,
    before_step: Callable[[int], None] = lambda t: None,
) -> Iterator[Rollout]:
    """Yields rollouts of `length` steps, each going on where the last one ended, until `stopped()`; a
    rollout that was begun is then dropped.

    The caller pulls weights between two rollouts, or in `before_step`, which is told the number of the step
    in its rollout. A yielded rollout's arrays are reused by the next. Rewards are clipped to +-reward_clip
    (0: not at all) for learning; the episodes' returns stay raw.

    Raises:
        FloatingPointError: the environment gave a non-finite observation or reward.
    """
    step = envs.reset()
    state = agent.initial_state(envs.size)
    observations = np.zeros((length + 1, *step.observation.shape), step.observation.dtype)
    firsts = np.zeros((length + 1, envs.size), bool)
    actions = np.zeros((length, envs.size), np.int64)
    rewards, discounts = np.zeros((2, length, envs.size), np.float32)
    frames = envs.frames
    while True:
        state = tuple(s.detach() for s in state)
        initial_state, log_probs = state, []
        observations[0], firsts[0] = step.observation, step.first
        for t in range(length):
            if stopped():
                return
            before_step(t)
            with timings.time("act"):
                output = agent.act(observations[t], firsts[t], state)
            with timings.time("env"):
                step = envs.step(output.action)
            refuse_nonfinite(step, envs.spec.env_id)
            state = output.state
            if output.log_prob is not None:
                log_probs.append(output.log_prob)
            actions[t], rewards[t], discounts[t] = output.action, step.reward, step.discount
            observations[t + 1], firsts[t + 1] = step.observation, step.first
        if reward_clip:
            np.clip(rewards, -reward_clip, reward_clip, out=rewards)
        yield Rollout(
            observations, actions, rewards, discounts, firsts, initial_state, state,
            torch.stack(log_probs) if log_probs else None, envs.pop_episodes(), envs.frames - frames,
        )  # fmt: skip
        frames = envs.frames


def refuse_nonfinite(step: TimeStep, env_id: str) -> None:
    """Raises FloatingPointError when an environment gave anything NaN or infinite."""
    for name, values in (("observation", step.observation), ("reward", step.reward)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise FloatingPointError(f"{env_id} gave a non-finite {name}; nothing was learned from it")
