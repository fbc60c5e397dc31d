"""What the main process tells of a run: status.json, the view, and what the evaluator found."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from a3c.console.live import View
from a3c.console.panel import count, duration
from a3c.processes.gpu import GpuMeter
from a3c.processes.group import ChildStatus, Event
from a3c.processes.memory import MemoryMeter
from a3c.processes.supervisor import ChildState
from a3c.settings.config import Config
from a3c.storage.run_directory import RunDirectory
from a3c.training.forecast import POINTS, seconds_to
from a3c.training.session import Session

_EVERY_S = 1.0
_RATE_WINDOW_S = 30.0


class _Sample(NamedTuple):
    """Counters at one moment, to take rates from."""

    at: float  # time.monotonic()
    totals: dict[str, float]
    steps: list[float]  # by worker


class Reporter:
    """Keeps `status.json` and the view up to date; remembers the evaluator's last and best score."""

    def __init__(self, session: Session, run: RunDirectory, view: View) -> None:
        self._session, self._run, self._view = session, run, view
        self._samples: deque[_Sample] = deque()
        self._states: Mapping[str, ChildStatus] = {}
        self._due = 0.0
        self._message = ""
        self._started = datetime.now().astimezone().isoformat(timespec="seconds")
        self._memory = MemoryMeter()
        self._gpus = GpuMeter(session.config.run.gpu_ids)
        self._evaluation: dict[str, Any] = {}
        self._scores: deque[tuple[float, float]] = deque(maxlen=POINTS)  # (seconds, mean) of evaluations
        self._best = session.saver().best() if session.resumes else None
        self._checkpoint: str | None = None
        self._cluster: dict[str, Any] = {"nodes": [], "trouble": "", "generation": 0}

    @property
    def last_score(self) -> float | None:
        """Mean score of the newest evaluation of this start."""
        return self._evaluation.get("mean")

    def memory_bytes(self) -> int:
        """Memory of all processes of the run."""
        return self._memory.total()

    def greet(self) -> None:
        """The first lines: what runs where, what to expect when, and how to watch and stop it."""
        s = self._session
        devices = ", ".join(sorted({s.device(i) for i in range(max(s.workers, 1))}))
        workers = f"{s.workers} worker{'s' * (s.workers > 1)}" if s.workers else "one process"
        how = f"resumes at {s.board.total('env_steps')} steps" if s.resumes else "new run"
        learn = s.config.learn
        how_shaped = f" with {learn.model}" if learn.model else ""  # a table has no network
        for line in (
            f"run directory {s.run_dir} ({how})",
            s.env.describe(),
            f"{learn.algo}{how_shaped}, preset {s.config.run.preset or 'none'}, "
            f"{workers} x {learn.envs_per_worker} environments on {devices}",
            f"{_scores_to_come(s.config)}; a checkpoint every {duration(s.config.eval.checkpoint_every)}",
            f"{_end_to_come(s.config)}; Ctrl-C or a3c stop {s.run_dir} saves and stops",
            f"watch: a3c status {s.run_dir} --watch; curves: tensorboard --logdir {s.run_dir.parent}",
        ):
            self._view.message(line)
        self.refresh({}, "starting")

    def take(self, events: Iterable[Event]) -> None:
        """Remembers what the evaluator found."""
        for event in events:
            if event.kind == "evaluation":
                self._evaluation = event.payload
                self._scores.append((event.payload["wall_s"], event.payload["mean"]))
            elif event.kind == "best":
                self._best = event.payload
            elif event.kind == "cluster":
                self._cluster = event.payload
            elif event.kind == "checkpoint":
                self._checkpoint = event.payload["name"]

    def refresh(self, states: Mapping[str, ChildStatus], state: str = "running") -> None:
        """Writes the status and redraws the view, once a second at most. Raises StorageError when the run's
        folder was moved or deleted."""
        now = time.monotonic()
        self._states = states
        if now < self._due and state == "running":
            return
        self._due = now + _EVERY_S
        self._run.check()
        self._sample(now)
        self._publish(state)

    def finish(self, state: str, reason: str) -> None:
        """The last status, and one line that sums the run up."""
        self._message = reason
        self._sample(time.monotonic())
        status = self._publish(state)
        best = status["best_score"]
        score = "no confirmed score yet" if best is None else f"best score {best:g}"
        checkpoint = f"checkpoint {status['checkpoint']}" if status["checkpoint"] else "no new checkpoint"
        self._view.message(
            f"{state}: {reason}; {status['steps']} steps, {score}, {checkpoint}; "
            f"continue with {self._session.to_go_on(reason)}"
        )

    def _publish(self, state: str) -> dict[str, Any]:
        status = self._status(state)
        self._run.write_status(status)
        self._view.update(status)
        return status

    def _sample(self, now: float) -> None:
        board = self._session.board
        steps = [board.get(i, "env_steps") for i in range(board.workers)]
        self._samples.append(_Sample(now, board.totals(), steps))
        while self._samples[-1].at - self._samples[0].at > _RATE_WINDOW_S:
            self._samples.popleft()

    def _status(self, state: str) -> dict[str, Any]:
        s, first, last = self._session, self._samples[0], self._samples[-1]
        seconds = max(last.at - first.at, 1e-9)
        change = {name: last.totals[name] - first.totals[name] for name in last.totals}
        counters = s.board.counters()
        rate = change["env_steps"] / seconds
        config = s.config
        return {
            "run_id": self._run.run_id,
            "state": state,
            "pid": os.getpid(),
            "host": platform.node(),
            "started": self._started,
            "updated": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": sys.argv,
            "run_dir": str(s.run_dir),
            "env": config.env.env,
            "algo": config.learn.algo,
            "preset": config.run.preset,
            "steps": counters.env_steps,
            "frames": counters.frames,
            "updates": counters.updates,
            "episodes": counters.episodes,
            "rejected": counters.rejected,
            "steps_per_second": rate,
            "frames_per_second": change["frames"] / seconds,
            "mean_lag": ratio(change["lag_sum"], change["updates"]),
            "last_return": ratio(change["return_sum"], change["episodes"]),
            "max_steps": config.run.max_steps or None,
            **self._progress(counters.env_steps, rate),
            "target_score": config.run.target_score,
            "target_eta_s": self._to_target(),
            "elapsed_s": s.elapsed_s(),
            "workers": [self._worker(i, seconds) for i in range(s.board.workers)],
            "evaluator": self._evaluator(),
            **self._of_cluster(),
            "best_score": (self._best or {}).get("mean"),
            "best_score_steps": (self._best or {}).get("env_steps"),
            "best_is_exact": "exact_value" in (self._best or {}),
            "memory_bytes": self._memory.total(),
            "gpus": self._gpus.read(),
            "checkpoint": self._checkpoint,
            "tensorboard": f"tensorboard --logdir {s.run_dir.parent}",
            "message": self._message or self._run.status_error,
        }

    def _progress(self, steps: int, rate: float) -> dict[str, float | None]:
        """How much of the run is done, by steps or by time, whichever ends it first."""
        run = self._session.config.run
        parts = []
        if run.max_steps:
            parts.append((steps / run.max_steps, ratio(max(run.max_steps - steps, 0), rate)))
        if run.max_time:
            spent_s = time.monotonic() - self._session.started
            parts.append((spent_s / run.max_time, max(run.max_time - spent_s, 0.0)))
        if not parts:
            return {"progress": None, "eta_s": None}
        share, eta_s = max(parts, key=lambda part: part[0])
        return {"progress": min(share, 1.0), "eta_s": eta_s}

    def _to_target(self) -> float | None:
        """About how long it takes to --target-score, by the trend of this start's evaluations."""
        target = self._session.config.run.target_score
        if target is None:
            return None
        return seconds_to(target, list(self._scores), self._session.elapsed_s())

    def _worker(self, row: int, seconds: float) -> dict[str, Any]:
        board, first, last = self._session.board, self._samples[0], self._samples[-1]
        return {
            "id": row,
            **self._process(f"worker-{row}"),
            "steps": int(board.get(row, "env_steps")),
            "device": self._session.device(row),
            "phase": board.phase(row),
            "steps_per_second": (last.steps[row] - first.steps[row]) / seconds,
        }

    def _evaluator(self) -> dict[str, Any]:
        board = self._session.board
        games, over = (int(board.get(board.evaluator_row, name)) for name in ("games", "games_over"))
        return {
            **self._process("evaluator"),
            "games": games or None,
            "games_over": over if games else None,
            "last_score": self._evaluation.get("mean"),
            "last_score_steps": self._evaluation.get("env_steps"),
            "episodes": self._evaluation.get("n"),
        }

    def _of_cluster(self) -> dict[str, Any]:
        """The exchanger, and a line for each of the other nodes."""
        if not self._session.config.cluster.cluster:
            return {}
        phase = "exchanging" if not self._cluster["trouble"] else "the cluster is lost"
        generation = self._cluster["generation"]
        return {
            "exchanger": {**self._process("exchanger"), "phase": phase, "generation": generation},
            "nodes": self._cluster["nodes"],
        }

    def _process(self, name: str) -> dict[str, Any]:
        """What is known of a worker or the evaluator as a process; not much before it was started."""
        child = self._states.get(name, ChildStatus("", None, ChildState.STARTING, 0))
        memory = self._memory.by_pid().get(child.pid) if child.pid else None
        return {
            "pid": child.pid, "state": child.state, "restarts": child.restarts, "memory_bytes": memory,
        }  # fmt: skip


def _scores_to_come(config: Config) -> str:
    if not config.eval.eval_every:
        return "no scores, as --eval-every 0 wants it"
    every = duration(config.eval.eval_every)
    return f"the first score comes soon after the first steps, the next ones every {every} at the latest"


def _end_to_come(config: Config) -> str:
    run = config.run
    ends = [
        f"at a score of {run.target_score:g}" if run.target_score is not None else "",
        f"after {count(run.max_steps)} steps" if run.max_steps else "",
        f"after {duration(run.max_time)}" if run.max_time else "",
    ]
    return f"ends {' or '.join(filter(None, ends))}" if any(ends) else "has no end of its own"


def ratio(value: float, by: float) -> float | None:
    """`value / by`, None where `by` is 0."""
    return value / by if by else None
