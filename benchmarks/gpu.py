"""All there is to measure on a machine with a GPU, within eight minutes: `make gpu`.

    python -m benchmarks.gpu                          # GPU 0 and all usable cores
    python -m benchmarks.gpu --device cpu --quick     # the same script in small, without a GPU
    python -m benchmarks.gpu --parts stages training

It needs neither an installation nor a network: PyTorch, what trains, and pytest for its tests.

- compiled: the loops in C, built in place where the package was not installed;
- tests: those marked `gpu`;
- emulators: the bare emulator, on one core and on all at once;
- training: steps per second of `a3c-lstm` and `a3c-small`, without and with a daemon of NVIDIA's MPS that is
  started for it, where it is installed, and as time allows with fewer workers; how much of the bare
  emulator's rate environments have meanwhile; the GPU's use and memory;
- pong: a training until 30 whole games, sampled actions, have a mean of 18, and 30 others too;
- stages: where a step of an environment goes (benchmarks.stages), alone and beside the network;
- breakout: as pong, to 400, with all the time that is left.

A training ends when its recent games return a little more than the score, or its time is up. Then its last
checkpoint plays and, if it reaches the score, others, by bisection, for the first that does: on all cores.

Each part has a time limit, so that all of them are over in `--minutes`. What fails, or is not done in time,
is said and keeps what it had. Prints a table at last, and after each part writes gpu.json to
benchmarks/results/, or to `--out`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import psutil
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
WINDOW_S, WARM_UP_S = 6.0, 3.0
"""How long a training's steps are counted, and how long it goes on before that."""


class Goal(NamedTuple):
    """A training to a score."""

    score: float
    flags: Sequence[str]


GOALS = {
    "pong": Goal(18.0, ("--preset", "pong-fast", "--max-steps", "1.2M")),
    "breakout": Goal(400.0, ("--preset", "breakout-fast", "--max-steps", "4M", "--envs-per-worker", "16")),
}
LIMITS = {
    "compiled": 25.0, "tests": 60.0, "emulators": 20.0, "training": 110.0, "pong": 100.0, "stages": 25.0,
    "breakout": 345.0,
}  # fmt: skip
"""By part, in this order, how many seconds it may take. The last one gets what the others leave of all."""
AFTER_S = 12.0
"""For what comes after the parts: the end of MPS's daemon, and the table."""
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


def tests(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    paths = [p for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    # Another version of a package may warn of what is to come; that is nothing to fail for here.
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default", "-m", "gpu", *map(str, paths)]
    if options.quick:
        command += ["--collect-only"]
    elif importlib.util.find_spec("xdist"):
        command += ["-n", str(min(4, options.workers))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip() or last
        if line.startswith(("FAILED", "ERROR")):
            findings.add(line.strip()[:200], False)
    findings.add("summary", last)
    sys.exit(process.wait())


def at_once(cores: int) -> ProcessPoolExecutor:
    """Processes of which none begins before all are there."""
    context = get_context("spawn")
    return ProcessPoolExecutor(cores, context, context.Barrier(cores).wait)


def emulators(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    each = 0.5 if options.quick else 2.0
    findings.add("1 cores", emulator_rate(each))
    with at_once(options.workers) as pool:
        findings.add(f"{options.workers} cores", sum(pool.map(emulator_rate, [each] * options.workers)))


def training(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    until, longest = time.monotonic() + seconds, 0.0
    n, some = options.workers, max(1, options.workers // 4)
    pipes = os.environ.get(MPS_PIPES, "")
    points = [("a3c-lstm", n, True), ("a3c-lstm", n, False), ("a3c-small", n, True), ("a3c-small", n, False),
              ("a3c-lstm", 1, False), ("a3c-lstm", some, True), ("a3c-lstm", some, False)]  # fmt: skip
    for model, workers, mps in points[:: 2 if options.quick else 1]:
        began = time.monotonic()
        if (mps and not pipes) or began + longest > until:
            continue
        flags = ["--env", ENV, "--preset", "none", "--model", model, "--workers", str(workers)]
        flags += ["--envs-per-worker", str(options.envs), *on_device(options)]
        environ = {**os.environ, PIPES: pipes} if mps else None
        window = (2.0, 1.0) if options.quick else (WINDOW_S, WARM_UP_S)
        name = f"{model}, {workers} x {options.envs}{', MPS' * mps}"
        try:
            findings.add(name, {"workers": workers, **run_training(flags, *window, environ)})
        except Exception as error:  # the others may do better
            findings.add(name, f"failed: {error}")
        longest = max(longest, time.monotonic() - began)


def stages_(options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    until, longest = time.monotonic() + seconds, 0.0
    size = 4 if options.quick else options.envs
    for model in ("a3c-lstm", "a3c-small"):
        beside = partial(stages.beside_network, model, options.device, size=size, rollouts=2, rounds=3)
        alone = partial(stages.measure, model, size=size, steps=8 if options.quick else 32, rounds=3)
        for name, measure in ((f"{model} beside", beside), (f"{model}, 1 core", alone)):
            began = time.monotonic()
            if began + longest < until:
                findings.add(name, measure())
                longest = max(longest, time.monotonic() - began)


def learning(name: str, options: argparse.Namespace, findings: Findings, seconds: float) -> None:
    """Trains until recent games return a little more than the score, or the time is up; then plays games."""
    began, goal = time.monotonic(), GOALS[name]
    wanted, games = (-100.0, 2) if options.quick else (goal.score, 30)
    until = began + seconds - JUDGING_S
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
        with suppress(subprocess.TimeoutExpired):
            process.wait(JUDGING_S / 4)
        process.kill()  # its checkpoints are there all the same
        findings.add("exit code of the training", process.wait())
        rows = [row for row in metrics(run_dir) if row["kind"] == "train"]
        curve = [[r["wall_s"], r["env_steps"], r["mean_return"], r["steps_per_second"]] for r in rows]
        findings.add("curve", curve)
        with ProcessPoolExecutor(options.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            judge(run_dir, wanted, games, findings, pool, began + seconds)


def judge(
    run_dir: Path, wanted: float, games: int, findings: Findings, pool: ProcessPoolExecutor, until: float
) -> None:
    """Finds an early checkpoint whose games, and others, have the wanted mean: first from the last one back
    for any that does, then by bisection."""
    if not (saved := entries(run_dir)) or not metrics(run_dir):
        raise RuntimeError("the training made no step in its time")
    first = hopeful(metrics(run_dir), wanted, 3.0)
    hopes = [e for e in saved[:-1] if e.step >= first] + [saved[-1]]
    points: list[dict[str, Any]] = []
    low, good, tried, longest = 0, len(hopes), len(hopes) - 1, 0.0
    while low < good and tried >= 0:
        began = time.monotonic()
        if began + longest > until:
            findings.add("not tried", f"checkpoints from step {hopes[low].step} on, for lack of time")
            return
        entry = hopes[tried]
        scores = play(entry.path, FIRST_SEED, games, pool)
        point = {
            "env_steps": entry.step,
            "wall_s": find_trained(str(entry.path)).checkpoint.state["elapsed_s"],
            "mean": statistics.fmean(scores),
            "std": statistics.pstdev(scores),
        }
        if point["mean"] >= wanted:
            point["recheck_mean"] = statistics.fmean(play(entry.path, OTHER_SEED, games, pool))
        findings.add("checkpoints", points := [*points, point])
        if point.get("recheck_mean", float("-inf")) >= wanted:
            good = tried
            findings.add("reached", point)
        elif good < len(hopes):
            low = tried + 1
        tried = (low + good) // 2 if good < len(hopes) else tried - 1
        longest = max(longest, time.monotonic() - began)
    if good == len(hopes):
        findings.add("reached", None)


def play(path: Path, first_seed: int, games: int, pool: ProcessPoolExecutor) -> list[float]:
    """Scores of whole games, a few on each core: a game is the same whatever is played beside it."""
    each = -(-games // usable_cores())
    starts = range(first_seed, first_seed + games, each)
    counts = [min(each, first_seed + games - start) for start in starts]
    return [s for scores in pool.map(score, [path] * len(starts), starts, counts) for s in scores]


PARTS: dict[str, Callable[[argparse.Namespace, Findings, float], None]] = {
    "compiled": compiled, "tests": tests, "emulators": emulators, "training": training,
    "pong": partial(learning, "pong"), "stages": stages_, "breakout": partial(learning, "breakout"),
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
            elif part in ("training", "tests") and name not in ("state", "seconds"):
                yield ["", name, value]
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
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10)
        return done.stdout.strip()
    return ""


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
    del where["compiled_pooling"], where["compiled_screens"]  # they are yet to be compiled
    if options.device != "cpu":
        where["gpu"] = gpu_name()
    result: dict[str, Any] = {"machine": where, "parts": {}}

    def save(parts: Mapping[str, Any]) -> None:
        result["parts"] = dict(parts)
        keep("gpu", result)

    command = [sys.executable, "-m", "benchmarks.gpu", *given, "--part"]
    with own_daemon() as (pipes, trouble), tempfile.TemporaryDirectory(prefix="mps-") as nothing:
        result["mps"] = trouble or "runs for the parts that name it"
        environ = {**os.environ, "PYTHONPATH": search_path(), PIPES: nothing, MPS_PIPES: pipes}
        limits = {name: limit * (PATIENCE if options.quick else 1) for name, limit in LIMITS.items()}
        parts = [Part(name, limits[name], [*command, name]) for name in limits if name in options.parts]
        left = 60 * options.minutes - running_s() - AFTER_S
        found = run_parts(parts, left, save, environ)
    print(table([["part", "what", "figure"], ["MPS", result["mps"], ""], *rows(result)]))
    print(f"kept in {keep('gpu', result)}")
    return 0 if all(part["state"] == DONE for part in found.values()) else 1


def search_path() -> str:
    """The repository, and where the packages may be that this process was told of."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def running_s() -> float:
    """Since this process began."""
    return time.time() - psutil.Process().create_time()


if __name__ == "__main__":
    sys.exit(main())
