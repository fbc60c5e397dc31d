"""A game with a script, a policy without a network, and a run to evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from a3c.agents.make import ALGORITHMS, make_policy
from a3c.envs import resolve_env
from a3c.envs.batch import Batch, Transition
from a3c.settings.config import Config, resolve
from a3c.stores.parameters import Parameters
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training.session import Session, probe
from a3c.types import EnvSpec


class ScriptedGame:
    """A reward of 7 for every second step, a life lost every 4 steps, five lives; `length` overrides that.

    The observation is (seed, step of the game). A lost life has discount 0 and is not the end.
    """

    spec = EnvSpec("Scripted-v0", (2,), "float32", 3, frame_skip=(2, 4))

    def __init__(self, seed: int, length: int = 20, truncated: bool = False) -> None:
        self.seed, self._length, self._truncated = seed, length, truncated
        self.observation = np.array([seed, 0], np.float32)
        self.frames = self.episode_frames = self.resets = self._steps = 0
        self.closed = False

    def reset(self) -> float:
        self.resets += 1
        self._steps = self.episode_frames = 0
        self.observation[1] = 0
        return 0.0

    def step(self, action: int) -> Transition:
        self._steps += 1
        self.frames += 3
        self.episode_frames += 3
        self.observation[1] = self._steps
        over = self._steps == self._length
        life_lost = self._steps % 4 == 0
        terminal = life_lost and not (over and self._truncated)
        reward = 7.0 * (self._steps % 2)
        return Transition(reward, 0.0 if terminal else 1.0, over, over and self._truncated)

    def render(self) -> np.ndarray:
        return np.full((60, 80, 3), self._steps, np.uint8)

    def close(self) -> None:
        self.closed = True


def scripted(*lengths: int) -> tuple[Batch, list[ScriptedGame]]:
    """A batch of games that end after these numbers of steps."""
    games = [ScriptedGame(seed, length) for seed, length in enumerate(lengths)]
    return Batch.of(games), games


class CountingPolicy:
    """Its state counts each game's steps; it notes what it is shown and refuses a state that does not
    belong to the observation, as an index mistake would give."""

    def __init__(self) -> None:
        self.parameters = Parameters({})
        self.batches: list[list[int]] = []

    def refresh(self) -> None: ...

    def initial_state(self, batch: int) -> tuple[torch.Tensor, ...]:
        return (torch.full((batch, 1), -1.0),)

    def probabilities(self, observation, first, state):
        steps = torch.where(torch.from_numpy(first).unsqueeze(1), torch.zeros_like(state[0]), state[0])
        np.testing.assert_array_equal(steps[:, 0].numpy(), observation[:, 1])
        self.batches.append(observation[:, 0].astype(int).tolist())
        return np.tile([1.0, 0.0, 0.0], (len(observation), 1)), (steps + 1,)


class Idle:
    """Takes action 0 for ever."""

    def __init__(self) -> None:
        self.parameters = Parameters({})

    def refresh(self) -> None: ...

    def initial_state(self, batch: int) -> tuple[torch.Tensor, ...]:
        return ()

    def probabilities(self, observation, first, state):
        return np.ones((len(first), 1)), ()


class Told:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []
        self.warnings: list[str] = []

    def event(self, kind, payload) -> None:
        self.events.append((kind, dict(payload)))

    def warning(self, text) -> None:
        self.warnings.append(text)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def of(self, kind: str) -> list[dict]:
        return [payload for name, payload in self.events if name == kind]


def make_session(run_dir: Path, resumes: int = 0, **settings) -> Session:
    """A run without workers whose weights are fresh; CartPole unless `settings` say otherwise."""
    given = {"env": "CartPole-v1", "preset": "none", "eval_episodes": 4, **settings}
    config = resolve_env(resolve(given))
    return session_of(config, run_dir, resumes)


def session_of(config: Config, run_dir: Path, resumes: int = 0) -> Session:
    """The same for a complete config."""
    env = probe(config)
    policy = make_policy(config, env, 1, "cpu", greedy=False)
    memory = StoreMemory.allocate(policy.parameters.shapes, config.optim)
    memory.weights.copy_(policy.parameters.flat)
    board = Scoreboard(1, ALGORITHMS[config.learn.algo].metric_names)
    run_dir.mkdir(exist_ok=True)
    return Session(config, env, run_dir, memory, board, "0a1b2c3d", resumes)


def train_a_little(session: Session, steps: int = 100) -> None:
    """As if a worker had taken `steps` steps and made one update."""
    done = {"env_steps": steps, "frames": steps, "updates": 1, "lag_sum": 3, "metric_count": 1}
    found = {"episodes": 2, "return_sum": 50.0, "length_sum": 50.0, "entropy": 0.6, "grad_norm": 2.0}
    session.board.add(0, {**done, **found, "time_env": 3.0, "time_act": 1.0})
