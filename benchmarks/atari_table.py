"""Atari games by one set of numbers, for docs/experiments/atari-table.md.

    python -m benchmarks.atari_table --runs DIR                 # go on; Ctrl-C stops with a checkpoint
    python -m benchmarks.atari_table --runs DIR --games Pong --seeds 1 --stop-after 8h
    python -m benchmarks.atari_table --runs DIR --seeds 1 --max-steps 2.5M    # a quarter of the time
    python -m benchmarks.atari_table --write                    # only write the page's table

Trains each game with each seed by the preset atari-fast for `--max-steps` (10M), the first seed of all games
first, in DIR/GAME-STEPS-SEED. A run that is there is gone on with, a finished one skipped, so it may take
days in parts. Then the last weights play 30 whole, unclipped games (seeds 10000 to 10029, sampled actions)
and 30 others (from 20000), by the classic protocol. Results are kept in
benchmarks/results/atari-table-STEPS.json, and the page's table, of all of them, is written after each.
`a3c plot --aggregate benchmarks/results/atari-table-10M.json` draws them as one human-normalised score.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from a3c.settings.values import parse_count, parse_duration
from a3c.storage.run_directory import STATUS
from a3c.storage.shelf import entries
from a3c.trained.find import find_trained
from benchmarks.common import RESULTS, ROOT, is_finished, keep, machine, train_on
from benchmarks.learning import FIRST_SEED, OTHER_SEED, score
from evaluators.games.atari_scores import atari_scores
from evaluators.games.stats import iqm

GAMES = ("Breakout", "Pong", "SpaceInvaders", "Qbert", "BeamRider", "MsPacman", "Seaquest")
SEEDS = (1, 2, 3)
EPISODES = 30
FULL = 10_000_000  # steps
PAGE = ROOT / "docs" / "experiments" / "atari-table.md"
BEGIN, END = "<!-- written by benchmarks.atari_table -->", "<!-- end -->"

REPORTED = {
    "SB3 zoo A2C": dict(zip(GAMES, (280, 17.3, 627, 3882, 2890, 1672, 1721), strict=True)),
    "SB3 zoo PPO": dict(zip(GAMES, (398, 21.0, 960, 15627, 3397, 1754, 1784), strict=True)),
    "CleanRL PQN": dict(zip(GAMES, (385, 20.5, 1325, None, 5753, 2299, None), strict=True)),
}
"""Scores at 10 M steps (40 M frames) as published; the page says by which protocol, as far as it is known."""


def env_of(game: str) -> str:
    """The environment that a game is trained and judged in."""
    return f"{game}NoFrameskip-v4"


def flags_of(game: str, seed: int, max_steps: int) -> list[str]:
    """The flags of run.py; how often is saved and scored changes nothing in what is learned."""
    flags = f"--preset atari-fast --env {env_of(game)} --seed {seed} --max-steps {max_steps}"
    return [*flags.split(), "--eval-every", "0", "--checkpoint-every", "5m"]


def judge(run_dir: Path, game: str, seed: int) -> dict[str, Any]:
    """How the last weights of a finished run play."""
    newest = entries(run_dir)[-1]
    scores = score(newest.path, FIRST_SEED, EPISODES)
    others = score(newest.path, OTHER_SEED, EPISODES)
    state = find_trained(str(newest.path)).checkpoint.state
    return {
        "env": env_of(game),
        "seed": seed,
        "protocol": "classic",
        "env_steps": newest.step,
        "hours": round(state["elapsed_s"] / 3600, 2),
        "mean": statistics.fmean(scores),
        "std": statistics.stdev(scores),
        "others_mean": statistics.fmean(others),
        "scores": scores,
        "other_scores": others,
        "machine": machine(),
    }


def named(max_steps: int) -> str:
    """10M or 2.5M, as in the names of files."""
    return f"{max_steps / 1e6:g}M"


def results(length: str = "*") -> list[dict[str, Any]]:
    """What was judged so far of trainings of that length, as `named` has it, or of any."""
    kept = sorted(RESULTS.glob(f"atari-table-{length}.json"))
    return [one for path in kept for one in json.loads(path.read_text())["runs"]]


def rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table: a row for each training, one for a game that has none yet, and what several games of one
    length give together."""
    lines = [["game", "seed", "steps", "mean of 30 games (deviation)", "of 30 others", "hours", *REPORTED]]
    for game in GAMES:
        reported = [_number(REPORTED[name].get(game)) for name in REPORTED]
        there = [one for one in found if one["env"] == env_of(game)]
        for one in sorted(there, key=lambda one: (one["env_steps"], one["seed"])):
            mean = f"{_number(one['mean'])} ({_number(one['std'])})"
            steps, hours = f"{one['env_steps']:,}", f"{one['hours']:g}"
            lines.append([game, str(one["seed"]), steps, mean, _number(one["others_mean"]), hours, *reported])
        if not there:
            lines.append([game, "-", "-", "not trained yet", "", "", *reported])
    games = defaultdict(set)
    for one in found:
        games[_length(one)].add(one["env"])
    lengths = sorted((length for length in games if len(games[length]) > 1), key=parse_count)
    return lines + [_together(found, length) for length in lengths]


def _length(one: dict[str, Any]) -> str:
    return named(round(one["env_steps"], -5))


def _together(found: Sequence[dict[str, Any]], length: str) -> list[str]:
    """The interquartile mean over the games trained for that long, each its seeds' mean, by all columns."""
    runs = [one for one in found if _length(one) == length]
    trained = {game: [one for one in runs if one["env"] == env_of(game)] for game in GAMES}
    games = [game for game in GAMES if trained[game]]
    ours = [
        {game: statistics.fmean(one[key] for one in trained[game]) for game in games}
        for key in ("mean", "others_mean")
    ]
    columns = [[scores[game] for game in games] for scores in (*ours, *REPORTED.values())]
    mean, others, *reported = (_iqm(games, scores) for scores in columns)
    hours = f"{sum(one['hours'] for one in runs):.3g}"
    return [f"these {len(games)}, human-normalised", "", length, mean, others, hours, *reported]


def _iqm(games: Sequence[str], scores: Sequence[float | None]) -> str:
    if None in scores:
        return "-"
    scales = [atari_scores()[game] for game in games]
    return f"{iqm(np.array([scale.normalised(one) for scale, one in zip(scales, scores, strict=True)])):.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def write_page(found: Sequence[dict[str, Any]], path: Path = PAGE) -> None:
    """Puts the table into the page, between its two marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    head, *body = rows(found)
    lines = [head, ["---"] * len(head), *body]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, help="folder of the run directories")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--max-steps", type=parse_count, default=FULL, metavar="N", help="of each training")
    parser.add_argument("--stop-after", type=parse_duration, default=float("inf"), metavar="TIME")
    parser.add_argument("--write", action="store_true", help="only write the page")
    parser.add_argument("flags", nargs="*", help="after --: more flags for run.py, such as --workers 2")
    options = parser.parse_args()
    if options.write:
        write_page(results())
        return 0
    if options.runs is None:
        parser.error("--runs DIR: name the folder of the run directories")
    torch.set_num_threads(1)
    length = named(options.max_steps)
    until = time.monotonic() + options.stop_after
    for seed in options.seeds:
        for game in options.games:
            found = results(length)
            if any((one["env"], one["seed"]) == (env_of(game), seed) for one in found):
                continue
            run_dir = options.runs / f"{game}-{length}-{seed}"
            left = until - time.monotonic()
            if left <= 0:
                return 0
            limit = ["--max-time", f"{max(left, 1):.0f}"] if left < float("inf") else []
            train_on(run_dir, [*flags_of(game, seed, options.max_steps), *limit, *options.flags])
            if not is_finished(run_dir):
                print(f"{run_dir} is not finished: {(run_dir / STATUS).name} says how far it is")
                return 1
            found.append(judge(run_dir, game, seed))
            print(f"kept in {keep(f'atari-table-{length}', {'runs': found})}", flush=True)
            write_page(results())
    return 0


if __name__ == "__main__":
    sys.exit(main())
