"""An environment in a module of one's own, from a run to its package: typed it works, read it does not."""

import json
import os

import pytest

from tests.run_tools import ROOT
from tests.warm import run_to_the_end

MODULE = """
import gymnasium, numpy as np, os

class Mine(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 5, False, {}

gymnasium.register("Mine-v0", Mine)
open("imported", "a").write("x")
"""
INSTALLED = """
import sys
from a3c.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""
TYPED = ["--env", "mine:Mine-v0"]
RUN = ["--workers", "1", "--num-steps", "5", "--eval-every", "0.5", "--eval-episodes", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a module of an environment, and a short run in it."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(MODULE)
    (folder / "bin").mkdir()
    (folder / "bin" / "a3c").write_text(INSTALLED)
    done = a3c(folder, "run", *TYPED, *RUN, "--max-steps", "300", "--run-dir", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "run" / "status.json").read_text())["best_score"] == 5
    return folder


def a3c(folder, *words):
    """The command as it is installed: the current folder is not on its path."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return run_to_the_end(str(folder / "bin" / "a3c"), *words, cwd=folder, environ=environ)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--load", "run", "--max-steps", "400"],
        ["run", "--load", "run", "--env-kwargs", "a=mine:Mine-v0"],
        ["eval", "--checkpoint", "run"],
        ["eval", "--checkpoint", "newest", "--run-dir", "run"],
        ["play", "--watch", "run", "--window"],
        ["package", "run"],
    ],
    ids=" ".join,
)
def test_f49_what_was_read_imports_nothing(folder, words):
    (folder / "imported").unlink(missing_ok=True)
    done = a3c(folder, *words)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == (4, 1), done.stderr
    assert "add --env mine:Mine-v0, if you trust it" in errors[0]
    assert not (folder / "imported").exists()
    assert not (folder / "package-run").exists()


def test_f49_what_needs_no_environment_imports_nothing(folder):
    (folder / "imported").unlink(missing_ok=True)
    for words in (["plot", "run", "--out", "curve.png"], ["status", "run"]):
        done = a3c(folder, *words)
        assert done.returncode == 0, done.stderr
    assert not (folder / "imported").exists()


def test_f49_what_was_typed_is_imported_from_the_current_folder(folder):
    done = a3c(folder, "run", *TYPED, "--load", "run", "--max-steps", "400")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "run" / "status.json").read_text())["steps"] >= 400
    done = a3c(folder, "eval", *TYPED, "--checkpoint", "run", "--num-episodes", "2", "--json", "scores.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "scores.json").read_text())["scores"] == [5, 5]


def test_f49_a_package_of_it_is_made_and_played_by_its_typed_name(folder):
    done = a3c(folder, "package", "run", *TYPED, "--out", "shared")
    assert done.returncode == 0, done.stderr
    assert "a3c eval --checkpoint FOLDER --env mine:Mine-v0" in (folder / "shared" / "README.md").read_text()
    (folder / "imported").unlink()
    done = a3c(folder, "eval", "--checkpoint", "shared")
    assert (done.returncode, (folder / "imported").exists()) == (4, False), done.stderr
    done = a3c(folder, "eval", "--checkpoint", "shared", *TYPED, "--num-episodes", "2")
    assert done.returncode == 0, done.stderr
    done = a3c(folder, "package", "run", "--env", "CartPole-v1")
    assert done.returncode == 2
    assert "was trained in mine:Mine-v0" in done.stderr
