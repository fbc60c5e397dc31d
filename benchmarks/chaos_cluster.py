"""Chaos on several machines: a training on a real Ray cluster of which something dies or freezes at random.

    unshare --net --pid --fork --mount-proc --kill-child \
        sh -c 'ip link set lo up && exec python -m benchmarks.chaos --cluster --rounds 30'     # as root

Two raylets on loopback, CartPole, one worker each. In every round one to three blows fall at random moments:
SIGKILL to the other node's raylet (another node takes its place), to its supervisor, Ray's actor that keeps
it, its exchanger, a worker, the anchor, or the head's exchanger; a node frozen and thawed; the head killed
and resumed, or stopped and resumed. Then all has to go on. Looked at, all the time and after each round:

- the run's counters never fall; a resumed head goes on from no earlier than the newest checkpoint seen
  before, after a graceful stop from the very last step; generations only grow within a start;
- all nodes train again, and their steps grow;
- there are exactly the processes that there have to be, on every node;
- no game is played twice: every start of a game of all nodes is noted (benchmarks/noting_env.py);
- after the last stop no process, no folder and nothing in shared memory is left.

Writes benchmarks/results/chaos-cluster.json and .txt; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from a3c.storage.run_directory import read_status
from a3c.storage.run_lock import lock_holder
from benchmarks.common import ROOT, machine, newest_step, wait_until
from benchmarks.ray_cluster import (
    ANCHOR,
    EXCHANGER,
    KEEPER,
    SUPERVISOR,
    TOKEN,
    Cluster,
    children,
    command_of,
    named,
    of_ours,
    signal_to,
)

FLAGS = ["--env", "benchmarks.noting_env:NotingCartPole-v0", "--preset", "cartpole-a3c", "--workers", "1",
         "--envs-per-worker", "2", "--num-steps", "5", "--exchange-every", "0.3", "--checkpoint-every", "1",
         "--eval-every", "0", "--log-every", "1", "--head-patience", "5m",
         "--target-score", "501", "--max-steps", "1B"]  # fmt: skip
COUNTERS = ("steps", "frames", "episodes", "updates")
LONGEST_S = 400.0  # for anything: two busy cores start a raylet, an actor, and torch three times


class Watch:
    """Reads the run's status again and again, and notes counters that fell."""

    def __init__(self, path: Path) -> None:
        self._path, self.last, self.fallen = path, dict.fromkeys(COUNTERS, 0), list[str]()
        self._pid, self._generation, self._ended = 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self.look()

    def look(self) -> None:
        status = read_status(self._path) or {}
        if "steps" not in status:
            return
        if status["pid"] != self._pid:  # another start, which may go back to its checkpoint
            self._pid, self._generation = status["pid"], 0
            self.last = {name: status[name] for name in COUNTERS}
        for name in COUNTERS:
            if status[name] < self.last[name]:
                self.fallen.append(f"{name} fell from {self.last[name]} to {status[name]}")
            self.last[name] = status[name]
        generation = status["exchanger"]["generation"]
        if 0 < generation < self._generation:
            self.fallen.append(f"the generation fell from {self._generation} to {generation}")
        self._generation = max(self._generation, generation)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


class ClusterChaos:
    """One run on one cluster, over all its rounds, and what was seen of it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.path, self.tally, self.rng = folder, folder / "run", folder / "games", rng
        self.cluster = Cluster()
        self.raylet = self.cluster.add()
        self.before = traces()
        self.rounds: list[dict[str, Any]] = []
        self.broken: list[str] = []
        self.process = self.start()
        self.watch = Watch(self.path)

    def check(self, holds: bool, promise: str) -> None:
        """Notes a promise that was broken."""
        if not holds:
            self.broken.append(f"round {len(self.rounds)}: {promise}")
            print(self.broken[-1], flush=True)

    def start(self) -> psutil.Popen:
        """The head, new or continued."""
        how = ["--load"] if (self.path / "config.json").exists() else FLAGS
        how = [*how, "--env", FLAGS[1], "--env-kwargs", f"tally={self.tally}"]
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(self.path), *how]
        with (self.folder / "output.txt").open("a") as output:
            return psutil.Popen(
                [*command, "--cluster", self.cluster.address], stdout=output, stderr=subprocess.STDOUT,
                cwd=self.folder, env={**os.environ, **TOKEN, "PYTHONPATH": str(ROOT)}, start_new_session=True,
            )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What the present start says."""
        found = read_status(self.path) or {}
        return found if found.get("pid") == self.process.pid else {}

    def await_training(self) -> bool:
        """Until the other node trains and has made more steps than at first seen, and so has the head."""
        seen: list[tuple[int, int]] = []

        def steps() -> tuple[int, int] | None:
            status = self.status()
            nodes = status.get("nodes") or []
            if len(nodes) != 1 or any(node["state"] != "running" for node in nodes):
                return None
            return sum(node["steps"] for node in nodes), sum(w["steps"] for w in status["workers"])

        def grown() -> bool:
            if self.process.poll() is not None:
                return True
            if (now := steps()) is not None:
                seen.append(now)
            return bool(seen) and all(new > old for new, old in zip(seen[-1], seen[0], strict=True))

        return wait_until(grown, LONGEST_S, 0.2) and self.process.poll() is None

    def round(self) -> None:
        record: dict[str, Any] = {"blows": []}
        self.rounds.append(record)
        for _ in range(self.rng.randint(1, 3)):
            time.sleep(self.rng.uniform(0.0, 2.0))
            blow = self.rng.choice(BLOWS)
            record["blows"].append(blow.__name__.replace("_", " "))
            blow(self)
        began = time.monotonic()
        complete = wait_until(lambda: census() == EXPECTED, LONGEST_S, 0.2)
        self.check(complete, f"processes {census()}")  # first: a status tells of a dead node for some seconds
        self.check(self.await_training(), f"it does not go on: {self.words()}")
        record["well_after_s"] = round(time.monotonic() - began, 1)
        record["steps"] = self.watch.last["steps"]
        for fallen in self.watch.fallen:
            self.check(False, fallen)
        self.watch.fallen.clear()

    def words(self) -> str:
        nodes = [(node["state"], node["message"]) for node in self.status().get("nodes") or []]
        return f"{nodes} {(self.folder / 'output.txt').read_text()[-500:]}"

    # -- blows ---------------------------------------------------------------------------------------

    def raylet_killed(self) -> None:
        self.cluster.end(self.raylet)
        self.raylet = self.cluster.add()

    def supervisor_killed(self) -> None:
        kill_one(named(SUPERVISOR))

    def actor_of_the_node_killed(self) -> None:
        kill_one(named(KEEPER))

    def anchor_killed(self) -> None:
        kill_one(named(ANCHOR))

    def exchanger_killed(self) -> None:
        kill_one([c[EXCHANGER] for c in map(children, named(SUPERVISOR)) if EXCHANGER in c])

    def worker_of_the_node_killed(self) -> None:
        everybody = [item for c in map(children, named(SUPERVISOR)) for item in c.items()]
        kill_one([process for number, process in everybody if number > EXCHANGER])

    def exchanger_of_the_head_killed(self) -> None:
        if pid := (self.status().get("exchanger") or {}).get("pid"):
            kill_one([p for p in psutil.process_iter() if p.pid == pid])

    def node_frozen_and_thawed(self) -> None:
        family = [self.raylet, *self.raylet.children(recursive=True)]
        for process in family:
            signal_to(process, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, 8.0))  # it is forgotten after 3.5 s
        for process in family:
            signal_to(process, signal.SIGCONT)

    def head_killed_and_resumed(self) -> None:
        saved = newest_step(self.path)
        self.process.kill()
        self.process.wait(60)
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.resume(lambda steps: steps >= saved, f"killed when {saved} steps were saved")

    def head_stopped_and_resumed(self) -> None:
        self.process.terminate()
        code = self.process.wait(LONGEST_S)
        self.check(code == 0, f"SIGTERM ended the head with {code}: {self.words()}")
        steps = (read_status(self.path) or {}).get("steps")
        self.check(newest_step(self.path) == steps, "no checkpoint of the last step")
        self.check(wait_until(lambda: not of_ours(), 60.0), f"after a stop there are {census()}")
        self.resume(lambda resumed: resumed == steps, f"stopped at {steps}")

    def resume(self, right: Callable[[int], bool], what: str) -> None:
        output = self.folder / "output.txt"
        size = output.stat().st_size
        self.process = self.start()

        def told() -> list[str]:
            lines = output.read_text()[size:].splitlines()
            return [line for line in lines if "(resumes at " in line or "(new run)" in line]

        wait_until(lambda: told() or self.process.poll() is not None, LONGEST_S)
        found = re.search(r"resumes at (\d+) steps", "".join(told()))
        steps = int(found[1]) if found else 0
        self.check(right(steps), f"the head goes on at {steps} steps, and was {what}")

    # -- the end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """A graceful stop, of which nothing may be left, and the games."""
        self.process.terminate()
        code = self.process.wait(LONGEST_S)
        self.check(code == 0, f"SIGTERM ended the head with {code}: {self.words()}")
        self.check(wait_until(lambda: not of_ours(), 60.0), f"after the end there are {census()}")
        self.watch.look()
        self.watch.close()
        left = traces() - self.before
        self.check(not left, f"left on the nodes: {left}")
        self.games = self.tally.read_text().split()
        twice = [game for game, times in Counter(self.games).items() if times > 1]
        self.check(not twice, f"{len(twice)} of {len(self.games)} games were played twice")

    def close(self) -> None:
        signal_to(self.process, signal.SIGKILL)  # it may have ended
        self.cluster.close()


BLOWS: tuple[Callable[[ClusterChaos], None], ...] = (
    ClusterChaos.raylet_killed,
    ClusterChaos.supervisor_killed,
    ClusterChaos.actor_of_the_node_killed,
    ClusterChaos.anchor_killed,
    ClusterChaos.exchanger_killed,
    ClusterChaos.worker_of_the_node_killed,
    ClusterChaos.exchanger_of_the_head_killed,
    ClusterChaos.node_frozen_and_thawed,
    ClusterChaos.head_killed_and_resumed,
    ClusterChaos.head_stopped_and_resumed,
)

EXPECTED = {"anchors": 1, "actors": 1, "supervisors": 1, "children of the node": 2, "all children": 5}
"""All children: the head has an evaluator, which writes checkpoints, an exchanger and a worker."""


def census() -> dict[str, int]:
    """What there is of a run, on all nodes."""
    supervisors = named(SUPERVISOR)
    everybody = of_ours()
    apart = (SUPERVISOR, KEEPER, ANCHOR)
    return {
        "anchors": len(named(ANCHOR)),
        "actors": len(named(KEEPER)),
        "supervisors": len(supervisors),
        "children of the node": sum(len(children(s)) for s in supervisors),
        "all children": sum(not any(w in " ".join(command_of(p)) for w in apart) for p in everybody),
    }


def traces() -> set[str]:
    """Of runs that have ended: folders of nodes that nobody uses, and shared memory."""
    folders = [folder for folder in Path(tempfile.gettempdir()).glob("a3c-node-*") if not lock_holder(folder)]
    return {*map(str, folders), *(name for name in os.listdir("/dev/shm") if name.startswith("torch_"))}


def kill_one(found: list[psutil.Process]) -> None:
    """The first; it may be down just now."""
    for process in found[:1]:
        signal_to(process, signal.SIGKILL)


def run_chaos(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """All rounds, in `folder`; returns the report."""
    chaos, began = ClusterChaos(folder, random.Random(seed)), time.monotonic()
    try:
        chaos.check(chaos.await_training(), f"it does not begin: {chaos.words()}")
        for number in range(rounds):
            chaos.round()
            print(f"round {number + 1}: {json.dumps(chaos.rounds[-1])}", flush=True)
        chaos.finish()
    finally:
        chaos.close()
    blows = Counter(blow for record in chaos.rounds for blow in record["blows"])
    return {
        "machine": machine(),
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "verdict": "broken" if chaos.broken else "all promises kept",
        "broken": chaos.broken,
        "rounds": len(chaos.rounds),
        "steps_at_the_end": chaos.watch.last["steps"],
        "games_noted": len(chaos.games),
        "slowest_recovery_s": max(record["well_after_s"] for record in chaos.rounds),
        "blows": dict(sorted(blows.items())),
        "log": chaos.rounds,
    }
