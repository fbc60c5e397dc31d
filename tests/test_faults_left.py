"""What an environment starts and prints: nothing of it is left behind, and it fills no disk."""

import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from a3c.processes import child_log
from tests.run_tools import TINY, Run, gone, script, wait_for


def fault(mode, tally=""):
    return ["--env", "fault_env:Fault-v0", "--env-kwargs", f"mode={mode}", "at=30", f"tally={tally}", *TINY]


def helpers_of(tally: Path) -> list[psutil.Process]:
    pids = [int(file.name.rpartition("-")[2]) for file in tally.parent.glob(f"{tally.name}-*")]
    return [process for pid in pids for process in process_of(pid)]


def process_of(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid)]
    return []


def sizes_and_modes(folder: Path) -> dict[Path, os.stat_result]:
    """Of all that is in it, but for what is renamed or removed just now."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            found[path] = path.stat()
    return found


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_f64_what_environments_start_ends_with_the_run(tmp_path, workers, signum):
    """Also what they start where they are tried before the run begins, and what has no environment."""
    tally = tmp_path / "tally"
    with Run(tmp_path, *fault("litter", tally), "--workers", workers) as run:
        run.training()
        started = helpers_of(tally)
        assert len(started) >= 2 * (2 + 2 * max(1, int(workers)))
        run.signal(signum)
        run.end()
        wait_for(lambda: gone(helpers_of(tally)), what="their end")
    assert gone(started)


def test_f64_what_an_environment_starts_ends_with_the_command_that_plays(tmp_path):
    tally = tmp_path / "tally"
    flags = [*fault("litter", tally), "--workers", "0", "--max-steps", "100", "--eval-every", "0"]
    assert script("run.py", "--run-dir", "run", *flags, cwd=tmp_path).returncode == 0
    before = len(list(tmp_path.glob("tally-*")))
    flags = ["--checkpoint", "run", "--env", "fault_env:Fault-v0", "--num-episodes", "1"]
    done = script("eval.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("tally-*"))) > before
    assert gone(helpers_of(tally))


def test_f64_what_an_environment_starts_ends_with_its_worker(tmp_path):
    tally = tmp_path / "tally"
    with Run(tmp_path, *fault("helper", tally), "--workers", "2") as run:
        run.wait_until(lambda s: len(helpers_of(tally)) >= 4 and all(w["pid"] for w in s["workers"]))
        worker = psutil.Process(run.status()["workers"][0]["pid"])
        started = worker.children()
        assert len(started) == 2
        others = psutil.Process(run.status()["workers"][1]["pid"]).children()
        worker.kill()
        wait_for(lambda: gone(started), what="their end")
        assert not any(map(gone, ([other] for other in others)))


def test_f65_an_environment_that_prints_without_end_fills_no_disk(tmp_path):
    within = ("sh", "-c", 'umask 0; exec "$0" "$@"')
    with Run(tmp_path, *fault("talk"), "--workers", "1", within=within) as run:
        run.training(300)
        found = sizes_and_modes(run.path)
        sizes = [s.st_size for path, s in found.items() if path.parent.name == "logs"]
        assert sum(sizes) < 3 * child_log._LOG_BYTES
        assert [path for path, s in found.items() if stat.S_IMODE(s.st_mode) & 0o077] == []
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output


def test_f65_no_secret_reaches_a_process_of_the_run(tmp_path):
    flags = ["--env", "CartPole-v1", "--workers", "1", *TINY]
    with Run(tmp_path, *flags, env={"HF_TOKEN": "canary"}, warm=True) as run:
        run.training()
        main, *children = run.family()
        assert len(children) >= 3
        for child in children:
            with suppress(psutil.NoSuchProcess):  # also a zombie
                assert "canary" not in child.environ().values(), child.cmdline()
        os.kill(main.pid, signal.SIGTERM)
        run.end()
