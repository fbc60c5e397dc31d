"""The supervisor as a pure machine: no process, and a clock that the tests turn."""

from __future__ import annotations

import random
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a3c.processes.actions import Abandon, Action, Dump, GiveUp, Kill, Say, Spawn, Terminate
from a3c.processes.supervisor import EVALUATOR, EXCHANGER, WORKER, ChildState, Limits, Outcome, Supervisor


class World:
    """Carries out the wishes of a supervisor on imaginary processes, which beat until told otherwise."""

    def __init__(
        self,
        workers: int = 2,
        limits: Limits | None = None,
        start: float = 1000.0,
        unready: Collection[str] = (),
    ) -> None:
        names = [f"worker-{i}" for i in range(workers)]
        roles = dict.fromkeys(names, WORKER) | {"evaluator": EVALUATOR}
        self.machine = Supervisor(roles, limits or Limits(), random.Random(0))
        self.now = start
        self.alive: dict[str, int] = {}
        self.silent: set[str] = set()  # alive, but without heartbeats
        self.unready = set(unready)  # never get ready
        self.starved: set[str] = set()  # wait for a CPU for a `share` of the time
        self.share = 0.0
        self.waited: dict[str, float] = {}
        self.immortal: set[str] = set()  # survive SIGTERM (and, with "!" before the name, SIGKILL)
        self.actions: list[Action] = []
        self.spawned: list[tuple[float, Spawn]] = []
        self.pids = iter(range(100, 10**9))
        self.do(self.machine.start(self.now))

    def do(self, actions: list[Action]) -> None:
        self.actions += actions
        for action in actions:
            match action:
                case Spawn(name):
                    assert name not in self.alive, "two processes of one name"
                    self.spawned.append((self.now, action))
                    self.alive[name], self.waited[name] = next(self.pids), 0.0
                    self.machine.started(name, self.alive[name], self.now)
                    if name not in self.unready:
                        self.machine.ready(name, self.now)
                case Terminate(name, pid) if name not in self.immortal and self.alive.get(name) == pid:
                    self.die(name, -15, "SIGTERM")
                case Kill(name, pid) if f"!{name}" not in self.immortal and self.alive.get(name) == pid:
                    self.die(name, -9, "SIGKILL")

    def die(self, name: str, code: int = 1, signal_name: str = "") -> None:
        del self.alive[name]
        self.do(self.machine.exited(name, code, self.now, signal_name))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        beats = {name: (0.0 if name in self.silent else self.now, "env") for name in self.machine.children}
        for name in self.starved & self.waited.keys():
            self.waited[name] += self.share * seconds
        self.do(self.machine.tick(self.now, beats, self.waited))

    def run(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            self.tick(step)

    def state(self, name: str) -> ChildState:
        return self.machine.children[name].state

    def take(self, kind: type) -> list[Action]:
        """The actions of a kind so far; forgets all."""
        found = [action for action in self.actions if isinstance(action, kind)]
        self.actions = []
        return found

    def texts(self) -> str:
        return "\n".join(f"{a.level}: {a.text}" for a in self.actions if isinstance(a, Say))


@pytest.fixture
def world() -> World:
    return World()


def test_a_healthy_run_is_left_alone(world):
    world.run(3600)
    assert [s.name for _, s in world.spawned] == ["worker-0", "worker-1", "evaluator"]
    assert all(s.incarnation == 0 for _, s in world.spawned)
    assert len(world.actions) == 3
    assert world.state("worker-0") is ChildState.RUNNING


def test_starting_until_ready():
    world = World()
    world.unready.add("worker-0")
    world.die("worker-0")
    world.run(3)
    assert world.state("worker-0") is ChildState.STARTING
    world.machine.ready("worker-0", world.now)
    assert world.state("worker-0") is ChildState.RUNNING


def test_f01_only_the_killed_worker_is_restarted(world):
    world.run(10)
    world.die("worker-1", -9, "SIGKILL")
    assert world.state("worker-1") is ChildState.BACKOFF
    assert "worker-1 (pid 101) was killed by SIGKILL, maybe because memory ran out" in world.texts()
    assert "restart 1 in 1." in world.texts()
    world.run(3)
    assert world.state("worker-1") is ChildState.RUNNING
    assert world.spawned[3:] == [(world.spawned[3][0], Spawn("worker-1", 1))]
    assert world.machine.children["worker-0"].incarnation == 0


def test_the_delay_doubles_up_to_its_limit():
    world = World(limits=Limits(max_failures=100, max_tick_s=1000))
    delays = []
    for _ in range(9):
        world.die("worker-0")
        died = world.now
        while world.state("worker-0") is ChildState.BACKOFF:
            world.tick(0.05)
        delays.append(world.now - died)
    for delay, expected in zip(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert expected <= delay <= expected * 1.25 + 0.06


def test_f06_a_crash_loop_ends(world):
    for _ in range(4):
        world.die("worker-0")
        world.run(20)
    world.die("worker-0")
    world.run(5000)
    assert world.state("worker-0") is ChildState.FATAL
    assert sum(s.name == "worker-0" for _, s in world.spawned) == 5
    assert "it failed 5 times in a short time, so it is not restarted" in world.texts()
    assert world.state("worker-1") is ChildState.RUNNING
    assert not world.take(GiveUp)


def test_failures_far_apart_are_forgiven(world):
    for _ in range(30):
        world.die("worker-0")
        world.run(200)
    assert world.state("worker-0") is ChildState.RUNNING


def test_starts_that_always_hang_end_too():
    """Each attempt takes so long that five never fall into one window."""
    world = World(workers=2, limits=Limits(start_s=300))
    world.unready.add("worker-0")
    world.silent.add("worker-0")
    world.die("worker-0")
    world.run(5000)
    assert world.state("worker-0") is ChildState.FATAL
    assert sum(s.name == "worker-0" for _, s in world.spawned) <= 7


def test_a_permanent_error_is_not_retried(world):
    world.machine.announced("worker-0", Outcome.PERMANENT, world.now, "UsageError: no such thing")
    world.die("worker-0", 2)
    world.run(1000)
    assert world.state("worker-0") is ChildState.FATAL
    assert "failed: UsageError: no such thing; a restart cannot cure that" in world.texts()
    assert len(world.spawned) == 3


def test_all_workers_lost_gives_up_at_once(world):
    for name in ("worker-0", "worker-1"):
        world.machine.announced(name, Outcome.PERMANENT, world.now, f"UsageError: trouble of {name}")
        world.tick(0.1)
        world.die(name, 2)
    world.tick(0.1)
    (given_up,) = world.take(GiveUp)
    assert "trouble of worker-1" in given_up.reason


def test_too_few_workers_are_tolerated_for_a_while():
    world = World(workers=3, limits=Limits(min_workers=3))
    world.machine.announced("worker-2", Outcome.PERMANENT, world.now)
    world.die("worker-2")
    world.run(55)
    assert not world.take(GiveUp)
    world.run(10)
    (given_up, *_) = world.take(GiveUp)
    assert given_up.reason == "only 2 of 3 workers run for 60 s, and at least 3 must"


def test_a_long_start_is_no_lost_quorum():
    world = World(workers=1)
    world.unready.add("worker-0")
    world.die("worker-0")
    world.run(600)  # beats, but is not ready
    assert world.state("worker-0") is ChildState.STARTING
    assert not world.take(GiveUp)


def test_a_small_run_needs_no_more_workers_than_it_has():
    world = World(workers=1, limits=Limits(min_workers=4))
    world.run(300)
    assert not world.take(GiveUp)


@pytest.mark.parametrize("outcome", [Outcome.PERMANENT, Outcome.FAILED])
def test_f19_losing_the_evaluator_never_stops_training(world, outcome):
    while world.state("evaluator") is not ChildState.FATAL:
        if "evaluator" in world.alive:
            world.machine.announced("evaluator", outcome, world.now, "OSError: disk")
            world.die("evaluator")
        world.run(1)
    world.run(600)
    assert "failed: OSError: disk" in world.texts()
    assert "; training goes on without it" in world.texts()
    assert not world.take(GiveUp)
    assert world.state("worker-0") is ChildState.RUNNING


def test_f07_a_stalled_child_is_dumped_and_ended(world):
    world.run(10)
    world.silent.add("worker-0")
    world.run(59)
    assert "gave no sign of life for 31 s in phase env; the limit is 60 s" in world.texts()
    assert len([a for a in world.actions if isinstance(a, Say)]) == 1  # F09: a warning, once
    assert world.take(Dump) == []
    world.run(5)
    ended = [a for a in world.actions if isinstance(a, (Dump, Terminate, Kill))]
    assert ended == [Dump("worker-0", 100), Terminate("worker-0", 100)]
    assert "worker-0 (pid 100) gave no sign of life for 60 s in phase env and was stopped" in world.texts()
    world.silent.clear()
    world.run(5)
    assert world.state("worker-0") is ChildState.RUNNING
    assert world.machine.children["worker-0"].incarnation == 1


def test_f08_one_that_ignores_sigterm_is_killed(world):
    world.immortal.add("worker-0")
    world.run(10)
    world.silent.add("worker-0")
    world.run(70)
    ended = [a for a in world.actions if isinstance(a, (Dump, Terminate, Kill))]
    assert [type(a) for a in ended] == [Dump, Terminate, Kill]
    assert "maybe because memory ran out" not in world.texts()  # it was us


def test_one_that_survives_sigkill_is_left_behind(world):
    world.immortal |= {"worker-0", "!worker-0"}
    world.run(10)
    world.silent.add("worker-0")
    world.run(150)
    assert world.take(Abandon) == [Abandon("worker-0", 100)]
    assert world.state("worker-0") is ChildState.FATAL
    assert world.machine.exited("worker-0", -9, world.now, "SIGKILL") == []


def test_a_start_may_take_longer_than_a_step():
    world = World()
    world.unready.add("worker-0")
    world.silent.add("worker-0")
    world.die("worker-0")
    world.run(100)
    assert world.take(Terminate) == []
    world.run(30)
    assert world.take(Terminate) == [Terminate("worker-0", 103)]


def test_f09_slow_but_alive_is_not_killed(world):
    for _ in range(40):
        world.silent.add("worker-0")
        world.run(50)
        world.silent.clear()
        world.run(1)
    assert world.take(Terminate) == []


@pytest.mark.parametrize("gap", [60.0, 86_400.0])
def test_f18_a_pause_of_the_supervisor_blames_nobody(world, gap):
    world.run(100)
    world.silent |= {"worker-0", "worker-1", "evaluator"}  # stopped together with it
    world.run(20)
    world.tick(gap)
    world.run(5)
    world.silent.clear()
    world.run(100)
    assert len(world.spawned) == 3
    assert world.take(Terminate) == []


def test_a_slow_supervisor_still_notices_a_stall(world):
    world.silent.add("worker-0")
    world.run(500, step=20)
    assert len(world.take(Dump)) >= 1


def test_f32_a_clock_that_goes_back_does_no_harm(world):
    world.run(100)
    world.tick(-86_400)
    world.run(100)
    assert len(world.spawned) == 3
    world.die("worker-0")
    world.tick(-5)
    world.run(5)
    assert world.state("worker-0") is ChildState.RUNNING


def test_f10_a_failed_spawn_is_retried_then_fatal(world):
    actions = world.machine.spawn_failed("worker-0", "Resource temporarily unavailable", world.now)
    (report,) = actions
    assert report.text.startswith(
        "worker-0 could not be started: Resource temporarily unavailable; restart 1 in 1."
    )
    assert world.state("worker-0") is ChildState.BACKOFF


def test_finished_work_is_done(world):
    for name in ("worker-0", "worker-1"):
        world.machine.announced(name, Outcome.DONE, world.now)
        world.die(name, 0)
    world.run(300)
    assert world.state("worker-0") is ChildState.DONE
    assert len(world.spawned) == 3
    assert not world.take(Say)


def test_one_that_is_done_but_does_not_leave_is_ended(world):
    world.machine.announced("worker-0", Outcome.DONE, world.now)
    world.run(11)
    assert world.take(Terminate) == [Terminate("worker-0", 100)]
    assert world.state("worker-0") is ChildState.DONE


def test_leaving_without_a_word_is_a_failure(world):
    world.die("worker-0", 0)
    assert "ended before its work was done; restart 1" in world.texts()


def test_stop_expects_the_end(world):
    world.run(5)
    world.die("worker-1")  # waits for its restart
    assert world.machine.stop(["worker-0", "worker-1"], world.now) == []
    assert world.state("worker-1") is ChildState.DONE
    world.actions = []
    world.silent.add("worker-0")
    world.run(300)  # its owner has a deadline of its own
    world.die("worker-0", 0)
    world.run(300)
    assert world.state("worker-0") is ChildState.DONE
    assert world.actions == []
    assert world.state("evaluator") is ChildState.RUNNING


def test_stop_does_not_wait_for_a_start():
    world = World()
    world.unready.add("worker-0")
    world.die("worker-0")
    world.run(3)
    world.do(world.machine.stop(["worker-0"], world.now))
    assert world.state("worker-0") is ChildState.DONE
    assert world.take(Terminate) == [Terminate("worker-0", 103)]


def test_the_evaluator_is_supervised_while_workers_stop(world):
    world.run(5)
    world.do(world.machine.stop(["worker-0", "worker-1"], world.now))
    world.die("evaluator")
    world.run(3)
    assert world.state("evaluator") is ChildState.RUNNING


def test_restart_on_request_costs_no_failure(world):
    for _ in range(20):
        world.do(world.machine.restart("worker-0", world.now))
        world.run(2)
    assert world.state("worker-0") is ChildState.RUNNING
    assert world.machine.children["worker-0"].incarnation == 20
    assert "is started again" in world.texts()


def test_restart_brings_a_fatal_child_back(world):
    world.machine.announced("worker-0", Outcome.PERMANENT, world.now)
    world.die("worker-0")
    world.do(world.machine.restart("worker-0", world.now))
    assert world.state("worker-0") is ChildState.RUNNING
    world.die("worker-0")
    assert "restart 2 in 1." in world.texts()  # the budget is fresh


def test_nothing_is_restarted_while_stopping(world):
    world.do(world.machine.stop(["worker-0"], world.now))
    assert world.machine.restart("worker-0", world.now) == []


# -- a crowded machine -------------------------------------------------------------------------------------


def test_f63_a_start_that_waits_for_a_cpu_is_not_hung():
    world = World(unready=["evaluator"])
    world.silent, world.starved, world.share = {"evaluator"}, {"evaluator"}, 0.95
    world.run(2000)  # 100 s of its own
    assert world.take(Terminate) == []
    world.run(500)
    assert world.take(Terminate) == [Terminate("evaluator", 102)]


def test_f63_a_busy_hang_is_found_by_the_time_it_had():
    world = World()
    world.run(10)
    world.silent, world.starved, world.share = {"worker-0"}, {"worker-0"}, 0.5
    world.run(115)
    assert world.take(Dump) == []
    world.run(10)
    assert world.take(Dump) == [Dump("worker-0", 100)]


def test_f63_one_that_sleeps_on_a_crowded_machine_is_found_in_time():
    world = World()
    world.starved, world.share = {"worker-0", "worker-1"}, 0.9
    world.run(500)
    world.silent, world.starved = {"worker-0"}, {"worker-1"}
    world.run(65)
    assert world.take(Dump) == [Dump("worker-0", 100)]


def test_f63_a_pause_of_the_supervisor_gives_no_credit():
    world = World()
    world.run(10)
    world.starved, world.share = {"worker-0"}, 1.0
    world.tick(86_400)
    world.silent, world.starved = {"worker-0"}, set()
    world.run(60 + 2 * Limits.max_tick_s)
    assert len(world.take(Dump)) == 1


def test_f63_a_count_that_is_read_late_is_not_lost():
    """The clock is looked at before a child's waiting is, and the supervisor waits for a CPU in between."""
    world = World()
    world.starved, world.silent, world.share = {"worker-0"}, {"worker-0"}, 0.95
    for number in range(400):
        late = 0.5 * (number % 2)
        world.waited["worker-0"] += late
        world.tick(1.0)
        world.waited["worker-0"] -= late
    assert world.take(Dump) == []


def test_f63_the_count_of_waiting_begins_anew_with_a_process():
    world = World()
    world.starved, world.share = {"worker-0"}, 0.9
    world.run(1000)
    world.die("worker-0")
    world.silent, world.starved = {"worker-0"}, set()
    world.run(70)
    assert len(world.take(Dump)) == 1


LATE = Limits(early_workers=1, early_s=30.0)


def started_by(world: World) -> list[str]:
    return [spawn.name for _, spawn in world.spawned]


def test_f63_the_evaluator_starts_before_the_workers_fill_the_cores():
    world = World(workers=3, limits=LATE, unready=["evaluator"])
    assert sorted(started_by(world)) == ["evaluator", "worker-0"]
    world.run(10)
    assert len(world.spawned) == 2
    assert world.state("worker-2") is ChildState.STARTING
    world.machine.ready("evaluator", world.now)
    world.run(1)
    assert started_by(world)[2:] == ["worker-1", "worker-2"]
    world.run(100)
    assert len(world.spawned) == 4


def test_f63_workers_wait_no_longer_than_they_must():
    slow = World(workers=3, limits=LATE, unready=["evaluator"])
    slow.run(31)
    assert len(slow.spawned) == 4
    failed = World(workers=3, limits=LATE, unready=["evaluator"])
    failed.die("evaluator")
    failed.run(0.5, step=0.5)
    assert started_by(failed)[2:] == ["worker-1", "worker-2"]


def test_f63_a_stop_comes_before_the_late_ones():
    world = World(workers=3, limits=LATE, unready=["evaluator"])
    world.do(world.machine.stop(["worker-0", "worker-1", "worker-2"], world.now))
    world.run(100)
    assert len(world.spawned) == 2
    assert world.state("worker-2") is ChildState.DONE


def test_f63_a_late_worker_is_started_once_also_on_request():
    world = World(workers=3, limits=LATE, unready=["evaluator"])
    world.do(world.machine.restart("worker-2", world.now))
    world.run(31)
    assert started_by(world).count("worker-2") == 1


def test_f93_an_exchanger_is_never_given_up():
    machine = Supervisor({"exchanger": EXCHANGER}, Limits(), random.Random(0))
    machine.start(0.0)
    now, pauses = 0.0, []
    for pid in range(1, 20):
        machine.started("exchanger", pid, now)
        machine.exited("exchanger", 1, now)
        died = now
        while not any(isinstance(action, Spawn) for action in machine.tick(now, {}, {})):
            now += 1.0
        pauses.append(now - died)
    assert pauses == sorted(pauses) or max(pauses) <= 76
    assert pauses[-1] >= 60


def test_an_exchanger_is_needed_once_more_when_a_run_ends():
    """It ends what runs on other machines."""
    machine = Supervisor({"exchanger": EXCHANGER}, Limits(), random.Random(0))
    machine.start(0.0)
    machine.started("exchanger", 1, 0.0)
    assert machine.stop(["exchanger"], 0.0) == []  # it goes on starting
    machine = Supervisor({"exchanger": EXCHANGER}, Limits(), random.Random(0))
    machine.start(0.0)
    machine.started("exchanger", 1, 0.0)
    machine.exited("exchanger", 1, 0.0)
    assert machine.stop(["exchanger"], 0.1) == [Spawn("exchanger", 1)]
    machine.started("exchanger", 2, 0.1)
    machine.exited("exchanger", 1, 0.2)
    assert machine.children["exchanger"].state is ChildState.DONE


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["worker-0", "worker-1", "evaluator"]),
        st.sampled_from(["die", "silence", "wake", "failed", "done", "restart"]),
        st.floats(0.01, 200.0),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happens_the_machine_stays_in_order(events):
    world = World()
    for name, what, seconds in events:
        if what == "die" and name in world.alive:
            world.die(name, -9, "SIGKILL")
        elif what in ("failed", "done") and name in world.alive:
            world.machine.announced(name, Outcome(what), world.now)
        elif what == "silence":
            world.silent.add(name)
        elif what == "wake":
            world.silent.discard(name)
        elif what == "restart":
            world.do(world.machine.restart(name, world.now))
        world.run(seconds, step=min(seconds, 1.0))
        for child in world.machine.children.values():
            assert (child.pid is not None) == (child.name in world.alive)
            assert (child.state in (ChildState.STARTING, ChildState.RUNNING)) == (child.pid is not None)
            assert len(child.failures) <= Limits().max_failures
