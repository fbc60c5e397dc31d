"""Time to a score: when a training is ended, and that every seed is trained, judged and reported."""

from __future__ import annotations

import json
import math
import sys

import pytest

from a3c.settings.values import Typed
from benchmarks import common, curves, learning


def write_rows(run_dir, *rows):
    run_dir.mkdir()
    lines = [
        json.dumps({"kind": "train", "wall_s": wall_s, "mean_return": value}) + "\n" for wall_s, value in rows
    ]
    (run_dir / "metrics.jsonl").write_text("".join(lines) + '{"kind": "train", "wall_')


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], -math.inf),
        ([(30, 20), (60, 20)], -math.inf),
        ([(30, 1), (90, 5), (100, None), (110, 8)], 6.5),
    ],
)
def test_only_the_last_whole_minute_tells_how_good_training_games_are(rows, expected, tmp_path):
    write_rows(tmp_path / "run", *rows)
    assert learning.recent_return(tmp_path / "run", 60.0) == expected


def test_a_run_without_metrics_yet_has_none(tmp_path):
    assert learning.metrics(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        ("--preset minatar-breakout", "minatar.gym:MinAtar/Breakout-v1"),
        ("--env minigrid:MiniGrid-Empty-5x5-v0 --lr 1e-3", "minigrid:MiniGrid-Empty-5x5-v0"),
        ("--preset taxi", ""),
        ("", ""),
    ],
)
def test_an_environment_in_a_module_was_named_by_the_command(flags, env):
    assert learning.module_id(flags.split()) == env
    assert isinstance(learning.module_id(flags.split()), Typed) == bool(env)


def test_seeds_are_trained_until_it_is_enough_then_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(learning, "RESULTS", tmp_path)
    monkeypatch.setattr(learning, "RECENT_S", 1.0)
    run_flags = ["--env", "CartPole-v1", "--workers", "0", "--log-every", "1"]
    flags = ["--seeds", "1", "2", "--games", "3", "--score", "9", "--enough", "9", "--checkpoint-every", "1s"]
    flags += ["--max-time", "900s", "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["learning", "--name", "x", *flags, "--", *run_flags])
    learning.main()
    result = json.loads((tmp_path / "learning-x.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [1, 2]
    for run in result["runs"]:
        assert 0 < run["wall_s"] < 900
        assert 0 < run["training"][-1]["wall_s"] < 900
        assert run["checkpoints"][-1]["recheck_mean"] >= 9
    assert result["median_s"] == max(run["wall_s"] for run in result["runs"])
    assert curves.read(tmp_path / "learning-x.csv", "wall_s").keys() == {1, 2}
