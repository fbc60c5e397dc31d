"""Whose code an environment's id may run: only what a person typed in this very command."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

from a3c.envs.registry import find
from a3c.envs.resolve import resolve_env
from a3c.errors import CheckpointError, UsageError
from a3c.settings.config import from_dict, resolve
from a3c.settings.groups import EnvConfig
from a3c.settings.values import Typed, names_code

REGISTER = """
import gymnasium
gymnasium.register("Brought-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv")
"""

Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Writes a module of some code into the current folder, which is not on the path; gives its id."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(code: str) -> str:
        (tmp_path / "brought.py").write_text(code)
        return "brought:Brought-v0"

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    gymnasium.registry.pop("Brought-v0", None)


def test_f49_a_module_is_imported_only_when_it_was_typed(module: Module) -> None:
    env_id = module(REGISTER)
    for read in (EnvConfig(env_id), from_dict({"env": {"env": env_id}}, "config.json").env):
        with pytest.raises(CheckpointError, match="add --env brought:Brought-v0, if you trust it"):
            find(read)
    assert "brought" not in sys.modules
    assert str(Path.cwd()) not in sys.path
    assert find(EnvConfig(Typed(env_id))) is gymnasium.registry["Brought-v0"]


def test_f49_what_was_typed_is_known_in_other_processes_but_not_in_files(module: Module) -> None:
    config = resolve({"env": module(REGISTER), "algo": "ppo"})
    assert resolve_env(config).learn.model == "mlp"
    sent = pickle.loads(pickle.dumps(config))
    assert find(sent.env) is gymnasium.registry["Brought-v0"]
    written = from_dict(json.loads(json.dumps(config.to_dict())), "config.json")
    assert written == config
    with pytest.raises(CheckpointError):
        find(written.env)


@pytest.mark.parametrize(
    "value",
    [
        "payload:Thing-v0",
        "package.module.Class",
        "payload:1",
        "é:ü",
        "1:30",
        ["x", {"a": "m:f"}],
        {"m.f": 1},
        {"a": {"b": "m:f"}},
    ],
)
def test_f49_arguments_that_may_name_code_must_be_typed_too(value: object) -> None:
    read = from_dict({"env": {"env": "FrozenLake-v1", "env_kwargs": {"option": value}}}, "config.json")
    with pytest.raises(
        CheckpointError, match=r"option=.* may name code.*add --env-kwargs option=..., if you"
    ):
        find(read.env)
    typed = resolve({"env": "FrozenLake-v1", "env_kwargs": [f"option={json.dumps(value)}"]})
    assert find(typed.env) is gymnasium.registry["FrozenLake-v1"]


@pytest.mark.parametrize("value", [1.5, True, None, "8x8", "SFFF/FHFH/FFFH/HFFG", ["SFFG"], {"a": [1, "b"]}])
def test_other_arguments_are_taken_from_files(value: object) -> None:
    assert not names_code(value)
    assert find(EnvConfig("FrozenLake-v1", {"option": value})) is gymnasium.registry["FrozenLake-v1"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('no licence')\n", "SystemExit: no licence"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise KeyError\n", "KeyError"),
    ],
)
def test_f50_a_module_that_cannot_be_imported_is_one_line(module: Module, code: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(EnvConfig(Typed(module(code))))
    assert str(caught.value).startswith(f"--env brought:Brought-v0: the module cannot be imported: {words}")
    assert "\n" not in str(caught.value)


def test_a_module_that_registers_when_it_is_told_to(module: Module) -> None:
    env_id = Typed(module("import gymnasium\ndef register_envs():\n    " + REGISTER.splitlines()[-1]))
    for _ in range(2):
        assert find(EnvConfig(env_id)) is gymnasium.registry["Brought-v0"]
    gymnasium.registry.pop("Brought-v0")
    env_id = Typed(module("def register_envs():\n    raise OSError('no display')"))
    sys.modules.pop("brought")
    with pytest.raises(UsageError, match="the module cannot be imported: OSError: no display"):
        find(EnvConfig(env_id))


def test_f49_the_module_of_a_preset_is_imported_when_the_preset_was_named() -> None:
    config = resolve({"preset": "minatar-breakout"})
    assert find(config.env).entry_point == "minatar.gym:BaseEnv"
    with pytest.raises(CheckpointError, match=r"add --env minatar\.gym:MinAtar/Breakout-v1"):
        find(from_dict(config.to_dict(), "config.json").env)


def test_f36_a_module_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot be imported: .*No module named 'no_such_module'"):
        find(EnvConfig(Typed("no_such_module:Pong-v0")))


def test_f36_an_id_of_an_installed_package_hints_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minilike").mkdir()
    (tmp_path / "minilike" / "__init__.py").write_text("raise AssertionError('looked at, not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"take --env minilike:MiniLike-Empty-5x5-v0$"):
        find(EnvConfig("MiniLike-Empty-5x5-v0"))
    with pytest.raises(UsageError, match=r"no such environment$"):
        find(EnvConfig("json-Nothing-v99"))


@pytest.mark.parametrize(
    ("env", "hint"),
    [
        ("MiniGrid-Nothing-5x5-v0", "minigrid:MiniGrid-Nothing-5x5-v0"),
        ("MinAtar/Breakout-v9", "minatar.gym:MinAtar/Breakout-v9"),
    ],
)
def test_f36_the_module_of_a_real_package_is_named(env: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"take --env {hint}$"):
        find(EnvConfig(env))
