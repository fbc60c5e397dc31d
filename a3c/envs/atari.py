"""Atari games, played by calling the emulator directly.

Gymnasium's environment reads the colour screen after every frame, and its wrappers copy it several times.
Here the screen is read twice a step, in the console's own colours, and one small picture is made of it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import ale_py
import numpy as np
from ale_py import Action, ALEInterface, roms

from a3c.envs.atari_settings import AtariSettings
from a3c.envs.batch import Transition
from a3c.envs.screen import CROPS, DEFAULT_CROP, PAL_HEIGHT, Camera
from a3c.errors import UsageError
from a3c.types import EnvSpec

NOOP_FRAMES = 30
"""Under the classic protocol a game begins with 1 to this many frames of doing nothing (Mnih et al. 2015)."""

FIRE_FRAMES = 8
"""How long FIRE is held to set a game going; sticky actions swallow all of it once in 65,000 times."""

PROBE_FRAMES = 300
STILL, GOING = 4, 30
"""A game stands still if doing nothing for PROBE_FRAMES shows at most STILL different screens (something may
blink), and FIRE has set it going if doing nothing afterwards shows more than GOING."""


class AtariGame:
    """One Atari game behind `a3c.envs.batch.Environment`; observations are [stack, size, size] uint8.

    Protocol classic: random no-op starts; FIRE is pressed at the start and after a lost life where the
    game stands still without; while training a lost life is terminal (discount 0), though the game goes
    on. Protocol machado (Machado et al. 2018): none of these. Frames of no-ops and FIRE count as frames of
    the game and what they earn counts in its score.

    The same seed gives the same game as Gymnasium's environment, sticky actions and random skips included.

    Raises:
        UsageError: the game has no such mode or difficulty.
    """

    def __init__(self, settings: AtariSettings, seed: int, training: bool) -> None:
        self.seed = seed
        self._settings = settings
        numpy_seed, emulator_seed = np.random.SeedSequence(seed).generate_state(2)
        self._random = np.random.default_rng(int(numpy_seed))
        self._emulator = _start(settings, int(emulator_seed.astype(np.int32)))
        full = settings.full_action_space
        self._actions = self._emulator.getLegalActionSet() if full else self._emulator.getMinimalActionSet()
        self._needs_fire = settings.classic and Action.FIRE in self._actions and needs_fire(settings)
        self._life_ends = settings.classic and training
        self._lives = 0
        self._past_frames = 0
        height = self._emulator.getScreenDims()[0]
        first, bound = CROPS.get(settings.game, DEFAULT_CROP) if settings.crop else (0, height)
        rows = slice(first, min(bound, height))
        self._camera = Camera(self._emulator, rows, settings.size)
        self.observation = np.zeros((settings.stack, settings.size, settings.size), np.uint8)
        self._older = self.observation[:-1].reshape(-1)  # flat, because numpy moves that without a copy
        self._newer = self.observation[1:].reshape(-1)
        self._newest = self.observation[-1]
        self.spec = self._read_back(rows)

    def _read_back(self, rows: slice) -> EnvSpec:
        """What was really built, asked from the emulator where it knows."""
        emulator, settings = self._emulator, self._settings
        shape = self.observation.shape
        view = f"rows {rows.start} to {rows.stop}" if settings.crop else "whole screen"
        return EnvSpec(
            env_id=settings.env_id,
            observation_shape=shape,
            observation_dtype="uint8",
            num_actions=len(self._actions),
            action_meanings=tuple(action.name for action in self._actions),
            sticky=round(emulator.getFloat("repeat_action_probability"), 6),  # a 32-bit float there
            frame_skip=settings.frame_skip,
            frame_rate=50.0 if emulator.getScreenDims()[0] == PAL_HEIGHT else 60.0,
            frame_cap=emulator.getInt("max_num_frames_per_episode"),
            step_cap=settings.step_cap,
            protocol="classic" if settings.classic else "machado",
            preprocessing=f"{'x'.join(map(str, shape))} gray, {view}, maximum of the last 2 frames",
        )

    @property
    def frames(self) -> int:
        return self._past_frames + self._emulator.getEpisodeFrameNumber()

    @property
    def episode_frames(self) -> int:
        return self._emulator.getEpisodeFrameNumber()

    def reset(self) -> float:
        self._past_frames = self.frames
        self._emulator.reset_game()
        reward = 0.0
        if self._settings.classic:
            reward += self._play(Action.NOOP, int(self._random.integers(1, NOOP_FRAMES + 1)))
        if self._needs_fire:
            reward += self._play(Action.FIRE, FIRE_FRAMES)
        if self._emulator.game_over():  # before it began; no known game does, but then without ado
            self._past_frames = self.frames
            self._emulator.reset_game()
            reward = 0.0
        self._lives = self._emulator.lives()
        self._camera.expose(later=True)
        self._camera.develop(self._newest, single=True)
        self.observation[:-1] = self._newest
        return reward

    def step(self, action: int) -> Transition:
        low, high = self._settings.frame_skip
        skip = low if low == high else int(self._random.integers(low, high + 1))
        reward = self._play(self._actions[action], skip)
        life_lost = self._emulator.lives() < self._lives
        if life_lost and self._needs_fire:
            reward += self._play(Action.FIRE, FIRE_FRAMES)  # nothing happens once the game is over
        self._lives = self._emulator.lives()
        self._newest_last()
        over = self._emulator.game_over()  # by the rules or by the frame cap
        game_over = over and self._emulator.game_over(with_truncation=False)
        terminal = game_over or (life_lost and self._life_ends)
        return Transition(reward, 0.0 if terminal else 1.0, over, over and not game_over)

    def _play(self, action: Action, frames: int) -> float:
        """Holds an action for some frames and looks at the last two screens; returns the reward."""
        act = self._emulator.act
        reward = 0.0
        for _ in range(frames - 1):
            reward += act(action)
        self._camera.expose(later=False)
        reward += act(action)
        self._camera.expose(later=True)
        return reward

    def _newest_last(self) -> None:
        """Moves the stack by one picture and makes the newest."""
        self._older[:] = self._newer
        self._camera.develop(self._newest)

    def render(self) -> np.ndarray:
        return self._emulator.getScreenRGB()

    def text(self) -> str:
        """Nothing: Atari games are pictures."""
        return ""

    def details(self) -> str:
        """The lives that are left, in games that count them."""
        return f"lives {self._lives}" if self._lives else ""

    def close(self) -> None:
        """The emulator goes with this object."""


@cache
def needs_fire(settings: AtariSettings) -> bool:
    """Whether the game stands still until FIRE is pressed, as Breakout does; found out by trying it."""
    emulator = _start(replace(settings, sticky=0.0, frame_cap=100 * PROBE_FRAMES), seed=0)

    def screens_after(fire_frames: int) -> int:
        emulator.reset_game()
        for _ in range(fire_frames):
            emulator.act(Action.FIRE)
        seen = set()
        for _ in range(PROBE_FRAMES):
            emulator.act(Action.NOOP)
            seen.add(emulator.getScreen().tobytes())
        return len(seen)

    return screens_after(0) <= STILL and screens_after(FIRE_FRAMES) > GOING


def _start(settings: AtariSettings, seed: int) -> ALEInterface:
    """An emulator with the game in it, silent."""
    ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first is made, or it prints a banner
    emulator = ALEInterface()
    emulator.setInt("random_seed", seed)
    emulator.setFloat("repeat_action_probability", settings.sticky)
    emulator.setInt("max_num_frames_per_episode", settings.frame_cap)
    rom = roms.get_rom_path(settings.game)
    if rom is None:
        raise UsageError(f"--env {settings.env_id}: ale-py has no game {settings.game!r}")
    emulator.loadROM(rom)
    _set_variant(emulator, settings)
    return emulator


def _set_variant(emulator: ALEInterface, settings: AtariSettings) -> None:
    """Chooses the game's mode and difficulty; they hold from the next reset on."""
    for name, value, there, choose in (
        ("mode", settings.mode, emulator.getAvailableModes(), emulator.setMode),
        ("difficulty", settings.difficulty, emulator.getAvailableDifficulties(), emulator.setDifficulty),
    ):
        if value is None:
            continue
        if value not in there:
            has = f"{settings.env_id} has {', '.join(map(str, there))}"
            raise UsageError(f"--env-kwargs {name}={value}: no such {name}; {has}")
        choose(value)
