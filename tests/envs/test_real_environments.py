"""Every row of the table of docs/environments.md is what really happens, with the real packages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from a3c.envs import complete_flags, make_env, resolve_env
from a3c.envs.levels import LEVELS_ID
from a3c.envs.pixels import PIXELS_ID
from a3c.errors import UsageError
from a3c.settings.config import resolve
from a3c.settings.flags import Parser, add_settings, given_settings

PAGE = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
ROWS = re.findall(r"^\| `(.+?)` \| (.+?) \| (.*?) ?\|$", PAGE.partition("## Tried")[2], re.MULTILINE)[1:]


def test_the_table_was_read() -> None:
    assert len(ROWS) == len(re.findall(r"^\| `", PAGE.partition("## Tried")[2], re.MULTILINE)) - 1 >= 20


@pytest.mark.parametrize(("words", "seen", "learner"), ROWS, ids=[row[0] for row in ROWS])
def test_the_table_is_true(words: str, seen: str, learner: str) -> None:
    parser = Parser("a3c run", "")
    add_settings(parser)
    given = complete_flags(given_settings(parser.parse(["--env", *shlex.split(words), "--workers", "0"])))
    if refusal := re.fullmatch("refused: (.+)", seen):
        with pytest.raises(UsageError, match=refusal[1]):
            resolve_env(resolve(given))
        return
    config = resolve_env(resolve(given))
    assert ", ".join(filter(None, (config.learn.algo, config.learn.model))) == learner
    envs = make_env(config.env, [1, 2], training=True)
    assert envs.spec.describe().partition("observation ")[2] == seen
    envs.reset()
    for step in range(5):
        observation = envs.step(np.full(2, step % envs.spec.num_actions)).observation
        assert observation.shape == (2, *envs.spec.observation_shape)
    envs.close()


@pytest.mark.parametrize("env_id", [LEVELS_ID, PIXELS_ID])
def test_gymnasium_finds_nothing_wrong_with_ours(env_id: str) -> None:
    check_env(gymnasium.make(env_id, render_mode="rgb_array").unwrapped)
