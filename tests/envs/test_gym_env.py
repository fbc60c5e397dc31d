"""Environments of Gymnasium other than Atari."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Text

from a3c.agents.make import make_policy
from a3c.envs import EnvBatch, make_env, resolve_env
from a3c.envs.gym_env import GymEnvironment, probe, spec_of
from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.settings.groups import EnvConfig


class Odd(gymnasium.Env[Any, Any]):
    """Shows whatever it is told to, counts actions and states from elsewhere than 0, and never ends."""

    def __init__(self, space: Any = None, value: float = 0.0, render_mode: str | None = None) -> None:
        self.observation_space = space or Box(-np.inf, np.inf, (2, 3), np.float64)
        self.action_space = Discrete(3, start=-1)
        self.value = value

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self._observation(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observation(), float(action), False, False, {}

    def _observation(self) -> Any:
        if isinstance(self.observation_space, Discrete):
            return self.observation_space.start + int(self.value)
        shape = self.observation_space.shape
        values = np.full(shape, self.value) + np.arange(np.prod(shape)).reshape(shape)
        return values.astype(self.observation_space.dtype)


@pytest.fixture(autouse=True)
def odd() -> Iterator[None]:
    gymnasium.register("Odd-v0", Odd)
    yield
    del gymnasium.registry["Odd-v0"]


def make(env: str, seeds: tuple[int, ...] = (1,), render: bool = False, **values: Any) -> EnvBatch:
    config = Config().replace(env=env, **values).env
    return make_env(config, seeds, training=True, render=render)


@pytest.mark.parametrize(
    ("env", "rate"),
    [("CartPole-v1", 50), ("FrozenLake-v1", 4), ("FrozenLakeLevels-v0", 4), ("Odd-v0", 30)],
)
def test_it_is_shown_as_fast_as_its_makers_say(env: str, rate: float) -> None:
    spec = make(env).spec
    assert spec.frame_rate == rate
    assert "frame_rate" not in spec.signature()


def test_cartpole_is_a_vector_with_gymnasiums_own_limit() -> None:
    envs = make("CartPole-v1", (1, 2, 1))
    assert envs.spec.signature() == {
        "env_id": "CartPole-v1", "observation_shape": [4], "observation_dtype": "float32", "num_actions": 2,
        "action_meanings": [], "num_states": 0, "sticky": 0.0, "frame_skip": [1, 1],
        "frame_cap": 0, "step_cap": 500, "protocol": "none", "preprocessing": "",
    }  # fmt: skip
    step = envs.reset()
    assert (step.observation.shape, step.observation.dtype) == ((3, 4), np.float32)
    assert np.array_equal(step.observation[0], step.observation[2])
    assert not np.array_equal(step.observation[0], step.observation[1])


def test_a_fallen_pole_is_terminal_and_a_time_limit_is_not() -> None:
    envs = make("CartPole-v1", (1,), max_episode_steps=5)
    envs.reset()
    for _ in range(5):
        step = envs.step(np.zeros(1, np.int64))
    assert (step.last[0], step.discount[0]) == (True, 1)
    assert envs.spec.step_cap == 5
    assert envs.pop_episodes()[0] == (5.0, 5, 5, True)

    envs = make("CartPole-v1")
    envs.reset()
    while not envs.step(np.zeros(1, np.int64)).last[0]:
        pass
    assert envs.step(np.zeros(1, np.int64)).first[0]
    (stats,) = envs.pop_episodes()
    assert not stats.truncated
    assert stats.length == stats.frames == stats.episode_return == envs.frames


def test_episodes_follow_from_the_seed_and_differ() -> None:
    def observations() -> np.ndarray:
        envs = make("CartPole-v1", (5,))
        envs.reset()
        return np.stack([envs.step(np.zeros(1, np.int64)).observation.copy() for _ in range(40)])

    one, two = observations(), observations()
    assert np.array_equal(one, two)
    assert len(np.unique(one[:, 0, 2])) > 30


def test_frozen_lake_numbers_its_states() -> None:
    envs = make("FrozenLake-v1", env_kwargs={"is_slippery": False})
    spec = envs.spec
    assert (spec.observation_shape, spec.observation_dtype, spec.num_states) == ((), "int64", 16)
    assert envs.reset().observation.tolist() == [0]
    for action, state in zip([1, 1, 2, 1, 2, 2], [4, 8, 9, 13, 14, 15], strict=True):
        step = envs.step(np.array([action]))
        assert step.observation.tolist() == [state]
    assert (step.reward[0], step.discount[0], step.last[0]) == (1, 0, True)


def test_spaces_that_do_not_start_at_zero_are_shifted() -> None:
    envs = make("Odd-v0", env_kwargs={"space": Discrete(9, start=5), "value": 3})
    assert envs.reset().observation.tolist() == [3]
    assert [envs.step(np.array([action])).reward[0] for action in range(3)] == [-1, 0, 1]


@pytest.mark.parametrize(("shape", "form"), [((5, 4), (1, 5, 4)), ((5, 4, 3), (3, 5, 4))])
def test_pictures_are_channels_first(shape: tuple[int, ...], form: tuple[int, ...]) -> None:
    envs = make("Odd-v0", env_kwargs={"space": Box(0, 255, shape, np.uint8)})
    observation = envs.reset().observation
    assert (observation.shape, observation.dtype) == ((1, *form), np.uint8)
    row, column, channel = 2, 1, form[0] - 1
    assert observation[0, channel, row, column] == (row * 4 + column) * form[0] + channel


def test_other_boxes_are_flattened_and_what_is_not_a_number_is_passed_on() -> None:
    observation = make("Odd-v0", env_kwargs={"value": np.nan}).reset().observation
    assert (observation.shape, observation.dtype) == ((1, 6), np.float32)
    assert np.isnan(observation).all()


def test_pictures_for_people_are_made_only_when_announced() -> None:
    envs = make("CartPole-v1", render=True)
    envs.reset()
    assert envs.render(0).shape == (400, 600, 3)
    envs.close()
    envs = make("CartPole-v1")
    envs.reset()
    with pytest.raises(ValueError, match="was not made"):
        envs.render(0)


@pytest.mark.parametrize(("outside", "inside"), [(None, "dummy"), ("offscreen", "offscreen")])
def test_games_are_drawn_without_a_display_unless_one_is_chosen(
    outside: str | None, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER")
    if outside:
        monkeypatch.setenv("SDL_VIDEODRIVER", outside)
    make("CartPole-v1").close()
    assert os.environ["SDL_VIDEODRIVER"] == inside


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"env": "Pendulum-v1"}, "--env Pendulum-v1: its actions are Box.*; they must be Discrete"),
        ({"env": "Odd-v0", "env_kwargs": {"space": Text(5)}}, "its observations are Text.*; they must be nu"),
        ({"env": "CartPole-v1", "env_kwargs": {"wheels": 4}}, "CartPole-v1 cannot be made like.*wheels"),
        ({"env": "CartPole-v1", "model": "nature"}, "--model nature takes pictures, and CartPole-v1"),
        ({"env": "CartPole-v1", "frame_size": 84}, "--frame-size is a setting of Atari games"),
        ({"env": "FrozenLake-v1"}, "FrozenLake-v1 only numbers its states"),
        (
            {"env": "Odd-v0", "model": "mlp", "env_kwargs": {"space": Box(0, 255, (9, 9, 3), np.uint8)}},
            "--model mlp takes vectors, and Odd-v0 shows pictures: leave --model out",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve_env(Config().replace(**values))
    assert "\n" not in str(caught.value)


def test_f36_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise gymnasium.error.DependencyNotInstalled('no Box2D,\nrun `pip install "gymnasium[box2d]"`')

    monkeypatch.setattr(gymnasium, "make", broken)
    message = r'LunarLander-v3 needs a package that is missing: .* run `pip install "gymnasium\[box2d\]"`'
    with pytest.raises(UsageError, match=message):
        GymEnvironment(Config().replace(env="LunarLander-v3").env, seed=0)


def test_an_environment_that_cannot_be_drawn_is_refused_when_drawing_is_asked_for() -> None:
    with pytest.raises(UsageError, match="Odd-v0 cannot be drawn"):
        make("Odd-v0", render=True)


# ---------------------------------------------------------------------------------------------------
# Environments as people write them


class Plain(gymnasium.Env[Any, Any]):
    """Asked for no picture, it takes no argument at all; what it declares and gives is set on the class."""

    observation_space: Any = Box(-1, 1, (4,), np.float32)
    action_space = Discrete(2)
    given: Any = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.given, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.given, 1.0, False, False, {}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    gymnasium.register("Plain-v0", Plain)
    yield monkeypatch
    del gymnasium.registry["Plain-v0"]


BYTES = Box(0, 255, (6, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "given", "words"),
    [
        (Box(-1, 1, (4,), np.float32), np.zeros(1), r"is float64 \[1\]; its space is float32 \[4\]"),
        (Box(-1, 1, (4,), np.float32), 0.5, r"is float64 \[\]; its space is float32 \[4\]"),
        (Box(-1, 1, (4,), np.float32), ["a"] * 4, r"is <U1 \[4\]; its space is float32 \[4\]"),
        (Box(-1, 1, (4,), np.float32), None, r"is object \[\]; its space is float32 \[4\]"),
        (Box(-1, 1, (2, 2), np.float32), np.zeros(4), r"is float64 \[4\]; its space is float32 \[2, 2\]"),
        (BYTES, np.zeros((6, 5), np.uint8), r"is uint8 \[6, 5\]; its space is uint8 \[6, 5, 3\]"),
        (BYTES, np.zeros((3, 6, 5), np.uint8), r"is uint8 \[3, 6, 5\]; its space is uint8 \[6, 5, 3\]"),
        (BYTES, np.zeros((6, 5, 3)), r"is float64 \[6, 5, 3\]; its space is uint8 \[6, 5, 3\]"),
        (BYTES, np.full((6, 5, 3), -1), "has values from -1 to -1; its space is from 0 to 255"),
        (BYTES, np.full((6, 5, 3), 256), "has values from 256 to 256; its space is from 0 to 255"),
        (Discrete(9), 1.5, r"is float64 \[\]; its space is int64 \[\]"),
        (Discrete(9), np.array([1]), r"is int64 \[1\]; its space is int64 \[\]"),
        (Discrete(9), 9, "is 9; its space is from 0 to 8"),
        (Discrete(9, start=5), 4, "is 4; its space is from 5 to 13"),
    ],
)
def test_f51_an_observation_that_its_space_does_not_declare_is_refused(
    space: Any, given: Any, words: str, plain: pytest.MonkeyPatch
) -> None:
    plain.setattr(Plain, "observation_space", space)
    plain.setattr(Plain, "given", space.sample())
    envs = make("Plain-v0")
    envs.reset()
    plain.setattr(Plain, "given", given)
    with pytest.raises(
        UsageError, match=f"--env Plain-v0: its first reset.* ValueError: the observation {words}"
    ):
        probe(EnvConfig("Plain-v0"))
    with pytest.raises(RuntimeError, match=f"Plain-v0: step failed .* ValueError: the observation {words}"):
        envs.step(np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (Box(-1, 1, (4,), np.float32), np.arange(4)),
        (Box(-1, 1, (4,), np.float32), [0.5, 2, 0, 0]),
        (Box(-1, 1, (4,), np.float64), np.zeros(4, np.float16)),
        (BYTES, np.full((6, 5, 3), 255, np.int32)),
        (Discrete(9), np.int32(8)),
        (Discrete(9), np.array(8)),
    ],
)
def test_an_observation_may_be_of_a_like_kind(space: Any, given: Any, plain: pytest.MonkeyPatch) -> None:
    plain.setattr(Plain, "observation_space", space)
    plain.setattr(Plain, "given", given)
    probe(EnvConfig("Plain-v0"))
    observation = make("Plain-v0").reset().observation[0]
    assert np.array_equal(np.sort(observation.ravel()), np.sort(np.asarray(given, observation.dtype).ravel()))


@pytest.mark.parametrize(
    "metadata", [None, {}, {"render.modes": ["human"]}, {"render_modes": None, "render_fps": "x"}]
)
def test_what_an_environment_says_about_itself_may_be_missing_or_old(
    metadata: Any, plain: pytest.MonkeyPatch
) -> None:
    plain.setattr(Plain, "metadata", metadata)
    assert probe(EnvConfig("Plain-v0")).frame_rate == 30
    with pytest.raises(UsageError, match="Plain-v0 cannot be"):
        make("Plain-v0", render=True)


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("the licence\nhas expired")


def leaves(*_: object, **__: object) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("method", "failure", "words"),
    [
        ("__init__", fails, "cannot be made like this: RuntimeError: the licence has expired"),
        ("__init__", leaves, "cannot be made like this: SystemExit: 3"),
        ("reset", fails, "its first reset() failed: RuntimeError: the licence has expired"),
        ("close", fails, "its close() failed: RuntimeError: the licence has expired"),
    ],
)
def test_f50_an_environment_that_fails_at_once_is_one_line(
    method: str, failure: Any, words: str, plain: pytest.MonkeyPatch
) -> None:
    plain.setattr(Plain, method, failure)
    with pytest.raises(UsageError) as caught:
        resolve_env(Config().replace(env="Plain-v0"))
    assert str(caught.value).endswith(f"Plain-v0: {words}") or str(caught.value).endswith(f"Plain-v0 {words}")


@pytest.mark.parametrize("name", ["render_mode", "id", "max_episode_steps", "disable_env_checker"])
def test_arguments_that_are_gymnasiums_own_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--env-kwargs {name}: not a setting of environments"):
        probe(EnvConfig("CartPole-v1", {name: None}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("action_space", "its actions are None; they must be Discrete, .* of at most 1,000 combinations"),
        ("observation_space", "its observations are None; they must be numbers: Box, Discrete, .*"),
    ],
)
def test_spaces_must_be_there(name: str, words: str, plain: pytest.MonkeyPatch) -> None:
    plain.delattr(Plain, name)
    with pytest.raises(UsageError, match=f"^--env Plain-v0: {words}$"):
        probe(EnvConfig("Plain-v0"))


@pytest.mark.parametrize(
    ("algo", "shape", "model"),
    [
        ("a3c", (80, 80, 3), "a3c-lstm"),
        ("a3c", (84, 84), "a3c-small"),
        ("a3c", (36, 200, 3), "a3c-small"),
        ("a3c", (35, 200, 3), "minatar"),
        ("ppo", (3, 96, 96), "nature"),
        ("ppo", (5, 5, 2), "minatar"),
        ("dqn", (40, 90, 3), "nature"),
        ("dqn", (30, 30, 3), "pixels"),
        ("dqn", (10, 10, 3), "minatar"),
    ],
)
def test_the_network_is_one_that_takes_the_picture(algo: str, shape: tuple[int, ...], model: str) -> None:
    space = Box(0, 255, shape, np.uint8)
    config = resolve_env(Config().replace(env="Odd-v0", algo=algo, env_kwargs={"space": space}))
    assert config.learn.model == model
    make_policy(config, spec_of(config.env), 0, "cpu", greedy=False)


def test_a_picture_for_which_there_is_no_network_is_refused() -> None:
    kwargs = {"space": Box(0, 255, (2, 84, 2), np.uint8)}
    with pytest.raises(UsageError, match=r"no network of ppo takes its observations, \[2, 2, 84\]"):
        resolve_env(Config().replace(env="Odd-v0", algo="ppo", env_kwargs=kwargs))


def test_several_actions_at_once_are_one_of_all_combinations(plain: pytest.MonkeyPatch) -> None:
    taken = []

    def step(_: Any, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        taken.append(action.tolist())
        return Plain.given, 0.0, False, False, {}

    plain.setattr(Plain, "action_space", MultiDiscrete([2, 3], start=[1, 0]))
    plain.setattr(Plain, "step", step)
    envs = make("Plain-v0")
    assert envs.spec.num_actions == 6
    envs.reset()
    for action in (0, 5):
        envs.step(np.array([action]))
    assert taken == [[1, 0], [2, 2]]
