"""Pictures: pixel for pixel what the plain way gives."""

from __future__ import annotations

import math
import platform
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode, roms
from hypothesis import given
from hypothesis import strategies as st

from a3c.envs import screen
from a3c.envs.screen import CROPS, DEFAULT_CROP, NTSC_GRAY, Camera

GAMES = [game for game in roms.get_all_rom_ids() if game not in ("combat", "joust", "maze_craze", "warlords")]
SOME_GAMES = ["breakout", "carnival", "enduro", "freeway", "ms_pacman", "pacman", "pooyan", "video_pinball"]


@contextmanager
def compiled_or_not(compiled: bool) -> Iterator[None]:
    """Cameras that are made inside use screen.c where they can, or not."""
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(screen, "_fits", lambda *shape: False)
        elif not screen.COMPILED:
            pytest.skip("a3c/envs/screen.c was not compiled with this installation")
        yield


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


@pytest.mark.parametrize("compiled", [False, True])
@given(
    height=st.sampled_from([210, 214, 220, 230]),
    size=st.sampled_from([16, 42, 64, 80, 84, 96, 160, 200, 256]),
    rows=st.sampled_from([slice(0, 210), slice(*DEFAULT_CROP), *(slice(*c) for c in CROPS.values())]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pictures_of_any_screens_are_those_of_one_plain_resize(
    compiled: bool, height: int, size: int, rows: slice, seed: int
) -> None:
    random = np.random.default_rng(seed)
    emulator: Any = Screens(height)
    with compiled_or_not(compiled):
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


@pytest.mark.parametrize(
    ("height", "size"), [(210, 84), (160, 80), (168, 80), (188, 80), (178, 80), (250, 84)]
)
def test_the_usual_pictures_are_made_by_the_compiled_loops(height: int, size: int) -> None:
    """Not by their stand-in, because OpenCV would round differently."""
    if not screen.COMPILED or platform.machine() != "x86_64":
        pytest.skip("not compiled here, or another OpenCV")
    assert screen._fits(height, 160, size)


@pytest.mark.skipif(not screen.COMPILED, reason="not compiled")
def test_loops_of_an_older_source_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert screen._load() is not None
    monkeypatch.setattr(zlib, "crc32", lambda source: 0)
    assert screen._load() is None


def test_cameras_of_two_threads_do_not_disturb_each_other() -> None:
    wrong: list[str] = []

    def take_pictures(colour: int) -> None:
        emulator: Any = Screens(210)
        camera, picture = Camera(emulator, slice(0, 210), 84), np.zeros((84, 84), np.uint8)
        for i in range(200):
            emulator.colours[:] = colour + 2 * (i % 2)
            camera.expose(False)
            camera.expose(True)
            camera.develop(picture)
            if (picture != NTSC_GRAY[emulator.colours[0, 0]]).any():
                wrong.append(threading.current_thread().name)

    threads = [threading.Thread(target=take_pictures, args=(colour,)) for colour in (40, 120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


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


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("game", SOME_GAMES)
def test_pictures_of_games_are_those_of_the_emulators_own_gray_screens(game: str, compiled: bool) -> None:
    with compiled_or_not(compiled):
        _check_game(game, steps=100)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_pictures_of_every_game(game: str) -> None:
    _check_game(game, steps=500)
