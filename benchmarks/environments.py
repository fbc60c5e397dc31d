"""Steps per second of the Atari pipeline on one core, beside the bare emulator and others' pipelines.

    python -m benchmarks.environments                # about three minutes; let nothing else run
    python -m benchmarks.environments --games Pong --rounds 3 --steps 50

All play the same game by the same rules (no sticky actions, 4 frames a step, no no-op starts, no FIRE
help) with the same random actions, in batches of the same size, pinned to one core. In every round they
take turns, beginning with another one each time, so that a change of the machine's speed hits all alike:

- emulator: 4 frames a step, nothing looked at;
- ours 1x80x80 (cropped, as a3c-lstm sees it) and ours 4x84x84 (whole screen, stacked);
- gymnasium: AtariPreprocessing, 84x84, not even stacked;
- ale-py: AtariVectorEnv with one thread, 4x84x84;
- envpool: one thread, 4x84x84, where it is installed.

Prints medians over the rounds and the quotient to the emulator of the same round, and writes
benchmarks/results/environments.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
from ale_py import ALEInterface, AtariVectorEnv, roms

from a3c.envs import make_env, resolve_env
from a3c.settings.config import Config
from benchmarks.common import keep, machine, spread, table

FRAMES = 4
Step = Callable[[np.ndarray], Any]  # takes actions [B]


def bare_emulator(game: str, size: int, seed: int) -> tuple[Step, int]:
    """Nothing but frames: the bound of what any pipeline can do. With it, the number of actions."""
    emulators = []
    for i in range(size):
        emulator = ALEInterface()
        emulator.setInt("random_seed", seed + i)
        emulator.setFloat("repeat_action_probability", 0.0)
        emulator.loadROM(roms.get_rom_path(_rom(game)))
        emulator.reset_game()
        emulators.append(emulator)
    codes = emulators[0].getMinimalActionSet()

    def step(actions: np.ndarray) -> None:
        for emulator, action in zip(emulators, actions.tolist(), strict=True):
            if emulator.game_over():
                emulator.reset_game()
                continue
            for _ in range(FRAMES):
                emulator.act(codes[action])

    return step, len(codes)


def ours(game: str, size: int, seed: int, model: str) -> Step:
    config = Config().replace(env=f"{game}NoFrameskip-v4", model=model, protocol="machado")
    envs = make_env(resolve_env(config).env, range(seed, seed + size), training=True)
    envs.reset()
    return envs.step


def gymnasiums(game: str, size: int, seed: int) -> Step:
    environments = []
    for i in range(size):
        env = gymnasium.make(f"{game}NoFrameskip-v4", disable_env_checker=True)
        env = gymnasium.wrappers.AtariPreprocessing(env, noop_max=0, frame_skip=FRAMES)
        env.reset(seed=seed + i)
        environments.append(env)

    def step(actions: np.ndarray) -> None:
        for env, action in zip(environments, actions, strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return step


def ale_pys(game: str, size: int, seed: int) -> Step:
    envs = AtariVectorEnv(
        _rom(game),
        size,
        num_threads=1,
        frameskip=FRAMES,
        noop_max=0,
        use_fire_reset=False,
        reward_clipping=False,
    )
    envs.reset(seed=seed)
    return envs.step


def envpools(game: str, size: int, seed: int) -> Step:
    import envpool

    envs = envpool.make_gymnasium(
        f"{game}-v5", num_envs=size, num_threads=1, seed=seed, frame_skip=FRAMES, noop_max=1,
        use_fire_reset=False, repeat_action_probability=0.0,
    )  # fmt: skip
    envs.reset()
    return envs.step


def _rom(game: str) -> str:
    return gymnasium.spec(f"{game}NoFrameskip-v4").kwargs["game"]


def contenders(game: str, size: int, seed: int) -> tuple[dict[str, Step], int]:
    """Everybody's step function, ready to go, by name; and the number of actions."""
    emulator, num_actions = bare_emulator(game, size, seed)
    found = {
        "emulator": emulator,
        "ours 1x80x80": ours(game, size, seed, "a3c-lstm"),
        "ours 4x84x84": ours(game, size, seed, "a3c-small"),
        "gymnasium": gymnasiums(game, size, seed),
        "ale-py": ale_pys(game, size, seed),
    }
    if importlib.util.find_spec("envpool"):
        found["envpool"] = envpools(game, size, seed)
    return found, num_actions


def measure(game: str, size: int, steps: int, rounds: int, seed: int) -> dict[str, dict[str, Any]]:
    """Steps per second in each round, by contender."""
    racers, num_actions = contenders(game, size, seed)
    names = list(racers)
    random = np.random.default_rng(seed)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):  # the first warms up
        actions = random.integers(num_actions, size=(steps, size))
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.process_time()
            for row in actions:
                racers[name](row)
            rate = steps * size / (time.process_time() - start)
            if turn >= 0:
                rates[name].append(rate)
    bound = np.array(rates["emulator"])
    return {
        name: {
            "steps_per_second": spread(values),
            "share_of_emulator": spread((np.array(values) / bound).tolist()),
            "rounds": values,
        }
        for name, values in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=["Breakout", "Pong", "Seaquest", "SpaceInvaders"])
    parser.add_argument("--envs", type=int, default=8, help="environments in the batch")
    parser.add_argument("--steps", type=int, default=250, help="steps of the batch per contender and round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    core = min(os.sched_getaffinity(0))
    where = machine()
    os.sched_setaffinity(0, {core})  # threads made from here on stay on it too
    cv2.setNumThreads(1)
    ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    results = {}
    for game in args.games:
        results[game] = measure(game, args.envs, args.steps, args.rounds, args.seed)
        rows: list[list[Any]] = [[game, "steps/s", "of the emulator's", "least", "most"]]
        for name, result in results[game].items():
            share = result["share_of_emulator"]
            rows.append(
                [name, result["steps_per_second"]["median"], share["median"], share["min"], share["max"]]
            )
        print(table(rows), flush=True)
        print()
    print("written:", keep("environments", {"settings": vars(args), "machine": where, "games": results}))


if __name__ == "__main__":
    main()
