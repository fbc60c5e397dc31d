"""A training that is killed, stopped and ended at random, again and again, and has to go on each time.

    make chaos                                   # 100 rounds, 10 to 30 minutes
    python -m benchmarks.chaos --rounds 5 --seed 7
    python -m benchmarks.chaos --cluster         # two nodes: benchmarks/chaos_cluster.py

In every round a real run.py (CartPole, two workers, a checkpoint and an evaluation every second) is started
or continued. Then blows fall, at random moments: SIGKILL, SIGSTOP or SIGTERM at the main process, a worker or
the evaluator; nobody reads the output any more; other programs take all CPUs for longer than a child may be
silent. A third of the rounds end inside the writing of a checkpoint, some when the run's folder is moved
away, which the run must notice (exit 6). After each round:

- nothing of the run is left alive 5 s after its main process ended, and /dev/shm is as before;
- the next start goes on from no earlier than the newest checkpoint seen before the blow, and after a
  graceful stop from the very last step: the step counter never falls by more than what P2 allows;
- the best score never falls, and its weights load;
- the main process's descriptors do not grow with the restarts of its children;
- no child was replaced because the machine was busy.

At the end the run is finished normally, and TensorBoard must show one increasing axis of steps. Writes
benchmarks/results/chaos.json and .txt; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a3c.storage.run_directory import read_status
from a3c.storage.run_lock import lock_holder
from a3c.storage.shelf import best_checkpoint, newest_checkpoint
from benchmarks.common import RESULTS, ROOT, keep, machine, newest_step, table, wait_until

FLAGS = ["--env", "CartPole-v1", "--workers", "2", "--envs-per-worker", "2", "--num-steps", "5",
         "--checkpoint-every", "1", "--eval-every", "1", "--eval-episodes", "2", "--log-every", "1",
         "--stall-after", "5"]  # fmt: skip
MARK = "A3C_CHAOS"
"""Environment variable by which every process of the run is known, however it came to be."""

GONE_S = 5.0
HOG_S = 8.0  # longer than --stall-after
HOGS = 4  # for each CPU
SPARE_DESCRIPTORS = 3  # of the main process: a log or a status may just be open


class Chaos:
    """One run, over all its rounds, and what was seen of it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.path, self.folder, self.rng = folder / "run", folder, rng
        self.mark = secrets.token_hex(8)
        self.rounds: list[dict[str, Any]] = []
        self.broken: list[str] = []
        self.steps = 0  # from where the next start must at least go on
        self.exact = False  # whether it must be precisely there
        self.best = -float("inf")

    def check(self, holds: bool, promise: str) -> None:
        """Notes a promise that was broken."""
        if not holds:
            self.broken.append(f"round {len(self.rounds)}: {promise}")

    @contextmanager
    def started(self, *flags: str) -> Iterator[psutil.Popen]:
        """A start of the run, new or continued; the output goes to output.txt."""
        how = ["--load"] if (self.path / "config.json").exists() else FLAGS
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(self.path), *how, *flags]
        environ = {**os.environ, MARK: self.mark}
        with Reader(self.folder / "output.txt") as self.reader:
            output = self.reader.writer
            process = psutil.Popen(
                command, stdout=output, stderr=output, cwd=self.folder, env=environ, start_new_session=True
            )
            try:
                yield process
            finally:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                process.wait(10)

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def status(self, process: psutil.Popen) -> dict[str, Any]:
        """What status.json says of this start."""
        found = read_status(self.path) or {}
        return found if found.get("pid") == process.pid else {}

    def round(self) -> None:
        """Start, blows, end, checks."""
        record: dict[str, Any] = {"blows": []}
        shared = set(os.listdir("/dev/shm"))
        self.rounds.append(record)
        with self.started() as process:
            if not self.await_training(process):
                self.check(False, f"the run did not come up: {self.output[-300:]}")
                return
            self.check_resumed(record)
            descriptors = process.num_fds()
            for _ in range(self.rng.randrange(4)):
                time.sleep(self.rng.uniform(0.0, 1.5))
                blow = self.rng.choice((self.signal, self.signal, self.signal, self.hog, self.close_ears))
                record["blows"].append(blow(process))
            time.sleep(self.rng.uniform(0.0, 1.5))
            if process.poll() is not None:
                self.check(False, f"it ended by itself with {process.poll()}: {self.output[-300:]}")
                return
            self.check_descriptors(process, descriptors)
            self.end(process, record)
        self.check_gone(shared)
        self.check_best()

    def await_training(self, process: psutil.Popen) -> bool:
        """Until every worker has made steps, in this start."""
        return (
            wait_until(
                lambda: (
                    all(w["steps"] > 0 for w in self.status(process).get("workers") or [{"steps": 0}])
                    or process.poll() is not None
                ),
                120.0,
            )
            and process.poll() is None
        )

    def check_resumed(self, record: dict[str, Any]) -> None:
        match = re.search(r"resumes at (\d+) steps", self.output)
        steps = int(match[1]) if match else 0
        record["resumed_at"] = steps
        self.check(steps >= self.steps, f"goes on at {steps} steps, but {self.steps} were committed")
        self.check(not self.exact or steps == self.steps, f"goes on at {steps}, but stopped at {self.steps}")

    def check_descriptors(self, process: psutil.Popen, before: int) -> None:
        """A child that is just being started takes a few for a moment."""
        limit = before + SPARE_DESCRIPTORS
        settled = wait_until(lambda: process.num_fds() <= limit, GONE_S)
        if not settled:
            names = sorted(os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir())
            self.check(False, f"descriptors of the main process grew from {before}: {names}")

    def signal(self, process: psutil.Popen) -> str:
        """One that the run has to survive; for the main process only a pause."""
        target = self.rng.choice(("main", "worker-0", "worker-1", "evaluator"))
        name = "SIGSTOP" if target == "main" else self.rng.choice(("SIGKILL", "SIGSTOP", "SIGTERM"))
        status = self.status(process)
        children = {f"worker-{w['id']}": w["pid"] for w in status.get("workers", [])}
        pid = {**children, "evaluator": status.get("evaluator", {}).get("pid"), "main": process.pid}[target]
        if pid is None:
            return f"{target} was down"
        with suppress(ProcessLookupError):
            os.kill(pid, getattr(signal, name))
            if target == "main":
                time.sleep(self.rng.uniform(0.1, 2.0))
                os.kill(pid, signal.SIGCONT)
        return f"{name} {target}"

    def close_ears(self, _: psutil.Popen) -> str:
        self.reader.stop()
        return "output not read"

    def hog(self, process: psutil.Popen) -> str:
        """Others take the CPUs for a while; whoever is slow then is not hung."""
        before, alone = self.restarts(process), not self.rounds[-1]["blows"]
        take_cpus(HOG_S)
        after = self.restarts(process)
        self.check(not alone or after == before, f"a busy machine cost {after - before} children")
        return "CPUs taken"

    def restarts(self, process: psutil.Popen) -> int:
        status = self.status(process)
        return sum(child["restarts"] for child in (*status["workers"], status["evaluator"]))

    def move_away(self, process: psutil.Popen, record: dict[str, Any]) -> None:
        """Ends the round by moving the run's folder, and moves it back when the run has noticed."""
        elsewhere, self.steps, self.exact = self.folder / "elsewhere", newest_step(self.path), False
        self.path.rename(elsewhere)
        code = process.wait(60)
        record |= {"end": "folder moved", "code": code}
        self.check(code == 6, f"its folder was moved, and it ended with {code}: {self.output[-300:]}")
        self.check(not self.path.exists(), "it made something in the place of its folder")
        shutil.rmtree(self.path, ignore_errors=True)
        elsewhere.rename(self.path)

    def end(self, process: psutil.Popen, record: dict[str, Any]) -> None:
        """The blow that ends the round; sees first what is safe already."""
        name = self.rng.choice(("SIGKILL", "SIGKILL", "SIGTERM", "move"))
        if name == "move":
            self.move_away(process, record)
            return
        if self.rng.random() < 1 / 3:  # inside the writing of a checkpoint, or its removal
            record["in_checkpoint"] = wait_until(lambda: any(self.path.glob(".tmp-*")), 15.0, pause_s=0.0005)
        committed = newest_step(self.path)
        steps = self.status(process).get("steps", 0)
        with suppress(psutil.NoSuchProcess):
            process.send_signal(getattr(signal, name))
        began = time.monotonic()
        code = process.wait(60)
        record |= {"end": f"{name} main", "code": code, "end_s": round(time.monotonic() - began, 2)}
        record |= {"steps": steps, "committed": committed}
        wanted = -9 if name == "SIGKILL" else 0
        self.check(code == wanted, f"{name} ended it with {code}: {self.output[-300:]}")
        self.exact = name == "SIGTERM"
        self.steps = (read_status(self.path) or {}).get("steps", 0) if self.exact else committed
        if self.exact:
            self.check(newest_step(self.path) == self.steps, "no checkpoint of the last step")

    def check_gone(self, shared: set[str]) -> None:
        gone = wait_until(lambda: not self.alive(), GONE_S)
        self.check(gone, f"{len(self.alive())} processes outlive the main process")
        self.check(lock_holder(self.path) is None, "the run directory is still locked")
        left = {name for name in set(os.listdir("/dev/shm")) - shared if name.startswith("torch_")}
        self.check(not left, f"/dev/shm keeps {sorted(left)}")

    def alive(self) -> list[psutil.Process]:
        """Every living process with this run's mark."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                mine = process.environ().get(MARK) == self.mark
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def check_best(self) -> None:
        found = best_checkpoint(self.path, set_aside=False)
        mean = found[1].state["best"]["mean"] if found else -float("inf")
        self.check(mean >= self.best, f"the best score fell from {self.best} to {mean}")
        self.best = max(self.best, mean)

    def finish(self) -> None:
        """A normal end, and one increasing axis in TensorBoard."""
        goal = newest_step(self.path) + 2000
        with self.started("--max-steps", str(goal)) as process:
            code = process.wait(120)
        self.check(code == 0, f"the last start ended with {code}: {self.output[-300:]}")
        self.check(newest_step(self.path) >= goal, "the last start did not reach its steps")
        self.check_best()
        events = EventAccumulator(str(self.path), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            steps = [event.step for event in events.Scalars(tag)]
            wrong = [after for before, after in itertools.pairwise(steps) if after <= before]
            self.check(not wrong, f"TensorBoard's {tag} shows a step twice or goes back, at {wrong}")
        self.check(newest_checkpoint(self.path, set_aside=False) is not None, "no checkpoint")


def take_cpus(seconds: float) -> None:
    """Keeps all CPUs busy for a while."""
    loops = [psutil.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(HOGS * psutil.cpu_count())]
    time.sleep(seconds)
    for loop in loops:
        loop.kill()
        loop.wait()


class Reader:
    """Reads a run's output from a pipe into a file, until it is told to stop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pipe, self.writer = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._stopped = False

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._stopped:
            self.stop()
        os.close(self._pipe)
        os.close(self.writer)

    def stop(self) -> None:
        """Leaves the pipe open, and full. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        os.write(self.writer, b"\n")  # wakes the thread
        self._thread.join()
        filler = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(filler, bytes(size))
        os.close(filler)

    def _read(self) -> None:
        with self.path.open("wb", buffering=0) as file:
            while not self._stopped:
                file.write(os.read(self._pipe, 65_536))


def report(chaos: Chaos, seed: int, seconds: float) -> dict[str, Any]:
    """All that happened, and the verdict."""
    blows: dict[str, int] = {}
    for record in chaos.rounds:
        for blow in (*record["blows"], record.get("end", "none")):
            blows[blow] = blows.get(blow, 0) + 1
    lost = [r["steps"] - r["committed"] for r in chaos.rounds if r.get("end") == "SIGKILL main"]
    return {
        "machine": machine(),
        "seed": seed,
        "seconds": round(seconds),
        "verdict": "broken" if chaos.broken else "all promises kept",
        "broken": chaos.broken,
        "rounds": len(chaos.rounds),
        "steps_at_the_end": newest_step(chaos.path),
        "best_score": chaos.best,
        "killed_in_a_checkpoint": sum(bool(r.get("in_checkpoint")) for r in chaos.rounds),
        "blows": dict(sorted(blows.items())),
        "most_steps_lost": max(lost, default=0),
        "slowest_graceful_stop_s": max((r["end_s"] for r in chaos.rounds if r.get("code") == 0), default=0.0),
        "log": chaos.rounds,
    }


FACTS = ("verdict", "rounds", "seconds", "seed", "steps_at_the_end", "best_score", "killed_in_a_checkpoint",
         "most_steps_lost", "slowest_graceful_stop_s")  # fmt: skip
CLUSTER_FACTS = (
    "verdict",
    "rounds",
    "seconds",
    "seed",
    "steps_at_the_end",
    "games_noted",
    "slowest_recovery_s",
)
"""What of a report is for people."""


def text_of(result: dict[str, Any], facts: Sequence[str]) -> str:
    """The report for people."""
    rows = [["fact", "value"], *([name.replace("_", " "), result[name]] for name in facts)]
    blows = [["blow", "times"], *(list(item) for item in result["blows"].items())]
    return "\n\n".join([table(rows), table(blows), *result["broken"]]) + "\n"


def run_chaos(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """All rounds, in `folder`; returns the report."""
    chaos, began = Chaos(folder, random.Random(seed)), time.monotonic()
    for number in range(rounds):
        chaos.round()
        print(f"round {number + 1}: {json.dumps(chaos.rounds[-1])}", flush=True)
    chaos.finish()
    return report(chaos, seed, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random faults on a real training.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cluster", action="store_true", help="on two nodes; see benchmarks.chaos_cluster")
    options = parser.parse_args()
    name, run, facts = "chaos", run_chaos, FACTS
    if options.cluster:
        from benchmarks.chaos_cluster import run_chaos as run_on_a_cluster  # which Ray is needed for

        name, run, facts = "chaos-cluster", run_on_a_cluster, CLUSTER_FACTS
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.rounds, options.seed, Path(folder))
    keep(name, result)
    text = text_of(result, facts)
    (RESULTS / f"{name}.txt").write_text(text)
    print(text)
    return int(bool(result["broken"]))


if __name__ == "__main__":
    sys.exit(main())
