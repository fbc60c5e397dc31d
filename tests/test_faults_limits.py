"""A real run and too little of everything: disk, shared memory, descriptors, memory."""

import ast
import fcntl
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch

from a3c.settings.groups import OptimConfig
from a3c.stores.parameters import Parameters
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import SharedStore, StoreMemory
from a3c.stores.turns import Turns
from tests.run_tools import ROOT, TINY, Run, script, wait_for

CARTPOLE = ["--env", "CartPole-v1", "--workers", "1", "--checkpoint-every", "1", "--eval-every", "0", *TINY]


def with_small(size, *folders):
    """A command that gives what it runs a file system of its own, of `size`, at each of `folders`."""
    mounts = " && ".join(f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(f))}" for f in folders)
    namespace = ("unshare", "-Urm", "sh", "-c")
    if not shutil.which("unshare") or subprocess.run([*namespace, mounts], capture_output=True).returncode:
        pytest.skip("this system does not allow user namespaces")
    return (*namespace, f'{mounts} && exec "$0" "$@"')


def fill(file):
    """Writes until there is no room, also where some is free again."""
    with open(file, "ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


def removed(folder):
    """Removes it, unless something is written to it meanwhile; returns whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def unsaved(run):
    """The steps of the checkpoints that could not be written."""
    return sorted({int(step) for step in re.findall(r"no checkpoint of step (\d+)", run.output)})


def test_f26_f27_f29_a_disk_that_is_full_and_then_has_room(tmp_path):
    """In a run that has 2 MB of shared memory, and of disk."""
    (tmp_path / "disk").mkdir()
    within = with_small("2m", tmp_path / "disk", "/dev/shm")
    with Run(tmp_path, *CARTPOLE, run_dir="disk/run", within=within) as run:
        run.path = Path(f"/proc/{run.process.pid}/root{run.path}")  # as the run sees it
        run.training()
        wait_for(run.checkpoints, what="a checkpoint")
        filler = run.path.parent / "filler"
        wait_for(lambda: fill(filler) or len(unsaved(run)) >= 2, what="training without checkpoints")
        assert run.checkpoints()
        filler.unlink()
        last = unsaved(run)[-1]
        wait_for(lambda: int(run.checkpoints()[-1].name[5:14]) > last, what="a checkpoint again")
        run.wait_until(lambda s: s["steps"] > last, what="a status again")
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize(("change", "workers"), [("deleted", "1"), ("moved", "0"), ("replaced", "0")])
def test_f28_f81_a_run_directory_that_is_gone(tmp_path, change, workers):
    """The run ends; what is in its place then is left alone, and where it is now it can be continued."""
    with Run(tmp_path, *CARTPOLE, "--workers", workers) as run:
        run.training()
        run.wait_until(lambda s: s["evaluator"]["state"] == "running" and s["checkpoint"])
        run.path.rename(tmp_path / "moved")
        if change == "deleted":
            wait_for(lambda: removed(tmp_path / "moved"), what="a folder that is deleted")
        elif change == "replaced":
            run.path.mkdir()
        assert run.end() == 6, run.output
    assert "is no longer this run's folder: it was moved, deleted or replaced" in run.output
    assert "Traceback" not in run.output
    assert not run.path.exists() or os.listdir(run.path) == []
    if change == "moved":
        flags = ["--load", str(tmp_path / "moved"), "--max-steps", "1"]
        assert script("run.py", *flags, cwd=tmp_path).returncode == 0


def test_f29_too_little_shared_memory(tmp_path):
    with Run(tmp_path, *CARTPOLE, within=with_small("64k", "/dev/shm")) as run:
        assert run.end() == 6, run.output
    assert re.search(r"error: \S+ MB of shared memory are needed and /dev/shm has 0\.1 MB free", run.output)
    assert "--shm-size=64m" in run.output


def test_f30_few_open_files(tmp_path):
    with Run(tmp_path, *CARTPOLE, within=("sh", "-c", 'ulimit -n 64 && exec "$0" "$@"')) as run:
        assert run.end() == 2, run.output
    assert "raise it with `ulimit -n 160`" in run.output


def test_f11_f43_a_run_that_grows_stops_in_time(tmp_path):
    """--max-rss ends it with a checkpoint, before the kernel would without one."""
    flags = ["--env", "fault_env:Fault-v0", "--env-kwargs", "mode=leak", "at=200", "--workers", "1"]
    with Run(tmp_path, *flags, "--eval-every", "0", "--max-rss", "1500m", *TINY) as run:
        assert run.end() == 0, run.output
    assert "MB and --max-rss is 1500 MB" in run.output
    status = run.status()
    assert status["state"] == "stopped"
    assert run.checkpoints()[-1].name == f"ckpt-{status['steps']:09d}"


@pytest.mark.parametrize("locked", [False, True])
def test_f02_killed_inside_an_update(locked):
    """Writers die at random moments, thirty times; the next one updates at once, and all stays finite."""
    optim = OptimConfig(lr=1e-3)
    shapes = {f"layer{i}": (100, 100) for i in range(10)}
    memory, board = StoreMemory.allocate(shapes, optim).share(), Scoreboard(1).share()
    rng = random.Random(0)

    turns = Turns(1) if locked else None

    gradients = Parameters(shapes, torch.randn(100_000)).views
    for _ in range(30):
        before = board.total("updates")
        child = os.fork()
        if not child:
            store = SharedStore(memory, optim, 0, board, 0, turns)
            while True:
                store.push(gradients, 0)
        # a lock that its dead holder keeps would stop the next one
        wait_for(lambda before=before: board.total("updates") >= before + 3, what="three updates")
        for _ in range(rng.randrange(20_000)):  # somewhere inside one of the next
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert torch.isfinite(memory.weights).all()
    assert all(torch.isfinite(tensor).all() for tensor in memory.optimizer.values())


def test_f90_nobody_else_can_hold_the_turn(tmp_path):
    flags = ["--env", "CartPole-v1", "--workers", "2", "--locked-updates", "--eval-every", "0", *TINY]
    with Run(tmp_path, *flags) as run, ExitStack() as held:
        before = run.training()["updates"]
        for path in run.path.rglob("*"):
            if path.name != "lock":  # which the run holds, as its folder
                with suppress(FileNotFoundError):  # a status that had another name for a moment
                    fcntl.flock(held.enter_context(opened(path)), fcntl.LOCK_EX)
        run.wait_until(lambda s: s["updates"] > before + 200)
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output


@contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


WALL_CLOCKS = {"time.time", "time.localtime", "time.ctime"}
MAY_READ_THE_CLOCK = {
    "evaluators/process/writer.py",  # TensorBoard's format asks for the time of day
    "a3c/cluster/survey.py",  # `a3c doctor --cluster` compares the clocks of machines
}


def test_f32_no_decision_depends_on_the_time_of_day():
    """A clock that jumps changes what people read, never what a run does: durations are monotonic."""
    found = set()
    for folder in ("a3c", "evaluators"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL_CLOCKS:
                    found.add(str(path.relative_to(ROOT)))
    assert found <= MAY_READ_THE_CLOCK
