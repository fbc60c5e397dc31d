"""A real run and what happens around it: service managers, lost terminals, other shells, pauses."""

import configparser
import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from a3c.processes.supervisor import Limits
from a3c.settings.cores import usable_cores
from a3c.settings.groups import RunConfig
from a3c.storage.run_lock import lock_holder
from a3c.training.process_team import limits
from tests.run_tools import ROOT, TINY, Run, wait_for
from tests.warm import run_to_the_end

CARTPOLE = ["--env", "CartPole-v1", "--workers", "2", "--checkpoint-every", "1", "--eval-every", "0", *TINY]


class FakeServiceManager:
    """Listens as systemd does."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.heard = []

    def listen(self):
        while True:
            try:
                self.heard.append(self.socket.recv(100).decode())
            except BlockingIOError:
                return self.heard

    def pings(self):
        return self.listen().count("WATCHDOG=1")


@pytest.fixture
def manager(tmp_path):
    manager = FakeServiceManager(tmp_path)
    yield manager
    manager.socket.close()


def a3c(*words, cwd):
    return run_to_the_end("-m", "a3c", *words, cwd=cwd, environ={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_finished_service_that_is_started_again_has_not_failed(tmp_path, manager):
    """As at each start of the machine."""
    once = ["--env", "CartPole-v1", "--workers", "0", "--max-steps", "20", "--eval-every", "0", *TINY]
    with Run(tmp_path, *once) as run:
        assert run.end() == 0, run.output
    with Run(tmp_path, "--load", env={"NOTIFY_SOCKET": manager.path}, warm=True) as again:
        assert again.end() == 0, again.output
    assert "is finished: --max-steps 20 is reached" in again.output
    assert manager.listen() == ["READY=1", "STOPPING=1"]


def test_f18_f46_a_service_that_is_frozen_asked_and_stopped(tmp_path, manager):
    """One run through all of it: ready, frozen, resumed, a worker replaced on request, stopped."""
    environ = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000"}
    with Run(tmp_path, *CARTPOLE, "--stall-after", "3", env=environ, warm=True) as run:
        assert "READY=1" not in manager.listen()
        status = run.training()
        wait_for(lambda: "READY=1" in manager.listen(), what="readiness")
        pings = manager.pings()
        wait_for(lambda: manager.pings() > pings + 1, what="signs of life")

        family = run.family()
        for process in family:  # as Ctrl-Z and a closed laptop do; longer than the stall limit
            process.suspend()
        wait_for(lambda: all(p.status() == psutil.STATUS_STOPPED for p in family), what="all of it to stop")
        pings, frozen_until = manager.pings(), time.monotonic() + 5
        while time.monotonic() < frozen_until:
            assert manager.pings() == pings  # systemd would end it now
            with pytest.raises(subprocess.TimeoutExpired):
                run.process.wait(0.2)
        for process in reversed(family):
            process.resume()
        steps = status["steps"]
        later = run.wait_until(lambda s: s["steps"] > steps + 200)
        wait_for(lambda: manager.pings() > pings, what="signs of life again")
        assert [w["restarts"] for w in later["workers"]] == [0, 0]
        assert later["evaluator"]["restarts"] == 0

        seen = a3c("status", "run", "--json", cwd=tmp_path)
        assert json.loads(seen.stdout)["state"] == "running", seen.stderr
        asked = a3c("restart-worker", "run", "1", cwd=tmp_path)
        assert (asked.returncode, asked.stdout.split(",")[0]) == (0, "worker-1 runs again"), asked.stderr
        assert a3c("restart-worker", "run", "7", cwd=tmp_path).returncode == 2
        after = run.status()["workers"]
        assert [w["restarts"] for w in after] == [0, 1]
        assert after[0]["pid"] == status["workers"][0]["pid"]
        run.signal(signal.SIGUSR1)  # shows where the main process is, and harms nothing
        wait_for(lambda: "until_end" in run.output, what="the stack")

        assert "STOPPING=1" not in manager.listen()
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    assert [text for text in manager.listen() if text != "WATCHDOG=1"] == ["READY=1", "STOPPING=1"]
    assert a3c("restart-worker", "run", "1", cwd=tmp_path).returncode == 2


def test_f15_f27_a_lost_terminal_may_be_ignored(tmp_path):
    """The terminal goes away: SIGHUP to the whole session, and every write to it fails."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(tmp_path / "run")]
    flags = [*CARTPOLE, "--workers", "1", "--on-hup", "ignore"]
    process = psutil.Popen(
        [*command, *flags], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=take_terminal, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    status = tmp_path / "run" / "status.json"

    def steps():
        os.set_blocking(ours, False)
        with suppress(OSError):
            os.read(ours, 100_000)
        return json.loads(status.read_text())["steps"] if status.exists() else 0

    try:
        wait_for(lambda: steps() > 200, what="training")
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        before = json.loads(status.read_text())["steps"]
        wait_for(lambda: json.loads(status.read_text())["steps"] > before + 500, what="more steps")
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 0
    finally:
        for p in (*process.children(recursive=True), process) if process.is_running() else ():
            p.kill()
        process.wait(300)
    assert json.loads(status.read_text())["state"] == "stopped"


def take_terminal():
    """Makes the standard input this session's terminal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_f27_nobody_reads_the_output(tmp_path):
    """`python run.py ... | head -1`"""
    command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(tmp_path / "run")]
    flags = ["--env", "CartPole-v1", "--workers", "0", "--max-steps", "2000", "--eval-every", "0", *TINY]
    process = subprocess.Popen(
        [*command, *flags], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(300) == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


MARK = "A3C_TEST_MARK"


def marked(mark):
    """Every living process that inherited a mark, however it came to be."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def blow_during_start(tmp_path, signum, delay):
    """A signal `delay` seconds after the start; nothing may be left, and the directory must be free."""
    mark = f"{tmp_path.name}-{signum}-{delay}"
    with Run(tmp_path, *CARTPOLE, run_dir=f"run-{delay}", env={MARK: mark}) as run:
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(delay)
        run.signal(signum)
        code = run.end()
        wait_for(lambda: not marked(mark), what="all processes to end")
    if run.path.exists():
        assert lock_holder(run.path) is None
    return code, run


@pytest.mark.parametrize("delay", [0.1, 1.5, 2.5])
def test_f16_a_signal_during_the_start(tmp_path, delay):
    check_f16(tmp_path, random.choice((signal.SIGINT, signal.SIGTERM)), delay)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_f16_a_signal_at_any_moment_of_the_start(tmp_path, signum):
    for tenths in range(0, 61):
        check_f16(tmp_path, signum, tenths / 20)


def check_f16(tmp_path, signum, delay):
    """Before the handlers are in place the signal itself ends the process; then it is a graceful stop."""
    code, run = blow_during_start(tmp_path, signum, delay)
    if "Fatal Python error: init_" in run.output:  # Python itself was not there yet, which then ends with 1
        assert (code, signum, run.path.exists()) == (1, signal.SIGINT, False), run.output
        return
    assert code in (0, -signum, 128 + signum), run.output
    if code == 0:
        assert run.status()["state"] == "stopped"


@pytest.mark.parametrize("delay", [1.0, 4.0])
def test_f17_sigkill_at_any_moment(tmp_path, delay):
    code, _ = blow_during_start(tmp_path, signal.SIGKILL, delay)
    assert code == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_f17_sigkill_at_fifty_moments(tmp_path):
    rng = random.Random(0)
    shared = set(os.listdir("/dev/shm"))
    for _ in range(50):
        code, _ = blow_during_start(tmp_path, signal.SIGKILL, rng.uniform(0, 8))
        assert code == -signal.SIGKILL
    assert {name for name in os.listdir("/dev/shm") if name.startswith("torch_")} <= shared


def test_f18_patience_follows_the_setting():
    assert limits(RunConfig()) == Limits(early_workers=usable_cores() - 1)
    short = limits(RunConfig(stall_after=3.0, min_workers=2))
    assert (short.stall_s, short.min_workers) == (3.0, 2)
    assert short.max_tick_s < 3.0 / 2  # a pause of the main process alone reaches no limit


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(ROOT / "deploy" / "a3c@.service")
    return parser


def test_f46_the_unit_fits_the_program():
    service = unit()["Service"]
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify", "mixed", "on-failure")
    assert float(service["TimeoutStopSec"]) > 3 * RunConfig().grace
    assert float(service["WatchdogSec"]) > 10
    assert service["RestartPreventExitStatus"].split() == ["2", "3", "4", "7"]


def test_f46_the_units_command_starts_and_then_continues(tmp_path):
    """With a run.py that only says what it was given."""
    (tmp_path / "run.py").write_text("import sys; print(sys.argv[1:])")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    command = unit()["Service"]["ExecStart"].replace("$$", "$")
    script = command.removeprefix("/bin/sh -c '").removesuffix("'")
    environ = {"RUN": "checkpoints/x y", "A3C_ARGS": "--env CartPole-v1"}

    def words():
        sh = ["/bin/sh", "-c", script]
        return subprocess.run(sh, cwd=tmp_path, env=environ, capture_output=True, text=True).stdout.strip()

    assert words() == str(["--run-dir", "checkpoints/x y", "--env", "CartPole-v1"])
    (tmp_path / "checkpoints" / "x y").mkdir(parents=True)
    (tmp_path / "checkpoints" / "x y" / "config.json").touch()
    assert words() == str(["--load", "checkpoints/x y"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_f44_a_few_rounds_of_chaos(tmp_path):
    from benchmarks.chaos import run_chaos

    assert run_chaos(5, 1, tmp_path)["broken"] == []
