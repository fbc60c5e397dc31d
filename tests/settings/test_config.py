"""Settings: layers, presets, checks, old spellings and the round trip through config.json."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from a3c.errors import CheckpointError, UsageError
from a3c.settings import config as c
from a3c.settings import cores
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.presets import preset_for, presets
from a3c.settings.values import Typed, parse_bool, parse_count, parse_duration, parse_key_value


def typed(*argv: str) -> dict[str, Any]:
    """The settings a command line names."""
    parser = Parser("run.py", "")
    add_settings(parser)
    return given_settings(parser.parse(argv))


def resolved(*argv: str) -> c.Config:
    return c.resolve(typed(*argv))


def mistakes_of(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolved(*argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(scalars, lambda a: st.lists(a) | st.dictionaries(st.text(), a), max_leaves=5)


class TestLayers:
    def test_defaults_then_preset_then_flags(self) -> None:
        assert c.Config().optim.lr == 1e-4
        assert resolved("--preset", "pong-fast").optim.lr == 7e-4
        assert resolved("--preset", "pong-fast", "--lr", "5e-4").optim.lr == 5e-4

    def test_no_flags_is_the_main_job(self) -> None:
        config = resolved()
        assert (config.env.env, config.learn.algo, config.learn.model) == ("Breakout-v0", "a3c", "a3c-lstm")
        assert config.run.preset == "breakout-a3c"
        assert config.optim.optimizer == "adam"
        assert config.optim.amsgrad

    def test_preset_none_gives_the_defaults(self) -> None:
        assert resolved("--preset", "none").replace(preset="") == c.Config()

    def test_a_preset_brings_its_environment_and_a_flag_replaces_it(self) -> None:
        assert resolved("--preset", "pong-fast").env.env == "PongNoFrameskip-v4"
        assert resolved("--preset", "pong-fast", "--env", "Pong-v0").env.env == "Pong-v0"

    def test_configs_are_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            c.Config().optim.lr = 1.0  # type: ignore[misc]

    def test_replace_and_get_go_by_name(self) -> None:
        config = c.Config().replace(lr=0.5, workers=3)
        assert (config.get("lr"), config.get("workers")) == (0.5, 3)


class TestPresets:
    @pytest.mark.parametrize(
        ("env", "preset"),
        [
            ("Breakout-v0", "breakout-a3c"),
            ("BreakoutNoFrameskip-v4", "breakout-a3c"),
            ("ALE/Breakout-v5", "breakout-a3c"),
            ("Pong-v4", "pong-a3c"),
            ("ALE/Pong-v5", "pong-a3c"),
            ("Qbert-v0", "atari-a3c"),
            ("QbertNoFrameskip-v4", "atari-a3c"),
            ("ALE/Tetris-v5", "atari-a3c"),
            ("CartPole-v0", "cartpole-a3c"),
            ("CartPole-v1", "cartpole-a3c"),
        ],
    )
    def test_the_nearest_preset_is_taken(self, env: str, preset: str) -> None:
        assert resolved("--env", env).run.preset == preset

    @pytest.mark.parametrize("env", ["MountainCar-v0", "FrozenLake-v1", "Nothing-v4"])
    def test_an_environment_without_preset_gets_the_defaults(self, env: str) -> None:
        assert resolved("--env", env) == c.Config().replace(env=env)

    def test_every_registered_atari_id_has_one_and_nothing_else_has_an_atari_one(self) -> None:
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        for env_id, spec in gymnasium.registry.items():
            preset = preset_for(env_id, "a3c")
            atari = str(spec.entry_point).startswith("ale_py")
            assert (preset is not None and preset.settings.get("model") == "a3c-lstm") == atari, env_id

    @pytest.mark.parametrize("name", sorted(presets()))
    def test_each_is_valid_and_says_what_it_is_for(self, name: str) -> None:
        preset = presets()[name]
        assert preset.summary
        config = resolved("--preset", name)
        assert config.run.preset == name
        assert config.learn.algo == preset.algos[0]

    def test_an_unknown_one_names_the_nearest(self) -> None:
        text = mistakes_of("--preset", "pong-fsat")
        assert text == "--preset pong-fsat: no such preset; did you mean pong-fast?"
        assert "a3c presets" in mistakes_of("--preset", "zzz")


class TestMistakes:
    """Bad input is refused in one line that says what, where and what else to write."""

    def test_all_are_reported_at_once(self) -> None:
        text = mistakes_of("--gamma", "1.5", "--workers", "two", "--optimizer", "adm", "--max-time", "soon")
        assert text == (
            "--gamma 1.5: above the greatest value, 1; --workers two: not a whole number; "
            "--optimizer adm: not known; did you mean adam?; "
            "--max-time soon: not a time; write 90, 90s, 10m, 1.5h, 2d or 1h30m"
        )

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["--algo", "sarsa", "--gpu-ids", "0"], "--gpu-ids is a setting of a3c, dqn, ppo, not of sarsa"),
            (["--lr", "-1"], "--lr -1: below the least value, 0"),
            (["--lr", "nan"], "not a finite number"),
            (["--lr", "fast"], "not a number"),
            (["--num-steps", "0"], "below the least value, 1"),
            (["--num-steps", "2.5"], "not a whole number"),
            (["--max-steps", "1.5"], "not a whole number"),
            (["--max-steps", "1e300"], "too large"),
            (["--seed", "99999999999"], "above the greatest value"),
            (["--amsgrad", "perhaps"], "not True or False"),
            (["--algo", "a2c"], "did you mean a3c?"),
            (
                ["--model", "resnet"],
                "choose from a3c-lstm, a3c-small, a3c-ff, nature, minatar, mlp, mlp-deep, pixels",
            ),
            (["--gpu-ids", "0", "0"], "names a GPU twice"),
            (["--gpu-ids", "0", "-1"], "stands alone"),
            (["--gpu-ids", "0,1"], "not a whole number"),
            (["--env-kwargs", "mode"], "not of the form key=value"),
            (["--lr-schedule", "linear"], "--lr-schedule linear needs --max-steps"),
            (["--entropy-schedule", "linear"], "--entropy-schedule linear needs --max-steps"),
            (["--clip-range", "0.1"], "give --epochs 2 or more"),
            (["--kl-target", "0.003"], "give --epochs 2 or more"),
            (["--optimizer", "rmsprop", "--amsgrad"], "--amsgrad is a variant of adam"),
            (["--load", "--init-from", "x.pt"], "give only one"),
            (["--algo", "ppo", "--batch-size", "64"], "not of ppo, which has --minibatch-size"),
            (["--n-step", "5"], "--n-step is a setting of dqn, not of a3c, which has --num-steps"),
            (["--partial"], "--partial goes with --init-from FILE"),
        ],
    )
    def test_each_has_its_words(self, argv: list[str], words: str) -> None:
        assert words in mistakes_of(*argv)

    def test_an_unknown_flag_names_the_nearest(self) -> None:
        assert mistakes_of("--wrokers", "8") == "--wrokers: no such flag; did you mean --workers?"
        assert mistakes_of("--enviroment", "x") == "--enviroment: no such flag; did you mean --env?"

    def test_all_unknown_flags_are_named(self) -> None:
        assert mistakes_of("--wrokers=8", "--pizza") == (
            "--wrokers: no such flag; did you mean --workers?; --pizza: no such flag"
        )

    def test_a_stray_word(self) -> None:
        assert mistakes_of("Pong-v0") == "Pong-v0: a flag must come before it; see --help"

    def test_a_missing_value(self) -> None:
        assert "--workers: expected one argument" in mistakes_of("--workers")

    def test_flags_are_not_abbreviated(self) -> None:
        assert "--work: no such flag" in mistakes_of("--work", "8")

    @given(st.dictionaries(st.sampled_from(sorted(c.settings())), anything, max_size=4))
    def test_f37_any_values_give_a_config_or_a_usage_error(self, layer: dict[str, Any]) -> None:
        with contextlib.suppress(UsageError):
            c.build_config(("a file", layer))

    @given(st.lists(st.sampled_from([*(s.flag for s in c.settings().values()), "1", "-1", "x", "True"])))
    def test_f37_any_words_give_settings_or_a_usage_error(self, words: list[str]) -> None:
        with contextlib.suppress(UsageError):
            resolved(*words)


class TestOldSpellings:
    @pytest.mark.parametrize(
        ("argv", "value"),
        [
            (["--amsgrad"], True),
            (["--amsgrad", "True"], True),
            (["--amsgrad", "False"], False),
            (["--no-amsgrad"], False),
            (["--amsgrad=false"], False),
        ],
    )
    def test_truths(self, argv: list[str], value: bool) -> None:
        assert resolved(*argv).optim.amsgrad is value

    @pytest.mark.parametrize(
        ("argv", "value"),
        [
            ([], ""),
            (["--load"], "newest"),
            (["--load", "True"], "newest"),
            (["--load", "False"], ""),
            (["--load", "some/run"], "some/run"),
        ],
    )
    def test_load(self, argv: list[str], value: str) -> None:
        assert resolved(*argv).run.load == value

    @pytest.mark.parametrize(
        ("argv", "value"),
        [([], ()), (["--gpu-ids"], ()), (["--gpu-ids", "-1"], ()), (["--gpu-ids", "0", "1"], (0, 1))],
    )
    def test_gpu_ids(self, argv: list[str], value: tuple[int, ...]) -> None:
        assert resolved(*argv).run.gpu_ids == value

    def test_flags_of_the_original(self) -> None:
        words = (
            "--env Pong-v0 --workers 8 --gpu-ids 0 1 --lr 0.0001 --gamma 0.99 --tau 1.0 --seed 1 "
            "--entropy-coef 0.01 --value-coef 0.5 --num-steps 20 --amsgrad True --optimizer adam"
        )
        config = resolved(*words.split())
        assert (config.run.workers, config.learn.tau, config.run.gpu_ids) == (8, 1.0, (0, 1))


class TestValues:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            *[("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2D", 172800), ("1e2", 100)],
            *[("6m30s", 390), ("1h30m", 5400), ("1d2h3m4s", 93784)],
        ],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "e", "1e", "5x", "m", "--", "1 2", "nan", "inf", "30m1h", "1h-5m"])
    def test_no_durations(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a time"):
            parse_duration(text)

    @pytest.mark.parametrize(
        ("text", "number"),
        [("1000", 1000), ("1e6", 10**6), ("500k", 500_000), ("1.5M", 1_500_000), ("2_000", 2000)],
    )
    def test_counts(self, text: str, number: int) -> None:
        assert parse_count(text) == number

    def test_truths(self) -> None:
        assert [parse_bool(word) for word in ("True", "yes", "0", "OFF")] == [True, True, False, False]

    @pytest.mark.parametrize(
        ("text", "pair"),
        [
            ("mode=1", ("mode", 1)),
            ("is_slippery=False", ("is_slippery", False)),
            ("map_name=8x8", ("map_name", "8x8")),
            ("desc=[1, 2]", ("desc", [1, 2])),
            ("text=a=b", ("text", "a=b")),
        ],
    )
    def test_key_value(self, text: str, pair: tuple[str, Any]) -> None:
        assert parse_key_value(text) == pair

    def test_env_kwargs_add_up(self) -> None:
        config = resolved("--env-kwargs", "a=1", "b=x", "--env-kwargs", "c=true")
        assert config.env.env_kwargs == {"a": 1, "b": "x", "c": True}

    def test_suffixes_on_the_command_line(self) -> None:
        config = resolved("--max-time", "2h", "--max-steps", "10M", "--checkpoint-every", "90s")
        assert (config.run.max_time, config.run.max_steps, config.eval.checkpoint_every) == (7200, 10**7, 90)


def values_of(setting: c.Setting) -> st.SearchStrategy[Any]:
    """Any value the setting allows."""
    low, high = setting.low, setting.high
    if setting.choices:
        strategy: st.SearchStrategy[Any] = st.sampled_from(setting.choices)
    elif setting.type is bool:
        strategy = st.booleans()
    elif setting.type is int:
        strategy = st.integers(low, 2**31 - 1 if high is None else high)
    elif setting.type is float:
        strategy = st.floats(low, high, allow_nan=False, allow_infinity=False)
    elif setting.type is str:
        strategy = st.text()
    elif setting.type == tuple[int, ...]:
        strategy = st.lists(st.integers(max(0, low), 99), unique=True).map(tuple)
    else:
        strategy = st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.booleans())
    return strategy | st.none() if setting.optional else strategy


@st.composite
def configs(draw: st.DrawFn) -> c.Config:
    values = {name: draw(values_of(setting)) for name, setting in c.settings().items()}
    if values["load"]:
        values["init_from"] = ""
    if not values["max_steps"]:
        values["lr_schedule"] = values["entropy_schedule"] = "constant"
    values["track_project"] = draw(st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True))
    if values["workers"]:
        values["min_workers"] = min(values["min_workers"], values["workers"])
    config = c.Config().replace(**values)
    assume(not c.contradictions(config, set()))
    return config


class TestRoundTrip:
    @given(configs())
    def test_a_config_survives_its_json(self, config: c.Config) -> None:
        assert c.from_dict(json.loads(json.dumps(config.to_dict())), "config.json") == config

    def test_what_is_absent_gets_its_default(self) -> None:
        assert c.from_dict({}, "config.json") == c.Config()


class TestFiles:
    """What a run's, a checkpoint's or a package's settings must look like."""

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (5, "not tables of settings"),
            (None, "not tables of settings"),
            ([["env", 1]], "not tables of settings"),
            ({"optim": 5}, "not tables of settings"),
            ({"optim": [1]}, "not tables of settings"),
            ({"env": None}, "not tables of settings"),
            (
                {"optim": {"lrr": 1, "zzz": 2}},
                "unknown setting 'lrr' in optim; did you mean lr?; unknown setting 'zzz' in optim",
            ),
            ({"opt": {"lr": 1}}, "unknown group of settings 'opt'"),
            ({"learn": {"env": "payload:CartPole-v1"}}, "env belongs to the group env, not to learn"),
            ({"env": {"env": {}}, "run": {"lr": 1}}, "lr belongs to the group optim, not to run"),
            ({"optim": {"lr": -1}}, "lr -1: below the least value, 0"),
            ({"optim": {"lr": "0.1"}}, "lr 0.1: is text"),
            ({"optim": {"lr": True}}, "lr True: not a number"),
            ({"optim": {"lr": None}}, "lr None: may not be empty"),
            ({"optim": {"amsgrad": "True"}}, "amsgrad True: is text"),
            ({"optim": {"amsgrad": 1}}, "amsgrad 1: not True or False"),
            ({"run": {"workers": "abc"}}, "workers abc: is text"),
            ({"run": {"workers": 1.5}}, "workers 1.5: not a whole number"),
            ({"run": {"gpu_ids": ["0"]}}, "gpu_ids 0: is text"),
            ({"env": {"env": ["CartPole-v1"]}}, "env CartPole-v1: not text"),
            ({"env": {"env_kwargs": ["a=1"]}}, "env_kwargs a=1: is text"),
            ({"dqn": {"hidden": [[1]]}}, "hidden [1]: not a whole number"),
            ({"\x1b[2J": {}}, r"unknown group of settings '\x1b[2J'"),
        ],
    )
    def test_f48_what_is_unknown_misplaced_or_mistyped_is_refused(self, data: Any, words: str) -> None:
        with pytest.raises(CheckpointError) as caught:
            c.from_dict(data, "config.json")
        assert str(caught.value).startswith("config.json: ")
        assert words in str(caught.value)
        assert str(caught.value).isprintable()

    def test_f48_a_message_stays_short(self) -> None:
        with pytest.raises(CheckpointError) as caught:
            c.from_dict({"run": {"x" * 10**6 + str(i): 1 for i in range(100)}}, "config.json")
        assert len(str(caught.value)) < 1000

    def test_settings_that_are_no_more_mean_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(c, "RETIRED", frozenset({"optim.gone"}))
        assert c.from_dict({"optim": {"gone": 1}}, "config.json") == c.Config()
        with pytest.raises(CheckpointError, match="unknown setting 'gone' in run"):
            c.from_dict({"run": {"gone": 1}}, "config.json")
        assert not {name.partition(".")[2] for name in c.RETIRED} & c.settings().keys()

    def test_a_file_of_an_older_version_loads(self) -> None:
        written = c.Config().to_dict()
        written["ppo"]["value_clip"], written["explore"]["eval_epsilon"] = 0.1, 0.001
        written["dqn"] |= {"keep_replay": False, "priority_beta": 0.5}
        assert c.from_dict(written, "config.json") == c.Config()

    @pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.name)
    def test_presets_have_numbers_and_truths_as_such(self, preset: Any) -> None:
        assert c.build_config((preset.name, preset.settings)).learn.algo == preset.settings["algo"]


class TestSettings:
    @pytest.mark.parametrize("name", sorted(c.settings()))
    def test_each_has_a_help_text_and_a_valid_default(self, name: str) -> None:
        setting = c.settings()[name]
        assert setting.help
        assert c.build_config(("defaults", {name: setting.default})) == c.Config()

    def test_flags_are_unique(self) -> None:
        flags = [setting.flag for setting in c.settings().values()]
        assert len(set(flags)) == len(flags)

    def test_usable_cores(self) -> None:
        assert cores.usable_cores() >= 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"workers": 16}, 2),  # as many as there are cores
        ({"workers": 2}, 2),
        ({"workers": 1}, 1),
        ({"workers": 0}, 0),
        ({"workers": 16, "gpu_ids": [0]}, 16),  # they wait for the GPU meanwhile
        ({"workers": 16, "active_workers": 0}, 16),
        ({"workers": 16, "active_workers": 5}, 5),
        ({"workers": 4, "active_workers": 5}, 4),
    ],
)
def test_as_many_workers_play_at_a_time_as_have_a_core(monkeypatch, settings, expected):
    monkeypatch.setattr("a3c.settings.cores.usable_cores", lambda: 2)
    assert cores.workers_at_a_time(c.build_config(("test", settings)).run) == expected


def test_a_preset_that_is_typed_types_its_environment_for_a_resume_too() -> None:
    saved = c.from_dict(c.resolve({"preset": "minigrid-empty"}).to_dict(), "config.json")
    assert not isinstance(saved.env.env, Typed)
    assert isinstance(c.resolve_resumed(saved, {"preset": "minigrid-empty"}).env.env, Typed)
    assert not isinstance(c.resolve_resumed(saved, {}).env.env, Typed)
