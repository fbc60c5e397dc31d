"""All children of a run: carries out what the supervisor decides, and passes on what the children tell.

No call here waits without a limit, and nothing a child does or sends (a torn line, garbage, a sudden end)
disturbs the main process or the other children.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from a3c.errors import QuorumLost
from a3c.processes.actions import Abandon, Action, Dump, GiveUp, Kill, Say, Spawn, Terminate
from a3c.processes.child import QUIET_SIGNALS
from a3c.processes.guardian import MAIN, end_what_is_left_of, marked_as
from a3c.processes.signals import held_back, signal_tree
from a3c.processes.spawning import ChildProcess, Message, child_environment, spawn_child
from a3c.processes.supervisor import ChildState, Limits, Outcome, Supervisor

_POLL_S = 0.05
_DEATH_S = 2.0  # between SIGTERM and SIGKILL, and after SIGKILL, when the run ends
_SIGNAL_NAMES = {int(s): s.name for s in signal.Signals}

Heartbeats = Callable[[], Mapping[str, tuple[float, str]]]
Log = Callable[[str, str], None]


@dataclass(frozen=True)
class ChildSpec:
    """One supervised process: it runs `target(*make_args(incarnation), link)` from a fresh interpreter."""

    name: str
    role: str  # a3c.processes.supervisor.WORKER, EVALUATOR or EXCHANGER
    target: Callable[..., None]
    make_args: Callable[[int], tuple[Any, ...]]
    environ: Mapping[str, str] = field(default_factory=dict)  # what it is given besides, secrets too


class ChildStatus(NamedTuple):
    """What a reader of the run may know about a child."""

    role: str
    pid: int | None
    state: ChildState
    restarts: int


class Event(NamedTuple):
    """Something a child told with `Link.event`."""

    child: str
    kind: str
    payload: dict[str, Any]


class ProcessGroup:
    """All children of a run, supervised.

    Call `poll` a few times a second, from the main thread, and `kill_all` at last.

    Args:
        specs: the children.
        heartbeats: gives, by child, its last sign of life (any clock) and its phase.
        log: takes (level, text) for the user.
        log_dir: where each child's output goes, to NAME.log.
        limits: how patient to be.
    """

    def __init__(
        self,
        specs: list[ChildSpec],
        heartbeats: Heartbeats,
        log: Log,
        log_dir: Path,
        limits: Limits | None = None,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._heartbeats = heartbeats
        self._log = log
        self._log_dir = log_dir
        roles = {spec.name: spec.role for spec in specs}
        self._supervisor = Supervisor(roles, limits or Limits(), random.Random())
        self._processes: dict[str, ChildProcess] = {}
        self._numbers = {name: number for number, name in enumerate(roles, MAIN + 1)}
        self._warned: dict[str, str] = {}  # by warning: which child came first with it

    def start(self) -> None:
        """Starts every child. Raises RuntimeError outside the main thread: a child dies with its thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children must be started from the main thread")
        with marked_as(None), child_environment({}), held_back(*QUIET_SIGNALS):
            resource_tracker.ensure_running()  # of multiprocessing; it must survive a lost terminal
        self._carry_out(self._supervisor.start(time.monotonic()))

    def poll(self) -> list[Event]:
        """Takes in what happened, acts on it, and returns what the children told.

        Raises:
            QuorumLost: too few workers are left.
        """
        now = time.monotonic()
        events: list[Event] = []
        for name, child in list(self._processes.items()):
            code = child.process.exitcode  # asked first: all that it sent before its end is then in the pipe
            for message in child.inbox.receive():
                events += self._take(name, child, message, now)
            child.log.pump()
            if code is not None:
                self._bury(name, child, code, now)
        waited_s = {name: child.waited_s() for name, child in self._processes.items()}
        self._carry_out(self._supervisor.tick(now, self._heartbeats(), waited_s))
        return events

    def wait(self, timeout_s: float) -> None:
        """Sleeps until a child ends, at most `timeout_s`."""
        wait([child.process.sentinel for child in self._processes.values()], timeout_s)

    def states(self) -> dict[str, ChildStatus]:
        """How each child is, by name."""
        return {
            name: ChildStatus(c.role, c.pid, c.state, max(c.incarnation, 0))
            for name, c in self._supervisor.children.items()
        }

    def restart(self, name: str) -> None:
        """Ends a child, if it lives, and starts it anew with a fresh budget of failures."""
        self._carry_out(self._supervisor.restart(name, time.monotonic()))

    def renew(self, between: Callable[[], None]) -> None:
        """Ends every child at once, calls `between` when none of them is left, and starts all anew."""
        for child in self._processes.values():
            signal_tree(child.pid, signal.SIGKILL)
        for child in self._processes.values():
            child.process.join(_DEATH_S)
        between()
        for name in self._specs:
            self.restart(name)

    def stop(self, role: str, deadline_s: float, idle: Callable[[], None] = lambda: None) -> list[Event]:
        """Waits for the children of a role, who were told to leave, and ends those that are left at the
        deadline: SIGTERM, then SIGKILL. Calls `idle` while waiting. Returns what the children told."""
        names = [name for name, spec in self._specs.items() if spec.role == role]
        for name in self._alive(names):
            signal_tree(self._processes[name].pid, signal.SIGCONT)  # a paused one must wake to leave
        self._carry_out(self._supervisor.stop(names, time.monotonic()))
        events = self._poll_until_gone(names, deadline_s, idle)
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for name in self._alive(names):
                self._log("warning", f"{name} did not end in time: {signum.name}")
                signal_tree(self._processes[name].pid, signum)
            events += self._poll_until_gone(names, _DEATH_S, idle)
        return events

    def kill_all(self) -> None:
        """Ends every child and all that they started, at once."""
        now = time.monotonic()
        self._supervisor.stop(self._specs, now)
        for child in self._processes.values():
            if child.process.exitcode is None:
                signal_tree(child.pid, signal.SIGKILL)
        for name, child in list(self._processes.items()):
            child.process.join(max(0.0, now + _DEATH_S - time.monotonic()))
            if child.process.exitcode is None:
                self._log("error", f"{name} (pid {child.pid}) cannot be killed and is left behind")
            self._bury(name, child, child.process.exitcode or 0, now)

    # -- inside --------------------------------------------------------------------------------------

    def _alive(self, names: Collection[str]) -> list[str]:
        return [name for name in names if name in self._processes]

    def _poll_until_gone(
        self, names: Collection[str], timeout_s: float, idle: Callable[[], None]
    ) -> list[Event]:
        deadline = time.monotonic() + timeout_s
        events: list[Event] = []
        while self._alive(names) and time.monotonic() < deadline:
            self.wait(_POLL_S)
            events += self.poll()
            idle()
        return events

    def _take(self, name: str, child: ChildProcess, message: Message, now: float) -> list[Event]:
        """Acts on one message; a wrong one is reported once and else ignored."""
        body, first = message.body, message.type not in child.heard
        child.heard.add(message.type)
        match message.type:
            case "ready":
                self._supervisor.ready(name, now)
            case "done":
                self._supervisor.announced(name, Outcome.DONE, now)
            case "event" if isinstance(payload := body.get("payload"), dict):
                return [Event(name, str(body.get("kind")), payload)]
            case "warning":
                text = str(body.get("text"))
                if self._warned.setdefault(text, name) == name:  # what meets all workers is said once
                    self._log("warning", f"{name}: {text}")
            case "error":
                self._take_error(name, child, body, now)
            case _ if first:
                self._log("warning", f"{name} (pid {child.pid}) sent something unreadable, which is ignored")
        return []

    def _take_error(self, name: str, child: ChildProcess, body: dict[str, Any], now: float) -> None:
        permanent = body.get("outcome") == Outcome.PERMANENT
        facts = body.get("context")
        words = ", ".join(f"{k}={v}" for k, v in facts.items()) if isinstance(facts, dict) else ""
        self._log("error", f"{name} (pid {child.pid}) failed: {words}\n{body.get('traceback')}")
        outcome = Outcome.PERMANENT if permanent else Outcome.FAILED
        self._supervisor.announced(name, outcome, now, str(body.get("summary")))

    def _bury(self, name: str, child: ChildProcess, code: int, now: float) -> None:
        """Takes note of an end."""
        del self._processes[name]
        child.release()
        end_what_is_left_of(self._numbers[name])
        signal_name = _SIGNAL_NAMES.get(-code, f"signal {-code}") if code < 0 else ""
        actions = self._supervisor.exited(name, code, now, signal_name)
        failed = self._supervisor.children[name].state in (ChildState.BACKOFF, ChildState.FATAL)
        if failed and "error" not in child.heard and (tail := child.log.tail()):
            self._log("warning", f"the end of {child.log.path}:\n{tail}")
        self._carry_out(actions)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Spawn():
                    self._spawn(action)
                case Dump(pid=pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGUSR1)
                case Terminate(pid=pid):
                    signal_tree(pid, signal.SIGTERM)
                case Kill(pid=pid):
                    signal_tree(pid, signal.SIGKILL)
                case Abandon(name=name):
                    self._processes.pop(name).release()
                case Say(level, text):
                    self._log(level, text)
                case GiveUp(reason=reason):
                    raise QuorumLost(reason)

    def _spawn(self, action: Spawn) -> None:
        spec, name = self._specs[action.name], action.name
        args = spec.make_args(action.incarnation)
        try:
            with marked_as(self._numbers[name]):
                child = spawn_child(name, spec.target, args, self._log_dir / f"{name}.log", spec.environ)
        except (OSError, MemoryError, RuntimeError) as error:
            failed = self._supervisor.spawn_failed(name, str(error) or type(error).__name__, time.monotonic())
            self._carry_out(failed)
            return
        self._processes[name] = child
        self._supervisor.started(name, child.pid, time.monotonic())
