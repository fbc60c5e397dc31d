"""Films: of any picture that can be shown, and of nothing else; a game is never the worse for it."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from a3c.settings.groups import EnvConfig
from evaluators.games.episodes import finish, play
from evaluators.process.clip import Clip
from evaluators.showing.film import Film, filming
from tests.evaluators.fakes import CountingPolicy, Idle, scripted


class Painted(gymnasium.Env):
    """Five steps of reward 1; draws what `drawings` says of each, and raises what is an exception."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = spaces.Box(-1, 1, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, drawings=()):
        self.render_mode, self.drawings, self.step_number = render_mode, drawings, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.step_number += 1
        return np.zeros(4, np.float32), 1.0, self.step_number == 5, False, {}

    def render(self):
        drawn = self.drawings[min(self.step_number, len(self.drawings)) - 1]
        if isinstance(drawn, Exception):
            raise drawn
        return drawn


class Undrawn(Painted):
    """Has no picture at all."""

    metadata = {"render.modes": ["human"]}  # noqa: RUF012 (as before 2022)


gymnasium.register("Painted-v0", Painted)
gymnasium.register("Undrawn-v0", Undrawn)

BYTES = np.full((40, 60, 3), 128, np.uint8)


class Pictures(list):
    add = list.append


def film_of(*drawings, env="Painted-v0", **limit):
    pictures, warnings = Pictures(), []
    film = Film(pictures, warnings.append, **limit)
    games = finish(film.play(Idle(), EnvConfig(env=env, env_kwargs={"drawings": drawings}), (1, 2)))
    assert games.scores == [5.0, 5.0]
    return pictures, warnings


@pytest.mark.parametrize(
    ("drawing", "shape"),
    [
        (BYTES, (40, 60, 3)),
        (np.full((10, 10, 3), 0.5), (10, 10, 3)),  # as MinAtar draws
        (np.full((10, 10, 3), 128.0, np.float32), (10, 10, 3)),
        (np.full((40, 60), 128, np.uint8), (40, 60, 3)),
        (np.full((40, 60, 1), 128, np.int64), (40, 60, 3)),
        (np.full((40, 60, 4), 128, np.uint8), (40, 60, 3)),
        (np.full((3, 40, 60), 128, np.uint8), (40, 60, 3)),
        ([BYTES * 0, BYTES], (40, 60, 3)),
        (BYTES.tolist(), (40, 60, 3)),
    ],
    ids=["bytes", "unit floats", "floats", "grey", "grey ints", "alpha", "first", "a list", "lists"],
)
def test_what_can_be_shown_is_shown(drawing, shape):
    pictures, warnings = film_of(drawing)
    assert warnings == []
    assert [(p.shape, p.dtype) for p in pictures] == [(shape, np.uint8)] * 5
    assert all(np.abs(picture.astype(int) - 128).max() <= 1 for picture in pictures)


@pytest.mark.parametrize(
    ("drawing", "words"),
    [
        (None, "NoneType .* is no picture"),
        ([], "list .* is no picture"),
        ("picture", "str .* is no picture"),
        (np.zeros((40, 60, 2)), r"ndarray \[40, 60, 2\] of float64 is no picture"),
        (np.zeros((0, 60, 3), np.uint8), "is no picture"),
        ([np.zeros(3), np.zeros(2)], "inhomogeneous"),
        (NotImplementedError(), "NotImplementedError"),
        (OSError("no\nGL"), "no GL"),
    ],
    ids=["None", "empty", "text", "two channels", "no rows", "ragged", "silent error", "lines"],
)
def test_what_is_no_picture_costs_the_picture_and_one_line(drawing, words):
    pictures, warnings = film_of(drawing)
    assert pictures == []
    (warning,) = warnings
    assert "\n" not in warning
    assert warning.startswith("no pictures: Painted-v0 cannot be drawn: ")
    assert re.search(words, warning)


def test_an_environment_without_pictures_is_played_without_them():
    pictures, (warning,) = film_of(env="Undrawn-v0")
    assert pictures == []
    assert "it has no render mode rgb_array" in warning


def test_pictures_of_changing_size_become_as_large_as_the_first():
    pictures, warnings = film_of(BYTES, BYTES[:20, :20])
    assert warnings == []
    assert [picture.shape for picture in pictures] == [(40, 60, 3)] * 5


def test_a_film_ends_where_its_pictures_do():
    pictures, (warning,) = film_of(BYTES, BYTES, RuntimeError("enough"))
    assert len(pictures) == 2
    assert warning == "no more pictures: Painted-v0 cannot be drawn: enough"


def test_the_first_of_the_games_is_filmed_up_to_the_limit():
    envs, _ = scripted(4, 9)
    pictures = Pictures()
    finish(Film(pictures, pytest.fail).shoot(play(CountingPolicy(), envs, (0, 1))))
    assert [int(p[0, 0, 0]) for p in pictures] == [1, 2, 3, 4]
    assert len(film_of(BYTES, limit=3)[0]) == 3


def test_a_clip_takes_what_a_film_gives():
    clip = Clip(fps=10)
    game = EnvConfig(env="Painted-v0", env_kwargs={"drawings": (np.full((700, 1, 3), 0.5),)})
    finish(Film(clip, pytest.fail).play(Idle(), game, (1,)))
    assert (len(clip), clip.encode()[1]) == (5, (175, 1))


def test_a_film_that_cannot_be_written_costs_the_film(tmp_path):
    envs, _ = scripted(9)
    warnings = []
    with filming(tmp_path / "gone" / "x.mp4", 15, warnings.append) as film:
        games = finish(film.shoot(play(CountingPolicy(), envs, (0,))))
    assert games.lengths == [9]
    assert len(warnings) == 1
    assert "cannot write" in warnings[0]


def test_a_film_that_is_broken_off_leaves_nothing(tmp_path):
    envs, _ = scripted(9)
    broken_off = filming(tmp_path / "x.mp4", 15, pytest.fail)
    film = broken_off.__enter__()
    next(film.shoot(play(CountingPolicy(), envs, (0,))))
    assert broken_off.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) in (None, False)
    assert list(tmp_path.iterdir()) == []
