"""Real children, real signals, real ends."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

from a3c.errors import EXIT_SIGNAL, QuorumLost, UsageError
from a3c.processes.group import ChildSpec, Event, ProcessGroup
from a3c.processes.guardian import guarded
from a3c.processes.spawning import ensure_open_files
from a3c.processes.supervisor import EVALUATOR, WORKER, ChildState, Limits
from tests.processes import helpers as helpers
from tests.run_tools import PATIENCE_S

QUICK = Limits(backoff_s=0.05, backoff_max_s=0.2)
IMPATIENT = replace(QUICK, stall_s=1.0, dump_s=1.0, kill_s=0.5, leave_s=0.3)
"""For those who hang: others may be short of a CPU for as long."""
ROOT = Path(__file__).parents[2]

Target = Callable[..., None]


class Run:
    """A process group of the helpers' targets, one row of the board each."""

    def __init__(self, folder: Path, workers: list[Target], evaluator: Target | None, limits: Limits) -> None:
        self.board = helpers.Board(len(workers) + 1)
        self.logged: list[tuple[str, str]] = []
        self.events: list[Event] = []
        targets = [(f"worker-{i}", WORKER, target) for i, target in enumerate(workers)]
        targets += [("evaluator", EVALUATOR, evaluator)] if evaluator else []
        specs = [
            ChildSpec(name, role, target, functools.partial(self._args, row), {"ITS_API_KEY": name})
            for row, (name, role, target) in enumerate(targets)
        ]
        self.rows = {spec.name: row for row, spec in enumerate(specs)}
        self.incarnations: list[tuple[int, int]] = []
        self.folder = folder
        self.group = ProcessGroup(specs, self._heartbeats, self._log, folder, limits)

    def _args(self, row: int, incarnation: int) -> tuple[helpers.Board, int]:
        self.incarnations.append((row, incarnation))
        return self.board, row

    def _heartbeats(self) -> dict[str, tuple[float, str]]:
        return {name: self.board.heartbeat(row) for name, row in self.rows.items()}

    def _log(self, level: str, text: str) -> None:
        self.logged.append((level, text))

    @property
    def text(self) -> str:
        return "\n".join(f"{level}: {text}" for level, text in self.logged)

    def pid(self, name: str) -> int:
        return self.group.states()[name].pid or 0

    def restarts(self, name: str) -> int:
        return self.group.states()[name].restarts

    def until(self, condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        """Polls the group until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited too long; states {self.group.states()}\n{self.text}"
            self.events += self.group.poll()
            self.group.wait(0.02)

    def running(self, *names: str) -> bool:
        states = self.group.states()
        return all(states[name].state is ChildState.RUNNING for name in names or states)

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
def run_of(tmp_path, monkeypatch) -> Iterator[Callable[..., Run]]:
    """`run_of(target, ..., evaluator=None, limits=QUICK)`: a started run, ended with the test."""
    runs: list[Run] = []
    # A child imports its parent's main module, which is all of pytest here.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))

    def start(*workers: Target, evaluator: Target | None = None, limits: Limits = QUICK) -> Run:
        runs.append(Run(tmp_path / "logs", list(workers), evaluator, limits))
        runs[-1].group.start()
        return runs[-1]

    with guarded():
        yield start
        for run in runs:
            run.group.kill_all()


def gone(*pids: int) -> bool:
    """Whether these processes ended; a zombie only waits for somebody to ask how."""
    return all(map(_has_ended, pids))


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# -- one sick child --------------------------------------------------------------------------------------


def test_f01_a_killed_worker_is_noticed_and_replaced_alone(run_of):
    run = run_of(helpers.work, helpers.work, evaluator=helpers.work)
    run.until(run.running)
    others = run.pid("worker-0"), run.pid("evaluator")
    killed, steps = run.pid("worker-1"), run.board.steps(0)
    os.kill(killed, signal.SIGKILL)
    run.until(lambda: run.restarts("worker-1") == 1 and run.running())
    assert f"warning: worker-1 (pid {killed}) was killed by SIGKILL, maybe because memory ran out" in run.text
    assert (run.pid("worker-0"), run.pid("evaluator")) == others
    assert run.board.steps(0) > steps
    assert run.pid("worker-1") != killed
    assert run.incarnations[-1] == (1, 1)


def test_f03_half_a_message_and_garbage_do_no_harm(run_of):
    torn = functools.partial(helpers.write_and_die, b'["event", {"kind": "sco')
    garbage = functools.partial(helpers.write_and_die, b'\x80\x04\x95\n["event", 5]\nnull\n["ready"')
    run = run_of(helpers.work, torn, garbage)
    run.until(lambda: run.group.states()["worker-1"].state is ChildState.FATAL)
    run.until(lambda: run.group.states()["worker-2"].state is ChildState.FATAL)
    assert run.running("worker-0")
    assert run.events == []
    assert "worker-2" in run.text
    assert "sent something unreadable, which is ignored" in run.text


def test_f04_a_crash_in_native_code_leaves_a_trace(run_of):
    run = run_of(helpers.work, helpers.crash_in_native_code)
    run.until(lambda: run.restarts("worker-1") == 1)
    assert "was ended by SIGSEGV" in run.text
    assert "crash_in_native_code" in run.log_of("worker-1")
    assert "Fatal Python error: Segmentation fault" in run.text


def test_f05_an_exception_reaches_the_log_with_all_that_explains_it(run_of):
    run = run_of(helpers.work, helpers.fail)
    run.until(lambda: run.restarts("worker-1") == 1)
    error = next(text for level, text in run.logged if level == "error")
    assert error.startswith("worker-1 (pid ")
    assert "failed: env=Breakout-v0, seed=17, step=1200\nTraceback (most recent call last)" in error
    assert 'raise ZeroDivisionError("no such luck")' in error
    assert "failed: ZeroDivisionError: no such luck; restart 1 in 0.1 s" in run.text


def test_f06_a_crash_loop_ends_and_the_others_go_on(run_of):
    run = run_of(helpers.work, helpers.fail)
    run.until(lambda: run.group.states()["worker-1"].state is ChildState.FATAL)
    assert [n for row, n in run.incarnations if row == 1] == [0, 1, 2, 3, 4]
    steps = run.board.steps(0)
    run.until(lambda: run.board.steps(0) > steps)


def test_f06_no_worker_left_ends_the_run(run_of):
    run = run_of(helpers.fail_for_good, helpers.fail_to_import, evaluator=helpers.work)
    with pytest.raises(QuorumLost, match="no worker is left"):
        run.until(lambda: False)
    assert len(run.incarnations) == 3  # a permanent error is not retried
    assert "UsageError: no environment of that name; a restart cannot cure that" in run.text
    assert "ModuleNotFoundError: No module named 'a_module_that_does_not_exist'" in run.text


@pytest.mark.parametrize("target", [helpers.hang_in_python, helpers.hang_with_gil])
def test_f07_a_hanging_worker_shows_its_stack_and_is_replaced(run_of, target):
    run = run_of(helpers.work, target, limits=IMPATIENT)
    run.until(lambda: run.restarts("worker-1") == 1)
    assert "gave no sign of life for 1 s in phase" in run.text
    assert f"in {target.__name__}" in run.text
    assert run.restarts("worker-0") == 0


def test_f08_a_stopped_worker_is_killed_and_replaced(run_of):
    run = run_of(helpers.work, helpers.work, limits=IMPATIENT)
    run.until(run.running)
    stopped = run.pid("worker-1")
    os.kill(stopped, signal.SIGSTOP)
    run.until(lambda: run.restarts("worker-1") == 1 and run.running())
    assert gone(stopped)
    assert run.restarts("worker-0") == 0


def test_f10_a_failing_start_is_retried(run_of, monkeypatch):
    start = multiprocessing.context.SpawnProcess.start
    failures = iter([OSError(11, "Resource temporarily unavailable"), MemoryError()])

    def fail_twice(process):
        for error in failures:
            raise error
        start(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", fail_twice)
    run = run_of(helpers.work)
    run.until(run.running)
    assert run.restarts("worker-0") == 2
    assert "worker-0 could not be started: [Errno 11] Resource temporarily unavailable; restart 1" in run.text
    assert "worker-0 could not be started: MemoryError" in run.text


def test_all_may_be_renewed_with_nobody_there_between(run_of):
    run = run_of(helpers.work, helpers.work_stubbornly, evaluator=helpers.work)
    run.until(run.running)
    family, seen = [s.pid for s in run.group.states().values()], []
    run.group.renew(lambda: seen.append(gone(*family)))
    assert seen == [True]
    run.until(lambda: run.running() and not {s.pid for s in run.group.states().values()} & set(family))
    assert "warning" not in run.text


def test_f65_a_log_is_bounded_at_any_time(run_of, monkeypatch):
    monkeypatch.setattr("a3c.processes.child_log._LOG_BYTES", 5000)
    monkeypatch.setattr("a3c.processes.child_log._MINUTE_S", 0.5)
    run = run_of(helpers.print_without_end)
    log, older = run.folder / "worker-0.log", run.folder / "worker-0.log.1"

    def bounded() -> bool:
        assert all(file.stat().st_size <= 5000 for file in (log, older) if file.exists())
        return older.exists() and run.board.steps(0) > 50 and "bytes were dropped" in log.read_text()

    run.until(bounded)
    assert run.restarts("worker-0") == 0


def test_the_last_words_of_a_child_are_told(run_of):
    run = run_of(helpers.babble)
    run.until(lambda: "so much to say" in run.log_of("worker-0"))
    os.kill(run.pid("worker-0"), signal.SIGKILL)
    run.until(lambda: run.restarts("worker-0") == 1)
    assert f"the end of {run.folder / 'worker-0.log'}:" in run.text
    assert "so much to say" in run.text


def test_f11_a_worker_without_memory_is_replaced(run_of):
    run = run_of(helpers.use_up_memory, helpers.work)
    run.until(lambda: run.restarts("worker-0") == 1)
    assert "MemoryError" in run.text
    assert run.restarts("worker-1") == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_f42_two_hundred_kills_in_a_row(run_of):
    """The main process stays as it was: descriptors, threads, memory."""
    limits = replace(QUICK, backoff_s=0.01, backoff_max_s=0.01, max_failures=10**6)
    run = run_of(helpers.work, helpers.work, limits=limits)
    main, memory = psutil.Process(), []
    for kill in range(200):
        run.until(lambda: run.running("worker-0"))
        if kill == 20:
            before = main.num_fds(), main.num_threads()
        if kill >= 20:
            memory.append(main.memory_full_info().uss)
        os.kill(run.pid("worker-0"), signal.SIGKILL)
        run.until(lambda kill=kill: run.restarts("worker-0") == kill + 1)
    run.until(lambda: run.running("worker-0"))
    assert (main.num_fds(), main.num_threads()) == before
    assert memory[-1] - memory[0] < 2_000_000
    assert run.restarts("worker-1") == 0


def test_f19_the_evaluator_may_fail_for_good(run_of):
    run = run_of(helpers.work, evaluator=helpers.fail)
    run.until(lambda: run.group.states()["evaluator"].state is ChildState.FATAL)
    assert "training goes on without it" in run.text
    assert run.running("worker-0")


def test_a_child_that_lingers_after_its_error_is_ended(run_of):
    run = run_of(helpers.work, helpers.fail_and_linger, limits=IMPATIENT)
    run.until(lambda: run.restarts("worker-1") == 1)
    assert "failed: ZeroDivisionError: no such luck; restart 1" in run.text


def test_leaving_without_a_word_is_a_failure(run_of):
    run = run_of(helpers.work, helpers.leave_early)
    run.until(lambda: run.restarts("worker-1") == 1)
    assert "ended before its work was done" in run.text


def test_restart_on_request(run_of):
    run = run_of(helpers.work, helpers.work)
    run.until(run.running)
    former = run.pid("worker-0")
    run.group.restart("worker-0")
    run.until(lambda: run.restarts("worker-0") == 1 and run.running())
    assert gone(former)
    assert "warning" not in run.text


def test_p11_descriptors_stay_flat_over_restarts(run_of):
    churn = Limits(backoff_s=0.01, backoff_max_s=0.02, max_failures=1000)
    run = run_of(helpers.work, helpers.leave_early, limits=churn)
    run.until(lambda: run.restarts("worker-1") >= 3 and run.running("worker-0"))
    run.until(lambda: run.group.states()["worker-1"].state is ChildState.BACKOFF)
    before = psutil.Process().num_fds()
    run.until(lambda: run.restarts("worker-1") >= 13)
    run.until(lambda: run.group.states()["worker-1"].state is ChildState.BACKOFF)
    assert psutil.Process().num_fds() <= before


# -- a crowded machine -------------------------------------------------------------------------------------


@pytest.fixture
def crowd() -> Iterator[None]:
    """One CPU for this process and what it starts, and for four others that never rest."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this system does not tell how long a process waits for a CPU")
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(former)})
    others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    yield
    for other in others:
        other.kill()
        other.wait()
    os.sched_setaffinity(0, former)


def test_f63_a_slow_start_on_a_crowded_cpu_is_not_hung(run_of, crowd):
    began = time.monotonic()
    run = run_of(helpers.start_slowly, limits=replace(QUICK, start_s=2.5))
    run.until(run.running)
    assert time.monotonic() - began > 2.5
    assert run.restarts("worker-0") == 0


def test_f63_a_hang_on_a_crowded_cpu_is_found(run_of, crowd):
    run = run_of(helpers.hang_in_python, limits=IMPATIENT)
    run.until(lambda: run.restarts("worker-0") == 1)
    assert "gave no sign of life for 1 s in phase learn" in run.text


# -- what a child is given ---------------------------------------------------------------------------------


def test_a_child_gets_one_thread_no_secrets_and_its_own_log(run_of, monkeypatch):
    for name in ("HF_TOKEN", "MY_API_KEY", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "canary")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    run = run_of(helpers.confess)
    run.until(lambda: run.group.states()["worker-0"].state is ChildState.DONE)
    facts = run.events[0].payload
    assert facts["torch_threads"] == 1
    assert facts["cv2_threads"] <= 1
    assert {"SIGINT", "SIGHUP"} <= set(facts["ignored"])
    assert "SIGTERM" not in facts["ignored"]
    assert facts["blocked"] == []
    assert facts["stdin"] == os.devnull
    assert facts["env"]["OMP_NUM_THREADS"] == facts["env"]["MKL_NUM_THREADS"] == "1"
    assert "canary" not in facts["env"].values()
    assert "printed by the child" in run.log_of("worker-0")
    assert os.environ["HF_TOKEN"] == "canary"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_child_has_the_secrets_that_are_meant_for_it(run_of, monkeypatch):
    monkeypatch.setenv("ITS_API_KEY", "of the run")
    run = run_of(helpers.tell_environment, evaluator=helpers.tell_environment)
    run.until(lambda: len(run.events) == 2)
    assert {event.child: event.payload["ITS_API_KEY"] for event in run.events} == {
        "worker-0": "worker-0",
        "evaluator": "evaluator",
    }
    assert os.environ["ITS_API_KEY"] == "of the run"


@pytest.mark.parametrize("tunables", [None, "glibc.malloc.arena_max=2"])
def test_a_child_takes_memory_in_large_pages_unless_the_user_tunes_it(tunables, run_of, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if tunables:
        monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    run = run_of(helpers.tell_environment)
    run.until(lambda: run.group.states()["worker-0"].state is ChildState.DONE)
    assert run.events[0].payload["GLIBC_TUNABLES"] == (tunables or "glibc.malloc.hugetlb=1")
    assert os.environ.get("GLIBC_TUNABLES") == tunables


def test_f45_the_global_start_method_is_left_alone(run_of):
    run = run_of(helpers.work)
    run.until(run.running)
    assert multiprocessing.get_start_method(allow_none=True) != "spawn"


def test_more_than_a_pipe_holds_arrives_in_order(run_of):
    run = run_of(helpers.chatter)
    run.until(lambda: run.group.states()["worker-0"].state is ChildState.DONE)
    assert [event.payload["i"] for event in run.events] == list(range(20_000))
    assert run.logged == []


def test_what_all_warn_of_is_said_for_the_first(run_of):
    run = run_of(helpers.warn, helpers.warn, helpers.warn)
    run.until(lambda: all(child.state is ChildState.DONE for child in run.group.states().values()))
    told = [text.partition(": ")[::2] for level, text in run.logged if level == "warning"]
    assert len({name for name, text in told if text == "there is no compiler"}) == 1
    assert [text for _, text in told].count("there is no compiler") == 2
    assert {(f"worker-{i}", f"row {i} is late") for i in range(3)} < set(told)


def test_a_large_log_is_set_aside(run_of, tmp_path):
    old = tmp_path / "logs" / "worker-0.log"
    old.parent.mkdir()
    old.write_text("x" * 6_000_000)
    run = run_of(helpers.finish)
    run.until(lambda: run.group.states()["worker-0"].state is ChildState.DONE)
    assert old.stat().st_size < 1000
    assert (tmp_path / "logs" / "worker-0.log.1").stat().st_size == 6_000_000


def test_children_start_from_the_main_thread_only(run_of):
    failures: list[BaseException] = []

    def start() -> None:
        try:
            run_of(helpers.work)
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(300)
    assert len(failures) == 1


def test_f30_open_files_are_raised_or_refused():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        ensure_open_files(8)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
        with pytest.raises(UsageError, match="use fewer workers or raise it with `ulimit -n"):
            ensure_open_files(hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- the end -----------------------------------------------------------------------------------------------


def test_stop_waits_for_those_who_leave_and_ends_those_who_do_not(run_of):
    run = run_of(helpers.work, helpers.work_stubbornly, evaluator=helpers.work)
    run.until(run.running)
    stubborn = run.pid("worker-1")
    run.board.stop = True
    idle = []
    run.group.stop(WORKER, 3.0, lambda: idle.append(1))
    assert gone(stubborn)
    assert idle
    assert "worker-1 did not end in time: SIGKILL" in run.text
    assert "worker-0" not in run.text
    assert run.group.states()["worker-0"] == (WORKER, None, ChildState.DONE, 0)
    run.group.stop(EVALUATOR, PATIENCE_S)
    assert run.group.states()["evaluator"].state is ChildState.DONE


def test_stop_while_starting_is_quick(run_of):
    run = run_of(helpers.confess, helpers.confess)
    run.group.stop(WORKER, 1e6)  # it does not wait so long
    assert run.logged == []


def test_kill_all_takes_the_children_of_children(run_of):
    run = run_of(helpers.start_a_helper)
    run.until(lambda: run.events)
    helper = run.events[0].payload["pid"]
    run.group.kill_all()
    run.until(lambda: gone(helper))
    assert run.group.states()["worker-0"].state is ChildState.DONE


@pytest.mark.parametrize("manner", ["ends", "raises", "crashes", "is killed"])
def test_f64_what_a_child_started_ends_with_it(run_of, manner):
    run = run_of(functools.partial(helpers.leave_a_daemon, manner), helpers.work)
    run.until(lambda: run.events and run.pid("worker-0") == 0)
    run.until(lambda: gone(*(event.payload["pid"] for event in run.events)))
    run.until(lambda: run.running("worker-1"))


def test_f64_what_another_child_started_goes_on(run_of):
    daemon = functools.partial(helpers.leave_a_daemon, "works")
    run = run_of(*[daemon] * 11)
    run.until(lambda: len(run.events) == 11 and run.running())
    pids = {event.child: event.payload["pid"] for event in run.events}
    os.kill(run.pid("worker-1"), signal.SIGKILL)
    run.until(lambda: gone(pids["worker-1"]))
    assert not any(gone(pids[name]) for name in ("worker-0", "worker-10"))
    run.group.kill_all()
    run.until(lambda: gone(*pids.values()))


def test_f65_no_secret_is_in_any_process(run_of, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setattr(resource_tracker._resource_tracker, "_fd", None)  # a new one is started
    run = run_of(helpers.work)
    run.until(run.running)
    family = psutil.Process().children(recursive=True)
    asked = {p: (_told(p.cmdline), _told(p.environ)) for p in family}
    assert any("resource_tracker" in command for command, _ in asked.values())
    assert not [command for command, environment in asked.values() if "canary" in environment]


def _told(ask: Callable[[], object]) -> str:
    """What a process says, if it is still there."""
    with contextlib.suppress(psutil.Error):
        return str(ask())
    return ""


class Main:
    """A real main process, to be signalled from outside."""

    def __init__(self, folder: Path, manner: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, helpers.__file__, str(folder), manner],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.pids = [int(word) for word in self.read_until("pids").split()[1:]]

    def read_until(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(word):
                return line
        pytest.fail(f"the main process ended without saying {word!r}: {self.lines}")

    def descendants(self) -> list[int]:
        return [p.pid for p in psutil.Process(self.process.pid).children(recursive=True)]

    def rest(self) -> str:
        assert self.process.stdout is not None
        return "".join([*self.lines, self.process.stdout.read()])


@pytest.fixture
def main_of(tmp_path) -> Iterator[Callable[[str], Main]]:
    started: list[Main] = []

    def start(manner: str) -> Main:
        started.append(Main(tmp_path, manner))
        return started[-1]

    yield start
    for main in started:
        main.process.kill()
        main.process.wait(300)
        if main.process.stdout:
            main.process.stdout.close()


@pytest.mark.parametrize("manner", ["stubborn", "frozen"])
def test_f17_nothing_outlives_a_killed_main(main_of, wait_until, manner):
    main = main_of(manner)
    family = main.descendants()
    assert set(main.pids) <= set(family)
    main.process.kill()
    main.process.wait(300)
    wait_until(lambda: gone(*family), what="the end of all descendants")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3])
def test_f16_f17_not_even_children_that_were_just_born(tmp_path, wait_until, signum, delay):
    command = [sys.executable, helpers.__file__, str(tmp_path), "obedient"]
    main = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    children = psutil.Process(main.pid).children
    wait_until(lambda: len(children()) >= 2)
    with pytest.raises(subprocess.TimeoutExpired):
        main.wait(delay)
    family = [p.pid for p in children(recursive=True)]
    main.send_signal(signum)
    assert main.wait(300) == (0 if signum == signal.SIGTERM else -9)
    wait_until(lambda: gone(*family), what="the end of all descendants")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_f12_f13_f15_a_signal_asks_for_a_stop(main_of, wait_until, signum):
    main = main_of("obedient")
    family = main.descendants()
    os.kill(main.process.pid, signum)
    assert main.process.wait(300) == 0
    wait_until(lambda: gone(*family))
    assert "Traceback" not in main.rest()


def test_f13_ctrl_c_reaches_everybody_but_only_main_decides(main_of):
    main = main_of("obedient")
    os.killpg(main.process.pid, signal.SIGINT)
    assert main.process.wait(300) == 0
    assert main.rest() == "".join(main.lines[:1]) + "stopping\nended\n"


def test_f14_a_second_signal_forces(main_of, wait_until):
    main = main_of("stubborn")
    family = main.descendants()
    os.kill(main.process.pid, signal.SIGTERM)
    main.read_until("stopping")
    assert main.process.poll() is None
    wait_until(lambda: os.kill(main.process.pid, signal.SIGINT) or main.process.poll() is not None)
    assert main.process.returncode == EXIT_SIGNAL + signal.SIGINT
    wait_until(lambda: gone(*family))
    assert "forced to end by SIGINT" in main.rest()


def test_f15_further_hangups_do_not_force(main_of, wait_until):
    main = main_of("stubborn")
    os.kill(main.process.pid, signal.SIGHUP)
    main.read_until("stopping")
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        os.kill(main.process.pid, signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            main.process.wait(0.05)


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
@pytest.mark.parametrize("order", ["send-keys -t run C-c", "kill-session -t run"])
def test_f13_f15_in_tmux(tmp_path, wait_until, order):
    def tmux(*words: str) -> None:
        subprocess.run(
            ["tmux", "-S", str(tmp_path / "socket"), "-f", os.devnull, *words], check=True, timeout=10
        )

    out = tmp_path / "out"
    python, script = shlex.quote(sys.executable), shlex.quote(helpers.__file__)
    command = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {python} {script} {tmp_path} obedient > {out} 2>&1"
    tmux("new-session", "-d", "-s", "run", command)
    wait_until(lambda: out.exists() and "pids" in out.read_text())
    pids = [int(word) for word in out.read_text().split()[1:]]
    tmux(*order.split())
    wait_until(lambda: gone(*pids))
    wait_until(lambda: out.read_text().endswith("stopping\nended\n"))


def test_f18_a_paused_main_blames_nobody(main_of, wait_until):
    main = main_of("obedient")
    for pid in (main.process.pid, *main.pids):  # as Ctrl-Z does
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        main.process.wait(4)  # longer than the run's limit
    for pid in (main.process.pid, *main.pids):
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        main.process.wait(0.5)
    assert not gone(main.pids[0])
    os.kill(main.process.pid, signal.SIGTERM)
    assert main.process.wait(300) == 0
    assert "warning" not in main.rest()
