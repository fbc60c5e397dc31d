"""The drift guard: what it measures, when a mean is outside its band, and the bands that are kept."""

from __future__ import annotations

import json
import math
import statistics

import pytest

from a3c.cli import main
from benchmarks import common, regress
from tests.test_benchmark_atari_table import write_run


def test_returns_count_by_games_and_others_by_rows(tmp_path):
    rows = [(100, 2, 1.0, 0.0), (900, 3, 10.0, 0.4), (1000, 6, 20.0, 0.5)]
    found = regress.measure(write_run(tmp_path / "run", *rows), ("mean_return", "explained_variance"))
    assert found == pytest.approx({"mean_return": (2 * 1 + 10 + 3 * 20) / 6, "explained_variance": 0.3})


def test_rows_without_a_game_are_left_out(tmp_path):
    run = write_run(tmp_path / "run", (100, 0, None, None), (950, 2, 4.0, 0.5), (1000, 2, None, 0.7))
    assert regress.measure(run, ("mean_return",)) == {"mean_return": 4.0}


def test_a_band_is_student_s_t():
    low, high = regress.band([1.0, 2.0, 3.0], 3)
    assert (low + high) / 2 == pytest.approx(2)
    assert (high - low) / 2 == pytest.approx(9.925 * 1 * math.sqrt(2 / 3))
    six = regress.band([1.0, 2.0, 3.0, 1.0, 2.0, 3.0], 3)
    assert (six[1] - six[0]) / 2 == pytest.approx(4.032 * math.sqrt(0.8) * math.sqrt(1 / 2))


def test_a_band_holds_the_mean_of_three_more_as_often_as_it_says():
    import numpy as np

    rng, inside = np.random.default_rng(1), 0
    for _ in range(1000):
        low, high = regress.band(rng.normal(5, 2, 3).tolist(), 3)
        inside += low <= rng.normal(5, 2, 3).mean() <= high
    assert 980 <= inside <= 998


@pytest.mark.parametrize(("value", "code"), [(5.0, 0), (9.0, 1), (1.0, 1)], ids=["inside", "above", "below"])
def test_it_fails_outside(value, code, tmp_path, monkeypatch, capsys):
    bands = {"levels-dqn": {"measures": {"mean_return": {"seeds": [4.9, 5.0, 5.1]}}}}  # 4.2 to 5.8
    (tmp_path / "regress.json").write_text(json.dumps({"tasks": bands}))
    monkeypatch.setattr(regress, "BANDS", tmp_path / "regress.json")
    for seed in (1, 2, 3):
        write_run(tmp_path / f"levels-dqn-{seed}", (10, 0, None, 0), (1000, 9, value, 0))
    monkeypatch.setattr("sys.argv", ["regress", "--tasks", "levels-dqn", "--runs", str(tmp_path)])
    assert regress.main() == code
    assert ("OUTSIDE" in capsys.readouterr().out) == bool(code)


def test_one_seed_is_compared_with_a_wider_band_than_three():
    bands = {"a": {"measures": {"x": {"seeds": [1.0, 2.0, 3.0]}}}}
    ((*_, low, high, _),) = regress.compare({"a": [{"x": 2.0}]}, bands)
    assert high - low == pytest.approx(2 * 9.925 * math.sqrt(1 / 3 + 1))


@pytest.mark.parametrize("seeds", ["1", "1 2 2", "1 2 3 4 5 6 7 8 9 10 11"])
def test_bands_of_too_few_seeds_or_too_many_are_refused_before_training(seeds, tmp_path, monkeypatch, capsys):
    flags = ["--update", "--runs", str(tmp_path / "runs"), "--seeds", *seeds.split()]
    monkeypatch.setattr("sys.argv", ["regress", *flags])
    with pytest.raises(SystemExit, match="2"):
        regress.main()
    assert "with --update 2 to 10 of them" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_task_without_a_band_is_not_trained_but_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(regress, "BANDS", tmp_path / "regress.json")
    monkeypatch.setattr("sys.argv", ["regress", "--tasks", "pong-150k", "--runs", str(tmp_path)])
    assert regress.main() == 0
    assert "pong-150k has no band yet" in capsys.readouterr().out


def test_new_bands_are_of_their_runs_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(regress, "BANDS", tmp_path / "regress.json")
    (tmp_path / "regress.json").write_text(json.dumps({"tasks": {"pong-150k": {"flags": "x"}}}))
    for seed, value in ((1, 4.0), (2, 5.0), (3, 6.0)):
        write_run(tmp_path / f"levels-dqn-{seed}", (10, 0, None, 0), (1000, 9, value, 0))
    flags = ["--update", "--tasks", "levels-dqn", "--seeds", "1", "2", "3", "--runs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["regress", *flags])
    assert regress.main() == 0
    tasks = json.loads((tmp_path / "regress.json").read_text())["tasks"]
    assert tasks["pong-150k"] == {"flags": "x"}
    assert tasks["levels-dqn"]["measures"]["mean_return"]["seeds"] == [4.0, 5.0, 6.0]


def test_the_kept_bands_are_those_of_the_tasks():
    """Whoever changes a task's flags has to make its bands anew."""
    kept = json.loads(regress.BANDS.read_text())["tasks"]
    assert kept
    for name, task in kept.items():
        assert task["flags"] == regress.TASKS[name].flags
        assert set(task["measures"]) == set(regress.TASKS[name].measures)
        for one in task["measures"].values():
            assert one["band"] == pytest.approx(regress.band(one["seeds"], len(regress.SEEDS)))
            assert one["band"][0] <= statistics.fmean(one["seeds"]) <= one["band"][1]


@pytest.mark.parametrize("name", regress.TASKS)
def test_run_takes_the_flags_of_each_task(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *regress.TASKS[name].flags.split(), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["max_steps"] > 0
