"""Pictures: pixel for pixel what the plain way gives."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode, roms
from hypothesis import given
from hypothesis import strategies as st

from a3c.envs.screen import CROPS, DEFAULT_CROP, NTSC_GRAY, Camera

GAMES = [game for game in roms.get_all_rom_ids() if game not in ("combat", "joust", "maze_craze", "warlords")]
SOME_GAMES = ["breakout", "carnival", "enduro", "freeway", "ms_pacman", "pacman", "pooyan", "video_pinball"]


class Screens:
    """An emulator that shows what it is told, in NTSC colours."""

    def __init__(self, height: int) -> None:
        self.colours = np.zeros((height, 160), np.uint8)

    def getScreenDims(self) -> tuple[int, int]:
        return self.colours.shape  # type: ignore[return-value]

    def getScreen(self, array: np.ndarray) -> None:
        array[:] = self.colours

    def getScreenGrayscale(self, array: np.ndarray) -> None:
        array[:] = NTSC_GRAY[self.colours]


def plain(earlier: np.ndarray, later: np.ndarray, rows: slice, size: int) -> np.ndarray:
    return cv2.resize(np.maximum(earlier, later)[rows], (size, size), interpolation=cv2.INTER_AREA)


@given(
    height=st.sampled_from([210, 214, 220, 230]),
    size=st.sampled_from([16, 42, 64, 80, 84, 96, 160, 200, 256]),
    rows=st.sampled_from([slice(0, 210), slice(*DEFAULT_CROP), *(slice(*c) for c in CROPS.values())]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pictures_of_any_screens_are_those_of_one_plain_resize(
    height: int, size: int, rows: slice, seed: int
) -> None:
    random = np.random.default_rng(seed)
    emulator: Any = Screens(height)
    camera = Camera(emulator, rows, size)
    picture = np.zeros((size, size), np.uint8)
    for _ in range(6):
        grays = []
        for later in (False, True):
            top, bottom = sorted(random.integers(0, height + 1, 2))
            emulator.colours[top:bottom] = random.integers(0, 256, (bottom - top, 160))
            camera.expose(later)
            grays.append(NTSC_GRAY[emulator.colours])
        single = bool(random.integers(2))
        camera.develop(picture, single)
        assert np.array_equal(picture, plain(grays[1] if single else grays[0], grays[1], rows, size))


@pytest.mark.parametrize("length", [160, 168, 178, 188, 194, 210, 214, 220, 230, 250])
def test_tiles_weigh_their_pixels_as_the_whole_does(length: int) -> None:
    """To the bit, or the whole would round differently here and there."""
    for size in range(16, length + 1):
        tiles = math.gcd(length, size)
        of_tile = np.kron(np.eye(tiles, dtype=np.float32), weights(length // tiles, size // tiles))
        assert np.array_equal(of_tile, weights(length, size)), size


def weights(length: int, size: int) -> np.ndarray:
    """How much each of `length` pixels counts in each of `size`: [length, size]."""
    return cv2.resize(np.eye(length, dtype=np.float32), (size, length), interpolation=cv2.INTER_AREA)


def _check_game(game: str, steps: int) -> None:
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.setInt("random_seed", 1)
    emulator.loadROM(roms.get_rom_path(game))
    emulator.reset_game()
    height = emulator.getScreenDims()[0]
    actions = emulator.getMinimalActionSet()
    random = np.random.default_rng(1)
    views = [(slice(0, height), 84), (slice(*CROPS.get(game, DEFAULT_CROP)), 80)]
    cameras = [Camera(emulator, rows, size) for rows, size in views]
    pictures = [np.zeros((size, size), np.uint8) for _, size in views]
    for _ in range(steps):
        grays = []
        for later in (False, True):
            emulator.act(actions[random.integers(len(actions))])
            grays.append(emulator.getScreenGrayscale())
            for camera in cameras:
                camera.expose(later)
        for camera, picture, (rows, size) in zip(cameras, pictures, views, strict=True):
            camera.develop(picture)
            assert np.array_equal(picture, plain(*grays, rows, size)), game
        if emulator.game_over():
            emulator.reset_game()


@pytest.mark.parametrize("game", SOME_GAMES)
def test_pictures_of_games_are_those_of_the_emulators_own_gray_screens(game: str) -> None:
    _check_game(game, steps=150)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_pictures_of_every_game(game: str) -> None:
    _check_game(game, steps=500)
