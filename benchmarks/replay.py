"""Memory and speed of the replay memory, at the size of the Atari agent's.

    python -m benchmarks.replay                      # 1,000,000 transitions: needs 7.7 GB of free memory
    python -m benchmarks.replay --capacity 20000     # a quick look

Fills the ring with frames of random noise (so that no page stays untouched), then measures the resident
memory of the process and how fast batches are drawn. Writes benchmarks/results/replay-CAPACITY.json.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import psutil

from a3c.learning.replay import Replay, ReplaySpec, check_memory, free_memory
from benchmarks.common import keep, machine, table

EPISODE = 800  # steps, about that of a game of Breakout
LIMIT_BYTES = 7.5e9


def fill(replay: Replay, rng: np.random.Generator) -> float:
    """Adds rollouts until the ring is full; returns the steps added per second."""
    spec, length = replay.spec, 20
    observations = rng.integers(256, size=(length + 1, spec.streams, *spec.shape), dtype=np.uint8)
    seconds = 0.0
    for begin in range(0, spec.rows, length):
        observations[:, :, -1, 0, 0] = rng.integers(256, size=(length + 1, spec.streams))
        firsts = np.zeros((length + 1, spec.streams), bool)
        firsts[0] = begin % EPISODE == 0
        steps = rng.integers(4, size=(length, spec.streams))
        start = time.perf_counter()
        replay.add(observations, steps, steps.astype(np.float32), steps > 0, firsts)
        seconds += time.perf_counter() - start
    return spec.rows * spec.streams / seconds


def batches_per_second(replay: Replay, batch: int, rng: np.random.Generator, seconds: float) -> float:
    """Draws batches, and sets their priorities, for that long."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        drawn = replay.sample(batch, rng)
        replay.set_priorities(drawn.slots, drawn.returns)
        count += 1
    return count / elapsed


def measure(capacity: int, batch: int, seconds: float, priority_exponent: float) -> dict[str, Any]:
    spec = ReplaySpec(
        capacity, (4, 84, 84), stack=4, streams=8, n_steps=3, priority_exponent=priority_exponent
    )
    check_memory(spec, free_memory())
    rng = np.random.default_rng(0)
    replay = Replay(spec)
    steps_per_second = fill(replay, rng)
    rate = batches_per_second(replay, batch, rng, seconds)
    return {
        "priority_exponent": priority_exponent,
        "bytes_needed": spec.bytes_needed(),
        "resident_bytes": psutil.Process().memory_info().rss,
        "steps_added_per_second": round(steps_per_second),
        "batches_per_second": round(rate),
        "transitions_per_second": round(rate * batch),
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--capacity", type=int, default=1_000_000, help="transitions [default 1000000]")
    parser.add_argument("--batch", type=int, default=32, help="transitions drawn at a time [default 32]")
    parser.add_argument("--seconds", type=float, default=10.0, help="time spent drawing [default 10]")
    args = parser.parse_args()
    where = machine()
    rows = [measure(args.capacity, args.batch, args.seconds, exponent) for exponent in (0.0, 0.6)]
    print(table([list(rows[0]), *(list(row.values()) for row in rows)]))
    report = {
        "machine": where,
        "capacity": args.capacity,
        "batch": args.batch,
        "observation": "4x84x84 uint8, one frame stored",
        "within_7.5_GB": all(row["resident_bytes"] <= LIMIT_BYTES for row in rows),
        "results": rows,
    }
    print(f"kept in {keep(f'replay-{args.capacity}', report)}")


if __name__ == "__main__":
    main()
