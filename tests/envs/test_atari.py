"""Atari on the real emulator: rules, counts and pictures."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import partial
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from a3c.envs import EnvBatch, make_env, resolve_env
from a3c.envs.atari import needs_fire
from a3c.envs.atari_settings import AtariSettings
from a3c.envs.registry import find
from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.settings.groups import EnvConfig
from a3c.types import EpisodeStats, TimeStep

gymnasium.register_envs(ale_py)

NOOP = np.zeros(1, np.int64)


def settings(env: str, **values: Any) -> EnvConfig:
    """Resolved settings."""
    return resolve_env(Config().replace(env=env, **values)).env


def make(env: str, seeds: tuple[int, ...] = (1,), training: bool = False, **values: Any) -> EnvBatch:
    return make_env(settings(env, **values), seeds, training=training)


def play(envs: EnvBatch, actions: np.ndarray) -> Iterator[TimeStep]:
    """Steps through [T, B] actions, after a reset; every step's arrays are copies."""
    step = envs.reset()
    yield TimeStep(*(array.copy() for array in step))
    for action in actions:
        yield TimeStep(*(array.copy() for array in envs.step(action)))


def noop_game(envs: EnvBatch) -> tuple[list[TimeStep], EpisodeStats]:
    """One game of doing nothing."""
    steps = []
    for step in play(envs, np.zeros((2000, 1), np.int64)):
        steps.append(step)
        if step.last[0]:
            return steps, envs.pop_episodes()[0]
    pytest.fail("the game did not end")


# ---------------------------------------------------------------------------------------------------
# The same as Gymnasium


@pytest.mark.parametrize(
    ("env", "gym_kwargs", "protocol"),
    [
        ("PongNoFrameskip-v4", {}, "classic"),
        ("SpaceInvadersNoFrameskip-v4", {}, "classic"),
        ("BreakoutNoFrameskip-v4", {}, "machado"),
        ("ALE/Pong-v5", {"frameskip": 1}, "machado"),  # sticky actions too
    ],
)
def test_observations_and_rewards_are_those_of_gymnasiums_wrappers(
    env: str, gym_kwargs: dict[str, Any], protocol: str
) -> None:
    noops = 30 if protocol == "classic" else 0
    cap = 900
    theirs = gymnasium.make(env, max_num_frames_per_episode=cap, **gym_kwargs)
    theirs = FrameStackObservation(AtariPreprocessing(theirs, noop_max=noops), 4, padding_type="reset")
    ours = make(env, (7,), protocol=protocol, model="nature", env_kwargs={"max_num_frames_per_episode": cap})
    actions = np.random.default_rng(1).integers(ours.spec.num_actions, size=(500, 1))

    expected, _ = theirs.reset(seed=7)
    over, ends = False, 0
    for action, step in zip([None, *actions], play(ours, actions), strict=True):
        if action is not None and not over:
            expected, reward, terminated, truncated, _ = theirs.step(action[0])
            over = terminated or truncated
            assert (step.reward[0], step.last[0]) == (reward, over)
            assert step.discount[0] == 1 - terminated
            if over:  # their last picture is not refreshed when a game ends between two frames
                ends += 1
                continue
        elif action is not None:
            expected, _ = theirs.reset()
            over = False
            assert step.first[0]
        assert np.array_equal(step.observation[0], expected)
    assert ends
    theirs.close()


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize("env", ["Breakout-v0", "Breakout-v4", "ALE/Seaquest-v5"])
def test_screens_are_those_of_gymnasiums_environment_with_its_own_random_skips(env: str) -> None:
    theirs = gymnasium.make(env)
    theirs.reset(seed=3)
    ours = make(env, (3,), protocol="machado")
    ours.reset()
    for action in np.random.default_rng(2).integers(ours.spec.num_actions, size=(150, 1)):
        screen, reward, terminated, _, _ = theirs.step(action[0])
        step = ours.step(action)
        assert (step.reward[0], step.last[0]) == (reward, terminated)
        assert np.array_equal(ours.render(0), screen)
        if terminated:
            break
    theirs.close()


# ---------------------------------------------------------------------------------------------------
# What an id means


@pytest.mark.parametrize(
    ("env", "values", "sticky", "skips"),
    [
        ("Breakout-v0", {}, 0.25, {2, 3, 4}),
        ("Breakout-v4", {}, 0.0, {2, 3, 4}),
        ("BreakoutNoFrameskip-v0", {}, 0.25, {4}),
        ("BreakoutNoFrameskip-v4", {}, 0.0, {4}),
        ("BreakoutNoFrameskip-v4", {"frame_skip": 3}, 0.0, {3}),
        ("BreakoutNoFrameskip-v4", {"frame_skip": 1}, 0.0, {1}),
        ("ALE/Breakout-v5", {}, 0.25, {4}),
        ("ALE/Breakout-v5", {"env_kwargs": {"frameskip": 1}, "frame_skip": 2}, 0.25, {2}),
        ("ALE/Breakout-v5", {"env_kwargs": {"repeat_action_probability": 0.1}}, 0.1, {4}),
    ],
)
def test_frames_are_skipped_once_and_the_spec_says_what_was_built(
    env: str, values: dict[str, Any], sticky: float, skips: set[int]
) -> None:
    envs = make(env, protocol="machado", **values)
    envs.reset()
    frames = [envs.frames]
    for _ in range(60):
        envs.step(NOOP)
        frames.append(envs.frames)
    assert set(np.diff(frames).tolist()) == skips
    spec = envs.spec
    assert (spec.sticky, spec.frame_skip) == (sticky, (min(skips), max(skips)))
    assert (spec.frame_cap, spec.num_actions) == (108_000, 4)
    assert spec.action_meanings == ("NOOP", "FIRE", "RIGHT", "LEFT")


def test_settings_of_the_emulator_are_read_back() -> None:
    kwargs = {"full_action_space": True, "max_num_frames_per_episode": 500, "mode": 4, "difficulty": 1}
    spec = make("ALE/Breakout-v5", env_kwargs=kwargs, max_episode_steps=50).spec
    assert (spec.num_actions, spec.frame_cap, spec.step_cap) == (18, 500, 50)
    assert (spec.frame_rate, make("ALE/Pacman-v5").spec.frame_rate) == (60, 50)


@pytest.mark.parametrize(
    ("values", "shape", "view"),
    [
        ({}, (1, 80, 80), "rows 34 to 194"),
        ({"model": "a3c-small"}, (4, 84, 84), "whole screen"),
        ({"frame_size": 42, "frame_stack": 2, "crop": False}, (2, 42, 42), "whole screen"),
    ],
)
def test_observations_have_the_configured_form(
    values: dict[str, Any], shape: tuple[int, ...], view: str
) -> None:
    envs = make("Breakout-v0", (1, 2), **values)
    step = envs.reset()
    assert envs.spec.observation_shape == shape
    assert (step.observation.shape, step.observation.dtype) == ((2, *shape), np.uint8)
    assert view in envs.spec.preprocessing
    assert "sticky 0.25, frame skip 2-4 (random), protocol classic" in envs.spec.describe()


def test_the_stack_begins_full_of_the_first_picture_and_moves_by_one() -> None:
    first, second, third = play(make("PongNoFrameskip-v4", model="nature"), np.array([[2], [2]]))
    assert (first.observation[0] == first.observation[0, 0]).all()
    assert np.array_equal(second.observation[0, :-1], first.observation[0, 1:])
    assert np.array_equal(third.observation[0, :-1], second.observation[0, 1:])


# ---------------------------------------------------------------------------------------------------
# Protocols


def test_a_lost_life_is_terminal_for_learning_only_and_resets_nothing() -> None:
    steps, stats = noop_game(make("BreakoutNoFrameskip-v4", training=True))
    ends = [step for step in steps if not step.discount[0]]
    assert len(ends) == 5
    assert [bool(step.last[0]) for step in ends] == [False] * 4 + [True]
    assert [bool(step.first[0]) for step in steps] == [True] + [False] * (len(steps) - 1)
    assert not stats.truncated

    steps, stats = noop_game(make("BreakoutNoFrameskip-v4", training=False))
    assert [bool(step.last[0]) for step in steps if not step.discount[0]] == [True]


@pytest.mark.parametrize("env", ["Breakout-v0", "BreakoutNoFrameskip-v4", "ALE/Breakout-v5"])
def test_fire_gets_every_life_of_breakout_going(env: str) -> None:
    _, stats = noop_game(make(env))
    assert not stats.truncated
    assert stats.frames < 1000


def test_without_help_doing_nothing_ends_at_the_frame_cap_as_a_truncation() -> None:
    kwargs = {"max_num_frames_per_episode": 402}
    steps, stats = noop_game(make("ALE/Breakout-v5", protocol="machado", training=True, env_kwargs=kwargs))
    assert stats == EpisodeStats(0.0, length=101, frames=402, truncated=True)
    assert all(step.discount[0] for step in steps)


def test_a_limit_on_steps_truncates() -> None:
    steps, stats = noop_game(make("PongNoFrameskip-v4", protocol="machado", max_episode_steps=9))
    assert stats == EpisodeStats(0.0, length=9, frames=36, truncated=True)
    assert (steps[-1].discount[0], len(steps)) == (1, 10)


@pytest.mark.parametrize("env", ["ALE/Freeway-v5", "Tennis-v4", "MontezumaRevenge-v0", "VideoPinball-v4"])
@pytest.mark.parametrize("protocol", ["classic", "machado"])
def test_doing_nothing_ends_every_game_within_the_cap(env: str, protocol: str) -> None:
    kwargs = {"max_num_frames_per_episode": 700}
    steps, stats = noop_game(make(env, protocol=protocol, training=True, env_kwargs=kwargs))
    assert stats.frames <= 700
    assert stats.length == len(steps) - 1


@pytest.mark.parametrize(
    ("env", "needed"),
    [
        ("Breakout-v0", True),
        ("ALE/SpaceWar-v5", True),
        ("Pong-v0", False),
        ("SpaceInvaders-v0", False),
        ("MontezumaRevenge-v0", False),
        ("Qbert-v0", False),
        ("ElevatorAction-v0", False),  # stands still at first, then begins by itself
        ("ALE/VideoChess-v5", False),  # stands still whatever one does
    ],
)
def test_whether_fire_is_needed_is_found_by_trying(env: str, needed: bool) -> None:
    config = settings(env)
    assert needs_fire(AtariSettings.resolve(config, find(config).kwargs)) == needed


def test_games_begin_after_a_random_number_of_noop_frames() -> None:
    envs = make("PongNoFrameskip-v4")
    waited, before = [], 0
    for _ in range(40):
        envs.reset()
        waited.append(envs.frames - before)
        before = envs.frames
    assert len(set(waited)) > 10
    assert set(waited) <= set(range(1, 31))

    machado = make("ALE/Pong-v5", protocol="machado")
    machado.reset()
    assert machado.frames == 0


def test_scores_are_unclipped_returns_of_whole_games() -> None:
    envs = make("SeaquestNoFrameskip-v4", (5,), training=True)
    actions = np.random.default_rng(5).integers(envs.spec.num_actions, size=(2000, 1))
    rewards, frames = [], 0
    for step in play(envs, actions):
        rewards.append(step.reward[0])
        if step.last[0]:
            frames = envs.frames
            break
    (stats,) = envs.pop_episodes()
    assert stats == EpisodeStats(sum(rewards), len(rewards) - 1, frames, False)
    assert max(rewards) == 20  # a point on the screen, not +-1
    assert envs.pop_episodes() == []


# ---------------------------------------------------------------------------------------------------
# Batches


def test_the_step_after_the_last_ignores_its_action_and_begins_a_game() -> None:
    batches = [make("Breakout-v0", (4, 5), max_episode_steps=5) for _ in range(2)]
    actions = np.random.default_rng(0).integers(4, size=(14, 2))
    others = actions.copy()
    others[[5, 11]] = (others[[5, 11]] + 1) % 4
    for step, other in zip(play(batches[0], actions), play(batches[1], others), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(step, other, strict=True))
        assert not step.reward[step.first].any()
        assert step.discount[step.first].all()
    assert [e.length for e in batches[0].pop_episodes()] == [5] * 4


def test_seeds_make_games_reproducible_and_different() -> None:
    actions = np.random.default_rng(0).integers(4, size=(80, 3))
    actions[:, 1:] = actions[:, :1]
    one, two = (list(play(make("Breakout-v0", (1, 2, 1)), actions)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.observation, b.observation)
        assert np.array_equal(a.observation[0], a.observation[2])
    assert any((a.observation[0] != a.observation[1]).any() for a in one)


def test_selected_games_go_on_as_if_nothing_had_happened() -> None:
    actions = np.random.default_rng(0).integers(4, size=(60, 3))
    whole, shrinking = (make("Breakout-v0", (1, 2, 3), model="nature") for _ in range(2))
    whole.reset()
    shrinking.reset()
    for action in actions[:30]:
        whole.step(action)
        shrinking.step(action)
    part = shrinking.select(np.array([2, 0]))
    assert (part.size, part.spec) == (2, whole.spec)
    for action in actions[30:]:
        expected = whole.step(action)
        step = part.step(action[[2, 0]])
        assert np.array_equal(step.observation, expected.observation[[2, 0]])
    assert part.frames < whole.frames


def test_pictures_for_people_are_the_colour_screen() -> None:
    envs = make("Breakout-v0")
    envs.reset()
    picture = envs.render(0)
    assert (picture.shape, picture.dtype) == ((210, 160, 3), np.uint8)
    assert picture.any()
    envs.close()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mode": 3}, "--env-kwargs mode=3: no such mode; ALE/Breakout-v5 has 0, 4, 8"),
        ({"difficulty": 7}, "--env-kwargs difficulty=7: no such difficulty; ALE/Breakout-v5 has 0, 1"),
    ],
)
def test_unknown_variants_of_a_game_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("ALE/Breakout-v5", env_kwargs=kwargs)


def test_a_spawned_process_makes_environments_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    job = partial(make_env, settings("Breakout-v0"), (1,), training=True)
    child = multiprocessing.get_context("spawn").Process(target=job)
    child.start()
    child.join(300)
    assert child.exitcode == 0
    assert capfd.readouterr() == ("", "")
