"""Commands that ask a real Ray cluster, whose nodes are raylets on loopback: `make cluster`."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from benchmarks.ray_cluster import TOKEN, Cluster, free_port, named
from tests.run_tools import ROOT, run_to_the_end, wait_for
from tests.warm import Start, WarmProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def doctor(address, folder, **environ):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **TOKEN, **environ}
    return run_to_the_end("-m", "a3c", "doctor", "--cluster", address, cwd=folder, environ=environ)


def test_doctor_looks_at_every_node(tmp_path, cluster):
    done = doctor(cluster.address, tmp_path)
    lines = [line for line in done.stdout.splitlines() if line[6:].startswith("cluster ")]
    assert done.returncode == 0, done.stdout
    assert "2 nodes" in lines[0]
    for what in ("python 3.", "its clock agrees", "MB/s"):
        assert sum(what in line for line in lines) == 2, lines


def test_doctor_says_who_is_not_taken_in(tmp_path, cluster):
    done = doctor(cluster.address, tmp_path, RAY_AUTH_TOKEN="b" * 64)
    assert done.returncode == 2
    assert "does not take this machine in" in done.stdout
    done = doctor(f"127.0.0.1:{free_port()}", tmp_path)
    assert done.returncode == 2
    assert "nobody answers there" in done.stdout


def refused(folder, address, *flags, **environ):
    """What a training says that is not taken in."""
    command = [str(ROOT / "run.py"), "--env", "CartPole-v1", "--cluster", address, *flags]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **TOKEN, **environ}
    done = run_to_the_end(*command, cwd=folder, environ=environ)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not list(folder.iterdir())
    return done.stderr.splitlines()[-1]


def test_f92_a_wrong_token_or_none_is_refused(tmp_path, cluster):
    wrong = {"RAY_AUTH_TOKEN": "b" * 64}
    assert "takes this machine in" in refused(tmp_path, cluster.address, **wrong)
    none = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}
    assert "without a token" in refused(tmp_path, cluster.address, **none)
    assert "takes this machine in" in refused(tmp_path, cluster.address, "--cluster-insecure", **none)
    with pytest.raises(RuntimeError, match="oken"):
        cluster.add(environ={**TOKEN, **wrong})


@pytest.mark.slow
def test_f92_an_open_cluster_is_found_out(tmp_path):
    cluster = Cluster(environ={"RAY_AUTH_MODE": "disabled"})
    try:
        assert "it takes in whoever comes" in refused(tmp_path, cluster.address)
        assert "it takes in whoever comes" in doctor(cluster.address, tmp_path).stdout
    finally:
        cluster.close()


SPACE = """
summary = "for the tests"
[parameters.lr]
low = 1e-4
high = 1e-2
"""
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), **TOKEN}


def tune(folder, cluster, *flags):
    """The command, in a new folder."""
    (folder / "space.toml").write_text(SPACE)
    own = ["--cluster", cluster.address, "--space", "space.toml", "--study", "study", "--seeds", "1"]
    run = ["--env", "CartPole-v1", "--workers", "0", "--envs-per-worker", "2", "--eval-episodes", "2"]
    return ["-m", "a3c", "tune", *own, "--trials", "2", "--", *run, *flags]


def folders():
    """Of runs of searches on this machine."""
    return {str(p) for p in Path(tempfile.gettempdir()).glob("a3c-trial-*")}


OTHERS = folders()


def left_on_nodes():
    """Of runs of a search."""
    return [*folders() - OTHERS] + [p.pid for p in named("a3c.cluster.trial_run")]


def test_tune_trains_on_the_cluster_and_brings_the_agents_home(tmp_path, cluster):
    done = run_to_the_end(*tune(tmp_path, cluster, "--max-steps", "200"), cwd=tmp_path, environ=ENVIRON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "best: trial" in done.stdout
    for number in range(2):
        run = tmp_path / "study" / f"trial-{number:03d}" / "seed-1"
        assert (run / "config.json").is_file()
        assert list(run.glob("*/*.safetensors"))
        assert '"final": true' in (run / "metrics.jsonl").read_text()
    wait_for(lambda: not left_on_nodes(), 60, "nothing to be left on the nodes")


def test_a_killed_search_leaves_nothing_on_the_nodes(tmp_path, cluster):
    command, output = tune(tmp_path, cluster, "--max-steps", "1M"), str(tmp_path / "output.txt")
    search = WarmProcess(Start(tuple(command), str(tmp_path), ENVIRON, "/dev/null", output, output))
    metrics = tmp_path / "study" / "trial-000" / "seed-1" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text(), 200, "metrics of the first trial")
    assert left_on_nodes()
    search.send_signal(signal.SIGKILL)
    wait_for(lambda: not left_on_nodes(), 100, "nothing to be left on the nodes")


def test_a_run_whose_actor_is_killed_is_started_anew(tmp_path, cluster):
    command, output = tune(tmp_path, cluster, "--max-steps", "3000"), str(tmp_path / "output.txt")
    search = WarmProcess(Start(tuple(command), str(tmp_path), ENVIRON, "/dev/null", output, output))
    wait_for(lambda: named("ray::TrialActor") and left_on_nodes(), 200, "a run")
    named("ray::TrialActor")[0].kill()
    assert search.wait(400) == 0, Path(output).read_text()
    assert "best: trial" in Path(output).read_text()
    wait_for(lambda: not left_on_nodes(), 60, "nothing to be left on the nodes")
