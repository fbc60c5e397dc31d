"""The replay memory against a slow reference that keeps whole histories in lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a3c.errors import UsageError
from a3c.learning.replay import RESERVE_BYTES, Replay, ReplaySpec, SumTree, check_memory, free_memory

GAMMA = 0.9


class History:
    """Random episodes in B environments, remembered in full.

    Frame number t of environment b shows (t, b), so that every frame says where it is from.
    """

    def __init__(self, spec, seed, ends=0.2):
        self.spec, self.rng, self.ends = spec, np.random.default_rng(seed), ends
        self.steps = [[] for _ in range(spec.streams)]  # (frame, action, reward, discount, first)
        self.state = ["first"] * spec.streams  # what the next observation of an environment is

    def advance(self):
        for b, steps in enumerate(self.steps):
            first = self.state[b] == "first"
            last = self.state[b] == "last"  # an episode's final observation: its action is ignored
            frame = np.zeros(self.spec.frame_shape, self.spec.dtype)
            frame.flat[:2] = divmod(len(steps), 256)
            frame.flat[2] = b
            chances = [1 - self.ends, *[self.ends / 3] * 3]
            end = "no" if last else self.rng.choice(["no", "terminal", "truncated", "life"], p=chances)
            reward = 0.0 if last else float(self.rng.normal())
            discount = 0.0 if end in ("terminal", "life") else 1.0
            steps.append((frame, int(self.rng.integers(4)), reward, discount, first))
            self.state[b] = "first" if last else "last" if end in ("terminal", "truncated") else "on"

    def stack(self, b, t):
        """What the environment showed at time t: a stack that its first frame fills at the reset."""
        if not self.spec.stack:
            return self.steps[b][t][0]
        begin = max(i for i in range(t + 1) if self.steps[b][i][4])
        return np.stack([self.steps[b][max(begin, t - k)][0] for k in reversed(range(self.spec.stack))])

    def rollout(self, length):
        """The next `length` steps of every environment, overlapping the last rollout by one observation."""
        begin = max(0, len(self.steps[0]) - 1)
        while len(self.steps[0]) < begin + length + 1:
            self.advance()
        times = range(begin, begin + length + 1)
        columns = [[[steps[t][i] for steps in self.steps] for t in times] for i in range(1, 5)]
        actions, rewards, discounts, firsts = (np.array(column) for column in columns)
        observations = np.array([[self.stack(b, t) for b in range(self.spec.streams)] for t in times])
        return observations, actions[:-1], rewards[:-1].astype(np.float32), discounts[:-1], firsts

    def is_transition(self, b, t):
        return not self.steps[b][t + 1][4]

    def transition(self, b, t):
        """(observation, action, return, discount, next observation), close to the definition."""
        total, weight, at = 0.0, 1.0, t
        for _ in range(self.spec.n_steps):
            if not self.is_transition(b, at):
                break  # cut by a time limit: `at` is the final observation
            total += weight * self.steps[b][at][2]
            weight *= GAMMA * self.steps[b][at][3]
            at += 1
            if weight == 0:
                break
        return self.stack(b, t), self.steps[b][t][1], total, weight, self.stack(b, at)

    def held(self, added):
        """(b, t) of all transitions that can be found after `added` steps."""
        low = max(0, added - self.spec.rows)
        if self.spec.stack and added >= self.spec.rows:
            low += self.spec.stack - 1  # the frames before are overwritten
        return [
            (b, t)
            for b in range(self.spec.streams)
            for t in range(low, added - self.spec.n_steps)
            if self.is_transition(b, t)
        ]


def make_spec(**changes):
    return ReplaySpec(**({"capacity": 24, "shape": (3, 2, 2), "stack": 3, "gamma": GAMMA} | changes))


def slot_of(spec, b, t):
    return (t % spec.rows) * spec.streams + b


def check(history, replay, added):
    """Everything that can be drawn is what the reference says, and nothing else can be drawn."""
    held = history.held(added)
    if not held:
        return
    slots = np.array([slot_of(history.spec, b, t) for b, t in held])
    batch = replay.gather(slots)
    for i, (b, t) in enumerate(held):
        observation, action, total, discount, following = history.transition(b, t)
        np.testing.assert_array_equal(batch.observations[i], observation)
        np.testing.assert_array_equal(batch.next_observations[i], following)
        assert batch.actions[i] == action
        assert batch.returns[i] == pytest.approx(total, abs=1e-5)
        assert batch.discounts[i] == pytest.approx(discount, abs=1e-6)
    drawn = replay.sample(200, np.random.default_rng(added)).slots
    assert set(drawn) <= set(slots)


@given(
    seed=st.integers(0, 2**32 - 1),
    streams=st.integers(1, 3),
    stack=st.sampled_from([0, 1, 3]),
    n_steps=st.integers(1, 4),
    rows=st.integers(8, 20),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    exponent=st.sampled_from([0.0, 0.6]),
)
def test_every_transition_equals_the_reference(seed, streams, stack, n_steps, rows, lengths, exponent):
    spec = make_spec(
        capacity=rows * streams + streams - 1,
        shape=(stack, 2, 2) if stack else (2, 2),
        stack=stack,
        streams=streams,
        n_steps=n_steps,
        priority_exponent=exponent,
    )
    history, replay, added = History(spec, seed), Replay(spec), 0
    for length in lengths:
        replay.add(*history.rollout(length))
        added += length
        check(history, replay, added)


def test_vectors_are_stored_whole():
    spec = ReplaySpec(capacity=100, shape=(4,), dtype="float32", streams=2)
    replay = Replay(spec)
    observations = np.random.default_rng(0).normal(size=(11, 2, 4)).astype(np.float32)
    replay.add(observations, np.ones((10, 2)), np.ones((10, 2)), np.ones((10, 2)), np.zeros((11, 2), bool))
    batch = replay.sample(64, np.random.default_rng(0))
    rows, streams = batch.slots // 2, batch.slots % 2
    assert batch.observations.dtype == np.float32
    np.testing.assert_array_equal(batch.observations, observations[rows, streams])
    np.testing.assert_array_equal(batch.next_observations, observations[rows + 1, streams])


def test_uniform_sampling_is_uniform():
    spec = make_spec(capacity=40, streams=2)
    history, replay = History(spec, seed=5), Replay(spec)
    for _ in range(9):
        replay.add(*history.rollout(5))
    held = history.held(45)
    slots = replay.sample(100_000, np.random.default_rng(0)).slots
    counts = np.bincount(slots, minlength=40)[[slot_of(spec, b, t) for b, t in held]]
    expected = 100_000 / len(held)
    assert counts.sum() == 100_000
    assert (abs(counts - expected) < 6 * np.sqrt(expected)).all()


def test_prioritised_sampling_follows_the_priorities_and_corrects_for_them():
    spec = make_spec(capacity=40, streams=2, priority_exponent=0.5)
    history, replay = History(spec, seed=5), Replay(spec)
    for _ in range(9):
        replay.add(*history.rollout(5))
    slots = np.array([slot_of(spec, b, t) for b, t in history.held(45)])
    errors = np.random.default_rng(1).normal(size=len(slots))
    replay.set_priorities(slots, errors)
    batch = replay.sample(200_000, np.random.default_rng(0), beta=0.7)
    priorities = (abs(errors) + 1e-6) ** 0.5
    expected = 200_000 * priorities / priorities.sum()
    counts = np.bincount(batch.slots, minlength=40)[slots]
    assert (abs(counts - expected) < 6 * np.sqrt(expected) + 3).all()
    by_slot = dict(zip(slots, priorities, strict=True))
    drawn = np.array([by_slot[slot] for slot in batch.slots])
    np.testing.assert_allclose(batch.weights, (drawn / drawn.min()) ** -0.7, rtol=1e-5)
    assert batch.weights.max() == 1.0


def test_a_new_transition_is_as_likely_as_the_likeliest():
    spec = make_spec(capacity=40, priority_exponent=1.0)
    history, replay = History(spec, seed=1, ends=0.0), Replay(spec)
    replay.add(*history.rollout(10))
    replay.set_priorities(np.arange(10), np.full(10, 7.0))
    replay.add(*history.rollout(2))
    counts = np.bincount(replay.sample(11_000, np.random.default_rng(0)).slots, minlength=11)
    assert (abs(counts - 1000) < 200).all()


PRIORITIES = st.floats(0, 1e6, allow_subnormal=False)  # half of the smallest subnormal number is 0


@given(
    size=st.integers(1, 40),
    updates=st.lists(st.tuples(st.integers(0, 39), PRIORITIES), min_size=1, max_size=60),
)
def test_sum_tree_finds_what_a_running_sum_does(size, updates):
    tree, numbers = SumTree(size), np.zeros(size)
    for index, number in updates:
        numbers[index % size] = number
        tree.set(np.array([index % size]), np.array([number]))
    assert tree.total == pytest.approx(numbers.sum())
    np.testing.assert_array_equal(tree.get(np.arange(size)), numbers)
    if numbers.sum() > 0:
        middles = (np.cumsum(numbers) - numbers / 2)[numbers > 1e-3 * numbers.max()]
        np.testing.assert_array_equal(tree.find(middles), np.searchsorted(np.cumsum(numbers), middles))


def test_nothing_to_sample_yet():
    spec = make_spec()
    replay = Replay(spec)
    with pytest.raises(ValueError, match="no complete transition yet"):
        replay.sample(4, np.random.default_rng(0))
    replay.add(*History(spec, 0).rollout(1))  # its next observation comes with the next rollout
    assert len(replay) == 0
    with pytest.raises(ValueError, match="no complete transition yet"):
        replay.sample(4, np.random.default_rng(0))


def test_a_memory_of_seams_only_is_no_endless_loop():
    spec = make_spec(shape=(2, 2), stack=0)
    replay = Replay(spec)
    shape = (6, 1)
    replay.add(np.zeros((7, 1, 2, 2)), *(np.zeros(shape) for _ in range(3)), np.ones((7, 1), bool))
    with pytest.raises(ValueError, match="no complete transition yet"):
        replay.sample(4, np.random.default_rng(0))


def test_sizes_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="too small for 4 environments"):
        Replay(make_spec(capacity=12, streams=4))
    spec = make_spec(capacity=10)
    with pytest.raises(ValueError, match="does not fit into 10 rows"):
        Replay(spec).add(*History(spec, 0).rollout(10))


def test_a_million_atari_transitions_need_less_than_7_5_gigabytes():
    spec = ReplaySpec(capacity=1_000_000, shape=(4, 84, 84), stack=4, priority_exponent=0.6)
    assert 7.06e9 < spec.bytes_needed() < 7.1e9


@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_bytes_needed_is_what_is_allocated(exponent):
    spec = make_spec(capacity=1000, shape=(4, 84, 84), stack=4, priority_exponent=exponent)
    replay = Replay(spec)
    held = sum(part.nbytes for part in vars(replay).values() if isinstance(part, np.ndarray))
    tree = replay._priorities._sums.nbytes if exponent else 0
    assert held + tree == spec.bytes_needed()


def test_too_large_a_memory_is_refused_with_the_largest_that_fits():
    spec = ReplaySpec(capacity=1_000_000, shape=(4, 84, 84), stack=4)
    check_memory(spec, free_bytes=spec.bytes_needed() + RESERVE_BYTES)
    with pytest.raises(UsageError, match=r"needs 7\.07 GB of memory, but 4\.00 GB are free") as refusal:
        check_memory(spec, free_bytes=4_000_000_000)
    fits = int(str(refusal.value).split()[-1])
    check_memory(spec._replace(capacity=fits), free_bytes=4_000_000_000)
    with pytest.raises(UsageError):
        check_memory(spec._replace(capacity=fits + 1), free_bytes=4_000_000_000)
    with pytest.raises(UsageError, match="the largest that fits is 0"):
        check_memory(spec, free_bytes=1000)


def test_free_memory_is_a_number_of_bytes():
    assert 10_000_000 < free_memory() < 1 << 50
