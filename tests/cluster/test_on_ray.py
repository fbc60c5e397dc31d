"""Runs on a real Ray cluster, whose nodes are raylets on loopback: `make cluster`."""

import os
import signal

import psutil
import pytest
import torch

from a3c.storage.shelf import newest_checkpoint
from benchmarks.chaos_cluster import run_chaos
from benchmarks.ray_cluster import (
    ANCHOR,
    EXCHANGER,
    KEEPER,
    SUPERVISOR,
    Cluster,
    children,
    named,
    signal_to,
)
from tests.cluster.ray_tools import LONG_S, ClusterRun, nobody_left
from tests.fault_tools import poison
from tests.run_tools import TINY, Run, wait_for
from tests.warm import run_to_the_end

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

QUICK = ["--workers", "1", "--exchange-every", "0.3", "--checkpoint-every", "2", "--eval-every", "2", *TINY]
QUICK += ["--head-patience", "30"]
CARTPOLE = ["--env", "CartPole-v1", "--target-score", "501", "--max-steps", "1B", *QUICK]  # without an end
LAKE = [
    "--env",
    "FrozenLake-v1",
    "--algo",
    "q-learning",
    "--preset",
    "none",
    "--optimizer",
    "sgd",
    "--lr",
    "0.1",
    *QUICK,
]  # without an end


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    nobody_left()


COUNTERS = ("steps", "frames", "episodes", "updates")


def supervisor() -> psutil.Process:
    """That of the only node that is not the head."""
    return wait_for(lambda: named(SUPERVISOR), what="a node's supervisor")[0]


def goes_on(run: ClusterRun, before: dict | None = None) -> dict:
    """Waits until all nodes train and have made more steps than `before`, or now; the run's counters never
    fall."""
    last = before = before or run.status()
    steps = sum(node["steps"] for node in before["nodes"])

    def more(status):
        nonlocal last
        assert all(status[name] >= last[name] for name in COUNTERS), (last, status)
        last = status
        running = all(node["state"] == "running" for node in status["nodes"]) and status["nodes"]
        return running and sum(node["steps"] for node in status["nodes"]) > steps

    return run.wait_until(more, LONG_S, "steps of the other nodes")


def stop(run: Run, signum: int = signal.SIGTERM) -> None:
    run.signal(signum)
    assert run.end() == 0, run.output
    assert "Traceback" not in run.output
    nobody_left()


def test_trains_on_two_nodes_stops_and_resumes(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE) as run:
        run.nodes("running")
        run.wait_until(lambda s: s["steps"] > sum(worker["steps"] for worker in s["workers"]) + 50)
        shown = run_to_the_end("-m", "a3c", "status", str(run.path), cwd=tmp_path, environ=dict(os.environ))
        assert "node 1" in shown.stdout
        assert holders_of_the_token(run) == {"exchanger"}
        stop(run)
    steps = run.status()["steps"]
    assert run.checkpoints()[-1].name == f"ckpt-{steps:09d}"
    with ClusterRun(tmp_path, cluster, "--load") as again:
        assert again.nodes("running")["steps"] > steps
        assert f"resumes at {steps} steps" in again.output
        stop(again, signal.SIGINT)


def holders_of_the_token(run: ClusterRun) -> set[str]:
    """Which children have it, here and on the node: no environment and no worker is to."""
    status = run.status()
    pids = {status["exchanger"]["pid"]: "exchanger", status["evaluator"]["pid"]: "evaluator"}
    pids |= {worker["pid"]: "worker" for worker in status["workers"]}
    pids |= {p.pid: "exchanger" if n == EXCHANGER else "worker" for n, p in children(supervisor()).items()}
    return {name for pid, name in pids.items() if "RAY_AUTH_TOKEN" in psutil.Process(pid).environ()}


@pytest.mark.slow
def test_a_run_is_resumed_with_another_number_of_nodes(tmp_path, cluster):
    """With two, three, two, and on one machine alone."""
    steps, flags = 0, CARTPOLE
    for others in (1, 2, 1):
        late = cluster.add() if others == 2 else None
        with ClusterRun(tmp_path, cluster, *flags) as run:
            assert run.nodes(*["running"] * others)["steps"] > steps
            stop(run)
        steps, flags = run.status()["steps"], ["--load"]
        if late:
            cluster.end(late)
    with Run(tmp_path, "--load") as alone:
        assert alone.training(0)["steps"] > steps
        assert f"resumes at {steps} steps" in alone.output
        stop(alone)


@pytest.mark.slow
def test_f41_a_node_that_is_lost_and_one_that_comes_late(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE) as run:
        run.nodes("running")
        late = cluster.add()
        run.nodes("running", "running")
        cluster.end(late)  # as if it had lost its power
        run.nodes("running")
        goes_on(run)
        stop(run)


def test_f93_whoever_is_killed_comes_back(tmp_path, cluster):
    """Another process in its place; workers of other machines stay the same processes."""

    def on_node():
        return [children(process) for process in named(SUPERVISOR)] or [{}]

    with ClusterRun(tmp_path, cluster, *LAKE) as run:
        run.nodes("running")
        roles = {
            "the node's exchanger": lambda: [c[EXCHANGER] for c in on_node() if EXCHANGER in c],
            "the head's exchanger": lambda: numbered(run.status()["exchanger"]["pid"]),
            "the anchor": lambda: named(ANCHOR),
            "the node's supervisor": lambda: named(SUPERVISOR),
            "the node's actor": lambda: named(KEEPER),
        }
        here = workers_of(run)
        for role, found in roles.items():
            before, there = run.status(), {number: p.pid for number, p in on_node()[0].items()}
            [victim] = wait_for(found, what=role)
            victim.kill()

            def replaced(found=found, victim=victim):
                return any(process.pid != victim.pid for process in found())

            wait_for(replaced, LONG_S, f"another process as {role}")
            goes_on(run, before)
            assert workers_of(run) == here
            if role in ("the node's exchanger", "the head's exchanger", "the anchor"):
                now = {number: p.pid for number, p in on_node()[0].items()}
                assert now.keys() == there.keys()
                assert all(now[number] == there[number] for number in now if number != EXCHANGER)
        stop(run)
    assert all(worker["restarts"] == 0 for worker in run.status()["workers"])


def numbered(pid: int | None) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.pid == pid]


def workers_of(run: ClusterRun) -> list[int]:
    return [worker["pid"] for worker in run.status()["workers"]]


@pytest.mark.slow
def test_f31_a_roll_back_on_the_head_is_one_of_all_nodes(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE) as run:
        generation = run.nodes("running")["exchanger"]["generation"]
        wait_for(run.checkpoints, what="a checkpoint")
        node = supervisor().pid
        assert poison(run.process.pid)
        wait_for(lambda: "are taken back, once" in run.output, what="the roll-back")
        run.wait_until(  # a node is heard of only once it has the weights of this generation
            lambda s: (
                s["exchanger"]["generation"] == generation + 1
                and [node["state"] for node in s["nodes"]] == ["running"]
            )
        )
        goes_on(run)
        assert supervisor().pid == node
        stop(run)
    _, saved = newest_checkpoint(run.path, set_aside=False)
    assert all(torch.isfinite(tensor).all() for tensor in saved.model.values())


def test_f41_a_frozen_node_is_forgotten_and_comes_back(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE, "--algo", "ppo") as run:
        run.nodes("running")
        node = supervisor()
        family = [node, *node.children(recursive=True)]
        for process in family:
            signal_to(process, signal.SIGSTOP)
        before = run.nodes("silent")
        run.wait_until(lambda s: s["steps"] > before["steps"] + 50, what="steps without the frozen node")
        for process in family:
            signal_to(process, signal.SIGCONT)
        goes_on(run)
        stop(run)


@pytest.mark.slow
def test_f94_a_lost_head_is_waited_for(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE) as run:
        run.nodes("running")
        wait_for(run.checkpoints, what="a checkpoint")
        node = supervisor().pid
        run.signal(signal.SIGKILL)
        run.end()
    with ClusterRun(tmp_path, cluster, "--load") as again:
        goes_on(again, again.nodes("running"))
        assert supervisor().pid == node
        stop(again)


@pytest.mark.slow
def test_f94_a_head_that_stays_away_is_given_up(tmp_path, cluster):
    with ClusterRun(tmp_path, cluster, *CARTPOLE, "--algo", "dqn", "--head-patience", "3") as run:
        run.nodes("running")
        run.signal(signal.SIGKILL)
        run.end()
        nobody_left()


@pytest.mark.slow
def test_two_runs_share_a_cluster_and_no_game_is_played_twice(tmp_path, cluster):
    tally = tmp_path / "seeds"
    seeds = [
        "--env",
        "cluster.seed_env:Seeds-v0",
        "--env-kwargs",
        f"tally={tally}",
        *QUICK,
        "--eval-every",
        "0",
    ]
    with ClusterRun(tmp_path, cluster, *seeds) as one:
        one.nodes("running")
        with ClusterRun(tmp_path, cluster, *seeds, "--seed", "2", run_dir="other") as two:
            two.nodes("running")
            one.signal(signal.SIGTERM)
            assert one.end() == 0, one.output
            goes_on(two)
            stop(two)
    found = [seed for seed in map(int, tally.read_text().split()) if seed > 1000]  # others look at it first
    assert len(found) >= 8
    assert len(set(found)) == len(found)


@pytest.mark.slow
def test_f44_a_few_rounds_of_chaos_on_two_nodes(tmp_path):
    assert run_chaos(3, 1, tmp_path)["broken"] == []


@pytest.mark.slow
def test_f95_without_ray_the_head_trains_on(tmp_path):
    cluster = Cluster()
    try:
        with ClusterRun(tmp_path, cluster, *CARTPOLE) as run:
            run.wait_until(lambda s: s["exchanger"]["state"] == "running" and s["steps"] > 50)
            cluster.end_all()
            lost = run.wait_until(lambda s: "lost" in s["exchanger"]["phase"] or s["exchanger"]["restarts"])
            saved = len(run.checkpoints())
            run.wait_until(lambda s: s["steps"] > lost["steps"] + 50 and len(run.checkpoints()) > saved)
            cluster.start_again()
            cluster.add()
            goes_on(run, run.nodes("running"))
            stop(run)
    finally:
        cluster.close()
