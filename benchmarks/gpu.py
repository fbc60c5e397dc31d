"""All there is to measure on a machine with a GPU, within eight minutes: `make gpu`.

    python -m benchmarks.gpu                          # GPU 0 and all usable cores
    python -m benchmarks.gpu --device cpu --quick     # the same script in small, without a GPU
    python -m benchmarks.gpu --parts stages training

It needs neither an installation nor a network: PyTorch, what trains, and pytest for its first part.

- compiled: the loops in C, built in place where the package was not installed;
- emulators: the bare emulator, on one core and on all at once;
- stages: where a step of an environment goes (benchmarks.stages), on one core and on all at once;
- tests: those marked `gpu`;
- training: steps per second of `a3c-lstm` and `a3c-small` against the number of workers, without and with a
  daemon of NVIDIA's MPS that is started for it, where it is installed; how much of the bare emulator's rate
  environments have meanwhile; the GPU's use and memory;
- pong, breakout: trainings until 30 whole games, sampled actions, have a mean of 18 and of 400, and 30 others
  too, judged by their checkpoints as in benchmarks.learning, but the last one first, and games on all cores.

Each part has a time limit. What fails, or is not done in time, is said and keeps what it had. Prints a table
at last, and after each part writes gpu.json to benchmarks/results/, or to `--out`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.envs import screen
from a3c.networks import pooling
from a3c.settings.cores import usable_cores
from a3c.storage.shelf import entries
from a3c.trained.find import find_trained
from benchmarks import common, stages
from benchmarks.common import ROOT, keep, machine, run_training, table
from benchmarks.learning import FIRST_SEED, OTHER_SEED, hopeful, metrics, recent_return, score
from benchmarks.mps import PIPES, own_daemon
from benchmarks.parts import DONE, Findings, Part, run_parts
from benchmarks.throughput import emulator_rate

MPS_PIPES = "MEASURED_MPS_PIPES"
"""Tells a part where the pipes of the daemon are that was started for it."""
ENV = "PongNoFrameskip-v4"
JUDGING_S = 40.0
"""Of a part that trains to a score, what is left for playing the games."""


class Goal(NamedTuple):
    """A training to a score."""

    score: float
    flags: Sequence[str]


GOALS = {
    "pong": Goal(18.0, ("--preset", "pong-fast", "--max-steps", "1.2M")),
    "breakout": Goal(400.0, ("--preset", "breakout-fast", "--max-steps", "4M", "--envs-per-worker", "16")),
}
LIMITS = {
    "compiled": 30.0, "emulators": 25.0, "stages": 45.0, "tests": 60.0, "training": 160.0,
    "pong": 110.0, "breakout": 300.0,
}  # fmt: skip
"""By part, in this order, how many seconds it may take; the last one has whatever is left."""
PATIENCE = 6.0
"""By so much the limits are longer where only the script itself is tried, on a machine of any speed."""


def on_device(options: argparse.Namespace) -> list[str]:
    """The flags of a training there."""
    return [] if options.device == "cpu" else ["--gpu-ids", options.device.partition(":")[2] or "0"]


# ---------------------------------------------------------------------------------------------------
# The parts


def compiled(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    if not (pooling.COMPILED and screen.COMPILED):
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        findings.add("exit code", subprocess.run(command, cwd=ROOT, check=False).returncode)
    program = "from a3c.networks.pooling import COMPILED as a; from a3c.envs.screen import COMPILED as b"
    command = [sys.executable, "-c", f"{program}; print(a, b)"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    findings.add("pooling, screens", done.stdout.strip())


def emulators(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    for cores in sorted({1, options.workers}):
        with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
            list(pool.map(emulator_rate, [0.01] * cores))  # all are there
            rates = list(pool.map(emulator_rate, [0.5 if options.quick else 3.0] * cores))
        findings.add(f"{cores} cores", sum(rates))


def stages_(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    size = 4 if options.quick else options.envs
    measure = partial(stages.measure, size=size, steps=8 if options.quick else 64, rounds=3)
    for model in ("a3c-small", "a3c-lstm"):
        findings.add(f"{model}, 1 core", measure(model))
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            together = list(pool.map(measure, [model] * options.workers))
        findings.add(f"{model}, {options.workers} cores", stages.median_of(together))
        findings.add(f"{model} beside", stages.beside_network(model, options.device, size=size, rounds=3))


def tests(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    paths = [p for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *map(str, paths)]
    command += ["--collect-only"] if options.quick else []
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    findings.add("exit code", code)
    sys.exit(code)


def training(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    n, some = options.workers, max(1, options.workers // 4)
    pipes = os.environ.get(MPS_PIPES, "")
    points = [("a3c-lstm", n, False), ("a3c-lstm", n, True), ("a3c-small", n, True), ("a3c-small", n, False),
              ("a3c-lstm", 1, False), ("a3c-lstm", some, True), ("a3c-lstm", some, False)]  # fmt: skip
    for model, workers, mps in points[:: 2 if options.quick else 1]:
        if mps and not pipes:
            continue
        flags = ["--env", ENV, "--preset", "none", "--model", model, "--workers", str(workers)]
        flags += ["--envs-per-worker", str(options.envs), *on_device(options)]
        environ = {**os.environ, PIPES: pipes} if mps else None
        window = (2.0, 1.0) if options.quick else (8.0, 4.0)
        found = run_training(flags, *window, environ)
        name = f"{model}, {workers} x {options.envs}{', MPS' * mps}"
        findings.add(name, {"workers": workers, **found})


def learning(name: str, options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    """Trains until recent games return a little more than the score, or the time is up; then plays games."""
    goal = GOALS[name]
    wanted, games = (-100.0, 2) if options.quick else (goal.score, 30)
    until = time.monotonic() + seconds - JUDGING_S
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        flags = ["--run-dir", str(run_dir), "--eval-every", "0", "--checkpoint-every", "5s", "--seed", "1"]
        flags += ["--keep-checkpoints", "1000", "--log-every", "2", "--workers", str(options.workers)]
        command = [sys.executable, str(ROOT / "run.py"), *flags, *goal.flags, *on_device(options)]
        pipes = os.environ.get(MPS_PIPES)
        environ = {**os.environ, PIPES: pipes} if pipes else None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ)
        while process.poll() is None and time.monotonic() < until:
            if recent_return(run_dir, 8.0) > wanted + 1.5 or (options.quick and metrics(run_dir)):
                break
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        findings.add("exit code of the training", process.wait(60))
        rows = [row for row in metrics(run_dir) if row["kind"] == "train"]
        curve = [[r["wall_s"], r["env_steps"], r["mean_return"], r["steps_per_second"]] for r in rows]
        findings.add("curve", curve)
        with ProcessPoolExecutor(options.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            judge(run_dir, wanted, games, findings, pool)


def judge(run_dir: Path, wanted: float, games: int, findings: Findings, pool: ProcessPoolExecutor) -> None:
    """Finds the first checkpoint whose games, and others, have the wanted mean, after looking at the last."""
    if not (saved := entries(run_dir)) or not metrics(run_dir):
        raise RuntimeError("the training made no step in its time")
    first = hopeful(metrics(run_dir), wanted, 3.0)
    *before, last = saved
    points: list[dict[str, Any]] = []
    for entry in [last, *(e for e in before if e.step >= first)]:
        scores = play(entry.path, FIRST_SEED, games, pool)
        mean = statistics.fmean(scores)
        wall_s = find_trained(str(entry.path)).checkpoint.state["elapsed_s"]
        point = {
            "env_steps": entry.step,
            "wall_s": wall_s,
            "mean": mean,
            "std": statistics.pstdev(scores),
        }
        if mean >= wanted:
            point["recheck_mean"] = statistics.fmean(play(entry.path, OTHER_SEED, games, pool))
        findings.add("checkpoints", points := [*points, point])
        reached = [p for p in points if p.get("recheck_mean", float("-inf")) >= wanted]
        findings.add("reached", min(reached, key=lambda p: p["env_steps"]) if reached else None)
        if point in reached and entry is not last:
            return


def play(path: Path, first_seed: int, games: int, pool: ProcessPoolExecutor) -> list[float]:
    """Scores of whole games, a few on each core: a game is the same whatever is played beside it."""
    each = -(-games // (os.cpu_count() or 1))
    starts = range(first_seed, first_seed + games, each)
    counts = [min(each, first_seed + games - start) for start in starts]
    return [s for scores in pool.map(score, [path] * len(starts), starts, counts) for s in scores]


PARTS: dict[str, Callable[[argparse.Namespace, Findings, float], None]] = {
    "compiled": compiled, "emulators": emulators, "stages": stages_, "tests": tests, "training": training,
    "pong": partial(learning, "pong"), "breakout": partial(learning, "breakout"),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------
# All of them


def rows(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """What was found, a line for each figure."""
    cores, bare = 1, 0.0
    for part, found in result["parts"].items():
        yield [part, found["state"], f"{found.get('seconds', 0):.0f} s"]
        for name, value in found.items():
            if part == "emulators" and name.endswith(" cores"):
                cores, bare = int(name.split()[0]), value
                yield ["", f"bare emulator, {name}", f"{value:,.0f} steps/s"]
            elif part == "stages" and "percent" in (value if isinstance(value, dict) else {}):
                yield ["", name, stages.network_in_words(value)]
            elif part == "stages" and isinstance(value, dict):
                yield ["", f"{name}, microseconds a step", stages.in_words(value)]
            elif part == "training" and isinstance(value, dict):
                yield ["", name, training_in_words(value, bare / cores)]
            elif name == "reached":
                yield ["", "reached", f"{value['wall_s']:.0f} s, {value['mean']:.1f}" if value else "no"]
            elif name == "checkpoints":
                last = value[0]
                yield [
                    "",
                    "the last weights",
                    f"{last['mean']:.1f} ({last['std']:.1f}) at {last['env_steps']:,}",
                ]


def training_in_words(found: Mapping[str, Any], bare: float) -> str:
    """Rate, lag, shares of time, the GPU; and what environments get of the bare emulator's rate on a core."""
    shares = {name.removeprefix("share_"): v for name, v in found.items() if name.startswith("share_") and v}
    words = [f"{found['steps_per_second']:,.0f} steps/s", f"lag {found['mean_lag'] or 0:.1f}",
             " ".join(f"{name} {share:.2f}" for name, share in shares.items())]  # fmt: skip
    if bare and shares.get("env"):
        rate = found["steps_per_second"] / found["workers"] / shares["env"]
        words.append(f"environments at {100 * rate / bare:.0f} % of the emulator's rate")
    if "gpu_bytes" in found:
        words.append(f"GPU {found.get('gpu_percent', 0)} %, {found['gpu_bytes'] / 2**30:.1f} GiB")
    return ", ".join(words)


def gpu_name() -> str:
    """As the driver tells it: this process opens no context."""
    if not shutil.which("nvidia-smi"):
        return ""
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0", help="or cpu")
    parser.add_argument(
        "--quick", action="store_true", help="everything, in small: only to see that it works"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="at most")
    parser.add_argument("--envs", type=int, default=32, help="environments per worker")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=common.RESULTS, help="folder of gpu.json")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "FILE", "SECONDS"), help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments()
    given = sys.argv[1:] if argv is None else list(argv)
    options = parser.parse_args(given)
    if options.quick:
        options.envs, options.workers = min(options.envs, 2), min(options.workers, 2)
    if options.part:
        name, path, seconds = options.part
        PARTS[name](options, Findings(Path(path)), float(seconds))
        return 0
    if options.device != "cpu" and not torch.cuda.device_count():
        parser.error("PyTorch sees no GPU here; `a3c doctor` says what it sees; or give --device cpu")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended, here and in MPS
    common.RESULTS = options.out
    where = machine()
    if options.device != "cpu":
        where["gpu"] = gpu_name()
    result: dict[str, Any] = {"machine": where, "parts": {}}

    def save(parts: Mapping[str, Any]) -> None:
        result["parts"] = dict(parts)
        keep("gpu", result)

    command = [sys.executable, "-m", "benchmarks.gpu", *given, "--part"]
    with own_daemon() as (pipes, trouble), tempfile.TemporaryDirectory(prefix="mps-") as nothing:
        result["mps"] = trouble or "runs for the parts that name it"
        environ = {**os.environ, "PYTHONPATH": str(ROOT), PIPES: nothing, MPS_PIPES: pipes}
        limits = {name: limit * (PATIENCE if options.quick else 1) for name, limit in LIMITS.items()}
        parts = [Part(name, limits[name], [*command, name]) for name in limits if name in options.parts]
        found = run_parts(parts, 60 * options.minutes, save, environ)
    print(table([["part", "what", "figure"], ["MPS", result["mps"], ""], *rows(result)]))
    print(f"kept in {keep('gpu', result)}")
    return 0 if all(part["state"] == DONE for part in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
