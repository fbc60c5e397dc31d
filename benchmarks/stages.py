"""Where a step of an Atari environment goes, stage by stage, each measured alone on one core.

    python -m benchmarks.stages
    python -m benchmarks.stages --game Breakout --envs 32 --cold 8

The stages, each in a loop of its own:

- emulator: 4 frames, nothing looked at;
- read: the two screens of a step, from the emulator;
- compare: what a picture costs where nothing has changed;
- tiles: what it costs more on the screens of a real game, recorded before: grays and resizing;
- buffers: moving the stack of pictures, and copying it into the batch;
- python: a step of the batch with an emulator and a camera that do nothing, less the buffers;
- between: what the whole, a step of the real batch with the same actions, takes more than their sum: each
  finds the caches and the processor's forecasts as another left them.

Then, beside the network: what a step of the batch takes in a loop that acts and learns as a worker does, on
a GPU with `--device cuda:0`; how much that is of the bare emulator's rate in such a loop, and in one of its
own with warm caches. All take turns, and of each the median step counts.

Times are this thread's CPU time, in microseconds per step, the least of the rounds; in every round all take
turns. `--cold MB` reads so much memory before each step, without counting it, as a network beside a batch
does. Writes benchmarks/results/stages.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from a3c.agents.make import make_agent
from a3c.envs import EnvBatch, make_env, resolve_env, screen
from a3c.envs.batch import Batch
from a3c.networks.device import host_array
from a3c.processes.memory import keep_freed_memory
from a3c.settings.config import Config
from a3c.training.rollouts import collect
from a3c.training.timings import Timings
from a3c.training.worker import use_gpu
from a3c.types import Counters, EpisodeStats, TimeStep
from benchmarks.common import keep, machine, table
from benchmarks.environments import bare_emulator

STAGES = ("emulator", "read", "compare", "tiles", "buffers", "python", "between")
RECORDED = (2, 6)
"""Environments and steps whose screens are recorded: few, for in a real step they have just been read."""


class Loop(NamedTuple):
    """What is timed."""

    step: Callable[[int], Any]  # takes the number of the step
    environments: int  # whose step it is


class _Nothing:
    """An emulator in which nothing happens, and a camera that sees nothing."""

    def act(self, action: Any) -> float:
        return 0.0

    def lives(self) -> int:
        return 3

    def game_over(self, with_truncation: bool = True) -> bool:
        return False

    def expose(self, later: bool) -> None: ...

    def develop(self, picture: np.ndarray, single: bool = False) -> None: ...


def measure(
    model: str, game: str = "Pong", size: int = 16, steps: int = 64, rounds: int = 5, cold_mb: float = 0.0
) -> dict[str, float]:
    """Microseconds per step: of each stage, and "whole".

    Args:
        model: whose observations are made.
        game: as in {game}NoFrameskip-v4.
        size: environments of the batch.
        steps: of the batch, in each round.
        rounds: of which the least counts.
        cold_mb: read between two steps.
    """
    cv2.setNumThreads(1)
    actions = np.random.default_rng(0).integers(2, size=(steps, size))
    loops = _loops(game, model, actions)
    memory = np.zeros(int(cold_mb * 2**17))
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds + 1):  # the first warms up
        for name, loop in loops.items():
            times[name].append(_time(loop, steps, memory))
    least = {name: min(values[1:]) for name, values in times.items()}
    found = {
        "emulator": least["emulator"],
        "read": least["read"],
        "compare": least["still"],
        "tiles": least["moving"] - least["still"],
        "buffers": least["buffers"],
        "python": least["nothing"] - least["buffers"],
    }
    return {**found, "between": least["whole"] - sum(found.values()), "whole": least["whole"]}


def _time(loop: Loop, steps: int, memory: np.ndarray) -> float:
    """CPU time of a step, in microseconds."""
    spent = 0.0
    for t in range(steps):
        memory.sum()
        start = time.thread_time()
        loop.step(t)
        spent += time.thread_time() - start
    return spent / (steps * loop.environments) * 1e6


def _make(game: str, model: str, size: int) -> tuple[Any, list[Any]]:
    """A batch, and its games."""
    config = Config().replace(env=f"{game}NoFrameskip-v4", model=model, protocol="machado")
    envs = make_env(resolve_env(config).env, range(1, 1 + size), training=True)
    envs.reset()
    if not isinstance(envs, Batch):
        raise TypeError(f"{game} is no Atari game")
    return envs, [lane.env for lane in envs._lanes]


def _loops(game: str, model: str, actions: np.ndarray) -> dict[str, Loop]:
    size = actions.shape[1]
    whole, games = _make(game, model, size)
    batch = whole.step(actions[0]).observation.copy()
    cameras = [env._camera for env in games]
    idle, others = _make(game, model, size)
    for env in others:
        env._emulator = env._camera = _Nothing()
    emulator = bare_emulator(game, size, 1)[0]
    moving = _recorded(game, model)
    still = _recorded(game, model)[:1]

    def read(t: int) -> None:
        for camera in cameras:
            camera.expose(False)
            camera.expose(True)

    def buffers(t: int) -> None:
        for i, env in enumerate(others):
            env._older[:] = env._newer
            batch[i] = env.observation

    def develop(recorded: list[Any], t: int) -> None:
        for film, pair, picture in recorded[t % len(recorded)]:
            film.develop(pair, picture)

    return {
        "whole": Loop(lambda t: whole.step(actions[t]), size),
        "emulator": Loop(lambda t: emulator(actions[t]), size),
        "read": Loop(read, size),
        "still": Loop(lambda t: develop(still, t), RECORDED[0]),
        "moving": Loop(lambda t: develop(moving, t), RECORDED[0]),
        "buffers": Loop(buffers, size),
        "nothing": Loop(lambda t: idle.step(actions[t]), size),
    }


def _recorded(game: str, model: str) -> list[list[tuple[Any, np.ndarray, np.ndarray]]]:
    """The screens of real games: at each step a film, a pair and a picture by environment."""
    size, steps = RECORDED
    envs, games = _make(game, model, size)
    random, recorded = np.random.default_rng(1), []
    for step in range(100 + steps):  # no opening
        envs.step(random.integers(2, size=size))
        if step < 100:
            continue
        taken = []
        for lane, env in zip(envs._lanes, games, strict=True):
            lane.advance(0)
            pair = screen._screens.pair(env._camera._shape).copy()
            taken.append((env._camera._film, pair, np.zeros_like(env._newest)))
        recorded.append(taken)
    return recorded


class _CpuTimings(Timings):
    """This thread's CPU time of each block, in place of sums of the time of day."""

    def __init__(self) -> None:
        super().__init__()
        self.each: dict[str, list[float]] = {}

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        start = time.thread_time()
        try:
            yield
        finally:
            self.each.setdefault(phase, []).append(time.thread_time() - start)

    def take(self, steps: int) -> float:
        """Microseconds of one of `steps` in the environments, by the median block: where another process
        came between, the caches are its own for a while."""
        each = self.each.pop("env")
        return statistics.median(each) * len(each) / steps * 1e6


class _Emulators:
    """A batch whose step is that of emulators alone; it always shows the same."""

    def __init__(self, envs: EnvBatch, game: str) -> None:
        self.spec, self.size, self.frames = envs.spec, envs.size, 0
        self._envs, self._game, self._shown = envs, game, envs.reset()
        self._step, _ = bare_emulator(game, envs.size, 1)

    def reset(self) -> TimeStep:
        return self._shown

    def step(self, actions: np.ndarray) -> TimeStep:
        self._step(actions)
        return self._shown

    def show_in(self, observations: np.ndarray) -> None: ...

    def select(self, indices: Iterable[int]) -> _Emulators:
        return _Emulators(self._envs.select(indices), self._game)

    def pop_episodes(self) -> list[EpisodeStats]:
        return []


class _Worker:
    """Plays and learns as a worker does."""

    def __init__(self, envs: Any, config: Config, device: str) -> None:
        self._agent = make_agent(config, envs.spec, 0, device, 0)
        self._agent.refresh()
        self._agent.begin_rollout(Counters())
        self._timings = _CpuTimings()
        seats, length = self._agent.seats(envs.spec, envs.size), config.learn.num_steps
        zeros = partial(host_array, torch.device(device))
        self._rollouts = collect(envs, seats, length, 1.0, self._timings, zeros=zeros)

    def work(self, rollouts: int, steps: int) -> float:
        """Microseconds that a step of the environments takes meanwhile."""
        for rollout in itertools.islice(self._rollouts, rollouts):
            for lesson in self._agent.lessons(rollout):
                lesson()
            self._agent.begin_rollout(Counters())
        return self._timings.take(steps)


def beside_network(
    model: str, device: str = "cpu", game: str = "Pong", size: int = 16, rollouts: int = 4, rounds: int = 5
) -> dict[str, float]:
    """Microseconds per step, the median over the rounds: of the bare emulator alone, of the same beside a
    network that acts and learns, and of the batch there. And what the first two are of the last, in percent,
    which are rates of the batch as shares of the emulator's."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    if device != "cpu":
        use_gpu(device)
    config = resolve_env(Config().replace(env=f"{game}NoFrameskip-v4", model=model, protocol="machado"))
    envs, _ = _make(game, model, size)
    emulators, whole = (_Worker(e, config, device) for e in (_Emulators(envs, game), envs))
    emulator, _ = bare_emulator(game, size, 1)
    actions = np.random.default_rng(0).integers(2, size=(rollouts * config.learn.num_steps, size))
    found = []
    for _ in range(rounds + 1):  # the first warms up
        bare = _CpuTimings()
        for row in actions:
            with bare.time("env"):
                emulator(row)
        found.append(
            (bare.take(actions.size), *(worker.work(rollouts, actions.size) for worker in (emulators, whole)))
        )
    alone, beside, step = np.array(found[1:]).T
    return {
        "emulator": float(np.median(alone)),
        "emulator beside": float(np.median(beside)),
        "step": float(np.median(step)),
        "percent": 100 * float(np.median(alone / step)),
        "percent beside": 100 * float(np.median(beside / step)),
    }


def median_of(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each figure, over several cores."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def in_words(found: dict[str, float]) -> str:
    """On one line."""
    parts = ", ".join(f"{name} {found[name]:.0f}" for name in STAGES)
    return f"{parts}; whole {found['whole']:.0f}, {100 * found['emulator'] / found['whole']:.0f} % emulator"


def network_in_words(found: dict[str, float]) -> str:
    """The same for `beside_network`."""
    there, alone = (f"{found[name]:.0f} % of its rate" for name in ("percent beside", "percent"))
    emulator = f"the emulator there {found['emulator beside']:.0f}: {there}"
    return f"beside the network {found['step']:.0f}; {emulator}, alone {found['emulator']:.0f}: {alone}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7, help="of the stages alone")
    parser.add_argument("--device", default="cpu", help="of the network, or cuda:0")
    parser.add_argument("--cold", type=float, default=0.0, help="MB of other memory read between two steps")
    options = parser.parse_args()
    where = machine()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results = {
        model: measure(model, options.game, options.envs, options.steps, options.rounds, options.cold)
        for model in ("a3c-small", "a3c-lstm")
    }
    rows = [[name, *(result[name] for result in results.values())] for name in (*STAGES, "whole")]
    print(table([["microseconds a step", *results], *rows]))
    beside = {m: beside_network(m, options.device, options.game, options.envs) for m in results}
    for model, found in beside.items():
        print(f"{model}: {network_in_words(found)}")
    kept = {"settings": vars(options), "machine": where, "stages": results, "beside the network": beside}
    print("kept in", keep("stages", kept))


if __name__ == "__main__":
    main()
