"""The tabular presets from the command line: trained, judged exactly, continued."""

import json
import re
from typing import Any

import gymnasium
import pytest
import torch

from a3c.cli import main
from a3c.storage.checkpoint import read_checkpoint
from tests.run_tools import Run, script

ZERO = 1e-9
TAXI = next(env_id for env_id in ("Taxi-v4", "Taxi-v3") if env_id in gymnasium.registry)
SMALL = ["--eval-every", "1", "--eval-episodes", "2"]


def trained(folder, *flags: str) -> Run:
    with Run(folder, *flags) as run:
        assert run.end() == 0, run.output
    return run


def rows(run: Run, kind: str) -> list[dict[str, Any]]:
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def evaluated(run: Run, *flags: str) -> tuple[dict[str, Any], str]:
    """What eval.py wrote and printed."""
    folder = run.path.parent
    done = script("eval.py", "--checkpoint", str(run.path), "--json", "result.json", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text()), done.stdout + done.stderr


def last(run: Run) -> dict[str, Any]:
    """The evaluation of the final table."""
    row = rows(run, "evaluation")[-1]
    assert row["final"]
    return row


@pytest.mark.parametrize(
    ("flags", "best"),
    [
        (["--preset", "frozenlake-4x4"], 1.0),
        (["--preset", "frozenlake-8x8", "--workers", "2"], 1.0),
        (["--preset", "taxi", "--workers", "2"], 7.93),
    ],
)
def test_presets_leave_no_regret(tmp_path, flags, best):
    left_no_regret(trained(tmp_path, *flags), best)


def left_no_regret(run: Run, best: float) -> None:
    assert last(run)["worst_regret"] <= ZERO
    assert run.status()["best_score"] == pytest.approx(best, abs=ZERO)
    assert "Traceback" not in run.output


def test_the_slippery_lake_is_crossed_as_well_as_a_table_can(tmp_path):
    run = trained(tmp_path, "--preset", "frozenlake-4x4-slippery")
    assert last(run)["exact_value"] >= 0.740165 - 0.001
    result, text = evaluated(run, "--num-episodes", "20", "--baseline")
    assert result["exact_value"] >= 0.740165 - 0.001
    assert result["optimal_value"] == pytest.approx(0.744190, abs=1e-6)
    assert result["best_stationary"] == pytest.approx(0.740165, abs=1e-6)
    assert result["regret"] == pytest.approx(result["optimal_value"] - result["exact_value"])
    assert result["greedy"]
    assert result["random_mean"] < 0.2
    assert re.search("← ↑ ↑ ↑\n← H [←→] H\n↑ ↓ ← H\nH → ↓ G", text)  # between two holes both ways are alike
    assert "random" in text


@pytest.mark.slow
def test_the_large_slippery_lake_is_crossed_nearly_as_well(tmp_path):
    run = trained(tmp_path, "--preset", "frozenlake-8x8-slippery")
    assert last(run)["exact_value"] >= 0.893568 - 0.01


def test_taxi_on_the_published_seeds(tmp_path):
    run = trained(tmp_path, "--env", TAXI, "--algo", "q-learning")
    assert run.status()["preset"] == "taxi"
    left_no_regret(run, 7.93)
    result, text = evaluated(run, "--seeds", "published")
    assert (result["n"], result["mean"]) == (100, pytest.approx(7.56))
    deviations = [(score - result["mean"]) ** 2 for score in result["scores"]]
    assert (sum(deviations) / 100) ** 0.5 == pytest.approx(2.71, abs=0.005)
    assert result["regret"] <= ZERO
    assert "given by a list" in text
    named = script("eval.py", "--checkpoint", str(run.path), "--seeds", "secret", cwd=tmp_path)
    assert named.returncode == 2
    assert "--seeds: invalid choice: 'secret'" in named.stderr
    assert "published" in named.stderr


@pytest.mark.parametrize("algo", ["sarsa", "monte-carlo"])
def test_relatives_have_a_preset_too(tmp_path, algo):
    flags = ["--env", "FrozenLake-v1", "--env-kwargs", "is_slippery=false", "--max-steps", "100k"]
    run = trained(tmp_path, *flags, "--algo", algo)
    assert json.loads((run.path / "config.json").read_text())["settings"]["run"]["preset"] == "tabular"
    assert last(run)["regret"] <= ZERO


def test_a_table_is_a_checkpoint_like_any_other(tmp_path):
    flags = ["--env", "FrozenLake-v1", "--algo", "q-learning", "--workers", "0", *SMALL]
    run = trained(tmp_path, *flags, "--max-steps", "20000")
    first = read_checkpoint(run.checkpoints()[-1])
    assert first.model["q"].shape == (16, 4)
    assert first.state["algo"] == "q-learning"
    run = trained(tmp_path, "--load", "--max-steps", "30000")
    second = read_checkpoint(run.checkpoints()[-1])
    assert second.state["counters"]["env_steps"] >= 30_000
    assert second.state["counters"]["episodes"] > first.state["counters"]["episodes"]
    assert not torch.equal(first.model["q"], second.model["q"])


def test_one_process_is_bit_reproducible(tmp_path):
    flags = ["--env", "FrozenLake-v1", "--algo", "q-learning", "--workers", "0", *SMALL]
    tables = []
    for name in ("one", "two"):
        with Run(tmp_path, *flags, "--max-steps", "20000", run_dir=name) as run:
            assert run.end() == 0, run.output
        tables.append(read_checkpoint(run.checkpoints()[-1]).model["q"])
    assert torch.equal(*tables)


def test_a_table_that_learned_nothing_is_no_policy(tmp_path):
    run = trained(tmp_path, "--preset", "frozenlake-4x4", "--lr", "0", "--max-steps", "2000", *SMALL)
    assert "nothing was learned yet" in run.output
    assert rows(run, "evaluation")[-1]["exact_value"] < 0.02  # as the random agent's
    _, text = evaluated(run, "--num-episodes", "2")
    assert "warning: all cells of the table are equal" in text
    assert "* * * *" in text


def test_the_random_agent_runs_like_any_other(tmp_path):
    flags = ["--env", "CartPole-v1", "--algo", "random", "--max-steps", "5000", "--workers", "1"]
    run = trained(tmp_path, *flags)
    row = rows(run, "evaluation")[-1]
    assert 15 < row["mean"] < 35
    assert run.status()["steps"] >= 5000
    result, text = evaluated(run, "--num-episodes", "200")
    assert result["mean"] == pytest.approx(22, abs=4)
    assert "exact_value" not in result
    assert "sampled" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--env", "CartPole-v1", "--algo", "sarsa"], "needs numbered states, and CartPole-v1 has none"),
        (["--env", "Breakout-v0", "--algo", "q-learning"], "needs numbered states, and Breakout-v0 has none"),
        (["--preset", "taxi", "--optimizer", "adam"], "--algo q-learning takes --optimizer sgd"),
        (["--preset", "taxi", "--model", "mlp"], "--model is a setting of a3c, dqn, ppo, not of q-learning"),
        (["--preset", "taxi", "--epsilon-final", "0.5"], "--epsilon-final is more than --epsilon-start"),
        (["--preset", "taxi", "--max-grad-norm", "1"], "--max-grad-norm is a setting of"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, words, capsys):
    assert main(["run", *flags, "--dry-run"]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert words in line


def test_an_old_name_is_accepted_and_said(capsys, caplog):
    if "Taxi-v3" in gymnasium.registry:
        pytest.skip("Gymnasium still has Taxi-v3")
    assert main(["run", "--env", "Taxi-v3", "--algo", "q-learning", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["table"]["initial_q"] == 20
    assert "Taxi-v3 is called Taxi-v4 now" in caplog.text
