"""Time to a score: how long a training takes until its weights play that well.

    python -m benchmarks.learning --name pong-fast --score 18 --max-time 12m -- --preset pong-fast
    python -m benchmarks.learning --name breakout --max-time 60m --seeds 1 -- --preset breakout-a3c

Trains with run.py for each seed, one after the other, without evaluations, with a checkpoint every
`--checkpoint-every`. Then plays `--games` whole, unclipped games (fixed seeds, sampled actions) with the
checkpoints, oldest first, of as many seeds at a time as there are cores. The time to the score is the wall
time since the run's start at which the first checkpoint was written whose mean reaches it, and whose mean
over as many games with other seeds does too.
Without `--score` only the last weights play. All seeds are reported, also those that did not get there.
`--enough` ends a training once its games of a whole minute returned that much on average: it saves time, and
what counts is an earlier checkpoint all the same.
Writes learning-NAME.json and .csv to benchmarks/results/. `--runs DIR` keeps the run directories,
DIR/NAME-SEED; one that is there already is not trained again, only judged.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.envs import complete_flags, make_env
from a3c.settings.config import resolve
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.storage.records import read_json_lines
from a3c.storage.run_directory import METRICS
from a3c.storage.shelf import entries
from a3c.trained.find import Rebuilt, find_trained, rebuild
from benchmarks.common import RESULTS, ROOT, keep, machine, table
from evaluators.games import episodes

FIRST_SEED, OTHER_SEED = 10_000, 20_000
RECENT_S = 60.0


class Trained(NamedTuple):
    """One seed's training, over."""

    seed: int
    run_dir: Path
    machine: dict[str, Any]  # at its beginning


def train(seed: int, runs_dir: Path, options: argparse.Namespace) -> Trained:
    """Trains to the end, unless that was done before."""
    run_dir, where = runs_dir / f"{options.name}-{seed}", machine()
    flags = ["--run-dir", str(run_dir), "--seed", str(seed), "--eval-every", "0"]
    flags += ["--max-time", options.max_time]
    flags += ["--checkpoint-every", options.checkpoint_every, "--keep-checkpoints", "1000"]
    command = [sys.executable, str(ROOT / "run.py"), *flags, *options.flags]
    if not run_dir.exists():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and recent_return(run_dir, RECENT_S) < options.enough:
            time.sleep(1)
        process.terminate()
        if code := process.wait():
            raise subprocess.CalledProcessError(code, command)
    return Trained(seed, run_dir, where)


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The whole rows of a run's metrics so far."""
    path = run_dir / METRICS
    return list(read_json_lines(path)) if path.exists() else []


def recent_return(run_dir: Path, seconds: float) -> float:
    """Mean return of the training games of the last `seconds`; -inf before there were as many."""
    games = [r for r in metrics(run_dir) if r["kind"] == "train" and r["mean_return"] is not None]
    since = games[-1]["wall_s"] - seconds if games else 0.0
    recent = [r["mean_return"] for r in games if r["wall_s"] > since]
    return statistics.fmean(recent) if since > 0 else float("-inf")


def module_id(flags: Sequence[str]) -> str:
    """The environment of run.py's flags where a module is imported for it, which none is for a checkpoint's;
    else nothing."""
    parser = Parser("run.py", "")
    add_settings(parser)
    env = resolve(complete_flags(given_settings(parser.parse(flags)))).env.env
    return env if ":" in env else ""


def score(path: Path, first_seed: int, games: int, env: str = "") -> list[float]:
    """Scores of whole games played with a checkpoint."""
    return play(rebuild(find_trained(str(path)), env, first_seed, "cpu", greedy=False), first_seed, games)


def play(agent: Rebuilt, first_seed: int, games: int) -> list[float]:
    """Scores of whole games."""
    seeds = tuple(range(first_seed, first_seed + games))
    envs = make_env(agent.config.env, seeds, training=False)
    return episodes.finish(episodes.play(agent.policy, envs, seeds)).scores


def curve(run_dir: Path, options: argparse.Namespace, hopeful_from: int) -> list[dict[str, Any]]:
    """Scores of the checkpoints, oldest first, up to the one that reaches the score for sure."""
    points = []
    for entry in [e for e in entries(run_dir) if e.step >= hopeful_from] or entries(run_dir)[-1:]:
        state = find_trained(str(entry.path)).checkpoint.state
        scores = score(entry.path, FIRST_SEED, options.games, options.env)
        point = {"env_steps": entry.step, "wall_s": state["elapsed_s"], "mean": statistics.fmean(scores),
                 "std": statistics.stdev(scores)}  # fmt: skip
        if options.score is None or point["mean"] >= options.score:
            others = score(entry.path, OTHER_SEED, options.games, options.env)
            point["recheck_mean"] = statistics.fmean(others)
        points.append(point)
        print(point, flush=True)
        if options.score is not None and point.get("recheck_mean", float("-inf")) >= options.score:
            break
    return points


def hopeful(rows: list[dict[str, Any]], score: float | None, margin: float) -> int:
    """The step from which checkpoints are worth playing: training games come within `margin` of the score."""
    goal = float("inf") if score is None else score - margin
    near = [r["env_steps"] for r in rows if r["kind"] == "train" and (r["mean_return"] or -1e9) >= goal]
    return min(near, default=rows[-1]["env_steps"])


def judge(options: argparse.Namespace, trained: Trained) -> dict[str, Any]:
    """How well one seed's checkpoints play, and how it got there."""
    run_dir, rows = trained.run_dir, metrics(trained.run_dir)
    points = curve(run_dir, options, hopeful(rows, options.score, options.margin))
    goal = float("-inf") if options.score is None else options.score
    reached = [p for p in points if p.get("recheck_mean", -1e9) >= goal]
    training = [
        {key: r[key] for key in ("env_steps", "wall_s", "mean_return", "steps_per_second")}
        for r in rows
        if r["kind"] == "train"
    ]
    return {
        "seed": trained.seed,
        "wall_s": reached[0]["wall_s"] if reached else None,
        "env_steps": reached[0]["env_steps"] if reached else None,
        "checkpoints": points,
        "training": training,
        "settings": json.loads((run_dir / "config.json").read_text())["settings"],
        "machine": trained.machine,
    }


def report(runs: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Writes the runs to benchmarks/results/ and prints a row for each."""
    result = {"score": options.score, "games": options.games, "runs": runs}
    if options.score is not None:
        times = [r["wall_s"] if r["wall_s"] is not None else float("inf") for r in runs]
        median_s = statistics.median_high(times)
        result["median_s"] = median_s if median_s < float("inf") else None
        print(f"median: {result['median_s']} s")
    rows = [[r["seed"], r["wall_s"] or "-", r["env_steps"] or "-",
             *(f"{point[key]:.1f}" if key in point else "-" for key in ("mean", "std", "recheck_mean"))]
            for r in runs for point in r["checkpoints"][-1:]]  # fmt: skip
    print(table([["seed", "seconds", "steps", "mean", "deviation", "other games"], *rows]))
    print(f"kept in {keep(f'learning-{options.name}', result)}", flush=True)
    with (RESULTS / f"learning-{options.name}.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "env_steps", "wall_s", "mean_return"])
        writer.writerows(
            [r["seed"], p["env_steps"], f"{p['wall_s']:.1f}", p["mean_return"]]
            for r in runs
            for p in r["training"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True)
    parser.add_argument("--score", type=float)
    parser.add_argument(
        "--margin", type=float, default=4.0, help="training return below the score to begin at"
    )
    parser.add_argument(
        "--enough", type=float, default=float("inf"), help="training return to end a training at"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--games", type=int, default=30)
    parser.add_argument("--max-time", default="12m")
    parser.add_argument("--checkpoint-every", default="15s")
    parser.add_argument("--runs", type=Path, help="folder to keep the run directories in")
    parser.add_argument("flags", nargs="*", help="after --: flags for run.py")
    options = parser.parse_args()
    options.env = module_id(options.flags)
    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, get_context("spawn"), torch.set_num_threads, (1,)) as pool,
    ):
        trained = [train(seed, options.runs or Path(folder), options) for seed in options.seeds]
        runs: list[dict[str, Any]] = []
        for run in pool.map(partial(judge, options), trained):
            runs.append(run)
            report(runs, options)


if __name__ == "__main__":
    main()
