"""Starting the real run.py and eval.py, and watching them from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.warm import Start, WarmProcess, run_to_the_end

ROOT = Path(__file__).parents[1]
TINY = ["--envs-per-worker", "2", "--num-steps", "5", "--log-every", "0.5", "--eval-episodes", "2"]
"""Flags that keep a test run small."""


PATIENCE_S = 300.0
"""How long anything may take that does not take long, on the slowest machine. Where it is quick a deadline
costs nothing, so no test needs a shorter one."""


def search_path() -> str:
    """The repository, its tests, and where else packages are found here."""
    return os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))


def wait_for(condition, timeout_s=PATIENCE_S, what="the condition"):
    """Polls until `condition()` is true and returns its value; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = 0.005
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s:g} s"
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)
    return value


class Run:
    """A `run.py` in a process of its own, in a folder of its own; `within` is a command that execs it,
    `output` a descriptor in the place of a file. With `env` it has an interpreter that starts so, unless it
    is said to be `warm`, as where nothing of `env` is read by Python or by what is imported."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        run_dir: str = "run",
        env: dict[str, str] | None = None,
        within: tuple[str, ...] = (),
        output: int | None = None,
        warm: bool = False,
    ):
        self.path = folder / run_dir
        self.output_path = folder / f"output-{time.monotonic_ns()}.txt"
        environ = {**os.environ, "PYTHONPATH": search_path(), **(env or {})}
        command = [str(ROOT / "run.py"), "--run-dir", str(self.path), *flags]
        self.process: subprocess.Popen[bytes] | WarmProcess
        if not ((env and not warm) or within or output is not None):
            self.output_path.touch()
            outputs = ("/dev/null", str(self.output_path), str(self.output_path))
            self.process = WarmProcess(Start(tuple(command), str(folder), environ, *outputs))
            return
        with self.output_path.open("w") as file:
            self.process = subprocess.Popen(
                [*within, sys.executable, *command],
                cwd=folder,
                env=environ,
                stdout=file if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def status(self) -> dict:
        try:
            return json.loads((self.path / "status.json").read_text())
        except (OSError, ValueError):
            return {}

    def wait_until(self, condition, timeout_s=PATIENCE_S, what="the run's status"):
        """Polls the status until it fulfils `condition`."""

        def met():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            status = self.status()
            return status if status and condition(status) else None

        return wait_for(met, timeout_s, what)

    def training(self, steps=100):
        """Waits until every worker has made steps."""
        return self.wait_until(
            lambda s: (
                s["state"] == "running" and s["workers"] and all(w["steps"] > steps for w in s["workers"])
            )
        )

    def family(self) -> list[psutil.Process]:
        try:
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def end(self, timeout_s=PATIENCE_S) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output}") from None

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def checkpoints(self, kind="ckpt") -> list[Path]:
        return sorted(self.path.glob(f"{kind}-*"))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.family():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait(PATIENCE_S)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them ended."""
    return not any(map(_lives, processes))


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end between two questions
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def script(
    name: str, *flags: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Runs a script of the project to its end."""
    environ = {**os.environ, "PYTHONPATH": search_path(), **(env or {})}
    return run_to_the_end(str(ROOT / name), *flags, cwd=cwd, environ=environ)


def end_by_force(run: Run, hangs: Path) -> None:
    """Stops a run whose worker does not leave, by signals until one of them forces it."""
    wait_for(hangs.exists, what="a worker that does not leave")
    family = run.family()
    run.signal(signal.SIGINT)
    run.wait_until(lambda s: s["state"] == "stopping")
    # again and again: one that comes right after the first is taken for the same request
    wait_for(lambda: run.signal(signal.SIGINT) or run.process.poll() is not None, what="the forced end")
    assert run.end() == 128 + signal.SIGINT
    wait_for(lambda: gone(family), what="all processes to end")
