"""All there is to measure on a machine with a GPU, within ten minutes.

    python -m benchmarks.gpu                      # GPU 0 and all usable cores
    python -m benchmarks.gpu --workers 8 --envs 32 --skip learning

- tests: `pytest -m gpu`;
- scaling: `A3Clstm` steps per second on the GPU against the number of workers, beside the rate of the bare
  emulator on as many cores at once;
- learning: wall time until the mean of training games passes 18 on Pong, and what Breakout scores, both with
  `a3c-lstm` on the GPU, cut off after `--minutes` each.

Writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from a3c.settings.cores import usable_cores
from benchmarks.common import ROOT, keep, machine, run_training, table
from benchmarks.scaling import counts
from benchmarks.throughput import emulator_rate

PARTS = ("tests", "scaling", "learning")
GAMES = {"PongNoFrameskip-v4": 18.0, "BreakoutNoFrameskip-v4": 400.0}


def on_gpu(workers: int, options: argparse.Namespace) -> list[str]:
    """Flags of a training on the GPU."""
    return ["--preset", "none", "--model", "a3c-lstm", "--gpu-ids", str(options.gpu),
            "--workers", str(workers), "--envs-per-worker", str(options.envs)]  # fmt: skip


def emulators(cores: int, seconds: float) -> float:
    """Steps per second of the bare emulator on `cores` cores at once."""
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(emulator_rate, [seconds] * cores))


def scaling(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of workers."""
    rows = []
    for workers in [n for n in counts() if n <= options.workers]:
        flags = ["--env", "PongNoFrameskip-v4", *on_gpu(workers, options)]
        ours, bare = run_training(flags, 12.0, 4.0), emulators(workers, 3.0)
        rows.append({"workers": workers, **ours, "emulator": bare, "share": ours["steps_per_second"] / bare})
        print(rows[-1], flush=True)
    return rows


def learning(game: str, wanted: float, options: argparse.Namespace) -> dict[str, Any]:
    """A training of some minutes: its curve, and when its games first had the wanted mean."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", f"{folder}/run", "--env", game,
                   "--eval-every", "0", "--max-time", f"{options.minutes}m", "--tau", "0.95", "--lr", "5e-4",
                   "--max-grad-norm", "0.3", *on_gpu(options.workers, options)]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "train"]
    curve = [[r["wall_s"], r["env_steps"], r["mean_return"]] for r in rows if r["mean_return"] is not None]
    reached = next((wall_s for wall_s, _, score in curve if score >= wanted), None)
    return {"game": game, "wanted": wanted, "reached_s": reached, "last": curve[-1], "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--envs", type=int, default=32, help="environments per worker")
    parser.add_argument("--minutes", type=float, default=2.5, help="of each training")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[])
    options = parser.parse_args()
    if options.gpu >= torch.cuda.device_count():
        parser.error(f"PyTorch sees no GPU {options.gpu} here; `a3c doctor` says what it sees")
    result: dict[str, Any] = {"machine": {**machine(), "gpu": torch.cuda.get_device_name(options.gpu)}}
    if "tests" not in options.skip:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
        result["tests"] = subprocess.run(command, cwd=ROOT, check=False).returncode
    if "scaling" not in options.skip:
        result["scaling"] = scaling(options)
        print(table([list(result["scaling"][0]), *(list(row.values()) for row in result["scaling"])]))
    if "learning" not in options.skip:
        result["learning"] = [learning(game, wanted, options) for game, wanted in GAMES.items()]
        for found in result["learning"]:
            print({name: found[name] for name in ("game", "wanted", "reached_s", "last")})
    print(f"kept in {keep('gpu', result)}")


if __name__ == "__main__":
    main()
