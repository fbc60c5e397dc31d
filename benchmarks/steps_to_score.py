"""Steps to a score, exactly: how many a training needs until its weights play that well.

    python -m benchmarks.steps_to_score --preset cartpole-dqn --score 500 --seeds 11 12 13

For each seed: trains in this process, with the workers taking turns, and plays `--games` whole games (fixed
seeds) with the weights every `--every` steps. Unlike the evaluator of a run, which plays when it gets the
time, this does not depend on how busy the machine is. Writes steps-PRESET-WORKERS.json to
benchmarks/results/.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from a3c.agents.make import make_policy, metric_names
from a3c.envs import make_env, resolve_env
from a3c.settings.config import resolve
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training.session import Session, probe
from a3c.training.trainer import InlineLink
from a3c.training.worker import Worker, WorkerSpec, spent
from benchmarks.common import keep, machine
from evaluators.games.episodes import evaluate

FIRST_SEED = 1000


def session_of(preset: str, workers: int, seed: int) -> Session:
    """A new run in private memory."""
    config = resolve_env(resolve({"preset": preset, "workers": workers, "seed": seed}))
    env = probe(config)
    initial = make_policy(config, env, seed, "cpu", greedy=False).parameters
    memory = StoreMemory.allocate(initial.shapes, config.optim)
    memory.weights.copy_(initial.flat)
    board = Scoreboard(workers, metric_names(config.learn.algo))
    return Session(config, env, Path(), memory, board)


def score(session: Session, games: int) -> float:
    """Mean score of the weights as they are."""
    config = session.config
    policy = make_policy(config, session.env, config.run.seed, "cpu", greedy=False)
    policy.parameters.flat.copy_(session.memory.weights)
    policy.refresh()
    seeds = tuple(range(FIRST_SEED, FIRST_SEED + games))
    return statistics.fmean(evaluate(policy, make_env(config.env, seeds, training=False), seeds).scores)


def learn(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Trains to the score or to the end of the steps."""
    session = session_of(options.preset, options.workers, seed)
    workers = [Worker(WorkerSpec(session, i, 0), InlineLink()) for i in range(options.workers)]
    curve: list[tuple[int, float]] = []
    learning_s, due = 0.0, options.every
    while not spent(session) and not (curve and curve[-1][1] >= options.score):
        begun = time.process_time()
        for worker in workers:
            worker.step()
        learning_s += time.process_time() - begun
        if session.board.total("env_steps") >= due:
            due += options.every
            curve.append((session.board.total("env_steps"), score(session, options.games)))
    for worker in workers:
        worker.close()
    reached = curve[-1][0] if curve[-1][1] >= options.score else None
    return {"seed": seed, "steps": reached, "processor_s": round(learning_s, 1), "curve": curve}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--score", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=1000, help="steps between two judgements")
    parser.add_argument("--games", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    where, runs = machine(), []
    for seed in options.seeds:
        runs.append(learn(seed, options))
        best = max(mean for _, mean in runs[-1]["curve"])
        print(f"seed {seed}: {runs[-1]['steps'] or f'not reached, best {best:g}'}", flush=True)
    result = {"machine": where, "score": options.score, "games": options.games, "runs": runs}
    print(f"kept in {keep(f'steps-{options.preset}-{options.workers}', result)}")


if __name__ == "__main__":
    main()
