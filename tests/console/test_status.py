"""`a3c status` and `a3c stop` against real processes that hold a run's lock."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from a3c.cli import main
from a3c.storage.records import write_json
from a3c.storage.run_lock import LOCK, RunLock
from tests.terminal import Screen

ROOT = Path(__file__).parents[2]

RUN = """
import json, signal, sys, threading
from pathlib import Path
from a3c.storage.run_lock import RunLock

folder, manners = Path(sys.argv[1]), sys.argv[2]

def write(state):
    (folder / "status.json").write_text(json.dumps({"state": state, "steps": 1234, "env": "Pong-v0"}))

asked = threading.Event()
requests = []

def on_term(number, frame):
    requests.append(number)
    if manners == "polite" or (manners == "slow" and len(requests) == 2):
        asked.set()

signal.signal(signal.SIGTERM, on_term)
with RunLock(folder):
    write("running")
    print("ready", flush=True)
    while not asked.wait(0.01):
        pass
    write("stopped")
"""

StartRun = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, below a current directory of its own."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def start_run(runs: Path) -> Iterator[StartRun]:
    """`start_run(name, manners)`: a process that owns a run: "polite", "slow" (stops when asked twice) or
    "deaf"."""
    processes: list[subprocess.Popen[str]] = []

    def start(name: str, manners: str = "polite") -> subprocess.Popen[str]:
        (runs / name).mkdir()
        (runs / name / "config.json").write_text("{}")
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(runs / name), manners],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=300)


def write_status(folder: Path, **status: Any) -> None:
    """As a run does: who looks meanwhile sees the former one."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "status.json", status)
    write_json(folder / "config.json", {})


class TestStatus:
    def test_shows_the_newest_run(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for age, name in enumerate(["new", "old"]):
            write_status(runs / name, state="finished", env=name)
            for file in ("config.json", "status.json"):
                os.utime(runs / name / file, (1e9 - age, 1e9 - age))
        assert main(["status"]) == 0
        assert "new" in capsys.readouterr().out
        for name in (str(runs / "old"), "old"):
            assert main(["status", name]) == 0
            assert "old" in capsys.readouterr().out

    def test_json_is_the_status(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_status(runs / "a", state="finished", steps=5)
        assert main(["status", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"state": "finished", "steps": 5}

    def test_a_live_run_is_running_and_a_killed_one_has_died(
        self, start_run: StartRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = start_run("a")
        assert main(["status", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "running"
        process.kill()
        process.wait(300)
        assert main(["status", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["state"] == "died"
        assert "--load checkpoints/a" in found["message"]

    @pytest.mark.parametrize("argv", [["status"], ["stop"], ["status", "nowhere"], ["stop", "nowhere"]])
    def test_no_such_run(self, runs: Path, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(argv) == 2
        assert capsys.readouterr().err.startswith(("error: no run under", "error: nowhere: there is no such"))

    @pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
    def test_a_damaged_status(self, runs: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        write_status(runs / "a")
        (runs / "a" / "status.json").write_text(text)
        assert main(["status"]) == 6
        assert "status.json is damaged: " in capsys.readouterr().err

    @pytest.mark.parametrize(
        "status",
        [
            {"workers": "abc"},
            {"workers": [{"phase": "[/nope]", "state": ["x"]}, 5], "state": "[/x]"},
            {"evaluator": {"last_score": "abc"}, "best_score": {}},
            {"progress": 1e300, "eta_s": "soon", "elapsed_s": -1, "max_steps": [1]},
            {"message": "\x1b[2J\x9b31m", "env": "\x1b]0;x\x07", "command": "\x1b[2J", "other": "\x1b[2J"},
        ],
    )
    @pytest.mark.parametrize("how", [[], ["--json"]])
    def test_f83_a_status_of_any_kind_is_shown_harmlessly(
        self, runs: Path, status: dict[str, Any], how: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_status(runs / "a", **status)
        assert main(["status", *how]) == 0
        assert main(["stop"]) == 0
        output = capsys.readouterr().out
        assert output.replace("\n", "").isprintable()


FULL = {
    "env": "Breakout-v0", "algo": "a3c", "preset": "breakout-a3c", "run_dir": "checkpoints/a", "steps": 1,
    "frames": 4_234_567, "updates": 3214, "episodes": 210, "steps_per_second": 890.2, "max_steps": 10_000_000,
    "progress": 0.1234, "eta_s": 9000.0, "elapsed_s": 1400.0, "workers": [{"id": 0, "state": "running"}],
    "evaluator": {"state": "running", "last_score": 12.3}, "message": "worker-1 was killed by SIGKILL",
}  # fmt: skip


class TestWatch:
    """`a3c status --watch`."""

    def test_waits_for_a_run_and_leaves_at_ctrl_c(self, runs: Path) -> None:
        program = "from a3c.cli import main; raise SystemExit(main(['status', '--watch', '--wait']))"
        command = [sys.executable, "-c", program]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=runs.parent, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as watch:  # fmt: skip
            assert watch.stdout is not None
            assert "waiting: no run under" in watch.stdout.readline()
            write_status(runs / "a", state="finished", steps=77)
            assert "waiting: no run goes on; checkpoints/a was the last" in watch.stdout.readline()
            write_status(runs.parent / "b", state="running", steps=78)
            with RunLock(runs.parent / "b"):
                (runs.parent / "b").rename(runs / "b")
                assert "running  78 steps" in watch.stdout.readline()
                watch.send_signal(signal.SIGINT)
                _, errors = watch.communicate(timeout=300)
        assert (watch.returncode, errors) == (0, "")

    def test_of_a_run_that_is_over_it_shows_the_end(
        self, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_status(runs / "a", state="finished", steps=77)
        assert main(["status", "--watch"]) == 0
        assert "finished  77 steps" in capsys.readouterr().out
        assert main(["status", "--wait"]) == 2
        assert "--wait goes with --watch" in capsys.readouterr().err

    def test_fits_the_terminal_whatever_its_size_and_ends_with_its_run(self, runs: Path) -> None:
        def step(number: int, **fields: Any) -> None:
            write_status(runs / "a", **{**FULL, "state": "running", "steps": number, **fields})

        def shows(number: int) -> None:
            words = ("Breakout-v0 a3c", "progress  ", "score  ", "worker 0", "evaluator", "Ctrl-C")

            def whole() -> bool:
                """It comes in pieces."""
                once = all(screen.text.count(word) == 1 for word in words)
                return f"progress    {number:,} steps" in screen.text and once and screen.lines[-1] == ""

            screen.wait_for(whole)
            assert "..." not in screen.text
            assert "".join(screen.above).count("Breakout") == 0

        step(1001)
        with Screen(60, 15) as screen:
            lock = RunLock(runs / "a")
            watch = screen.start("-m", "a3c", "status", "--watch", cwd=runs.parent)
            shows(1001)
            for number, size in enumerate(((100, 30), (60, 15), (60, 13), (140, 40), (80, 24)), 1002):
                screen.resize(*size)
                step(number)
                shows(number)
            step(2000, state="finished")
            lock.release()
            assert watch.wait(300) == 0
            screen.wait_for(
                lambda: (
                    "finished" in screen.text
                    and screen.text.count("2,000 steps") == screen.text.count("Breakout-v0") == 1
                )
            )

    @pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
    def test_a_resize_leaves_no_second_copy_where_lines_are_broken_anew(
        self, runs: Path, tmp_path: Path, wait_until: Callable[..., Any]
    ) -> None:
        tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]

        def captured(*flags: str) -> str:
            command = [*tmux, "capture-pane", "-p", *flags]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        def alone(columns: int) -> bool:
            preset = " (preset breakout-a3c)" * (columns > 60)
            shown = captured()
            whole = f"Breakout-v0 a3c{preset}  running  checkpoints/a\n" in shown
            return whole and shown.count("Breakout") == captured("-S", "-").count("Ctrl-C leaves") == 1

        try:
            write_status(runs / "a", state="running", **FULL)
            with RunLock(runs / "a"):
                program = f"cd {runs.parent}; PYTHONPATH={ROOT} exec {sys.executable} -m a3c status --watch"
                start = ["new-session", "-d", "-x", "100", "-y", "30", "sh", "-c", program]
                subprocess.run([*tmux, *start], check=True)
                wait_until(lambda: "Ctrl-C leaves" in captured(), what="the view")
                for columns, lines in ((60, 20), (120, 40), (70, 20)):
                    resize = ["resize-window", "-x", str(columns), "-y", str(lines)]
                    subprocess.run([*tmux, *resize], check=True)
                    wait_until(partial(alone, columns), what=f"one view of {columns} columns")
        finally:
            subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


class TestStop:
    def test_asks_the_run_and_waits_for_it(
        self, start_run: StartRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = start_run("a")
        assert main(["stop"]) == 0
        assert "a stopped at 1,234 steps; continue it with --load" in capsys.readouterr().out
        assert process.wait(300) == 0

    def test_a_run_that_is_not_running(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_status(runs / "a", state="finished")
        assert main(["stop"]) == 0
        assert "is not running" in capsys.readouterr().out

    def test_a_slow_one_is_left_alone_after_the_timeout(
        self, start_run: StartRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = start_run("a", "slow")
        assert main(["stop", "--timeout", "0.3"]) == 1
        assert "still runs after 0.3 s; a3c stop --force" in capsys.readouterr().err
        assert process.poll() is None

    def test_force_asks_twice(self, start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
        process = start_run("a", "slow")
        assert main(["stop", "--force", "--timeout", "1"]) == 0  # two signals too close are one
        assert process.wait(300) == 0

    def test_force_kills_at_last(
        self, start_run: StartRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("a3c.console.status._FORCED_STOP_S", 0.3)
        process = start_run("a", "deaf")
        assert main(["stop", "--force", "--timeout", "0.3"]) == 0
        assert process.wait(300) == -signal.SIGKILL
        assert "died" in capsys.readouterr().out

    def test_f34_a_foreign_pid_in_the_lock_is_not_signalled(
        self, runs: Path, start_run: StartRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = start_run("a")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
            lock = runs / "a" / LOCK
            lock.write_text(json.dumps({**json.loads(lock.read_text()), "pid": bystander.pid}))
            with (runs / "a" / LOCK).open():  # and this process has it open
                assert main(["stop"]) == 0
            assert bystander.poll() is None
            bystander.communicate(b"\n", timeout=300)
        assert (bystander.returncode, process.wait(300)) == (0, 0)

    def test_a_run_on_another_host(
        self,
        runs: Path,
        start_run: StartRun,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        process = start_run("a")
        lock = runs / "a" / LOCK
        monkeypatch.setattr("a3c.console.status.holding_process", lambda run_dir: 0)  # the kernel cannot tell
        assert main(["stop"]) == 2
        assert "cannot be told" in capsys.readouterr().err
        assert process.poll() is None
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "elsewhere"}))
        assert main(["stop"]) == 2
        assert "runs on elsewhere; stop it there" in capsys.readouterr().err

    def test_a_bad_timeout(self, start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
        start_run("a")
        assert main(["stop", "--timeout", "soon"]) == 2
        assert "--timeout soon: not a time" in capsys.readouterr().err
