"""Decides what to do about child processes: start, restart, end, give up.

    STARTING --ready--> RUNNING --work finished, or left when told to--> DONE
       |                   |
       +------failure------+--> BACKOFF --delay over--> STARTING
                           |
                           +--> FATAL   too many failures, or one that a restart cannot cure

Pure: it owns no process and reads no clock. Callers pass `now`, in seconds of a monotonic clock, and
carry out the actions that come back (`a3c.processes.group`).

All deadlines run on the supervisor's own clock, which a single call advances by `Limits.max_tick_s` at
most. So when the supervisor itself was paused (SIGSTOP, a closed laptop), no child is blamed for it. Nor is
one for the time that it was ready to run and had no CPU: on a crowded machine a start may take minutes, and
slow is not hung.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from a3c.processes.actions import Abandon, Action, Dump, GiveUp, Kill, Say, Spawn, Terminate

WORKER, EVALUATOR, EXCHANGER = "worker", "evaluator", "exchanger"
"""Roles. Only workers count for the quorum; the exchanger, whose failures are mostly its cluster's, is never
given up."""


class ChildState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FATAL = "fatal"
    DONE = "done"


class Outcome(StrEnum):
    """What a child said about its end before it ended."""

    NONE = "none"
    DONE = "done"
    FAILED = "failed"
    PERMANENT = "permanent"  # failed in a way that a restart cannot cure


@dataclass(frozen=True)
class Limits:
    """How patient to be. Durations in seconds."""

    start_s: float = 120.0  # without a sign of life while starting
    stall_s: float = 60.0  # without a sign of life while running
    dump_s: float = 1.0  # between asking a stalled child for its stack and SIGTERM
    kill_s: float = 5.0  # between SIGTERM and SIGKILL
    leave_s: float = 10.0  # between a child's last word and its end
    abandon_s: float = 30.0  # after SIGKILL: then the kernel does not let go of it
    backoff_s: float = 1.0  # before the first restart; doubles with each failure
    backoff_max_s: float = 60.0
    max_failures: int = 5  # within window_s, or in a row without getting ready
    window_s: float = 600.0
    early_workers: int | None = None  # start beside the evaluator; the others once it is ready. None: all
    early_s: float = 30.0  # how long the others wait for it, at most
    min_workers: int = 1
    quorum_s: float = 60.0  # how long fewer running workers are tolerated
    max_tick_s: float = 5.0  # what a gap between two calls counts for, at most


@dataclass
class Child:
    """What is known about one child. Times are on the supervisor's own clock."""

    name: str
    role: str
    state: ChildState = ChildState.STARTING
    pid: int | None = None
    incarnation: int = -1
    failures: deque[float] = field(default_factory=deque)
    failed_starts: int = 0  # in a row, without getting ready
    heartbeat: float = 0.0  # the last one seen, whatever its clock
    alive_at: float = 0.0  # when the last sign of life was seen, put off by its waiting for a CPU since
    waited_s: float = 0.0  # for a CPU, since it was started
    waited_at: float = 0.0  # when that was seen to grow
    warned: bool = False  # about the present silence
    retry_at: float = 0.0
    outcome: Outcome = Outcome.NONE
    trouble: str = ""  # why it failed, in words
    plan: list[tuple[float, Action]] = field(default_factory=list)  # how to end it, and when
    leaving: bool = False  # told to stop: its end is no failure
    replacing: bool = False  # a restart was asked for: its end is no failure

    @property
    def title(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else self.name

    def forgive(self) -> None:
        """A fresh budget of failures."""
        self.failures.clear()
        self.failed_starts = 0

    def count_failure(self, clock: float, window_s: float) -> int:
        """Notes a failure; returns how many lie within the window or, if more, are failed starts in a row."""
        self.failed_starts += self.state is ChildState.STARTING
        self.failures.append(clock)
        while self.failures[0] < clock - window_s:
            self.failures.popleft()
        return max(len(self.failures), self.failed_starts)

    def notice(self, heartbeat: float, waited_s: float, clock: float, limits: Limits) -> None:
        """Takes note of a sign of life, and of the time for which it is not to blame. That is no more than
        has passed, but for a slack: a busy supervisor reads the one number later than the other."""
        if heartbeat != self.heartbeat:
            self.heartbeat, self.alive_at, self.warned = heartbeat, clock, False
        if waited_s != self.waited_s:
            excused_s = min(waited_s - self.waited_s, clock - self.waited_at + limits.max_tick_s)
            self.alive_at = min(self.alive_at + excused_s, clock)
            self.waited_s, self.waited_at = waited_s, clock

    def plan_end(self, when: float, limits: Limits) -> None:
        """Ends it for certain, from `when` on."""
        pid, kill_at = self.pid or 0, when + limits.kill_s
        self.plan = [
            (when, Terminate(self.name, pid)),
            (kill_at, Kill(self.name, pid)),
            (kill_at + limits.abandon_s, Abandon(self.name, pid)),
        ]


class Supervisor:
    """The state machine of all children of a run.

    Args:
        roles: the role of each child, by its name.
        limits: how patient to be.
        rng: jitter of the back-off delays.
    """

    def __init__(self, roles: Mapping[str, str], limits: Limits, rng: random.Random) -> None:
        self.children = {name: Child(name, role) for name, role in roles.items()}
        self._workers = [child for child in self.children.values() if child.role == WORKER]
        self._others = [child for child in self.children.values() if child.role != WORKER]
        self._limits = limits
        self._rng = rng
        self._clock = 0.0
        self._last_call: float | None = None
        self._quorum, self._stopping = Quorum(limits), False
        self._late: list[Child] = []  # they let the evaluator start first
        self._late_at = 0.0

    # -- what the owner wants ------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Starts every child; workers beyond `early_workers` a little later."""
        self._advance(now)
        if self._limits.early_workers is not None and self._others:
            self._late = self._workers[self._limits.early_workers :]
            self._late_at = self._clock + self._limits.early_s
        return [self._spawn(child) for child in self.children.values() if child not in self._late]

    def stop(self, names: Collection[str], now: float) -> list[Action]:
        """From now on these children may end. One that is only starting is ended at once, but an exchanger
        is needed once more; one that runs is expected to have been told. The quorum no longer matters."""
        self._advance(now)
        self._stopping, self._late = True, []
        actions: list[Action] = []
        for child in map(self.children.__getitem__, names):
            child.leaving, child.replacing = True, False
            if child.role == EXCHANGER and child.state is ChildState.BACKOFF:
                actions.append(self._spawn(child))  # it has to end what runs elsewhere
            elif child.state is ChildState.BACKOFF or child.incarnation < 0:
                child.state = ChildState.DONE
            elif child.state is ChildState.STARTING and child.role != EXCHANGER:
                actions += self._end(child)
        return actions

    def restart(self, name: str, now: float) -> list[Action]:
        """Starts a child anew, with a fresh budget of failures."""
        self._advance(now)
        child = self.children[name]
        if child.leaving or child in self._late:
            return []
        child.forgive()
        if child.pid is None:
            return [self._spawn(child)]
        child.replacing = True
        return self._end(child)

    # -- what happened -------------------------------------------------------------------------------

    def started(self, name: str, pid: int, now: float) -> None:
        """The process exists."""
        self._advance(now)
        self.children[name].pid = pid

    def spawn_failed(self, name: str, error: str, now: float) -> list[Action]:
        """The process could not be created."""
        self._advance(now)
        child = self.children[name]
        return self._failed(child, f"{child.name} could not be started: {error}")

    def ready(self, name: str, now: float) -> None:
        """The child has set itself up and works."""
        self._advance(now)
        child = self.children[name]
        if child.state is ChildState.STARTING:
            child.state, child.failed_starts = ChildState.RUNNING, 0
        child.alive_at, child.warned = self._clock, False

    def announced(self, name: str, outcome: Outcome, now: float, error: str = "") -> None:
        """The child said that it is about to end: done, or failed with `error`."""
        self._advance(now)
        child = self.children[name]
        child.outcome, child.trouble = outcome, error
        if child.pid is not None and not child.plan:
            child.plan_end(self._clock + self._limits.leave_s, self._limits)

    def exited(self, name: str, code: int, now: float, signal_name: str = "") -> list[Action]:
        """The process ended, with an exit code or, when `signal_name` is given, by that signal."""
        self._advance(now)
        child = self.children[name]
        if child.pid is None:  # it was abandoned
            return []
        what = f"{child.title} {_end_in_words(child, code, signal_name)}"
        child.pid, child.plan = None, []
        if child.leaving or child.outcome is Outcome.DONE:
            child.state = ChildState.DONE
            return []
        if child.replacing:
            return [Say("info", f"{child.name} ended as asked and is started again"), self._spawn(child)]
        return self._failed(child, what)

    def tick(
        self, now: float, heartbeats: Mapping[str, tuple[float, str]], waited_s: Mapping[str, float]
    ) -> list[Action]:
        """Time passed.

        Args:
            heartbeats: each child's last sign of life (any clock that moves) and phase.
            waited_s: for how long, since it was started, each child was ready to run and had no CPU.
        """
        self._advance(now)
        actions: list[Action] = self._start_late()
        for child in self.children.values():
            if child.state is ChildState.BACKOFF and self._clock >= child.retry_at:
                actions.append(self._spawn(child))
            elif child.pid is not None:
                heartbeat, phase = heartbeats.get(child.name, (0.0, ""))
                child.notice(heartbeat, waited_s.get(child.name, 0.0), self._clock, self._limits)
                actions += self._watch(child, phase)
                actions += self._next_steps(child)
        if self._workers and not self._stopping:
            actions += self._quorum.check(self._workers, self._clock)
        return actions

    # -- rules ---------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        if self._last_call is not None:
            self._clock += min(max(now - self._last_call, 0.0), self._limits.max_tick_s)
        self._last_call = now

    def _spawn(self, child: Child) -> Spawn:
        child.incarnation += 1
        child.state, child.outcome, child.trouble = ChildState.STARTING, Outcome.NONE, ""
        child.alive_at, child.warned, child.replacing = self._clock, False, False
        child.waited_s, child.waited_at = 0.0, self._clock
        return Spawn(child.name, child.incarnation)

    def _failed(self, child: Child, what: str) -> list[Action]:
        """One more failure: a later restart, or none any more."""
        if child.leaving:
            child.state = ChildState.DONE
            return []
        limits, verdict = self._limits, ""
        count = child.count_failure(self._clock, limits.window_s)
        child.trouble = what
        if child.outcome is Outcome.PERMANENT:
            verdict = "a restart cannot cure that"
        elif count >= limits.max_failures and child.role != EXCHANGER:
            verdict = f"it failed {count} times in a short time"
        if verdict:
            child.state = ChildState.FATAL
            after = "" if child.role == WORKER else "; training goes on without it"
            return [Say("error", f"{what}; {verdict}, so it is not restarted{after}")]
        delay = min(limits.backoff_max_s, limits.backoff_s * 2.0 ** min(count - 1, 30))
        delay *= 1 + 0.25 * self._rng.random()
        child.state, child.retry_at = ChildState.BACKOFF, self._clock + delay
        return [Say("warning", f"{what}; restart {child.incarnation + 1} in {delay:.1f} s")]

    def _start_late(self) -> list[Action]:
        """The workers that are still to be started, once nobody else is starting or it takes too long."""
        starting = any(child.state is ChildState.STARTING for child in self._others)
        if starting and self._clock < self._late_at:
            return []
        late, self._late = self._late, []
        return [self._spawn(child) for child in late]

    def _watch(self, child: Child, phase: str) -> list[Action]:
        """A child without a sign of life for too long is ended."""
        if child.plan or child.leaving:
            return []
        starting = child.state is ChildState.STARTING
        limit = self._limits.start_s if starting else self._limits.stall_s
        quiet, where = self._clock - child.alive_at, "while starting" if starting else f"in phase {phase}"
        if quiet > limit:
            child.trouble = f"gave no sign of life for {limit:g} s {where} and was stopped"
            child.plan_end(self._clock + self._limits.dump_s, self._limits)
            return [Dump(child.name, child.pid or 0)]
        if quiet > limit / 2 and not child.warned:
            child.warned = True
            text = f"{child.title} gave no sign of life for {quiet:.0f} s {where}; the limit is {limit:g} s"
            return [Say("warning", text)]
        return []

    def _end(self, child: Child) -> list[Action]:
        child.plan_end(self._clock, self._limits)
        return self._next_steps(child)

    def _next_steps(self, child: Child) -> list[Action]:
        """The steps of the child's plan that are due."""
        actions: list[Action] = []
        while child.plan and child.plan[0][0] <= self._clock:
            action = child.plan.pop(0)[1]
            actions.append(action)
            if isinstance(action, Abandon):
                child.trouble = f"{child.title} cannot be killed: the kernel does not let go of it"
                actions.append(Say("error", f"{child.trouble}; it is left behind and not restarted"))
                child.pid, child.state = None, ChildState.FATAL
        return actions


class Quorum:
    """Whether enough workers run, or are on their way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._short_since: float | None = None

    def check(self, workers: list[Child], clock: float) -> list[Action]:
        """Gives up when too few workers run and none is on its way."""
        states = [child.state for child in workers]
        if all(state is ChildState.FATAL for state in states):
            last = max(workers, key=lambda child: child.failures[-1] if child.failures else 0.0)
            return [GiveUp(f"no worker is left; the last one: {last.trouble}")]
        least = min(self._limits.min_workers, len(workers))
        well = states.count(ChildState.RUNNING) + states.count(ChildState.DONE)
        if well >= least or ChildState.STARTING in states:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = clock
        elif clock - self._short_since >= self._limits.quorum_s:
            reason = f"only {well} of {len(workers)} workers run for {self._limits.quorum_s:g} s"
            return [GiveUp(f"{reason}, and at least {least} must")]
        return []


def _end_in_words(child: Child, code: int, signal_name: str) -> str:
    """How and, as far as known, why a child ended."""
    if child.outcome in (Outcome.FAILED, Outcome.PERMANENT):
        return f"failed: {child.trouble}"
    if child.trouble:
        return child.trouble
    if signal_name == "SIGKILL":
        return "was killed by SIGKILL, maybe because memory ran out"
    if signal_name:
        return f"was ended by {signal_name}"
    return f"ended with exit code {code}" if code else "ended before its work was done"
