"""Collecting from a scripted environment: what ends up where."""

import numpy as np
import pytest
import torch

from a3c.agents.base import Lone
from a3c.training.rollouts import collect
from a3c.training.timings import Timings
from a3c.types import ActorOutput, EnvSpec, EpisodeStats, TimeStep


class Countdown:
    """Two environments that count 0, 1, 2 and end: the first by termination, the second by truncation."""

    spec = EnvSpec("Countdown", (1,), "float32", 2)
    size = 2
    frames = 0
    poison = None

    def __init__(self):
        self.count = 0
        self.finished = []

    def _step(self, reward=0.0, discount=(1.0, 1.0)):
        at = np.full((2, 1), self.count, np.float32)
        first, last = np.full(2, self.count == 0), np.full(2, self.count == 2)
        if self.poison is not None:
            at[:] = self.poison
        return TimeStep(at, np.full(2, reward, np.float32), np.array(discount, np.float32), first, last)

    def reset(self):
        return self._step()

    def step(self, actions):
        self.frames += 8
        self.count = (self.count + 1) % 3
        if self.count == 0:
            return self._step()
        if self.count == 2:
            self.finished += [EpisodeStats(7.0, 2, 8, False), EpisodeStats(7.0, 2, 8, True)]
            return self._step(5.0, (0.0, 1.0))
        return self._step(2.0)

    def show_in(self, observations):
        pass

    def pop_episodes(self):
        finished, self.finished = self.finished, []
        return finished


class Recorder:
    """A policy whose state counts its steps since the last first observation; its action is that count."""

    def initial_state(self, batch):
        return (torch.zeros(batch, 1),)

    def act(self, observation, first, state):
        (count,) = state
        count = count * torch.from_numpy(~first).unsqueeze(1) + 1
        return ActorOutput(count.squeeze(1).long().numpy(), (count,), -count.squeeze(1).numpy())


def rollouts(length, clip=1.0, poison=None):
    envs = Countdown()
    envs.poison = poison
    return collect(envs, [Lone(Recorder(), 2)], length, clip, Timings())


def test_what_a_rollout_holds():
    rollout = next(rollouts(4))
    assert rollout.observations[:, 0, 0].tolist() == [0, 1, 2, 0, 1]
    assert rollout.firsts[:, 0].tolist() == [True, False, False, True, False]
    assert rollout.valid()[:, 0].tolist() == [True, True, False, True]  # 2 -> 0 is the seam
    assert rollout.env_steps == 6
    assert rollout.discounts[1].tolist() == [0.0, 1.0]  # terminated, truncated
    assert rollout.rewards[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0]  # clipped
    assert [e.episode_return for e in rollout.episodes] == [7.0, 7.0]  # raw
    assert rollout.frames == 4 * 8
    assert rollout.actions[:, 0].tolist() == [1, 2, 3, 1]
    assert rollout.log_probs[:, 0].tolist() == [-1, -2, -3, -1]


@pytest.mark.parametrize("length", [2, 3, 4])  # the cut is at a rollout's end, just before it and inside
def test_a_time_limit_can_count_as_an_end(length):
    stream = collect(Countdown(), [Lone(Recorder(), 2)], length, 0.0, Timings(), truncation_ends=True)
    for rollout in (next(stream), next(stream)):
        bootstraps = (rollout.observations[1:, :, 0] != 2).astype(float)
        assert rollout.discounts.tolist() == bootstraps.tolist()


def test_the_next_rollout_goes_on_where_the_last_ended():
    stream = rollouts(2, clip=0.0)
    first = next(stream)
    assert first.rewards[:, 0].tolist() == [2.0, 5.0]
    second = next(stream)
    assert second.observations[0, 0, 0] == 2.0
    assert second.initial_state[0].tolist() == [[2.0], [2.0]]
    assert not second.valid()[0].any()


def test_a_stop_drops_the_rollout_that_was_begun():
    answers = iter([False, False, False, True])
    stream = collect(Countdown(), [Lone(Recorder(), 2)], 2, 0.0, Timings(), lambda: next(answers))
    assert [len(rollout.actions) for rollout in stream] == [2]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_nonfinite_observation_is_refused(poison):
    with pytest.raises(FloatingPointError, match="Countdown gave a non-finite observation"):
        next(rollouts(2, poison=poison))
