"""Games before somebody's eyes: on an X server without a screen, where there is one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from a3c.types import EnvSpec
from evaluators.games.episodes import play
from evaluators.showing.watch import no_window_because, picture_rate, watch
from tests.evaluators.fakes import CountingPolicy, scripted

ROOT = Path(__file__).parents[3]

SHOW = """
import sys, cv2, numpy as np
from evaluators.showing.watch import Window
frame = np.zeros((210, 160, 3), np.uint8)
with Window("game", fps=50) as window:
    shown = [window.show(frame) for _ in range(10)]
    cv2.destroyWindow("game")  # as its close button does
    shown.append(window._is_open())
sys.exit(0 if shown == [True] * 10 + [False] else str(shown))
"""


class Viewer:
    """Has enough after `patience` pictures."""

    def __init__(self, patience=10**6):
        self.patience, self.frames = patience, []

    def show(self, frame):
        self.frames.append(int(frame[0, 0, 0]))
        return len(self.frames) < self.patience

    def __enter__(self):
        return self

    def __exit__(self, *exception): ...


def test_every_step_is_one_picture_on_every_screen():
    envs, _ = scripted(12)
    screens = Viewer(), Viewer()
    games = watch(play(CountingPolicy(), envs, (0,)), screens)
    assert games.lengths == [12]
    assert screens[0].frames == screens[1].frames == list(range(1, 13))


def test_a_closed_screen_ends_the_game():
    envs, _ = scripted(12)
    assert watch(play(CountingPolicy(), envs, (0,)), [Viewer(), Viewer(patience=5)]) is None


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
    server.wait(10)


def test_a_window_shows_pictures_until_it_is_closed(display):
    assert no_window_because() == ""
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
