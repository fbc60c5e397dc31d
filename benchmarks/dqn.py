"""Steps per second of DQN on Atari, against Stable-Baselines3's at equal settings.

    pip install -e .[bench] -c constraints.txt
    python -m benchmarks.dqn                         # about three minutes; let nothing else run
    python -m benchmarks.dqn --seconds 10 --rounds 1
    taskset -c 1 python -m benchmarks.dqn --workers 1 --name dqn-one-core

In every round, one after the other, so that a change of the machine's speed hits all alike:

- sb3: Stable-Baselines3's DQN as it comes: one environment, torch's own choice of threads;
- sb3-8: the same with 8 environments side by side;
- ours: `run.py` with 2 workers and 16 environments each, as in the preset.

What both sides learn from each step is the same, and printed: the network, the batch, an update for every
4 steps. Prints medians and quotients, and writes benchmarks/results/dqn.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.common import keep, machine, run_training, spread, table

ENV = "PongNoFrameskip-v4"
STEPS_PER_UPDATE = 4
EQUAL = {
    "env": ENV,
    "observation": "4 frames of 84x84, one step is 4 frames of the emulator",
    "network": "Nature: 32@8x8 s4, 64@4x4 s2, 64@3x3 s1, 512",
    "batch": 32,
    "steps per update": STEPS_PER_UPDATE,
    "replay": 20_000,
    "target update every": 10_000,
    "double, dueling, priorities": "none",
    "gamma": 0.99,
    "epsilon": 0.1,
    "optimizer": "Adam, lr 1e-4, gradient norm at most 10",
}
OURS = ["--env", ENV, "--algo", "dqn", "--preset", "atari-dqn", "--replay-size", "20000",
        "--learning-starts", "1000", "--batch-size", "32", "--target-update", "10000", "--no-double",
        "--no-amsgrad", "--epsilon-start", "0.1", "--epsilon-final", "0.1", "--epsilon-spread",
        "0"]  # fmt: skip


def stable_baselines(environments: int, seconds: float, warm_up_s: float) -> float:
    """Steps per second of Stable-Baselines3 while it learns."""
    import ale_py
    import gymnasium
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    class Clock(BaseCallback):
        """Ends the training when the time is over; the rate is that of the time after the warm-up."""

        begun: tuple[int, float] | None = None
        rate = 0.0

        def _on_step(self) -> bool:
            now = time.perf_counter()
            if self.model._n_updates == 0:
                self.first = now
            elif self.begun is None and now > self.first + warm_up_s:
                self.begun = self.num_timesteps, now
            elif self.begun is not None and now > self.begun[1] + seconds:
                self.rate = (self.num_timesteps - self.begun[0]) / (now - self.begun[1])
            return not self.rate

    gymnasium.register_envs(ale_py)
    clock = Clock()
    DQN(
        "CnnPolicy",
        VecFrameStack(make_atari_env(ENV, n_envs=environments, seed=1), 4),
        learning_rate=1e-4,
        buffer_size=20_000,
        learning_starts=1000,
        batch_size=32,
        train_freq=STEPS_PER_UPDATE,
        gradient_steps=environments,  # it counts steps of all environments together as one
        target_update_interval=10_000,
        exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
        device="cpu",
        seed=1,
    ).learn(10**9, callback=clock)
    return clock.rate


def apart(function: Callable[..., float], *args: Any) -> float:
    """Calls a function in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def measure(flags: list[str], rounds: int, seconds: float, warm_up_s: float) -> dict[str, list[float]]:
    """Steps per second of each side, round by round."""
    sides: dict[str, Callable[[], float]] = {
        "sb3": lambda: apart(stable_baselines, 1, seconds, warm_up_s),
        "sb3-8": lambda: apart(stable_baselines, 8, seconds, warm_up_s),
        "ours": lambda: run_training(flags, seconds, warm_up_s)["steps_per_second"],
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
            print(f"{name}: {found[name][-1]:,.1f} steps/s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2, help="of ours")
    parser.add_argument("--name", default="dqn", help="of the file in benchmarks/results")
    options = parser.parse_args()
    where, flags = machine(), [*OURS, "--workers", str(options.workers)]
    print(table([["equal on both sides", ""], *EQUAL.items()]))
    print("ours: run.py", *flags)
    found = measure(flags, options.rounds, options.seconds, options.warm_up)
    medians = {name: spread(rates)["median"] for name, rates in found.items()}
    quotients = {f"ours / {name}": medians["ours"] / medians[name] for name in ("sb3", "sb3-8")}
    print(table([["side", "median", "min", "max"], *([n, *spread(v).values()] for n, v in found.items())]))
    print(table([["quotient", ""], *quotients.items()]))
    result = {"machine": where, "equal": EQUAL, "ours": " ".join(flags), "seconds": options.seconds,
              "measured": found, "quotients": quotients}  # fmt: skip
    print(f"kept in {keep(options.name, result)}")


if __name__ == "__main__":
    main()
