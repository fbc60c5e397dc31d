"""The few records that travel between the parts.

Dimensions: T steps of a rollout, B environments in a batch, A actions.
A *step* is one agent decision in one environment; a *frame* is one emulator frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

State = tuple[torch.Tensor, ...]
"""Recurrent state, each tensor [B, ...]; the empty tuple for a network without memory."""


@dataclass(frozen=True)
class EnvSpec:
    """What an environment really is, read back from the built object, not from its id."""

    env_id: str
    observation_shape: tuple[int, ...]
    observation_dtype: str  # "uint8", "float32" or "int64" (the index of a discrete state)
    num_actions: int
    action_meanings: tuple[str, ...] = ()
    num_states: int = 0  # of a discrete observation space, else 0
    sticky: float = 0.0  # probability that the emulator repeats the previous action
    frame_skip: tuple[int, int] = (1, 1)  # fewest and most frames per step
    frame_rate: float = 60.0  # frames per second when a person watches
    frame_cap: int = 0  # frames after which a game is truncated; 0: no cap
    step_cap: int = 0  # steps after which an episode is truncated; 0: no cap
    protocol: str = "none"  # "classic", "machado" or, outside Atari, "none"
    preprocessing: str = ""

    def signature(self) -> dict[str, Any]:
        """The fields a checkpoint must agree on to be played in this environment."""
        fields = asdict(self)
        del fields["frame_rate"]  # matters to those who watch only
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    def describe(self) -> str:
        """One line for the start of a run and for reports."""
        low, high = self.frame_skip
        skip = str(low) if low == high else f"{low}-{high} (random)"
        parts = [f"{self.env_id}: {self.num_actions} actions"]
        if self.protocol != "none":
            parts += [f"sticky {self.sticky:g}", f"frame skip {skip}", f"protocol {self.protocol}"]
        if self.num_states:
            parts.append(f"observation one of {self.num_states} states")
        else:
            parts.append(f"observation {self.preprocessing or 'x'.join(map(str, self.observation_shape))}")
        if self.frame_cap:
            parts.append(f"cap {self.frame_cap} frames")
        if self.step_cap:
            parts.append(f"cap {self.step_cap} steps")
        return ", ".join(parts)


class EpisodeStats(NamedTuple):
    """One finished game: all lives, unclipped."""

    episode_return: float
    length: int  # steps
    frames: int
    truncated: bool


class TimeStep(NamedTuple):
    """What a batch of environments shows after a step (as in dm_env).

    Three facts that are often mixed into one `done` are kept apart:

    - a terminal transition has `discount` 0 (game over, or a lost life while learning);
    - a time limit has `discount` 1: the observation is the episode's own last one, to bootstrap from
      (whether learning does is its setting, `truncation`);
    - after either end (`last`), the next step ignores its action and returns the first observation
      of a new episode, with `first` set and reward 0. A lost life alone is not an end.

    The arrays are the environment's own buffers, or one that it was lent, and valid until its next step.
    """

    observation: np.ndarray  # [B, ...]
    reward: np.ndarray  # [B] float32, raw
    discount: np.ndarray  # [B] float32, 0 or 1
    first: np.ndarray  # [B] bool: observation begins an episode
    last: np.ndarray  # [B] bool: observation ends an episode, by termination or truncation


@dataclass
class Rollout:
    """T steps of B environments, collected with constant weights.

    Transition t goes from observation t to t + 1. Where `firsts[t + 1]` is set it is no transition of
    the environment but the seam between two episodes: `valid()` is False there and nothing may learn
    from it.
    """

    observations: np.ndarray  # [T+1, B, ...]
    actions: np.ndarray  # [T, B] int64
    rewards: np.ndarray  # [T, B] float32, clipped for learning
    discounts: np.ndarray  # [T, B] float32
    firsts: np.ndarray  # [T+1, B] bool; the recurrent state is reset there
    initial_state: State  # [B, ...], before the first observation
    final_state: State  # [B, ...], before the last observation (the bootstrap value's)
    log_probs: np.ndarray | None = None  # [T, B] float32, of the actions when they were taken, if told
    values: np.ndarray | None = None  # [T, B] float32, of the observations then, if told
    episodes: list[EpisodeStats] = field(default_factory=list)  # finished inside this rollout
    frames: int = 0  # emulator frames used by this rollout

    def valid(self) -> np.ndarray:
        """[T, B] bool: which transitions are real."""
        return ~self.firsts[1:]

    @property
    def env_steps(self) -> int:
        """Agent decisions that were really taken."""
        return int(self.valid().sum())


class ActorOutput(NamedTuple):
    """A policy's answer for one batch of observations."""

    action: np.ndarray  # [B] int64
    state: State  # after the observation
    log_prob: np.ndarray | None = None  # [B] float32, of the actions; None where nobody learns from it
    value: np.ndarray | None = None  # [B] float32, of the observation; likewise


@dataclass(frozen=True)
class Rows:
    """A row-sparse gradient of one table: only these rows (and columns) are touched."""

    index: tuple[torch.Tensor, ...]  # int64 [K] per dimension
    value: torch.Tensor  # [K]


Gradients = Mapping[str, torch.Tensor | Rows]
"""Gradient of the loss by parameter name; the sign is that of descent (parameters move against it)."""


class PushResult(NamedTuple):
    """What became of a push."""

    applied: bool
    lag: int  # updates by anyone between the pull and this push
    grad_norm: float  # before clipping
    reason: str = ""  # why it was refused: "non-finite" or "stale"


class Counters(NamedTuple):
    """How far a run is, over all its resumes."""

    env_steps: int = 0
    frames: int = 0
    updates: int = 0
    rejected_nonfinite: int = 0  # gradients refused at the store
    rejected_stale: int = 0
    episodes: int = 0

    @property
    def rejected(self) -> int:
        """Gradients refused, for either reason."""
        return self.rejected_nonfinite + self.rejected_stale
