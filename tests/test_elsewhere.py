"""On other systems than Linux, as far as Linux can pretend to be one (see not_linux/sitecustomize.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from a3c.console import doctor
from tests.run_tools import ROOT, TINY, Run, gone, wait_for

ELSEWHERE = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests" / "not_linux", ROOT, ROOT / "tests")))}
TRAINING = [*TINY, "--env", "CartPole-v1", "--workers", "1", "--eval-every", "1"]
WINDOWS = """
import runpy, sys
sys.platform, sys.argv = "win32", [sys.argv[1]]
sys.modules |= dict.fromkeys(("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", ["run.py", "eval.py", "a3c/__main__.py"])
def test_windows_is_refused_in_one_line(script: str) -> None:
    command = [sys.executable, "-c", WINDOWS, str(ROOT / script)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 2
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: a3c needs Linux")
    assert "WSL 2" in line


def test_without_what_only_linux_has_a_run_trains_and_is_stopped(tmp_path: Path) -> None:
    turns = ["--workers", "2", "--active-workers", "1", "--locked-updates"]
    with Run(tmp_path, *TRAINING, *turns, env=ELSEWHERE) as run:
        run.training()
        family = run.family()
        stop = [sys.executable, "-m", "a3c", "stop", str(run.path)]
        stopped = subprocess.run(stop, env=os.environ | ELSEWHERE, capture_output=True, text=True)
        assert stopped.returncode == 0, stopped.stderr
        assert run.end() == 0
        wait_for(lambda: gone(family), what="the end of all processes")
        assert run.checkpoints()
        assert run.output.count("not tested on this system") == 1


def test_without_what_only_linux_has_nothing_outlives_a_killed_run(tmp_path: Path) -> None:
    with Run(tmp_path, *TRAINING, env=ELSEWHERE) as run:
        run.training()
        family = run.family()
        run.signal(signal.SIGKILL)
        wait_for(lambda: gone(family), what="the end of all processes")


@pytest.mark.parametrize(
    ("linux", "release", "level"),
    [
        (True, "5.15.167.4-microsoft-standard-WSL2", "ok"),
        (True, "4.4.0-19041-Microsoft", "warn"),
        (False, "24.6.0", "warn"),
    ],
)
def test_the_doctor_knows_where_it_is(
    linux: bool, release: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LINUX", linux)
    monkeypatch.setattr("platform.release", lambda: release)
    assert [finding.level for finding in doctor.CHECKS["system"]()] == [level]
