"""Stepping environments with an agent, a rollout at a time.

An agent has one seat for all environments of its worker or several, each for a part of them. The parts take
turns then: while a GPU chooses the actions of one, the core steps another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from a3c.agents.base import Seat
from a3c.envs import EnvBatch
from a3c.training.timings import Timings
from a3c.types import ActorOutput, EpisodeStats, Rollout, State, TimeStep

Zeros = Callable[[tuple[int, ...], Any], np.ndarray]
"""(shape, dtype) to an array: numpy's, or one in memory that a GPU reads."""


def collect(
    envs: EnvBatch,
    seats: Sequence[Seat],
    length: int,
    reward_clip: float,
    timings: Timings,
    stopped: Callable[[], bool] = lambda: False,
    before_step: Callable[[int], None] = lambda t: None,
    zeros: Zeros = np.zeros,
    truncation_ends: bool = False,
) -> Iterator[Rollout]:
    """Yields rollouts of `length` steps, each going on where the last one ended, until `stopped()`; a
    rollout that was begun is then dropped.

    The caller pulls weights between two rollouts, or in `before_step`, which is told the number of the step
    in its rollout. A yielded rollout's arrays are reused by the next. Rewards are clipped to +-reward_clip
    (0: not at all) for learning; the episodes' returns stay raw. With `truncation_ends` a time limit has the
    discount of a terminal transition, 0, so nothing bootstraps from what it cut off.

    Raises:
        FloatingPointError: the environment gave a non-finite observation or reward.
    """
    tape = Tape.blank(envs, length, zeros)
    parts = divide(envs, seats, tape)
    state, frames = join(parts), sum(part.envs.frames for part in parts)
    while True:
        initial_state, asked = state, deque[Part]()
        for part in parts:
            part.begin()
        for t in range(length):
            if stopped():
                return
            before_step(t)
            for part in parts:
                asked.append(part)
                with timings.time("act"):
                    part.ask(t)
                    # Whoever asked first; the other parts' actions are being computed meanwhile.
                    turn = asked.popleft().wait() if len(asked) == len(parts) else None
                if turn:
                    with timings.time("env"):
                        turn.step()
        for part in asked:
            with timings.time("act"):
                part.wait()
            with timings.time("env"):
                part.step()
        if reward_clip:
            np.clip(tape.rewards, -reward_clip, reward_clip, out=tape.rewards)
        if truncation_ends:
            tape.discounts[tape.lasts] = 0.0
        state, before, frames = join(parts), frames, sum(part.envs.frames for part in parts)
        episodes = [episode for part in parts for episode in part.envs.pop_episodes()]
        yield tape.rollout(initial_state, state, parts[0].output, episodes, frames - before)


class Tape(NamedTuple):
    """The arrays of a rollout, as `Rollout` has them."""

    observations: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray  # [T, B]: the step ended an episode, as in `TimeStep`
    actions: np.ndarray
    rewards: np.ndarray
    discounts: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray

    @classmethod
    def blank(cls, envs: EnvBatch, length: int, zeros: Zeros) -> Tape:
        """For `length` steps of some environments."""
        shape = (length, envs.size)
        observations = zeros(
            (length + 1, envs.size, *envs.spec.observation_shape), envs.spec.observation_dtype
        )
        numbers = (zeros(shape, np.float32) for _ in range(4))
        firsts, lasts = zeros((length + 1, envs.size), bool), np.zeros(shape, bool)
        return cls(observations, firsts, lasts, zeros(shape, np.int64), *numbers)

    def columns(self, of: slice) -> Tape:
        """Those of a part of the environments, in the same memory."""
        return Tape(*(array[:, of] for array in self))

    def write(self, t: int, output: ActorOutput, step: TimeStep) -> None:
        """Notes what was done at step t, and what came of it but for the observations."""
        self.actions[t], self.rewards[t], self.discounts[t] = output.action, step.reward, step.discount
        self.firsts[t + 1], self.lasts[t] = step.first, step.last
        if output.log_prob is not None:
            self.log_probs[t] = output.log_prob
        if output.value is not None:
            self.values[t] = output.value

    def rollout(
        self, initial: State, final: State, told: ActorOutput, episodes: list[EpisodeStats], frames: int
    ) -> Rollout:
        """All of it as a rollout, with what the agent told of its steps."""
        return Rollout(
            self.observations, self.actions, self.rewards, self.discounts, self.firsts, initial, final,
            None if told.log_prob is None else self.log_probs, None if told.value is None else self.values,
            episodes, frames,
        )  # fmt: skip


class Part:
    """Some of a worker's environments, who acts for them, and their columns of the tape."""

    def __init__(self, envs: EnvBatch, seat: Seat, tape: Tape) -> None:
        self.envs, self.seat, self._tape = envs, seat, tape
        self._step, self._t = envs.reset(), 0
        self.output: ActorOutput

    def begin(self) -> None:
        """Begins a rollout where the last one ended."""
        self._tape.observations[0], self._tape.firsts[0] = self._step.observation, self._step.first

    def ask(self, t: int) -> None:
        """Has the actions of step t computed."""
        self._t = t
        self.seat.ask(self._tape.observations[t], self._tape.firsts[t])

    def wait(self) -> Part:
        """Returns when they are there."""
        self.output = self.seat.answer()
        return self

    def step(self) -> None:
        """Takes them. Raises FloatingPointError."""
        shown = self._tape.observations[self._t + 1]
        self.envs.show_in(shown)
        self._step = self.envs.step(self.output.action)
        refuse_nonfinite(self._step, self.envs.spec.env_id)
        if self._step.observation is not shown:
            shown[:] = self._step.observation
        self._tape.write(self._t, self.output, self._step)


def divide(envs: EnvBatch, seats: Sequence[Seat], tape: Tape) -> list[Part]:
    """Each seat with its environments, in their order."""
    if len(seats) == 1:
        return [Part(envs, seats[0], tape)]
    parts, start = [], 0
    for seat in seats:
        end = start + seat.size
        parts.append(Part(envs.select(range(start, end)), seat, tape.columns(slice(start, end))))
        start = end
    return parts


def join(parts: Sequence[Part]) -> State:
    """The recurrent state of all environments."""
    states = [part.seat.state for part in parts]
    if len(states) == 1:
        return states[0]
    return tuple(torch.cat(tensors) for tensors in zip(*states, strict=True))


def refuse_nonfinite(step: TimeStep, env_id: str) -> None:
    """Raises FloatingPointError when an environment gave anything NaN or infinite."""
    for name, values in (("observation", step.observation), ("reward", step.reward)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise FloatingPointError(f"{env_id} gave a non-finite {name}; nothing was learned from it")
