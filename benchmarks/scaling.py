"""Steps per second against the number of workers.

    python -m benchmarks.scaling                              # 1, 2, 4, ... up to the usable cores
    python -m benchmarks.scaling --workers 1 2 --model a3c-lstm

Each round measures every number of workers, so that a change of the machine's speed hits all alike.
Prints medians and the efficiency (rate / workers / rate of one worker), and writes
benchmarks/results/scaling-MODEL.json.
"""

from __future__ import annotations

import argparse

from a3c.settings.cores import usable_cores
from benchmarks.common import keep, machine, run_training, spread, table


def counts() -> list[int]:
    """1, 2, 4, ... and the usable cores."""
    cores = usable_cores()
    return sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=counts())
    parser.add_argument("--model", default="a3c-small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=8.0)
    parser.add_argument("flags", nargs="*", help="after --: further flags for run.py")
    options = parser.parse_args()
    where = machine()
    base = [
        "--env",
        "PongNoFrameskip-v4",
        "--preset",
        "none",
        "--model",
        options.model,
        "--envs-per-worker",
        "16",
    ]
    found: dict[int, list[dict[str, float]]] = {n: [] for n in options.workers}
    for _ in range(options.rounds):
        for n, results in found.items():
            flags = [*base, "--workers", str(n), *options.flags]
            results.append(run_training(flags, options.seconds, options.warm_up))
            print(n, results[-1], flush=True)
    rates = {n: spread([r["steps_per_second"] for r in results]) for n, results in found.items()}
    least = min(rates)
    alone = rates[least]["median"] / least
    efficiency = {n: rate["median"] / n / alone for n, rate in rates.items()}
    rows = [[n, *rates[n].values(), efficiency[n], found[n][-1]["mean_lag"]] for n in rates]
    print(table([["workers", "steps/s", "min", "max", "efficiency", "lag"], *rows]))
    result = {"machine": where, "measured": found, "efficiency": efficiency}
    print(f"kept in {keep(f'scaling-{options.model}', result)}")


if __name__ == "__main__":
    main()
