"""F31: numbers that went wrong are noticed, taken back once, and end the run the second time."""

import json
import signal
from pathlib import Path

import psutil
import pytest
import torch

from a3c.agents.make import make_policy
from a3c.envs import resolve_env
from a3c.errors import Diverged
from a3c.settings.config import build_config
from a3c.storage.saving import Progress
from a3c.storage.shelf import entries, newest_checkpoint
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training.divergence import Guard
from a3c.training.session import Session, probe
from tests.fault_tools import poison
from tests.run_tools import TINY, Run, wait_for

CARTPOLE = ["--env", "CartPole-v1", "--checkpoint-every", "1", "--eval-every", "0", *TINY]


@pytest.fixture
def session(tmp_path):
    config = resolve_env(build_config(("test", {"env": "CartPole-v1"})))
    env = probe(config)
    memory = StoreMemory.allocate(make_policy(config, env, 1, "cpu", False).parameters.shapes, config.optim)
    return Session(config, env, tmp_path, memory, Scoreboard(2))


def save(session, steps):
    session.board.add(0, {"env_steps": steps - session.board.total("env_steps")})
    progress = Progress(session.board.counters(), 0.0)
    return session.saver().save(session.memory.snapshot(), progress)


def guard_of(session):
    return Guard(session, every_s=0.0)


def test_healthy_numbers_are_left_alone(session):
    guard = guard_of(session)
    session.memory.weights.fill_(1e6)
    session.board.add(0, {"updates": 1000, "rejected_nonfinite": 19})
    assert guard.check() is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e11])
def test_f31_weights_beyond_use_are_noticed(session, value):
    guard = guard_of(session)
    session.memory.weights[3] = value
    assert "model." in guard.check().reason or "beyond" in guard.check().reason


def test_f31_moments_that_are_not_finite_are_noticed(session):
    guard = guard_of(session)
    next(iter(session.memory.optimizer.values()))[0] = float("nan")
    assert "is not finite" in guard.check().reason


@pytest.mark.parametrize(
    ("updates", "refused", "noticed"), [(0, 19, 0), (0, 20, 1), (81, 20, 0), (80, 20, 1)]
)
def test_f31_too_many_refusals_are_noticed(session, updates, refused, noticed):
    guard = guard_of(session)
    session.board.add(1, {"updates": updates, "rejected_nonfinite": refused})
    assert bool(guard.check()) == noticed


def test_refusals_long_ago_are_forgotten(session):
    guard = guard_of(session)
    for _ in range(30):
        session.board.add(0, {"updates": 100, "rejected_nonfinite": 15})
        assert guard.check() is None


def test_f31_the_first_time_goes_back_to_before_the_trouble(session):
    session.memory.weights.fill_(1.0)
    good = save(session, 100)
    guard = guard_of(session)
    session.memory.weights.fill_(2.0)
    late = save(session, 200)  # finite, but of the time when gradients were refused already
    session.board.add(0, {"rejected_nonfinite": 50})
    guard.roll_back(guard.check())
    assert session.memory.weights.eq(1.0).all()
    assert [e.path for e in entries(session.run_dir)] == [good]
    assert (session.run_dir / f"aside-{late.name}").is_dir()
    assert session.board.total("env_steps") == 200  # what was done stays done
    assert guard.check() is None
    dump = json.loads((session.run_dir / "diverged-000000200.json").read_text())
    assert dump["steps_when_well"] == 100
    assert dump["refused_by_worker"] == {"worker-0": 50, "worker-1": 0}
    assert dump["tensors"][0]["largest"] == 2.0
    session.memory.weights[0] = float("nan")
    with pytest.raises(Diverged, match="again after a roll-back"):
        guard.roll_back(guard.check())


def test_f31_a_damaged_checkpoint_is_not_gone_back_to(session):
    session.memory.weights.fill_(1.0)
    save(session, 100)
    session.memory.weights.fill_(2.0)
    (save(session, 150) / "state.json").write_text("{}")
    guard = guard_of(session)
    session.memory.weights[0] = float("nan")
    guard.roll_back(guard.check())
    assert session.memory.weights.eq(1.0).all()


def test_f31_when_all_checkpoints_are_later_the_oldest_good_one_serves(session):
    guard = guard_of(session)
    for steps, value in ((100, 1e11), (150, 1.0), (200, 2.0)):
        session.memory.weights.fill_(value)
        save(session, steps)
    session.board.add(0, {"rejected_nonfinite": 50})
    guard.roll_back(guard.check())
    assert session.memory.weights.eq(1.0).all()


def test_f31_nothing_to_go_back_to(session):
    guard = guard_of(session)
    session.memory.weights[0] = float("nan")
    with pytest.raises(Diverged, match="no good checkpoint"):
        guard.roll_back(guard.check())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_f31_a_poisoned_run_is_taken_back_once_and_goes_on(tmp_path):
    with Run(tmp_path, *CARTPOLE, "--workers", "1") as run:
        run.training()
        wait_for(run.checkpoints, what="a checkpoint")
        pid = run.status()["workers"][0]["pid"]
        assert poison(run.process.pid)
        wait_for(lambda: "are taken back, once" in run.output, what="the roll-back")
        steps = run.status()["steps"]
        run.wait_until(lambda s: s["steps"] > steps + 100)
        assert not psutil.pid_exists(pid)
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    assert all(w["restarts"] == 1 for w in run.status()["workers"])
    _, saved = newest_checkpoint(run.path, set_aside=False)
    assert all(torch.isfinite(t).all() for t in saved.model.values())
    with Run(tmp_path, "--load", "--lr", "1e30", "--max-grad-norm", "0") as again:
        assert again.end() == 7, again.output
    assert again.output.count("are taken back, once") == 1
    assert "error: the shared weights are beyond 1e+10, again after a roll-back" in again.output
    assert again.status()["state"] == "failed"
    assert len(list(run.path.glob("diverged-*.json"))) >= 2


def test_f31_rewards_that_overflow_are_refused_and_end_the_run(tmp_path):
    """Also within one process, where nothing else could stop it."""
    flags = ["--env", "fault_env:Fault-v0", "--env-kwargs", "mode=huge_reward", "at=100", "--workers", "0"]
    with Run(tmp_path, *flags, "--reward-clip", "0", *TINY) as run:
        assert run.end() == 7, run.output
    assert "gradients were not finite" in run.output
    assert run.status()["rejected"] >= 20
