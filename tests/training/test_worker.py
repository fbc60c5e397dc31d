"""A worker on a real environment and a real store: what it takes, gives and counts, and when it ends."""

import itertools
import logging
import signal
from dataclasses import replace

import pytest
import torch

from a3c.storage.records import read_json_lines
from a3c.stores.turns import Turns
from a3c.training.worker import Worker, WorkerSpec, passing_on_warnings, run_worker
from tests.evaluators.fakes import make_session
from tests.fault_env import FaultEnv
from tests.run_tools import TINY, Run

SMALL = {"envs_per_worker": 2, "num_steps": 5}
PHASES = ("pull", "act", "env", "learn", "push")


class Heard:
    """A link that keeps what it is told."""

    def __init__(self):
        self.facts, self.is_ready = {}, False

    def context(self, **facts):
        self.facts |= facts

    def ready(self):
        self.is_ready = True


def make(folder, **settings):
    session = make_session(folder, **SMALL | settings)
    return session, Worker(WorkerSpec(session, 0, 0), Heard())


def before_each_lesson(worker, action):
    """Has `action()` happen between a worker's pull and its push."""
    lessons = worker.agent.lessons

    def interrupted(lesson):
        def learn():
            action()
            return lesson()

        return learn

    worker.agent.lessons = lambda rollout: [interrupted(lesson) for lesson in lessons(rollout)]


def test_a_step_is_a_rollout_and_an_update(tmp_path):
    session, worker = make(tmp_path)
    before = session.memory.weights.clone()
    worker.step()
    totals = session.board.totals()
    assert (totals["env_steps"], totals["frames"], totals["updates"]) == (10, 10, 1)
    assert totals["metric_count"] == 1
    assert totals["grad_norm"] > 0
    assert all(totals[f"time_{phase}"] > 0 for phase in PHASES)
    assert not session.memory.weights.equal(before)
    assert session.board.get(0, "heartbeat") > 0


@pytest.mark.parametrize(("truncation", "after_it"), [("bootstrap", 1.0), ("end", 0.0)])
def test_what_a_time_limit_is_to_learning(tmp_path, truncation, after_it):
    _, worker = make(tmp_path, truncation=truncation, max_episode_steps=3)
    lessons, seen = worker.agent.lessons, []
    worker.agent.lessons = lambda rollout: seen.append(rollout.discounts.tolist()) or lessons(rollout)
    worker.step()
    assert seen == [[[1.0, 1.0], [1.0, 1.0], [after_it, after_it], [1.0, 1.0], [1.0, 1.0]]]


def test_it_acts_with_the_newest_weights(tmp_path):
    session, worker = make(tmp_path, lr=0.0)
    session.memory.weights.mul_(0.5)
    worker.step()
    assert worker.agent.parameters.flat.equal(session.memory.weights)


def test_games_that_end_are_counted_whole(tmp_path):
    session, worker = make(tmp_path)
    while session.board.total("episodes") < 3:
        worker.step()
    totals = session.board.totals()
    assert totals["return_sum"] == totals["length_sum"]  # CartPole gives 1 a step
    assert 3 * 8 <= totals["length_sum"] <= totals["env_steps"]


def test_one_that_is_told_to_stop_does_nothing_more(tmp_path):
    session, worker = make(tmp_path)
    session.board.stop = 1
    worker.step()
    assert session.board.total("env_steps") == session.board.total("updates") == 0


def test_one_that_is_told_to_stop_leaves_between_two_lessons(tmp_path):
    session, worker = make(tmp_path, algo="ppo", num_steps=64, minibatch_size=16, epochs=4)

    def tell():
        session.board.stop = 1

    before_each_lesson(worker, tell)
    worker.step()
    assert session.board.total("updates") == 1


def test_the_lessons_of_a_rollout_are_all_pushed(tmp_path):
    session, worker = make(tmp_path, algo="ppo", num_steps=64, minibatch_size=16, epochs=4)
    worker.step()
    assert session.board.total("updates") == 4 * 2 * 64 / 16


def test_a_gradient_that_is_not_finite_is_counted_and_not_applied(tmp_path):
    rewards = {
        "env": f"{FaultEnv.__module__}:Fault-v0",
        "env_kwargs": {"mode": "huge_reward", "at": 1},
        "reward_clip": 0.0,
    }
    session, worker = make(tmp_path, **rewards)
    before = session.memory.weights.clone()
    worker.step()
    totals = session.board.totals()
    assert (totals["updates"], totals["rejected_nonfinite"], totals["rejected_stale"]) == (0, 1, 0)
    assert totals["metric_count"] == 0
    assert totals["env_steps"] == 10  # they were taken
    assert session.memory.weights.equal(before)


def test_a_stale_gradient_is_counted_and_not_applied(tmp_path):
    session, worker = make(tmp_path, max_lag=3)
    board = session.board
    before_each_lesson(worker, lambda: board.add(board.main_row, {"updates": 4}))
    worker.step()
    totals = session.board.totals()
    assert (totals["updates"], totals["rejected_nonfinite"], totals["rejected_stale"]) == (4, 0, 1)
    assert totals["metric_count"] == 0


def after_acting(worker, action):
    """Has `action()` happen between a worker's rollout and its first lesson."""
    lessons = worker.agent.lessons

    def interrupted(rollout):
        found = lessons(rollout)
        action()
        return found

    worker.agent.lessons = interrupted


@pytest.mark.parametrize(("fresh", "learns_with_new"), [("on", True), ("off", False)])
@pytest.mark.parametrize("algo", ["a3c", "ppo"])
def test_fresh_weights_are_pulled_after_acting(tmp_path, algo, fresh, learns_with_new):
    session, worker = make(tmp_path, algo=algo, fresh=fresh, lr=0.0, epochs=1)
    after_acting(worker, lambda: session.memory.weights.mul_(0.5))
    worker.step()
    assert session.board.total("updates") == 1
    assert worker.agent.parameters.flat.equal(session.memory.weights) == learns_with_new


@pytest.mark.parametrize("fresh", ["on", "off"])
def test_fresh_weights_are_pulled_while_acting(tmp_path, fresh):
    """Of five steps the last is taken with newer weights; others change them before each."""
    session, worker = make(tmp_path, fresh=fresh)
    act, seen = worker.agent.act, []

    def watched(*step):
        seen.append(worker.agent.parameters.flat.clone())
        session.memory.weights.mul_(0.5)
        return act(*step)

    worker.agent.act = watched
    worker.step()
    same = [a.equal(b) for a, b in itertools.pairwise(seen)]
    assert same == [True, True, True, fresh == "off"]


@pytest.mark.parametrize(("fresh", "lag"), [("on", 2), ("off", 6)])
def test_both_ages_are_counted(tmp_path, fresh, lag):
    """Others make 4 updates while it acts and 2 while it learns."""
    session, worker = make(tmp_path, fresh=fresh)
    board = session.board
    after_acting(worker, lambda: board.add(board.main_row, {"updates": 4}))
    before_each_lesson(worker, lambda: board.add(board.main_row, {"updates": 2}))
    worker.step()
    assert (board.total("lag_sum"), board.total("acting_lag_sum")) == (lag, 6)


def test_seeds_differ_by_worker_and_incarnation(tmp_path):
    session = make_session(tmp_path, **SMALL)
    resumed = make_session(tmp_path, resumes=1, **SMALL)
    other = make_session(tmp_path, seed=2, **SMALL)
    seeds = [
        tuple(WorkerSpec(start, worker, incarnation).seeds(3))
        for start, worker, incarnation in itertools.product((session, resumed, other), (0, 1), (0, 1))
    ]
    assert len(set(seeds)) == 12
    assert len({seed for group in seeds for seed in group}) == 36
    assert WorkerSpec(session, 0, 0).seeds(3) == list(seeds[0])


def test_seeds_differ_by_the_start_of_a_node(tmp_path):
    session = make_session(tmp_path, **SMALL)
    starts = [replace(session, node=node) for node in (0, 1, 2, 2**61)]
    seeds = [seed for start in starts for seed in WorkerSpec(start, 0, 0).seeds(4)]
    assert len(set(seeds)) == 16


def test_the_seeds_of_a_single_machine_are_what_they_always_were(tmp_path):
    session = make_session(tmp_path, resumes=2, seed=7, **SMALL)
    assert WorkerSpec(session, 3, 1).seeds(3) == [1018748826, 2142741385, 512373799]


def test_the_same_incarnation_learns_the_same(tmp_path):
    weights = []
    for _ in range(2):
        session, worker = make(tmp_path)
        for _ in range(3):
            worker.step()
        weights.append(session.memory.weights)
    assert torch.equal(*weights)


def test_a_worker_process_trains_until_the_steps_are_used_up(tmp_path):
    session, link = make_session(tmp_path, max_steps=35, **SMALL), Heard()
    run_worker(WorkerSpec(session, 0, 0), link)
    assert 35 <= session.board.total("env_steps") < 35 + 2 * 5
    assert session.board.phase(0) == "done"
    assert link.is_ready
    assert {"worker", "env", "seeds", "device", "step"} <= set(link.facts)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_worker_process_ends_when_it_is_told(tmp_path, stop):
    session = make_session(tmp_path, **SMALL)
    session.board.stop = stop
    run_worker(WorkerSpec(session, 0, 0), Heard())
    assert session.board.total("env_steps") == 0


def test_one_worker_at_a_time_has_no_lag(tmp_path):
    """Two workers, of which one plays and learns: nobody comes between its pull and its update."""
    flags = ["--env", "CartPole-v1", "--workers", "2", "--active-workers", "1", "--eval-every", "0", *TINY]
    with Run(tmp_path, *flags) as run:
        run.training(150)
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    rows = [row for row in read_json_lines(run.path / "metrics.jsonl") if row["kind"] == "train"]
    assert rows[-1]["updates"] >= 30
    assert all(row["mean_lag"] in (None, 0) for row in rows)


PONG = {"env": "PongNoFrameskip-v4", "model": "a3c-small"}


@pytest.mark.parametrize(
    ("settings", "num_steps", "rollouts"),
    [
        (PONG, 5, 32),
        (PONG, 20, 8),
        (PONG, 100, 1),
        (PONG, 256, 1),
        (PONG | {"model": "a3c-ff"}, 20, 1),
        ({}, 5, 1),
    ],
)
def test_a_turn_is_160_steps_with_memory_else_one_rollout(tmp_path, settings, num_steps, rollouts):
    session = make_session(tmp_path, envs_per_worker=1, num_steps=num_steps, **settings)
    with Worker(WorkerSpec(replace(session, playing=Turns(1)), 0, 0), Heard()).turn() as found:
        assert found == rollouts


def test_without_turns_a_worker_looks_after_every_rollout_whether_to_go_on(tmp_path):
    _, worker = make(tmp_path)
    with worker.turn() as rollouts:
        assert rollouts == 1


def test_what_a_worker_logs_is_told(tmp_path):
    link, logger = Heard(), logging.getLogger("a3c.networks.device")
    link.warning = lambda text: told.append(text)
    told = []
    with passing_on_warnings(link):
        logger.warning("no CUDA graph of %s", "this")
    logger.warning("nobody is told")
    assert told == ["no CUDA graph of this"]
