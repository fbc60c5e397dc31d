"""Runs on a real Ray cluster, whose nodes are raylets on loopback: `make cluster`."""

import os
import signal

import psutil
import pytest

from tests.cluster.ray_tools import LONG_S, Cluster, ClusterRun, command_of, named, nobody_left, signal_to
from tests.run_tools import TINY, wait_for
from tests.warm import run_to_the_end

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

QUICK = ["--workers", "1", "--exchange-every", "0.3", "--checkpoint-every", "2", "--eval-every", "2", *TINY]
QUICK += ["--head-patience", "30"]
CARTPOLE = ["--env", "CartPole-v1", *QUICK]
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


def supervisor() -> psutil.Process:
    """That of the only node that is not the head."""
    return wait_for(lambda: named("a3c.cluster.node"), what="a node's supervisor")[0]


def child(parent: psutil.Process, index: int) -> psutil.Process:
    """A supervisor's child, in the order of their start."""
    children = [p for p in parent.children() if "spawn_main" in " ".join(command_of(p))]
    return sorted(children, key=lambda p: p.pid)[index]


def goes_on(run: ClusterRun, before: dict | None = None) -> dict:
    """Waits until all nodes train and have made more steps than `before`, or now; the run's never fall."""
    before = before or run.status()
    steps = sum(node["steps"] for node in before["nodes"])

    def more(status):
        assert status["steps"] >= before["steps"]
        running = all(node["state"] == "running" for node in status["nodes"]) and status["nodes"]
        return running and sum(node["steps"] for node in status["nodes"]) > steps

    return run.wait_until(more, LONG_S, "steps of the other nodes")


def stop(run: ClusterRun, signum: int = signal.SIGTERM) -> None:
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
        stop(run)
    steps = run.status()["steps"]
    assert run.checkpoints()[-1].name == f"ckpt-{steps:09d}"
    with ClusterRun(tmp_path, cluster, "--load") as again:
        assert again.nodes("running")["steps"] > steps
        assert f"resumes at {steps} steps" in again.output
        stop(again, signal.SIGINT)


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
    with ClusterRun(tmp_path, cluster, *LAKE) as run:
        run.nodes("running")
        here = psutil.Process(run.process.pid)
        for kill in (
            lambda: child(supervisor(), 0).kill(),  # the exchanger of the node
            lambda: child(here, 1).kill(),  # that of the head; the evaluator is its first child
            lambda: named("ray::AnchorActor")[0].kill(),
            lambda: supervisor().kill(),
            lambda: named("ray::NodeActor")[0].kill(),
        ):
            before = run.status()
            kill()
            goes_on(run, before)
        stop(run)
    assert all(worker["restarts"] == 0 for worker in run.status()["workers"])  # nobody else was disturbed


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
