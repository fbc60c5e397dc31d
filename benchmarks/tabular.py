"""Tables: regret and time over seeds, and the time against the plain loop.

    python -m benchmarks.tabular                     # about ten minutes; let nothing else run
    python -m benchmarks.tabular --only taxi --seeds 1 --rounds 1
    python -m benchmarks.tabular --name tabular-relatives --rounds 0 --seeds 5 --only sarsa-cliff

For each tabular preset and seed, `run.py --preset NAME` from the command to its exit, then the exact value of
the final table and of the best one. "Best possible" may watch the clock; "best table" may not.

For the time, Taxi is also learned by the loop that courses teach, with their settings: 25,000 episodes of at
most 99 steps, learning rate .7, gamma .95, chance of a random action from 1 to .05 with decay .005, one
process, Gymnasium's own environment. Ours and the loop take turns, each in a fresh process. "With start" is
from the command to the exit, imports included; "learning" is the time in the loop, or the run's own clock.

Writes NAME.json to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from a3c.settings.config import from_dict
from a3c.storage.shelf import best_checkpoint, newest_checkpoint
from benchmarks.common import ROOT, keep, machine, spread, table
from evaluators.games.exact import Judge, transition_model
from evaluators.games.tables import find_judge

PRESETS = ("frozenlake-4x4", "frozenlake-4x4-slippery", "frozenlake-8x8", "frozenlake-8x8-slippery", "taxi")
_DRY = ["--env-kwargs", "is_slippery=false"]
RELATIVES = {
    f"{algo}-{name}": ["--algo", algo, "--env", *flags]
    for algo in ("sarsa", "monte-carlo")
    for name, flags in {
        "4x4": ["FrozenLake-v1", *_DRY],
        "8x8": ["FrozenLake8x8-v1", *_DRY],
        "cliff": ["CliffWalking-v1", "--max-episode-steps", "200"],
    }.items()
}
TASKS = {name: ["--preset", name] for name in PRESETS} | RELATIVES
ZERO = 1e-9
TAXI = "Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3"


def plain_loop(seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """The loop of the courses: the learned table and what it took."""
    env, rng = gymnasium.make(TAXI), np.random.default_rng(seed)
    q, steps, began = np.zeros((500, 6)), 0, time.perf_counter()
    for episode in range(25_000):
        epsilon = 0.05 + (1.0 - 0.05) * np.exp(-0.005 * episode)
        state, _ = env.reset(seed=seed if episode == 0 else None)
        for _ in range(99):
            greedy = rng.uniform(0, 1) > epsilon
            action = int(np.argmax(q[state])) if greedy else int(rng.integers(6))
            following, reward, terminated, truncated, _ = env.step(action)
            q[state][action] += 0.7 * (reward + 0.95 * np.max(q[following]) - q[state][action])
            state, steps = following, steps + 1
            if terminated or truncated:
                break
    return q, {"learning_s": time.perf_counter() - began, "steps": steps}


def run_plain(seed: int) -> dict[str, float]:
    """`plain_loop` in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.tabular", "--plain-loop", str(seed)]
    output = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    result: dict[str, float] = json.loads(output)
    return {**result, "with_start_s": time.perf_counter() - began - result.pop("judging_s")}


def print_plain(seed: int) -> None:
    """What the child process of `run_plain` does."""
    q, result = plain_loop(seed)
    began = time.perf_counter()
    result["regret"] = Judge(transition_model(gymnasium.make(TAXI)))(q).worst_regret
    print(json.dumps({**result, "judging_s": time.perf_counter() - began}))


def run_ours(task: str, seed: int, *flags: str) -> dict[str, Any]:
    """A training from the command line, and how good its final and its best table are."""
    with tempfile.TemporaryDirectory() as folder:
        run, began = Path(folder, "run"), time.perf_counter()
        command = [sys.executable, str(ROOT / "run.py"), *TASKS[task], "--seed", str(seed), *flags]
        subprocess.run([*command, "--run-dir", str(run)], check=True, capture_output=True)
        wall_s = time.perf_counter() - began
        status = json.loads((run / "status.json").read_text())
        final, best = newest_checkpoint(run), best_checkpoint(run)
        config = from_dict(final[1].state["config"], "checkpoint")
        judge = find_judge(config)
        scores = {
            name: judge(found[1].model["q"].numpy()) for name, found in (("final", final), ("best", best))
        }
    return {
        "seed": seed, "with_start_s": wall_s, "learning_s": status["elapsed_s"], "steps": status["steps"],
        **{f"{name}_value": score.exact_value for name, score in scores.items()},
        **{f"{name}_regret": score.worst_regret for name, score in scores.items()},
        "best_possible": scores["final"].optimal_value, "best_table": judge.best_stationary,
    }  # fmt: skip


def over_seeds(preset: str, seeds: int) -> dict[str, Any]:
    """A preset with several seeds, and in how many of them nothing better was possible."""
    runs = [run_ours(preset, seed) for seed in range(1, seeds + 1)]
    for run in runs:
        print(preset, run, flush=True)
    return {
        "zero_regret": sum(run["final_regret"] <= ZERO for run in runs),
        "final_value": spread([run["final_value"] for run in runs]),
        "with_start_s": spread([run["with_start_s"] for run in runs]),
        "runs": runs,
    }


def against_plain_loop(rounds: int) -> dict[str, Any]:
    """Taxi, both ways in turns; the quotients are of medians."""
    plain, ours, two = [], [], []
    for seed in range(1, rounds + 1):
        plain.append(run_plain(seed))
        ours.append(run_ours("taxi", seed))
        two.append(run_ours("taxi", seed, "--workers", "2"))
    result: dict[str, Any] = {"plain": plain, "ours": ours, "ours_two_workers": two}
    for key in ("learning_s", "with_start_s"):
        medians = [spread([run[key] for run in runs])["median"] for runs in (plain, ours, two)]
        names = ("plain", "ours", "ours_two_workers")
        result[key] = {**dict(zip(names, medians, strict=True)), "times_faster": medians[0] / medians[1]}
        print(key, result[key], flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with the plain loop")
    parser.add_argument("--only", choices=TASKS, action="append", help="these, instead of the presets")
    parser.add_argument("--name", default="tabular", help="of the result's file")
    parser.add_argument("--plain-loop", type=int, metavar="SEED", help="only this, in this process")
    options = parser.parse_args()
    if options.plain_loop is not None:
        print_plain(options.plain_loop)
        return
    where = machine()
    speed = against_plain_loop(options.rounds) if options.rounds else {}
    presets = {name: over_seeds(name, options.seeds) for name in options.only or PRESETS}
    rows = [("preset", "seeds", "zero regret", "worst final", "best table", "best possible", "seconds")]
    for name, found in presets.items():
        first, seconds = found["runs"][0], found["with_start_s"]["median"]
        values = found["final_value"]["min"], first["best_table"], first["best_possible"]
        rows.append((name, options.seeds, found["zero_regret"], *(f"{v:.6f}" for v in values), seconds))
    print(table(rows))
    print(keep(options.name, {"machine": where, "speed": speed, "presets": presets}))


if __name__ == "__main__":
    main()
