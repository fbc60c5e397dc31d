"""What version 0.1.0 wrote before its modules moved still plays, scores and trains."""

import json
import shutil
from pathlib import Path

import pytest

from a3c.storage.checkpoint import read_checkpoint
from tests.run_tools import script

WRITTEN = Path(__file__).parent / "data" / "written-by-0.1"
RUNS = {
    "CartPole-v1-ppo": (20267, "min", 150),
    "FrozenLake-v1-q-learning": (20001, "exact_value", 0.7),
}
"""Each run, the steps it had made, and what its agent scores at least."""


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(WRITTEN, tmp_path / "written")
    return tmp_path / "written"


def score(checkpoint, games, cwd):
    """What eval.py writes about an agent."""
    words = ["--checkpoint", str(checkpoint), "--num-episodes", str(games), "--json", "scores.json"]
    done = script("eval.py", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads((cwd / "scores.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_scored_and_continued(copied, name):
    run, (steps, measure, least) = copied / name, RUNS[name]
    scores = score(run, 3, copied)
    assert (scores["n"], scores["env_steps"]) == (3, steps)
    assert scores[measure] > least
    goal = steps + 1000
    words = ["--load", str(run), "--workers", "0", "--max-steps", str(goal), "--eval-every", "0"]
    done = script("run.py", *words, cwd=copied)
    assert done.returncode == 0, done.stderr
    newest = read_checkpoint(max(run.glob("ckpt-*")))
    assert goal <= newest.state["counters"]["env_steps"] < goal + 1500
    assert newest.state["resumes"] == 1


def test_a_package_plays_as_its_results_say(copied):
    """The same games; 0.1 drew their actions in another way, so that the scores agree on average."""
    package = copied / "package"
    results = json.loads((package / "results.json").read_text())
    scores = score(package, results["n_eval_episodes"], copied)
    assert scores["seeds"] == results["protocol"]["seeds"]
    error = (scores["std"] + results["std_reward"]) / results["n_eval_episodes"] ** 0.5
    assert scores["mean"] == pytest.approx(results["mean_reward"], abs=3 * error)
