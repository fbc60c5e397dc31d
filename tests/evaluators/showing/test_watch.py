"""Games before somebody's eyes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from a3c.envs import make_env, resolve_env
from a3c.settings.config import resolve
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec
from evaluators.games.episodes import finish, play_seeds
from evaluators.showing.film import Film, picture_rate
from evaluators.showing.stage import BOARD_RATE
from evaluators.showing.watch import watch
from tests.evaluators.fakes import Idle

ROOT = Path(__file__).parents[3]

SHOW = """
import sys, pygame
from evaluators.showing.game_window import GameWindow
from a3c.envs import make_environment
from a3c.settings.groups import EnvConfig
with GameWindow() as window:
    for game in range(2):
        env = make_environment(EnvConfig(env="CartPole-v1"), 1, render_mode="rgb_array")
        env.reset()
        for _ in range(3):
            window.show("game", env.render(), "q quits")
            assert window.next_button(0.01) == ""
        size, driver = pygame.display.get_window_size(), pygame.display.get_driver()
        assert (size, driver) == ((600, 400), "x11"), (size, driver)
        env.close()  # takes all of pygame with it
"""


class Viewer:
    """A display whose viewer has enough after `patience` pictures."""

    def __init__(self, patience=10**6):
        self.patience, self.seen, self.waited = patience, [], 0.0

    def show(self, status, game, keys):
        self.seen.append((status, game, keys))

    def next_button(self, timeout_s):
        self.waited += timeout_s or 0.0
        return "quit" if len(self.seen) >= self.patience else ""

    def held(self):
        return set()


@pytest.fixture
def pole():
    return resolve_env(resolve({"env": "CartPole-v1", "preset": "none"})).env


def test_every_step_is_shown_and_filmed_and_the_game_is_the_one_that_is_scored(pole):
    viewer, filmed = Viewer(), []

    class Pictures:
        def add(self, picture):
            filmed.append(picture)

    seen = [*watch(Idle(), pole, (7, 8), viewer, fps=1e6, film=Film(Pictures(), pytest.fail))]
    scored = finish(play_seeds(Idle(), lambda seeds: make_env(pole, seeds, training=False), (7, 8)))
    assert [game.scores[0] for game in seen] == scored.scores
    assert [game.seeds for game in seen] == [(7,), (8,)]
    assert len(viewer.seen) == len(filmed) == sum(scored.lengths)
    for (_, shown, _), picture in zip(viewer.seen, filmed, strict=True):
        np.testing.assert_array_equal(shown, picture)
    status, _, keys = viewer.seen[0]
    assert status == "CartPole-v1   game 1   score 1   step 1"
    assert keys == "the agent plays, q quits"
    assert viewer.seen[-1][2] == "game over: press a key, q quits"


def test_who_has_seen_enough_ends_the_game(pole):
    viewer = Viewer(patience=5)
    assert [*watch(Idle(), pole, (7, 8), viewer, fps=1e6)] == []
    assert len(viewer.seen) == 5


def test_boards_are_letters_where_letters_can_be_shown(monkeypatch):
    monkeypatch.setattr("evaluators.showing.stage.time", SimpleNamespace(monotonic=lambda: 5.0))
    board = EnvConfig(env="FrozenLake-v1")
    viewer = Viewer(patience=1)
    assert [*watch(Idle(), board, (1,), viewer, text=True)] == []
    assert "FFFH" in viewer.seen[0][1]
    assert viewer.waited == 1 / BOARD_RATE


@pytest.mark.parametrize(
    ("frame_rate", "frame_skip", "fps"),
    [(60, (4, 4), 15), (60, (2, 4), 20), (60, (1, 1), 60), (50, (1, 1), 50)],
)
def test_games_are_shown_at_their_own_speed(frame_rate, frame_skip, fps):
    spec = EnvSpec("X-v0", (4,), "float32", 2, frame_rate=frame_rate, frame_skip=frame_skip)
    assert picture_rate(spec) == fps


@pytest.fixture
def display(monkeypatch):
    """A display without a screen."""
    if not shutil.which("Xvfb"):
        pytest.skip("there is no Xvfb here")
    readable, writable = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[writable], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writable)
    with open(readable) as number:
        monkeypatch.setenv("DISPLAY", f":{number.readline().strip()}")
    yield
    server.terminate()
    server.wait(300)


def test_a_window_stays_while_games_that_use_pygame_come_and_go(display, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
