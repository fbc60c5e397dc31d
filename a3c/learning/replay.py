"""Replay memory: a ring of single observations from which transitions are rebuilt when sampled.

A stack of frames is not stored, only its newest frame; the stack is put together again from the frames
before it. None reaches across the beginning of an episode: there the first frame is repeated, as the
environment's own stack does.

The ring has L rows of B streams, one stream per environment; a *slot* is row * B + stream. A slot holds
an observation, the action taken there, and the reward and discount that followed; its transition leads
to the next row of the same stream. Where that row begins an episode it is no transition but the seam
between two episodes, and never sampled. An episode cut by a time limit thus ends in its own final
observation, with discount 1. The newest slots wait for what follows them.
"""

from __future__ import annotations

import bisect
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from a3c.errors import UsageError

RESERVE_BYTES = 1 << 29  # of free memory, left for the rest of the program
SLOT_BYTES = 10  # action int32, reward float32, discount and first bool
MAX_DRAWS = 1000  # rounds of drawing again; more than a few happen only where no transition is complete
MIN_PRIORITY = 1e-6  # added to a TD error, so that every transition can come again


class ReplaySpec(NamedTuple):
    """What a replay memory holds and how transitions are made of it."""

    capacity: int  # observations, over all streams
    shape: tuple[int, ...]  # of an observation
    dtype: str = "uint8"
    stack: int = 0  # length of the observation's first axis, if that is a stack of frames; else 0
    streams: int = 1  # B, environments that are recorded side by side
    n_steps: int = 1  # rewards summed in one transition
    gamma: float = 0.99  # discount per step
    priority_exponent: float = 0.0  # alpha of prioritised sampling; 0: uniform sampling

    @property
    def rows(self) -> int:
        """L: the capacity of one stream."""
        return self.capacity // self.streams

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Of what one slot stores of an observation."""
        return self.shape[1:] if self.stack else self.shape

    def bytes_needed(self) -> int:
        """Memory of the full ring."""
        slots = self.rows * self.streams
        frame = math.prod(self.frame_shape) * np.dtype(self.dtype).itemsize
        tree = 16 * _power_of_two(slots) if self.priority_exponent else 0
        return slots * (frame + SLOT_BYTES) + tree


class ReplayBatch(NamedTuple):
    """N transitions of m <= n_steps steps each. The observations are valid until the next sample."""

    observations: np.ndarray  # [N, *shape]
    actions: np.ndarray  # [N] int64
    returns: np.ndarray  # [N] float32, sum of gamma^k reward_k over the m steps
    discounts: np.ndarray  # [N] float32, weight of the bootstrap value: gamma^m, or 0 after a terminal step
    next_observations: np.ndarray  # [N, *shape], m steps later
    weights: np.ndarray  # [N] float32, importance of each transition, at most 1
    slots: np.ndarray  # [N] int64, for `Replay.set_priorities`


class Replay:
    """The memory of one worker.

    Raises:
        ValueError: the capacity is too small for a single transition.
    """

    def __init__(self, spec: ReplaySpec) -> None:
        if spec.rows <= spec.n_steps + spec.stack:
            raise ValueError(
                f"a replay of {spec.capacity} observations is too small for {spec.streams} environments"
            )
        self.spec = spec
        slots = spec.rows * spec.streams
        self._frames = np.empty((slots, *spec.frame_shape), spec.dtype)
        self._actions = np.zeros(slots, np.int32)
        self._rewards = np.zeros(slots, np.float32)
        self._continues = np.zeros(slots, bool)  # discount 1
        self._firsts = np.zeros(slots, bool)
        self._priorities = SumTree(slots) if spec.priority_exponent else None
        self._highest_priority = 1.0
        self._row, self._filled = 0, 0  # the next row to write; rows written, at most L
        self._out = np.empty((2, 0, *spec.shape), spec.dtype)

    def __len__(self) -> int:
        """Slots that can be drawn from, seams included."""
        low, high = self._complete_ages()
        return max(0, high - low) * self.spec.streams

    def add(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        discounts: np.ndarray,
        firsts: np.ndarray,
    ) -> None:
        """Appends a rollout that continues the one before.

        Args:
            observations: [T+1, B, *shape]; the last comes again as the next rollout's first.
            actions: [T, B].
            rewards: [T, B].
            discounts: [T, B], 0 or 1.
            firsts: [T+1, B] bool, where an observation begins an episode.

        Raises:
            ValueError: the rollout is longer than the ring.
        """
        length = len(actions)
        if length >= self.spec.rows:
            raise ValueError(f"a rollout of {length} steps does not fit into {self.spec.rows} rows")
        slots = self._slots((self._row + np.arange(length)) % self.spec.rows)  # [T, B]
        self._frames[slots] = observations[:-1, :, -1] if self.spec.stack else observations[:-1]
        self._actions[slots], self._rewards[slots] = actions, rewards
        self._continues[slots], self._firsts[slots] = discounts != 0, firsts[:-1]
        if self._priorities:
            self._priorities.set(slots.ravel(), np.where(firsts[1:], 0.0, self._highest_priority).ravel())
        self._row = (self._row + length) % self.spec.rows
        self._filled = min(self._filled + length, self.spec.rows)

    def _slots(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, None] * self.spec.streams + np.arange(self.spec.streams)

    def _after(self, slots: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """The slots so many rows later in the same stream."""
        return np.asarray((slots + steps * self.spec.streams) % len(self._firsts))

    def _complete_ages(self) -> tuple[int, int]:
        """The rows that can be drawn, first and end, counted from the oldest: those with all of their frame
        stack and n steps in the memory."""
        overwritten = self._filled == self.spec.rows
        return max(0, self.spec.stack - 1) if overwritten else 0, self._filled - self.spec.n_steps

    # -----------------------------------------------------------------------------------------------
    # Sampling

    def sample(self, size: int, rng: np.random.Generator, beta: float = 1.0) -> ReplayBatch:
        """Draws transitions, uniformly or by priority, and rebuilds them.

        Args:
            size: N.
            rng: source of the draws.
            beta: how far `weights` correct for drawing by priority: 0 not at all, 1 fully.

        Raises:
            ValueError: no transition is complete yet.
        """
        return self.gather(self._draw(size, rng), beta)

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        if len(self):
            slots = self._candidates(size, rng)
            for _ in range(MAX_DRAWS):
                wrong = np.flatnonzero(~self._is_transition(slots))
                if not len(wrong):
                    return slots
                slots[wrong] = self._candidates(len(wrong), rng)
        raise ValueError("the replay holds no complete transition yet")

    def _candidates(self, size: int, rng: np.random.Generator) -> np.ndarray:
        if self._priorities:
            points = (np.arange(size) + rng.random(size)) / size  # one from each of N equal parts
            return self._priorities.find(points * self._priorities.total)
        low, _ = self._complete_ages()
        return self._after(rng.integers(len(self), size=size), self._oldest() + low)

    def _oldest(self) -> int:
        return self._row if self._filled == self.spec.rows else 0

    def _is_transition(self, slots: np.ndarray) -> np.ndarray:
        low, high = self._complete_ages()
        ages = (slots // self.spec.streams - self._oldest()) % self.spec.rows
        return np.asarray((ages >= low) & (ages < high) & ~self._firsts[self._after(slots, 1)])

    def gather(self, slots: np.ndarray, beta: float = 1.0) -> ReplayBatch:
        """Rebuilds the transitions that begin in slots [N] as drawn by `sample`."""
        returns, discounts, steps = self._n_step(slots)
        if self._out.shape[1] != len(slots):
            self._out = np.empty((2, len(slots), *self.spec.shape), self.spec.dtype)
        return ReplayBatch(
            observations=self._observe(slots, self._out[0]),
            actions=self._actions[slots].astype(np.int64),
            returns=returns,
            discounts=discounts,
            next_observations=self._observe(self._after(slots, steps), self._out[1]),
            weights=self._weights(slots, beta),
            slots=slots,
        )

    def _n_step(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, discount of the bootstrap value and number of steps m of each transition, [N] each."""
        path = self._after(slots[:, None], np.arange(self.spec.n_steps))  # [N, n]
        counted = ~self._firsts[self._after(path, 1)]
        counted[:, 1:] &= self._continues[path[:, :-1]]
        np.logical_and.accumulate(counted, axis=1, out=counted)
        steps = counted.sum(axis=1)
        powers = self.spec.gamma ** np.arange(self.spec.n_steps + 1)
        returns = (self._rewards[path] * counted) @ powers[:-1]
        last = self._after(slots, steps - 1)
        return returns.astype(np.float32), (powers[steps] * self._continues[last]).astype(np.float32), steps

    def _observe(self, slots: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The observations [N, *shape] of slots [N], written to `out`."""
        if self.spec.stack:
            back = np.arange(1 - self.spec.stack, 1)  # rows before the slot, oldest first, up to 0
            begins = self._firsts[self._after(slots[:, None], back)]  # [N, stack]
            beginning = np.where(begins, back, back[0]).max(axis=1, keepdims=True)
            slots = self._after(slots[:, None], np.maximum(back, beginning))
        np.take(self._frames, slots, axis=0, out=out, mode="clip")  # clip only because it needs no buffer
        return out

    def _weights(self, slots: np.ndarray, beta: float) -> np.ndarray:
        if not self._priorities:
            return np.ones(len(slots), np.float32)
        priorities = self._priorities.get(slots)
        return np.asarray((priorities / priorities.min()) ** -beta, np.float32)

    def set_priorities(self, slots: np.ndarray, td_errors: np.ndarray) -> None:
        """Makes slots [N] likelier the larger their TD errors [N]; nothing to do when sampling uniformly."""
        if self._priorities:
            priorities = (np.abs(td_errors) + MIN_PRIORITY) ** self.spec.priority_exponent
            self._highest_priority = max(self._highest_priority, float(priorities.max()))
            self._priorities.set(slots, priorities)


class SumTree:
    """Numbers >= 0 by index, from which an index is found with a probability in proportion to its number.

    A binary tree in one array: node i is the sum of nodes 2i and 2i + 1; the root is node 1.
    """

    def __init__(self, size: int) -> None:
        self._leaves = _power_of_two(size)  # the node of index 0
        self._depth = self._leaves.bit_length() - 1
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        return float(self._sums[1])

    def get(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self._sums[self._leaves + indices])

    def set(self, indices: np.ndarray, numbers: np.ndarray) -> None:
        nodes = self._leaves + indices
        self._sums[nodes] = numbers
        for _ in range(self._depth):
            nodes = nodes >> 1
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, points: np.ndarray) -> np.ndarray:
        """For each point in [0, total) the index in whose part of the running sum it lies."""
        nodes = np.ones(len(points), np.int64)
        for _ in range(self._depth):
            nodes = 2 * nodes
            left = self._sums[nodes]
            beyond = points >= left
            points = points - left * beyond
            nodes = nodes + beyond
        return nodes - self._leaves


def _power_of_two(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()


# ---------------------------------------------------------------------------------------------------
# Memory


def check_memory(spec: ReplaySpec, free_bytes: int) -> None:
    """Makes sure that a memory fits, before anything is started.

    Raises:
        UsageError: it does not; names the largest capacity that does.
    """
    usable = free_bytes - RESERVE_BYTES
    if spec.bytes_needed() <= usable:
        return
    smaller = range(spec.capacity)
    fits = bisect.bisect(smaller, usable, key=lambda n: spec._replace(capacity=n).bytes_needed()) - 1
    raise UsageError(
        f"a replay of {spec.capacity} observations needs {_gigabytes(spec.bytes_needed())} of memory, "
        f"but {_gigabytes(free_bytes)} are free; the largest that fits is {max(0, fits)}"
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def free_memory() -> int:
    """Bytes this process can still use: of the machine and, where it has a limit, of its container."""
    import psutil  # type: ignore[import-untyped]

    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        details = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(details["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return free  # no cgroup v2, or no limit
