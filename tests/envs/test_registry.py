"""From ids to settings."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium
import pytest

from a3c.envs.registry import find, full_id, is_atari
from a3c.envs.resolve import complete_flags, resolve_env
from a3c.errors import UsageError
from a3c.settings.config import Config, EnvConfig
from a3c.settings.config import resolve as resolve_flags
from a3c.settings.values import Typed

ATARI_IDS = [env_id for env_id, registration in gymnasium.registry.items() if is_atari(registration)]


def resolve(env: str, **values: Any) -> Config:
    return resolve_env(Config().replace(env=env, **values))


def test_every_registered_atari_id_is_resolved() -> None:
    assert len(ATARI_IDS) == 352
    for env_id in ATARI_IDS:
        config = resolve(env_id)
        assert resolve_env(config) == config
        assert config.env.frame_skip == (4 if "NoFrameskip" in env_id else None)


def test_settings_left_open_suit_the_model_and_the_protocol() -> None:
    def atari(config: Config) -> tuple[Any, ...]:
        env = config.env
        return config.learn.model, env.frame_size, env.frame_stack, env.crop, env.reward_clip

    assert atari(resolve("Breakout-v0")) == ("a3c-lstm", 80, 1, True, 1.0)
    assert atari(resolve("Breakout-v0", model="a3c-small")) == ("a3c-small", 84, 4, False, 1.0)
    assert atari(resolve("ALE/Pong-v5", protocol="machado", model="nature")) == ("nature", 84, 4, False, 0.0)
    given = {"frame_size": 64, "frame_stack": 2, "crop": False, "reward_clip": 0.0}
    assert atari(resolve("Pong-v4", **given)) == ("a3c-lstm", 64, 2, False, 0.0)


def test_other_environments_keep_nothing_of_atari() -> None:
    config = resolve("CartPole-v1")
    assert config.learn.model == "mlp"
    assert config.env == EnvConfig(env="CartPole-v1", reward_clip=0.0)
    assert resolve_env(config) == config


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("Pong", "Pong-v0"),
        ("breakout", "Breakout-v0"),
        ("space-invaders", "SpaceInvaders-v0"),
        ("space_invaders", "SpaceInvaders-v0"),
        ("ale/pong", "ALE/Pong-v5"),
        ("pong-V4", "Pong-v4"),
        ("breakoutnoframeskip-v4", "BreakoutNoFrameskip-v4"),
        ("cartpole", "CartPole-v1"),
        ("lunarlander", "LunarLander-v3"),
        ("lunar lander", "LunarLander-v3"),
        ("frozenlake", "FrozenLake-v1"),
        ("taxi", "Taxi-v4"),
        ("blackjack", "Blackjack-v1"),
        ("phys2d/cartpole", "phys2d/CartPole-v1"),
    ],
)
def test_a_short_name_means_an_id_and_it_is_said_which(
    name: str, env_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert full_id(Typed(name)) == env_id
    assert caplog.messages[0].startswith(f"--env {name}: taking {env_id}")


def test_what_a_short_name_leaves_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    full_id("pong")
    others = "Pong-v4, PongNoFrameskip-v0, PongNoFrameskip-v4, ALE/Pong-v5"
    full_id("CartPole")
    assert caplog.messages == [
        f"--env pong: taking Pong-v0; others are {others}",
        "--env CartPole: taking CartPole-v1; others are CartPole-v0",
    ]


@pytest.mark.parametrize("name", [*ATARI_IDS[::20], "Taxi-v3", "m:pong", "pong-v5", "pon", "-", "", "a\x1b"])
def test_anything_else_stays_as_it_is(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert full_id(name) == name
    assert not caplog.messages


def test_a_name_that_could_be_several_is_refused() -> None:
    for env_id in ("one/Twin-v0", "two/Twin-v3"):
        gymnasium.register(env_id, "nowhere:Twin")
    try:
        with pytest.raises(UsageError, match="--env twin may be one/Twin-v0 or two/Twin-v3; name one"):
            full_id("twin")
    finally:
        for env_id in ("one/Twin-v0", "two/Twin-v3"):
            del gymnasium.registry[env_id]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Braekout-v0", "--env Braekout-v0: no such environment; did you mean Breakout-v0, Breakout-v4"),
        ("pong-v5", "did you mean .*ALE/Pong-v5"),
        ("CartPole", "did you mean CartPole-v"),
        ("PongDeterministic-v4", "no longer registered.* --env PongNoFrameskip-v4 --frame-skip 4$"),
        ("PongDeterministic-v0", "no longer registered.* --env PongNoFrameskip-v0 --frame-skip 4$"),
        ("SpaceInvadersDeterministic-v4", "--env SpaceInvadersNoFrameskip-v4 --frame-skip 3$"),
        ("NoGameDeterministic-v4", "no such environment"),
        ("Pong-ram-v0", r"memory \(-ram\) are not supported; for its pictures take --env Pong-v0$"),
        ("Pong-ramNoFrameskip-v4", "take --env PongNoFrameskip-v4$"),
        ("xyzzy", "--env xyzzy: no such environment$"),
        ("$(touch y)", r"--env '\$\(touch y\)': not an environment id"),
        ("../../x\n", "not an environment id"),
    ],
)
def test_f36_an_unknown_environment_is_refused_with_advice(env: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve(env)
    assert "\n" not in str(caught.value)


def test_an_id_may_name_the_module_that_registers_it() -> None:
    assert find(EnvConfig(Typed("ale_py:ALE/Pong-v5"))) is gymnasium.registry["ALE/Pong-v5"]


def test_a_renamed_environment_is_taken_under_its_new_name(caplog: pytest.LogCaptureFixture) -> None:
    gone = "Taxi-v3" not in gymnasium.registry
    caplog.set_level(logging.WARNING)
    for name, said in (("Taxi-v3", False), (Typed("Taxi-v3"), gone)):  # in a preset, on the command line
        with pytest.raises(UsageError, match="Taxi-v4 only numbers" if gone else "Taxi-v3 only numbers"):
            resolve(name)
        assert ("Taxi-v3 is called Taxi-v4 now" in caplog.text) == said


@pytest.mark.parametrize(
    ("values", "algo", "preset"),
    [
        ({"env": "Taxi-v3"}, "q-learning", "taxi"),
        ({"env": "Taxi-v3", "preset": "none"}, "q-learning", "none"),
        ({"env": "CartPole-v1", "preset": "none"}, "a3c", "none"),
        ({"env": "CliffWalking-v1", "initial_q": "2"}, "q-learning", "tabular"),
        ({"env": "Taxi-v3", "algo": "sarsa"}, "sarsa", "tabular"),
        ({"env": "Taxi-v3", "preset": "cartpole-ppo"}, "ppo", "cartpole-ppo"),
        ({"env": "CartPole-v1"}, "a3c", "cartpole-a3c"),
        ({"env": "Pong-v0"}, "a3c", "pong-a3c"),
        ({}, "a3c", "breakout-a3c"),
    ],
    ids=str,
)
def test_numbered_states_are_learned_by_a_table_where_nothing_else_is_asked_for(
    values: dict[str, Any], algo: str, preset: str
) -> None:
    config = resolve_flags(complete_flags(values))
    assert (config.learn.algo, config.run.preset) == (algo, preset)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"env": "Taxi-v3", "load": "newest"}, {"algo": "q-learning"}),
        ({"env": "Taxi-v3", "load": "some/run"}, {}),
        ({"env": "Taxi-v3", "load": "newest", "run_dir": "some/run"}, {}),
        ({"env": "Nothing-v0", "gamma": "x"}, {}),
        ({"env": "FrozenLake-v1", "env_kwargs": ["what"]}, {}),
    ],
    ids=str,
)
def test_the_algorithm_of_a_run_and_the_mistakes_are_left_to_others(
    values: dict[str, Any], chosen: dict[str, Any]
) -> None:
    assert complete_flags(values) == {**values, **chosen}


@pytest.mark.parametrize(
    ("env", "values", "message"),
    [
        ("Breakout-v0", {"frame_skip": 4}, "--frame-skip 4: Breakout-v0 skips 2 to 4 frames a step itself"),
        ("ALE/Pong-v5", {"frame_skip": 2}, "--frame-skip 2: ALE/Pong-v5 skips 4 frames a step itself"),
        ("Pong-v0", {"model": "mlp"}, "--model mlp takes vectors, and Pong-v0 shows pictures"),
        ("Pong-v0", {"model": "mlp-deep"}, "--model mlp-deep takes vectors, and Pong-v0 shows pictures"),
        ("Pong-v0", {"env_kwargs": {"game": "combat"}}, "--env-kwargs game: not a setting of Atari games"),
        ("Pong-v0", {"env_kwargs": {"obs_type": "ram"}}, "--env-kwargs obs_type: not a setting"),
        ("Pong-v0", {"env_kwargs": {"frameskip": 0}}, "frameskip=0: must be a number of frames"),
        ("Pong-v0", {"env_kwargs": {"frameskip": True}}, "frameskip=True: must be"),
        ("Pong-v0", {"env_kwargs": {"frameskip": [3, 3]}}, r"frameskip=\[3, 3\]: must be"),
        ("Pong-v0", {"env_kwargs": {"repeat_action_probability": 1}}, "must be from 0 to below 1"),
        ("Pong-v0", {"env_kwargs": {"max_num_frames_per_episode": 0}}, "without a cap some games never end"),
        ("Pong-v0", {"env_kwargs": {"full_action_space": 1}}, "must be true or false"),
        ("Pong-v0", {"env_kwargs": {"mode": "hard"}}, "mode=hard: must be the number of a mode"),
    ],
)
def test_contradictions_are_refused(env: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(env, **values)


def test_the_emulators_settings_are_joined_with_the_ids() -> None:
    config = resolve("ALE/Pong-v5", env_kwargs={"frameskip": 1})
    assert config.env.frame_skip == 4
    assert resolve("ALE/Pong-v5", env_kwargs={"frameskip": [2, 6]}).env.frame_skip is None
