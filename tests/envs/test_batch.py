"""Batches of anything: episodes, seams, failures."""

from __future__ import annotations

import numpy as np
import pytest

from a3c.envs.batch import Batch, Transition
from a3c.types import EnvSpec, EpisodeStats


class Corridor:
    """Ends after `length` steps; each is worth 7, and 2 are given before the first. Five frames a step."""

    def __init__(self, length: int, seed: int = 0, step_cap: int = 0, fail_at: int = 0) -> None:
        self.spec = EnvSpec("Corridor-v0", (1,), "float32", num_actions=2, step_cap=step_cap)
        self.seed, self.length, self.fail_at = seed, length, fail_at
        self.observation = np.zeros(1, np.float32)
        self.frames = self.episode_frames = 0
        self.closed = False

    def reset(self) -> float:
        self.observation[0] = 0
        self.episode_frames = 0
        return 2.0

    def step(self, action: int) -> Transition:
        self.observation[0] += 1
        if self.observation[0] == self.fail_at:
            raise OSError("the corridor\ncaved in")
        self.frames += 5
        self.episode_frames += 5
        over = bool(self.observation[0] == self.length)
        return Transition(7.0, 0.0 if over else 1.0, over, False)

    def render(self) -> np.ndarray:
        return np.full((2, 2, 3), self.seed, np.uint8)

    def close(self) -> None:
        self.closed = True


def test_each_environment_has_episodes_of_its_own() -> None:
    batch = Batch.of([Corridor(2), Corridor(3)])
    actions = np.zeros(2, np.int64)
    log = [batch.reset()]
    rows = [np.stack([log[0].observation[:, 0], log[0].first, log[0].last, log[0].reward, log[0].discount])]
    for _ in range(4):
        step = batch.step(actions)
        rows.append(np.stack([step.observation[:, 0], step.first, step.last, step.reward, step.discount]))
    observation, first, last, reward, discount = np.stack(rows, axis=1)
    assert observation.T.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert first.T.tolist() == [[1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    assert last.T.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert reward.T.tolist() == [[0, 7, 7, 0, 7], [0, 7, 7, 7, 0]]
    assert discount.T.tolist() == [[1, 1, 0, 1, 1], [1, 1, 1, 0, 1]]
    assert batch.pop_episodes() == [EpisodeStats(16, 2, 10, False), EpisodeStats(23, 3, 15, False)]
    assert batch.pop_episodes() == []
    assert batch.frames == 30


def test_a_step_cap_truncates_and_a_true_end_at_the_same_step_wins() -> None:
    batch = Batch.of([Corridor(9, step_cap=3), Corridor(3, step_cap=3)])
    batch.reset()
    for _ in range(3):
        step = batch.step(np.zeros(2, np.int64))
    assert step.last.tolist() == [True, True]
    assert step.discount.tolist() == [1, 0]
    assert [e.truncated for e in batch.pop_episodes()] == [True, False]


def test_a_reset_drops_running_episodes() -> None:
    batch = Batch.of([Corridor(2)])
    batch.reset()
    batch.step(np.zeros(1, np.int64))
    assert batch.reset().first.all()
    for _ in range(2):
        batch.step(np.zeros(1, np.int64))
    assert batch.pop_episodes() == [EpisodeStats(16, 2, 10, False)]


def test_selected_environments_are_the_same_live_ones() -> None:
    environments = [Corridor(5, seed) for seed in range(3)]
    batch = Batch.of(environments)
    batch.reset()
    batch.step(np.zeros(3, np.int64))
    part = batch.select([2, 0])
    assert part.step(np.zeros(2, np.int64)).observation.tolist() == [[2], [2]]
    assert [e.observation[0] for e in environments] == [2, 1, 2]
    assert part.render(0)[0, 0, 0] == 2
    assert (part.frames, batch.frames) == (20, 25)
    for _ in range(3):
        part.step(np.zeros(2, np.int64))
    assert [e.length for e in part.pop_episodes()] == [5, 5]
    part.close()
    assert [e.closed for e in environments] == [True, False, True]


def test_f05_a_failure_names_environment_index_seed_and_step() -> None:
    batch = Batch.of([Corridor(9), Corridor(9, seed=77, fail_at=4)])
    batch.reset()
    for _ in range(3):
        batch.step(np.zeros(2, np.int64))
    message = r"Corridor-v0: step failed in environment 1 \(seed 77, step 4\): OSError: the corridor"
    with pytest.raises(RuntimeError, match=message) as caught:
        batch.step(np.zeros(2, np.int64))
    assert isinstance(caught.value.__cause__, OSError)
