"""What averaging the weights is worth: plays a run's checkpoints with their average and with the weights.

    python -m benchmarks.averaging RUN... --from 300k --every 3

RUN was trained with --average-updates, and keeps its checkpoints (--keep-checkpoints 1000). Of those from
`--from` steps on every so many-th plays `--games` whole games (fixed seeds, sampled actions), once with each.
Writes benchmarks/results/averaging.json.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from a3c.settings.values import parse_count
from a3c.storage.checkpoint import entries
from a3c.stores.shared import WEIGHTS
from a3c.trained.find import find_trained, rebuild
from benchmarks.common import keep, machine, table
from benchmarks.learning import FIRST_SEED, play


def scores(path: Path, games: int, averaged: bool) -> list[float]:
    """Of whole games played with a checkpoint's average, or with the weights it was made of."""
    trained = find_trained(str(path))
    agent = rebuild(trained, "", FIRST_SEED, "cpu", greedy=False)
    if not averaged:
        saved = trained.checkpoint.optimizer
        names = agent.policy.parameters.shapes
        agent.policy.parameters.load({name: saved[f"{WEIGHTS}.{name}"] for name in names})
        agent.policy.refresh()
    return play(agent, FIRST_SEED, games)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    parser.add_argument("--from", dest="first", type=parse_count, default=0, help="steps")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--games", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for run in options.runs:
        for entry in [e for e in entries(run) if e.step >= options.first][:: options.every]:
            means = {
                name: statistics.fmean(scores(entry.path, options.games, averaged))
                for name, averaged in (("average", True), ("weights", False))
            }
            rows.append({"run": run.name, "env_steps": entry.step, **means})
            print(rows[-1], flush=True)
    print(table([list(rows[0]), *(list(row.values()) for row in rows)]))
    overall = {name: statistics.fmean(row[name] for row in rows) for name in ("average", "weights")}
    better = sum(row["average"] > row["weights"] for row in rows)
    print(f"mean of all: {overall}; the average is better {better} of {len(rows)} times")
    result = {"machine": machine(), "games": options.games, "rows": rows, "mean": overall, "better": better}
    print(f"kept in {keep('averaging', result)}")


if __name__ == "__main__":
    main()
