"""Flags as other programs call them."""

from __future__ import annotations

import re

import pytest

from a3c.errors import UsageError
from a3c.settings.config import resolve, settings
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.other_words import DIFFERENT, SAME


def given(*argv: str) -> dict[str, object]:
    parser = Parser("a3c run", "")
    add_settings(parser)
    return given_settings(parser.parse(argv))


FLAGS = {s.flag.removeprefix("--") for s in settings().values()}


def test_no_name_has_two_meanings() -> None:
    assert not SAME.keys() & DIFFERENT.keys()
    assert not FLAGS & {*SAME, *DIFFERENT}


@pytest.mark.parametrize("name", SAME)
def test_the_same_under_another_name_is_taken(name: str) -> None:
    assert given(f"--{name}", "1") == given(settings()[SAME[name]].flag, "1")


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_meant_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(f"--{name}", "1")
    assert str(caught.value) == f"--{name}: no such flag; {DIFFERENT[name]}"
    of_eval = re.sub(r"a3c (eval|play) --[a-z]+", "", DIFFERENT[name])
    assert set(re.findall(r"--([a-z-]+)", of_eval)) <= FLAGS


def test_rollouts_are_not_taken_for_n_step_returns() -> None:
    with pytest.raises(UsageError, match="a rollout is --num-steps, the n-step returns of DQN are --n-step"):
        given("--n-steps", "5")
    assert given("--n-step", "5") == {"n_step": "5"}


def test_underscores_are_dashes_but_not_in_values() -> None:
    typed = given("--learning_rate", "0.1", "--ent_coef=0.2", "--run-dir=my_run", "--env-kwargs", "a_b=c_d")
    assert typed == {"lr": "0.1", "entropy_coef": "0.2", "run_dir": "my_run", "env_kwargs": ["a_b=c_d"]}
    with pytest.raises(UsageError, match=r"^--num-envs: no such flag; elsewhere"):
        given("--num_envs", "8")


def test_a_mistake_in_a_value_names_our_flag() -> None:
    with pytest.raises(UsageError, match=r"^--lr fast: not a number$"):
        resolve(given("--learning-rate", "fast"))


@pytest.mark.parametrize(
    ("device", "gpus"),
    [(["cpu"], ["-1"]), (["cuda"], ["0"]), (["cuda:2"], ["2"]), (["cuda:0", "cuda:1"], ["0", "1"])],
)
def test_devices_are_numbers(device: list[str], gpus: list[str]) -> None:
    assert given("--device", *device) == {"gpu_ids": gpus}


@pytest.mark.parametrize("device", ["auto", "cuda:", "cuda:x", "mps", "0"])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match="write cpu, cuda or cuda:N"):
        given("--device", device)
