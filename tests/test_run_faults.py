"""A real run and real signals: stopping, dying, restarting, resuming."""

import os
import re
import signal
from pathlib import Path

import pytest
import torch

from a3c.storage.checkpoint import read_checkpoint
from tests.run_tools import TINY, Run, end_by_force, gone, wait_for

CARTPOLE = ["--env", "CartPole-v1", "--workers", "1", "--checkpoint-every", "1", "--eval-every", "1", *TINY]
TWO_WORKERS = ["--workers", "2"]  # on two cores they leave the evaluator none: it yields to workers


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_f12_f13_f15_a_signal_stops_gracefully(tmp_path, signum):
    with Run(tmp_path, *CARTPOLE) as run:
        run.training()
        family = run.family()
        assert len(family) >= 4
        run.signal(signum)
        assert run.end() == 0, run.output
        wait_for(lambda: gone(family), what="all processes to end")
    status = run.status()
    assert status["state"] == "stopped"
    assert f"stopped by {signum.name}" in run.output
    assert "Traceback" not in run.output
    newest = read_checkpoint(run.checkpoints()[-1])
    assert newest.state["counters"]["env_steps"] == status["steps"]


def test_f13_ctrl_c_reaches_every_process_of_the_terminal(tmp_path):
    with Run(tmp_path, *CARTPOLE, *TWO_WORKERS) as run:
        run.training()
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.end() == 0, run.output
    assert run.status()["state"] == "stopped"
    assert not any("Traceback" in log.read_text() for log in (run.path / "logs").glob("*.log"))


def test_f17_killed_main_leaves_nothing_and_the_run_goes_on(tmp_path):
    with Run(tmp_path, *CARTPOLE) as run:
        run.training()
        wait_for(run.checkpoints, what="a checkpoint")
        family = run.family()
        run.signal(signal.SIGKILL)
        run.end()
        wait_for(lambda: gone(family), what="the children to end")
    left = [path.name for path in Path("/dev/shm").iterdir()]
    assert not [name for name in left for p in family if name.startswith(f"torch_{p.pid}_")]
    saved = read_checkpoint(run.checkpoints()[-1])
    steps = saved.state["counters"]["env_steps"]
    with Run(tmp_path, "--load", "--max-steps", str(steps + 100)) as again:
        assert again.end() == 0, again.output
    assert f"resumes at {steps} steps" in again.output
    assert again.status()["steps"] >= steps + 100


def test_f01_f19_a_killed_worker_and_a_killed_evaluator_are_replaced_alone(tmp_path):
    with Run(tmp_path, *CARTPOLE, *TWO_WORKERS) as run:
        status = run.training()
        first = status["workers"]
        for process in (first[0], status["evaluator"]):
            os.kill(process["pid"], signal.SIGKILL)
        after = run.wait_until(
            lambda s: (
                all(p["restarts"] == 1 and p["state"] == "running" for p in (s["workers"][0], s["evaluator"]))
                and all(w["steps"] > former["steps"] for w, former in zip(s["workers"], first, strict=True))
            ),
            what="the restarts",
        )
        assert after["workers"][1]["restarts"] == 0
        assert after["workers"][1]["pid"] == first[1]["pid"]
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    for name in ("worker-0", "evaluator"):
        assert re.search(rf"{name} \(pid \d+\) was killed by SIGKILL", run.output)
    assert run.checkpoints()


def test_f05_an_environments_error_reaches_the_main_log(tmp_path):
    flags = [
        "--env",
        "fault_env:Fault-v0",
        "--env-kwargs",
        "mode=raise",
        "at=50",
        "times=1",
        f"tally={tmp_path / 'tally'}",
    ]
    with Run(tmp_path, *flags, "--workers", "1", *TINY) as run:
        run.wait_until(lambda s: s["workers"][0]["restarts"] == 1 and s["workers"][0]["state"] == "running")
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    log = (run.path / "logs" / "main.log").read_text()
    assert "ArithmeticError: planted failure" in log
    for fact in ("worker=0", "fault_env:Fault-v0", "seeds=", "step="):
        assert fact in log, fact


def test_f06_a_run_without_workers_does_not_go_on(tmp_path):
    flags = ["--env", "fault_env:Fault-v0", "--env-kwargs", "mode=raise", "at=1", "--workers", "1", *TINY]
    with Run(tmp_path, *flags) as run:
        assert run.end() == 5, run.output
    assert run.status()["state"] == "failed"
    assert "error:" in run.output


def test_f31_nonfinite_numbers_never_reach_the_weights(tmp_path):
    """Here an observation; rewards, and all algorithms, are in tests/agents/test_traits.py."""
    flags = [
        "--env",
        "fault_env:Fault-v0",
        "--env-kwargs",
        "mode=nan_observation",
        "at=50",
        "times=1",
        f"tally={tmp_path / 'tally'}",
    ]
    with Run(tmp_path, *flags, "--workers", "1", *TINY) as run:
        run.wait_until(lambda s: s["workers"][0]["restarts"] == 1 and s["workers"][0]["state"] == "running")
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    assert "non-finite" in (run.path / "logs" / "main.log").read_text()
    assert all(torch.isfinite(t).all() for t in read_checkpoint(run.checkpoints()[-1]).model.values())


def test_f14_a_second_signal_forces(tmp_path):
    hangs = tmp_path / "hangs"
    kwargs = ["mode=hang", "at=500", f"tally={hangs}"]
    flags = ["--env", "fault_env:Fault-v0", "--env-kwargs", *kwargs, "--workers", "1", *TINY]
    with Run(tmp_path, *flags, "--grace", "60") as run:
        end_by_force(run, hangs)


def test_f14_a_stop_wakes_paused_processes(tmp_path):
    """They leave by themselves: the time for it is never over."""
    with Run(tmp_path, *CARTPOLE, "--grace", "1h") as run:
        status = run.training()
        for pid in (status["workers"][0]["pid"], status["evaluator"]["pid"]):
            os.kill(pid, signal.SIGSTOP)
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
        assert run.checkpoints()
    assert "did not end in time" not in (run.path / "logs" / "main.log").read_text()


def test_f66_frozen_workers_keep_no_other_from_its_turn(tmp_path):
    """Of two that are frozen at least one waits for its turn: one at a time plays. Both are replaced, and the
    third is not blamed for what it waited."""
    flags = [*CARTPOLE, "--workers", "3", "--active-workers", "1", "--stall-after", "3"]
    with Run(tmp_path, *flags) as run:
        status = run.training()
        for worker in status["workers"][:2]:
            os.kill(worker["pid"], signal.SIGSTOP)
        after = run.wait_until(
            lambda s: all(w["restarts"] >= 1 and w["state"] == "running" for w in s["workers"][:2])
        )
        run.wait_until(lambda s: all(w["steps"] > after["workers"][w["id"]]["steps"] for w in s["workers"]))
        assert run.status()["workers"][2]["restarts"] == 0
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output


def test_f33_a_second_start_on_one_directory_is_refused(tmp_path):
    with Run(tmp_path, *CARTPOLE, "--workers", "0") as run:
        run.training()
        with Run(tmp_path, "--load") as second:
            assert second.end() == 3, second.output
        assert "in use by process" in second.output
        assert run.process.poll() is None


def test_resume_continues_exactly_where_the_checkpoint_was(tmp_path):
    """Kill, resume for no step: average, weights, moments, counters and record are those saved."""
    with Run(tmp_path, *CARTPOLE, "--average-updates", "50") as run:
        wait_for(lambda: len(run.checkpoints()) >= 2 and run.checkpoints("best"), what="checkpoints")
        family = run.family()
        run.signal(signal.SIGKILL)
        wait_for(lambda: gone(family), what="the end of who writes checkpoints")
    saved = read_checkpoint(run.checkpoints()[-1])
    flags = ["--load", "--max-steps", "1", "--eval-every", "0", "--workers", "0"]
    with Run(tmp_path, *flags) as again:
        assert again.end() == 0, again.output
    same = read_checkpoint(again.checkpoints()[-1])
    for part in ("model", "optimizer"):
        before, after = getattr(saved, part), getattr(same, part)
        assert set(before) == set(after)
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(saved.optimizer[f"weights.{name}"], t) for name, t in saved.model.items())
    assert same.state["counters"] == saved.state["counters"]
    assert same.state["elapsed_s"] > saved.state["elapsed_s"]
    assert same.state["resumes"] == 1
